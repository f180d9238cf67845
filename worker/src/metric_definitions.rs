//! Every metric the worker exports: name, labels and meaning in one place. docs/metrics.md has the same table.

use zisk_common::metric::Metric;

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
pub const PHASE_SECONDS: &str = "zisk_worker_phase_duration_seconds";
/// See [`METRICS`].
pub const UNITS_BUSY: &str = "zisk_worker_units_busy";
/// See [`METRICS`].
pub const ASSIGNMENTS: &str = "zisk_worker_assignments";

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
    Metric::seconds(
        PHASE_SECONDS,
        &["phase"],
        "Time computed: `setup`, `load`, `execute`, `contribute`, `prove`, `fold`, `finish`, `self-test`",
    ),
    Metric::gauge(UNITS_BUSY, &[], "Units computing now"),
    Metric::gauge(ASSIGNMENTS, &[], "Assignments held"),
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
        assert!(documented.contains(&format!("## zisk-worker\n\n{table}")), "docs/metrics.md should have:\n{table}");
    }
}
