//! Sums and products: two gates a row, each `d = product a b + a_scale a + b_scale b + c_scale c + constant`.

use zisk_prover::columns;
use zisk_prover::stark::table::{Columns, Table, TableBuilder};

use super::{Slot, Value, on_bus, product};

/// Gates a row.
pub const LANES: usize = 2;

columns! {
    /// What a gate is, preprocessed.
    pub struct GateKind<T> {
        /// The cells a, b, c, d.
        pub slots: [Slot<T>; 4],
        /// Factor of a b.
        pub product: T,
        /// Factors of a, b, c.
        pub scales: [T; 3],
        /// The constant.
        pub constant: Value<T>,
    }
}

columns! {
    /// The preprocessed columns.
    pub struct ArithmeticKind<T> {
        /// By lane.
        pub lanes: [GateKind<T>; LANES],
    }
}

columns! {
    /// The main columns.
    pub struct ArithmeticColumns<T> {
        /// Values of a, b, c, d, by lane.
        pub lanes: [[Value<T>; 4]; LANES],
    }
}

/// The table.
pub struct Arithmetic;

impl Table for Arithmetic {
    fn name(&self) -> &'static str {
        "arithmetic"
    }

    fn width(&self) -> usize {
        ArithmeticColumns::<u32>::WIDTH
    }

    fn preprocessed_width(&self) -> usize {
        ArithmeticKind::<u32>::WIDTH
    }

    fn eval<B: TableBuilder>(&self, preprocessed: &[B::Expr], row: &[B::Expr], builder: &mut B) {
        let kinds: &ArithmeticKind<B::Expr> = Columns::of(preprocessed);
        let rows: &ArithmeticColumns<B::Expr> = Columns::of(row);
        for (kind, values) in kinds.lanes.iter().zip(&rows.lanes) {
            let [a, b, c, d] = values;
            let ab = product(a, b);
            for (i, ab) in ab.into_iter().enumerate() {
                let mut sum = ab * kind.product.clone() + kind.constant[i].clone() - d[i].clone();
                for (scale, value) in kind.scales.iter().zip([a, b, c]) {
                    sum += scale.clone() * value[i].clone();
                }
                builder.assert_zero(sum);
            }
            for (slot, value) in kind.slots.iter().zip(values) {
                on_bus(builder, slot, value);
            }
        }
    }
}
