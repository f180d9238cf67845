//! Every metric the worker exports: name, labels and meaning in one place. docs/metrics.md has the same table.

use zisk_common::messages::FailureKind;
use zisk_common::metric::{self, Metric, each, pairs};
use zisk_common::subjects::{AssignmentKind, Phase};

/// See [`METRICS`].
pub const SEGMENTS: &str = "zisk_worker_segments_total";
/// See [`METRICS`].
pub const STEPS_PROVEN: &str = "zisk_worker_steps_proven_total";
/// See [`METRICS`].
pub const FOLDS: &str = "zisk_worker_folds_total";
/// See [`METRICS`].
pub const FOLDS_SPREAD: &str = "zisk_worker_folds_spread_total";
/// See [`METRICS`].
pub const FAILURES: &str = "zisk_worker_failures_total";
/// See [`METRICS`].
pub const OBJECTS_REMADE: &str = "zisk_worker_objects_remade_total";
/// See [`METRICS`].
pub const OTHER_VERSION: &str = "zisk_worker_other_version_total";
/// See [`METRICS`].
pub const REDELIVERIES: &str = "zisk_worker_redeliveries_total";
/// See [`METRICS`].
pub const PHASE_SECONDS: &str = "zisk_worker_phase_duration_seconds";
/// See [`METRICS`].
pub const UNITS: &str = "zisk_worker_units";
/// See [`METRICS`].
pub const UNITS_BUSY: &str = "zisk_worker_units_busy";
/// See [`METRICS`].
pub const ASSIGNMENTS: &str = "zisk_worker_assignments";
/// See [`METRICS`].
pub const SEGMENTS_WAITING: &str = "zisk_worker_segments_waiting";
/// See [`METRICS`].
pub const AGGREGATIONS: &str = "zisk_worker_aggregations";

/// All of them.
pub const METRICS: &[Metric] = &[
    Metric::counter(
        SEGMENTS,
        &["event"],
        "Segments `contributed`, `proven`, `recomputed` (stage-1 data did not fit in memory until the challenge), `given_back`",
    ),
    Metric::counter(
        STEPS_PROVEN,
        &[],
        "Steps covered by the segments proven here; a job's last segment counts as if it were full",
    ),
    Metric::counter(FOLDS, &[], "Folds of neighbouring nodes, as aggregator or for one"),
    Metric::counter(
        FOLDS_SPREAD,
        &["event"],
        "Folds that this aggregator left to other workers: `published`, `refused` (what came back was none), `missing` (the node cannot be had)",
    ),
    Metric::counter(FAILURES, &["phase", "kind"], "Failures reported"),
    Metric::counter(
        OBJECTS_REMADE,
        &["what"],
        "Stored objects (`keys`, `segment`, `proof`) that were missing or damaged and were made again",
    ),
    Metric::counter(OTHER_VERSION, &["class"], "Assignments given back because they are for a prover of another version"),
    Metric::counter(REDELIVERIES, &["class"], "Assignments that had been delivered before, here or to another worker"),
    Metric::seconds(
        PHASE_SECONDS,
        &["phase"],
        "Time computed: `setup`, `load`, `execute`, `contribute`, `prove`, `fold`, `check`, `finish`, `self-test`",
    ),
    Metric::gauge(UNITS, &[], "Compute units"),
    Metric::gauge(UNITS_BUSY, &[], "Units computing now"),
    Metric::gauge(ASSIGNMENTS, &[], "Assignments held"),
    Metric::gauge(SEGMENTS_WAITING, &[], "Segments whose stage-1 data is kept in memory until the challenge"),
    Metric::gauge(AGGREGATIONS, &[], "Jobs that this worker aggregates"),
];

/// Tells the recorder of all of them; call once after it is installed.
pub fn describe() {
    let classes: Vec<&str> = AssignmentKind::ALL.iter().map(|kind| kind.as_str()).collect();
    let phases = [Phase::Executed, Phase::Contribution, Phase::Proof, Phase::Folded].map(Phase::as_str);
    let failures: Vec<&str> = FailureKind::ALL.iter().map(|kind| kind.as_str()).collect();
    metric::describe(METRICS, |name| match name {
        SEGMENTS => each(&["contributed", "proven", "recomputed", "given_back"]),
        FOLDS_SPREAD => each(&["published", "refused", "missing"]),
        FAILURES => pairs(&phases, &failures),
        OBJECTS_REMADE => each(&["keys", "segment", "proof"]),
        PHASE_SECONDS => each(&["setup", "load", "execute", "contribute", "prove", "fold", "check", "finish"]),
        _ => each(&classes),
    });
}

#[cfg(test)]
mod tests {
    #[test]
    fn the_documentation_has_this_table() {
        let table = zisk_common::metric::table(super::METRICS);
        let documented = include_str!("../../docs/metrics.md");
        assert!(documented.contains(&format!("## zisk-worker\n\n{table}")), "docs/metrics.md should have:\n{table}");
    }
}
