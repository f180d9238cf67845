use p3_field::PrimeCharacteristicRing;
use zisk_machine::program::{Op, Row};
use zisk_machine::trace::Step;

use super::columns::AddColumns;
use crate::tables::adapter::F;

/// Fills the row of one step.
pub fn fill(columns: &mut AddColumns<F>, step: &Step, row: &Row) {
    columns.common.fill(step, row);
    let (flag, limbs, x, y) = match row.op {
        Op::Add => (&mut columns.is_add, 4, step.b, step.c),
        Op::AddW => (&mut columns.is_add_w, 2, step.b, step.c),
        Op::Sub => (&mut columns.is_sub, 4, step.a, step.c),
        Op::SubW => (&mut columns.is_sub_w, 2, step.a, step.c),
        _ => (&mut columns.is_advice, 0, 0, 0),
    };
    *flag = F::ONE;
    // Carries of x + y; for a subtraction x is the result, so these are the borrows.
    let mut carry = 0;
    for j in 0..limbs {
        carry = ((x >> (16 * j) & 0xffff) + (y >> (16 * j) & 0xffff) + carry) >> 16;
        columns.carry[j] = F::from_u64(carry);
    }
    if limbs == 2 {
        columns.sign = F::from_u64(step.a >> 31 & 1);
    }
}
