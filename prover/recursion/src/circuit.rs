//! A circuit: its operations, and the preprocessed columns that are its key.

use p3_field::PrimeCharacteristicRing;
use p3_matrix::Matrix;
use p3_matrix::dense::RowMajorMatrix;
use zisk_prover::stark::config::{Challenge, Val};
use zisk_prover::stark::table::{Columns, Table};
use zisk_prover::tables::instruction::log_height;

use crate::builder::Cell;
use crate::machine::arithmetic::{ArithmeticKind, GateKind, LANES};
use crate::machine::bits::{BITS, BitsKind};
use crate::machine::horner::HornerKind;
use crate::machine::permutation::PermutationKind;
use crate::machine::split::SplitKind;
use crate::machine::{MachineTable, Slot, TABLES, coefficients};

/// Which cell of a gate the executor computes.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Solve {
    /// d.
    Result,
    /// b, in `a b = d`.
    Inverse,
}

/// `d = product a b + scales . (a, b, c) + constant`.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Gate {
    pub a: Option<Cell>,
    pub b: Option<Cell>,
    pub c: Option<Cell>,
    pub d: Cell,
    pub product: Val,
    pub scales: [Val; 3],
    pub constant: Challenge,
    pub solve: Solve,
}

impl Gate {
    /// `d = 0`.
    pub fn new(d: Cell) -> Self {
        Self {
            a: None,
            b: None,
            c: None,
            d,
            product: Val::ZERO,
            scales: [Val::ZERO; 3],
            constant: Challenge::ZERO,
            solve: Solve::Result,
        }
    }
}

/// A row of a table, or a part of one: a relation between cells. docs/recursion.md lists them.
#[derive(Clone, Debug)]
pub(crate) enum Operation {
    Gate(Gate),
    Horner {
        point: Cell,
        acc: Cell,
        values: [Cell; 2],
        out: Cell,
    },
    Permute {
        input: [Cell; 4],
        bit: Option<Cell>,
        output: [Cell; 4],
    },
    Split {
        whole: Cell,
        parts: [Cell; 4],
    },
    Bits {
        value: Cell,
        bits: Box<[Cell; BITS]>,
    },
    /// No row, and no relation: computes values of `row` for an honest prover, `value` put among its siblings.
    Insert {
        siblings: Vec<Cell>,
        bits: Vec<Cell>,
        value: Cell,
        row: Vec<Cell>,
    },
}

impl Operation {
    /// Its table.
    pub fn table(&self) -> Option<MachineTable> {
        Some(match self {
            Self::Gate(_) => MachineTable::Arithmetic,
            Self::Horner { .. } => MachineTable::Horner,
            Self::Permute { .. } => MachineTable::Permutation,
            Self::Split { .. } => MachineTable::Split,
            Self::Bits { .. } => MachineTable::Bits,
            Self::Insert { .. } => return None,
        })
    }

    /// Visits the cells, in the order of the slots.
    fn cells(&mut self, mut visit: impl FnMut(&mut Cell)) {
        match self {
            Self::Gate(gate) => {
                [&mut gate.a, &mut gate.b, &mut gate.c].into_iter().flatten().for_each(&mut visit);
                visit(&mut gate.d);
            }
            Self::Horner { point, acc, values, out } => {
                [point, acc].into_iter().chain(values).chain([out]).for_each(visit);
            }
            Self::Permute { input, bit, output } => input.iter_mut().chain(bit).chain(output).for_each(visit),
            Self::Split { whole, parts } => [whole].into_iter().chain(parts).for_each(visit),
            Self::Bits { value, bits } => [value].into_iter().chain(bits.iter_mut()).for_each(visit),
            Self::Insert { siblings, bits, value, row } => {
                siblings.iter_mut().chain(bits).chain([value]).chain(row).for_each(visit)
            }
        }
    }
}

/// A finished circuit.
pub struct Circuit {
    /// Operations in an order in which they can be executed; their cells are addresses.
    pub(crate) operations: Vec<Operation>,
    /// Addresses of the inputs.
    pub(crate) inputs: Vec<Cell>,
    /// Number of public values: they have the first addresses.
    pub(crate) publics: usize,
    /// Number of addresses.
    pub(crate) addresses: usize,
    /// Preprocessed columns, by table.
    pub preprocessed: [RowMajorMatrix<Val>; TABLES],
}

impl Circuit {
    /// Numbers the cells, public ones first, and writes the preprocessed columns.
    pub(crate) fn new(
        mut operations: Vec<Operation>,
        roots: &[Cell],
        inputs: &[Cell],
        publics: &[Cell],
        least: [u8; TABLES],
    ) -> Self {
        const NONE: u32 = u32::MAX;
        let mut addresses = vec![NONE; roots.len()];
        let mut count = 0;
        let mut address = |cell: Cell| {
            let address = &mut addresses[roots[cell.0 as usize].0 as usize];
            if *address == NONE {
                *address = count;
                count += 1;
            }
            Cell(*address)
        };
        for (i, &cell) in publics.iter().enumerate() {
            assert_eq!(address(cell), Cell(i as u32), "public value {i} is connected to another one");
        }
        operations.iter_mut().for_each(|operation| operation.cells(|cell| *cell = address(*cell)));
        let inputs = inputs.iter().map(|&cell| address(cell)).collect();
        let mut uses = Uses::new(count as usize, publics.len());
        for operation in operations.iter_mut().filter(|operation| operation.table().is_some()) {
            operation.cells(|cell| uses.count(*cell));
        }
        let preprocessed = preprocessed(&operations, &mut uses, least);
        Self { operations, inputs, publics: publics.len(), addresses: count as usize, preprocessed }
    }

    /// log2 heights of the tables.
    pub fn log_heights(&self) -> [u8; TABLES] {
        std::array::from_fn(|i| self.preprocessed[i].height().ilog2() as u8)
    }

    /// Number of inputs.
    pub fn inputs(&self) -> usize {
        self.inputs.len()
    }

    /// Number of public values.
    pub fn publics(&self) -> usize {
        self.publics
    }

    /// Operations of a table (gates of the arithmetic table, [`LANES`] of which are a row).
    pub fn operations(&self, table: MachineTable) -> usize {
        self.operations.iter().filter(|operation| operation.table() == Some(table)).count()
    }
}

/// Counts uses of cells, and shares out their multiplicities.
struct Uses {
    counts: Vec<u32>,
    sent: Vec<bool>,
}

impl Uses {
    /// The verifier uses each public value once.
    fn new(addresses: usize, publics: usize) -> Self {
        let mut counts = vec![0; addresses];
        counts[..publics].fill(1);
        Self { counts, sent: vec![false; addresses] }
    }

    fn count(&mut self, cell: Cell) {
        self.counts[cell.0 as usize] += 1;
    }

    /// The next use of a cell: the first sends to all others.
    fn slot(&mut self, cell: Cell) -> Slot<Val> {
        let at = cell.0 as usize;
        let first = !std::mem::replace(&mut self.sent[at], true);
        let multiplicity = if first { Val::from_u32(self.counts[at] - 1) } else { Val::NEG_ONE };
        Slot { address: Val::from_u32(cell.0), multiplicity }
    }

    fn slots<const N: usize>(&mut self, cells: [Cell; N]) -> [Slot<Val>; N] {
        cells.map(|cell| self.slot(cell))
    }
}

/// Least log2 heights of tables with these operations.
pub(crate) fn log_heights(operations: &[Operation]) -> [u8; TABLES] {
    MachineTable::ALL.map(|table| {
        let operations = operations.iter().filter(|operation| operation.table() == Some(table)).count();
        let rows = if table == MachineTable::Arithmetic { operations.div_ceil(LANES) } else { operations };
        log_height(rows) as u8
    })
}

const UNUSED: Slot<Val> = Slot { address: Val::ZERO, multiplicity: Val::ZERO };

fn preprocessed(operations: &[Operation], uses: &mut Uses, least: [u8; TABLES]) -> [RowMajorMatrix<Val>; TABLES] {
    let heights = log_heights(operations);
    let mut tables = MachineTable::ALL.map(|table| {
        let width = table.preprocessed_width();
        let log_height = heights[table as usize].max(least[table as usize]);
        RowMajorMatrix::new(Val::zero_vec(width << log_height), width)
    });
    let mut filled = [0; TABLES];
    for operation in operations {
        let Some(table) = operation.table().map(|table| table as usize) else { continue };
        let width = tables[table].width;
        let n = filled[table];
        filled[table] += 1;
        let row = if table == MachineTable::Arithmetic as usize { n / LANES } else { n };
        let row = &mut tables[table].values[row * width..(row + 1) * width];
        match *operation {
            Operation::Gate(gate) => {
                let slots = [gate.a, gate.b, gate.c, Some(gate.d)].map(|cell| cell.map_or(UNUSED, |cell| uses.slot(cell)));
                ArithmeticKind::of_mut(row).lanes[n % LANES] =
                    GateKind { slots, product: gate.product, scales: gate.scales, constant: coefficients(gate.constant) };
            }
            Operation::Horner { point, acc, values, out } => {
                *HornerKind::of_mut(row) =
                    HornerKind { point: uses.slot(point), acc: uses.slot(acc), values: uses.slots(values), out: uses.slot(out) };
            }
            Operation::Permute { input, bit, output } => {
                *PermutationKind::of_mut(row) = PermutationKind {
                    input: uses.slots(input),
                    swaps: Val::from_bool(bit.is_some()),
                    bit: bit.map_or(UNUSED, |bit| uses.slot(bit)),
                    output: uses.slots(output),
                };
            }
            Operation::Split { whole, parts } => {
                *SplitKind::of_mut(row) = SplitKind { whole: uses.slot(whole), parts: uses.slots(parts) };
            }
            Operation::Bits { value, ref bits } => {
                *BitsKind::of_mut(row) = BitsKind { value: uses.slot(value), bits: uses.slots(**bits) };
            }
            Operation::Insert { .. } => {}
        }
    }
    tables
}
