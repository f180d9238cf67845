//! Configuration: the settings of a binary (a list of [`Key`]s), put together from defaults, file, environment and flags
//! ([`Program`]); and the parts that every binary has: bus, object store, log.

mod bus;
mod key;
mod log;
mod program;
mod settings;
#[allow(clippy::unwrap_used)] // a failed step is a failed test
pub mod testing;

use std::convert::Infallible;
use std::fmt;
use std::path::{Path, PathBuf};
use std::str::FromStr;

use serde::de::DeserializeOwned;
use serde::{Deserialize, Serialize};
use thiserror::Error;

use crate::objects::ObjectError;
use crate::subjects::SubjectError;

pub use bus::{BusArgs, bus_keys};
pub use key::{Key, Kind, Source};
pub use log::{LogArgs, LogFormat, log_keys};
pub use program::{Asked, Program, Refused};
pub use settings::Settings;

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
    /// A table, key or variable that no setting has.
    #[error("{what} {name}{place} is not known{reason}")]
    Unknown {
        /// Which of them.
        what: &'static str,
        /// Its name.
        name: String,
        /// Where it is.
        place: String,
        /// What was probably meant.
        reason: String,
    },
    /// A setting is not what it may be.
    #[error("{name} is {value} ({from}): {expected}")]
    Setting {
        /// The setting.
        name: &'static str,
        /// Where its value comes from.
        from: String,
        /// Its value, unless it is secret.
        value: String,
        /// What it may be.
        expected: String,
    },
    /// A flag that does not do here what it is for.
    #[error("--{flag} is refused: {reason}")]
    Refused {
        /// The flag.
        flag: &'static str,
        /// Why, and what to do instead.
        reason: &'static str,
    },
    /// The settings are not those of the binary.
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
    #[error("nats_url, nats_user, nats_password, nats_cert, nats_key: {0}")]
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

/// Something to be kept out of logs.
#[derive(Clone, PartialEq, Eq, Deserialize, Serialize)]
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
