//! Helpers of the tests of jumps, loads and stores.

use p3_field::{PrimeCharacteristicRing, PrimeField32};
use zisk_machine::program::Row;
use zisk_machine::trace::Step;

use super::super::attack::EDGES;
use crate::stark::check::{self, Balance, RowOutcome, check_row};
use crate::stark::table::{Bus, Columns, Table, TableBuilder};
use crate::tables::adapter::{F, limbs, program_row};

/// Numbers for tests (splitmix64): many are edges, or have limbs at the edge.
pub struct Random(pub u64);

impl Random {
    /// Any number.
    pub fn any(&mut self) -> u64 {
        self.0 = self.0.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let x = (self.0 ^ self.0 >> 30).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        let x = (x ^ x >> 27).wrapping_mul(0x94d0_49bb_1331_11eb);
        x ^ x >> 31
    }

    /// A number below `n`.
    pub fn below(&mut self, n: u64) -> u64 {
        self.any() % n
    }

    /// A value for a register or a word.
    pub fn value(&mut self) -> u64 {
        match self.below(4) {
            0 => EDGES[self.below(12) as usize],
            1 => (0..4).fold(0, |x, _| x << 16 | [0, 1, 0x7f80, 0x8000, 0x80ff, 0xffff][self.below(6) as usize]),
            _ => self.any(),
        }
    }
}

fn row_outcome<C: Columns<F>>(table: &impl Table, step: &Step, row: &Row, fill: impl Fn(&mut C, &Step, &Row)) -> RowOutcome {
    let mut cells = F::zero_vec(C::WIDTH);
    fill(C::of_mut(&mut cells), step, row);
    check_row(table, &[], &cells, 1)
}

fn accepted(outcome: &RowOutcome) -> bool {
    outcome.broken.is_empty() && outcome.balance.keys().all(|(bus, tuple)| bus.look_up(tuple) != Some(false))
}

/// Whether a constraint or a look-up refuses the row that `fill` makes of the (wrong) step.
pub fn refused<C: Columns<F>>(table: &impl Table, step: &Step, row: &Row, fill: impl Fn(&mut C, &Step, &Row)) -> bool {
    !accepted(&row_outcome(table, step, row, fill))
}

/// Checks that the step is accepted and what it does on the buses of state, program and memory; `accesses` are
/// (word, slot, previous timestamp, value before, value after).
pub fn check_effects<C: Columns<F>>(
    table: &impl Table,
    step: &Step,
    row: &Row,
    fill: impl Fn(&mut C, &Step, &Row),
    accesses: &[(u32, u32, u32, u64, u64)],
) {
    let outcome = row_outcome(table, step, row, fill);
    assert!(accepted(&outcome), "table {} refuses {step:?} of {row:?}: {:?}", table.name(), outcome.broken);
    let u32s = |xs: &[F]| xs.iter().map(|x| x.as_canonical_u32()).collect::<Vec<_>>();
    let pc = |clk: u32, pc: u32| (Bus::State, vec![clk, pc & 0xffff, pc >> 16]);
    let word = |word: u32, ts: u32, value: u64| (Bus::Memory, [vec![word, ts], u32s(&limbs(value))].concat());
    let mut expected = Balance::from([
        (pc(step.clk, row.pc), F::NEG_ONE),
        (pc(step.clk + 1, step.next_pc), F::ONE),
        ((Bus::Program, u32s(&program_row(row))), F::NEG_ONE),
    ]);
    for &(number, slot, prev_ts, before, after) in accesses {
        expected.insert(word(number, prev_ts, before), F::NEG_ONE);
        expected.insert(word(number, 4 * step.clk + slot, after), F::ONE);
    }
    assert_eq!(outcome.noticeable().balance, expected, "table {}, {step:?} of {row:?}", table.name());
}

/// Changes of a cell that may make up for a change of another one.
fn changes(value: F) -> impl Iterator<Item = F> {
    [1, 8, 1 << 8, 1 << 13, 1 << 16]
        .map(F::from_u32)
        .into_iter()
        .flat_map(move |x| [value + x, value - x])
        .chain([F::ONE - value, F::ZERO])
        .filter(move |&forged| forged != value)
}

/// Only looks at constraints: quick.
#[derive(Default)]
struct Broken(bool);

impl TableBuilder for Broken {
    type Expr = F;

    fn assert_zero(&mut self, expr: F) {
        self.0 |= expr != F::ZERO;
    }

    fn interact(&mut self, _: Bus, _: F, _: &[F]) {}

    fn tag(&self) -> F {
        F::ONE
    }
}

/// Whether a row breaks a constraint.
fn breaks(table: &impl Table, cells: &[F]) -> bool {
    let mut broken = Broken::default();
    table.eval(&[], cells, &mut broken);
    broken.0
}

/// Changes any two cells of a row together: no such change may go unnoticed.
pub fn attack_pairs<C: Columns<F>>(table: &impl Table, step: &Step, row: &Row, fill: impl Fn(&mut C, &Step, &Row)) {
    let mut cells = F::zero_vec(C::WIDTH);
    fill(C::of_mut(&mut cells), step, row);
    let honest = check_row(table, &[], &cells, 1).noticeable();
    assert!(accepted(&honest), "table {} refuses {step:?} of {row:?}: {:?}", table.name(), honest.broken);
    for i in 0..cells.len() {
        for x in changes(cells[i]) {
            let was = std::mem::replace(&mut cells[i], x);
            for j in 0..i {
                for y in changes(cells[j]) {
                    let was = std::mem::replace(&mut cells[j], y);
                    assert!(
                        breaks(table, &cells) || check_row(table, &[], &cells, 1).noticeable() != honest,
                        "table {}: columns {j} and {i} of {step:?} of {row:?}",
                        table.name(),
                    );
                    cells[j] = was;
                }
            }
            cells[i] = was;
        }
    }
}

/// Rows without an operation do nothing on any bus, whatever two of their cells hold; `flags` are the columns of operations.
pub fn attack_padding<C: Columns<F>>(table: &impl Table, flags: &[usize]) {
    let mut cells = F::zero_vec(C::WIDTH);
    assert_eq!(check_row(table, &[], &cells, 1), RowOutcome::default());
    let columns: Vec<_> = (0..C::WIDTH).filter(|i| !flags.contains(i)).collect();
    for (n, &i) in columns.iter().enumerate() {
        for &j in &columns[..n] {
            for (x, y) in [(1, 0), (0, 1), (1, 1), (1, 0x1_0000), (0x1234_5678, 1), (1 << 16, 1 << 8)] {
                (cells[i], cells[j]) = (F::from_u32(x), F::from_u32(y));
                let outcome = check_row(table, &[], &cells, 1);
                assert!(!outcome.broken.is_empty() || outcome.balance.is_empty(), "table {}: columns {j} and {i}", table.name());
            }
            (cells[i], cells[j]) = (F::ZERO, F::ZERO);
        }
    }
}

/// Checks the degrees that `TableBuilder` asks for.
pub fn check_degrees(table: &impl Table) {
    let mut random = Random(4);
    check::check_degrees(table, || F::from_u64(random.any()));
}
