//! Building a circuit: the builder records operations on cells.

use std::collections::HashMap;

use p3_field::PrimeCharacteristicRing;
use zisk_prover::stark::config::{Challenge, Val};

use crate::circuit::{Circuit, Gate, Operation, Solve, log_heights};
use crate::machine::bits::BITS;
use crate::machine::{TABLES, coefficients};

/// A cell of the machine's memory: a value of the extension field that is the same wherever it is used.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct Cell(pub(crate) u32);

/// A cell whose value is 0 or 1.
#[derive(Clone, Copy, Debug)]
pub struct Bit(Cell);

impl Bit {
    /// The cell.
    pub fn cell(self) -> Cell {
        self.0
    }
}

/// Records a circuit.
#[derive(Default)]
pub struct Builder {
    /// Parent of each cell in the forest of cells that are one.
    parents: Vec<u32>,
    operations: Vec<Operation>,
    inputs: Vec<Cell>,
    publics: Vec<Cell>,
    constants: HashMap<[Val; 4], Cell>,
    splits: HashMap<Cell, [Cell; 4]>,
}

impl Builder {
    /// An empty circuit.
    pub fn new() -> Self {
        Self::default()
    }

    fn cell(&mut self) -> Cell {
        let cell = Cell(self.parents.len() as u32);
        self.parents.push(cell.0);
        cell
    }

    fn root(&mut self, cell: Cell) -> Cell {
        let mut at = cell.0;
        while self.parents[at as usize] != at {
            let next = self.parents[at as usize];
            self.parents[at as usize] = self.parents[next as usize];
            at = next;
        }
        Cell(at)
    }

    /// States that two cells hold the same value. They become one cell, which costs nothing.
    pub fn connect(&mut self, a: Cell, b: Cell) {
        let (a, b) = (self.root(a), self.root(b));
        self.parents[b.0 as usize] = a.0;
    }

    /// The next input: nothing is known of its value.
    pub fn input(&mut self) -> Cell {
        let cell = self.cell();
        self.inputs.push(cell);
        cell
    }

    /// Several inputs.
    pub fn inputs<const N: usize>(&mut self) -> [Cell; N] {
        std::array::from_fn(|_| self.input())
    }

    /// Number of inputs so far.
    pub fn input_count(&self) -> usize {
        self.inputs.len()
    }

    /// Makes the value of a cell the next public value.
    pub fn public(&mut self, cell: Cell) {
        // A cell of its own, so that every public value has its own address.
        let copy = self.cell();
        self.operations.push(Operation::Gate(Gate {
            a: Some(cell),
            scales: [Val::ONE, Val::ZERO, Val::ZERO],
            ..Gate::new(copy)
        }));
        self.publics.push(copy);
    }

    /// A constant.
    pub fn constant(&mut self, value: Challenge) -> Cell {
        if let Some(&cell) = self.constants.get(&coefficients(value)) {
            return cell;
        }
        let d = self.cell();
        self.operations.push(Operation::Gate(Gate { constant: value, ..Gate::new(d) }));
        self.constants.insert(coefficients(value), d);
        d
    }

    /// A constant of the base field.
    pub fn base(&mut self, value: Val) -> Cell {
        self.constant(value.into())
    }

    /// Zero.
    pub fn zero(&mut self) -> Cell {
        self.constant(Challenge::ZERO)
    }

    /// One.
    pub fn one(&mut self) -> Cell {
        self.constant(Challenge::ONE)
    }

    /// `product a b + scales . (a, b, c) + constant`; cells that have no factor may be missing.
    pub fn gate(&mut self, product: Val, scales: [Val; 3], cells: [Option<Cell>; 3], constant: Challenge) -> Cell {
        let d = self.cell();
        let [a, b, c] = cells;
        self.operations.push(Operation::Gate(Gate { a, b, c, product, scales, constant, ..Gate::new(d) }));
        d
    }

    /// a + b.
    pub fn add(&mut self, a: Cell, b: Cell) -> Cell {
        self.gate(Val::ZERO, [Val::ONE, Val::ONE, Val::ZERO], [Some(a), Some(b), None], Challenge::ZERO)
    }

    /// a - b.
    pub fn sub(&mut self, a: Cell, b: Cell) -> Cell {
        self.gate(Val::ZERO, [Val::ONE, Val::NEG_ONE, Val::ZERO], [Some(a), Some(b), None], Challenge::ZERO)
    }

    /// a b.
    pub fn mul(&mut self, a: Cell, b: Cell) -> Cell {
        self.gate(Val::ONE, [Val::ZERO; 3], [Some(a), Some(b), None], Challenge::ZERO)
    }

    /// a b + c.
    pub fn mul_add(&mut self, a: Cell, b: Cell, c: Cell) -> Cell {
        self.gate(Val::ONE, [Val::ZERO, Val::ZERO, Val::ONE], [Some(a), Some(b), Some(c)], Challenge::ZERO)
    }

    /// c - a b.
    pub fn mul_sub(&mut self, a: Cell, b: Cell, c: Cell) -> Cell {
        self.gate(Val::NEG_ONE, [Val::ZERO, Val::ZERO, Val::ONE], [Some(a), Some(b), Some(c)], Challenge::ZERO)
    }

    /// a a.
    pub fn square(&mut self, a: Cell) -> Cell {
        self.mul(a, a)
    }

    /// scale a + constant.
    pub fn affine(&mut self, a: Cell, scale: Val, constant: Challenge) -> Cell {
        self.gate(Val::ZERO, [scale, Val::ZERO, Val::ZERO], [Some(a), None, None], constant)
    }

    /// 1 / a; there is none for zero.
    pub fn invert(&mut self, a: Cell) -> Cell {
        let (b, d) = (self.cell(), self.one());
        self.operations.push(Operation::Gate(Gate {
            a: Some(a),
            b: Some(b),
            product: Val::ONE,
            solve: Solve::Inverse,
            ..Gate::new(d)
        }));
        b
    }

    /// States that a cell is 0 or 1.
    pub fn assert_bit(&mut self, cell: Cell) -> Bit {
        let square = self.square(cell);
        self.connect(square, cell);
        Bit(cell)
    }

    /// `zero` if the bit is 0, `one` if it is 1.
    pub fn select(&mut self, bit: Bit, zero: Cell, one: Cell) -> Cell {
        let difference = self.sub(one, zero);
        self.mul_add(bit.0, difference, zero)
    }

    /// The coefficients of a value.
    pub fn split(&mut self, whole: Cell) -> [Cell; 4] {
        if let Some(&parts) = self.splits.get(&whole) {
            return parts;
        }
        let parts = std::array::from_fn(|_| self.cell());
        self.operations.push(Operation::Split { whole, parts });
        self.splits.insert(whole, parts);
        parts
    }

    /// The value with these coefficients, all of which are thereby stated to be of the base field.
    pub fn join(&mut self, parts: [Cell; 4]) -> Cell {
        let whole = self.cell();
        self.operations.push(Operation::Split { whole, parts });
        self.splits.insert(whole, parts);
        whole
    }

    /// Base-field values, four to a cell.
    pub fn pack<const N: usize>(&mut self, elements: &[Cell]) -> [Cell; N] {
        assert_eq!(elements.len(), 4 * N);
        std::array::from_fn(|cell| self.join(std::array::from_fn(|i| elements[4 * cell + i])))
    }

    /// States that a value is a number of so many bits.
    pub fn assert_below(&mut self, value: Cell, bits: usize) {
        let zero = self.zero();
        for bit in &self.bits(value)[bits..] {
            self.connect(bit.cell(), zero);
        }
    }

    /// The bits of the canonical form of a value, least significant first; it is thereby stated to be of the base field.
    pub fn bits(&mut self, value: Cell) -> [Bit; BITS] {
        let bits = std::array::from_fn(|_| self.cell());
        self.operations.push(Operation::Bits { value, bits: Box::new(bits) });
        bits.map(Bit)
    }

    /// A row of values: `siblings` and, at the index that the bits give, `value`. Nothing is stated of it: the prover is only told
    /// how to compute it.
    pub fn insert(&mut self, siblings: &[Cell], bits: &[Bit], value: Cell) -> Vec<Cell> {
        let row: Vec<Cell> = (0..=siblings.len()).map(|_| self.cell()).collect();
        let bits = bits.iter().map(|bit| bit.cell()).collect();
        self.operations.push(Operation::Insert { siblings: siblings.to_vec(), bits, value, row: row.clone() });
        row
    }

    /// Poseidon2.
    pub fn permute(&mut self, input: [Cell; 4]) -> [Cell; 4] {
        self.permute_swapped(input, None)
    }

    /// Poseidon2 of `input`, or, where the bit is 1, of `input` with its halves swapped.
    pub fn permute_swapped(&mut self, input: [Cell; 4], bit: Option<Bit>) -> [Cell; 4] {
        let output = std::array::from_fn(|_| self.cell());
        self.operations.push(Operation::Permute { input, bit: bit.map(Bit::cell), output });
        output
    }

    /// `acc p^8 + v7 p^7 + ... + v0` for the coefficients v of two cells.
    pub fn horner(&mut self, point: Cell, acc: Cell, values: [Cell; 2]) -> Cell {
        let out = self.cell();
        self.operations.push(Operation::Horner { point, acc, values, out });
        out
    }

    /// log2 heights of the tables, so far.
    pub fn log_heights(&self) -> [u8; TABLES] {
        log_heights(&self.operations)
    }

    /// The finished circuit.
    pub fn build(self) -> Circuit {
        self.build_padded([0; TABLES])
    }

    /// The finished circuit, its tables of at least these log2 heights.
    pub fn build_padded(mut self, log_heights: [u8; TABLES]) -> Circuit {
        let roots: Vec<Cell> = (0..self.parents.len()).map(|i| self.root(Cell(i as u32))).collect();
        Circuit::new(self.operations, &roots, &self.inputs, &self.publics, log_heights)
    }
}
