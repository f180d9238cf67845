//! The bus: subjects, streams, messages, object store, configuration, telemetry. Knows no proving.
#![forbid(unsafe_code)]

pub mod ids;
pub mod messages;
pub mod subjects;
