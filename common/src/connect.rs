//! Which NATS servers there are, as whom to connect to them, and what is wrong when that fails.

use std::fmt;
use std::hash::{BuildHasher, RandomState};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use async_nats::{Client, ClientError, ConnectOptions, Event, ReconnectToServer, Server, ServerAddr};
use thiserror::Error;
use tokio::sync::watch;
use tokio::time::Instant;

use crate::bus::BusConfig;

/// Oldest nats-server that works: older ones lose acknowledged work in ways no client can repair.
pub const MIN_SERVER_VERSION: (u64, u64) = (2, 11);

/// Longest pause between two attempts to connect.
pub(crate) const MAX_CONNECT_PAUSE: Duration = Duration::from_secs(2);
/// How long one server may take to let us in. A frozen one accepts and then says nothing.
const CONNECT_TIMEOUT: Duration = Duration::from_secs(2);
/// A server that answers no ping is given up at the third: frozen, or behind a network that is gone. What is being sent goes
/// before a ping, so a link must pass what objects put in flight (4 MiB) in three of these.
const PING_INTERVAL: Duration = Duration::from_millis(1300);
/// Denials remembered.
const DENIALS: usize = 32;

/// A user's name and password.
#[derive(Clone, PartialEq, Eq)]
pub struct Login {
    /// Name.
    pub user: String,
    /// Password; never shown.
    pub password: String,
}

impl fmt::Debug for Login {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Login({})", self.user)
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
    #[error(
        "the NATS server at {url} refuses {who} ({reason}): check --nats-creds or ZISK_NATS_CREDS, or ZISK_NATS_USER and \
         ZISK_NATS_PASSWORD"
    )]
    Refused {
        /// Where.
        url: String,
        /// As whom we came.
        who: String,
        /// What the server said.
        reason: String,
    },
    /// One side does not take the other's certificate.
    #[error(
        "no TLS with the NATS server at {url} ({reason}): --nats-ca or ZISK_NATS_CA names the authority of the server's certificate, \
         --nats-cert and --nats-key or ZISK_NATS_CERT and ZISK_NATS_KEY this process's own; both must be of that authority and unexpired"
    )]
    Certificate {
        /// Where.
        url: String,
        /// What was wrong.
        reason: String,
    },
    /// The URL, the credentials file or a file of TLS is unusable.
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
    /// The server lets us in, and not to JetStream.
    #[error(
        "the NATS server at {url} lets {who} in but not to JetStream ({reason}): allow that user to publish on $JS.API.> and to \
         subscribe to _INBOX.>, or come as another"
    )]
    Denied {
        /// Where.
        url: String,
        /// As whom we came.
        who: String,
        /// What the server said.
        reason: String,
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

/// Takes user and password out of one or more comma-separated `nats://[user:password@]host:port`.
///
/// # Errors
/// What is wrong, without the password.
pub fn split_login(urls: &str) -> Result<(String, Option<Login>), String> {
    let mut login: Option<Login> = None;
    let mut plain = Vec::new();
    for url in urls.split(',').map(str::trim).filter(|url| !url.is_empty()) {
        let (scheme, rest) = url.split_once("://").unwrap_or(("nats", url));
        let Some((user, host)) = rest.rsplit_once('@') else {
            plain.push(format!("{scheme}://{rest}"));
            continue;
        };
        let (user, password) =
            user.split_once(':').ok_or_else(|| format!("{scheme}://...@{host} has a user without a password"))?;
        let found = Login { user: decoded(user), password: decoded(password) };
        if login.as_ref().is_some_and(|login| *login != found) {
            return Err("the URLs name different users: one is for all servers".to_owned());
        }
        login = Some(found);
        plain.push(format!("{scheme}://{host}"));
    }
    if plain.is_empty() {
        return Err("it names no server".to_owned());
    }
    Ok((plain.join(","), login))
}

/// `%40` and the like as the characters they stand for.
fn decoded(text: &str) -> String {
    let mut bytes = Vec::with_capacity(text.len());
    let mut rest = text.as_bytes();
    while let Some((&byte, tail)) = rest.split_first() {
        let code = tail.get(..2).and_then(|code| std::str::from_utf8(code).ok());
        match code.and_then(|code| u8::from_str_radix(code, 16).ok()) {
            Some(code) if byte == b'%' => {
                bytes.push(code);
                rest = &tail[2..];
            }
            _ => {
                bytes.push(byte);
                rest = tail;
            }
        }
    }
    String::from_utf8_lossy(&bytes).into_owned()
}

/// The servers of a URL without a login.
pub(crate) fn servers(url: &str) -> Result<Vec<ServerAddr>, ConnectError> {
    let read =
        |one: &str| one.parse().map_err(|error| ConnectError::Configuration { url: one.to_owned(), reason: format!("{error}") });
    url.split(',').map(read).collect()
}

/// What a connection's events say.
#[derive(Clone, Debug)]
pub(crate) struct Heard {
    /// Counts connections made; changes on every reconnection.
    generation: Arc<watch::Sender<u64>>,
    denials: Arc<Mutex<Vec<(Instant, String)>>>,
}

impl Heard {
    pub(crate) fn new() -> Self {
        Self { generation: Arc::new(watch::Sender::new(0)), denials: Arc::default() }
    }

    pub(crate) fn generation(&self) -> watch::Receiver<u64> {
        self.generation.subscribe()
    }

    /// What the server denied since then, perhaps only with these words in it: the call itself just gets no answer.
    pub(crate) fn denied_since(&self, since: Instant, words: &str) -> Option<String> {
        let denials = self.denials.lock().unwrap_or_else(PoisonError::into_inner);
        denials
            .iter()
            .rev()
            .take_while(|(at, _)| *at >= since)
            .find(|(_, what)| what.contains(words))
            .map(|(_, what)| what.clone())
    }

    fn event(&self, event: &Event) {
        match event {
            Event::Connected => {
                self.generation.send_modify(|count| *count += 1);
                tracing::info!("connected to NATS");
            }
            Event::Disconnected => tracing::warn!("connection to NATS lost; reconnecting"),
            Event::ServerError(error) => {
                let what = error.to_string();
                if !what.contains("Permissions Violation") {
                    tracing::error!(error = what, "NATS server reports an error");
                    return;
                }
                tracing::error!("denied by the NATS server: {what}");
                let mut denials = self.denials.lock().unwrap_or_else(PoisonError::into_inner);
                if denials.len() == DENIALS {
                    denials.remove(0);
                }
                denials.push((Instant::now(), what));
            }
            // While it reconnects: at the start it is an error of its own.
            Event::ClientError(ClientError::Other(error)) if error.contains("authorization") => {
                tracing::error!("the NATS server refuses our credentials; trying again");
            }
            Event::ClientError(error) => tracing::debug!(%error, "NATS client reports an error"),
            other => tracing::info!(event = %other, "NATS connection"),
        }
    }
}

/// Which of several servers to try: those that failed least, and not the one that was just tried or lost.
struct Choice {
    /// Every process has an order of its own, so that clients spread.
    order: RandomState,
    last: Mutex<Option<ServerAddr>>,
}

impl Choice {
    fn next(&self, mut pool: Vec<Server>) -> Option<ServerAddr> {
        let mut last = self.last.lock().unwrap_or_else(PoisonError::into_inner);
        pool.sort_by_cached_key(|server| {
            let was_last = last.as_ref() == Some(&server.addr);
            (was_last, server.failed_attempts, self.order.hash_one(&server.addr))
        });
        *last = pool.into_iter().next().map(|server| server.addr);
        last.clone()
    }
}

/// Connects once, to whichever of the servers answers.
pub(crate) async fn options(config: &BusConfig, heard: Heard, servers: usize) -> Result<ConnectOptions, ConnectError> {
    let choice = Arc::new(Choice { order: RandomState::new(), last: Mutex::default() });
    let rounds = servers.max(1);
    let mut options = ConnectOptions::new()
        .name(&config.name)
        .connection_timeout(CONNECT_TIMEOUT)
        .ping_interval(PING_INTERVAL)
        .reconnect_delay_callback(move |attempt| {
            let exponent = u32::try_from((attempt / rounds).min(5)).unwrap_or(5);
            (Duration::from_millis(50) * 2u32.pow(exponent)).min(MAX_CONNECT_PAUSE)
        })
        .reconnect_to_server_callback(move |pool, _| {
            let addr = choice.next(pool);
            async move { addr.map(|addr| ReconnectToServer { addr, delay: None }) }
        })
        .event_callback(move |event| {
            heard.event(&event);
            async {}
        });
    let unusable = |reason| ConnectError::Configuration { url: config.url.clone(), reason };
    options = config.tls.apply(options).map_err(unusable)?;
    if let Some(Login { user, password }) = config.login.clone() {
        // An inbox that the server can keep others out of (compose/nats/roles.conf).
        if user.bytes().all(|byte| byte.is_ascii_alphanumeric() || b"-_".contains(&byte)) {
            options = options.custom_inbox_prefix(format!("_INBOX.{user}"));
        }
        options = options.user_and_password(user, password);
    }
    match &config.credentials {
        None => Ok(options),
        Some(path) => options
            .credentials_file(path)
            .await
            .map_err(|error| unusable(format!("credentials file {}: {error}", path.display()))),
    }
}

pub(crate) fn check_version(client: &Client, config: &BusConfig) -> Result<(), ConnectError> {
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

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn versions_are_compared_as_numbers() {
        assert_eq!(version_of("2.9.10"), Some((2, 9)));
        assert!(version_of("2.9.10") < Some(MIN_SERVER_VERSION));
        assert!(version_of("2.11.0-beta.1") >= Some(MIN_SERVER_VERSION));
        assert!(version_of("v2.15.1") > Some(MIN_SERVER_VERSION));
        assert_eq!(version_of("new"), None);
    }

    #[test]
    fn a_login_is_taken_out_of_the_urls() {
        let login = |user: &str, password: &str| Some(Login { user: user.to_owned(), password: password.to_owned() });
        assert_eq!(split_login("nats://a:1, b:2").unwrap(), ("nats://a:1,nats://b:2".to_owned(), None));
        let (url, found) = split_login("nats://me:p%40ss%3A@a:1,tls://b:2").unwrap();
        assert_eq!((url.as_str(), &found), ("nats://a:1,tls://b:2", &login("me", "p@ss:")));
        assert!(!format!("{found:?}").contains("p@ss"));
        assert!(split_login("nats://me:x@a,nats://you:x@b").unwrap_err().contains("different users"));
        assert!(split_login("nats://secret@a").unwrap_err().contains("without a password"));
        assert!(split_login(" , ").unwrap_err().contains("no server"));
    }

    #[test]
    fn the_server_that_was_lost_comes_last() {
        let choice = Choice { order: RandomState::new(), last: Mutex::default() };
        let server = |name: &str, failed_attempts| Server {
            addr: name.parse().unwrap(),
            failed_attempts,
            did_connect: true,
            is_discovered: false,
            last_error: None,
        };
        let pool = || vec![server("a:1", 0), server("b:2", 0), server("c:3", 0)];
        let lost = choice.next(pool()).unwrap();
        assert_ne!(choice.next(pool()).unwrap(), lost);
        assert_eq!(choice.next(vec![server("a:1", 9)]), Some("a:1".parse().unwrap()));
        assert_eq!(choice.next(vec![server("a:1", 9), server("b:2", 7), server("c:3", 8)]), Some("b:2".parse().unwrap()));
    }
}
