//! One fold for the aggregator of a job: get two nodes, join them, post the result. Nothing depends on it: what this worker
//! cannot do the aggregator does.

use std::sync::Arc;
use std::time::Instant;

use bytes::Bytes;
use metrics::counter;
use tokio_util::sync::CancellationToken;
use tracing::{debug, info, warn};
use zisk_common::messages::{FoldAssignment, Folded, ObjectScope, Report, Version};

use crate::compute;
use crate::context::Context;
use crate::metric_definitions::FOLDS;
use crate::problem::Problem;
use crate::programs::{Program, milliseconds_since};
use crate::pull::Delivery;

/// Deliveries after which a fold is left to the aggregator.
const DELIVERIES: u32 = 3;

/// Carries out a fold and settles its assignment.
pub async fn run(context: &Context, assignment: FoldAssignment, delivery: Delivery, cancel: CancellationToken) {
    let (job, n, epoch) = (assignment.job, assignment.n, assignment.epoch);
    if !is_wanted(context, &assignment).await {
        debug!(%job, fold = n, epoch, "not wanted any more");
        return delivery.ack().await;
    }
    match carry_out(context, assignment, &cancel).await {
        Ok(()) => {
            context.health.succeeded();
            delivery.ack().await;
        }
        // Either the job is over, and its assignments are purged, or this worker leaves and another is to take it.
        Err(_) if cancel.is_cancelled() => delivery.nak().await,
        Err(problem) => {
            warn!(%job, fold = n, epoch, error = %problem, "fold failed");
            let own = context.failed_for_its_own_reasons(&problem, (job, Some(n))).await;
            if own || delivery.redeliveries() + 1 < DELIVERIES {
                delivery.nak().await;
            } else {
                delivery.ack().await;
            }
        }
    }
}

/// Whether the job and its aggregator are as they were. What cannot be found out counts as wanted: a fold done in vain costs
/// less than one not done.
async fn is_wanted(context: &Context, assignment: &FoldAssignment) -> bool {
    let job = assignment.job;
    if let Ok(Some(record)) = context.job_record(job).await
        && (record.state.is_terminal() || record.round > assignment.round)
    {
        return false;
    }
    // Without one: its successor takes what it had.
    !matches!(context.bus.holder(job).await, Ok(Some(holder)) if holder.epoch > assignment.epoch)
}

async fn carry_out(context: &Context, assignment: FoldAssignment, cancel: &CancellationToken) -> Result<(), Problem> {
    let began = Instant::now();
    let FoldAssignment { job, n, epoch, round, .. } = assignment;
    let program = context.programs.get(context, assignment.program, &assignment.keys).await?;
    let (left, right) = tokio::try_join!(context.get(&assignment.left), context.get(&assignment.right))?;
    let turn = tokio::select! {
        turn = context.folding.acquire() => turn,
        () = cancel.cancelled() => return Err(Problem::Unwanted),
    };
    let node = fold(context, program, left, right).await?;
    drop(turn);
    let node = Some(context.put(ObjectScope::Node(job), node).await?);
    let milliseconds = milliseconds_since(began);
    info!(%job, fold = n, epoch, milliseconds, "folded for the aggregator");
    let worker = context.worker;
    let report = Folded { v: Version::default(), job, n, worker, epoch, round, node, milliseconds, refused: None };
    context.report(Report::Folded(report), cancel).await
}

/// Joins two neighbours on a thread of its own. The caller has its turn to fold.
///
/// # Errors
/// [`Problem`] when they do not join.
pub async fn fold(context: &Context, program: Arc<Program>, left: Bytes, right: Bytes) -> Result<Bytes, Problem> {
    let backend = context.backend.clone();
    let node = compute::run("fold", move || backend.fold(&program.verifying_key, &left, &right)).await?;
    counter!(FOLDS).increment(1);
    Ok(node.into())
}
