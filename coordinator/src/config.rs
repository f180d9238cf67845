//! Configuration: the settings of [`crate::keys`] as structures, one a table.

use std::path::PathBuf;
use std::time::Duration;

use serde::{Deserialize, Serialize};
use zisk_common::config::{BusArgs, ConfigError, LogArgs, Secret, Settings};

use crate::bus::{self, Retention, Room};
use crate::job::{Defaults, Limits};

/// The configuration file.
#[derive(Debug, Clone, PartialEq, Eq, Deserialize, Serialize)]
#[serde(deny_unknown_fields)]
pub struct Config {
    /// Who this coordinator is.
    pub service: Service,
    /// How it stops, and how long it leads without a sign of life.
    pub server: Server,
    /// What the guide sets of a coordinator's inside.
    pub coordinator: Core,
    /// Where it shows its metrics.
    pub metrics: Metrics,
    /// Where it sends traces.
    #[serde(default)]
    pub traces: Traces,
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
#[derive(Debug, Clone, PartialEq, Eq, Deserialize, Serialize)]
#[serde(deny_unknown_fields)]
pub struct Service {
    /// Shown in the log.
    pub name: String,
    /// Shown in the log.
    pub environment: Environment,
}

/// What the coordinator is used for.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Deserialize, Serialize)]
#[serde(rename_all = "lowercase")]
#[allow(missing_docs)] // the names say it
pub enum Environment {
    Development,
    Staging,
    Production,
}

/// `[server]`
#[derive(Debug, Clone, PartialEq, Eq, Deserialize, Serialize)]
#[serde(deny_unknown_fields)]
pub struct Server {
    /// The guide's: without effect.
    pub host: String,
    /// The guide's: without effect.
    pub port: u16,
    /// Seconds to finish what is in hand after a signal, before a forced exit.
    pub shutdown_timeout_seconds: u64,
    /// Seconds after which a leader that is silent is replaced by a coordinator that stands by; 1 to 60.
    pub leader_lease_seconds: u64,
}

/// `[coordinator]`
#[derive(Debug, Clone, PartialEq, Eq, Deserialize, Serialize)]
#[serde(deny_unknown_fields)]
pub struct Core {
    /// The guide's: without effect.
    pub port: u16,
    /// A second file of settings, over the first.
    pub config_file: Option<PathBuf>,
}

/// `[metrics]`
#[derive(Debug, Clone, PartialEq, Eq, Deserialize, Serialize)]
#[serde(deny_unknown_fields)]
pub struct Metrics {
    /// Whether `/metrics` shows anything; `/health` is there either way.
    pub enabled: bool,
    /// Listen address.
    pub host: String,
    /// Listen port.
    pub port: u16,
}

/// `[traces]`
#[derive(Debug, Clone, Default, PartialEq, Eq, Deserialize, Serialize)]
#[serde(deny_unknown_fields)]
pub struct Traces {
    /// OpenTelemetry collector.
    pub endpoint: Option<String>,
}

/// `[nats]`
#[derive(Debug, Clone, PartialEq, Eq, Deserialize, Serialize)]
#[serde(deny_unknown_fields)]
pub struct Nats {
    /// Server, or several separated by commas.
    pub url: Option<String>,
    /// Credentials file.
    pub credentials: Option<PathBuf>,
    /// User, in place of one in the URL.
    pub user: Option<String>,
    /// The user's password.
    pub password: Option<Secret>,
    /// Certificates of the servers' authority.
    pub ca: Option<PathBuf>,
    /// The coordinator's own certificate.
    pub certificate: Option<PathBuf>,
    /// Its private key.
    pub key: Option<PathBuf>,
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
#[derive(Debug, Clone, PartialEq, Eq, Deserialize, Serialize)]
#[serde(deny_unknown_fields)]
pub struct Store {
    /// jetstream, file:///directory, or s3://bucket/prefix.
    pub url: Option<String>,
}

/// `[jobs]`
#[derive(Debug, Clone, PartialEq, Eq, Deserialize, Serialize)]
#[serde(deny_unknown_fields)]
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

/// `[dead]`
#[derive(Debug, Clone, PartialEq, Eq, Deserialize, Serialize)]
#[serde(deny_unknown_fields)]
pub struct DeadLetters {
    /// Days after which an entry goes; 1 to 3650.
    pub max_age_days: u64,
    /// Entries kept, the newest; 10 to 100000. One has some kilobytes, 100 at most.
    pub max_entries: u64,
}

/// `[queue]`
#[derive(Debug, Clone, PartialEq, Eq, Deserialize, Serialize)]
#[serde(deny_unknown_fields)]
pub struct Queue {
    /// Jobs that run at once, at most 10,000; 0 is two more than the cluster has compute units, and at least four.
    pub running_jobs: u32,
    /// Jobs that wait; 1 to 10,000.
    pub max_jobs: u32,
    /// Bytes of their programs and inputs together.
    pub max_bytes: u64,
}

/// `[storage]`. Of the times, 0 is for ever.
#[derive(Debug, Clone, PartialEq, Eq, Deserialize, Serialize)]
#[serde(deny_unknown_fields)]
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
    /// Bytes of streamed inputs that are not whole yet, all together; 0 is as many as there is room for.
    pub max_input_bytes: u64,
}

impl Storage {
    /// The same for the coordinator.
    pub fn settings(&self) -> bus::Storage {
        let kept = |seconds: u64| Some(seconds).filter(|seconds| *seconds > 0).map(Duration::from_secs);
        let room = Room { reserve: self.reserve_bytes, objects: self.max_object_bytes, inputs: self.max_input_bytes };
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
    /// These settings, checked.
    ///
    /// # Errors
    /// [`ConfigError`] naming the setting.
    pub fn new(settings: &Settings) -> Result<Self, ConfigError> {
        let config: Self = settings.typed()?;
        config.bus_args().bus(&config.service.name)?;
        Ok(config)
    }

    /// How to reach the bus and the object store.
    pub fn bus_args(&self) -> BusArgs {
        let nats = self.nats.clone();
        BusArgs {
            nats_url: nats.url,
            nats_creds: nats.credentials,
            nats_user: nats.user,
            nats_password: nats.password,
            nats_ca: nats.ca,
            nats_cert: nats.certificate,
            nats_key: nats.key,
            prefix: nats.prefix,
            object_store: self.store.url.clone(),
            replicas: nats.replicas,
            ack_wait_seconds: nats.ack_wait_seconds,
            lease_seconds: nats.lease_seconds,
            // The service tries again itself.
            connect_seconds: None,
        }
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

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use zisk_common::bus::BusConfig;
    use zisk_common::config::testing;
    use zisk_common::messages::{DEFAULT_ATTEMPTS, DEFAULT_LOG_SEGMENT_STEPS};

    use super::*;
    use crate::keys::program;

    #[test]
    fn every_setting_comes_from_the_last_that_says_it() {
        testing::check_precedence(&program(), |settings| toml::Table::try_from(settings.typed::<Config>().unwrap()).unwrap());
    }

    #[test]
    fn every_value_out_of_range_is_refused_by_name() {
        testing::check_ranges(&program());
    }

    #[test]
    fn the_defaults_are_those_of_the_bus_and_of_requests() {
        let config = Config::new(&Settings::new(&program().keys)).unwrap();
        let (bus, default) = (config.bus_args().bus("").unwrap(), BusConfig::default());
        assert_eq!((&bus.url, &bus.prefix, bus.replicas), (&default.url, &default.prefix, default.replicas));
        assert_eq!((bus.ack_wait, bus.lease), (default.ack_wait, default.lease));
        assert_eq!(Duration::from_secs(config.server.leader_lease_seconds), default.leader_lease);
        assert_eq!((config.jobs.log_segment_steps, config.jobs.max_attempts), (DEFAULT_LOG_SEGMENT_STEPS, DEFAULT_ATTEMPTS));
        assert_eq!(config.bus_args().store().unwrap(), zisk_common::objects::StoreUrl::default());
    }

    #[test]
    fn the_second_file_goes_over_the_first_and_below_the_environment() {
        let directory = tempfile::tempdir().unwrap();
        let (first, second) = (directory.path().join("first.toml"), directory.path().join("second.toml"));
        std::fs::write(&first, format!("[coordinator]\nconfig_file = {second:?}\n[queue]\nmax_jobs = 1\nrunning_jobs = 1"))
            .unwrap();
        std::fs::write(&second, "[queue]\nmax_jobs = 2\nrunning_jobs = 2").unwrap();
        let environment = [("ZISK_COORDINATOR_QUEUE_RUNNING_JOBS", "3")];
        let settings = testing::read(&program(), &["--config", first.to_str().unwrap()], &environment).unwrap();
        let config = Config::new(&settings).unwrap();
        assert_eq!((config.queue.max_jobs, config.queue.running_jobs), (2, 3));
    }

    #[test]
    fn mistakes_are_named() {
        let said = |arguments: &[&str], environment: &[(&str, &str)]| {
            testing::read(&program(), arguments, environment)
                .and_then(|settings| Config::new(&settings).map(drop))
                .unwrap_err()
                .to_string()
        };
        let error = said(&["--queue-max-jobs", "10001"], &[]);
        assert_eq!(error, "queue.max_jobs is \"10001\" (flag --queue-max-jobs): expected 1 to 10000");
        let error = said(&[], &[("ZISK_COORDINATOR_METRIX_PORT", "1")]);
        assert!(
            error.contains("ZISK_COORDINATOR_METRIX_PORT") && error.ends_with("the nearest is ZISK_COORDINATOR_METRICS_PORT"),
            "{error}"
        );
        let error = said(&[], &[("ZISK_COORDINATOR_PORT_9090_TCP", "tcp://10.0.0.1:9090")]);
        assert!(error.contains("enableServiceLinks"), "{error}");
        let error = said(&["--replicas", "2"], &[]);
        assert!(error.contains("replicas is 2: expected 1, 3 or 5"), "{error}");
        let error = said(&[], &[("ZISK_NATS_USER", "me")]);
        assert!(error.contains("needs a password"), "{error}");
    }
}
