//! Filling an instruction table from steps.

use p3_field::PrimeCharacteristicRing;
use p3_matrix::dense::RowMajorMatrix;
use p3_maybe_rayon::prelude::*;
use zisk_machine::program::Row;
use zisk_machine::trace::Step;

use super::adapter::F;
use crate::stark::table::Columns;

/// Lowest log2 of a table's height.
pub const MIN_LOG_HEIGHT: usize = 4;

/// log2 of the height of a table with so many rows.
pub fn log_height(rows: usize) -> usize {
    (rows.max(1).next_power_of_two().trailing_zeros() as usize).max(MIN_LOG_HEIGHT)
}

/// One row per item, in order, then zero rows up to the height: zero rows are padding and send nothing.
pub fn trace<C: Columns<F>, T: Sync>(items: &[T], fill: impl Fn(&mut C, &T) + Sync) -> RowMajorMatrix<F> {
    let mut values = F::zero_vec(C::WIDTH << log_height(items.len()));
    values.par_chunks_exact_mut(C::WIDTH).zip(items).for_each(|(row, item)| fill(C::of_mut(row), item));
    RowMajorMatrix::new(values, C::WIDTH)
}

/// The table with zero rows added up to this log2 height, if it is not higher.
pub fn pad(mut table: RowMajorMatrix<F>, log_height: u8) -> RowMajorMatrix<F> {
    let cells = table.width << log_height;
    if table.values.len() < cells {
        table.values.resize(cells, F::ZERO);
    }
    table
}

/// The rows of an instruction table.
pub fn steps<C: Columns<F>>(steps: &[Step], rows: &[Row], fill: impl Fn(&mut C, &Step, &Row) + Sync) -> RowMajorMatrix<F> {
    trace(steps, |columns, step| fill(columns, step, &rows[step.row as usize]))
}
