use p3_field::PrimeCharacteristicRing;
use zisk_machine::program::Op;

use super::columns::CompareColumns;
use crate::stark::table::{Bus, Columns, Table, TableBuilder};
use crate::tables::adapter::{
    F, RowRest, SLOT_A, SLOT_B, access, code, fetch, gap_bytes, one_flag, operand, register, top_bit, zero_unless_used,
};

/// The table.
pub struct Compare;

impl Table for Compare {
    fn name(&self) -> &'static str {
        "compare"
    }

    fn width(&self) -> usize {
        CompareColumns::<F>::WIDTH
    }

    fn eval<B: TableBuilder>(&self, _: &[B::Expr], row: &[B::Expr], b: &mut B) {
        let row = CompareColumns::<B::Expr>::of(row);
        let CompareColumns { is_slt, is_sltu, is_beq, is_bne, is_blt, is_bge, is_bltu, is_bgeu, less, gap, .. } = row;
        let clk = &row.fetch.clk;
        let c = &row.c.value;

        // Exactly one operation on a real row, and the row the program has for it.
        let real = one_flag(b, &[is_slt, is_sltu, is_beq, is_bne, is_blt, is_bge, is_bltu, is_bgeu]);
        let number = is_slt.clone() * F::from_u32(code(Op::Slt, false))
            + is_sltu.clone() * F::from_u32(code(Op::Sltu, false))
            + is_beq.clone() * F::from_u32(code(Op::Beq, false))
            + is_bne.clone() * F::from_u32(code(Op::Bne, false))
            + is_blt.clone() * F::from_u32(code(Op::Blt, false))
            + is_bge.clone() * F::from_u32(code(Op::Bge, false))
            + is_bltu.clone() * F::from_u32(code(Op::Bltu, false))
            + is_bgeu.clone() * F::from_u32(code(Op::Bgeu, false));
        let rest = RowRest {
            code: number + row.c.is_imm.clone(),
            rd: row.rd.clone(),
            rs2: row.c.rs2.clone(),
            imm: row.c.imm.clone(),
            alt_pc: row.alt_pc.clone(),
        };
        fetch(b, &real, &row.fetch, &rest, row.goto.clone());
        access(b, &real, register::<B>(&row.fetch.rs1), clk, SLOT_B, &row.access_b, &row.b, &row.b);
        operand(b, &real, clk, &row.c);

        // Slt and Sltu write the bit `less`; branches write nothing.
        let writes = is_slt.clone() + is_sltu.clone();
        let a = [less.clone(), B::Expr::ZERO, B::Expr::ZERO, B::Expr::ZERO];
        zero_unless_used(b, &writes, &row.access_a);
        for prev in &row.prev_a {
            b.assert_zero((B::Expr::ONE - writes.clone()) * prev.clone());
        }
        access(b, &writes, register::<B>(&row.rd), clk, SLOT_A, &row.access_a, &row.prev_a, &a);
        gap_bytes(b, &real, &row.access_b.gap_hi, &row.c.access.gap_hi);
        gap_bytes(b, &real, &row.access_a.gap_hi, &B::Expr::ZERO);

        // For signed comparisons the top limbs are moved by 2^15 (mod 2^16), which turns their order into the unsigned one;
        // the move cancels in the difference but for the sign bits.
        let signed = is_slt.clone() + is_blt.clone() + is_bge.clone();
        for (value, sign) in [(&row.b[3], &row.b_sign), (&c[3], &row.c_sign)] {
            top_bit(b, &signed, value, sign);
            b.assert_zero((B::Expr::ONE - signed.clone()) * sign.clone());
        }
        let sign_move = (row.b_sign.clone() - row.c_sign.clone()) * F::from_u32(1 << 16);

        // At most one limb is marked, and limbs above it (all limbs, when none is marked) are equal. (The top limbs, being
        // equal, have equal signs.)
        let mut marked = B::Expr::ZERO;
        let mut difference = B::Expr::ZERO;
        for j in (0..4).rev() {
            let mark = &row.differs[j];
            b.assert_bool(mark.clone());
            marked += mark.clone();
            let plain = c[j].clone() - row.b[j].clone();
            b.assert_zero((real.clone() - marked.clone()) * plain.clone());
            difference += mark.clone() * if j == 3 { plain + sign_move.clone() } else { plain };
        }
        b.assert_bool(marked.clone());
        b.assert_zero((B::Expr::ONE - real.clone()) * marked.clone());

        // In the marked limb c - b, which is between -2^16 and 2^16, is gap + 1 when b < c and -(gap + 1) when not. As gap + 1 is
        // between 1 and 2^16, the limbs do differ and only one of the two can hold.
        b.assert_bool(less.clone());
        b.assert_zero((B::Expr::ONE - marked.clone()) * less.clone());
        b.assert_eq(gap.clone() + marked.clone(), (less.clone() * F::TWO - B::Expr::ONE) * difference);
        b.send(Bus::Range16, real, &[gap.clone()]);

        // Where to.
        let jumps = is_beq.clone() * (B::Expr::ONE - marked.clone())
            + is_bne.clone() * marked
            + (is_blt.clone() + is_bltu.clone()) * less.clone()
            + (is_bge.clone() + is_bgeu.clone()) * (B::Expr::ONE - less.clone());
        for ((goto, next), alt) in row.goto.iter().zip(&row.fetch.next_pc).zip(&row.alt_pc) {
            b.assert_eq(goto.clone() - next.clone(), jumps.clone() * (alt.clone() - next.clone()));
        }
    }
}
