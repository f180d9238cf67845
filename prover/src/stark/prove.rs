//! Proving one segment's tables.

use p3_challenger::{CanObserve, FieldChallenger, GrindingChallenger};
use p3_commit::{Mmcs, Pcs as _, PolynomialSpace};
use p3_field::{Algebra, BasedVectorSpace, Field, PackedFieldExtension, PackedValue, PrimeCharacteristicRing, TwoAdicField};
use p3_matrix::Matrix;
use p3_matrix::dense::RowMajorMatrix;
use p3_maybe_rayon::prelude::*;
use p3_util::{log2_strict_usize, reverse_bits_len, reverse_slice_index_bits};
use serde::{Deserialize, Serialize};
use tracing::info_span;

use super::config::{
    Challenge, Challenger, Commitment, Config, Domain, EXTENSION_DEGREE, OpeningProof, PackedChallenge, PackedVal, ProverData,
    Val,
};
use super::folder::{BusChallenges, LogUpChallenges, PackedFolder, Shape, logup_constraints, split_scopes};
use super::logup::{pack_rows, permutation};
use super::table::Table;

/// Number of quotient chunks: constraints have degree at most 3.
pub const QUOTIENT_CHUNKS: usize = 2;

/// Matrices committed before any job: part of the proving key.
pub struct Preprocessed {
    /// Their commitment: part of the verifying key.
    pub commitment: Commitment,
    /// The matrices, in the order of the tables they belong to.
    pub matrices: Vec<RowMajorMatrix<Val>>,
    data: ProverData,
}

impl Preprocessed {
    /// Commits.
    pub fn new(config: &Config, matrices: Vec<RowMajorMatrix<Val>>) -> Self {
        let (commitment, data) = commit(config, &matrices);
        Self { commitment, matrices, data }
    }
}

/// The natural domain of a height.
pub fn domain(config: &Config, height: usize) -> Domain {
    p3_commit::Pcs::<Challenge, Challenger>::natural_domain_for_degree(&config.pcs, height)
}

fn commit(config: &Config, matrices: &[RowMajorMatrix<Val>]) -> (Commitment, ProverData) {
    let inputs = matrices.iter().map(|m| (domain(config, m.height()), m.clone()));
    p3_commit::Pcs::<Challenge, Challenger>::commit(&config.pcs, inputs)
}

/// Stage 1: the commitment to all main columns.
pub struct Stage1 {
    /// The columns, one matrix per table.
    pub traces: Vec<RowMajorMatrix<Val>>,
    /// Their commitment.
    pub commitment: Commitment,
    data: ProverData,
}

impl Stage1 {
    /// Commits.
    pub fn new(config: &Config, traces: Vec<RowMajorMatrix<Val>>) -> Self {
        let (commitment, data) = info_span!("commit stage 1").in_scope(|| commit(config, &traces));
        Self { traces, commitment, data }
    }
}

/// A table in a proof and where its preprocessed columns are.
pub struct Instance<'a, A> {
    /// The table.
    pub table: &'a A,
    /// Index of the preprocessed commitment and of the matrix in it.
    pub preprocessed: Option<(usize, usize)>,
}

/// What a proof opens of one table.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub struct TableOpening {
    /// Sum of the table's fractions on the segment's buses.
    pub local_sum: Challenge,
    /// Sum of the table's fractions on the job's buses.
    pub global_sum: Challenge,
    /// Preprocessed columns at the point.
    pub preprocessed: Vec<Challenge>,
    /// Main columns at the point.
    pub main: Vec<Challenge>,
    /// LogUp columns (flattened) at the point.
    pub permutation: Vec<Challenge>,
    /// LogUp columns (flattened) at the next row.
    pub permutation_next: Vec<Challenge>,
    /// Quotient chunks (flattened) at the point.
    pub quotient: [Vec<Challenge>; QUOTIENT_CHUNKS],
}

/// Stage 2 of a segment: everything but the commitment of stage 1.
#[derive(Clone, Serialize, Deserialize)]
pub struct StarkProof {
    /// Proof of work before the LogUp challenges.
    pub logup_witness: Val,
    /// Commitment to the LogUp columns.
    pub permutation: Commitment,
    /// Commitment to the quotients.
    pub quotient: Commitment,
    /// Openings, in the order of the instances.
    pub tables: Vec<TableOpening>,
    /// FRI.
    pub opening: OpeningProof,
}

/// Draws the challenges of the segment's buses. Both sides call it, so that they cannot differ.
pub fn local_challenges(challenger: &mut Challenger) -> BusChallenges {
    let alpha = challenger.sample_algebra_element();
    let beta = challenger.sample_algebra_element();
    BusChallenges::new(alpha, beta)
}

/// Observes the LogUp commitment and all sums, and draws the challenge that folds constraints.
pub fn constraint_challenge(
    challenger: &mut Challenger,
    permutation: &Commitment,
    sums: impl Iterator<Item = (Challenge, Challenge)>,
) -> Challenge {
    challenger.observe(permutation.clone());
    for (local, global) in sums {
        challenger.observe_algebra_element(local);
        challenger.observe_algebra_element(global);
    }
    challenger.sample_algebra_element()
}

/// Proves the tables of a segment. `challenger` has seen all that is public and the commitment of stage 1.
/// `None` if a LogUp fingerprint is zero (probability below 2^-90).
pub fn prove<A: Table>(
    config: &Config,
    mut challenger: Challenger,
    instances: &[Instance<'_, A>],
    stage1: &Stage1,
    preprocessed: &[&Preprocessed],
    tag: u32,
    global: BusChallenges,
) -> Option<StarkProof> {
    let logup_witness = challenger.grind(usize::from(config.parameters.logup_grinding_bits));
    let challenges = LogUpChallenges { local: local_challenges(&mut challenger), global };
    let shapes: Vec<Shape> = instances.iter().map(|i| Shape::of(i.table)).collect();

    // LogUp columns.
    let span = info_span!("LogUp columns").entered();
    let mut traces = Vec::with_capacity(instances.len());
    let mut sums = Vec::with_capacity(instances.len());
    for ((instance, &shape), main) in instances.iter().zip(&shapes).zip(&stage1.traces) {
        let fixed = instance.preprocessed.map(|(round, matrix)| &preprocessed[round].matrices[matrix]);
        let built = permutation(instance.table, shape, fixed, main, tag, &challenges)?;
        sums.push((built.local_sum, built.global_sum));
        traces.push(built.trace);
    }
    drop(span);
    let (permutation_commitment, permutation_data) = info_span!("commit LogUp").in_scope(|| {
        let inputs: Vec<_> = traces.into_iter().map(|m| (domain(config, m.height()), m)).collect();
        p3_commit::Pcs::<Challenge, Challenger>::commit(&config.pcs, inputs)
    });
    let alpha = constraint_challenge(&mut challenger, &permutation_commitment, sums.iter().copied());

    // Quotients.
    let span = info_span!("quotients").entered();
    let main_ldes = config.mmcs.get_matrices(&stage1.data);
    let permutation_ldes = config.mmcs.get_matrices(&permutation_data);
    let mut quotient_ldes = Vec::with_capacity(QUOTIENT_CHUNKS * instances.len());
    for (i, (instance, &shape)) in instances.iter().zip(&shapes).enumerate() {
        let fixed = instance.preprocessed.map(|(round, matrix)| config.mmcs.get_matrices(&preprocessed[round].data)[matrix]);
        let trace_domain = domain(config, stage1.traces[i].height());
        let quotient_domain = trace_domain.create_disjoint_domain(trace_domain.size() * QUOTIENT_CHUNKS);
        let values = quotient(
            &TableOnCoset {
                table: instance.table,
                shape,
                preprocessed: fixed,
                main: main_ldes[i],
                permutation: permutation_ldes[i],
                tag,
                challenges: &challenges,
                sums: sums[i],
            },
            &quotient_domain,
            alpha,
        );
        let flat = RowMajorMatrix::new_col(values).flatten_to_base();
        let chunks = quotient_domain.split_evals(QUOTIENT_CHUNKS, flat);
        let domains = quotient_domain.split_domains(QUOTIENT_CHUNKS);
        quotient_ldes.extend(p3_commit::Pcs::<Challenge, Challenger>::get_quotient_ldes(
            &config.pcs,
            domains.into_iter().zip(chunks),
            QUOTIENT_CHUNKS,
        ));
    }
    drop(span);
    let (quotient_commitment, quotient_data) = info_span!("commit quotients")
        .in_scope(|| p3_commit::Pcs::<Challenge, Challenger>::commit_ldes(&config.pcs, quotient_ldes));
    challenger.observe(quotient_commitment.clone());
    let zeta: Challenge = challenger.sample_algebra_element();

    // Openings.
    let here = |count: usize| vec![vec![zeta]; count];
    let with_next = stage1.traces.iter().map(|t| vec![zeta, next_point(&domain(config, t.height()), zeta)]).collect();
    let mut rounds: Vec<(&ProverData, Vec<Vec<Challenge>>)> = vec![
        (&stage1.data, here(instances.len())),
        (&permutation_data, with_next),
        (&quotient_data, here(instances.len() * QUOTIENT_CHUNKS)),
    ];
    rounds.extend(preprocessed.iter().map(|p| (&p.data, here(p.matrices.len()))));
    let (opened, opening) = info_span!("open").in_scope(|| config.pcs.open(rounds, &mut challenger));

    let tables = instances
        .iter()
        .enumerate()
        .map(|(i, instance)| TableOpening {
            local_sum: sums[i].0,
            global_sum: sums[i].1,
            preprocessed: instance.preprocessed.map_or_else(Vec::new, |(round, matrix)| opened[3 + round][matrix][0].clone()),
            main: opened[0][i][0].clone(),
            permutation: opened[1][i][0].clone(),
            permutation_next: opened[1][i][1].clone(),
            quotient: std::array::from_fn(|chunk| opened[2][i * QUOTIENT_CHUNKS + chunk][0].clone()),
        })
        .collect();
    Some(StarkProof { logup_witness, permutation: permutation_commitment, quotient: quotient_commitment, tables, opening })
}

/// The point one row further.
pub fn next_point(domain: &Domain, point: Challenge) -> Challenge {
    domain.next_point(point).expect("two-adic domains have next points")
}

/// A table's columns on the committed coset, in bit-reversed order.
struct TableOnCoset<'a, A> {
    table: &'a A,
    shape: Shape,
    preprocessed: Option<&'a RowMajorMatrix<Val>>,
    main: &'a RowMajorMatrix<Val>,
    permutation: &'a RowMajorMatrix<Val>,
    tag: u32,
    challenges: &'a LogUpChallenges,
    sums: (Challenge, Challenge),
}

/// Quotient of the folded constraints by the vanishing polynomial, on `quotient_domain` in natural order.
///
/// The committed extensions start with exactly this coset, bit-reversed, so rows are read in the order they lie in memory.
fn quotient<A: Table>(on: &TableOnCoset<'_, A>, quotient_domain: &Domain, alpha: Challenge) -> Vec<Challenge> {
    let size = quotient_domain.size();
    let height = size / QUOTIENT_CHUNKS;
    let log_size = log2_strict_usize(size);
    let shape = on.shape;

    // The vanishing polynomial takes only QUOTIENT_CHUNKS values on the coset, by natural index modulo that number; in
    // bit-reversed order each fills one contiguous part.
    let shift = quotient_domain.first_point().exp_u64(height as u64);
    let inverse_vanishing: Vec<Val> = Val::two_adic_generator(log2_strict_usize(QUOTIENT_CHUNKS))
        .powers()
        .take(QUOTIENT_CHUNKS)
        .map(|x| (shift * x - Val::ONE).inverse())
        .collect();

    let mut powers: Vec<Challenge> = alpha.powers().take(shape.all_constraints()).collect();
    let logup_powers = powers.split_off(shape.constraints);
    let base_powers: [Vec<Val>; EXTENSION_DEGREE] =
        std::array::from_fn(|d| powers.iter().map(|p| p.as_basis_coefficients_slice()[d]).collect());
    let inverse_height = Val::from_usize(height).inverse();
    let local_mean = PackedChallenge::from(on.sums.0 * inverse_height);
    let global_mean = PackedChallenge::from(on.sums.1 * inverse_height);
    let permutation_width = on.permutation.width();

    let mut values = Challenge::zero_vec(size);
    values.par_chunks_exact_mut(PackedVal::WIDTH).enumerate().for_each_init(
        || (PackedFolder::new(on.challenges, on.tag), Vec::new(), Vec::new(), Vec::new(), Vec::new(), Vec::new()),
        |(folder, prep, main, flat, permutation, logup), (group, out)| {
            let first = group * PackedVal::WIDTH;
            if let Some(matrix) = on.preprocessed {
                pack_rows(matrix, first, prep);
            }
            pack_rows(on.main, first, main);
            pack_rows(on.permutation, first, flat);
            permutation.clear();
            permutation.extend(
                flat.chunks_exact(EXTENSION_DEGREE).map(|c: &[PackedVal]| PackedChallenge::from_basis_coefficients_fn(|d| c[d])),
            );
            // Where each lane's next row lies.
            let next_rows: [usize; PackedVal::WIDTH] = std::array::from_fn(|lane| {
                let natural = reverse_bits_len(first + lane, log_size);
                reverse_bits_len((natural + QUOTIENT_CHUNKS) & (size - 1), log_size)
            });
            let next = |column: Option<usize>| {
                column.map_or(PackedChallenge::ZERO, |column| {
                    PackedChallenge::from_basis_coefficients_fn(|d| {
                        PackedVal::from_fn(|lane| {
                            on.permutation.values[next_rows[lane] * permutation_width + column * EXTENSION_DEGREE + d]
                        })
                    })
                })
            };

            folder.clear();
            on.table.eval(prep, main, folder);
            debug_assert_eq!(folder.constraints.len(), shape.constraints);
            logup.clear();
            let (local, global) = split_scopes(shape, permutation);
            logup_constraints(&folder.local, local, next(shape.local_sum()), local_mean, |c| logup.push(c));
            logup_constraints(&folder.global, global, next(shape.global_sum()), global_mean, |c| logup.push(c));

            let own = PackedChallenge::from_basis_coefficients_fn(|d| {
                PackedVal::batched_linear_combination(&folder.constraints, &base_powers[d])
            });
            let folded = own + PackedChallenge::batched_linear_combination(logup, &logup_powers);
            let part = reverse_bits_len(first / height, log2_strict_usize(QUOTIENT_CHUNKS));
            let quotient = folded * PackedVal::from(inverse_vanishing[part]);
            for (lane, value) in out.iter_mut().enumerate() {
                *value = quotient.extract(lane);
            }
        },
    );
    reverse_slice_index_bits(&mut values);
    values
}
