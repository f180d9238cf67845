//! The parts of a configuration that every binary has: bus, object store, log.
//!
//! Each value comes from the first that has it: flag, environment, file, default. Flags and environment are clap's; the
//! file is TOML with one table per struct here (`[bus]`, `[logging]`), and unknown keys are refused.

use std::convert::Infallible;
use std::fmt;
use std::path::{Path, PathBuf};
use std::str::FromStr;
use std::time::Duration;

use serde::Deserialize;
use serde::de::DeserializeOwned;
use thiserror::Error;

use crate::bus::{BusConfig, Login};
use crate::connect::split_login;
use crate::objects::{ObjectError, StoreUrl};
use crate::subjects::{Prefix, SubjectError};

/// What is wrong with a configuration.
#[derive(Debug, Error)]
pub enum ConfigError {
    /// The file cannot be read.
    #[error("configuration file {path}: {source}")]
    Read {
        /// The file.
        path: PathBuf,
        /// Why.
        source: std::io::Error,
    },
    /// The file is not what it should be.
    #[error("configuration file {path}: {reason}")]
    Parse {
        /// The file.
        path: PathBuf,
        /// Where and what, with the keys that are allowed.
        reason: String,
    },
    /// File and environment together hold a table or key that is not known, or a value of the wrong type.
    #[error("configuration ({sources}): {reason}")]
    Keys {
        /// Where the values come from.
        sources: String,
        /// What is wrong, with the keys that are allowed.
        reason: String,
    },
    /// A value is outside its range.
    #[error("{key} is {value}: expected {expected}")]
    Value {
        /// The key.
        key: &'static str,
        /// Its value.
        value: String,
        /// What it may be.
        expected: &'static str,
    },
    /// The servers or the user at them are unusable.
    #[error("nats_url, nats_user, nats_password: {0}")]
    Servers(String),
    /// The prefix is unusable.
    #[error(transparent)]
    Prefix(#[from] SubjectError),
    /// The object store is unknown.
    #[error(transparent)]
    Store(#[from] ObjectError),
}

/// Reads a TOML file.
///
/// # Errors
/// [`ConfigError`] with the file, the place, and the keys that are allowed there.
pub fn read_file<T: DeserializeOwned>(path: &Path) -> Result<T, ConfigError> {
    let text = std::fs::read_to_string(path).map_err(|source| ConfigError::Read { path: path.to_owned(), source })?;
    toml::from_str(&text).map_err(|error| ConfigError::Parse { path: path.to_owned(), reason: error.to_string() })
}

/// Sets `tables` from variables `<prefix><TABLE>_<KEY>`, except those in `own`, which are read elsewhere; returns the names
/// that were used.
pub fn set_from_environment(
    tables: &mut toml::Table,
    prefix: &str,
    own: &[String],
    environment: impl Iterator<Item = (String, String)>,
) -> Vec<String> {
    let mut used = Vec::new();
    for (name, value) in environment {
        let Some(rest) = name.strip_prefix(prefix).filter(|_| !own.contains(&name)).map(str::to_lowercase) else { continue };
        let Some((table, key)) = rest.split_once('_') else { continue };
        let entry = tables.entry(table).or_insert_with(|| toml::Table::new().into());
        if let Some(table) = entry.as_table_mut() {
            table.insert(key.to_owned(), typed(value));
        }
        used.push(name);
    }
    used
}

/// Numbers and booleans as such, everything else as text.
fn typed(value: String) -> toml::Value {
    if let Ok(number) = value.parse::<i64>() {
        return number.into();
    }
    match value.as_str() {
        "true" => true.into(),
        "false" => false.into(),
        _ => value.into(),
    }
}

/// Something to be kept out of logs.
#[derive(Clone, PartialEq, Eq, Deserialize)]
pub struct Secret(pub String);

impl fmt::Debug for Secret {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("...")
    }
}

impl FromStr for Secret {
    type Err = Infallible;

    fn from_str(text: &str) -> Result<Self, Self::Err> {
        Ok(Self(text.to_owned()))
    }
}

/// How to reach the bus and the object store; table `[bus]`.
#[derive(Debug, Clone, Default, PartialEq, Eq, clap::Args, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct BusArgs {
    /// NATS server, or those of one cluster separated by commas; nats://USER:PASSWORD@HOST:PORT where they ask for a user [default: nats://127.0.0.1:4222]
    #[arg(long, env = "ZISK_NATS_URL", value_name = "URL", global = true)]
    pub nats_url: Option<String>,
    /// NATS credentials file
    #[arg(long, env = "ZISK_NATS_CREDS", value_name = "FILE", global = true)]
    pub nats_creds: Option<PathBuf>,
    /// User at the NATS servers, in place of one in the URL
    #[arg(long, env = "ZISK_NATS_USER", value_name = "NAME", global = true)]
    pub nats_user: Option<String>,
    /// The user's password
    #[arg(long, env = "ZISK_NATS_PASSWORD", hide_env_values = true, value_name = "PASSWORD", global = true)]
    pub nats_password: Option<Secret>,
    /// Prefix of all subjects, streams and buckets [default: zisk.v1]
    #[arg(long, env = "ZISK_PREFIX", value_name = "NAME", global = true)]
    pub prefix: Option<String>,
    /// Object store: jetstream, or file:///directory [default: jetstream]
    #[arg(long, env = "ZISK_OBJECT_STORE", value_name = "URL", global = true)]
    pub object_store: Option<String>,
    /// Copies of every stream and bucket: 1, 3 or 5 [default: 1]
    #[arg(long, env = "ZISK_REPLICAS", value_name = "N", global = true)]
    pub replicas: Option<usize>,
    /// Seconds after which a silent worker's assignment goes to another [default: 30]
    #[arg(long, env = "ZISK_ACK_WAIT_SECONDS", value_name = "S", global = true)]
    pub ack_wait_seconds: Option<u64>,
    /// Seconds after which a silent aggregator or worker counts as gone [default: 15]
    #[arg(long, env = "ZISK_LEASE_SECONDS", value_name = "S", global = true)]
    pub lease_seconds: Option<u64>,
    /// Seconds to keep trying to reach NATS at the start [default: 10]
    #[arg(long, env = "ZISK_CONNECT_SECONDS", value_name = "S", global = true)]
    pub connect_seconds: Option<u64>,
}

impl BusArgs {
    /// These values (flags, environment) where set, else the file's.
    #[must_use]
    pub fn over(self, file: Self) -> Self {
        Self {
            nats_url: self.nats_url.or(file.nats_url),
            nats_creds: self.nats_creds.or(file.nats_creds),
            nats_user: self.nats_user.or(file.nats_user),
            nats_password: self.nats_password.or(file.nats_password),
            prefix: self.prefix.or(file.prefix),
            object_store: self.object_store.or(file.object_store),
            replicas: self.replicas.or(file.replicas),
            ack_wait_seconds: self.ack_wait_seconds.or(file.ack_wait_seconds),
            lease_seconds: self.lease_seconds.or(file.lease_seconds),
            connect_seconds: self.connect_seconds.or(file.connect_seconds),
        }
    }

    /// The bus configuration, defaults filled in; `name` is the connection's.
    ///
    /// # Errors
    /// [`ConfigError`] naming the key and its range.
    pub fn bus(&self, name: &str) -> Result<BusConfig, ConfigError> {
        let default = BusConfig::default();
        let replicas = self.replicas.unwrap_or(default.replicas);
        if ![1, 3, 5].contains(&replicas) {
            return Err(ConfigError::Value { key: "replicas", value: replicas.to_string(), expected: "1, 3 or 5" });
        }
        let prefix = match &self.prefix {
            Some(text) => Prefix::from_str(text)?,
            None => default.prefix,
        };
        let (url, in_url) = match &self.nats_url {
            Some(urls) => split_login(urls).map_err(ConfigError::Servers)?,
            None => (default.url, None),
        };
        let login = match (&self.nats_user, &self.nats_password) {
            (Some(user), Some(password)) => Some(Login { user: user.clone(), password: password.0.clone() }),
            (None, None) => in_url,
            _ => return Err(ConfigError::Servers("a user needs a password, and a password a user".to_owned())),
        };
        Ok(BusConfig {
            url,
            login,
            prefix,
            credentials: self.nats_creds.clone(),
            name: name.to_owned(),
            replicas,
            // A third of it is between two in-progress acks: below 1 s a slow network loses assignments.
            ack_wait: seconds("ack_wait_seconds", self.ack_wait_seconds, default.ack_wait, "1 to 3600")?,
            lease: seconds("lease_seconds", self.lease_seconds, default.lease, "1 to 3600")?,
            leader_lease: default.leader_lease,
            dead_age: default.dead_age,
            dead_entries: default.dead_entries,
            connect_wait: self.connect_seconds.map_or(default.connect_wait, Duration::from_secs),
            retry: default.retry,
        })
    }

    /// Where objects are.
    ///
    /// # Errors
    /// [`ConfigError::Store`] when the URL is not known.
    pub fn store(&self) -> Result<StoreUrl, ConfigError> {
        match &self.object_store {
            None => Ok(StoreUrl::default()),
            Some(text) => Ok(text.parse()?),
        }
    }
}

fn seconds(key: &'static str, value: Option<u64>, default: Duration, expected: &'static str) -> Result<Duration, ConfigError> {
    match value {
        None => Ok(default),
        Some(value @ 1..=3600) => Ok(Duration::from_secs(value)),
        Some(value) => Err(ConfigError::Value { key, value: value.to_string(), expected }),
    }
}

/// What is logged, how and where; table `[logging]`.
#[derive(Debug, Clone, Default, PartialEq, Eq, clap::Args, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct LogArgs {
    /// Log level: error, warn, info, debug, trace, or a tracing filter; RUST_LOG wins [default: info]
    #[arg(long = "log-level", env = "ZISK_LOG_LEVEL", value_name = "LEVEL", global = true)]
    pub level: Option<String>,
    /// Log format [default: pretty]
    #[arg(long = "log-format", env = "ZISK_LOG_FORMAT", value_enum, value_name = "FORMAT", global = true)]
    pub format: Option<LogFormat>,
    /// Log to FILE.YYYY-MM-DD, a new one every day, instead of the console
    #[arg(long = "log-file", env = "ZISK_LOG_FILE", value_name = "FILE", global = true)]
    pub file_path: Option<PathBuf>,
}

/// How log lines look.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, clap::ValueEnum, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum LogFormat {
    /// One line per event.
    Compact,
    /// Several lines per event, for reading.
    #[default]
    Pretty,
    /// One JSON object per event, for machines.
    Json,
}

impl LogArgs {
    /// These values (flags, environment) where set, else the file's.
    #[must_use]
    pub fn over(self, file: Self) -> Self {
        Self {
            level: self.level.or(file.level),
            format: self.format.or(file.format),
            file_path: self.file_path.or(file.file_path),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[derive(Debug, Deserialize)]
    #[serde(deny_unknown_fields)]
    struct File {
        bus: BusArgs,
    }

    #[test]
    fn flags_win_over_the_file_and_the_file_over_defaults() {
        let file: File = toml::from_str("[bus]\nnats_url = 'nats://file:1'\nreplicas = 3").unwrap();
        let flags = BusArgs { nats_url: Some("nats://flag:2".to_owned()), ..BusArgs::default() };
        let bus = flags.over(file.bus).bus("test").unwrap();
        assert_eq!((bus.url.as_str(), bus.replicas), ("nats://flag:2", 3));
        assert_eq!(bus.ack_wait, Duration::from_secs(30));
        let args = BusArgs { nats_url: Some("nats://u:in-url@a:1".to_owned()), ..BusArgs::default() };
        let in_url = args.bus("test").unwrap();
        assert_eq!((in_url.url.as_str(), in_url.login.unwrap().password.as_str()), ("nats://a:1", "in-url"));
        let args = BusArgs { nats_user: Some("v".to_owned()), nats_password: Some(Secret("own".to_owned())), ..args };
        assert!(!format!("{args:?}").contains("own"));
        assert_eq!(args.bus("test").unwrap().login.unwrap().user, "v");
    }

    #[test]
    fn mistakes_are_named() {
        let error = toml::from_str::<File>("[bus]\nnats_ulr = 'x'").unwrap_err().to_string();
        assert!(error.contains("nats_ulr") && error.contains("`nats_url`"), "{error}");
        let error = BusArgs { replicas: Some(2), ..BusArgs::default() }.bus("t").unwrap_err().to_string();
        assert!(error.contains("replicas is 2: expected 1, 3 or 5"), "{error}");
        let args = BusArgs { nats_user: Some("me".to_owned()), ..BusArgs::default() };
        let error = args.bus("t").unwrap_err().to_string();
        assert!(error.contains("nats_user") && error.contains("needs a password"), "{error}");
        let error = BusArgs { prefix: Some("a_b".to_owned()), ..BusArgs::default() }.bus("t").unwrap_err().to_string();
        assert!(error.contains("a_b"), "{error}");
    }
}
