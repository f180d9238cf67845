use p3_field::PrimeCharacteristicRing;
use zisk_machine::program::Op;

use super::columns::LoadColumns;
use crate::stark::table::{Bus, Columns, Table, TableBuilder};
use crate::tables::adapter::{F, SLOT_A, access, code, one_flag, register, top_bit, zero_unless_used};
use crate::tables::address::{Operation, memory_step};

/// The table.
pub struct Load;

impl Table for Load {
    fn name(&self) -> &'static str {
        "load"
    }

    fn width(&self) -> usize {
        LoadColumns::<F>::WIDTH
    }

    fn eval<B: TableBuilder>(&self, _: &[B::Expr], row: &[B::Expr], b: &mut B) {
        let LoadColumns { common, is_byte, is_half, is_word, is_double, unsigned, rd, a, prev_a, access_a, top, sign } =
            LoadColumns::<B::Expr>::of(row);
        let [_, m1, m2, m3] = &common.before;
        let misaligned = &common.misaligned;

        // Exactly one size on a real row; doublewords have no unsigned load. Only what is larger than a byte can be misaligned.
        let real = one_flag(b, &[is_byte, is_half, is_word, is_double]);
        let narrow = is_byte.clone() + is_half.clone() + is_word.clone();
        b.assert_bool(unsigned.clone());
        b.assert_zero((B::Expr::ONE - narrow) * unsigned.clone());
        b.assert_bool(misaligned.clone());
        b.assert_zero((B::Expr::ONE - real.clone() + is_byte.clone()) * misaligned.clone());
        let used = real.clone() - misaligned.clone();

        // An unsigned load has the number after that of the signed one (`code` counts in twos).
        let number = is_byte.clone() * F::from_u32(code(Op::Lb, true))
            + is_half.clone() * F::from_u32(code(Op::Lh, true))
            + is_word.clone() * F::from_u32(code(Op::Lw, true))
            + is_double.clone() * F::from_u32(code(Op::Ld, true))
            + unsigned.clone() * F::from_u32(code(Op::Lbu, true) - code(Op::Lb, true));
        let stays = B::Expr::ONE - misaligned.clone();
        let operation = Operation {
            code: number,
            rd: rd.clone(),
            rs2: B::Expr::ZERO,
            is_byte: is_byte.clone(),
            aligned: [
                used.clone() - is_byte.clone(),
                stays.clone() * (is_word.clone() + is_double.clone()),
                stays * is_double.clone(),
            ],
            gap_hi: access_a.gap_hi.clone(),
        };
        memory_step(b, &real, &used, operation, common, &common.before);
        b.send(Bus::Range16, real.clone(), &[common.high.clone()]);

        // The sign: bit 15 of `top`. A `top` of 0 leaves only sign 0, so it is 0 for unsigned loads, doublewords and misaligned ones.
        let signed = B::Expr::ONE - unsigned.clone();
        let part = &common.part;
        let with_sign = (is_byte.clone() * F::from_u32(1 << 8) + is_half.clone()) * part.clone() + is_word.clone() * a[1].clone();
        b.assert_eq(top.clone(), signed * with_sign);
        top_bit(b, &real, top, sign);

        // The result: limbs of the word, a byte, or 0xffff (0xff00) for a sign. All have 16 bits, so `a` needs no look-up.
        // Misaligned: `before` is 0, so `part`, `top`, `sign` and `a` are.
        let fill = sign.clone() * F::from_u32(0xffff);
        let upper = m1.clone() + common.offset[2].clone() * (m3.clone() - m1.clone());
        b.assert_eq(a[0].clone(), part.clone() + is_byte.clone() * sign.clone() * F::from_u32(0xff00));
        b.assert_eq(
            a[1].clone(),
            (is_word.clone() + is_double.clone()) * upper + (is_byte.clone() + is_half.clone()) * fill.clone(),
        );
        b.assert_eq(a[2].clone(), is_double.clone() * m2.clone() + fill.clone());
        b.assert_eq(a[3].clone(), is_double.clone() * m3.clone() + fill);
        for limb in prev_a {
            b.assert_zero((B::Expr::ONE - used.clone()) * limb.clone());
        }
        zero_unless_used(b, &used, access_a);
        access(b, &used, register::<B>(rd), &common.fetch.clk, SLOT_A, access_a, prev_a, a);
    }
}

const _: () = {
    let step = code(Op::Lbu, true) - code(Op::Lb, true);
    assert!(code(Op::Lhu, true) - code(Op::Lh, true) == step && code(Op::Lwu, true) - code(Op::Lw, true) == step);
};
