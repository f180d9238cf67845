//! The machine's tables. A circuit is a fixed list of operations on cells: write-once values of the extension field.
//!
//! Every operation is a row (or part of one) that states a relation between a few cells. Which cells, how often each is used and all constants
//! are preprocessed columns, so the commitment to them is the circuit. The only bus, [`Bus::Cell`], says that all uses of an address
//! hold the same value: one use of the address is sent once for each other use, which receives it. A value that is not the one sent has a negative
//! total, whoever lies.

pub mod arithmetic;
pub mod bits;
pub mod horner;
pub mod permutation;
pub mod split;

use p3_field::extension::BinomiallyExtendable;
use p3_field::{Algebra, BasedVectorSpace, PrimeCharacteristicRing};
use zisk_prover::stark::config::{Challenge, EXTENSION_DEGREE, Val};
use zisk_prover::stark::table::{Bus, TableBuilder};
use zisk_prover::{columns, one_of_tables};

/// A value of the extension field, by coefficients.
pub type Value<T> = [T; EXTENSION_DEGREE];

columns! {
    /// A use of a cell, preprocessed.
    pub struct Slot<T> {
        /// Which cell.
        pub address: T,
        /// How often it is put on the bus: once for each other use if this is the use that sends, else -1; 0 for a cell with one use.
        pub multiplicity: T,
    }
}

/// Puts the value of a slot on the bus.
fn on_bus<B: TableBuilder>(b: &mut B, slot: &Slot<B::Expr>, value: &Value<B::Expr>) {
    let [v0, v1, v2, v3] = value.clone();
    b.send(Bus::Cell, slot.multiplicity.clone(), &[slot.address.clone(), v0, v1, v2, v3]);
}

/// The same for a value of the base field.
fn base_on_bus<B: TableBuilder>(b: &mut B, slot: &Slot<B::Expr>, value: &B::Expr) {
    on_bus(b, slot, &[value.clone(), B::Expr::ZERO, B::Expr::ZERO, B::Expr::ZERO]);
}

/// Product in the extension field.
pub(crate) fn product<E: Algebra<Val> + Clone>(x: &Value<E>, y: &Value<E>) -> Value<E> {
    let w = <Val as BinomiallyExtendable<EXTENSION_DEGREE>>::W;
    std::array::from_fn(|k| {
        let mut low = E::ZERO;
        let mut high = E::ZERO;
        for i in 0..EXTENSION_DEGREE {
            if i <= k {
                low += x[i].clone() * y[k - i].clone();
            } else {
                high += x[i].clone() * y[EXTENSION_DEGREE + k - i].clone();
            }
        }
        low + high * w
    })
}

/// Coefficients of a value.
pub(crate) fn coefficients(value: Challenge) -> Value<Val> {
    let slice: &[Val] = value.as_basis_coefficients_slice();
    std::array::from_fn(|i| slice[i])
}

/// A table of the machine. The discriminant is its place in keys and proofs.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[repr(u8)]
pub enum MachineTable {
    /// Sums and products.
    Arithmetic,
    /// Polynomials with base-field coefficients at a point.
    Horner,
    /// Poseidon2.
    Permutation,
    /// A value and its coefficients.
    Split,
    /// A base-field value and its bits.
    Bits,
}

/// Number of tables.
pub const TABLES: usize = 5;

impl MachineTable {
    /// All of them, in order.
    pub const ALL: [Self; TABLES] = [Self::Arithmetic, Self::Horner, Self::Permutation, Self::Split, Self::Bits];
}

one_of_tables! {
    MachineTable {
        Arithmetic => arithmetic::Arithmetic,
        Horner => horner::Horner,
        Permutation => permutation::Permutation,
        Split => split::Split,
        Bits => bits::Bits,
    }
}
