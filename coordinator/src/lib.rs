//! Job state machine and its NATS adapters.
#![forbid(unsafe_code)]

pub mod api;
pub mod bus;
pub mod config;
pub mod job;
pub mod keys;
pub mod leadership;
pub mod metric_definitions;
pub mod service;
mod traces;
mod ui;
