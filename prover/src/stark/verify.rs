//! Verifying one segment's tables.

use p3_challenger::{CanObserve, FieldChallenger, GrindingChallenger};
use p3_commit::{Pcs as _, PolynomialSpace};
use p3_field::{BasedVectorSpace, Field, PrimeCharacteristicRing};

use super::config::{Challenge, Challenger, Commitment, Config, Domain, EXTENSION_DEGREE, Val};
use super::folder::{BusChallenges, LogUpChallenges, Opened, Shape, fold_at_point};
use super::prove::{Instance, QUOTIENT_CHUNKS, StarkProof, constraint_challenge, domain, local_challenges, next_point};
use super::table::{Bus, Table};

/// Why a segment proof is rejected.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum StarkError {
    /// The proof has another shape than its tables.
    #[error("proof has the wrong shape: {0}")]
    Shape(String),
    /// The proof of work before the LogUp challenges is missing.
    #[error("proof of work before the LogUp challenges is missing")]
    Grinding,
    /// The openings do not belong to the commitments, or the columns are not of low degree.
    #[error("openings rejected: {0}")]
    Openings(String),
    /// A table's constraints do not hold.
    #[error("constraints of table {0} do not hold")]
    Constraints(&'static str),
    /// The segment's buses do not balance.
    #[error("the segment's buses do not balance")]
    Buses,
}

/// What the verifier knows of a preprocessed commitment: heights by matrix.
pub struct PreprocessedShape<'a> {
    /// The commitment.
    pub commitment: &'a Commitment,
    /// Width and log2 height of each matrix.
    pub matrices: &'a [(usize, u8)],
}

/// A tuple the verifier itself sends (+1) or receives (-1) on a bus of the segment: the public ends of a chain.
pub struct PublicEnd {
    /// Which bus.
    pub bus: Bus,
    /// The tuple.
    pub tuple: Vec<Val>,
    /// Sent, or received.
    pub send: bool,
}

/// Verifies a segment's tables; returns the sum of their fractions on the global buses.
/// `challenger` has seen all that is public and the commitment of stage 1; `log_heights` are the tables' heights, already checked to
/// be allowed.
#[allow(clippy::too_many_arguments, reason = "all of them are what a proof is verified against")]
pub fn verify<A: Table>(
    config: &Config,
    mut challenger: Challenger,
    instances: &[Instance<'_, A>],
    log_heights: &[u8],
    stage1: &Commitment,
    preprocessed: &[PreprocessedShape<'_>],
    tag: u32,
    global: BusChallenges,
    ends: &[PublicEnd],
    proof: &StarkProof,
) -> Result<Challenge, StarkError> {
    let shapes: Vec<Shape> = instances.iter().map(|i| Shape::of(i.table)).collect();
    check_shape(instances, &shapes, proof)?;
    if !challenger.check_witness(usize::from(config.parameters.logup_grinding_bits), proof.logup_witness) {
        return Err(StarkError::Grinding);
    }
    let challenges = LogUpChallenges { local: local_challenges(&mut challenger), global };
    let sums = proof.tables.iter().map(|t| (t.local_sum, t.global_sum));
    let alpha = constraint_challenge(&mut challenger, &proof.permutation, sums);
    challenger.observe(proof.quotient.clone());
    let zeta: Challenge = challenger.sample_algebra_element();

    // Openings against commitments.
    let domains: Vec<Domain> = log_heights.iter().map(|&h| domain(config, 1 << h)).collect();
    let quotient_domains: Vec<Vec<Domain>> =
        domains.iter().map(|d| d.create_disjoint_domain(d.size() * QUOTIENT_CHUNKS).split_domains(QUOTIENT_CHUNKS)).collect();
    let mut main = Vec::new();
    let mut permutation = Vec::new();
    let mut quotient = Vec::new();
    for (i, opening) in proof.tables.iter().enumerate() {
        main.push((domains[i], vec![(zeta, opening.main.clone())]));
        permutation.push((
            domains[i],
            vec![(zeta, opening.permutation.clone()), (next_point(&domains[i], zeta), opening.permutation_next.clone())],
        ));
        for (chunk, d) in opening.quotient.iter().zip(&quotient_domains[i]) {
            // Chunks are committed as extensions of functions on their own coset; their commitment domain is the trace's size.
            quotient.push((*d, vec![(zeta, chunk.clone())]));
        }
    }
    let mut rounds = vec![(stage1.clone(), main), (proof.permutation.clone(), permutation), (proof.quotient.clone(), quotient)];
    for (round, shape) in preprocessed.iter().enumerate() {
        let mut openings = Vec::with_capacity(shape.matrices.len());
        for (matrix, &(width, log_height)) in shape.matrices.iter().enumerate() {
            let owner = instances
                .iter()
                .position(|i| i.preprocessed == Some((round, matrix)))
                .ok_or_else(|| StarkError::Shape("a preprocessed matrix belongs to no table".into()))?;
            if log_heights[owner] != log_height || instances[owner].table.preprocessed_width() != width {
                return Err(StarkError::Shape(format!("table {}", instances[owner].table.name())));
            }
            openings.push((domains[owner], vec![(zeta, proof.tables[owner].preprocessed.clone())]));
        }
        rounds.push((shape.commitment.clone(), openings));
    }
    config.pcs.verify(rounds, &proof.opening, &mut challenger).map_err(|error| StarkError::Openings(format!("{error:?}")))?;

    // Constraints at the point.
    for (i, (instance, &shape)) in instances.iter().zip(&shapes).enumerate() {
        let opening = &proof.tables[i];
        let inverse_height = Val::from_usize(domains[i].size()).inverse();
        let folded = fold_at_point(
            instance.table,
            shape,
            &challenges,
            tag,
            &Opened {
                preprocessed: &opening.preprocessed,
                main: &opening.main,
                permutation: &unflatten(&opening.permutation),
                permutation_next: &unflatten(&opening.permutation_next),
                local_mean: opening.local_sum * inverse_height,
                global_mean: opening.global_sum * inverse_height,
            },
            alpha,
        );
        let chunks = &quotient_domains[i];
        let mut value = Challenge::ZERO;
        for (j, chunk) in opening.quotient.iter().enumerate() {
            let mut weight = Challenge::ONE;
            for (k, other) in chunks.iter().enumerate() {
                if k != j {
                    let at_first: Val = other.vanishing_poly_at_point(chunks[j].first_point());
                    weight *= other.vanishing_poly_at_point(zeta) * at_first.inverse();
                }
            }
            value += weight * unflatten(chunk)[0];
        }
        if folded != value * domains[i].vanishing_poly_at_point(zeta) {
            return Err(StarkError::Constraints(instance.table.name()));
        }
    }

    // Buses of the segment, with the ends that are public.
    let mut local: Challenge = proof.tables.iter().map(|t| t.local_sum).sum();
    for end in ends {
        let tuple: Vec<Challenge> = end.tuple.iter().map(|&x| x.into()).collect();
        let fraction = challenges.local.fingerprint(end.bus, &tuple).try_inverse().ok_or(StarkError::Buses)?;
        if end.send { local += fraction } else { local -= fraction }
    }
    if local != Challenge::ZERO {
        return Err(StarkError::Buses);
    }
    Ok(proof.tables.iter().map(|t| t.global_sum).sum())
}

/// Base-field columns, opened at an extension point, back to columns of the extension.
fn unflatten(columns: &[Challenge]) -> Vec<Challenge> {
    columns
        .chunks_exact(EXTENSION_DEGREE)
        .map(|c| {
            c.iter()
                .enumerate()
                .map(|(d, &x)| x * <Challenge as BasedVectorSpace<Val>>::ith_basis_element(d).expect("d < degree"))
                .sum()
        })
        .collect()
}

fn check_shape<A: Table>(instances: &[Instance<'_, A>], shapes: &[Shape], proof: &StarkProof) -> Result<(), StarkError> {
    if proof.tables.len() != instances.len() {
        return Err(StarkError::Shape(format!("{} tables instead of {}", proof.tables.len(), instances.len())));
    }
    for ((instance, shape), opening) in instances.iter().zip(shapes).zip(&proof.tables) {
        let permutation = shape.permutation_columns() * EXTENSION_DEGREE;
        let preprocessed = if instance.preprocessed.is_some() { instance.table.preprocessed_width() } else { 0 };
        let fits = opening.main.len() == instance.table.width()
            && opening.preprocessed.len() == preprocessed
            && opening.permutation.len() == permutation
            && opening.permutation_next.len() == permutation
            && opening.quotient.iter().all(|chunk| chunk.len() == EXTENSION_DEGREE)
            // A scope without interactions has no column that would prove its sum.
            && (shape.local > 0 || opening.local_sum == Challenge::ZERO)
            && (shape.global > 0 || opening.global_sum == Challenge::ZERO);
        if !fits {
            return Err(StarkError::Shape(format!("openings of table {}", instance.table.name())));
        }
    }
    Ok(())
}
