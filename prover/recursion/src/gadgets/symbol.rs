//! Values that record: evaluating an expression over symbols builds the gates that compute it.

use std::cell::RefCell;
use std::fmt;
use std::iter::{Product, Sum};
use std::ops::{Add, AddAssign, Mul, MulAssign, Neg, Sub, SubAssign};

use p3_field::{Algebra, PrimeCharacteristicRing};
use zisk_prover::stark::config::{Challenge, Val};

use crate::builder::{Builder, Cell};

/// A constant, or `scale cell + offset`: only products and sums of cells cost gates.
#[derive(Clone, Copy)]
pub enum Symbol<'a> {
    /// A constant.
    Constant(Val),
    /// An affine function of a cell.
    Affine(Affine<'a>),
}

/// `scale cell + offset`, with the builder that has the cell.
#[derive(Clone, Copy)]
pub struct Affine<'a> {
    builder: &'a RefCell<Builder>,
    cell: Cell,
    scale: Val,
    offset: Val,
}

impl fmt::Debug for Symbol<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Constant(value) => write!(f, "{value}"),
            Self::Affine(Affine { cell, scale, offset, .. }) => write!(f, "{scale} {cell:?} + {offset}"),
        }
    }
}

/// Runs `body` with a builder that symbols can share.
pub fn with_symbols<T>(builder: &mut Builder, body: impl FnOnce(&RefCell<Builder>) -> T) -> T {
    let shared = RefCell::new(std::mem::take(builder));
    let result = body(&shared);
    *builder = shared.into_inner();
    result
}

impl<'a> Symbol<'a> {
    /// The value of a cell.
    pub fn cell(builder: &'a RefCell<Builder>, cell: Cell) -> Self {
        Self::affine(builder, cell, Val::ONE, Val::ZERO)
    }

    fn affine(builder: &'a RefCell<Builder>, cell: Cell, scale: Val, offset: Val) -> Self {
        if scale == Val::ZERO { Self::Constant(offset) } else { Self::Affine(Affine { builder, cell, scale, offset }) }
    }

    /// A cell with this value.
    pub fn to_cell(self, builder: &RefCell<Builder>) -> Cell {
        match self {
            Self::Constant(value) => builder.borrow_mut().base(value),
            Self::Affine(Affine { cell, scale: Val::ONE, offset: Val::ZERO, .. }) => cell,
            Self::Affine(Affine { cell, scale, offset, .. }) => builder.borrow_mut().affine(cell, scale, offset.into()),
        }
    }

    /// `self factor + addend`, in one gate where that is possible.
    pub fn mul_add(self, factor: Self, addend: Self) -> Self {
        let (Self::Affine(a), Self::Affine(b), Self::Affine(c)) = (self, factor, addend) else {
            return self * factor + addend;
        };
        let constant = a.offset * b.offset + c.offset;
        let scales = [a.scale * b.offset, b.scale * a.offset, c.scale];
        a.gate(a.scale * b.scale, scales, [Some(a.cell), Some(b.cell), Some(c.cell)], constant)
    }
}

impl<'a> Affine<'a> {
    fn gate(self, product: Val, scales: [Val; 3], cells: [Option<Cell>; 3], constant: Val) -> Symbol<'a> {
        let cell = self.builder.borrow_mut().gate(product, scales, cells, constant.into());
        Symbol::cell(self.builder, cell)
    }
}

impl Add for Symbol<'_> {
    type Output = Self;

    fn add(self, other: Self) -> Self {
        match (self, other) {
            (Self::Constant(x), Self::Constant(y)) => Self::Constant(x + y),
            (Self::Affine(a), Self::Constant(x)) | (Self::Constant(x), Self::Affine(a)) => {
                Self::Affine(Affine { offset: a.offset + x, ..a })
            }
            (Self::Affine(a), Self::Affine(b)) if a.cell == b.cell => {
                Self::affine(a.builder, a.cell, a.scale + b.scale, a.offset + b.offset)
            }
            (Self::Affine(a), Self::Affine(b)) => {
                a.gate(Val::ZERO, [a.scale, b.scale, Val::ZERO], [Some(a.cell), Some(b.cell), None], a.offset + b.offset)
            }
        }
    }
}

impl Mul for Symbol<'_> {
    type Output = Self;

    fn mul(self, other: Self) -> Self {
        match (self, other) {
            (Self::Constant(x), Self::Constant(y)) => Self::Constant(x * y),
            (Self::Affine(a), Self::Constant(x)) | (Self::Constant(x), Self::Affine(a)) => {
                Self::affine(a.builder, a.cell, a.scale * x, a.offset * x)
            }
            (Self::Affine(a), Self::Affine(b)) => {
                let scales = [a.scale * b.offset, b.scale * a.offset, Val::ZERO];
                a.gate(a.scale * b.scale, scales, [Some(a.cell), Some(b.cell), None], a.offset * b.offset)
            }
        }
    }
}

impl Neg for Symbol<'_> {
    type Output = Self;

    fn neg(self) -> Self {
        self * Self::NEG_ONE
    }
}

impl Sub for Symbol<'_> {
    type Output = Self;

    fn sub(self, other: Self) -> Self {
        self + -other
    }
}

impl Default for Symbol<'_> {
    fn default() -> Self {
        Self::ZERO
    }
}

impl From<Val> for Symbol<'_> {
    fn from(value: Val) -> Self {
        Self::Constant(value)
    }
}

impl Sum for Symbol<'_> {
    fn sum<I: Iterator<Item = Self>>(iter: I) -> Self {
        iter.fold(Self::ZERO, Add::add)
    }
}

impl Product for Symbol<'_> {
    fn product<I: Iterator<Item = Self>>(iter: I) -> Self {
        iter.fold(Self::ONE, Mul::mul)
    }
}

macro_rules! with_values {
    ($($trait:ident $method:ident $assign:ident $assign_method:ident),*) => {$(
        impl $assign for Symbol<'_> {
            fn $assign_method(&mut self, other: Self) {
                *self = $trait::$method(*self, other);
            }
        }
        impl $trait<Val> for Symbol<'_> {
            type Output = Self;
            fn $method(self, other: Val) -> Self {
                $trait::$method(self, Self::Constant(other))
            }
        }
        impl $assign<Val> for Symbol<'_> {
            fn $assign_method(&mut self, other: Val) {
                *self = $trait::$method(*self, other);
            }
        }
    )*};
}
with_values!(Add add AddAssign add_assign, Sub sub SubAssign sub_assign, Mul mul MulAssign mul_assign);

impl PrimeCharacteristicRing for Symbol<'_> {
    type PrimeSubfield = Val;
    const ZERO: Self = Self::Constant(Val::ZERO);
    const ONE: Self = Self::Constant(Val::ONE);
    const TWO: Self = Self::Constant(Val::TWO);
    const NEG_ONE: Self = Self::Constant(Val::NEG_ONE);

    fn from_prime_subfield(value: Val) -> Self {
        Self::Constant(value)
    }
}

impl Algebra<Val> for Symbol<'_> {}

/// The element whose powers are the basis of the extension field.
pub fn basis_root() -> Challenge {
    <Challenge as p3_field::BasedVectorSpace<Val>>::ith_basis_element(1).expect("degree 4")
}
