//! A plan: set the program up, run it, and put each segment on the bus as soon as it is cut.

use std::ops::ControlFlow;
use std::time::Instant;

use bytes::Bytes;
use futures::stream::{FuturesOrdered, StreamExt};
use tokio::sync::mpsc;
use tokio_util::sync::CancellationToken;
use tracing::{info, warn};
use zisk_common::messages::{
    ByteBuf, DEFAULT_LOG_SEGMENT_STEPS, Executed, ObjectScope, PlanAssignment, Planned, ProgramEntry, Report, SetupDone, Version,
};
use zisk_common::subjects::{Phase, RequestKind};
use zisk_prover::backend::{ExecuteOptions, Execution};

use crate::compute;
use crate::context::Context;
use crate::problem::Problem;
use crate::programs::milliseconds_since;
use crate::pull::Delivery;

/// Segments between the executor and the uploads. With [`UPLOADS`] it bounds what a fast executor can pile up.
const SEGMENTS_AHEAD: usize = 2;
/// Uploads at the same time: enough to hide the store's latency.
const UPLOADS: usize = 4;
/// What of the guest's output is reported, bytes; it is stored in the job's record.
const UART_LIMIT: usize = 64 << 10;

/// Carries out a plan and settles its assignment.
pub async fn run(context: &Context, assignment: PlanAssignment, delivery: Delivery, cancel: CancellationToken) {
    let job = assignment.job;
    let attempt = assignment.attempt.saturating_add(delivery.redeliveries());
    // A job that has ended needs no segments: the first holder may have died after its last report.
    if delivery.redeliveries() > 0 && context.job_has_ended(job).await {
        info!(%job, "plan of a job that has ended: dropped");
        delivery.ack().await;
        return;
    }
    info!(%job, attempt, goal = assignment.goal.as_str(), "plan begun");
    let carried_out = async {
        let begun = context.begin(job, "plan", attempt).await?;
        let carried_out = carry_out(context, &assignment, &cancel).await;
        context.end(begun);
        carried_out
    };
    match carried_out.await {
        Ok(()) => {
            context.health.succeeded();
            delivery.ack().await;
        }
        // Either the job is over, and its assignments are purged, or this worker leaves and another is to take the plan.
        Err(_) if cancel.is_cancelled() => delivery.nak().await,
        Err(problem) => {
            warn!(%job, attempt, error = %problem, "plan failed");
            if context.failed_for_its_own_reasons(&problem, (job, None)).await {
                return delivery.nak().await;
            }
            context.report_failure(job, attempt, Phase::Executed, None, &problem, &cancel).await;
            delivery.ack().await;
        }
    }
}

async fn carry_out(context: &Context, assignment: &PlanAssignment, cancel: &CancellationToken) -> Result<(), Problem> {
    let (entry, milliseconds) = context.programs.entry(context, assignment.program).await?;
    if assignment.goal == RequestKind::Setup {
        let report = SetupDone {
            v: Version::default(),
            job: assignment.job,
            worker: context.worker,
            program: assignment.program,
            keys: entry.keys,
            milliseconds,
        };
        return context.report(Report::Setup(report), cancel).await;
    }
    let program = context.programs.get(context, assignment.program, &entry.keys).await?;
    let input = match &assignment.input {
        Some(object) => context.get(object).await?,
        None => Bytes::new(),
    };
    let log_segment_steps = assignment.params.log_segment_steps.unwrap_or(DEFAULT_LOG_SEGMENT_STEPS);
    let options = ExecuteOptions {
        log_segment_steps: (assignment.goal == RequestKind::Prove).then_some(log_segment_steps.into()),
        max_steps: assignment.params.max_steps.unwrap_or(u64::MAX),
    };

    let began = Instant::now();
    let (sender, segments) = mpsc::channel::<(u32, Vec<u8>)>(SEGMENTS_AHEAD);
    let loaded = program.loaded.clone();
    let execution = compute::run("execute", move || {
        loaded.execute(&input, &options, &mut |index, segment| {
            // Waits while the uploads are behind; ends when they have given up.
            match sender.blocking_send((index, segment)) {
                Ok(()) => ControlFlow::Continue(()),
                Err(_) => ControlFlow::Break(()),
            }
        })
    });
    let upload = upload(context, assignment, &entry, segments, cancel);
    let (execution, uploaded) = tokio::join!(execution, upload);
    // What the uploads met is the cause; the executor then only says that it was stopped.
    uploaded?;
    let report = executed(context, assignment, &entry, execution?, milliseconds_since(began))?;
    context.report(Report::Executed(report), cancel).await
}

/// Uploads and reports segments in order, several at a time.
async fn upload(
    context: &Context,
    assignment: &PlanAssignment,
    entry: &ProgramEntry,
    mut segments: mpsc::Receiver<(u32, Vec<u8>)>,
    cancel: &CancellationToken,
) -> Result<(), Problem> {
    let mut uploads = FuturesOrdered::new();
    loop {
        tokio::select! {
            () = cancel.cancelled() => return Err(Problem::Unwanted),
            Some(done) = uploads.next() => {
                context.report(Report::Planned(done?), cancel).await?;
            }
            segment = segments.recv(), if uploads.len() < UPLOADS => match segment {
                Some((n, bytes)) => uploads.push_back(async move {
                    let segment = context.put(ObjectScope::Segment(assignment.job), bytes.into()).await?;
                    Ok::<_, Problem>(Planned {
                        v: Version::default(),
                        job: assignment.job,
                        n,
                        worker: context.worker,
                        segment,
                        keys: entry.keys,
                    })
                }),
                None if uploads.is_empty() => return Ok(()),
                None => while let Some(done) = uploads.next().await {
                    context.report(Report::Planned(done?), cancel).await?;
                },
            },
        }
    }
}

fn executed(
    context: &Context,
    assignment: &PlanAssignment,
    entry: &ProgramEntry,
    execution: Execution,
    milliseconds: u64,
) -> Result<Executed, Problem> {
    let public_values = rmp_serde::to_vec_named(&execution.public)
        .map_err(|error| Problem::Message(format!("public values do not encode: {error}")))?;
    let outputs: Vec<u8> = execution.public.outputs.iter().flat_map(|word| word.to_le_bytes()).collect();
    let mut uart = execution.uart.into_bytes();
    uart.truncate(UART_LIMIT);
    Ok(Executed {
        v: Version::default(),
        job: assignment.job,
        worker: context.worker,
        segments: execution.segments,
        steps: execution.steps,
        exit_code: execution.public.exit_code,
        outputs: ByteBuf::from(outputs),
        public_values: ByteBuf::from(public_values),
        uart: ByteBuf::from(uart),
        verifying_key: entry.verifying_key.clone(),
        keys: entry.keys,
        milliseconds,
    })
}
