use p3_field::PrimeCharacteristicRing;
use p3_matrix::dense::RowMajorMatrix;

use super::columns::{BytesColumns, BytesFixed};
use crate::stark::table::{Bus, Columns};
use crate::tables::adapter::F;

/// log2 of the number of rows.
pub const LOG_HEIGHT: usize = 16;

/// The fixed columns.
pub fn preprocessed() -> RowMajorMatrix<F> {
    let width = BytesFixed::<F>::WIDTH;
    let mut values = F::zero_vec(width << LOG_HEIGHT);
    for (i, row) in (0..=u16::MAX).zip(values.chunks_exact_mut(width)) {
        let [x, y] = i.to_le_bytes();
        *BytesFixed::of_mut(row) = BytesFixed { x: F::from_u8(x), y: F::from_u8(y), and: F::from_u8(x & y) };
    }
    RowMajorMatrix::new(values, width)
}

/// Row and column of the count for a tuple: `None` where this table does not answer.
pub fn multiplicity_cell(bus: Bus, tuple: &[u32]) -> Option<(usize, usize)> {
    const COLUMNS: BytesColumns<usize> = BytesColumns { range16: 0, bytes: 1, and: 2 };
    let pair = |x: u32, y: u32| (x < 256 && y < 256).then_some((x + 256 * y) as usize);
    match (bus, tuple) {
        (Bus::Range16, &[x]) if x < 1 << 16 => Some((x as usize, COLUMNS.range16)),
        (Bus::Bytes, &[x, y]) => Some((pair(x, y)?, COLUMNS.bytes)),
        (Bus::And, &[x, y, z]) if z == x & y => Some((pair(x, y)?, COLUMNS.and)),
        _ => None,
    }
}
