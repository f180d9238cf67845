use p3_field::PrimeCharacteristicRing;

use super::columns::{BytesColumns, BytesFixed};
use crate::stark::table::{Bus, Columns, Table, TableBuilder};
use crate::tables::adapter::F;

/// The table.
pub struct Bytes;

impl Table for Bytes {
    fn name(&self) -> &'static str {
        "bytes"
    }

    fn width(&self) -> usize {
        BytesColumns::<F>::WIDTH
    }

    fn preprocessed_width(&self) -> usize {
        BytesFixed::<F>::WIDTH
    }

    fn eval<B: TableBuilder>(&self, preprocessed: &[B::Expr], row: &[B::Expr], b: &mut B) {
        let BytesFixed { x, y, and } = BytesFixed::<B::Expr>::of(preprocessed);
        let counts = BytesColumns::<B::Expr>::of(row);
        b.receive(Bus::Range16, counts.range16.clone(), &[x.clone() + y.clone() * F::from_u32(256)]);
        b.receive(Bus::Bytes, counts.bytes.clone(), &[x.clone(), y.clone()]);
        b.receive(Bus::And, counts.and.clone(), &[x.clone(), y.clone(), and.clone()]);
    }
}
