//! The worker: pulls assignments, runs plans, contributes and proves segments, folds when elected.
#![forbid(unsafe_code)]

pub mod aggregate;
mod avoid;
pub mod compute;
pub mod config;
pub mod context;
pub mod fold;
pub mod folds;
pub mod health;
pub mod keys;
pub mod leaf;
pub mod lost;
pub mod memory;
pub mod metric_definitions;
pub mod plan;
pub mod problem;
pub mod programs;
pub mod pull;
pub mod remake;
pub mod schedule;
pub mod segment;
mod start;
pub mod tree;
pub mod worker;

pub use config::Config;
pub use start::{StartError, run};
