//! The worker's settings: those of [`crate::keys`] as structures, one a table, and what follows from them.

use std::path::PathBuf;
use std::time::Duration;

use serde::{Deserialize, Serialize};
use zisk_common::bus::BusConfig;
use zisk_common::config::{BusArgs, ConfigError, LogArgs, Settings, Source};
use zisk_common::ids::WorkerId;

use crate::memory;
use crate::schedule::Limits;

const GIB: u64 = 1 << 30;

/// `worker.toml`.
#[derive(Clone, Debug, Deserialize, Serialize)]
#[serde(deny_unknown_fields)]
pub struct Config {
    /// Who this worker is.
    pub worker: WorkerSection,
    /// Where the guide has the coordinator's address.
    pub coordinator: CoordinatorSection,
    /// Bus and object store.
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
#[derive(Clone, Debug, Deserialize, Serialize)]
#[serde(deny_unknown_fields)]
pub struct WorkerSection {
    /// Identity in logs; a UUID, or any name (the host's, say), from which one is derived. Random when empty.
    pub worker_id: String,
    /// What the worker offers.
    pub compute_capacity: ComputeCapacity,
    /// `development` or `production`.
    pub environment: Environment,
    /// The guide's: without effect.
    pub inputs_folder: PathBuf,
    /// How long a worker that was told to stop may finish what it has begun.
    pub shutdown_timeout_seconds: u64,
}

/// `[worker.compute_capacity]`
#[derive(Clone, Copy, Debug, Deserialize, Serialize)]
#[serde(deny_unknown_fields)]
pub struct ComputeCapacity {
    /// Compute units.
    pub compute_units: u32,
}

/// Where the worker runs.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Deserialize, Serialize)]
#[serde(rename_all = "lowercase")]
pub enum Environment {
    /// A trial.
    Development,
    /// For real.
    Production,
}

/// `[coordinator]`
#[derive(Clone, Debug, Deserialize, Serialize)]
#[serde(deny_unknown_fields)]
pub struct CoordinatorSection {
    /// The NATS servers in the guide's words; [`taken`] gives it to the bus.
    pub url: String,
}

/// `[connection]`
#[derive(Clone, Copy, Debug, Deserialize, Serialize)]
#[serde(deny_unknown_fields)]
pub struct ConnectionSection {
    /// Pause between attempts to reach NATS at the start.
    pub reconnect_interval_seconds: u64,
    /// How long a silent worker keeps its assignments, unless `bus.ack_wait_seconds` says otherwise.
    pub heartbeat_timeout_seconds: u64,
    /// How long an upload waits for room in a full store before its attempt fails.
    pub store_full_wait_seconds: u64,
}

/// `[proving]`
#[derive(Clone, Copy, Debug, Deserialize, Serialize)]
#[serde(deny_unknown_fields)]
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

/// `[metrics]`
#[derive(Clone, Debug, Deserialize, Serialize)]
#[serde(deny_unknown_fields)]
pub struct MetricsSection {
    /// Listen address.
    pub host: String,
    /// Port of `/health` and `/metrics`; none opens no port.
    pub port: Option<u16>,
}

/// The settings with `coordinator.url` taken for the NATS servers' where it names them and `bus.nats_url` is not set; and what to
/// warn of.
pub fn taken(mut settings: Settings) -> (Settings, Vec<String>) {
    let is_said = |name| settings.source(name).is_some_and(|source| *source != Source::Default);
    let mut warnings = settings.without_effect();
    if is_said("coordinator.url") {
        let url = settings.text("coordinator.url").unwrap_or_default();
        if !url.starts_with("nats://") && !url.starts_with("tls://") {
            warnings.push(format!(
                "coordinator.url {url} has no effect: workers reach the cluster through NATS. Set it, or bus.nats_url, to nats://HOST:4222"
            ));
        } else if is_said("bus.nats_url") {
            warnings.push("coordinator.url has no effect: bus.nats_url is set, too".to_owned());
        } else {
            settings.take_from("bus.nats_url", "coordinator.url");
        }
    }
    (settings, warnings)
}

/// Cores that keep one segment's computation busy: it is parallel inside, but not everywhere.
const CORES_PER_SEGMENT: usize = 8;
/// Without knowing the machine's memory: enough for one segment.
const UNKNOWN_MEMORY: u64 = 8 * GIB;

impl Config {
    /// These settings, checked.
    ///
    /// # Errors
    /// [`ConfigError`] naming the setting.
    pub fn new(settings: &Settings) -> Result<Self, ConfigError> {
        let config: Self = settings.typed()?;
        config.bus("")?;
        Ok(config)
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
    use zisk_common::config::testing;

    use super::*;
    use crate::keys::program;

    fn read(arguments: &[&str], environment: &[(&str, &str)]) -> Result<Config, String> {
        let settings = testing::read(&program(), arguments, environment).map_err(|error| error.to_string())?;
        Config::new(&taken(settings).0).map_err(|error| error.to_string())
    }

    #[test]
    fn every_setting_comes_from_the_last_that_says_it() {
        testing::check_precedence(&program(), |settings| toml::Table::try_from(settings.typed::<Config>().unwrap()).unwrap());
    }

    #[test]
    fn every_value_out_of_range_is_refused_by_name() {
        testing::check_ranges(&program());
    }

    #[test]
    fn the_defaults_are_the_guides_and_the_bus() {
        let config = read(&[], &[]).unwrap();
        assert_eq!((config.worker.compute_capacity.compute_units, config.worker.worker_id.as_str()), (10, ""));
        assert_ne!(config.worker_id(), config.worker_id());
        let (bus, default) = (config.bus("").unwrap(), BusConfig::default());
        assert_eq!((&bus.url, &bus.prefix, bus.replicas), (&default.url, &default.prefix, default.replicas));
        assert_eq!((bus.ack_wait, bus.lease, bus.connect_wait), (default.ack_wait, default.lease, default.connect_wait));
    }

    #[test]
    fn the_guides_flags_are_taken_or_refused_with_the_reason() {
        let config =
            read(&["--coordinator-url", "nats://prod:4222", "--compute-capacity", "32", "--worker-id", "host-a"], &[]).unwrap();
        assert_eq!(
            (config.bus("").unwrap().url.as_str(), config.worker.compute_capacity.compute_units),
            ("nats://prod:4222", 32)
        );
        assert_eq!(config.worker_id(), config.worker_id());
        let settings = |arguments: &[&str]| taken(testing::read(&program(), arguments, &[]).unwrap());
        let (_, warnings) = settings(&["--coordinator-url", "http://prod:50051", "--worker-inputs-folder", "/x"]);
        assert_eq!(warnings.len(), 2, "{warnings:?}");
        assert!(warnings[1].contains("http://prod:50051") && warnings[1].contains("nats://HOST:4222"), "{warnings:?}");
        assert!(settings(&["--coordinator-url", "nats://a:1", "--nats-url", "nats://b:2"]).1[0].contains("bus.nats_url is set"));
        for refused in [
            &["--gpu"][..],
            &["-g"],
            &["-t", "2"],
            &["-n", "2"],
            &["--verify-constraints"],
            &["--proving-key", "x"],
            &["--elf", "x"],
            &["--shared-tables"],
        ] {
            let error = read(refused, &[]).unwrap_err();
            assert!(error.contains("is refused: "), "{error}");
        }
    }

    #[test]
    fn a_names_short_variable_gives_way_to_the_long_one() {
        let both = [("ZISK_WORKER_MEMORY_GIB", "7"), ("ZISK_WORKER_PROVING_MEMORY_GIB", "8")];
        assert_eq!(read(&[], &both).unwrap().proving.memory_gib, 8);
        let error = read(&[], &[("ZISK_WORKER_PROVING_PROGRAM_CACHE", "7")]).unwrap_err();
        assert!(error.ends_with("the nearest is ZISK_WORKER_PROVING_PROGRAMS_CACHED"), "{error}");
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
