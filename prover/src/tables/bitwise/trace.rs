use p3_field::PrimeCharacteristicRing;
use zisk_machine::program::{Op, Row};
use zisk_machine::trace::Step;

use super::bytes::low_bytes;
use super::columns::BitwiseColumns;
use crate::tables::adapter::{F, bytes};

/// Fills the row of one step.
pub fn fill(columns: &mut BitwiseColumns<F>, step: &Step, row: &Row) {
    columns.common.fill(step, row);
    let flag = match row.op {
        Op::And => &mut columns.is_and,
        Op::Or => &mut columns.is_or,
        _ => &mut columns.is_xor,
    };
    *flag = F::ONE;
    columns.b_low = low_bytes(step.b);
    columns.c_low = low_bytes(step.c);
    columns.and = bytes(step.b & step.c);
}
