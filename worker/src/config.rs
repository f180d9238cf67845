//! The worker's settings: defaults, then the file, then `ZISK_WORKER_*`, then flags. All defaults are here.

use std::path::PathBuf;
use std::time::Duration;

use clap::{CommandFactory, Parser, ValueEnum};
use serde::Deserialize;
use zisk_common::bus::BusConfig;
use zisk_common::config::{BusArgs, ConfigError, LogArgs, read_file, set_from_environment};
use zisk_common::ids::WorkerId;

use crate::memory;
use crate::schedule::Limits;

const GIB: u64 = 1 << 30;
/// What every environment variable that sets a value of the file starts with: `ZISK_WORKER_<TABLE>_<KEY>`.
const ENVIRONMENT: &str = "ZISK_WORKER_";

/// `worker.toml`.
#[derive(Clone, Debug, Default, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct Config {
    /// Who this worker is.
    pub worker: WorkerSection,
    /// Bus and object store: in place of the guide's `[coordinator] url`.
    pub bus: BusArgs,
    /// Reaction to network trouble.
    pub connection: ConnectionSection,
    /// How much to prove at once.
    pub proving: ProvingSection,
    /// Health and metrics pages; off unless a port is set.
    pub metrics: MetricsSection,
    /// What gets logged, and where.
    pub logging: LogArgs,
}

/// `[worker]`
#[derive(Clone, Debug, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct WorkerSection {
    /// Identity in logs; a UUID, or any name (the host's, say), from which one is derived. Random when empty.
    pub worker_id: String,
    /// What the worker offers.
    pub compute_capacity: ComputeCapacity,
    /// `development` or `production`.
    pub environment: Environment,
    /// How long a worker that was told to stop may finish what it has begun.
    pub shutdown_timeout_seconds: u64,
}

impl Default for WorkerSection {
    fn default() -> Self {
        Self {
            worker_id: String::new(),
            compute_capacity: ComputeCapacity::default(),
            environment: Environment::Development,
            shutdown_timeout_seconds: 30,
        }
    }
}

/// `[worker.compute_capacity]`
#[derive(Clone, Copy, Debug, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct ComputeCapacity {
    /// Compute units.
    pub compute_units: u32,
}

impl Default for ComputeCapacity {
    fn default() -> Self {
        Self { compute_units: 10 }
    }
}

/// Where the worker runs.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Deserialize, ValueEnum)]
#[serde(rename_all = "lowercase")]
pub enum Environment {
    /// A trial.
    Development,
    /// For real.
    Production,
}

/// `[connection]`
#[derive(Clone, Copy, Debug, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct ConnectionSection {
    /// Pause between attempts to reach NATS at the start.
    pub reconnect_interval_seconds: u64,
    /// How long a silent worker keeps its assignments, unless `bus.ack_wait_seconds` says otherwise.
    pub heartbeat_timeout_seconds: u64,
    /// How long an upload waits for room in a full store before its attempt fails.
    pub store_full_wait_seconds: u64,
}

impl Default for ConnectionSection {
    fn default() -> Self {
        Self { reconnect_interval_seconds: 5, heartbeat_timeout_seconds: 30, store_full_wait_seconds: 60 }
    }
}

/// `[proving]`
#[derive(Clone, Copy, Debug, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct ProvingSection {
    /// Segments computed at the same time; 0 = as many as units, cores and memory allow.
    pub concurrency: u32,
    /// Memory the worker may use, GiB; 0 = three quarters of the machine's or the cgroup's.
    pub memory_gib: u64,
    /// Memory one segment takes while it is computed, GiB.
    pub segment_memory_gib: u64,
    /// Programs kept loaded.
    pub programs_cached: usize,
}

impl Default for ProvingSection {
    fn default() -> Self {
        Self { concurrency: 0, memory_gib: 0, segment_memory_gib: 4, programs_cached: 4 }
    }
}

/// `[metrics]`
#[derive(Clone, Debug, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct MetricsSection {
    /// Listen address.
    pub host: String,
    /// Port of `/health` and `/metrics`; none opens no port.
    pub port: Option<u16>,
}

impl Default for MetricsSection {
    fn default() -> Self {
        Self { host: "0.0.0.0".to_owned(), port: None }
    }
}

/// Proves segments for a zisk cluster.
///
/// Every setting is optional. The first that is given counts: flag, environment, configuration file, default. Every value
/// of the file can also be given as `ZISK_WORKER_<TABLE>_<KEY>`, such as ZISK_WORKER_PROVING_PROGRAMS_CACHED.
#[derive(Debug, Parser)]
#[command(name = "zisk-worker", version)]
pub struct Flags {
    /// Configuration file (TOML)
    #[arg(long, env = "ZISK_WORKER_CONFIG", value_name = "FILE")]
    config: Option<PathBuf>,
    /// Identity in logs: a UUID or any name [default: random]
    #[arg(long, env = "ZISK_WORKER_ID", value_name = "ID")]
    worker_id: Option<String>,
    /// Compute units this worker offers [default: 10]
    #[arg(long, env = "ZISK_WORKER_COMPUTE_CAPACITY", value_name = "UNITS")]
    compute_capacity: Option<u32>,
    /// Where this worker runs [default: development]
    #[arg(long, env = "ZISK_WORKER_ENVIRONMENT")]
    environment: Option<Environment>,
    /// Seconds to finish what was begun after a signal to stop [default: 30]
    #[arg(long, env = "ZISK_WORKER_SHUTDOWN_TIMEOUT_SECONDS", value_name = "S")]
    shutdown_timeout_seconds: Option<u64>,
    /// Segments computed at the same time [default: as units, cores and memory allow]
    #[arg(long, env = "ZISK_WORKER_CONCURRENCY", value_name = "N")]
    concurrency: Option<u32>,
    /// Memory this worker may use, GiB [default: three quarters of what there is]
    #[arg(long, env = "ZISK_WORKER_MEMORY_GIB", value_name = "GIB")]
    memory_gib: Option<u64>,
    /// Port of /health and /metrics [default: none]
    #[arg(long, env = "ZISK_WORKER_METRICS_PORT", value_name = "PORT")]
    metrics_port: Option<u16>,
    #[command(flatten)]
    bus: BusArgs,
    #[command(flatten)]
    logging: LogArgs,
}

impl Flags {
    /// The settings: these flags over the environment over the file over the defaults, checked.
    ///
    /// # Errors
    /// [`ConfigError`] with the file or the key.
    pub fn config(self, environment: impl Iterator<Item = (String, String)>) -> Result<Config, ConfigError> {
        let mut sources = Vec::new();
        let mut tables: toml::Table = match &self.config {
            Some(path) => {
                sources.push(path.display().to_string());
                read_file(path)?
            }
            None => toml::Table::new(),
        };
        let command = Self::command();
        let own: Vec<String> = command.get_arguments().filter_map(|flag| Some(flag.get_env()?.to_str()?.to_owned())).collect();
        sources.extend(set_from_environment(&mut tables, ENVIRONMENT, &own, environment));
        let mut config: Config = tables
            .try_into()
            .map_err(|error: toml::de::Error| ConfigError::Keys { sources: sources.join(", "), reason: error.to_string() })?;
        set(&mut config.worker.worker_id, self.worker_id);
        set(&mut config.worker.compute_capacity.compute_units, self.compute_capacity);
        set(&mut config.worker.environment, self.environment);
        set(&mut config.worker.shutdown_timeout_seconds, self.shutdown_timeout_seconds);
        set(&mut config.proving.concurrency, self.concurrency);
        set(&mut config.proving.memory_gib, self.memory_gib);
        config.metrics.port = self.metrics_port.or(config.metrics.port);
        config.bus = self.bus.over(config.bus);
        config.logging = self.logging.over(config.logging);
        config.check()?;
        Ok(config)
    }
}

fn set<T>(setting: &mut T, given: Option<T>) {
    if let Some(given) = given {
        *setting = given;
    }
}

/// Cores that keep one segment's computation busy: it is parallel inside, but not everywhere.
const CORES_PER_SEGMENT: usize = 8;
/// Without knowing the machine's memory: enough for one segment.
const UNKNOWN_MEMORY: u64 = 8 * GIB;

impl Config {
    /// Checks ranges.
    ///
    /// # Errors
    /// [`ConfigError::Value`] with the key and its range.
    pub fn check(&self) -> Result<(), ConfigError> {
        let range = |key, value: u64, least: u64, most: u64, expected| {
            if (least..=most).contains(&value) {
                Ok(())
            } else {
                Err(ConfigError::Value { key, value: value.to_string(), expected })
            }
        };
        let units = self.worker.compute_capacity.compute_units;
        range("worker.compute_capacity.compute_units", units.into(), 1, 4096, "1 to 4096")?;
        let heartbeat = self.connection.heartbeat_timeout_seconds;
        // Below 3 s a second's pause of the machine would cost a segment.
        range("connection.heartbeat_timeout_seconds", heartbeat, 3, 3600, "3 to 3600")?;
        let pause = self.connection.reconnect_interval_seconds;
        range("connection.reconnect_interval_seconds", pause, 1, 3600, "1 to 3600")?;
        range("connection.store_full_wait_seconds", self.connection.store_full_wait_seconds, 0, 3600, "0 to 3600")?;
        range("proving.segment_memory_gib", self.proving.segment_memory_gib, 1, 1024, "1 to 1024")?;
        range("proving.programs_cached", self.proving.programs_cached as u64, 1, 1024, "1 to 1024")
    }

    /// How to reach the bus.
    ///
    /// # Errors
    /// [`ConfigError`] with the key.
    pub fn bus(&self, name: &str) -> Result<BusConfig, ConfigError> {
        let heartbeat = self.connection.heartbeat_timeout_seconds;
        let bus = BusArgs { ack_wait_seconds: Some(heartbeat), ..BusArgs::default() };
        self.bus.clone().over(bus).bus(name)
    }

    /// How much this worker does at once.
    pub fn limits(&self) -> Limits {
        let memory = match self.proving.memory_gib {
            0 => memory::available_bytes().unwrap_or(UNKNOWN_MEMORY) / 4 * 3,
            gib => gib * GIB,
        };
        let cores = std::thread::available_parallelism().map_or(1, std::num::NonZero::get);
        let segment = self.proving.segment_memory_gib * GIB;
        limits(self.worker.compute_capacity.compute_units, self.proving.concurrency, cores, memory, segment)
    }

    /// The worker's id: given, derived from a given name, or random.
    pub fn worker_id(&self) -> WorkerId {
        match self.worker.worker_id.as_str() {
            "" => WorkerId::random(),
            text => text.parse().unwrap_or_else(|_| derived_id(text)),
        }
    }

    /// How long a stopping worker may finish.
    pub fn shutdown_timeout(&self) -> Duration {
        Duration::from_secs(self.worker.shutdown_timeout_seconds)
    }
}

fn limits(units: u32, concurrency: u32, cores: usize, memory: u64, segment: u64) -> Limits {
    let asked = match concurrency {
        0 => cores / CORES_PER_SEGMENT,
        given => given as usize,
    };
    let fitting = usize::try_from(memory / segment).unwrap_or(usize::MAX);
    let slots = asked.min(units as usize).min(fitting).max(1);
    // What the slots do not need is for data that waits.
    let aside_bytes = usize::try_from(memory.saturating_sub(slots as u64 * segment)).unwrap_or(usize::MAX);
    Limits { slots, prefetch: 1, aside_bytes }
}

/// The same UUID for the same name, so that a pinned worker is recognized after a restart.
fn derived_id(name: &str) -> WorkerId {
    let hash = blake3::derive_key("zisk worker id from name, 2026-11", name.as_bytes());
    let hex: String = hash.iter().take(16).map(|byte| format!("{byte:02x}")).collect();
    // Version 8 (custom) and the standard's variant.
    let text = format!("{}-{}-8{}-8{}-{}", &hex[..8], &hex[8..12], &hex[13..16], &hex[17..20], &hex[20..32]);
    text.parse().unwrap_or_else(|_| WorkerId::random())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_guides_file_is_read() {
        let text = r#"
            [worker]
            worker_id = "host-a"
            environment = "production"
            compute_capacity.compute_units = 32
            [connection]
            reconnect_interval_seconds = 1
            heartbeat_timeout_seconds = 60
            [logging]
            level = "debug"
            format = "json"
        "#;
        let config: Config = toml::from_str(text).unwrap();
        config.check().unwrap();
        assert_eq!(config.worker.compute_capacity.compute_units, 32);
        assert_eq!(config.worker_id(), config.worker_id());
        assert_ne!(Config::default().worker_id(), Config::default().worker_id());
    }

    #[test]
    fn unknown_keys_and_bad_values_are_named() {
        let error = toml::from_str::<Config>("[worker]\ncapacity = 3").unwrap_err().to_string();
        assert!(error.contains("capacity"), "{error}");
        let config: Config = toml::from_str("[worker]\ncompute_capacity.compute_units = 0").unwrap();
        let error = config.check().unwrap_err().to_string();
        assert_eq!(error, "worker.compute_capacity.compute_units is 0: expected 1 to 4096");
    }

    #[test]
    fn the_environment_wins_over_the_file_and_is_checked() {
        let load = |name: &str, value: &str| {
            let flags = Flags::parse_from(["zisk-worker"]);
            flags.config([(name.to_owned(), value.to_owned())].into_iter())
        };
        assert_eq!(load("ZISK_WORKER_PROVING_PROGRAMS_CACHED", "7").unwrap().proving.programs_cached, 7);
        let error = load("ZISK_WORKER_PROVING_PROGRAM_CACHE", "7").unwrap_err().to_string();
        assert!(error.contains("ZISK_WORKER_PROVING_PROGRAM_CACHE") && error.contains("`programs_cached`"), "{error}");
        // A flag's own name.
        load("ZISK_WORKER_MEMORY_GIB", "7").unwrap();
    }

    #[test]
    fn slots_are_what_units_cores_and_memory_allow() {
        let slots = |units, concurrency, cores, gib| limits(units, concurrency, cores, gib * GIB, 4 * GIB).slots;
        assert_eq!(slots(10, 0, 2, 23), 1);
        assert_eq!(slots(10, 0, 64, 512), 8);
        assert_eq!(slots(10, 0, 256, 512), 10);
        assert_eq!(slots(10, 0, 64, 10), 2);
        assert_eq!(slots(10, 4, 2, 512), 4);
        assert_eq!(slots(10, 4, 2, 2), 1);
        assert_eq!(limits(10, 1, 2, 10 * GIB, 4 * GIB).aside_bytes as u64, 6 * GIB);
    }
}
