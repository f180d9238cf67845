//! A polynomial with base-field coefficients at a point, eight coefficients a row: what combines opened columns.
//! `out = acc p^8 + v7 p^7 + ... + v1 p + v0`; two cells hold the eight values.

use p3_field::Algebra;
use zisk_prover::columns;
use zisk_prover::stark::config::Val;
use zisk_prover::stark::table::{Columns, Table, TableBuilder};

use super::{Slot, Value, on_bus, product};

columns! {
    /// The preprocessed columns.
    pub struct HornerKind<T> {
        /// The point.
        pub point: Slot<T>,
        /// What comes in.
        pub acc: Slot<T>,
        /// Coefficients 0..4 and 4..8.
        pub values: [Slot<T>; 2],
        /// What goes out.
        pub out: Slot<T>,
    }
}

columns! {
    /// The main columns.
    pub struct HornerColumns<T> {
        /// The point.
        pub point: Value<T>,
        /// What comes in.
        pub acc: Value<T>,
        /// Coefficients 0..4 and 4..8.
        pub values: [Value<T>; 2],
        /// After two, four and six coefficients.
        pub partial: [Value<T>; 3],
        /// After eight.
        pub out: Value<T>,
    }
}

/// The table.
pub struct Horner;

/// `acc p^2 + first p + second`, for base-field `first` and `second`.
pub(crate) fn two_steps<E: Algebra<Val> + Clone>(
    acc: &Value<E>,
    point: &Value<E>,
    square: &Value<E>,
    first: &E,
    second: &E,
) -> Value<E> {
    let mut sum = product(acc, square);
    for (sum, p) in sum.iter_mut().zip(point) {
        *sum += first.clone() * p.clone();
    }
    sum[0] += second.clone();
    sum
}

impl Table for Horner {
    fn name(&self) -> &'static str {
        "horner"
    }

    fn width(&self) -> usize {
        HornerColumns::<u32>::WIDTH
    }

    fn preprocessed_width(&self) -> usize {
        HornerKind::<u32>::WIDTH
    }

    fn eval<B: TableBuilder>(&self, preprocessed: &[B::Expr], row: &[B::Expr], builder: &mut B) {
        let kind: &HornerKind<B::Expr> = Columns::of(preprocessed);
        let row: &HornerColumns<B::Expr> = Columns::of(row);
        let square = product(&row.point, &row.point);
        let [low, high] = &row.values;
        let steps = [
            (&row.acc, high, 2, &row.partial[0]),
            (&row.partial[0], high, 0, &row.partial[1]),
            (&row.partial[1], low, 2, &row.partial[2]),
            (&row.partial[2], low, 0, &row.out),
        ];
        for (before, values, at, after) in steps {
            let expected = two_steps(before, &row.point, &square, &values[at + 1], &values[at]);
            for (x, y) in expected.into_iter().zip(after) {
                builder.assert_zero(x - y.clone());
            }
        }
        on_bus(builder, &kind.point, &row.point);
        on_bus(builder, &kind.acc, &row.acc);
        on_bus(builder, &kind.values[0], low);
        on_bus(builder, &kind.values[1], high);
        on_bus(builder, &kind.out, &row.out);
    }
}
