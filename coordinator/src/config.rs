//! Configuration: defaults, then the file, then `ZISK_COORDINATOR_*`, then flags; later wins.

use std::ops::RangeInclusive;
use std::path::PathBuf;

use clap::Parser;
use serde::Deserialize;
use zisk_common::config::{BusArgs, ConfigError, LogArgs, Secret, set_from_environment};

use crate::job::{Defaults, Limits};

/// What every environment variable that sets a value of the file starts with: `ZISK_COORDINATOR_<TABLE>_<KEY>`.
const ENVIRONMENT: &str = "ZISK_COORDINATOR_";

/// Coordinates a ZisK cluster over NATS JetStream.
///
/// Every value of the configuration file can also be given as `ZISK_COORDINATOR_<TABLE>_<KEY>`, such as
/// ZISK_COORDINATOR_METRICS_PORT.
#[derive(Debug, Default, Parser)]
#[command(name = "zisk-coordinator", version)]
pub struct Flags {
    /// Configuration file (TOML)
    #[arg(long, env = "ZISK_COORDINATOR_CONFIG", value_name = "FILE")]
    pub config: Option<PathBuf>,
    /// Port of /health and /metrics; 0 picks a free one [default: 9090]
    #[arg(long, value_name = "PORT")]
    pub metrics_port: Option<u16>,
    /// How to reach the bus.
    #[command(flatten)]
    pub bus: BusArgs,
    /// What is logged.
    #[command(flatten)]
    pub log: LogArgs,
}

/// The configuration file.
#[derive(Debug, Clone, Default, PartialEq, Eq, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct Config {
    /// Who this coordinator is.
    pub service: Service,
    /// How it stops, and how long it leads without a sign of life.
    pub server: Server,
    /// Where it shows its metrics.
    pub metrics: Metrics,
    /// What it logs.
    pub logging: LogArgs,
    /// How it reaches NATS.
    pub nats: Nats,
    /// Where objects are.
    pub store: Store,
    /// What jobs get that do not say.
    pub jobs: Jobs,
    /// How much is kept of what failed for good.
    pub dead: DeadLetters,
    /// How many run, and how many wait.
    pub queue: Queue,
}

/// `[service]`
#[derive(Debug, Clone, PartialEq, Eq, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct Service {
    /// Shown in the log.
    pub name: String,
    /// Shown in the log.
    pub environment: Environment,
}

impl Default for Service {
    fn default() -> Self {
        Self { name: "ZisK Coordinator".to_owned(), environment: Environment::Development }
    }
}

/// What the coordinator is used for.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "lowercase")]
#[allow(missing_docs)] // the names say it
pub enum Environment {
    Development,
    Staging,
    Production,
}

/// `[server]`
#[derive(Debug, Clone, PartialEq, Eq, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct Server {
    /// Seconds to finish what is in hand after a signal, before a forced exit.
    pub shutdown_timeout_seconds: u64,
    /// Seconds after which a leader that is silent is replaced by a coordinator that stands by; 1 to 60.
    pub leader_lease_seconds: u64,
}

impl Default for Server {
    fn default() -> Self {
        Self { shutdown_timeout_seconds: 30, leader_lease_seconds: 5 }
    }
}

/// `[metrics]`
#[derive(Debug, Clone, PartialEq, Eq, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct Metrics {
    /// Whether `/metrics` shows anything; `/health` is there either way.
    pub enabled: bool,
    /// Listen address.
    pub host: String,
    /// Listen port.
    pub port: u16,
}

impl Default for Metrics {
    fn default() -> Self {
        Self { enabled: true, host: "0.0.0.0".to_owned(), port: 9090 }
    }
}

/// `[nats]`
#[derive(Debug, Clone, Default, PartialEq, Eq, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct Nats {
    /// Server, or several separated by commas.
    pub url: Option<String>,
    /// Credentials file.
    pub credentials: Option<PathBuf>,
    /// User, in place of one in the URL.
    pub user: Option<String>,
    /// The user's password.
    pub password: Option<Secret>,
    /// Prefix of all names.
    pub prefix: Option<String>,
    /// Copies of every stream and bucket.
    pub replicas: Option<usize>,
    /// Seconds after which a silent worker's assignment goes to another.
    pub ack_wait_seconds: Option<u64>,
    /// Seconds after which a silent aggregator or worker counts as gone.
    pub lease_seconds: Option<u64>,
}

/// `[store]`
#[derive(Debug, Clone, Default, PartialEq, Eq, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct Store {
    /// jetstream, or file:///directory.
    pub url: Option<String>,
}

/// `[jobs]`
#[derive(Debug, Clone, PartialEq, Eq, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct Jobs {
    /// log2 of the steps of a segment.
    pub log_segment_steps: u8,
    /// Steps after which a program is stopped.
    pub max_steps: u64,
    /// Seconds after which a job fails.
    pub timeout_seconds: u64,
}

impl Default for Jobs {
    fn default() -> Self {
        // The largest job of 2^18 steps a segment has 2^16 segments.
        Self { log_segment_steps: 18, max_steps: 1 << 34, timeout_seconds: 3600 }
    }
}

/// `[dead]`
#[derive(Debug, Clone, PartialEq, Eq, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct DeadLetters {
    /// Days after which an entry goes; 1 to 3650.
    pub max_age_days: u64,
    /// Entries kept, the newest; 10 to 100000. One has some kilobytes, 100 at most.
    pub max_entries: u64,
}

impl Default for DeadLetters {
    fn default() -> Self {
        Self { max_age_days: 30, max_entries: 1000 }
    }
}

/// `[queue]`
#[derive(Debug, Clone, PartialEq, Eq, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct Queue {
    /// Jobs that run at once, at most 10,000; 0 is two more than the cluster has compute units, and at least four.
    pub running_jobs: u32,
    /// Jobs that wait; 1 to 10,000.
    pub max_jobs: u32,
    /// Bytes of their programs and inputs together.
    pub max_bytes: u64,
}

impl Default for Queue {
    fn default() -> Self {
        Self { running_jobs: 0, max_jobs: 10_000, max_bytes: 16 << 30 }
    }
}

impl Config {
    /// Puts all sources together.
    ///
    /// # Errors
    /// [`ConfigError`] naming the key.
    pub fn load(flags: &Flags, environment: impl Iterator<Item = (String, String)>) -> Result<Self, ConfigError> {
        let mut sources = Vec::new();
        let mut tables: toml::Table = match &flags.config {
            Some(path) => {
                sources.push(path.display().to_string());
                zisk_common::config::read_file(path)?
            }
            None => toml::Table::new(),
        };
        let own = [format!("{ENVIRONMENT}CONFIG")];
        sources.extend(set_from_environment(&mut tables, ENVIRONMENT, &own, environment));
        let mut config: Self = tables
            .try_into()
            .map_err(|error: toml::de::Error| ConfigError::Keys { sources: sources.join(", "), reason: error.to_string() })?;
        if let Some(port) = flags.metrics_port {
            config.metrics.port = port;
        }
        config.check()?;
        Ok(config)
    }

    fn check(&self) -> Result<(), ConfigError> {
        in_range("[server] leader_lease_seconds", self.server.leader_lease_seconds, 1..=60, "1 to 60")?;
        in_range("[dead] max_age_days", self.dead.max_age_days, 1..=3650, "1 to 3650")?;
        in_range("[dead] max_entries", self.dead.max_entries, 10..=100_000, "10 to 100000")?;
        in_range("[queue] running_jobs", self.queue.running_jobs.into(), 0..=10_000, "0 (by compute units) to 10000")?;
        // The order of those that wait is one entry of a bucket, which must stay below the server's largest message.
        in_range("[queue] max_jobs", self.queue.max_jobs.into(), 1..=10_000, "1 to 10000")?;
        in_range("[queue] max_bytes", self.queue.max_bytes, 1..=u64::MAX, "at least 1")
    }

    /// How to reach the bus and the object store, flags first.
    pub fn bus_args(&self, flags: &Flags) -> BusArgs {
        let nats = self.nats.clone();
        flags.bus.clone().over(BusArgs {
            nats_url: nats.url,
            nats_creds: nats.credentials,
            nats_user: nats.user,
            nats_password: nats.password,
            prefix: nats.prefix,
            object_store: self.store.url.clone(),
            replicas: nats.replicas,
            ack_wait_seconds: nats.ack_wait_seconds,
            lease_seconds: nats.lease_seconds,
            connect_seconds: None,
        })
    }

    /// What is logged, flags first.
    pub fn log_args(&self, flags: &Flags) -> LogArgs {
        flags.log.clone().over(self.logging.clone())
    }

    /// What jobs get that do not say.
    pub const fn job_defaults(&self) -> Defaults {
        Defaults {
            log_segment_steps: self.jobs.log_segment_steps,
            max_steps: self.jobs.max_steps,
            timeout_seconds: self.jobs.timeout_seconds,
        }
    }
}

impl Queue {
    /// The same for the state machine.
    pub fn limits(&self) -> Limits {
        let running_jobs = Some(self.running_jobs).filter(|jobs| *jobs > 0);
        Limits { running_jobs, max_jobs: self.max_jobs, max_bytes: self.max_bytes }
    }
}

fn in_range(key: &'static str, value: u64, range: RangeInclusive<u64>, expected: &'static str) -> Result<(), ConfigError> {
    if range.contains(&value) { Ok(()) } else { Err(ConfigError::Value { key, value: value.to_string(), expected }) }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn load(file: &str, environment: &[(&str, &str)], flags: &[&str]) -> Result<(Config, Flags), String> {
        let path = std::env::temp_dir().join(format!("zisk-config-{}-{:p}.toml", std::process::id(), &file));
        std::fs::write(&path, file).unwrap();
        let path_text = path.to_str().unwrap();
        let arguments = ["zisk-coordinator", "--config", path_text].into_iter().chain(flags.iter().copied());
        let flags = Flags::parse_from(arguments);
        let environment = environment.iter().map(|(name, value)| ((*name).to_owned(), (*value).to_owned()));
        let config = Config::load(&flags, environment);
        std::fs::remove_file(&path).unwrap();
        config.map(|config| (config, flags)).map_err(|error| error.to_string())
    }

    #[test]
    fn later_sources_win() {
        let file = "[metrics]\nport = 1\n[nats]\nurl = 'nats://file:1'\nprefix = 'from.file'";
        let environment = [("ZISK_COORDINATOR_METRICS_PORT", "2"), ("ZISK_COORDINATOR_NATS_URL", "nats://env:1"), ("PATH", "x")];
        let (config, _) = load(file, &environment, &[]).unwrap();
        assert_eq!((config.metrics.port, config.server.shutdown_timeout_seconds), (2, 30));
        let (config, flags) = load(file, &environment, &["--metrics-port", "3", "--nats-url", "nats://flag:1"]).unwrap();
        assert_eq!(config.metrics.port, 3);
        let bus = config.bus_args(&flags).bus("test").unwrap();
        assert_eq!((bus.url.as_str(), bus.prefix.to_string().as_str()), ("nats://flag:1", "from.file"));
    }

    #[test]
    fn mistakes_are_named() {
        let error = load("[metrics]\nprot = 1", &[], &[]).unwrap_err();
        assert!(error.contains("prot") && error.contains("`port`"), "{error}");
        let error = load("", &[("ZISK_COORDINATOR_METRICS_PORT", "many")], &[]).unwrap_err();
        assert!(error.contains("ZISK_COORDINATOR_METRICS_PORT") && error.contains("many"), "{error}");
        let error = load("", &[("ZISK_COORDINATOR_METRIX_PORT", "1")], &[]).unwrap_err();
        assert!(error.contains("metrix"), "{error}");
        let error = load("", &[("ZISK_COORDINATOR_SERVER_LEADER_LEASE_SECONDS", "0")], &[]).unwrap_err();
        assert!(error.contains("leader_lease_seconds is 0: expected 1 to 60"), "{error}");
        let error = load("[queue]\nmax_jobs = 10001", &[], &[]).unwrap_err();
        assert!(error.contains("[queue] max_jobs is 10001: expected 1 to 10000"), "{error}");
    }
}
