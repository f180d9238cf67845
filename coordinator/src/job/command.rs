//! What the state machine asks to be done, and what a record still owes.

use zisk_common::ids::JobId;
use zisk_common::messages::{
    AggregateAssignment, Assignment, ByteBuf, Cancel, Challenge, Dead, DeadJob, DeadLetter, Event, EventBody, Failure,
    FailureKind, FoldRecord, JobRecord, JobState, Metadata, PlanAssignment, SegmentAssignment, Version,
};
use zisk_common::subjects::{EventKind, Phase, RequestKind};

use super::failure::pause_ms;
use super::judge::{former_aggregators, is_over};

/// Something to do once the record it follows from is committed.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Command {
    /// Put a unit of work on the bus.
    Assign(Assignment),
    /// Broadcast the challenge.
    Challenge(Challenge),
    /// Tell workers to drop the job.
    Cancel(Cancel),
    /// Take the job's aggregator lease away, if it is still of this epoch.
    Depose {
        /// The job.
        job: JobId,
        /// The epoch.
        epoch: u64,
    },
    /// Tell watchers.
    Publish(Event),
    /// Keep what failed for good where operators find it.
    Dead(Box<DeadLetter>),
    /// Purge the job's subjects and delete its segments and nodes, then feed
    /// [`Input::Cleaned`](super::Input::Cleaned).
    CleanUp,
}

/// An event of the job, with its counters; the first and the last with its metadata.
pub(super) fn event(record: &JobRecord, at_ms: u64, body: EventBody) -> Event {
    let kind = body.kind();
    let metadata = match kind == EventKind::Accepted || kind.is_terminal() {
        true => record.request.metadata.clone(),
        false => Metadata::new(),
    };
    Event { v: Version::default(), job: record.job, at_ms, progress: record.progress, metadata, body }
}

/// The plan's assignment.
pub(super) fn plan(record: &JobRecord) -> Assignment {
    Assignment::Plan(PlanAssignment {
        v: Version::default(),
        job: record.job,
        attempt: record.plan_attempt,
        goal: record.goal,
        program: record.request.program,
        input: record.request.input,
        params: record.request.params.clone(),
        pause_ms: pause_ms(record.plan_failures.len()),
    })
}

/// Segment `n`'s assignment, once it is cut.
pub(super) fn segment(record: &JobRecord, n: u32) -> Option<Assignment> {
    let state = record.segments.get(n as usize)?;
    Some(Assignment::Segment(SegmentAssignment {
        v: Version::default(),
        job: record.job,
        n,
        attempt: state.attempt,
        program: record.request.program,
        keys: record.keys?,
        segment: state.segment?,
        params: record.request.params.clone(),
        pause_ms: pause_ms(state.failures.len()),
        round: record.round,
        avoid: state.avoid.clone(),
    }))
}

/// The newest aggregation assignment, once there is a challenge.
pub(super) fn aggregation(record: &JobRecord) -> Option<Assignment> {
    Some(Assignment::Aggregate(AggregateAssignment {
        v: Version::default(),
        job: record.job,
        n: record.aggregate_assignments.checked_sub(1)?,
        attempt: 1,
        program: record.request.program,
        keys: record.keys?,
        segments: record.progress.segments?,
        challenge: record.challenge.clone()?,
        pause_ms: pause_ms(record.fold_failures.len()),
        avoid: former_aggregators(record),
    }))
}

/// The challenge's broadcast, once it is derived.
pub(super) fn challenge(record: &JobRecord) -> Option<Challenge> {
    Some(Challenge {
        v: Version::default(),
        job: record.job,
        challenge: record.challenge.clone()?,
        segments: record.progress.segments?,
        round: record.round,
    })
}

/// The event of segment `n`'s committed proof.
pub(super) fn proof_event(record: &JobRecord, n: u32, at_ms: u64) -> Option<Event> {
    let state = record.segments.get(n as usize)?;
    let (worker, node) = (state.prover?, state.node_in(record.round)?);
    let body = EventBody::Proof { n, worker, node, commit: state.commits, milliseconds: state.proof_ms };
    Some(event(record, at_ms, body))
}

/// The event of a committed fold.
pub(super) fn fold_event(record: &JobRecord, n: u32, at_ms: u64) -> Option<Event> {
    let FoldRecord { worker, epoch, round, node, milliseconds } = record.segments.get(n as usize)?.fold_in(record.round)?;
    Some(event(record, at_ms, EventBody::Folded { n, worker, epoch, round, node, milliseconds }))
}

/// What the record owes: everything that a coordinator which died after committing it may not have done. A superset;
/// what is on the bus already need not be put there again.
///
/// Events that only show progress are not owed: each carries the counters, so the next one makes up for a lost one.
pub fn outstanding(record: &JobRecord, at_ms: u64) -> Vec<Command> {
    if record.state.is_terminal() {
        return if record.cleaned { Vec::new() } else { terminal(record) };
    }
    if record.is_waiting() || record.waits_for_input() {
        return Vec::new();
    }
    let mut commands = Vec::new();
    let plan_owed = match record.goal {
        RequestKind::Setup => record.keys.is_none(),
        RequestKind::Execute | RequestKind::Prove => !is_planned(record),
    };
    if plan_owed {
        commands.push(Command::Assign(plan(record)));
    }
    commands.extend(challenge(record).map(Command::Challenge));
    if is_over(record, record.epoch) {
        commands.push(Command::Depose { job: record.job, epoch: record.epoch });
    }
    for (n, state) in (0u32..).zip(&record.segments) {
        if state.node_in(record.round).is_some() {
            commands.extend(proof_event(record, n, at_ms).map(Command::Publish));
        } else {
            commands.extend(segment(record, n).map(Command::Assign));
        }
    }
    commands
}

/// Whether the plan has done all it is for. That the program has ended does not say so: a report of a segment may have been lost
/// with the stream it was in.
pub(super) fn is_planned(record: &JobRecord) -> bool {
    let cut = || record.progress.segments.is_none_or(|segments| record.progress.planned >= segments);
    record.execution.is_some() && (record.goal != RequestKind::Prove || cut())
}

/// What ends a job on the bus.
pub(super) fn terminal(record: &JobRecord) -> Vec<Command> {
    let mut commands = Vec::new();
    if let Some(failure) = &record.failure {
        // Of a job whose turn never came no worker has heard.
        if record.timings.admitted_ms != 0 {
            commands.push(Command::Cancel(Cancel {
                v: Version::default(),
                job: record.job,
                kind: failure.kind,
                message: failure.message.clone(),
            }));
        }
        commands.extend(dead_letter(record, failure).map(Command::Dead));
    }
    commands.extend(terminal_body(record).map(|body| Command::Publish(event(record, record.timings.ended_ms, body))));
    commands.push(Command::CleanUp);
    commands
}

/// What people are to look at: a job that the cluster failed. What its program, its client or its deadline ended is in the
/// job's own record.
fn dead_letter(record: &JobRecord, failure: &Failure) -> Option<Box<DeadLetter>> {
    if !matches!(failure.kind, FailureKind::Internal | FailureKind::Storage) {
        return None;
    }
    let segment = failure.segment.and_then(|n| record.segments.get(n as usize));
    let (attempt, attempts) = match (segment, failure.phase) {
        (Some(state), _) => (state.attempt, state.failures.clone()),
        (None, Some(Phase::Folded | Phase::Final)) => {
            let failures: Vec<Failure> = record.fold_failures.iter().map(|known| known.failure.clone()).collect();
            (u32::try_from(failures.len()).unwrap_or(u32::MAX), failures)
        }
        (None, _) => (record.plan_attempt, record.plan_failures.clone()),
    };
    let dead = DeadJob::new(record.goal, record.request.clone(), failure.clone(), attempt, attempts);
    Some(Box::new(DeadLetter { v: Version::default(), at_ms: record.timings.ended_ms, dead: Dead::Job(dead) }))
}

fn terminal_body(record: &JobRecord) -> Option<EventBody> {
    let timings = &record.timings;
    match record.state {
        JobState::Completed => Some(EventBody::Completed {
            proof: record.proof,
            summary: record.execution.clone(),
            milliseconds: timings.ended_ms.saturating_sub(timings.accepted_ms),
        }),
        JobState::Failed => Some(EventBody::Failed { failure: record.failure.clone()? }),
        JobState::Cancelled => Some(EventBody::Cancelled { failure: record.failure.clone()? }),
        _ => None,
    }
}

/// The challenge as reports name it.
pub(super) fn challenge_digest(challenge: &ByteBuf) -> zisk_common::ids::Digest {
    zisk_common::ids::Digest::of(challenge)
}
