use p3_field::PrimeCharacteristicRing;
use zisk_machine::program::{Op, Row};
use zisk_machine::trace::Step;

use super::columns::MulColumns;
use crate::tables::adapter::{F, limbs};
use crate::tables::bitwise::bytes::low_bytes;

/// Fills the row of one step.
pub fn fill(columns: &mut MulColumns<F>, step: &Step, row: &Row) {
    columns.common.fill(step, row);
    let high = row.op == Op::Mulhu;
    let flag = if high { &mut columns.is_mulhu } else { &mut columns.is_mul };
    *flag = F::ONE;
    columns.b_low = low_bytes(step.b);
    columns.c_low = low_bytes(step.c);
    columns.low = limbs(step.b.wrapping_mul(step.c));
    let (b, c) = (step.b.to_le_bytes(), step.c.to_le_bytes());
    let mut carry = 0;
    for (t, column) in columns.carry.iter_mut().enumerate().take(if high { 7 } else { 4 }) {
        for k in [2 * t, 2 * t + 1] {
            for i in k.saturating_sub(7)..=k.min(7) {
                carry += (u32::from(b[i]) * u32::from(c[k - i])) << (8 * (k % 2));
            }
        }
        carry >>= 16;
        *column = F::from_u32(carry);
    }
}
