//! One segment's work: fetch, contribute, prove, report. Each function runs as a task of its own and tells the worker's
//! loop what it needs to know for its schedule.

use std::time::Instant;

use bytes::Bytes;
use metrics::counter;
use tokio_util::sync::CancellationToken;
use tracing::{debug, info, warn};
use zisk_common::follow::Broadcast;
use zisk_common::ids::{Digest, JobId};
use zisk_common::messages::{
    self, ByteBuf, Contribution, GivenBack, JobParams, ObjectScope, Proof, Report, SegmentAssignment, Version,
};
use zisk_common::subjects::Phase;
use zisk_protocol::GlobalChallenge;
use zisk_prover::backend::{Contributed, ProofKind};

use crate::aggregate::Candidacy;
use crate::compute;
use crate::context::Context;
use crate::metric_definitions::{SEGMENTS, STEPS_PROVEN};
use crate::problem::Problem;
use crate::programs::milliseconds_since;
use crate::remake::{self, Wanted};
use crate::schedule::Key;
use crate::worker::{Event, Events};

/// What a task needs to know of the segment it works on.
#[derive(Clone)]
pub struct Segment {
    /// Its place in the schedule.
    pub key: Key,
    /// Its assignment.
    pub assignment: std::sync::Arc<SegmentAssignment>,
    /// Which delivery of the assignment this is.
    pub attempt: u32,
    /// The job is over, or the segment given back.
    pub cancel: CancellationToken,
}

impl Segment {
    fn job(&self) -> JobId {
        self.assignment.job
    }

    fn n(&self) -> u32 {
        self.assignment.n
    }

    fn wanted(&self) -> Wanted {
        let SegmentAssignment { job, n, segment, program, keys, .. } = *self.assignment;
        Wanted { job, n, segment, program, keys }
    }
}

/// Gets the segment's bytes.
pub async fn fetch(context: Context, segment: Segment, redelivered: bool, events: Events) {
    if redelivered && is_done(&context, &segment, &events).await {
        return;
    }
    let result = tokio::select! {
        () = segment.cancel.cancelled() => Err(Problem::Unwanted),
        bytes = remake::segment(&context, segment.wanted(), &segment.cancel) => bytes,
    };
    // Loading beside the download: the first segment of a program finds it ready.
    let loaded = context.programs.get(&context, segment.assignment.program, &segment.assignment.keys).await;
    match result.and_then(|bytes| loaded.map(|_| bytes)) {
        Ok(bytes) => events.tell(Event::Fetched(segment.key, bytes)),
        Err(problem) => fail(&context, &segment, Phase::Contribution, problem, &events).await,
    }
}

/// Whether a segment that was delivered before needs no work any more: its proof is committed or its job has ended. Else
/// tells the loop the job's challenge, if there is one: it may have been broadcast before this worker came.
async fn is_done(context: &Context, segment: &Segment, events: &Events) -> bool {
    let (job, n) = (segment.job(), segment.n());
    if context.segment_is_proven(job, n).await || context.job_has_ended(job).await {
        info!(%job, segment = n, attempt = segment.attempt, "redelivered, but done already: not proven again");
        events.tell(Event::Settled(segment.key));
        return true;
    }
    match context.bus.challenge(job).await {
        Ok(Some(challenge)) => events.tell(Event::Broadcast(Broadcast::Challenge(challenge))),
        Ok(None) => {}
        // The broadcasts are followed anyway.
        Err(error) => debug!(%job, %error, "challenge not read"),
    }
    false
}

/// Stage 1: computes and reports the contribution.
pub async fn contribute(context: Context, segment: Segment, bytes: Bytes, events: Events) {
    let began = Instant::now();
    let computed = async {
        let program = context.programs.get(&context, segment.assignment.program, &segment.assignment.keys).await?;
        let begun = context.begin(segment.job(), segment.n(), segment.attempt).await?;
        let contributed = compute::run("contribute", move || program.loaded.contribute(&bytes)).await;
        context.end(begun);
        Ok(contributed?)
    };
    match computed.await {
        Ok((contribution, contributed)) => {
            let milliseconds = milliseconds_since(began);
            let report = contribution_of(&context, &segment, contribution, milliseconds);
            info!(job = %segment.job(), segment = segment.n(), attempt = segment.attempt, milliseconds, "contributed");
            counter!(SEGMENTS, "event" => "contributed").increment(1);
            // Frees the slot first: the report need not be waited for.
            events.tell(Event::Contributed(segment.key, contributed));
            if let Err(problem) = context.report(Report::Contribution(report), &segment.cancel).await {
                fail(&context, &segment, Phase::Contribution, problem, &events).await;
            }
        }
        Err(problem) => fail(&context, &segment, Phase::Contribution, problem, &events).await,
    }
}

fn contribution_of(context: &Context, segment: &Segment, contribution: Vec<u8>, milliseconds: u64) -> Contribution {
    Contribution {
        v: Version::default(),
        job: segment.job(),
        n: segment.n(),
        worker: context.worker,
        attempt: segment.attempt,
        contribution: ByteBuf::from(contribution),
        milliseconds,
    }
}

/// The kind of proof that a job asks for.
pub fn proof_kind(params: &JobParams) -> ProofKind {
    match params.proof.unwrap_or_default() {
        messages::ProofKind::Recursive => ProofKind::Recursive,
        messages::ProofKind::Bundle => ProofKind::Bundle,
    }
}

/// Where stage 2 starts from.
pub enum Start {
    /// Data that stage 1 left.
    Contributed(Box<dyn Contributed>),
    /// The segment: stage 1 comes first.
    Segment(Bytes),
}

/// Stage 2: proves, uploads, reports, and stands for election. `again` when another reported the contribution.
pub async fn prove(context: Context, segment: Segment, start: Start, challenge: GlobalChallenge, again: bool, events: Events) {
    let began = Instant::now();
    let computed = async {
        let program = context.programs.get(&context, segment.assignment.program, &segment.assignment.keys).await?;
        let kind = proof_kind(&segment.assignment.params);
        let prove = move || match start {
            Start::Contributed(contributed) => Ok((None, contributed.prove(&challenge, kind)?)),
            Start::Segment(bytes) => {
                let (contribution, contributed) = program.loaded.contribute(&bytes)?;
                Ok((Some(contribution), contributed.prove(&challenge, kind)?))
            }
        };
        let begun = context.begin(segment.job(), segment.n(), segment.attempt).await?;
        let proven = compute::run("prove", prove).await;
        context.end(begun);
        Ok::<_, Problem>(proven?)
    };
    let (contribution, node) = match computed.await {
        Ok(proven) => proven,
        Err(problem) => return fail(&context, &segment, Phase::Proof, problem, &events).await,
    };
    let milliseconds = milliseconds_since(began);
    // Frees the slot: upload and report go on beside the next proof.
    events.tell(Event::Proven(segment.key));
    let committed = async {
        // Before the proof: should it differ from the one that the job has, that is known when the proof is judged.
        if let Some(contribution) = contribution.filter(|_| again) {
            context
                .report(Report::Contribution(contribution_of(&context, &segment, contribution, milliseconds)), &segment.cancel)
                .await?;
        }
        let report = Proof {
            v: Version::default(),
            job: segment.job(),
            n: segment.n(),
            worker: context.worker,
            attempt: segment.attempt,
            node: context.put(ObjectScope::Node(segment.job()), node.into()).await?,
            challenge: Digest::of(&challenge.0),
            milliseconds,
        };
        context.report(Report::Proof(report), &segment.cancel).await
    };
    if let Err(problem) = committed.await {
        return fail(&context, &segment, Phase::Proof, problem, &events).await;
    }
    info!(job = %segment.job(), segment = segment.n(), attempt = segment.attempt, milliseconds, "proven");
    counter!(SEGMENTS, "event" => "proven").increment(1);
    context.health.succeeded();
    if let Some(log_steps) = segment.assignment.params.log_segment_steps {
        counter!(STEPS_PROVEN).increment(1 << log_steps);
    }
    // Only now, with the proof safe on the bus: the first such worker becomes the job's aggregator.
    let candidacy = Candidacy { job: segment.job(), program: segment.assignment.program, keys: segment.assignment.keys };
    if let Some(lease) = context.stand_for_election(segment.job()).await {
        events.tell(Event::Elected(candidacy, lease));
    }
    events.tell(Event::Settled(segment.key));
}

/// Says that somebody else will compute the contribution again, and why. Before the segment is given back, so that it is
/// known when its proof comes.
pub async fn report_given_back(context: &Context, segment: &Segment) {
    let (job, n) = (segment.job(), segment.n());
    let report = GivenBack { v: Version::default(), job, n, worker: context.worker, attempt: segment.attempt };
    if let Err(error) = context.bus.publish_report(&Report::GivenBack(report)).await {
        debug!(%job, segment = n, %error, "not reported as given back");
    }
}

/// Reports the failure, if it is one, and settles the assignment; gives it back when the failure is this worker's own.
async fn fail(context: &Context, segment: &Segment, phase: Phase, problem: Problem, events: &Events) {
    if !segment.cancel.is_cancelled() {
        let (job, n, attempt) = (segment.job(), segment.n(), segment.attempt);
        warn!(%job, segment = n, attempt, phase = phase.as_str(), error = %problem, "segment failed");
        if context.failed_for_its_own_reasons(&problem, (job, Some(n))).await {
            return events.tell(Event::Returned(segment.key));
        }
        context.report_failure(job, attempt, phase, Some(n), &problem, &segment.cancel).await;
    }
    events.tell(Event::Settled(segment.key));
}
