//! Stores that have no room: telling that apart from every other failure, and the room that is kept for what must be written even then.
//!
//! When JetStream has reached its limit it refuses every write, to whatever stream: no job could end, no lease could be
//! renewed, and nothing could be deleted that leaves a marker. So the coordinators keep a reserve, a stream of padding. Purging
//! needs no room. The leader gives it up when a write is refused, having stopped the uploads of objects, the streaming of inputs and new requests, which would take it at once.

use std::error::Error;
use std::fmt::Display;
use std::io::ErrorKind;
use std::time::Duration;

use async_nats::jetstream::stream::{self, DiscardPolicy, StorageType};
use async_nats::jetstream::{self, ErrorCode};
use bytes::Bytes;
use futures::TryStreamExt;
use serde_json::json;
use tokio::time::Instant;

use crate::bus::{Bus, BusError};
use crate::streams::retried;
use crate::subjects::StreamKind;

/// Bytes of one message of padding: below the server's default limit on a message.
const PADDING: u64 = 512 * 1024;
/// How far above what it holds the object bucket is closed. Never at or below: a server may make room by deleting.
const MARGIN: i64 = 64 * 1024;

/// How long a write is tried that a full server refuses: the leader gives its reserve up within a second or two.
const PATIENCE: Duration = Duration::from_secs(5);

/// Whether a write that was begun then and met this error is to be given up: the server is full and stays so.
pub(crate) fn stays_full(error: &(dyn Error + 'static), begun: Instant) -> bool {
    begun.elapsed() >= PATIENCE && is_full(error)
}

/// Whether an error says that a store has no room left: JetStream as a whole or one stream, a disk, a quota.
pub(crate) fn is_full(error: &(dyn Error + 'static)) -> bool {
    let mut current = Some(error);
    while let Some(cause) = current {
        if let Some(jetstream) = cause.downcast_ref::<jetstream::Error>() {
            return match jetstream.error_code() {
                ErrorCode::INSUFFICIENT_RESOURCES
                | ErrorCode::ACCOUNT_RESOURCES_EXCEEDED
                | ErrorCode::STORAGE_RESOURCES_EXCEEDED => true,
                // Also says whatever else a store can meet.
                ErrorCode::STREAM_STORE_FAILED => jetstream.to_string().contains("exceeded"),
                _ => false,
            };
        }
        if let Some(error) = cause.downcast_ref::<std::io::Error>() {
            return matches!(error.kind(), ErrorKind::StorageFull | ErrorKind::QuotaExceeded | ErrorKind::FileTooLarge);
        }
        current = cause.source();
    }
    false
}

/// The limit of a stream that is open; 0 is none. A server may make room by deleting where one is below what is held.
fn opened(limit: u64, stream: &stream::State) -> i64 {
    match i64::try_from(limit).unwrap_or(i64::MAX) {
        0 => -1,
        limit => limit.max(i64::try_from(stream.bytes).unwrap_or(i64::MAX).saturating_add(MARGIN)),
    }
}

/// The room that is kept free on the server.
#[derive(Debug, Clone)]
pub struct Reserve {
    bus: Bus,
    messages: u64,
}

impl Reserve {
    /// A reserve of about so many bytes.
    pub fn new(bus: &Bus, bytes: u64) -> Self {
        Self { bus: bus.clone(), messages: bytes.div_ceil(PADDING) }
    }

    /// Its size in bytes.
    pub const fn bytes(&self) -> u64 {
        self.messages * PADDING
    }

    /// Fills it; false when there is no room for it and as much again, and then it holds nothing. Less would be full at once, and
    /// again, and again.
    ///
    /// # Errors
    /// [`BusError`] when the server does not answer.
    pub async fn fill(&self) -> Result<bool, BusError> {
        let stream = self.open().await?;
        let listing = stream.info_with_subjects(self.subject("kept.*")).await.map_err(|error| self.failed(&error))?;
        let there: Vec<String> =
            listing.map_ok(|(subject, _)| subject).try_collect().await.map_err(|error| self.failed(&error))?;
        if there.len() as u64 == self.messages {
            return Ok(true);
        }
        // It was of another size, or given up.
        self.release().await?;
        for subject in ["kept", "spare"].into_iter().flat_map(|half| (0..self.messages).map(move |n| format!("{half}.{n}"))) {
            let padding = Bytes::from(vec![0; PADDING as usize]);
            let stored = async { self.bus.jetstream().publish(self.subject(subject), padding).await?.await };
            match stored.await {
                Ok(_) => {}
                Err(error) if is_full(&error) => {
                    self.release().await?;
                    return Ok(false);
                }
                Err(error) => return Err(self.failed(&error)),
            }
        }
        self.purge("spare.*").await?;
        Ok(true)
    }

    /// Gives it up.
    ///
    /// # Errors
    /// [`BusError`] when the server does not answer.
    pub async fn release(&self) -> Result<(), BusError> {
        self.purge(">").await
    }

    async fn purge(&self, what: &str) -> Result<(), BusError> {
        let stream = self.open().await?;
        retried(&self.bus, &format!("purging {}", self.name()), || {
            let purge = stream.purge().filter(self.subject(what));
            async move { purge.await }
        })
        .await?;
        Ok(())
    }

    /// Whether the server takes what is written now.
    ///
    /// # Errors
    /// [`BusError`] when it does not answer, or refuses for another reason.
    pub async fn has_room(&self) -> Result<bool, BusError> {
        let stored = async { self.bus.publishing().publish(self.subject("probe"), Bytes::new()).await?.await };
        match stored.await {
            Ok(_) => Ok(true),
            Err(error) if is_full(&error) => Ok(false),
            Err(error) => Err(self.failed(&error)),
        }
    }

    /// Bytes that this account stores on the server.
    ///
    /// # Errors
    /// [`BusError`] when it does not answer.
    pub async fn used(&self) -> Result<u64, BusError> {
        let action = "reading how much is stored";
        Ok(retried(&self.bus, action, || self.bus.jetstream().query_account()).await?.storage)
    }

    /// Closes the bucket of objects to uploads, should there be one, and the streams of inputs and of requests. What they hold stays.
    ///
    /// # Errors
    /// [`BusError`] when the server does not answer.
    pub async fn close_uploads(&self) -> Result<(), BusError> {
        let held = |stream: &stream::State| i64::try_from(stream.bytes).unwrap_or(i64::MAX).saturating_add(MARGIN);
        // Inputs first: of a limit the server keeps as much free as is not used yet. Where it has not even that, they find no room.
        self.limit(self.bus.prefix().stream(StreamKind::Input), held).await?;
        self.limit(self.bus.prefix().stream(StreamKind::Requests), held).await?;
        self.must_limit(self.bus.prefix().objects_stream(), held).await
    }

    /// Opens it again, to a limit of its own: 0 is none.
    ///
    /// # Errors
    /// [`BusError`] when the server does not answer.
    pub async fn open_objects(&self, limit: u64) -> Result<(), BusError> {
        self.must_limit(self.bus.prefix().objects_stream(), |stream| opened(limit, stream)).await
    }

    /// Opens the stream of inputs, to a limit of its own. A server that has less than that in all does not promise it, and its own
    /// limit has to do.
    ///
    /// # Errors
    /// [`BusError`] when the server does not answer.
    pub async fn open_inputs(&self, limit: u64) -> Result<(), BusError> {
        let name = self.bus.prefix().stream(StreamKind::Input);
        if !self.limit(name.clone(), |stream| opened(limit, stream)).await? {
            tracing::debug!(limit, "inputs are bounded by the server's own limit");
            self.limit(name, |_| -1).await?;
        }
        Ok(())
    }

    /// Opens the stream of requests: it has no limit of its own.
    ///
    /// # Errors
    /// [`BusError`] when the server does not answer.
    pub async fn open_requests(&self) -> Result<(), BusError> {
        self.limit(self.bus.prefix().stream(StreamKind::Requests), |_| -1).await.map(drop)
    }

    /// Limits a stream, should it be there; false when the server has less than that in all.
    async fn limit(&self, name: String, limit: impl Fn(&stream::State) -> i64) -> Result<bool, BusError> {
        let Ok(found) = self.bus.jetstream().get_stream(&name).await else { return Ok(true) };
        let info = found.cached_info();
        let max_bytes = limit(&info.state);
        if info.config.max_bytes == max_bytes {
            return Ok(true);
        }
        let config = json!(stream::Config { max_bytes, ..info.config.clone() });
        let (action, what) = (format!("limiting {name} to {max_bytes} bytes"), format!("STREAM.UPDATE.{name}"));
        match retried(&self.bus, &action, || self.bus.ask(&what, &config)).await? {
            Ok(_) => Ok(true),
            Err(refusal) if refusal.is(ErrorCode::STORAGE_RESOURCES_EXCEEDED) => Ok(false),
            Err(refusal) => Err(BusError::transient(action, refusal.text)),
        }
    }

    /// The same, where less than that is an error.
    async fn must_limit(&self, name: String, limit: impl Fn(&stream::State) -> i64) -> Result<(), BusError> {
        match self.limit(name.clone(), limit).await? {
            true => Ok(()),
            false => Err(BusError::transient(format!("limiting {name}"), "the server has less room than that")),
        }
    }

    fn name(&self) -> String {
        self.bus.prefix().reserve_stream()
    }

    fn subject(&self, what: impl Display) -> String {
        format!("{}.reserve.{what}", self.bus.prefix())
    }

    fn failed(&self, error: &(dyn Error + 'static)) -> BusError {
        BusError::met(format!("writing to {}", self.name()), error)
    }

    async fn open(&self) -> Result<stream::Stream, BusError> {
        let config = stream::Config {
            name: self.name(),
            subjects: vec![self.subject(">")],
            description: Some("room that the coordinators keep for what they must write when JetStream is full".to_owned()),
            max_messages_per_subject: 1,
            discard: DiscardPolicy::New,
            num_replicas: self.bus.config().replicas,
            allow_direct: true,
            storage: StorageType::File,
            ..stream::Config::default()
        };
        let action = format!("opening {}", self.name());
        retried(&self.bus, &action, || self.bus.making().get_or_create_stream(config.clone())).await
    }
}
