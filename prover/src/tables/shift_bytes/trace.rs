use p3_field::PrimeCharacteristicRing;
use p3_matrix::dense::RowMajorMatrix;

use super::columns::ShiftBytesFixed;
use crate::stark::table::{Bus, Columns};
use crate::tables::adapter::F;

/// log2 of the number of rows.
pub const LOG_HEIGHT: usize = 11;

/// The fixed columns: row x + 256 k is byte x shifted by k.
pub fn preprocessed() -> RowMajorMatrix<F> {
    let width = ShiftBytesFixed::<F>::WIDTH;
    let mut values = F::zero_vec(width << LOG_HEIGHT);
    for (i, row) in (0u16..).zip(values.chunks_exact_mut(width)) {
        let [x, k] = i.to_le_bytes();
        let [lo, hi] = (u16::from(x) << k).to_le_bytes();
        *ShiftBytesFixed::of_mut(row) = ShiftBytesFixed {
            x: F::from_u8(x),
            power: F::from_u8(1 << k),
            hi: F::from_u8(hi),
            lo: F::from_u8(lo),
        };
    }
    RowMajorMatrix::new(values, width)
}

/// Row and column of the count for a tuple: `None` where this table does not answer.
pub fn multiplicity_cell(bus: Bus, tuple: &[u32]) -> Option<(usize, usize)> {
    match (bus, tuple) {
        (Bus::ShiftByte, &[x, power, hi, lo]) => {
            let row = x.checked_add(256 * power.checked_ilog2()?)?;
            let valid = x < 256
                && power < 256
                && power.is_power_of_two()
                && hi == x * power >> 8
                && lo == x * power & 0xff;
            valid.then_some((row as usize, 0))
        }
        _ => None,
    }
}
