//! Every metric the coordinator exports: name, labels and meaning in one place. docs/metrics.md has the same table.

use zisk_common::metric::Metric;

/// See [`METRICS`].
pub const LEADER: &str = "zisk_coordinator_leader";
/// See [`METRICS`].
pub const ACTIVE_JOBS: &str = "zisk_active_jobs";
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
pub const REPORTS_DROPPED: &str = "zisk_reports_dropped_total";
/// See [`METRICS`].
pub const WORK_REPEATED: &str = "zisk_work_repeated_total";
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
    Metric::gauge(ACTIVE_JOBS, &["phase"], "Jobs not yet in a terminal state"),
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
    Metric::counter(
        REPORTS_DROPPED,
        &["phase", "reason"],
        "Reports that changed nothing: `duplicate`, `stale`, `early`, `ended`, `invalid`, `unknown_job`, `unreadable`",
    ),
    Metric::counter(WORK_REPEATED, &[], "Contributions and proofs that were computed again because of faults"),
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
    METRICS.iter().for_each(Metric::describe);
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
