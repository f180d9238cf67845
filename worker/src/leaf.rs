//! A leaf of the aggregation tree: a segment proof, checked against the committed contribution and the challenge before it is
//! folded, so that a worker that proves nonsense costs its own segment and not the aggregation.

use std::sync::Arc;
use std::time::Duration;

use tokio_util::sync::CancellationToken;
use zisk_common::ids::{Digest, JobId, WorkerId};
use zisk_common::messages::{ObjectRef, SegmentRecord};
use zisk_protocol::GlobalChallenge;
use zisk_prover::backend::{BackendError, ProofKind};

use crate::compute;
use crate::context::Context;
use crate::problem::Problem;
use crate::programs::Program;
use crate::remake;

/// Pause before a segment's record is read again that is behind its event, as a copy of the bucket may be.
const BEHIND: Duration = Duration::from_millis(250);

/// A committed segment proof, as its event says.
#[derive(Clone, Copy, Debug)]
pub struct Leaf {
    /// The segment's index.
    pub n: u32,
    /// Which of the segment's committed proofs.
    pub commit: u32,
    /// Who made it.
    pub prover: WorkerId,
    /// The proof.
    pub node: ObjectRef,
}

/// What became of it.
pub enum Checked {
    /// It proves the committed contribution under the challenge.
    Good(Leaf, Vec<u8>),
    /// It does not stand any more: another will come.
    Superseded,
    /// It proves nothing of the kind; perhaps a rival of that contribution, by its digest.
    Bad(Leaf, String, Option<Digest>),
}

/// Fetches the proof, made again should it be lost, and checks it.
///
/// # Errors
/// [`Problem`] when it cannot be told.
pub async fn check(
    context: &Context,
    program: Arc<Program>,
    challenge: (u32, GlobalChallenge),
    kind: ProofKind,
    job: JobId,
    leaf: Leaf,
    cancel: &CancellationToken,
) -> Result<Checked, Problem> {
    let (round, challenge) = challenge;
    let Some((contribution, rivals)) = contributions(context, job, round, &leaf).await? else {
        return Ok(Checked::Superseded);
    };
    let node = remake::node(context, job, leaf.n, leaf.node, cancel).await?.to_vec();
    let backend = context.backend.clone();
    let turn = context.checking.acquire().await;
    let checked = compute::run("check", move || {
        let check =
            |contribution: &[u8]| backend.check_segment_proof(&program.verifying_key, contribution, &challenge, kind, &node);
        match check(&contribution) {
            Ok(()) => Ok(Checked::Good(leaf, node)),
            Err(error @ (BackendError::Rejected(_) | BackendError::Malformed { .. })) => {
                let proven = rivals.iter().find(|rival| check(rival).is_ok());
                Ok(Checked::Bad(leaf, error.to_string(), proven.map(|rival| Digest::of(rival))))
            }
            Err(error) => Err(error),
        }
    });
    let checked = checked.await;
    drop(turn);
    Ok(checked?)
}

/// The contribution that the segment's record holds and its rivals, unless the leaf is not that record's proof any more.
async fn contributions(
    context: &Context,
    job: JobId,
    round: u32,
    leaf: &Leaf,
) -> Result<Option<(Vec<u8>, Vec<Vec<u8>>)>, Problem> {
    loop {
        let record = context.segment_record(job, leaf.n).await?.unwrap_or_default();
        if is_superseded(&record, round, leaf) {
            return Ok(None);
        }
        if record.node == Some(leaf.node)
            && let Some(contribution) = record.contribution
        {
            let rivals = record.rivals.into_iter().map(|rival| rival.contribution.into_vec()).collect();
            return Ok(Some((contribution.into_vec(), rivals)));
        }
        tokio::time::sleep(BEHIND).await;
    }
}

fn is_superseded(record: &SegmentRecord, round: u32, leaf: &Leaf) -> bool {
    let rejected = record.node.is_none() && record.rejected.iter().any(|known| known.node.key == leaf.node.key);
    let of_another_round = record.node == Some(leaf.node) && record.node_round != round;
    of_another_round || record.commits > leaf.commit || (record.commits == leaf.commit && rejected)
}
