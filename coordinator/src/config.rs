//! Configuration: defaults, then the file, then `ZISK_COORDINATOR_*`, then flags; later wins.

use std::ops::RangeInclusive;
use std::path::PathBuf;
use std::time::Duration;

use clap::Parser;
use serde::Deserialize;
use zisk_common::config::{BusArgs, ConfigError, LogArgs, Secret, set_from_environment};
use zisk_common::messages::{DEFAULT_ATTEMPTS, DEFAULT_LOG_SEGMENT_STEPS, MAX_RETENTION_SECONDS};

use crate::bus::{self, Retention, Room};
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
    /// How long objects and records are kept.
    pub storage: Storage,
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
    /// Failed attempts of one unit of work (a plan, a segment, an aggregation) after which a job fails; 1 to 100.
    pub max_attempts: u32,
    /// Whether the coordinator verifies a job's final proof before the job counts as completed.
    pub verify_proofs: bool,
}

impl Default for Jobs {
    fn default() -> Self {
        // The largest job of 2^20 steps a segment has 2^14 segments.
        Self {
            log_segment_steps: DEFAULT_LOG_SEGMENT_STEPS,
            max_steps: 1 << 34,
            timeout_seconds: 3600,
            max_attempts: DEFAULT_ATTEMPTS,
            verify_proofs: true,
        }
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

/// `[storage]`. Of the times, 0 is for ever.
#[derive(Debug, Clone, PartialEq, Eq, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct Storage {
    /// Seconds for which a job's proof is kept after its end, unless the job says.
    pub proof_retention_seconds: u64,
    /// Seconds for which the record of a job that has ended is kept; longer while its proof is.
    pub record_retention_seconds: u64,
    /// Seconds for which an input is kept after it was last uploaded and the last job with it ended.
    pub input_retention_seconds: u64,
    /// Seconds for which a program and its keys are kept, likewise.
    pub program_retention_seconds: u64,
    /// Seconds for which whatever is in the store is left alone, whoever seems to need it: longer than any upload takes.
    pub grace_seconds: u64,
    /// Seconds from one look through the store to the next.
    pub sweep_seconds: u64,
    /// Bytes in JetStream that are kept for what the coordinator must write when there is no other room; 0 is none.
    pub reserve_bytes: u64,
    /// Bytes that objects in JetStream may take; 0 is as many as there is room for.
    pub max_object_bytes: u64,
}

impl Default for Storage {
    fn default() -> Self {
        const DAY: u64 = 24 * 3600;
        Self {
            proof_retention_seconds: 30 * DAY,
            record_retention_seconds: 30 * DAY,
            input_retention_seconds: 7 * DAY,
            program_retention_seconds: 30 * DAY,
            grace_seconds: 3600,
            sweep_seconds: 600,
            reserve_bytes: 16 << 20,
            max_object_bytes: 0,
        }
    }
}

impl Storage {
    fn check(&self) -> Result<(), ConfigError> {
        const KEPT: RangeInclusive<u64> = 0..=MAX_RETENTION_SECONDS;
        const EXPECTED: &str = "0 (for ever) to 315360000 (ten years)";
        in_range("[storage] proof_retention_seconds", self.proof_retention_seconds, KEPT, EXPECTED)?;
        in_range("[storage] record_retention_seconds", self.record_retention_seconds, KEPT, EXPECTED)?;
        in_range("[storage] input_retention_seconds", self.input_retention_seconds, KEPT, EXPECTED)?;
        in_range("[storage] program_retention_seconds", self.program_retention_seconds, KEPT, EXPECTED)?;
        in_range("[storage] grace_seconds", self.grace_seconds, 1..=604_800, "1 to 604800 (a week)")?;
        in_range("[storage] sweep_seconds", self.sweep_seconds, 1..=86_400, "1 to 86400 (a day)")?;
        in_range("[storage] reserve_bytes", self.reserve_bytes, 0..=1 << 30, "0 (none) to 1073741824 (1 GiB)")?;
        in_range("[storage] max_object_bytes", self.max_object_bytes, 0..=i64::MAX as u64, "0 (no limit) to 2^63 - 1")
    }

    /// The same for the coordinator.
    pub fn settings(&self) -> bus::Storage {
        let kept = |seconds: u64| Some(seconds).filter(|seconds| *seconds > 0).map(Duration::from_secs);
        let room = Room { reserve: self.reserve_bytes, objects: self.max_object_bytes };
        let retention = Retention {
            records: kept(self.record_retention_seconds),
            inputs: kept(self.input_retention_seconds),
            programs: kept(self.program_retention_seconds),
            grace: Duration::from_secs(self.grace_seconds),
            period: Duration::from_secs(self.sweep_seconds),
        };
        bus::Storage { retention, room }
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
        self.storage.check()?;
        in_range("[jobs] max_attempts", self.jobs.max_attempts.into(), 1..=100, "1 to 100")?;
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

    /// The same for the coordinator.
    pub fn coordinator(&self) -> bus::Settings {
        bus::Settings {
            defaults: self.job_defaults(),
            limits: self.queue.limits(),
            storage: self.storage.settings(),
            verifier: self.jobs.verify_proofs.then(zisk_recursion::builtin::built_in),
        }
    }

    /// What jobs get that do not say.
    const fn job_defaults(&self) -> Defaults {
        Defaults {
            log_segment_steps: self.jobs.log_segment_steps,
            max_steps: self.jobs.max_steps,
            timeout_seconds: self.jobs.timeout_seconds,
            proof_retention_seconds: self.storage.proof_retention_seconds,
            max_attempts: self.jobs.max_attempts,
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
        let error = load("[storage]\nproof_retention_seconds = 315360001", &[], &[]).unwrap_err();
        assert!(error.contains("[storage] proof_retention_seconds is 315360001: expected 0 (for ever)"), "{error}");
        let error = load("", &[("ZISK_COORDINATOR_STORAGE_GRACE_SECONDS", "0")], &[]).unwrap_err();
        assert!(error.contains("[storage] grace_seconds is 0: expected 1 to 604800"), "{error}");
        let error = load("", &[("ZISK_COORDINATOR_JOBS_MAX_ATTEMPTS", "0")], &[]).unwrap_err();
        assert!(error.contains("[jobs] max_attempts is 0: expected 1 to 100"), "{error}");
        let error = load("[queue]\nmax_jobs = 10001", &[], &[]).unwrap_err();
        assert!(error.contains("[queue] max_jobs is 10001: expected 1 to 10000"), "{error}");
    }
}
