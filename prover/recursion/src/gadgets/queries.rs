//! One query of FRI: opened rows are combined to one value per height, and folded down to the last polynomial.

use std::collections::BTreeMap;

use p3_field::{Field, PrimeCharacteristicRing, TwoAdicField};
use zisk_prover::stark::config::{Challenge, Val};

use super::Digest;
use super::hash::{Stream, check_path};
use super::openings::{OpeningShape, QueryCells};
use crate::builder::{Bit, Builder, Cell};

/// Columns that are combined together: cells of the opened rows of one batch and height.
pub(super) struct Run {
    /// Number of the batch, and of the height within it.
    pub place: (usize, usize),
    /// Which cells of the stream.
    pub cells: std::ops::Range<usize>,
    /// At which points (by number) the columns are opened, and the power of the combining challenge for each.
    pub uses: Vec<(usize, Cell)>,
}

/// What is opened at one height.
pub(super) struct HeightPlan {
    /// The points, and the combination of all values claimed there.
    pub points: Vec<(Cell, Cell)>,
    /// The columns.
    pub runs: Vec<Run>,
}

/// What all queries have in common.
pub(super) struct Plan<'a> {
    pub shape: &'a OpeningShape,
    /// The combining challenge.
    pub alpha: Cell,
    /// By log2 height of the extension.
    pub heights: BTreeMap<usize, HeightPlan>,
    pub commitments: &'a [Digest],
    pub round_commitments: &'a [Digest],
    /// Powers beta, beta^2, beta^4, ... of each round's challenge, one more than it folds.
    pub betas: Vec<Vec<Cell>>,
    /// The last polynomial.
    pub last: Cell,
}

/// A generator of the subgroup of order 2^bits.
fn omega(bits: usize) -> Val {
    Val::two_adic_generator(bits)
}

/// The points that belong to an index, for the extension of each height from the highest on. The index is bit-reversed, so bit k chooses
/// between 1 and the generator of order 2^(k + 1).
struct Points {
    /// The point itself (without the coset's shift).
    here: Vec<Cell>,
    /// The point with bit 0 cleared.
    even: Vec<Cell>,
}

impl Points {
    fn new(b: &mut Builder, index: &[Bit]) -> Self {
        let mut even = b.one();
        for (k, bit) in index.iter().enumerate().skip(1) {
            even = scaled_if(b, even, *bit, omega(k + 1));
        }
        let mut points = Self { here: Vec::new(), even: Vec::new() };
        let mut here = scaled_if(b, even, index[0], Val::NEG_ONE);
        for next in index.iter().skip(1) {
            points.here.push(here);
            points.even.push(even);
            here = b.square(even);
            even = scaled_if(b, here, *next, Val::NEG_ONE);
        }
        points.here.push(here);
        points.even.push(even);
        points
    }
}

/// `x`, or `factor x` if the bit is 1.
fn scaled_if(b: &mut Builder, x: Cell, bit: Bit, factor: Val) -> Cell {
    b.gate(factor - Val::ONE, [Val::ONE, Val::ZERO, Val::ZERO], [Some(x), Some(bit.cell()), None], Challenge::ZERO)
}

/// The polynomial with the coefficients in these cells at the point.
fn horner(b: &mut Builder, point: Cell, cells: &[Cell]) -> Cell {
    let zero = b.zero();
    cells.chunks(2).rev().fold(zero, |acc, pair| b.horner(point, acc, [pair[0], *pair.get(1).unwrap_or(&zero)]))
}

impl Plan<'_> {
    /// Checks one query at an index (bits, least significant first).
    pub fn check(&self, b: &mut Builder, index: &[Bit], query: &QueryCells) {
        let log_max = self.shape.log_max;
        for ((batch, commitment), cells) in self.shape.batches.iter().zip(self.commitments).zip(&query.batches) {
            let skipped = log_max - batch.max_log_height() - self.shape.log_blowup();
            check_path(b, *commitment, &cells.rows, &index[skipped..], &cells.path);
        }
        let points = Points::new(b, index);
        let mut reduced = BTreeMap::new();
        for (&log_height, plan) in &self.heights {
            reduced.insert(log_height, self.reduce(b, plan, points.here[log_max - log_height], query));
        }
        self.fold(b, index, &points, reduced, query);
    }

    /// `sum over points z of (claimed at z - opened at x) / (z - x)` for one height, where both are combined with powers of alpha.
    fn reduce(&self, b: &mut Builder, plan: &HeightPlan, x: Cell, query: &QueryCells) -> Cell {
        let mut differences: Vec<Cell> = plan.points.iter().map(|&(_, claimed)| claimed).collect();
        for run in &plan.runs {
            let (batch, height) = run.place;
            let (_, stream) = &query.batches[batch].rows[height];
            let combined = horner(b, self.alpha, &stream.cells[run.cells.clone()]);
            for &(point, power) in &run.uses {
                differences[point] = b.mul_sub(power, combined, differences[point]);
            }
        }
        let mut sum = None;
        for (&(z, _), difference) in plan.points.iter().zip(differences) {
            let scales = [Val::ONE, -Val::GENERATOR, Val::ZERO];
            let denominator = b.gate(Val::ZERO, scales, [Some(z), Some(x), None], Challenge::ZERO);
            let inverse = b.invert(denominator);
            sum = Some(match sum {
                None => b.mul(difference, inverse),
                Some(sum) => b.mul_add(difference, inverse, sum),
            });
        }
        sum.expect("a height has a point")
    }

    fn fold(&self, b: &mut Builder, index: &[Bit], points: &Points, mut reduced: BTreeMap<usize, Cell>, query: &QueryCells) {
        let log_max = self.shape.log_max;
        let mut folded = reduced.remove(&log_max).expect("something has the greatest height");
        let mut at = 0;
        for (round, &log_arity) in self.shape.log_arities.iter().enumerate() {
            let opened = &query.rounds[round];
            let bits = &index[at..at + log_arity];
            // The values that the round folds: the one from above among its siblings.
            let row = b.insert(&opened.siblings, bits, folded);
            let chosen = bits
                .iter()
                .fold(row.clone(), |values, &bit| values.chunks_exact(2).map(|pair| b.select(bit, pair[0], pair[1])).collect());
            b.connect(chosen[0], folded);
            let stream = Stream { width: 4 * row.len(), cells: row.clone() };
            let height = log_max - at - log_arity;
            check_path(b, self.round_commitments[round], &[(height, stream)], &index[at + log_arity..], &opened.path);
            folded = self.fold_row(b, row, points.even[at], &bits[1..], &self.betas[round]);
            at += log_arity;
            if let Some(reduced) = reduced.remove(&height) {
                folded = b.mul_add(self.betas[round][log_arity], reduced, folded);
            }
        }
        assert!(reduced.is_empty() && log_max - at == self.shape.log_blowup(), "all heights are folded");
        b.connect(folded, self.last);
    }

    /// Folds a row, two values at a time: `f(x), f(-x)` become `(f(x) + f(-x)) / 2 + beta (f(x) - f(-x)) / (2 x)`.
    fn fold_row(&self, b: &mut Builder, mut row: Vec<Cell>, even: Cell, bits: &[Bit], betas: &[Cell]) -> Cell {
        // The point of the row's first value: the chosen value's, without the bits that chose it.
        let mut first = even;
        for (k, bit) in bits.iter().enumerate() {
            first = scaled_if(b, first, *bit, omega(k + 2).inverse());
        }
        let mut inverse = b.invert(first);
        let half = Val::TWO.inverse();
        for &beta in &betas[..row.len().ilog2() as usize] {
            let slope = b.mul(beta, inverse);
            row = (row.chunks_exact(2).enumerate())
                .map(|(pair, values)| {
                    let point: Val = (0..usize::BITS as usize).filter(|k| pair >> k & 1 == 1).map(|k| omega(k + 2)).product();
                    let difference = b.sub(values[0], values[1]);
                    let cells = [Some(difference), Some(slope), Some(values[1])];
                    b.gate(half * point.inverse(), [half, Val::ZERO, Val::ONE], cells, Challenge::ZERO)
                })
                .collect();
            if row.len() > 1 {
                inverse = b.square(inverse);
            }
        }
        row[0]
    }
}
