use p3_field::PrimeCharacteristicRing;
use zisk_machine::program::Op;

use super::bytes::bytes;
use super::columns::BitwiseColumns;
use crate::stark::table::{Bus, Columns, Table, TableBuilder};
use crate::tables::adapter::{F, code, one_flag, three_operands};

/// The table.
pub struct Bitwise;

impl Table for Bitwise {
    fn name(&self) -> &'static str {
        "bitwise"
    }

    fn width(&self) -> usize {
        BitwiseColumns::<F>::WIDTH
    }

    fn eval<B: TableBuilder>(&self, _: &[B::Expr], row: &[B::Expr], b: &mut B) {
        let BitwiseColumns { common, is_and, is_or, is_xor, b_low, c_low, and } = BitwiseColumns::<B::Expr>::of(row);

        // Exactly one operation on a real row, and the row the program has for it.
        let real = one_flag(b, &[is_and, is_or, is_xor]);
        let number = is_and.clone() * F::from_u32(code(Op::And, false))
            + is_or.clone() * F::from_u32(code(Op::Or, false))
            + is_xor.clone() * F::from_u32(code(Op::Xor, false));
        three_operands(b, &real, number, common);

        // The bytes of b and c (this look-up also shows that they are bytes) and of b & c.
        let b_bytes = bytes(&common.b, b_low);
        let c_bytes = bytes(&common.c.value, c_low);
        for j in 0..8 {
            b.send(Bus::And, real.clone(), &[b_bytes[j].clone(), c_bytes[j].clone(), and[j].clone()]);
        }

        // b | c = b + c - (b & c) and b ^ c = b + c - 2 (b & c), over the integers and for each limb by itself. So a's limbs are
        // those of the result, and have 16 bits.
        for j in 0..4 {
            let limb = and[2 * j].clone() + and[2 * j + 1].clone() * F::from_u32(256);
            let sum = common.b[j].clone() + common.c.value[j].clone();
            let result = is_and.clone() * limb.clone()
                + is_or.clone() * (sum.clone() - limb.clone())
                + is_xor.clone() * (sum - limb * F::TWO);
            b.assert_eq(common.a[j].clone(), result);
        }
    }
}
