//! Every metric the coordinator exports: name, labels and meaning in one place. docs/metrics.md has the same table.

use zisk_common::messages::{FailureKind, JobState};
use zisk_common::metric::{self, Metric, each, pairs};
use zisk_common::subjects::{Phase, RequestKind};

/// See [`METRICS`].
pub const LEADER: &str = "zisk_coordinator_leader";
/// See [`METRICS`].
pub const ACTIVE_JOBS: &str = "zisk_active_jobs";
/// See [`METRICS`].
pub const LEADERSHIPS: &str = "zisk_coordinator_leaderships_total";
/// See [`METRICS`].
pub const LEASE_AGE: &str = "zisk_lease_age_seconds";
/// See [`METRICS`].
pub const ACTIVE_SEGMENTS: &str = "zisk_active_segments";
/// See [`METRICS`].
pub const WAITING_JOBS: &str = "zisk_waiting_jobs";
/// See [`METRICS`].
pub const WAITING_BYTES: &str = "zisk_waiting_bytes";
/// See [`METRICS`].
pub const OLDEST_WAITING_SECONDS: &str = "zisk_oldest_waiting_seconds";
/// See [`METRICS`].
pub const JOBS_REFUSED: &str = "zisk_jobs_refused_total";
/// See [`METRICS`].
pub const JOBS_TOTAL: &str = "zisk_jobs_total";
/// See [`METRICS`].
pub const REQUESTS_REFUSED: &str = "zisk_requests_refused_total";
/// See [`METRICS`].
pub const WORKERS_CONNECTED: &str = "zisk_workers_connected";
/// See [`METRICS`].
pub const WORKERS: &str = "zisk_workers";
/// See [`METRICS`].
pub const COMPUTE_UNITS: &str = "zisk_compute_units";
/// See [`METRICS`].
pub const QUEUE_DEPTH: &str = "zisk_queue_depth";
/// See [`METRICS`].
pub const QUEUE_MESSAGES: &str = "zisk_queue_messages";
/// See [`METRICS`].
pub const QUEUE_RECEIVERS: &str = "zisk_queue_receivers";
/// See [`METRICS`].
pub const QUEUE_DELIVERIES: &str = "zisk_queue_deliveries_total";
/// See [`METRICS`].
pub const REDELIVERIES: &str = "zisk_redeliveries_total";
/// See [`METRICS`].
pub const STREAM_MESSAGES: &str = "zisk_stream_messages";
/// See [`METRICS`].
pub const STREAM_BYTES: &str = "zisk_stream_bytes";
/// See [`METRICS`].
pub const STREAM_OLDEST: &str = "zisk_stream_oldest_seconds";
/// See [`METRICS`].
pub const STREAM_COPIES: &str = "zisk_stream_copies";
/// See [`METRICS`].
pub const DEAD_LETTERS: &str = "zisk_dead_letters";
/// See [`METRICS`].
pub const JETSTREAM_BYTES: &str = "zisk_jetstream_bytes";
/// See [`METRICS`].
pub const JETSTREAM_LIMIT: &str = "zisk_jetstream_limit_bytes";
/// See [`METRICS`].
pub const REPORTS_DROPPED: &str = "zisk_reports_dropped_total";
/// See [`METRICS`].
pub const WORK_REPEATED: &str = "zisk_work_repeated_total";
/// See [`METRICS`].
pub const AGGREGATORS: &str = "zisk_aggregators_elected_total";
/// See [`METRICS`].
pub const INCIDENTS: &str = "zisk_contribution_incidents_total";
/// See [`METRICS`].
pub const RETRIES: &str = "zisk_assignment_retries_total";
/// See [`METRICS`].
pub const BUS_ALTERED: &str = "zisk_bus_altered_total";
/// See [`METRICS`].
pub const BUS_STUCK: &str = "zisk_bus_stuck";
/// See [`METRICS`].
pub const PHASE_SECONDS: &str = "zisk_phase_duration_seconds";
/// See [`METRICS`].
pub const JOB_SECONDS: &str = "zisk_job_duration_seconds";
/// See [`METRICS`].
pub const COMMIT_CONFLICTS: &str = "zisk_commit_conflicts_total";
/// See [`METRICS`].
pub const STORAGE_FULL: &str = "zisk_storage_full";
/// See [`METRICS`].
pub const OBJECTS_DELETED: &str = "zisk_objects_deleted_total";
/// See [`METRICS`].
pub const RECORDS_DELETED: &str = "zisk_job_records_deleted_total";

/// All of them.
pub const METRICS: &[Metric] = &[
    Metric::gauge(LEADER, &[], "1 when this coordinator leads, 0 when it stands by"),
    Metric::counter(LEADERSHIPS, &[], "How often this coordinator came to lead"),
    Metric::gauge(
        LEASE_AGE,
        &["of"],
        "Time since the last renewal of the `leader`'s lease, and of that `aggregator`'s which is oldest",
    ),
    Metric::gauge(ACTIVE_JOBS, &["phase"], "Jobs not yet in a terminal state"),
    Metric::gauge(
        ACTIVE_SEGMENTS,
        &["state"],
        "Segments of these jobs that are `cut`, `contributed`, `proven`, and folds done (`folded`, one less than segments at the end)",
    ),
    Metric::gauge(WAITING_JOBS, &[], "Jobs that wait for their turn"),
    Metric::gauge(WAITING_BYTES, &[], "Bytes of the programs and inputs of the jobs that wait"),
    Metric::gauge(OLDEST_WAITING_SECONDS, &[], "How long the job that has waited longest has waited"),
    Metric::counter(JOBS_REFUSED, &["limit"], "Jobs refused because as many (`jobs`) or as much (`bytes`) waited as may"),
    Metric::counter(JOBS_TOTAL, &["kind", "outcome"], "Jobs that reached a terminal state"),
    Metric::counter(REQUESTS_REFUSED, &["kind"], "Requests that were refused before a job existed, or that made no sense"),
    Metric::gauge(WORKERS_CONNECTED, &[], "Workers whose presence is current"),
    Metric::gauge(WORKERS, &["state"], "The same by state: `idle`, `busy`, `draining`, `failed`"),
    Metric::gauge(
        COMPUTE_UNITS,
        &[],
        "Compute units that the present workers advertise together, without those that get no work",
    ),
    Metric::gauge(QUEUE_DEPTH, &["stream", "consumer"], "Messages a consumer has not finished: pending and unacknowledged"),
    Metric::gauge(
        QUEUE_MESSAGES,
        &["stream", "consumer", "state"],
        "The same by state: `pending`, `unacknowledged`, and of those `redelivered`",
    ),
    Metric::gauge(
        QUEUE_RECEIVERS,
        &["stream", "consumer"],
        "Requests for messages that wait at the server: who would take one now",
    ),
    Metric::counter(QUEUE_DELIVERIES, &["stream", "consumer"], "Messages delivered while this coordinator led, again included"),
    Metric::counter(REDELIVERIES, &["stream"], "Messages that came to this coordinator again: of `requests`, of `report`"),
    Metric::gauge(STREAM_MESSAGES, &["stream"], "Messages in a stream"),
    Metric::gauge(STREAM_BYTES, &["stream"], "Their bytes"),
    Metric::gauge(STREAM_OLDEST, &["stream"], "Age of the oldest message in a stream; 0 of an empty one"),
    Metric::gauge(
        STREAM_COPIES,
        &["stream", "state"],
        "Copies that a stream is to have (`wanted`) and those up to date (`current`)",
    ),
    Metric::gauge(DEAD_LETTERS, &[], "Dead letters: `zisk dead list`"),
    Metric::gauge(JETSTREAM_BYTES, &[], "Bytes in JetStream's files, objects and reserve included"),
    Metric::gauge(JETSTREAM_LIMIT, &[], "The account's limit on them; 0 is none"),
    Metric::counter(
        REPORTS_DROPPED,
        &["phase", "reason"],
        "Reports that changed nothing: `duplicate`, `stale`, `early`, `ended`, `invalid`, `unknown_job`, `unreadable`",
    ),
    Metric::counter(WORK_REPEATED, &[], "Contributions and proofs that were computed again because of faults"),
    Metric::counter(AGGREGATORS, &["how"], "Aggregators elected: a job's `first`, and each `takeover`"),
    Metric::counter(INCIDENTS, &[], "Contributions that differ from the one already committed for the same segment"),
    Metric::counter(RETRIES, &["phase"], "Assignments published again after a failed attempt"),
    Metric::counter(
        BUS_ALTERED,
        &["kind", "name", "change"],
        "Streams, consumers and buckets found `deleted` or `altered` by hand, and repaired",
    ),
    Metric::gauge(BUS_STUCK, &[], "Streams, consumers and buckets that have other settings and cannot be brought back"),
    Metric::seconds(PHASE_SECONDS, &["phase"], "Time a job spent in a phase"),
    Metric::seconds(JOB_SECONDS, &["kind", "outcome"], "Time from request to terminal state"),
    Metric::counter(COMMIT_CONFLICTS, &[], "Commits that lost a compare-and-swap and were applied again on the newer record"),
    Metric::gauge(STORAGE_FULL, &[], "1 while JetStream has no room to spare: uploads are refused and no job is begun"),
    Metric::counter(
        OBJECTS_DELETED,
        &["what"],
        "Objects deleted because nobody needs them any more: `proof`, `input`, `program`, `key`, `orphan` (of a job without a record), `upload` (of one that died)",
    ),
    Metric::counter(RECORDS_DELETED, &[], "Records deleted of jobs that ended long ago"),
];

/// Tells the recorder of all of them; call once after it is installed.
pub fn describe() {
    let kinds: Vec<&str> = RequestKind::ALL.iter().map(|kind| kind.as_str()).collect();
    let phases: Vec<&str> = Phase::ALL.iter().map(|phase| phase.as_str()).collect();
    let failures = FailureKind::ALL.iter().map(|kind| kind.as_str());
    let outcomes: Vec<&str> = std::iter::once(JobState::Completed.as_str()).chain(failures).collect();
    metric::describe(METRICS, |name| match name {
        JOBS_REFUSED => each(&["jobs", "bytes"]),
        JOBS_TOTAL | JOB_SECONDS => pairs(&kinds, &outcomes),
        REQUESTS_REFUSED => each(&[&kinds[..], &["unreadable"]].concat()),
        REDELIVERIES => each(&["requests", "report"]),
        REPORTS_DROPPED => {
            let reasons = ["duplicate", "stale", "early", "ended", "invalid", "unknown_job"];
            [pairs(&phases, &reasons), vec![vec!["unknown", "unreadable"]]].concat()
        }
        PHASE_SECONDS => each(&["waiting_for_input", "queued", "executing", "contributing", "proving", "folding"]),
        RETRIES => each(&phases),
        AGGREGATORS => each(&["first", "takeover"]),
        OBJECTS_DELETED => each(&["proof", "input", "program", "key", "orphan", "upload"]),
        // By the names of queues, streams and buckets: once they are known.
        _ => Vec::new(),
    });
}

#[cfg(test)]
mod tests {
    #[test]
    fn the_documentation_has_this_table() {
        let table = zisk_common::metric::table(super::METRICS);
        let documented = include_str!("../../docs/metrics.md");
        assert!(documented.contains(&format!("## zisk-coordinator\n\n{table}")), "docs/metrics.md should have:\n{table}");
    }
}
