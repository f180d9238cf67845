//! What the coordinator measures.

use std::collections::HashMap;
use std::time::Duration;

use metrics::{counter, gauge, histogram};
use tokio_util::sync::CancellationToken;
use zisk_common::bus::Bus;
use zisk_common::messages::{JobRecord, JobState, Timings};
use zisk_common::subjects::ConsumerKind;

use crate::metric_definitions::{ACTIVE_JOBS, JOB_SECONDS, JOBS_TOTAL, PHASE_SECONDS, QUEUE_DEPTH};

/// How often queue depths are asked for.
const PERIOD: Duration = Duration::from_secs(5);

/// States a job can be active in.
const ACTIVE_STATES: [JobState; 5] =
    [JobState::Queued, JobState::Executing, JobState::Contributing, JobState::Proving, JobState::Folding];

/// Shows the depth of every queue until `stop`.
pub(super) async fn follow_queues(bus: Bus, stop: CancellationToken) {
    let mut ticks = tokio::time::interval(PERIOD);
    ticks.set_missed_tick_behavior(tokio::time::MissedTickBehavior::Delay);
    let follow = async {
        loop {
            ticks.tick().await;
            for &kind in ConsumerKind::ALL {
                match bus.queue_depth(kind).await {
                    Ok(depth) => show_depth(&bus, kind, depth.pending + depth.in_flight),
                    Err(error) => tracing::debug!(%error, "queue depth not read"),
                }
            }
        }
    };
    stop.run_until_cancelled(follow).await;
    // From now on another's to show.
    ConsumerKind::ALL.iter().for_each(|&kind| show_depth(&bus, kind, 0));
}

fn show_depth(bus: &Bus, kind: ConsumerKind, messages: u64) {
    let stream = bus.prefix().stream(kind.stream());
    // Doubles hold counts exactly up to 2^53.
    gauge!(QUEUE_DEPTH, "stream" => stream, "consumer" => kind.durable_name()).set(messages as f64);
}

/// Shows how many jobs are in which state.
pub(super) fn show_active<'a>(records: impl Iterator<Item = &'a JobRecord>) {
    let mut counts: HashMap<JobState, u32> = HashMap::new();
    for record in records {
        *counts.entry(record.state).or_default() += 1;
    }
    for state in ACTIVE_STATES {
        gauge!(ACTIVE_JOBS, "phase" => state.as_str()).set(counts.get(&state).copied().unwrap_or(0));
    }
}

/// Counts a job that has just ended.
pub(super) fn count_ended(record: &JobRecord) {
    let (kind, outcome) = (record.goal.as_str(), outcome(record));
    let timings = &record.timings;
    counter!(JOBS_TOTAL, "kind" => kind, "outcome" => outcome).increment(1);
    histogram!(JOB_SECONDS, "kind" => kind, "outcome" => outcome).record(seconds(timings.accepted_ms, timings.ended_ms));
    for (phase, from, to) in phases(timings) {
        if from != 0 && to != 0 {
            histogram!(PHASE_SECONDS, "phase" => phase).record(seconds(from, to));
        }
    }
}

/// How the job ended, as a label: `completed`, `cancelled`, or the kind of its failure.
pub(super) fn outcome(record: &JobRecord) -> &'static str {
    match &record.failure {
        Some(failure) => failure.kind.as_str(),
        None => record.state.as_str(),
    }
}

fn phases(timings: &Timings) -> [(&'static str, u64, u64); 5] {
    let folding_ended = if timings.proven_ms == 0 { 0 } else { timings.ended_ms };
    [
        ("queued", timings.accepted_ms, timings.started_ms),
        ("executing", timings.started_ms, timings.executed_ms),
        ("contributing", timings.executed_ms, timings.challenged_ms),
        ("proving", timings.challenged_ms, timings.proven_ms),
        ("folding", timings.proven_ms, folding_ended),
    ]
}

fn seconds(from_ms: u64, to_ms: u64) -> f64 {
    Duration::from_millis(to_ms.saturating_sub(from_ms)).as_secs_f64()
}
