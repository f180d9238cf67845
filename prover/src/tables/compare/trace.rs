use p3_field::PrimeCharacteristicRing;
use zisk_machine::program::{Op, Row};
use zisk_machine::trace::Step;

use super::columns::CompareColumns;
use crate::tables::adapter::{F, SLOT_A, SLOT_B, halves, limbs};

/// Fills the row of one step.
pub fn fill(columns: &mut CompareColumns<F>, step: &Step, row: &Row) {
    columns.fetch.fill(step, row);
    columns.alt_pc = halves(row.alt_pc);
    columns.goto = halves(step.next_pc);
    columns.b = limbs(step.b);
    columns.access_b.fill(step.clk, SLOT_B, step.ts_b);
    columns.c.fill(step, row);
    columns.rd = F::from_u8(row.rd);
    if matches!(row.op, Op::Slt | Op::Sltu) {
        columns.prev_a = limbs(step.prev_a);
        columns.access_a.fill(step.clk, SLOT_A, step.ts_a);
    }
    let (flag, signed) = match row.op {
        Op::Slt => (&mut columns.is_slt, true),
        Op::Sltu => (&mut columns.is_sltu, false),
        Op::Beq => (&mut columns.is_beq, false),
        Op::Bne => (&mut columns.is_bne, false),
        Op::Blt => (&mut columns.is_blt, true),
        Op::Bge => (&mut columns.is_bge, true),
        Op::Bltu => (&mut columns.is_bltu, false),
        _ => (&mut columns.is_bgeu, false),
    };
    *flag = F::ONE;
    if signed {
        columns.b_sign = F::from_u64(step.b >> 63);
        columns.c_sign = F::from_u64(step.c >> 63);
    }
    // Signed order is the unsigned order of the values with the top bit turned.
    let turn = u64::from(signed) << 63;
    let (b, c) = (step.b ^ turn, step.c ^ turn);
    if b != c {
        let j = (63 - (b ^ c).leading_zeros()) / 16;
        let limb = |x: u64| x >> (16 * j) & 0xffff;
        columns.differs[j as usize] = F::ONE;
        columns.less = F::from_bool(b < c);
        columns.gap = F::from_u64(limb(b).abs_diff(limb(c)) - 1);
    }
}
