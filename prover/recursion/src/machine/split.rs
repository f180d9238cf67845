//! A value and its four coefficients, each a cell of its own. All of them are on the bus as they stand in the row's four columns.

use zisk_prover::columns;
use zisk_prover::stark::table::{Columns, Table, TableBuilder};

use super::{Slot, Value, base_on_bus, on_bus};

columns! {
    /// The preprocessed columns.
    pub struct SplitKind<T> {
        /// The value.
        pub whole: Slot<T>,
        /// Its coefficients.
        pub parts: [Slot<T>; 4],
    }
}

columns! {
    /// The main columns.
    pub struct SplitColumns<T> {
        /// The coefficients.
        pub value: Value<T>,
    }
}

/// The table.
pub struct Split;

impl Table for Split {
    fn name(&self) -> &'static str {
        "split"
    }

    fn width(&self) -> usize {
        SplitColumns::<u32>::WIDTH
    }

    fn preprocessed_width(&self) -> usize {
        SplitKind::<u32>::WIDTH
    }

    fn eval<B: TableBuilder>(&self, preprocessed: &[B::Expr], row: &[B::Expr], builder: &mut B) {
        let kind: &SplitKind<B::Expr> = Columns::of(preprocessed);
        let row: &SplitColumns<B::Expr> = Columns::of(row);
        on_bus(builder, &kind.whole, &row.value);
        for (slot, part) in kind.parts.iter().zip(&row.value) {
            base_on_bus(builder, slot, part);
        }
    }
}
