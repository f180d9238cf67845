use super::columns::{ShiftBytesColumns, ShiftBytesFixed};
use crate::stark::table::{Bus, Columns, Table, TableBuilder};
use crate::tables::adapter::F;

/// The table.
pub struct ShiftBytes;

impl Table for ShiftBytes {
    fn name(&self) -> &'static str {
        "shift_bytes"
    }

    fn width(&self) -> usize {
        ShiftBytesColumns::<F>::WIDTH
    }

    fn preprocessed_width(&self) -> usize {
        ShiftBytesFixed::<F>::WIDTH
    }

    fn eval<B: TableBuilder>(&self, preprocessed: &[B::Expr], row: &[B::Expr], b: &mut B) {
        let ShiftBytesFixed { x, power, hi, lo } = ShiftBytesFixed::<B::Expr>::of(preprocessed);
        let ShiftBytesColumns { count } = ShiftBytesColumns::<B::Expr>::of(row);
        b.receive(
            Bus::ShiftByte,
            count.clone(),
            &[x.clone(), power.clone(), hi.clone(), lo.clone()],
        );
    }
}
