use p3_field::PrimeCharacteristicRing;
use zisk_machine::program::Op;

use super::columns::JumpColumns;
use crate::stark::table::{Bus, Columns, Table, TableBuilder};
use crate::tables::adapter::{F, RowRest, SLOT_A, SLOT_B, access, code, fetch, gap_bytes, one_flag, register};
use crate::tables::address::sum_is;

/// The table.
pub struct Jump;

impl Table for Jump {
    fn name(&self) -> &'static str {
        "jump"
    }

    fn width(&self) -> usize {
        JumpColumns::<F>::WIDTH
    }

    fn eval<B: TableBuilder>(&self, _: &[B::Expr], row: &[B::Expr], b: &mut B) {
        let row = JumpColumns::<B::Expr>::of(row);
        let JumpColumns { imm, rd, prev_a, is_jalr, is_return, goto, cleared, .. } = row;
        let clk = &row.fetch.clk;

        // Exactly one operation on a real row, and the row the program has for it.
        let real = one_flag(b, &[is_jalr, is_return]);
        let rest = RowRest {
            code: is_jalr.clone() * F::from_u32(code(Op::Jalr, true)) + is_return.clone() * F::from_u32(code(Op::Return, true)),
            rd: rd.clone(),
            rs2: B::Expr::ZERO,
            imm: imm.clone(),
            alt_pc: [B::Expr::ZERO, B::Expr::ZERO],
        };
        fetch(b, &real, &row.fetch, &rest, goto.clone());
        access(b, &real, register::<B>(&row.fetch.rs1), clk, SLOT_B, &row.access_b, &row.b, &row.b);

        // The link; its halves have 16 bits because the program row holds them.
        let [link_lo, link_hi] = row.fetch.next_pc.clone();
        let a = [link_lo, link_hi, B::Expr::ZERO, B::Expr::ZERO];
        access(b, &real, register::<B>(rd), clk, SLOT_A, &row.access_a, prev_a, &a);
        gap_bytes(b, &real, &row.access_b.gap_hi, &row.access_a.gap_hi);

        // rs1 + offset = goto + cleared, below 2^32. With Jalr half of goto's low half has 16 bits: it is even, so `cleared` is bit 0
        // and their sum still has 16 bits. With Return nothing is cleared.
        for half in goto {
            b.send(Bus::Range16, real.clone(), &[half.clone()]);
        }
        b.send(Bus::Range16, is_jalr.clone(), &[goto[0].clone() * F::ONE.halve()]);
        b.assert_bool(cleared.clone());
        b.assert_zero((B::Expr::ONE - is_jalr.clone()) * cleared.clone());
        sum_is(b, &row.b, imm, goto[0].clone() + cleared.clone(), goto[1].clone());
    }
}
