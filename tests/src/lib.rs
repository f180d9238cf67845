//! Test support: real nats-server and real processes on free ports; the cluster's stories.
//!
//! Everything started here stops when its handle is dropped, also when the test panics; when it panics, logs are kept and
//! their end is printed.
#![forbid(unsafe_code)]

mod nats;
mod process;

pub use nats::NatsServer;
pub use process::{Process, Program, binary, free_port};
