//! Executing a circuit on inputs: fills the memory, then the tables.

use p3_field::{BasedVectorSpace, Field, PrimeCharacteristicRing, PrimeField32};
use p3_koala_bear::default_koalabear_poseidon2_16;
use p3_matrix::dense::RowMajorMatrix;
use p3_symmetric::Permutation as _;
use zisk_prover::stark::config::{Challenge, Val};
use zisk_prover::stark::table::{Columns, Table};

use crate::builder::Cell;
use crate::circuit::{Circuit, Gate, Operation, Solve};
use crate::machine::arithmetic::{ArithmeticColumns, LANES};
use crate::machine::bits::{BITS, BitsColumns, HIGH};
use crate::machine::horner::{HornerColumns, two_steps};
use crate::machine::permutation::PermutationColumns;
use crate::machine::split::SplitColumns;
use crate::machine::{MachineTable, TABLES, coefficients, product};

/// Why a circuit has no proof for the inputs given.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum ExecuteError {
    /// Wrong number of inputs.
    #[error("the circuit takes {expected} inputs, not {got}")]
    Inputs {
        /// Inputs of the circuit.
        expected: usize,
        /// Inputs given.
        got: usize,
    },
    /// An operation's relation does not hold.
    #[error("operation {operation} (of table {table:?}) does not hold for these inputs")]
    Unsatisfied {
        /// Number of the operation.
        operation: usize,
        /// Its table; none for what only computes values.
        table: Option<MachineTable>,
    },
}

/// The values of all cells.
pub struct Memory {
    values: Vec<Option<Challenge>>,
}

impl Memory {
    fn get(&self, cell: Cell) -> Option<Challenge> {
        self.values[cell.0 as usize]
    }

    /// Writes a cell; `None` if it holds another value.
    fn set(&mut self, cell: Cell, value: Challenge) -> Option<()> {
        let at = &mut self.values[cell.0 as usize];
        (*at.get_or_insert(value) == value).then_some(())
    }

    fn value(&self, cell: Cell) -> [Val; 4] {
        coefficients(self.get(cell).expect("execution wrote every cell"))
    }

    fn state(&self, cells: [Cell; 4]) -> Option<[Val; 16]> {
        let mut state = [Val::ZERO; 16];
        for (part, cell) in state.chunks_exact_mut(4).zip(cells) {
            part.copy_from_slice(&coefficients(self.get(cell)?));
        }
        Some(state)
    }

    /// Public values.
    pub fn publics(&self, circuit: &Circuit) -> Vec<Challenge> {
        (0..circuit.publics).map(|i| self.get(Cell(i as u32)).expect("execution wrote every cell")).collect()
    }
}

pub(crate) fn value(coefficients: &[Val]) -> Challenge {
    Challenge::from_basis_coefficients_slice(coefficients).expect("four coefficients")
}

/// The inputs of the permutation in the order in which it takes them, for a bit.
fn swapped(input: [Cell; 4], bit: bool) -> [Cell; 4] {
    let [a, b, c, d] = input;
    if bit { [c, d, a, b] } else { input }
}

impl Circuit {
    /// Computes the values of all cells.
    pub fn execute(&self, inputs: &[Challenge]) -> Result<Memory, ExecuteError> {
        if inputs.len() != self.inputs.len() {
            return Err(ExecuteError::Inputs { expected: self.inputs.len(), got: inputs.len() });
        }
        let mut memory = Memory { values: vec![None; self.addresses] };
        let permutation = default_koalabear_poseidon2_16();
        for (&cell, &value) in self.inputs.iter().zip(inputs) {
            // Two inputs that are one cell: the first operation has nothing to do with it, but some number must be named.
            memory.set(cell, value).ok_or(ExecuteError::Unsatisfied { operation: 0, table: None })?;
        }
        for (number, operation) in self.operations.iter().enumerate() {
            memory
                .step(operation, |state| permutation.permute(state))
                .ok_or(ExecuteError::Unsatisfied { operation: number, table: operation.table() })?;
        }
        Ok(memory)
    }

    /// The main columns.
    pub fn traces(&self, memory: &Memory) -> [RowMajorMatrix<Val>; TABLES] {
        let mut traces = MachineTable::ALL.map(|table| {
            let height = self.preprocessed[table as usize].values.len() / table.preprocessed_width();
            RowMajorMatrix::new(Val::zero_vec(height * table.width()), table.width())
        });
        let mut filled = [0; TABLES];
        for operation in &self.operations {
            let Some(table) = operation.table().map(|table| table as usize) else { continue };
            let width = traces[table].width;
            let n = filled[table];
            filled[table] += 1;
            let row = if table == MachineTable::Arithmetic as usize { n / LANES } else { n };
            memory.fill(operation, n, &mut traces[table].values[row * width..(row + 1) * width]);
        }
        // Padding is a permutation, too.
        let permutations = &mut traces[MachineTable::Permutation as usize];
        let used = filled[MachineTable::Permutation as usize] * permutations.width;
        permutations.values[used..]
            .chunks_exact_mut(permutations.width)
            .for_each(|row| PermutationColumns::of_mut(row).fill_rounds());
        traces
    }
}

impl Memory {
    /// Executes an operation; `None` if it does not hold.
    fn step(&mut self, operation: &Operation, permute: impl Fn([Val; 16]) -> [Val; 16]) -> Option<()> {
        match *operation {
            Operation::Gate(Gate { a, b, c, d, product, scales, constant, solve }) => {
                if solve == Solve::Inverse {
                    let inverse = self.get(a?)?.try_inverse()?;
                    self.set(b?, inverse)?;
                    return self.set(d, Challenge::ONE);
                }
                let of = |cell: Option<Cell>| cell.map_or(Some(Challenge::ZERO), |cell| self.get(cell));
                let (a, b, c) = (of(a)?, of(b)?, of(c)?);
                self.set(d, a * b * product + a * scales[0] + b * scales[1] + c * scales[2] + constant)
            }
            Operation::Horner { point, acc, values, out } => {
                let (point, mut acc) = (self.get(point)?, self.get(acc)?);
                for cell in values.into_iter().rev() {
                    for v in coefficients(self.get(cell)?).into_iter().rev() {
                        acc = acc * point + v;
                    }
                }
                self.set(out, acc)
            }
            Operation::Permute { input, bit, output } => {
                let bit = bit.map_or(Some(Challenge::ZERO), |bit| self.get(bit))?;
                let after = permute(self.state(swapped(input, bit == Challenge::ONE))?);
                output.into_iter().zip(after.chunks_exact(4)).try_for_each(|(cell, part)| self.set(cell, value(part)))
            }
            Operation::Split { whole, parts } => {
                if let Some(whole) = self.get(whole) {
                    return parts.into_iter().zip(coefficients(whole)).try_for_each(|(cell, x)| self.set(cell, x.into()));
                }
                let mut joined = [Val::ZERO; 4];
                for (x, cell) in joined.iter_mut().zip(parts) {
                    *x = base(self.get(cell)?)?;
                }
                self.set(whole, value(&joined))
            }
            Operation::Insert { ref siblings, ref bits, value, ref row } => {
                let bit = |(i, &bit): (usize, &Cell)| Some(usize::from(self.get(bit)? == Challenge::ONE) << i);
                let index = bits.iter().enumerate().map(bit).sum::<Option<usize>>()?;
                let mut values = siblings.iter().map(|&cell| self.get(cell)).collect::<Option<Vec<_>>>()?;
                values.insert(index, self.get(value)?);
                row.iter().zip(values).try_for_each(|(&cell, value)| self.set(cell, value))
            }
            Operation::Bits { value, ref bits } => {
                let number = base(self.get(value)?)?.as_canonical_u32();
                bits.iter().enumerate().try_for_each(|(i, &cell)| self.set(cell, Challenge::from_bool(number >> i & 1 == 1)))
            }
        }
    }

    /// Fills an operation's row; `n` is its number among those of its table.
    fn fill(&self, operation: &Operation, n: usize, row: &mut [Val]) {
        match *operation {
            Operation::Gate(Gate { a, b, c, d, .. }) => {
                ArithmeticColumns::of_mut(row).lanes[n % LANES] =
                    [a, b, c, Some(d)].map(|cell| cell.map_or([Val::ZERO; 4], |cell| self.value(cell)));
            }
            Operation::Horner { point, acc, values, out } => {
                let (point, acc) = (self.value(point), self.value(acc));
                let values = values.map(|cell| self.value(cell));
                let square = product(&point, &point);
                let [low, high] = &values;
                let first = two_steps(&acc, &point, &square, &high[3], &high[2]);
                let second = two_steps(&first, &point, &square, &high[1], &high[0]);
                let third = two_steps(&second, &point, &square, &low[3], &low[2]);
                *HornerColumns::of_mut(row) =
                    HornerColumns { point, acc, values, partial: [first, second, third], out: self.value(out) };
            }
            Operation::Permute { input, bit, .. } => {
                let swap = bit.is_some_and(|bit| self.get(bit) == Some(Challenge::ONE));
                let read = swapped(input, swap);
                let columns = PermutationColumns::of_mut(row);
                columns.bit = Val::from_bool(swap);
                columns.first = [read[0], read[1]].map(|cell| Val::from_u32(cell.0));
                columns.input = self.state(read).expect("execution wrote every cell");
                columns.fill_rounds();
            }
            Operation::Insert { .. } => {}
            Operation::Split { whole, .. } => SplitColumns::of_mut(row).value = self.value(whole),
            Operation::Bits { ref bits, .. } => {
                let bits = bits.map(|cell| self.value(cell)[0]);
                let all = |range: std::ops::Range<usize>| bits[HIGH..][range].iter().copied().product();
                *BitsColumns::<Val>::of_mut(row) = BitsColumns { bits, all_high: [all(0..3), all(0..5), all(0..BITS - HIGH)] };
            }
        }
    }
}

/// A value of the base field, if it is one.
fn base(value: Challenge) -> Option<Val> {
    let [x, rest @ ..] = coefficients(value);
    rest.iter().all(|&y| y == Val::ZERO).then_some(x)
}
