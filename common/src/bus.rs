//! The connection to NATS: made with clear errors, kept for ever.

use std::path::PathBuf;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use async_nats::jetstream::{self, ErrorCode};
use async_nats::{Client, ConnectErrorKind};
use thiserror::Error;
use tokio::sync::watch;
use tokio::time::Instant;

pub use crate::connect::{ConnectError, Login, MIN_SERVER_VERSION};
use crate::connect::{Heard, MAX_CONNECT_PAUSE, check_version, options, servers};
use crate::full::is_full;
use crate::subjects::Prefix;
use crate::tls::{Tls, is_about_certificates};

/// How long a publish waits for its acknowledgement before it is sent again. An ack lost with a killed server costs
/// this much; a healthy one answers in milliseconds even when it syncs every write.
const PUBLISH_TIMEOUT: Duration = Duration::from_secs(1);

/// How long any other call waits for its answer before it is made again. A server that is asked for what has no leader at the moment
/// says nothing at all, and a leader answers in milliseconds.
const CALL_TIMEOUT: Duration = Duration::from_secs(2);

/// How long making or changing a stream, a consumer or a bucket may take: for a replicated one, seconds.
const MAKE_TIMEOUT: Duration = Duration::from_secs(10);

/// How long sending what is buffered may take. Without a connection nothing is sent.
const FLUSH_TIMEOUT: Duration = Duration::from_secs(2);

/// A process that stops waits no longer than this for a connection.
const GONE: Duration = Duration::from_secs(2);

/// How often to look whether the connection is up.
const LOOK: Duration = Duration::from_millis(100);

/// How to reach the bus, and how to set it up.
#[derive(Debug, Clone)]
pub struct BusConfig {
    /// One or more comma-separated `nats://host:port`: servers of one cluster, tried in turn.
    pub url: String,
    /// User and password, when servers ask for them.
    pub login: Option<Login>,
    /// Prefix of all names.
    pub prefix: Prefix,
    /// Credentials file, as `nsc` writes it.
    pub credentials: Option<PathBuf>,
    /// Certificates, when servers want TLS.
    pub tls: Tls,
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
            login: None,
            prefix: Prefix::default(),
            credentials: None,
            tls: Tls::default(),
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
    /// Whether the server has no room left: nothing else is wrong.
    pub full: bool,
}

impl BusError {
    /// One that may be gone later.
    pub fn transient(action: impl Into<String>, reason: impl ToString) -> Self {
        Self { action: action.into(), reason: reason.to_string(), transient: true, full: false }
    }

    /// One that trying again does not mend.
    pub fn permanent(action: impl Into<String>, reason: impl ToString) -> Self {
        Self { action: action.into(), reason: reason.to_string(), transient: false, full: false }
    }

    /// What the last attempt met, which may be gone later.
    pub(crate) fn met(action: impl Into<String>, error: &(dyn std::error::Error + 'static)) -> Self {
        Self { full: is_full(error), ..Self::transient(action, chain(error)) }
    }
}

/// A connection to the bus; cheap to clone, reconnects for ever.
#[derive(Clone, Debug)]
pub struct Bus {
    inner: Arc<Inner>,
    /// At the end of every message id, where there is one.
    id_suffix: Option<Arc<str>>,
}

#[derive(Debug)]
struct Inner {
    config: BusConfig,
    client: Client,
    /// For publishing.
    publish: jetstream::Context,
    /// For making and changing what there is.
    make: jetstream::Context,
    /// For everything else.
    call: jetstream::Context,
    heard: Heard,
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
        let servers = servers(&config.url)?;
        let heard = Heard::new();
        let mut pause = Duration::from_millis(100);
        let options = options(&config, heard.clone(), servers.len()).await?;
        let client = loop {
            match options.clone().connect(&servers[..]).await {
                Ok(client) => break client,
                Err(error) => {
                    let (url, reason) = (config.url.clone(), chain(&error));
                    match error.kind() {
                        ConnectErrorKind::ServerParse => return Err(ConnectError::Configuration { url, reason }),
                        ConnectErrorKind::AuthorizationViolation | ConnectErrorKind::Authentication => {
                            return Err(ConnectError::Refused { url, who: who(&config), reason });
                        }
                        _ if is_about_certificates(&reason) => return Err(ConnectError::Certificate { url, reason }),
                        _ if Instant::now() + pause >= deadline => return Err(ConnectError::Unreachable { url, reason }),
                        _ => tracing::debug!(url, reason, "NATS does not answer yet"),
                    }
                    tokio::time::sleep(pause).await;
                    pause = (pause * 2).min(MAX_CONNECT_PAUSE);
                }
            }
        };
        check_version(&client, &config)?;
        let context = |timeout| jetstream::ContextBuilder::new().timeout(timeout).ack_timeout(timeout).build(client.clone());
        let (publish, make, call) = (context(PUBLISH_TIMEOUT), context(MAKE_TIMEOUT), context(CALL_TIMEOUT));
        let times = Mutex::new(Times { ack_wait: config.ack_wait, lease: config.lease });
        let inner = Arc::new(Inner { config, client, publish, make, call, heard, times });
        let bus = Self { inner, id_suffix: None };
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

    /// The same connection, whose publishes have message ids that no stream has seen: for what was stored once, and is gone.
    pub fn with_new_ids(&self) -> Self {
        Self { inner: self.inner.clone(), id_suffix: Some(uuid::Uuid::new_v4().simple().to_string().into()) }
    }

    /// A message id as it is sent.
    pub(crate) fn message_id(&self, id: &str) -> String {
        self.id_suffix.as_ref().map_or_else(|| id.to_owned(), |suffix| format!("{id}.{suffix}"))
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

    /// JetStream, for reads and for calls that can be made twice: they time out after 2 s and must be retried.
    pub fn jetstream(&self) -> &jetstream::Context {
        &self.inner.call
    }

    /// JetStream, for making and changing streams, consumers and buckets.
    pub(crate) fn making(&self) -> &jetstream::Context {
        &self.inner.make
    }

    /// JetStream, for publishing: its calls time out after a second and must be retried.
    pub(crate) fn publishing(&self) -> &jetstream::Context {
        &self.inner.publish
    }

    /// Changes whenever the connection was made anew.
    pub(crate) fn generation(&self) -> watch::Receiver<u64> {
        self.inner.heard.generation()
    }

    /// What the server denied us since then, in its own words, perhaps only where these are in it.
    pub(crate) fn denied_since(&self, since: Instant, words: &str) -> Option<String> {
        self.inner.heard.denied_since(since, words)
    }

    /// What the server denied us since then: this, or to hear any answer.
    pub(crate) fn denied(&self, since: Instant, what: &str) -> Option<String> {
        self.denied_since(since, what).or_else(|| self.denied_since(since, "_INBOX"))
    }

    /// Whether the connection is up now.
    pub fn is_connected(&self) -> bool {
        self.inner.client.connection_state() == async_nats::connection::State::Connected
    }

    /// Returns when the connection has been down for so long that who is told to stop need not wait for it.
    pub async fn gone(&self) {
        let mut connected = Instant::now();
        while connected.elapsed() < GONE {
            tokio::time::sleep(LOOK).await;
            if self.is_connected() {
                connected = Instant::now();
            }
        }
    }

    /// Sends what is still buffered, if there is a connection.
    pub async fn flush(&self) {
        match tokio::time::timeout(FLUSH_TIMEOUT, self.inner.client.flush()).await {
            Ok(Ok(())) => {}
            Ok(Err(error)) => tracing::debug!(%error, "flush failed"),
            Err(_) => tracing::debug!("not flushed in time"),
        }
    }

    async fn check_jetstream(&self, deadline: Instant) -> Result<(), ConnectError> {
        loop {
            let asked = Instant::now();
            let Err(error) = self.inner.call.query_account().await else {
                return Ok(());
            };
            if let Some(reason) = self.denied_since(asked, "") {
                return Err(ConnectError::Denied { url: self.inner.config.url.clone(), who: who(&self.inner.config), reason });
            }
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

/// As whom this process comes.
fn who(config: &BusConfig) -> String {
    match (&config.login, &config.credentials) {
        (_, Some(path)) => format!("the credentials in {}", path.display()),
        (Some(login), None) => format!("user {:?}", login.user),
        (None, None) => "a client without credentials".to_owned(),
    }
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
