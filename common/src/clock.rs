//! What a stream holds and since when, by the server's clock.

use std::time::Duration;

use chrono::{DateTime, Utc};
use serde::Deserialize;
use serde_json::json;

use crate::bus::{Bus, BusError};
use crate::subjects::StreamKind;

/// What a stream holds.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Stored {
    /// Messages.
    pub messages: u64,
    /// Their size.
    pub bytes: u64,
    /// How long ago the oldest was stored.
    pub oldest: Option<Duration>,
    /// Copies it is set to have.
    pub copies: u64,
    /// Copies that are up to date.
    pub current: u64,
}

/// What of a stream's info is asked for here; async-nats leaves the time out.
#[derive(Deserialize)]
struct Info {
    ts: DateTime<Utc>,
    state: State,
    config: Config,
    cluster: Option<Cluster>,
}

#[derive(Deserialize)]
struct Config {
    num_replicas: u64,
}

#[derive(Deserialize)]
struct Cluster {
    /// Without the leader.
    #[serde(default)]
    replicas: Vec<Replica>,
}

#[derive(Deserialize)]
struct Replica {
    #[serde(default)]
    current: bool,
    #[serde(default)]
    offline: bool,
}

#[derive(Deserialize)]
struct State {
    messages: u64,
    bytes: u64,
    first_ts: DateTime<Utc>,
}

impl Info {
    /// How old the oldest message is.
    fn oldest(&self) -> Option<Duration> {
        (self.state.messages > 0).then(|| (self.ts - self.state.first_ts).to_std().unwrap_or_default())
    }
}

impl Bus {
    /// The time by the clock of the server that leads this stream.
    ///
    /// # Errors
    /// [`BusError`] when it does not answer, or there is no such stream.
    pub async fn server_time(&self, stream: &str) -> Result<DateTime<Utc>, BusError> {
        Ok(self.timed_info(stream).await?.ts)
    }

    /// How old the oldest message of a stream is; none when it is empty.
    ///
    /// # Errors
    /// [`BusError`] when the server does not answer.
    pub async fn oldest(&self, kind: StreamKind) -> Result<Option<Duration>, BusError> {
        Ok(self.timed_info(&self.prefix().stream(kind)).await?.oldest())
    }

    /// How much a stream holds, since when, and in how many copies.
    ///
    /// # Errors
    /// [`BusError`] when the server does not answer.
    pub async fn stored(&self, kind: StreamKind) -> Result<Stored, BusError> {
        let info = self.timed_info(&self.prefix().stream(kind)).await?;
        // Whoever answers is current; without a cluster there is one copy.
        let others = info.cluster.iter().flat_map(|cluster| &cluster.replicas);
        let current = 1 + others.filter(|copy| copy.current && !copy.offline).count() as u64;
        let (State { messages, bytes, .. }, oldest) = (&info.state, info.oldest());
        Ok(Stored { messages: *messages, bytes: *bytes, oldest, copies: info.config.num_replicas, current })
    }

    async fn timed_info(&self, stream: &str) -> Result<Info, BusError> {
        let action = format!("reading the time of {stream}");
        let answer = self.ask(&format!("STREAM.INFO.{stream}"), &json!({})).await?;
        let info = answer.map_err(|refusal| BusError::transient(&action, refusal.text))?;
        serde_json::from_value(info).map_err(|error| BusError::transient(&action, error))
    }
}
