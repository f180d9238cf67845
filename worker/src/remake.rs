//! Objects that are missing or damaged in the store are made again from what they were made of: keys from the ELF, a segment
//! from the program's run, a segment's proof from the segment. Everything here is deterministic and content-addressed, so what
//! comes out is what was lost, under the same key, or is not used.

use std::fmt::Display;
use std::ops::ControlFlow;

use bytes::Bytes;
use metrics::counter;
use tokio_util::sync::CancellationToken;
use tracing::{debug, warn};
use zisk_common::ids::{Digest, JobId, ProgramId};
use zisk_common::messages::{DEFAULT_LOG_SEGMENT_STEPS, ObjectRef, ObjectScope, ProgramKeys};
use zisk_common::objects::ObjectError;
use zisk_protocol::GlobalChallenge;
use zisk_prover::backend::{BackendError, ExecuteOptions};

use crate::compute;
use crate::context::Context;
use crate::metric_definitions::OBJECTS_REMADE;
use crate::problem::Problem;
use crate::segment::proof_kind;

/// A segment to be read.
#[derive(Clone, Copy, Debug)]
pub struct Wanted {
    /// Its job.
    pub job: JobId,
    /// Its index.
    pub n: u32,
    /// Where it is.
    pub segment: ObjectRef,
    /// The job's program.
    pub program: ProgramId,
    /// The program's keys.
    pub keys: ProgramKeys,
}

/// The segment's bytes, cut again should they be missing or damaged.
///
/// # Errors
/// What was wrong with the stored ones, and why they cannot be made again.
pub async fn segment(context: &Context, wanted: Wanted, cancel: &CancellationToken) -> Result<Bytes, Problem> {
    match stored(context, context.get(&wanted.segment).await).await? {
        Ok(bytes) => Ok(bytes),
        Err(damage) => remade("segment", wanted.job, damage, cut_again(context, wanted, cancel).await),
    }
}

/// The bytes of a segment's proof, proven again should they be missing or damaged.
///
/// # Errors
/// What was wrong with the stored ones, and why they cannot be made again.
pub async fn node(context: &Context, job: JobId, n: u32, node: ObjectRef, cancel: &CancellationToken) -> Result<Bytes, Problem> {
    match stored(context, context.get(&node).await).await? {
        Ok(bytes) => Ok(bytes),
        Err(damage) => remade("proof", job, damage, prove_again(context, job, n, cancel).await),
    }
}

/// The bytes of a program's keys, derived again should they be missing or damaged.
///
/// # Errors
/// What was wrong with the stored ones, and why they cannot be made again.
pub async fn keys(context: &Context, program: ProgramId, keys: &ProgramKeys) -> Result<(Bytes, Bytes), Problem> {
    let both = async { Ok((context.get(&keys.proving).await?, context.get(&keys.verifying).await?)) };
    match stored(context, both.await).await? {
        Ok(keys) => Ok(keys),
        Err(damage) => remade("keys", program, damage, set_up_again(context, program, keys).await),
    }
}

/// What was read, or what is wrong with it and can be mended. A store that is not the cluster's lacks everything, and whatever were
/// made again in it nobody else would find.
async fn stored<T>(context: &Context, read: Result<T, Problem>) -> Result<Result<T, ObjectError>, Problem> {
    match read {
        Ok(read) => Ok(Ok(read)),
        Err(Problem::Object(damage)) if damage.is_damage() => match context.bus.check_mark(context.objects()).await {
            Ok(_) => Ok(Err(damage)),
            Err(error) => {
                debug!(%error, "not made again");
                Err(Problem::Object(damage))
            }
        },
        Err(problem) => Err(problem),
    }
}

fn remade<T>(what: &'static str, of: impl Display, damage: ObjectError, again: Result<T, Problem>) -> Result<T, Problem> {
    match again {
        Ok(made) => {
            warn!(%of, %damage, "{what} made again");
            counter!(OBJECTS_REMADE, "what" => what).increment(1);
            Ok(made)
        }
        Err(problem) if problem.kind().is_none() => Err(problem),
        Err(problem) => Err(Problem::Lost { damage: Box::new(damage), again: Box::new(problem) }),
    }
}

async fn cut_again(context: &Context, wanted: Wanted, cancel: &CancellationToken) -> Result<Bytes, Problem> {
    let _turn = context.remaking.acquire().await;
    let record = context.job_record(wanted.job).await?.ok_or(Problem::Unwanted)?;
    let program = context.programs.get(context, wanted.program, &wanted.keys).await?;
    let input = match &record.request.input {
        Some(object) => context.get(object).await?,
        None => Bytes::new(),
    };
    let params = &record.request.params;
    let options = ExecuteOptions {
        log_segment_steps: Some(params.log_segment_steps.unwrap_or(DEFAULT_LOG_SEGMENT_STEPS).into()),
        max_steps: params.max_steps.unwrap_or(u64::MAX),
    };
    let (n, cancelled) = (wanted.n, cancel.clone());
    let cut = compute::run("execute", move || {
        let mut cut = None;
        let ran = program.loaded.execute(&input, &options, &mut |index, segment| {
            if index == n {
                cut = Some(segment);
            }
            if cut.is_some() || cancelled.is_cancelled() { ControlFlow::Break(()) } else { ControlFlow::Continue(()) }
        });
        match (cut, ran) {
            (Some(cut), _) => Ok(cut),
            (None, Err(error)) => Err(error),
            (None, Ok(run)) => Err(BackendError::Internal(format!("the run has {} segments, none of index {n}", run.segments))),
        }
    });
    let bytes: Bytes = cut.await?.into();
    let found = Digest::of(&bytes);
    if found != wanted.segment.key.digest {
        return Err(Problem::Message(format!("the run now gives another segment {n}, which hashes to {found}")));
    }
    context.put(ObjectScope::Segment(wanted.job), bytes.clone()).await?;
    Ok(bytes)
}

/// Whatever comes out is checked by the fold that takes it.
async fn prove_again(context: &Context, job: JobId, n: u32, cancel: &CancellationToken) -> Result<Bytes, Problem> {
    let record = context.job_record(job).await?.ok_or(Problem::Unwanted)?;
    if record.state.is_terminal() {
        return Err(Problem::Unwanted);
    }
    let missing = |what: &str| Problem::Message(format!("the record has no {what}"));
    let keys = record.keys.ok_or_else(|| missing("keys"))?;
    let challenge = record.challenge.as_ref().and_then(|challenge| challenge.as_slice().try_into().ok());
    let challenge = GlobalChallenge(challenge.ok_or_else(|| missing("challenge"))?);
    let stored = context.segment_record(job, n).await?.and_then(|record| record.segment);
    let wanted = Wanted { job, n, segment: stored.ok_or_else(|| missing("segment"))?, program: record.request.program, keys };
    let bytes = segment(context, wanted, cancel).await?;
    let program = context.programs.get(context, wanted.program, &keys).await?;
    // In the place of a fold: the aggregator has nothing better to do, and no more memory is held.
    let turn = context.folding.acquire().await;
    let kind = proof_kind(&record.request.params);
    let prove = move || program.loaded.contribute(&bytes)?.1.prove(&challenge, kind);
    let node: Bytes = compute::run("prove", prove).await?.into();
    drop(turn);
    context.put(ObjectScope::Node(job), node.clone()).await?;
    Ok(node)
}

async fn set_up_again(context: &Context, program: ProgramId, keys: &ProgramKeys) -> Result<(Bytes, Bytes), Problem> {
    let setup = context.programs.derive(context, program).await?;
    let (proving, verifying): (Bytes, Bytes) = (setup.proving_key.into(), setup.verifying_key.into());
    let made = ProgramKeys {
        proving: context.put(ObjectScope::Key, proving.clone()).await?,
        verifying: context.put(ObjectScope::Key, verifying.clone()).await?,
    };
    if made != *keys {
        return Err(Problem::Message("this prover derives other keys: a worker of another version made them".to_owned()));
    }
    Ok((proving, verifying))
}
