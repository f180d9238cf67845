//! The server's clock: what the age of stored things is told by.

use std::time::Duration;

use chrono::{DateTime, Utc};
use serde::Deserialize;
use serde_json::json;

use crate::bus::{Bus, BusError};
use crate::subjects::StreamKind;

/// What of a stream's info is asked for here; async-nats leaves the time out.
#[derive(Deserialize)]
struct Info {
    ts: DateTime<Utc>,
    state: State,
}

#[derive(Deserialize)]
struct State {
    messages: u64,
    first_ts: DateTime<Utc>,
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
        let Info { ts, state } = self.timed_info(&self.prefix().stream(kind)).await?;
        Ok((state.messages > 0).then(|| (ts - state.first_ts).to_std().unwrap_or_default()))
    }

    async fn timed_info(&self, stream: &str) -> Result<Info, BusError> {
        let action = format!("reading the time of {stream}");
        let answer = self.ask(&format!("STREAM.INFO.{stream}"), &json!({})).await?;
        let info = answer.map_err(|refusal| BusError::transient(&action, refusal.text))?;
        serde_json::from_value(info).map_err(|error| BusError::transient(&action, error))
    }
}
