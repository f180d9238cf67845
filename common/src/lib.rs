//! The bus: subjects, streams, messages, object store, configuration, telemetry. Knows no proving.
#![forbid(unsafe_code)]

pub mod api;
pub mod buckets;
pub mod bus;
mod clock;
pub mod config;
pub mod connect;
pub mod dead;
pub mod election;
pub mod errors;
pub mod follow;
pub mod full;
pub mod ids;
pub mod input;
pub mod job_log;
pub mod keep_alive;
pub mod mark;
pub mod messages;
pub mod metric;
pub mod metric_definitions;
pub mod objects;
pub mod presence;
pub mod publish;
pub mod pull;
mod read;
#[cfg(test)]
mod schemas;
pub mod settings;
pub mod streams;
pub mod subjects;
pub mod survey;
pub mod telemetry;
pub mod tls;
pub mod trace;
pub mod traffic;
pub mod view;
