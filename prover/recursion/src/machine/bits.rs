//! A base-field value and the bits of its canonical form.

use p3_field::PrimeCharacteristicRing;
use zisk_prover::columns;
use zisk_prover::stark::config::Val;
use zisk_prover::stark::table::{Columns, Table, TableBuilder};

use super::{Slot, base_on_bus};

/// Bits of a value.
pub const BITS: usize = 31;
/// The modulus is 2^31 - 2^24 + 1: of the numbers with all bits from this one up set, only the least is below it.
pub const HIGH: usize = 24;

columns! {
    /// The preprocessed columns.
    pub struct BitsKind<T> {
        /// The value.
        pub value: Slot<T>,
        /// Its bits, least significant first.
        pub bits: [Slot<T>; BITS],
    }
}

columns! {
    /// The main columns.
    pub struct BitsColumns<T> {
        /// Bits, least significant first.
        pub bits: [T; BITS],
        /// Products of three, five and seven of the highest bits.
        pub all_high: [T; 3],
    }
}

/// The table.
pub struct Bits;

impl Table for Bits {
    fn name(&self) -> &'static str {
        "bits"
    }

    fn width(&self) -> usize {
        BitsColumns::<u32>::WIDTH
    }

    fn preprocessed_width(&self) -> usize {
        BitsKind::<u32>::WIDTH
    }

    fn eval<B: TableBuilder>(&self, preprocessed: &[B::Expr], row: &[B::Expr], builder: &mut B) {
        let kind: &BitsKind<B::Expr> = Columns::of(preprocessed);
        let BitsColumns { bits, all_high } = Columns::of(row);
        let sum =
            |range: std::ops::Range<usize>| range.fold(B::Expr::ZERO, |sum, i| sum + bits[i].clone() * Val::from_u32(1 << i));
        for bit in bits {
            builder.assert_bool(bit.clone());
        }
        let high = |i: usize| bits[HIGH + i].clone();
        builder.assert_eq(all_high[0].clone(), high(0) * high(1) * high(2));
        builder.assert_eq(all_high[1].clone(), all_high[0].clone() * high(3) * high(4));
        builder.assert_eq(all_high[2].clone(), all_high[1].clone() * high(5) * high(6));
        builder.assert_zero(all_high[2].clone() * sum(0..HIGH));
        base_on_bus(builder, &kind.value, &sum(0..BITS));
        for (slot, bit) in kind.bits.iter().zip(bits) {
            base_on_bus(builder, slot, bit);
        }
    }
}
