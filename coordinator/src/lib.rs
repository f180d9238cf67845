//! Job state machine and its NATS adapters.
#![forbid(unsafe_code)]

pub mod admin;
pub mod job;
pub mod metric_definitions;
