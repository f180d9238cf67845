//! How a binary reaches bus and object store.

use std::path::PathBuf;
use std::str::FromStr;
use std::time::Duration;

use serde::{Deserialize, Serialize};

use super::{ConfigError, Key, Kind, Secret};
use crate::bus::{BusConfig, Login};
use crate::connect::split_login;
use crate::objects::StoreUrl;
use crate::subjects::Prefix;
use crate::tls::Tls;

/// How to reach the bus and the object store; table `[bus]`.
#[derive(Debug, Clone, Default, PartialEq, Eq, clap::Args, Deserialize, Serialize)]
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
    /// Certificates of the authority of the NATS servers' certificates [default: those the machine trusts]
    #[arg(long, env = "ZISK_NATS_CA", value_name = "FILE", global = true)]
    pub nats_ca: Option<PathBuf>,
    /// This process's certificate, for NATS servers that ask for one
    #[arg(long, env = "ZISK_NATS_CERT", value_name = "FILE", global = true)]
    pub nats_cert: Option<PathBuf>,
    /// The certificate's private key
    #[arg(long, env = "ZISK_NATS_KEY", value_name = "FILE", global = true)]
    pub nats_key: Option<PathBuf>,
    /// Prefix of all subjects, streams and buckets [default: zisk.v1]
    #[arg(long, env = "ZISK_PREFIX", value_name = "NAME", global = true)]
    pub prefix: Option<String>,
    /// Object store: jetstream, file:///directory, or s3://bucket/prefix [default: jetstream]
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
            nats_ca: self.nats_ca.or(file.nats_ca),
            nats_cert: self.nats_cert.or(file.nats_cert),
            nats_key: self.nats_key.or(file.nats_key),
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
        let identity = match (&self.nats_cert, &self.nats_key) {
            (Some(certificate), Some(key)) => Some((certificate.clone(), key.clone())),
            (None, None) => None,
            _ => return Err(ConfigError::Servers("nats_cert needs nats_key, and nats_key nats_cert".to_owned())),
        };
        Ok(BusConfig {
            url,
            login,
            tls: Tls { ca: self.nats_ca.clone(), identity },
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

/// The settings for [`BusArgs`], under the names that `named` gives its fields; those that it does not name are left out.
pub fn bus_keys(named: impl Fn(&'static str) -> Option<&'static str>) -> Vec<Key> {
    fn servers(text: &str) -> Result<(), String> {
        split_login(text).map(drop)
    }
    fn prefix(text: &str) -> Result<(), String> {
        Prefix::from_str(text).map(drop).map_err(|error| error.to_string())
    }
    fn store(text: &str) -> Result<(), String> {
        text.parse::<StoreUrl>().map(drop).map_err(|error| error.to_string())
    }
    const SECONDS: Kind = Kind::Number { least: 1, most: 3600, expected: "1 to 3600" };
    const WAIT: Kind = Kind::Number { least: 0, most: 86_400, expected: "0 to 86400 (a day)" };
    // 2 and 4 are refused with the same words, once all is together.
    const REPLICAS: Kind = Kind::Number { least: 1, most: 5, expected: "1, 3 or 5" };
    let keys = [
        (
            "nats_url",
            Kind::Url(Some(servers)),
            "nats-url",
            &["ZISK_NATS_URL"],
            Some("nats://127.0.0.1:4222"),
            "NATS server, or those of one cluster separated by commas; nats://USER:PASSWORD@HOST:PORT where they ask for a user",
        ),
        ("nats_creds", Kind::Path, "nats-creds", &["ZISK_NATS_CREDS"], None, "NATS credentials file"),
        (
            "nats_user",
            Kind::Text(None),
            "nats-user",
            &["ZISK_NATS_USER"],
            None,
            "User at the NATS servers, in place of one in the URL",
        ),
        (
            "nats_password",
            Kind::Secret,
            "nats-password",
            &["ZISK_NATS_PASSWORD"],
            None,
            "The user's password; a flag is seen by all users of the machine",
        ),
        (
            "nats_ca",
            Kind::Path,
            "nats-ca",
            &["ZISK_NATS_CA"],
            None,
            "Certificates of the authority of the NATS servers' certificates; without it those that the machine trusts",
        ),
        (
            "nats_cert",
            Kind::Path,
            "nats-cert",
            &["ZISK_NATS_CERT"],
            None,
            "This process's certificate, for NATS servers that ask for one",
        ),
        ("nats_key", Kind::Path, "nats-key", &["ZISK_NATS_KEY"], None, "The certificate's private key"),
        (
            "prefix",
            Kind::Text(Some(prefix)),
            "prefix",
            &["ZISK_PREFIX"],
            Some("zisk.v1"),
            "Prefix of all subjects, streams and buckets",
        ),
        ("replicas", REPLICAS, "replicas", &["ZISK_REPLICAS"], Some("1"), "Copies of every stream and bucket: 1, 3 or 5"),
        (
            "ack_wait_seconds",
            SECONDS,
            "ack-wait-seconds",
            &["ZISK_ACK_WAIT_SECONDS"],
            Some("30"),
            "Seconds after which a silent worker's assignment goes to another",
        ),
        (
            "lease_seconds",
            SECONDS,
            "lease-seconds",
            &["ZISK_LEASE_SECONDS"],
            Some("15"),
            "Seconds after which a silent aggregator or worker counts as gone",
        ),
        (
            "connect_seconds",
            WAIT,
            "connect-seconds",
            &["ZISK_CONNECT_SECONDS"],
            Some("10"),
            "Seconds of one attempt to reach NATS at the start",
        ),
        (
            "object_store",
            Kind::Text(Some(store)),
            "object-store",
            &["ZISK_OBJECT_STORE"],
            Some("jetstream"),
            "Object store: jetstream, file:///directory, or s3://bucket/prefix",
        ),
    ];
    let made = |(field, kind, flag, variables, default, help): (_, _, _, &'static [&'static str; 1], _, _)| {
        let mut key = Key::new(named(field)?, kind, help).flag(flag).variables(variables);
        key.default = default;
        Some(key)
    };
    keys.into_iter().filter_map(made).collect()
}

fn seconds(key: &'static str, value: Option<u64>, default: Duration, expected: &'static str) -> Result<Duration, ConfigError> {
    match value {
        None => Ok(default),
        Some(value @ 1..=3600) => Ok(Duration::from_secs(value)),
        Some(value) => Err(ConfigError::Value { key, value: value.to_string(), expected }),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn flags_win_over_the_file_and_the_file_over_defaults() {
        let file: BusArgs = toml::from_str("nats_url = 'nats://file:1'\nreplicas = 3").unwrap();
        let flags = BusArgs { nats_url: Some("nats://flag:2".to_owned()), ..BusArgs::default() };
        let bus = flags.over(file).bus("test").unwrap();
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
        let error = BusArgs { replicas: Some(2), ..BusArgs::default() }.bus("t").unwrap_err().to_string();
        assert!(error.contains("replicas is 2: expected 1, 3 or 5"), "{error}");
        let args = BusArgs { nats_user: Some("me".to_owned()), ..BusArgs::default() };
        let error = args.bus("t").unwrap_err().to_string();
        assert!(error.contains("nats_user") && error.contains("needs a password"), "{error}");
        let error = BusArgs { prefix: Some("a_b".to_owned()), ..BusArgs::default() }.bus("t").unwrap_err().to_string();
        assert!(error.contains("a_b"), "{error}");
    }
}
