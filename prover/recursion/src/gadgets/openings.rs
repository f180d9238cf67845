//! An opening proof (FRI) as inputs of a circuit: its shape, its cells and their values. The shape is the circuit's, never the proof's.

use p3_fri::compute_log_arity_for_round;
use zisk_prover::stark::config::{Challenge, Commitment, OpeningProof, Parameters, Val};

use super::Digest;
use super::hash::{Stream, digest_values, stream_values};
use crate::builder::{Builder, Cell};

/// A proof that does not have the circuit's shape.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("the proof does not have the circuit's shape: {0}")]
pub struct WrongShape(pub &'static str);

/// Fails unless it holds.
pub(crate) fn ensure(holds: bool, what: &'static str) -> Result<(), WrongShape> {
    if holds { Ok(()) } else { Err(WrongShape(what)) }
}

/// Matrices committed to together.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Batch {
    /// log2 height (of the trace, not of its extension) and width of each matrix.
    pub matrices: Vec<(usize, usize)>,
}

impl Batch {
    /// log2 heights, highest first, each once.
    pub fn log_heights(&self) -> Vec<usize> {
        let mut heights: Vec<usize> = self.matrices.iter().map(|&(height, _)| height).collect();
        heights.sort_unstable_by(|x, y| y.cmp(x));
        heights.dedup();
        heights
    }

    /// log2 of the highest height.
    pub fn max_log_height(&self) -> usize {
        self.log_heights()[0]
    }

    /// Numbers of the matrices of a height.
    pub fn of_height(&self, log_height: usize) -> impl Iterator<Item = usize> + '_ {
        self.matrices.iter().enumerate().filter(move |(_, (height, _))| *height == log_height).map(|(i, _)| i)
    }

    /// Columns of a height.
    fn width(&self, log_height: usize) -> usize {
        self.of_height(log_height).map(|i| self.matrices[i].1).sum()
    }
}

/// Shape of an opening proof.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct OpeningShape {
    /// Parameters of the proof system.
    pub parameters: Parameters,
    /// What is opened.
    pub batches: Vec<Batch>,
    /// log2 of the size of the highest extension.
    pub log_max: usize,
    /// log2 of what each round folds.
    pub log_arities: Vec<usize>,
}

impl OpeningShape {
    /// The shape of the proof that an honest prover makes.
    pub fn new(parameters: Parameters, batches: Vec<Batch>) -> Self {
        let log_blowup = usize::from(parameters.log_blowup);
        let mut heights: Vec<usize> = batches.iter().flat_map(Batch::log_heights).map(|height| height + log_blowup).collect();
        heights.sort_unstable_by(|x, y| y.cmp(x));
        heights.dedup();
        assert!(*heights.last().expect("something is opened") > log_blowup, "tables of one row are not supported");
        let log_max = heights[0];
        let mut log_arities = Vec::new();
        let mut at = log_max;
        while at > log_blowup {
            let next = heights.iter().copied().find(|&height| height < at);
            let arity = compute_log_arity_for_round(at, next, log_blowup, usize::from(parameters.max_log_arity));
            log_arities.push(arity);
            at -= arity;
        }
        Self { parameters, batches, log_max, log_arities }
    }

    /// log2 of the inverse rate.
    pub fn log_blowup(&self) -> usize {
        usize::from(self.parameters.log_blowup)
    }
}

/// What a query opens of a batch.
pub struct BatchCells {
    /// Rows by log2 height of the extension, highest first.
    pub rows: Vec<(usize, Stream)>,
    /// The path.
    pub path: Vec<Digest>,
}

/// What a query opens of a FRI round.
pub struct RoundCells {
    /// The values next to the one that is folded.
    pub siblings: Vec<Cell>,
    /// The path.
    pub path: Vec<Digest>,
}

/// A query.
pub struct QueryCells {
    /// By batch.
    pub batches: Vec<BatchCells>,
    /// By round.
    pub rounds: Vec<RoundCells>,
}

/// An opening proof.
pub struct OpeningCells {
    /// Commitments of the rounds.
    pub commits: Vec<Digest>,
    /// The last polynomial, a constant.
    pub last: Cell,
    /// Proof of work before the queries.
    pub witness: Cell,
    /// The queries.
    pub queries: Vec<QueryCells>,
}

impl OpeningCells {
    /// Inputs for a proof of this shape, in the order of [`OpeningShape::values`].
    pub fn inputs(b: &mut Builder, shape: &OpeningShape) -> Self {
        let log_blowup = shape.log_blowup();
        let commits = shape.log_arities.iter().map(|_| b.inputs()).collect();
        let [last, witness] = b.inputs();
        let path = |b: &mut Builder, length: usize| (0..length).map(|_| b.inputs()).collect::<Vec<Digest>>();
        let mut query = |_| {
            let batch = |batch: &Batch| {
                let rows = |height: usize| (height + log_blowup, Stream::inputs(b, batch.width(height)));
                let rows = batch.log_heights().into_iter().map(rows).collect();
                BatchCells { rows, path: path(b, batch.max_log_height() + log_blowup) }
            };
            let batches = shape.batches.iter().map(batch).collect();
            let mut log_height = shape.log_max;
            let round = |&log_arity: &usize| {
                log_height -= log_arity;
                let siblings = (1..1 << log_arity).map(|_| b.input()).collect();
                RoundCells { siblings, path: path(b, log_height) }
            };
            QueryCells { batches, rounds: shape.log_arities.iter().map(round).collect() }
        };
        let queries = (0..shape.parameters.queries).map(&mut query).collect();
        Self { commits, last, witness, queries }
    }
}

/// The root of a commitment.
pub fn commitment_values(commitment: &Commitment) -> Result<[Challenge; 2], WrongShape> {
    let [root] = commitment.roots() else { return Err(WrongShape("a commitment is not one root")) };
    Ok(digest_values(root))
}

fn path_values(out: &mut Vec<Challenge>, path: &[[Val; 8]], length: usize) -> Result<(), WrongShape> {
    ensure(path.len() == length, "length of a path")?;
    out.extend(path.iter().flat_map(digest_values));
    Ok(())
}

impl OpeningShape {
    /// The values of [`OpeningCells::inputs`].
    pub fn values(&self, out: &mut Vec<Challenge>, proof: &OpeningProof) -> Result<(), WrongShape> {
        let rounds = self.log_arities.len();
        ensure(proof.commit_phase_commits.len() == rounds && proof.commit_pow_witnesses.len() == rounds, "number of rounds")?;
        for commitment in &proof.commit_phase_commits {
            out.extend(commitment_values(commitment)?);
        }
        let [last] = proof.final_poly[..] else { return Err(WrongShape("length of the last polynomial")) };
        out.extend([last, proof.query_pow_witness.into()]);
        ensure(proof.query_proofs.len() == usize::from(self.parameters.queries), "number of queries")?;
        for query in &proof.query_proofs {
            ensure(query.input_proof.len() == self.batches.len(), "number of batches")?;
            for (batch, opening) in self.batches.iter().zip(&query.input_proof) {
                let widths = opening.opened_values.iter().map(Vec::len);
                ensure(widths.eq(batch.matrices.iter().map(|&(_, width)| width)), "width of a matrix")?;
                for height in batch.log_heights() {
                    let rows: Vec<Val> = batch.of_height(height).flat_map(|i| &opening.opened_values[i]).copied().collect();
                    out.extend(stream_values(&rows));
                }
                path_values(out, &opening.opening_proof, batch.max_log_height() + self.log_blowup())?;
            }
            ensure(query.commit_phase_openings.len() == rounds, "number of rounds")?;
            let mut log_height = self.log_max;
            for (&log_arity, step) in self.log_arities.iter().zip(&query.commit_phase_openings) {
                log_height -= log_arity;
                let arity = (usize::from(step.log_arity), step.sibling_values.len());
                ensure(arity == (log_arity, (1 << log_arity) - 1), "arity of a round")?;
                out.extend(&step.sibling_values);
                path_values(out, &step.opening_proof, log_height)?;
            }
        }
        Ok(())
    }
}
