//! Counts how often each row of the fixed look-up tables is asked for, by evaluating the tables that ask.

use std::sync::atomic::{AtomicU32, Ordering};

use p3_field::{PackedValue, PrimeCharacteristicRing, PrimeField32};
use p3_matrix::Matrix;
use p3_matrix::dense::RowMajorMatrix;
use p3_maybe_rayon::prelude::*;

use super::adapter::F;
use super::any::AnyTable;
use super::bytes;
use crate::stark::config::PackedVal;
use crate::stark::logup::pack_rows;
use crate::stark::table::{Bus, Columns, Table, TableBuilder};

/// Shapes of the fixed tables' main columns.
const BYTES_ROWS: usize = 1 << bytes::LOG_HEIGHT;
const BYTES_COLUMNS: usize = <bytes::BytesColumns<F> as Columns<F>>::WIDTH;

/// Multiplicities of the fixed tables' rows.
pub struct Counts {
    bytes: Vec<AtomicU32>,
}

struct Count<'a> {
    counts: &'a Counts,
    tag: PackedVal,
    missing: Option<(Bus, Vec<u32>)>,
}

impl TableBuilder for Count<'_> {
    type Expr = PackedVal;

    fn assert_zero(&mut self, _: PackedVal) {}

    fn interact(&mut self, bus: Bus, multiplicity: PackedVal, tuple: &[PackedVal]) {
        if !matches!(bus, Bus::Range16 | Bus::Bytes | Bus::And) {
            return;
        }
        let mut values = [0; 3];
        for (lane, &times) in multiplicity.as_slice().iter().enumerate() {
            if times == F::ZERO {
                continue;
            }
            for (value, x) in values.iter_mut().zip(tuple) {
                *value = x.as_slice()[lane].as_canonical_u32();
            }
            let tuple = &values[..tuple.len()];
            let cell = bytes::multiplicity_cell(bus, tuple).map(|(row, column)| &self.counts.bytes[row * BYTES_COLUMNS + column]);
            match cell {
                Some(cell) => _ = cell.fetch_add(times.as_canonical_u32(), Ordering::Relaxed),
                None => self.missing = Some((bus, tuple.to_vec())),
            }
        }
    }

    fn tag(&self) -> PackedVal {
        self.tag
    }
}

impl Counts {
    /// All zero.
    pub fn new() -> Self {
        Self { bytes: (0..BYTES_ROWS * BYTES_COLUMNS).map(|_| AtomicU32::new(0)).collect() }
    }

    /// Adds what a table's rows ask for. Fails with the tuple if a row asks for something no fixed table has: the trace is wrong.
    pub fn add(&self, table: AnyTable, trace: &RowMajorMatrix<F>, tag: u32) -> Result<(), String> {
        let tag = PackedVal::from(F::from_u32(tag));
        let missing = (0..trace.height() / PackedVal::WIDTH)
            .into_par_iter()
            .map_init(Vec::new, |row, group| {
                pack_rows(trace, group * PackedVal::WIDTH, row);
                let mut count = Count { counts: self, tag, missing: None };
                table.eval(&[], row, &mut count);
                count.missing
            })
            .find_any(Option::is_some)
            .flatten();
        match missing {
            None => Ok(()),
            Some((bus, tuple)) => Err(format!("table {} looks up {tuple:?} on {bus:?}, which does not exist", table.name())),
        }
    }

    /// Main columns of the table `bytes`.
    pub fn trace(self) -> RowMajorMatrix<F> {
        let counts = self.bytes.into_iter().map(|c| F::from_u32(c.into_inner())).collect();
        RowMajorMatrix::new(counts, BYTES_COLUMNS)
    }
}

impl Default for Counts {
    fn default() -> Self {
        Self::new()
    }
}
