//! The program table: its rows are preprocessed; the main column counts how often each is executed.

use p3_field::PrimeCharacteristicRing;
use p3_matrix::dense::RowMajorMatrix;
use zisk_machine::program::Program as Guest;
use zisk_machine::trace::SegmentTrace;
use zisk_protocol::shape::program_log_heights;

use super::adapter::{F, program_row};
use super::instruction::{log_height, pad};
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

/// log2 heights of the tables that depend on the program: its rows, its image.
pub fn log_heights(guest: &Guest) -> (u8, u8) {
    let (rows, words) = (guest.rows.len(), guest.image.len());
    // Keys of programs that are too large for any shape are refused.
    program_log_heights(rows, words).unwrap_or((log_height(rows) as u8, log_height(words) as u8))
}

/// The preprocessed columns.
pub fn preprocessed(guest: &Guest) -> RowMajorMatrix<F> {
    let rows = guest.rows.iter().flat_map(program_row).collect();
    pad(RowMajorMatrix::new(rows, WIDTH), log_heights(guest).0)
}

/// The main column.
pub fn trace(guest: &Guest, trace: &SegmentTrace) -> RowMajorMatrix<F> {
    let mut counts = vec![0u32; 1 << log_heights(guest).0];
    for step in trace.steps.iter().flatten() {
        counts[step.row as usize] += 1;
    }
    RowMajorMatrix::new_col(counts.into_iter().map(F::from_u32).collect())
}
