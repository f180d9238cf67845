use p3_field::PrimeCharacteristicRing;
use zisk_machine::program::{Op, Row, Src2};
use zisk_machine::trace::Step;

use super::columns::StoreColumns;
use crate::tables::adapter::{F, SLOT_C, limbs};

/// Fills the row of one step.
pub fn fill(columns: &mut StoreColumns<F>, step: &Step, row: &Row) {
    let byte = row.op == Op::Sb;
    columns.common.fill(step, row, row.offset.into(), byte);
    if let Src2::Reg(rs2) = row.src2 {
        columns.rs2 = F::from_u8(rs2);
    }
    columns.c = limbs(step.c);
    columns.access_c.fill(step.clk, SLOT_C, step.ts_c);
    if step.misaligned {
        columns.which = match row.op {
            Op::Sh => F::ZERO,
            Op::Sw => F::ONE,
            _ => F::TWO,
        };
        return;
    }
    let size = match row.op {
        Op::Sb => &mut columns.is_byte,
        Op::Sh => &mut columns.is_half,
        Op::Sw => &mut columns.is_word,
        _ => &mut columns.is_double,
    };
    *size = F::ONE;
    columns.after = limbs(step.memory.after);
    if byte {
        columns.dropped = F::from_u64(step.c >> 8 & 0xff);
    }
    let address = step.b.wrapping_add_signed(row.offset.into());
    let limb = (address >> 1 & 3) as usize;
    columns.change = columns.after[limb] - columns.common.before[limb];
}
