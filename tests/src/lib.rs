//! Test support: real nats-server and real processes on free ports; the cluster's stories.
//!
//! Everything started here stops when its handle is dropped, also when the test panics; when it panics, logs are kept and
//! their end is printed.
#![forbid(unsafe_code)]

pub mod api;
pub mod browser;
pub mod busy;
pub mod chance;
pub mod cli;
pub mod dashboards;
pub mod fake;
pub mod fleet;
pub mod guests;
mod nats;
mod nats_cluster;
pub mod oracles;
mod process;
pub mod prometheus;
mod proxy;
pub mod scrape;
pub mod story;

pub use nats::{NatsServer, nats_server};
pub use nats_cluster::NatsCluster;
pub use process::{Process, Program, binary, free_port, free_ports};
pub use proxy::{Link, Proxy};
