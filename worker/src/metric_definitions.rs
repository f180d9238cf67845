//! Every metric the worker exports: name, unit and meaning in one place.

use metrics::{Unit, describe_counter, describe_gauge, describe_histogram};

/// Segments by what became of them here. Label `event`: `contributed`, `proven`, `recomputed` (stage-1 data did not fit in
/// memory until the challenge), `given_back`.
pub const SEGMENTS: &str = "zisk_worker_segments_total";
/// Steps covered by the segments proven here; a job's last segment counts as if it were full.
pub const STEPS_PROVEN: &str = "zisk_worker_steps_proven_total";
/// Folds of neighbouring nodes, as aggregator or for one.
pub const FOLDS: &str = "zisk_worker_folds_total";
/// Folds that this aggregator left to other workers. Label `event`: `published`, `refused` (what came back was none), `missing` (the
/// node cannot be had).
pub const FOLDS_SPREAD: &str = "zisk_worker_folds_spread_total";
/// Failures reported. Labels `phase` and `kind`.
pub const FAILURES: &str = "zisk_worker_failures_total";
/// Stored objects that were missing or damaged and were made again. Label `what`: `keys`, `segment`, `proof`.
pub const OBJECTS_REMADE: &str = "zisk_worker_objects_remade_total";
/// Assignments given back because they are for a prover of another version. Label `class`.
pub const OTHER_VERSION: &str = "zisk_worker_other_version_total";
/// Time computed. Label `phase`: `setup`, `load`, `execute`, `contribute`, `prove`, `fold`, `finish`, `self-test`.
pub const PHASE_SECONDS: &str = "zisk_worker_phase_duration_seconds";
/// Units computing now.
pub const UNITS_BUSY: &str = "zisk_worker_units_busy";
/// Assignments held.
pub const ASSIGNMENTS: &str = "zisk_worker_assignments";

/// Tells the recorder units and meanings; call once after it is installed.
pub fn describe() {
    describe_counter!(SEGMENTS, Unit::Count, "Segments contributed, proven, recomputed and given back, by event");
    describe_counter!(STEPS_PROVEN, Unit::Count, "Steps covered by the segments proven");
    describe_counter!(FOLDS, Unit::Count, "Folds of neighbouring nodes, as aggregator or for one");
    describe_counter!(FOLDS_SPREAD, Unit::Count, "Folds that this aggregator left to other workers, by event");
    describe_counter!(FAILURES, Unit::Count, "Failures reported, by phase and kind");
    describe_counter!(OBJECTS_REMADE, Unit::Count, "Stored objects that were missing or damaged and were made again");
    describe_counter!(OTHER_VERSION, Unit::Count, "Assignments for a prover of another version, by class");
    describe_histogram!(PHASE_SECONDS, Unit::Seconds, "Time computed, by phase");
    describe_gauge!(UNITS_BUSY, Unit::Count, "Units computing now");
    describe_gauge!(ASSIGNMENTS, Unit::Count, "Assignments held");
}
