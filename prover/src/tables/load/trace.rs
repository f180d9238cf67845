use p3_field::PrimeCharacteristicRing;
use zisk_machine::program::{Op, Row};
use zisk_machine::trace::Step;

use super::columns::LoadColumns;
use crate::tables::adapter::{F, SLOT_A, limbs};

/// Fills the row of one step.
pub fn fill(columns: &mut LoadColumns<F>, step: &Step, row: &Row) {
    let byte = matches!(row.op, Op::Lb | Op::Lbu);
    columns.common.fill(step, row, step.c as i64, byte);
    columns.rd = F::from_u8(row.rd);
    let size = match row.op {
        Op::Lb | Op::Lbu => &mut columns.is_byte,
        Op::Lh | Op::Lhu => &mut columns.is_half,
        Op::Lw | Op::Lwu => &mut columns.is_word,
        _ => &mut columns.is_double,
    };
    *size = F::ONE;
    columns.unsigned = F::from_bool(matches!(row.op, Op::Lbu | Op::Lhu | Op::Lwu));
    if step.misaligned {
        return;
    }
    columns.a = limbs(step.a);
    columns.prev_a = limbs(step.prev_a);
    columns.access_a.fill(step.clk, SLOT_A, step.ts_a);
    let top = match row.op {
        Op::Lb => (step.a as u16 & 0xff) << 8,
        Op::Lh => step.a as u16,
        Op::Lw => (step.a >> 16) as u16,
        _ => 0,
    };
    columns.top = F::from_u16(top);
    columns.sign = F::from_u16(top >> 15);
}
