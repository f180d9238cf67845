//! The metrics that both services export: what they do with the object store and NATS, and what the process takes. docs/metrics.md has
//! the same table.

use crate::metric::{self, Metric, each, pairs};

/// See [`METRICS`].
pub const OBJECTS: &str = "zisk_objects_total";
/// See [`METRICS`].
pub const OBJECT_BYTES: &str = "zisk_object_bytes_total";
/// See [`METRICS`].
pub const OBJECT_ERRORS: &str = "zisk_object_errors_total";
/// See [`METRICS`].
pub const NATS_CONNECTED: &str = "zisk_nats_connected";
/// See [`METRICS`].
pub const NATS_CONNECTS: &str = "zisk_nats_connects_total";
/// See [`METRICS`].
pub const NATS_BYTES: &str = "zisk_nats_bytes_total";
/// See [`METRICS`].
pub const NATS_MESSAGES: &str = "zisk_nats_messages_total";

/// What is written and read: see `ObjectScope`.
const SCOPES: [&str; 7] = ["program", "key", "input", "segment", "node", "proof", "mark"];

/// All of them.
pub const METRICS: &[Metric] = &[
    Metric::counter(
        OBJECTS,
        &["direction", "what"],
        "Objects `written` to the object store and `read` from it, by what they are",
    ),
    Metric::counter(OBJECT_BYTES, &["direction", "what"], "Their bytes"),
    Metric::counter(
        OBJECT_ERRORS,
        &["kind"],
        "Attempts that the store `failed`, those it had no room for (`full`), and reads of what was `missing` or `damaged`; each is tried again",
    ),
    Metric::gauge(NATS_CONNECTED, &[], "1 while this process has its connection to NATS"),
    Metric::counter(NATS_CONNECTS, &[], "Connections made to NATS, the first included"),
    Metric::counter(NATS_BYTES, &["direction"], "Bytes `sent` to NATS and `received` from it"),
    Metric::counter(NATS_MESSAGES, &["direction"], "Messages likewise"),
];

/// What the crate metrics-process shows of the process, where the system tells.
pub const PROCESS: &[Metric] = &[
    Metric::counter("process_cpu_seconds_total", &[], "CPU time of the process, in whole seconds"),
    Metric::gauge("process_open_fds", &[], "Open file descriptors"),
    Metric::gauge("process_max_fds", &[], "File descriptors it may open"),
    Metric::gauge("process_virtual_memory_bytes", &[], "Address space"),
    Metric::gauge("process_virtual_memory_max_bytes", &[], "Address space it may have"),
    Metric::gauge("process_resident_memory_bytes", &[], "Memory in use"),
    Metric::gauge("process_start_time_seconds", &[], "When it was started, in seconds since 1970"),
    Metric::gauge("process_threads", &[], "Threads"),
];

/// Tells the recorder of all of them; call once after it is installed.
pub(crate) fn describe() {
    metric::describe(METRICS, |name| match name {
        OBJECTS | OBJECT_BYTES => pairs(&["written", "read"], &SCOPES),
        OBJECT_ERRORS => each(&["failed", "full", "missing", "damaged"]),
        _ => each(&["sent", "received"]),
    });
}

#[cfg(test)]
mod tests {
    #[test]
    fn the_documentation_has_this_table() {
        let all: Vec<_> = [super::METRICS, super::PROCESS].concat();
        let table = crate::metric::table(&all);
        let documented = include_str!("../../docs/metrics.md");
        assert!(documented.contains(&format!("## Both\n\n{table}")), "docs/metrics.md should have:\n{table}");
    }
}
