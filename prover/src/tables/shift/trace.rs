use p3_field::PrimeCharacteristicRing;
use zisk_machine::program::{Op, Row};
use zisk_machine::trace::Step;

use super::columns::ShiftColumns;
use crate::tables::adapter::{F, limbs};
use crate::tables::bitwise::bytes::low_bytes;

/// Fills the row of one step.
pub fn fill(columns: &mut ShiftColumns<F>, step: &Step, row: &Row) {
    columns.common.fill(step, row);
    let flag = match row.op {
        Op::Sll => &mut columns.is_sll,
        Op::Srl => &mut columns.is_srl,
        Op::Sra => &mut columns.is_sra,
        Op::SllW => &mut columns.is_sll_w,
        Op::SrlW => &mut columns.is_srl_w,
        _ => &mut columns.is_sra_w,
    };
    *flag = F::ONE;
    let word = matches!(row.op, Op::SllW | Op::SrlW | Op::SraW);
    let left = matches!(row.op, Op::Sll | Op::SllW);

    let amount = step.c as u32 % if word { 32 } else { 64 };
    columns.bits = std::array::from_fn(|i| F::from_u32(amount >> i & 1));
    let power = 1u64 << (amount % 8);
    columns.power_less_1 = F::from_u64(power - 1);
    let bytes = amount / 8;
    if let Some(mark) = (bytes as usize).checked_sub(1) {
        columns.move_bytes[mark] = F::ONE;
    }
    columns.ignored_bit = F::from_bool(word && step.c & 32 != 0);
    columns.b_low = low_bytes(step.b);

    let signed = match row.op {
        Op::Sra => step.b >> 48,
        Op::SraW => step.b >> 16 & 0xffff,
        Op::SllW | Op::SrlW => step.a >> 16 & 0xffff,
        _ => 0,
    };
    columns.signed = F::from_u64(signed);
    columns.sign = F::from_u64(signed >> 15);

    let by = 8 * bytes;
    let moved = match row.op {
        Op::Sll => step.b << by,
        Op::Srl => step.b >> by,
        Op::Sra => (step.b as i64 >> by) as u64,
        Op::SllW => u64::from((step.b as u32) << by),
        Op::SrlW => u64::from(step.b as u32 >> by),
        _ => u64::from((step.b as i32 >> by) as u32),
    };
    columns.moved = limbs(moved);
    // What is multiplied by the power, limb by limb.
    let (factor, mut carry) = if left { (moved, 0) } else { (step.a, moved % power) };
    columns.rest = F::from_u64(carry);
    columns.rest_up = F::from_u64(carry * (256 / power));
    for (j, column) in columns.carry.iter_mut().enumerate().take(if word { 2 } else { 4 }) {
        carry = ((factor >> (16 * j) & 0xffff) * power + carry) >> 16;
        *column = F::from_u64(carry);
    }
}
