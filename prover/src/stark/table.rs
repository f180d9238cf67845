//! What a table is, and what its constraints are written against.

use p3_field::{Algebra, PrimeCharacteristicRing};
use p3_koala_bear::KoalaBear;

/// A bus: tables send and receive tuples on it; all that is sent must be received.
///
/// The discriminant is the first element of the tuple's fingerprint, so tuples of different buses never cancel.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
#[repr(u8)]
pub enum Bus {
    /// (clk, pc lo, pc hi): a step receives its own state and sends the next.
    State = 1,
    /// A row of the program: see `tables::adapter::Fetch`.
    Program = 2,
    /// (word, timestamp, 4 limbs): an access receives what was there before and sends what is there after.
    Memory = 3,
    /// (x): x < 2^16.
    Range16 = 4,
    /// (x, y): both bytes.
    Bytes = 5,
    /// (x, y, x & y) of bytes.
    And = 6,
    /// (word): the words a segment touches, in increasing order.
    TouchedChain = 7,
    /// (word): the ledger's words, in increasing order.
    LedgerChain = 8,
    /// Global: (word, tag, 4 limbs): a word between segments.
    Word = 9,
    /// Global: (word, 4 limbs): a word of the program's image.
    Image = 10,
    /// Global: (word, 4 limbs): final value of a public word.
    Public = 11,
    /// (address, 4 coefficients): a value in the memory of the machine that proves circuits.
    Cell = 12,
}

impl Bus {
    /// Whether the bus balances over the whole job rather than within one segment.
    pub const fn is_global(self) -> bool {
        matches!(self, Self::Word | Self::Image | Self::Public)
    }
}

/// What constraints are written against: evaluation over packed rows, at a point, over single rows, or symbolically.
///
/// All expressions are polynomials in the columns of one row. Constraints have degree at most 3, tuples on buses degree 1,
/// multiplicities degree at most 2 (then the LogUp constraint for two interactions has degree 3).
pub trait TableBuilder {
    /// Value of a column or of an expression in columns.
    type Expr: Algebra<KoalaBear> + Clone;

    /// `expr` must be zero on every row.
    fn assert_zero(&mut self, expr: Self::Expr);

    /// One interaction; use [`TableBuilder::send`] and [`TableBuilder::receive`].
    fn interact(&mut self, bus: Bus, multiplicity: Self::Expr, tuple: &[Self::Expr]);

    /// Tag of the segment (index + 1), a public value.
    fn tag(&self) -> Self::Expr;

    /// Puts `tuple` on the bus `multiplicity` times.
    fn send(&mut self, bus: Bus, multiplicity: Self::Expr, tuple: &[Self::Expr]) {
        self.interact(bus, multiplicity, tuple);
    }

    /// Takes `tuple` off the bus `multiplicity` times.
    fn receive(&mut self, bus: Bus, multiplicity: Self::Expr, tuple: &[Self::Expr]) {
        self.interact(bus, -multiplicity, tuple);
    }

    /// `a` and `b` must be equal.
    fn assert_eq(&mut self, a: Self::Expr, b: Self::Expr) {
        self.assert_zero(a - b);
    }

    /// `expr` must be 0 or 1.
    fn assert_bool(&mut self, expr: Self::Expr) {
        self.assert_zero(expr.clone() * (expr - Self::Expr::ONE));
    }

    /// `expr` must be zero where `condition` is not.
    fn assert_zero_when(&mut self, condition: Self::Expr, expr: Self::Expr) {
        self.assert_zero(condition * expr);
    }
}

/// A table: its shape and its constraints.
pub trait Table: Sync {
    /// Name for messages.
    fn name(&self) -> &'static str;
    /// Number of columns the prover fills.
    fn width(&self) -> usize;
    /// Number of preprocessed columns.
    fn preprocessed_width(&self) -> usize {
        0
    }
    /// The constraints of one row.
    fn eval<B: TableBuilder>(&self, preprocessed: &[B::Expr], row: &[B::Expr], builder: &mut B);
}

/// Makes an enum of tables a table, by what each variant stands for: `one_of_tables! { AnyTable { Add => add::Add } }`.
#[macro_export]
macro_rules! one_of_tables {
    ($any:ident { $($variant:ident => $table:path),* $(,)? }) => {
        impl $crate::stark::table::Table for $any {
            fn name(&self) -> &'static str {
                match self { $(Self::$variant => $crate::stark::table::Table::name(&$table),)* }
            }

            fn width(&self) -> usize {
                match self { $(Self::$variant => $crate::stark::table::Table::width(&$table),)* }
            }

            fn preprocessed_width(&self) -> usize {
                match self { $(Self::$variant => $crate::stark::table::Table::preprocessed_width(&$table),)* }
            }

            #[inline(always)]
            fn eval<B: $crate::stark::table::TableBuilder>(&self, preprocessed: &[B::Expr], row: &[B::Expr], builder: &mut B) {
                match self { $(Self::$variant => $crate::stark::table::Table::eval(&$table, preprocessed, row, builder),)* }
            }
        }
    };
}

/// A `#[repr(C)]` struct of columns, all of type `T` (arrays of it and other such structs included).
///
/// # Safety
/// The implementor consists of exactly `Self::WIDTH` values of `T` and nothing else; [`columns!`](crate::columns) sees to that.
#[allow(unsafe_code)]
pub unsafe trait Columns<T>: Sized {
    /// Number of columns.
    const WIDTH: usize = size_of::<Self>() / size_of::<T>();

    /// Looks at a row as the struct.
    fn of(row: &[T]) -> &Self {
        assert_eq!(row.len(), Self::WIDTH);
        assert_eq!(align_of::<Self>(), align_of::<T>());
        // SAFETY: same size and alignment, and only `T`s inside (contract of the trait).
        unsafe { &*row.as_ptr().cast::<Self>() }
    }

    /// The same, to fill it.
    fn of_mut(row: &mut [T]) -> &mut Self {
        assert_eq!(row.len(), Self::WIDTH);
        assert_eq!(align_of::<Self>(), align_of::<T>());
        // SAFETY: as above.
        unsafe { &mut *row.as_mut_ptr().cast::<Self>() }
    }
}

/// Declares a struct of columns: `columns! { /// doc  pub struct AddColumns<T> { /// doc  pub clk: T, pub b: [T; 4], pub fetch: Fetch<T> } }`.
#[macro_export]
macro_rules! columns {
    ($(#[$doc:meta])* pub struct $name:ident<T> { $($(#[$field_doc:meta])* pub $field:ident : $kind:ty),* $(,)? }) => {
        $(#[$doc])*
        #[repr(C)]
        #[derive(Clone, Copy, Debug)]
        pub struct $name<T> { $($(#[$field_doc])* pub $field: $kind),* }
        // SAFETY: repr(C), and every field is `T`, an array of `T` or another struct of columns.
        #[allow(unsafe_code)]
        unsafe impl<T> $crate::stark::table::Columns<T> for $name<T> {}
    };
}
