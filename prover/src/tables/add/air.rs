use p3_field::PrimeCharacteristicRing;
use zisk_machine::program::Op;

use super::columns::AddColumns;
use crate::stark::table::{Bus, Columns, Table, TableBuilder};
use crate::tables::adapter::{F, code, one_flag, three_operands, top_bit};

/// The table.
pub struct Add;

impl Table for Add {
    fn name(&self) -> &'static str {
        "add"
    }

    fn width(&self) -> usize {
        AddColumns::<F>::WIDTH
    }

    fn eval<B: TableBuilder>(&self, _: &[B::Expr], row: &[B::Expr], b: &mut B) {
        let AddColumns { common, is_add, is_sub, is_add_w, is_sub_w, is_advice, carry, sign } = AddColumns::<B::Expr>::of(row);

        // Exactly one operation on a real row, and the row the program has for it.
        let real = one_flag(b, &[is_add, is_sub, is_add_w, is_sub_w, is_advice]);
        let number = is_add.clone() * F::from_u32(code(Op::Add, false))
            + is_sub.clone() * F::from_u32(code(Op::Sub, false))
            + is_add_w.clone() * F::from_u32(code(Op::AddW, false))
            + is_sub_w.clone() * F::from_u32(code(Op::SubW, false))
            + is_advice.clone() * F::from_u32(code(Op::Advice, false));
        three_operands(b, &real, number, common);

        // The result is a 64-bit value.
        for a in &common.a {
            b.send(Bus::Range16, real.clone(), &[a.clone()]);
        }

        // Limb by limb: b + c (+ carry in) = a + 2^16 carry, or a + c (+ borrow in) = b + 2^16 borrow.
        // All limbs have 16 bits, so each equation has one solution.
        let word = is_add_w.clone() + is_sub_w.clone();
        let long = is_add.clone() + is_sub.clone();
        for j in 0..4 {
            b.assert_bool(carry[j].clone());
            let carry_in = if j == 0 { B::Expr::ZERO } else { carry[j - 1].clone() };
            let c = common.c.value[j].clone() + carry_in - carry[j].clone() * F::from_u32(1 << 16);
            let difference = common.b[j].clone() - common.a[j].clone();
            let (adds, subs, used) = if j < 2 {
                (is_add.clone() + is_add_w.clone(), is_sub.clone() + is_sub_w.clone(), long.clone() + word.clone())
            } else {
                (is_add.clone(), is_sub.clone(), long.clone())
            };
            b.assert_zero(adds * (difference.clone() + c.clone()));
            b.assert_zero(subs * (c - difference));
            b.assert_zero((B::Expr::ONE - used) * carry[j].clone());
        }

        // 32-bit results are sign-extended.
        top_bit(b, &word, &common.a[1], sign);
        b.assert_zero((B::Expr::ONE - word.clone()) * sign.clone());
        for j in 2..4 {
            b.assert_zero(word.clone() * (common.a[j].clone() - sign.clone() * F::from_u32(0xffff)));
        }
    }
}
