//! The program table: its rows are preprocessed; the main column counts how often each is executed.

use p3_field::PrimeCharacteristicRing;
use p3_matrix::dense::RowMajorMatrix;
use zisk_machine::program::Row;
use zisk_machine::trace::SegmentTrace;

use super::adapter::{F, program_row};
use super::instruction::log_height;
use crate::stark::table::{Bus, Table, TableBuilder};

/// Columns of a row.
const WIDTH: usize = 13;

/// The table.
pub struct Program;

impl Table for Program {
    fn name(&self) -> &'static str {
        "program"
    }

    fn width(&self) -> usize {
        1
    }

    fn preprocessed_width(&self) -> usize {
        WIDTH
    }

    fn eval<B: TableBuilder>(&self, preprocessed: &[B::Expr], row: &[B::Expr], b: &mut B) {
        // Padding rows are all zero; no step looks up operation 0.
        b.send(Bus::Program, row[0].clone(), preprocessed);
    }
}

/// The preprocessed columns.
pub fn preprocessed(rows: &[Row]) -> RowMajorMatrix<F> {
    let mut values = F::zero_vec(WIDTH << log_height(rows.len()));
    for (columns, row) in values.chunks_exact_mut(WIDTH).zip(rows) {
        columns.copy_from_slice(&program_row(row));
    }
    RowMajorMatrix::new(values, WIDTH)
}

/// The main column.
pub fn trace(rows: usize, trace: &SegmentTrace) -> RowMajorMatrix<F> {
    let mut counts = vec![0u32; 1 << log_height(rows)];
    for step in trace.steps.iter().flatten() {
        counts[step.row as usize] += 1;
    }
    RowMajorMatrix::new_col(counts.into_iter().map(F::from_u32).collect())
}
