//! Every metric the coordinator exports: name, unit and meaning in one place.

use metrics::{Unit, describe_counter, describe_gauge, describe_histogram};

/// 1 when this coordinator leads, 0 when it stands by.
pub const LEADER: &str = "zisk_coordinator_leader";
/// Jobs not yet in a terminal state. Label `phase`.
pub const ACTIVE_JOBS: &str = "zisk_active_jobs";
/// Jobs that wait for their turn.
pub const WAITING_JOBS: &str = "zisk_waiting_jobs";
/// Bytes of the programs and inputs of the jobs that wait.
pub const WAITING_BYTES: &str = "zisk_waiting_bytes";
/// How long the job that has waited longest has waited.
pub const OLDEST_WAITING_SECONDS: &str = "zisk_oldest_waiting_seconds";
/// Jobs refused because as much waited as may. Label `limit`: `jobs` or `bytes`.
pub const JOBS_REFUSED: &str = "zisk_jobs_refused_total";
/// Jobs that reached a terminal state. Labels `kind` and `outcome`.
pub const JOBS_TOTAL: &str = "zisk_jobs_total";
/// Requests that were refused before a job existed or that made no sense. Label `kind`.
pub const REQUESTS_REFUSED: &str = "zisk_requests_refused_total";
/// Workers whose presence is current.
pub const WORKERS_CONNECTED: &str = "zisk_workers_connected";
/// The same by state. Label `state`: `idle`, `busy`, `draining`, `failed`.
pub const WORKERS: &str = "zisk_workers";
/// Compute units that the present workers advertise together, without those that get no work.
pub const COMPUTE_UNITS: &str = "zisk_compute_units";
/// Messages a consumer has not finished: pending and unacknowledged. Labels `stream` and `consumer`.
pub const QUEUE_DEPTH: &str = "zisk_queue_depth";
/// Reports that changed nothing. Labels `phase` and `reason`: `duplicate`, `stale`, `early`, `ended`, `invalid`,
/// `unknown_job`, `unreadable`.
pub const REPORTS_DROPPED: &str = "zisk_reports_dropped_total";
/// Contributions and proofs that were computed and are not the ones that count.
pub const WORK_REPEATED: &str = "zisk_work_repeated_total";
/// Contributions that differ from the one already committed for the same segment.
pub const INCIDENTS: &str = "zisk_contribution_incidents_total";
/// Assignments published again after a failed attempt. Label `phase`.
pub const RETRIES: &str = "zisk_assignment_retries_total";
/// Streams, consumers and buckets found deleted or altered by hand, and repaired. Labels `kind` (`stream`, `consumer`, `bucket`,
/// `object_bucket`), `name` and `change` (`deleted`, `altered`).
pub const BUS_ALTERED: &str = "zisk_bus_altered_total";
/// Streams, consumers and buckets that have other settings and cannot be brought back.
pub const BUS_STUCK: &str = "zisk_bus_stuck";
/// Time a job spent in a phase. Label `phase`.
pub const PHASE_SECONDS: &str = "zisk_phase_duration_seconds";
/// Time from request to terminal state. Labels `kind` and `outcome`.
pub const JOB_SECONDS: &str = "zisk_job_duration_seconds";
/// Commits that lost a compare-and-swap and were applied again on the newer record.
pub const COMMIT_CONFLICTS: &str = "zisk_commit_conflicts_total";
/// 1 while JetStream has no room to spare: uploads are refused and no job is begun.
pub const STORAGE_FULL: &str = "zisk_storage_full";
/// Objects deleted because nobody needs them any more. Label `what`: `proof`, `input`, `program`, `key`, `orphan` (a segment or node
/// of a job that has no record), `upload` (what an upload left that died).
pub const OBJECTS_DELETED: &str = "zisk_objects_deleted_total";
/// Records deleted of jobs that ended long ago.
pub const RECORDS_DELETED: &str = "zisk_job_records_deleted_total";

/// Tells the recorder units and meanings; call once after it is installed.
pub fn describe() {
    describe_gauge!(LEADER, Unit::Count, "1 when this coordinator leads, 0 when it stands by");
    describe_gauge!(ACTIVE_JOBS, Unit::Count, "Jobs not yet in a terminal state, by phase");
    describe_gauge!(WAITING_JOBS, Unit::Count, "Jobs that wait for their turn");
    describe_gauge!(WAITING_BYTES, Unit::Bytes, "Programs and inputs of the jobs that wait");
    describe_gauge!(OLDEST_WAITING_SECONDS, Unit::Seconds, "How long the job that has waited longest has waited");
    describe_counter!(JOBS_REFUSED, Unit::Count, "Jobs refused because as much waited as may, by limit");
    describe_counter!(JOBS_TOTAL, Unit::Count, "Jobs that reached a terminal state, by kind and outcome");
    describe_counter!(REQUESTS_REFUSED, Unit::Count, "Requests refused, by kind");
    describe_gauge!(WORKERS_CONNECTED, Unit::Count, "Workers whose presence is current");
    describe_gauge!(WORKERS, Unit::Count, "Workers whose presence is current, by state");
    describe_gauge!(COMPUTE_UNITS, Unit::Count, "Compute units of the present workers that get work");
    describe_gauge!(QUEUE_DEPTH, Unit::Count, "Messages a consumer has not finished, by stream and consumer");
    describe_counter!(REPORTS_DROPPED, Unit::Count, "Reports that changed nothing, by phase and reason");
    describe_counter!(WORK_REPEATED, Unit::Count, "Contributions and proofs computed again because of faults");
    describe_counter!(INCIDENTS, Unit::Count, "Contributions that differ from the committed one");
    describe_counter!(RETRIES, Unit::Count, "Assignments published again after a failed attempt, by phase");
    describe_counter!(
        BUS_ALTERED,
        Unit::Count,
        "Streams, consumers and buckets deleted or altered by hand, by kind, name and change"
    );
    describe_gauge!(BUS_STUCK, Unit::Count, "Streams, consumers and buckets that cannot be brought back to their settings");
    describe_histogram!(PHASE_SECONDS, Unit::Seconds, "Time a job spent in a phase");
    describe_histogram!(JOB_SECONDS, Unit::Seconds, "Time from request to terminal state");
    describe_gauge!(STORAGE_FULL, Unit::Count, "1 while JetStream has no room to spare");
    describe_counter!(OBJECTS_DELETED, Unit::Count, "Objects deleted because nobody needs them any more, by what they were");
    describe_counter!(RECORDS_DELETED, Unit::Count, "Records deleted of jobs that ended long ago");
    describe_counter!(COMMIT_CONFLICTS, Unit::Count, "Commits that lost a compare-and-swap");
}
