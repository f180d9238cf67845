//! Verifying an opening proof: what `TwoAdicFriPcs::verify` of `p3-fri` does.

use std::collections::{BTreeMap, HashMap};

use p3_field::PrimeCharacteristicRing;
use zisk_prover::stark::config::{EXTENSION_DEGREE, Val};

use super::Digest;
use super::openings::{Batch, OpeningCells, OpeningShape};
use super::queries::{HeightPlan, Plan, Run};
use super::transcript::Transcript;
use crate::builder::{Builder, Cell};

/// The values claimed of a matrix: points, and the columns there.
pub type Claims = Vec<(Cell, Vec<Cell>)>;

/// Powers of a cell, each computed once.
struct Powers(HashMap<usize, Cell>);

impl Powers {
    fn new(b: &mut Builder, base: Cell) -> Self {
        Self(HashMap::from([(0, b.one()), (1, base)]))
    }

    fn get(&mut self, b: &mut Builder, exponent: usize) -> Cell {
        if let Some(&power) = self.0.get(&exponent) {
            return power;
        }
        let half = self.get(b, exponent / 2);
        let other = self.get(b, exponent - exponent / 2);
        let power = b.mul(half, other);
        self.0.insert(exponent, power);
        power
    }
}

/// Checks that the claims, by batch and matrix, are true of the commitments.
pub fn check_openings(
    b: &mut Builder,
    transcript: &mut Transcript,
    shape: &OpeningShape,
    commitments: &[Digest],
    claims: &[Vec<Claims>],
    proof: &OpeningCells,
) {
    for (_, values) in claims.iter().flatten().flatten() {
        values.iter().for_each(|&value| transcript.observe(b, value));
    }
    let alpha = transcript.sample(b);
    let heights = plan_heights(b, shape, claims, alpha);
    let mut betas = Vec::new();
    for (commit, &log_arity) in proof.commits.iter().zip(&shape.log_arities) {
        transcript.observe_digest(b, *commit);
        let mut powers = vec![transcript.sample(b)];
        for k in 0..log_arity {
            powers.push(b.square(powers[k]));
        }
        betas.push(powers);
    }
    transcript.observe(b, proof.last);
    for &log_arity in &shape.log_arities {
        let log_arity = b.base(Val::from_usize(log_arity));
        transcript.observe_base(b, log_arity);
    }
    transcript.check_witness(b, usize::from(shape.parameters.query_grinding_bits), proof.witness);
    let plan = Plan { shape, alpha, heights, commitments, round_commitments: &proof.commits, betas, last: proof.last };
    for query in &proof.queries {
        let index = transcript.sample_bits(b, shape.log_max);
        plan.check(b, &index, query);
    }
}

/// Gives every claim its power of alpha: they go up by height, in the order of batches, matrices, points and columns.
fn plan_heights(b: &mut Builder, shape: &OpeningShape, claims: &[Vec<Claims>], alpha: Cell) -> BTreeMap<usize, HeightPlan> {
    let mut powers = Powers::new(b, alpha);
    let mut exponents = BTreeMap::<usize, usize>::new();
    let mut plans = BTreeMap::<usize, HeightPlan>::new();
    for (number, (batch, claims)) in shape.batches.iter().zip(claims).enumerate() {
        for (place, log_height) in batch.log_heights().into_iter().enumerate() {
            let plan = plans
                .entry(log_height + shape.log_blowup())
                .or_insert_with(|| HeightPlan { points: Vec::new(), runs: Vec::new() });
            let exponent = exponents.entry(log_height).or_insert(0);
            for (cells, parts) in runs(batch, log_height, claims) {
                let mut run = Run { place: (number, place), cells, uses: Vec::new() };
                for (z, values) in parts {
                    let power = powers.get(b, *exponent);
                    *exponent += values.len();
                    let combined = values.iter().rev().copied().reduce(|acc, value| b.mul_add(acc, alpha, value));
                    let combined = combined.expect("a matrix has columns");
                    let point = plan.points.iter().position(|&(point, _)| point == z).unwrap_or_else(|| {
                        let zero = b.zero();
                        plan.points.push((z, zero));
                        plan.points.len() - 1
                    });
                    let claimed = &mut plan.points[point].1;
                    *claimed = b.mul_add(power, combined, *claimed);
                    run.uses.push((point, power));
                }
                plan.runs.push(run);
            }
        }
    }
    plans
}

/// Splits the columns of one height of a batch in runs: all at once if all matrices are opened at the same single point, for
/// their powers of alpha follow each other; else matrix by matrix.
fn runs(batch: &Batch, log_height: usize, claims: &[Claims]) -> Vec<(std::ops::Range<usize>, Claims)> {
    let matrices: Vec<usize> = batch.of_height(log_height).collect();
    let (point, _) = claims[matrices[0]][0];
    if matrices.iter().all(|&i| matches!(claims[i][..], [(z, _)] if z == point)) {
        let values: Vec<Cell> = matrices.iter().flat_map(|&i| claims[i][0].1.iter().copied()).collect();
        return vec![(0..values.len().div_ceil(EXTENSION_DEGREE), vec![(point, values)])];
    }
    let mut start = 0;
    let mut run = |&i: &usize| {
        let width = batch.matrices[i].1;
        assert!(width.is_multiple_of(EXTENSION_DEGREE), "a matrix opened at several points has columns of the extension field");
        let cells = start..start + width / EXTENSION_DEGREE;
        start = cells.end;
        (cells, claims[i].clone())
    };
    matrices.iter().map(&mut run).collect()
}
