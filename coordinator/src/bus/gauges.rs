//! What the coordinator measures.

use std::collections::HashMap;
use std::time::Duration;

use metrics::{counter, gauge, histogram};
use zisk_common::messages::{JobRecord, JobState, Progress, Timings};

use crate::metric_definitions::{ACTIVE_JOBS, ACTIVE_SEGMENTS, AGGREGATORS, JOB_SECONDS, JOBS_TOTAL, PHASE_SECONDS};

/// States a job can be active in.
const ACTIVE_STATES: [JobState; 6] = [
    JobState::WaitingForInput,
    JobState::Queued,
    JobState::Executing,
    JobState::Contributing,
    JobState::Proving,
    JobState::Folding,
];

/// Shows how many jobs are in which state, and how far their segments are.
pub(super) fn show_active<'a>(records: impl Iterator<Item = &'a JobRecord>) {
    let mut counts: HashMap<JobState, u32> = HashMap::new();
    let mut segments = [0_u64; 4];
    for record in records {
        *counts.entry(record.state).or_default() += 1;
        if !record.state.is_terminal() {
            let Progress { planned, contributed, proven, folded, .. } = record.progress;
            for (sum, count) in segments.iter_mut().zip([planned, contributed, proven, folded]) {
                *sum += u64::from(count);
            }
        }
    }
    for (state, count) in ["cut", "contributed", "proven", "folded"].into_iter().zip(segments) {
        // Doubles hold counts exactly up to 2^53.
        gauge!(ACTIVE_SEGMENTS, "state" => state).set(count as f64);
    }
    for state in ACTIVE_STATES {
        gauge!(ACTIVE_JOBS, "phase" => state.as_str()).set(counts.get(&state).copied().unwrap_or(0));
    }
}

/// Counts an aggregator that is another than before.
pub(super) fn count_aggregator(before: u64, record: &JobRecord) {
    if record.epoch != before && record.epoch != 0 {
        let how = if before == 0 { "first" } else { "takeover" };
        counter!(AGGREGATORS, "how" => how).increment(1);
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

/// How the job ended, as a label: `completed`, or the kind of its failure, of which `cancelled` is one.
pub(super) fn outcome(record: &JobRecord) -> &'static str {
    match &record.failure {
        Some(failure) => failure.kind.as_str(),
        None => record.state.as_str(),
    }
}

fn phases(timings: &Timings) -> [(&'static str, u64, u64); 6] {
    let folding_ended = if timings.proven_ms == 0 { 0 } else { timings.ended_ms };
    [
        // Of an input that is not streamed it is 0, and not counted.
        ("waiting_for_input", timings.accepted_ms, timings.input_ms),
        ("queued", timings.queued_ms(), timings.started_ms),
        ("executing", timings.started_ms, timings.executed_ms),
        ("contributing", timings.executed_ms, timings.challenged_ms),
        ("proving", timings.challenged_ms, timings.proven_ms),
        ("folding", timings.proven_ms, folding_ended),
    ]
}

fn seconds(from_ms: u64, to_ms: u64) -> f64 {
    Duration::from_millis(to_ms.saturating_sub(from_ms)).as_secs_f64()
}
