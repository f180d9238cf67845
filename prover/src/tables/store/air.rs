use p3_field::PrimeCharacteristicRing;
use zisk_machine::memory_map::{RAM_END, RAM_START};
use zisk_machine::program::Op;

use super::columns::StoreColumns;
use crate::stark::table::{Bus, Columns, Table, TableBuilder};
use crate::tables::adapter::{F, SLOT_C, access, code, one_flag, register};
use crate::tables::address::{Operation, limb_selectors, memory_step};

/// The table.
pub struct Store;

/// log2 of the number of 64-KiB pages in RAM.
const LOG_PAGES: u32 = (RAM_END - RAM_START).trailing_zeros() - 16;

impl Table for Store {
    fn name(&self) -> &'static str {
        "store"
    }

    fn width(&self) -> usize {
        StoreColumns::<F>::WIDTH
    }

    fn eval<B: TableBuilder>(&self, _: &[B::Expr], row: &[B::Expr], b: &mut B) {
        let StoreColumns { common, is_byte, is_half, is_word, is_double, which, rs2, c, access_c, after, dropped, change } =
            StoreColumns::<B::Expr>::of(row);
        let misaligned = &common.misaligned;

        // On a real row exactly one size, or misaligned, which Sb never is.
        let real = one_flag(b, &[is_byte, is_half, is_word, is_double, misaligned]);
        let used = is_byte.clone() + is_half.clone() + is_word.clone() + is_double.clone();
        b.assert_zero((B::Expr::ONE - misaligned.clone()) * which.clone());
        b.assert_zero(which.clone() * (which.clone() - F::ONE) * (which.clone() - F::TWO));
        let number = is_byte.clone() * F::from_u32(code(Op::Sb, false))
            + (is_half.clone() + misaligned.clone()) * F::from_u32(code(Op::Sh, false))
            + is_word.clone() * F::from_u32(code(Op::Sw, false))
            + is_double.clone() * F::from_u32(code(Op::Sd, false))
            + which.clone() * F::from_u32(code(Op::Sw, false) - code(Op::Sh, false));
        let operation = Operation {
            code: number,
            rd: B::Expr::ZERO,
            rs2: rs2.clone(),
            is_byte: is_byte.clone(),
            aligned: [
                is_half.clone() + is_word.clone() + is_double.clone(),
                is_word.clone() + is_double.clone(),
                is_double.clone(),
            ],
            gap_hi: access_c.gap_hi.clone(),
        };
        memory_step(b, &real, &used, operation, common, after);
        access(b, &real, register::<B>(rs2), &common.fetch.clk, SLOT_C, access_c, c, c);

        // Only RAM. The sum that defines `high` leaves it an integer in [-2^16, 2^17), so 8 (high - 0xa000) does not wrap, and what has
        // 16 bits is the integer itself: 0 <= high - 0xa000 < 2^13.
        let page = common.high.clone() - F::from_u32(RAM_START >> 16);
        b.send(Bus::Range16, real.clone(), &[page * F::from_u32(1 << (16 - LOG_PAGES))]);

        // What is stored at the address itself: the value's low byte (Sb) or low limb.
        let stored = c[0].clone() - dropped.clone() * F::from_u32(256);
        b.assert_zero((B::Expr::ONE - is_byte.clone()) * dropped.clone());
        b.send(Bus::Bytes, is_byte.clone(), &[stored.clone(), dropped.clone()]);

        // The limb at the address changes by new part minus old part, 256-fold for an upper byte (bit 0 is set for bytes only).
        let [upper_byte, _, upper_half] = &common.offset;
        let scale = upper_byte.clone() * F::from_u32(255) + F::ONE;
        b.assert_eq(change.clone(), used.clone() * (stored - common.part.clone()) * scale);
        // The next one is replaced for Sw, the next three for Sd. All else stays. So `after` has 16-bit limbs.
        for (j, selected) in limb_selectors::<B>(&common.offset).into_iter().enumerate() {
            let old = &common.before[j];
            let mut new = old.clone() + selected * change.clone();
            if j > 0 {
                new += is_double.clone() * (c[j].clone() - old.clone());
            }
            if j % 2 == 1 {
                let half = if j == 1 { B::Expr::ONE - upper_half.clone() } else { upper_half.clone() };
                new += is_word.clone() * half * (c[1].clone() - old.clone());
            }
            b.assert_eq(after[j].clone(), new);
        }
    }
}

const _: () = {
    assert!(RAM_END - RAM_START == 1 << (16 + LOG_PAGES) && LOG_PAGES < 16);
    let step = code(Op::Sw, false) - code(Op::Sh, false);
    assert!(code(Op::Sd, false) - code(Op::Sw, false) == step);
};
