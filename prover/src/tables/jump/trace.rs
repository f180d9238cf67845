use p3_field::PrimeCharacteristicRing;
use zisk_machine::program::{Op, Row};
use zisk_machine::trace::Step;

use super::columns::JumpColumns;
use crate::tables::adapter::{F, SLOT_A, SLOT_B, halves, immediate, limbs};

/// Fills the row of one step.
pub fn fill(columns: &mut JumpColumns<F>, step: &Step, row: &Row) {
    columns.fetch.fill(step, row);
    columns.b = limbs(step.b);
    columns.access_b.fill(step.clk, SLOT_B, step.ts_b);
    columns.imm = immediate(step.c as i64);
    columns.rd = F::from_u8(row.rd);
    columns.prev_a = limbs(step.prev_a);
    columns.access_a.fill(step.clk, SLOT_A, step.ts_a);
    columns.goto = halves(step.next_pc);
    match row.op {
        Op::Jalr => {
            columns.is_jalr = F::ONE;
            columns.cleared = F::from_u64(step.b.wrapping_add(step.c) & 1);
        }
        _ => columns.is_return = F::ONE,
    }
}
