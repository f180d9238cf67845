//! The connection to NATS: made with clear errors, kept for ever.

use std::path::PathBuf;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use async_nats::jetstream::{self, ErrorCode};
use async_nats::{Client, ConnectErrorKind, ConnectOptions, Event};
use thiserror::Error;
use tokio::sync::watch;
use tokio::time::Instant;

use crate::subjects::Prefix;

/// Oldest nats-server that works: older ones lose acknowledged work in ways no client can repair.
pub const MIN_SERVER_VERSION: (u64, u64) = (2, 11);

/// How long a publish waits for its acknowledgement before it is sent again. An ack lost with a killed server costs
/// this much; a healthy one answers in milliseconds even when it syncs every write.
const PUBLISH_TIMEOUT: Duration = Duration::from_secs(1);

/// How long an administrative call may take. Creating a replicated stream takes seconds.
const ADMIN_TIMEOUT: Duration = Duration::from_secs(10);

/// Longest pause between two attempts to connect.
const MAX_CONNECT_PAUSE: Duration = Duration::from_secs(2);

/// How to reach the bus, and how to set it up.
#[derive(Debug, Clone)]
pub struct BusConfig {
    /// One or more comma-separated `nats://host:port`.
    pub url: String,
    /// Prefix of all names.
    pub prefix: Prefix,
    /// Credentials file, as `nsc` writes it.
    pub credentials: Option<PathBuf>,
    /// The connection's name, shown by the server's monitoring.
    pub name: String,
    /// Copies of every stream and bucket; 1, 3 or 5.
    pub replicas: usize,
    /// How long an unacknowledged message stays with a silent receiver before another gets it.
    pub ack_wait: Duration,
    /// How long an aggregator's lease and a worker's presence outlive their last renewal.
    pub lease: Duration,
    /// How long the leading coordinator's lease outlives its last renewal.
    pub leader_lease: Duration,
    /// How long a dead letter is kept.
    pub dead_age: Duration,
    /// How many dead letters are kept; the oldest give way.
    pub dead_entries: i64,
    /// How long to keep trying to connect at the start.
    pub connect_wait: Duration,
    /// How long to keep trying to publish and to acknowledge. A cluster that loses its leader takes up to 7 s.
    pub retry: Duration,
}

impl Default for BusConfig {
    fn default() -> Self {
        Self {
            url: "nats://127.0.0.1:4222".to_owned(),
            prefix: Prefix::default(),
            credentials: None,
            name: "zisk".to_owned(),
            replicas: 1,
            ack_wait: Duration::from_secs(30),
            lease: Duration::from_secs(15),
            leader_lease: Duration::from_secs(5),
            dead_age: Duration::from_secs(30 * 24 * 3600),
            dead_entries: 1000,
            connect_wait: Duration::from_secs(10),
            retry: Duration::from_secs(30),
        }
    }
}

/// Why there is no bus.
#[derive(Debug, Error)]
pub enum ConnectError {
    /// Nothing answers.
    #[error(
        "no NATS server answers at {url} ({reason}): start one with `nats-server -js`, or name another with --nats-url \
         or ZISK_NATS_URL"
    )]
    Unreachable {
        /// Where.
        url: String,
        /// What the last attempt met.
        reason: String,
    },
    /// The server does not let us in.
    #[error("the NATS server at {url} refuses our credentials ({reason}): check --nats-creds or ZISK_NATS_CREDS")]
    Refused {
        /// Where.
        url: String,
        /// What the server said.
        reason: String,
    },
    /// The URL or the credentials file is unusable.
    #[error("cannot connect to {url:?}: {reason}")]
    Configuration {
        /// The URL.
        url: String,
        /// What is wrong.
        reason: String,
    },
    /// The server is too old.
    #[error(
        "the NATS server {name} at {url} is version {version}: at least {}.{} is needed, for older ones lose acknowledged \
         messages; scripts/install-nats.sh fetches one",
        MIN_SERVER_VERSION.0, MIN_SERVER_VERSION.1
    )]
    ServerTooOld {
        /// Where.
        url: String,
        /// The server's name.
        name: String,
        /// Its version.
        version: String,
    },
    /// The server has no JetStream.
    #[error(
        "the NATS server at {url} has no JetStream for us ({reason}): start it with `-js`, or enable JetStream for this \
         account"
    )]
    NoJetStream {
        /// Where.
        url: String,
        /// What it answered.
        reason: String,
    },
}

/// A call on the bus that failed after all its retries.
#[derive(Debug, Error)]
#[error("{action}: {reason}")]
pub struct BusError {
    /// What was tried, with the name it was tried on.
    pub action: String,
    /// What the last attempt met.
    pub reason: String,
    /// Whether trying again later can help.
    pub transient: bool,
}

impl BusError {
    pub(crate) fn transient(action: impl Into<String>, reason: impl ToString) -> Self {
        Self { action: action.into(), reason: reason.to_string(), transient: true }
    }

    pub(crate) fn permanent(action: impl Into<String>, reason: impl ToString) -> Self {
        Self { action: action.into(), reason: reason.to_string(), transient: false }
    }
}

/// A connection to the bus; cheap to clone, reconnects for ever.
#[derive(Clone, Debug)]
pub struct Bus {
    inner: Arc<Inner>,
}

#[derive(Debug)]
struct Inner {
    config: BusConfig,
    client: Client,
    /// For publishing: short timeout.
    publish: jetstream::Context,
    /// For everything else.
    admin: jetstream::Context,
    /// Counts connections made; changes on every reconnection.
    generation: watch::Receiver<u64>,
    /// What counts instead of the configuration's `ack_wait` and `lease`: as last read from the server.
    times: Mutex<Times>,
}

#[derive(Clone, Copy, Debug)]
struct Times {
    ack_wait: Duration,
    lease: Duration,
}

impl Bus {
    /// Connects, trying for [`BusConfig::connect_wait`], and checks that the server will do.
    ///
    /// # Errors
    /// [`ConnectError`], which says what to do.
    pub async fn connect(config: BusConfig) -> Result<Self, ConnectError> {
        let deadline = Instant::now() + config.connect_wait;
        let (generation_sender, generation) = watch::channel(0);
        let generation_sender = Arc::new(generation_sender);
        let mut pause = Duration::from_millis(100);
        let client = loop {
            match options(&config, generation_sender.clone()).await?.connect(&config.url).await {
                Ok(client) => break client,
                Err(error) => {
                    let reason = chain(&error);
                    let url = config.url.clone();
                    match error.kind() {
                        ConnectErrorKind::ServerParse => {
                            return Err(ConnectError::Configuration { url, reason });
                        }
                        ConnectErrorKind::AuthorizationViolation | ConnectErrorKind::Authentication => {
                            return Err(ConnectError::Refused { url, reason });
                        }
                        _ if Instant::now() + pause >= deadline => {
                            return Err(ConnectError::Unreachable { url, reason });
                        }
                        _ => tracing::debug!(url, reason, "NATS does not answer yet"),
                    }
                    tokio::time::sleep(pause).await;
                    pause = (pause * 2).min(MAX_CONNECT_PAUSE);
                }
            }
        };
        check_version(&client, &config)?;
        let publish =
            jetstream::ContextBuilder::new().timeout(PUBLISH_TIMEOUT).ack_timeout(PUBLISH_TIMEOUT).build(client.clone());
        let admin = jetstream::ContextBuilder::new().timeout(ADMIN_TIMEOUT).ack_timeout(ADMIN_TIMEOUT).build(client.clone());
        let times = Mutex::new(Times { ack_wait: config.ack_wait, lease: config.lease });
        let bus = Self { inner: Arc::new(Inner { config, client, publish, admin, generation, times }) };
        bus.check_jetstream(deadline).await?;
        Ok(bus)
    }

    /// A second connection with the same settings, for a thread of its own.
    ///
    /// # Errors
    /// As [`Bus::connect`].
    pub(crate) async fn reconnect_as(&self, name: &str) -> Result<Self, ConnectError> {
        Self::connect(BusConfig { name: name.to_owned(), ..self.inner.config.clone() }).await
    }

    /// How it was configured.
    pub fn config(&self) -> &BusConfig {
        &self.inner.config
    }

    /// How long an unacknowledged message stays with a silent receiver, as far as known (see [`Bus::read_times`]).
    pub fn ack_wait(&self) -> Duration {
        self.times().ack_wait
    }

    /// How long a lease or a presence outlives its last renewal, as far as known (see [`Bus::read_times`]).
    pub fn lease(&self) -> Duration {
        self.times().lease
    }

    pub(crate) fn set_ack_wait(&self, ack_wait: Duration) {
        self.times().ack_wait = ack_wait;
    }

    pub(crate) fn set_lease(&self, lease: Duration) {
        // No age would be no lease: someone else's bucket.
        if !lease.is_zero() {
            self.times().lease = lease;
        }
    }

    fn times(&self) -> MutexGuard<'_, Times> {
        // Whole values are written: a panic elsewhere leaves none half done.
        self.inner.times.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// The prefix of all names.
    pub fn prefix(&self) -> &Prefix {
        &self.inner.config.prefix
    }

    /// The plain NATS client.
    pub fn client(&self) -> &Client {
        &self.inner.client
    }

    /// JetStream, for administrative calls and reads.
    pub fn jetstream(&self) -> &jetstream::Context {
        &self.inner.admin
    }

    /// JetStream, for publishing: its calls time out after a second and must be retried.
    pub(crate) fn publishing(&self) -> &jetstream::Context {
        &self.inner.publish
    }

    /// Changes whenever the connection was made anew.
    pub(crate) fn generation(&self) -> watch::Receiver<u64> {
        self.inner.generation.clone()
    }

    /// Whether the connection is up now.
    pub fn is_connected(&self) -> bool {
        self.inner.client.connection_state() == async_nats::connection::State::Connected
    }

    /// Sends what is still buffered.
    pub async fn flush(&self) {
        if let Err(error) = self.inner.client.flush().await {
            tracing::debug!(%error, "flush failed");
        }
    }

    async fn check_jetstream(&self, deadline: Instant) -> Result<(), ConnectError> {
        loop {
            let Err(error) = self.inner.admin.query_account().await else {
                return Ok(());
            };
            // A server that just started answers before JetStream does; one without it says so for good.
            let disabled = jetstream_error(&error).is_some_and(|code| {
                code == ErrorCode::JETSTREAM_NOT_ENABLED || code == ErrorCode::JETSTREAM_NOT_ENABLED_FOR_ACCOUNT
            });
            let server_has_it = self.inner.client.server_info().jetstream;
            if disabled || !server_has_it || Instant::now() >= deadline {
                return Err(ConnectError::NoJetStream { url: self.inner.config.url.clone(), reason: chain(&error) });
            }
            tokio::time::sleep(Duration::from_millis(200)).await;
        }
    }
}

async fn options(config: &BusConfig, generation: Arc<watch::Sender<u64>>) -> Result<ConnectOptions, ConnectError> {
    let options = ConnectOptions::new()
        .name(&config.name)
        .connection_timeout(Duration::from_secs(3))
        .reconnect_delay_callback(|attempt| {
            let exponent = u32::try_from(attempt.min(5)).unwrap_or(5);
            (Duration::from_millis(50) * 2u32.pow(exponent)).min(MAX_CONNECT_PAUSE)
        })
        .event_callback(move |event| {
            let generation = generation.clone();
            async move {
                match event {
                    Event::Connected => {
                        generation.send_modify(|count| *count += 1);
                        tracing::info!("connected to NATS");
                    }
                    Event::Disconnected => tracing::warn!("connection to NATS lost; reconnecting"),
                    // The only sign of a denied permission: the call itself then hangs until its timeout.
                    Event::ServerError(error) => {
                        tracing::error!(%error, "NATS server reports an error")
                    }
                    Event::ClientError(error) => {
                        tracing::debug!(%error, "NATS client reports an error")
                    }
                    other => tracing::info!(event = %other, "NATS connection"),
                }
            }
        });
    match &config.credentials {
        None => Ok(options),
        Some(path) => options.credentials_file(path).await.map_err(|error| ConnectError::Configuration {
            url: config.url.clone(),
            reason: format!("credentials file {}: {error}", path.display()),
        }),
    }
}

fn check_version(client: &Client, config: &BusConfig) -> Result<(), ConnectError> {
    let info = client.server_info();
    if version_of(&info.version).is_some_and(|version| version >= MIN_SERVER_VERSION) {
        return Ok(());
    }
    Err(ConnectError::ServerTooOld { url: config.url.clone(), name: info.server_name.clone(), version: info.version.clone() })
}

fn version_of(text: &str) -> Option<(u64, u64)> {
    let mut parts = text.trim_start_matches('v').split(['.', '-']).map(|part| part.parse().ok());
    Some((parts.next()??, parts.next()??))
}

/// An error with its causes: async-nats keeps them out of its own text.
pub(crate) fn chain(error: &(dyn std::error::Error + 'static)) -> String {
    let mut text = error.to_string();
    let mut source = error.source();
    while let Some(cause) = source {
        let cause_text = cause.to_string();
        if !text.contains(&cause_text) {
            text.push_str(": ");
            text.push_str(&cause_text);
        }
        source = cause.source();
    }
    text
}

/// JetStream's own code, wherever in the chain of causes it is: async-nats maps some to a kind of its own and leaves
/// the others as sources of `Other`.
pub(crate) fn jetstream_error(error: &(dyn std::error::Error + 'static)) -> Option<ErrorCode> {
    let mut current = Some(error);
    while let Some(cause) = current {
        if let Some(jetstream) = cause.downcast_ref::<jetstream::Error>() {
            return Some(jetstream.error_code());
        }
        current = cause.source();
    }
    None
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn versions_are_compared_as_numbers() {
        assert_eq!(version_of("2.9.10"), Some((2, 9)));
        assert!(version_of("2.9.10") < Some(MIN_SERVER_VERSION));
        assert!(version_of("2.11.0-beta.1") >= Some(MIN_SERVER_VERSION));
        assert!(version_of("3.0.0") >= Some(MIN_SERVER_VERSION));
        assert_eq!(version_of("strange"), None);
    }
}
