//! Keeping the bucket in order: what it holds, how old that is by the server's clock, what uploads left that died, and settings
//! by which it would delete by itself.

use std::collections::HashSet;
use std::time::Duration;

use async_nats::datetime::DateTime;
use async_nats::jetstream::ErrorCode;
use async_nats::jetstream::stream::{self, DirectGetErrorKind, DiscardPolicy};
use futures::TryStreamExt;
use object_store::path::Path;
use object_store::{Error, Result};

use super::{Described, JetStreamStore, encode_name, generic};
use crate::bus::BusError;
use crate::streams::retried;

impl JetStreamStore {
    /// The settings, if any, by which the bucket would delete what it holds.
    pub(in crate::objects) fn evicts(&self) -> Option<String> {
        evicting(&self.stream.cached_info().config)
    }

    /// Resets such settings.
    pub(in crate::objects) async fn stop_evicting(&self) -> std::result::Result<(), BusError> {
        let Some(settings) = self.evicts() else { return Ok(()) };
        tracing::error!(bucket = self.name, settings, "the object bucket deleted by itself; this coordinator resets that");
        let config = stream::Config {
            discard: DiscardPolicy::New,
            max_age: Duration::ZERO,
            max_messages_per_subject: -1,
            ..self.stream.cached_info().config.clone()
        };
        retried(&self.bus, &format!("resetting object bucket {}", self.name), || self.bus.making().update_stream(&config))
            .await?;
        Ok(())
    }

    /// Makes an object as new as one written now; false when it is not there, or has just been changed.
    ///
    /// # Errors
    /// When the server does not answer.
    pub(in crate::objects) async fn renew(&self, location: &Path) -> Result<bool> {
        let Described { mut info, sequence, .. } = match self.described(location).await {
            Err(Error::NotFound { .. }) => return Ok(false),
            other => other?,
        };
        info.modified = Some(chrono::Utc::now());
        match self.describe(location, &info, Some(sequence)).await {
            Err(error) if was_changed(&error) => Ok(false),
            other => other.map(|()| true),
        }
    }

    /// Deletes an object unless it was written or renewed since.
    ///
    /// # Errors
    /// When the server does not answer, or there is none.
    pub(in crate::objects) async fn delete_written_before(&self, location: &Path, before: DateTime) -> Result<bool> {
        let described = self.described(location).await?;
        if described.time >= before {
            return Ok(false);
        }
        self.purge_described(location, &described).await
    }

    /// Removes chunks that belong to no object, and marks of objects that other clients deleted, if the newest was stored before then;
    /// at most `limit`.
    ///
    /// # Errors
    /// When the server does not answer.
    pub(in crate::objects) async fn sweep_uploads(&self, before: DateTime, limit: usize) -> Result<u64> {
        // Chunks first: an upload that ends meanwhile has its description by the time they are listed.
        let uploads = self.uploads().await?;
        let (mut known, mut swept) = (HashSet::new(), 0);
        for described in self.descriptions().await? {
            if !described.info.deleted {
                known.insert(described.info.nuid);
            } else if described.time < before && swept < limit as u64 {
                let subject = format!("$O.{}.M.{}", self.name, encode_name(&described.info.name));
                let purge = self.stream.purge().filter(subject).sequence(described.sequence + 1);
                purge.await.map_err(generic)?;
                swept += 1;
            }
        }
        for id in uploads.into_iter().filter(|id| !known.contains(id)) {
            if swept >= limit as u64 {
                break;
            }
            let newest = match self.stream.direct_get_last_for_subject(self.chunk_subject(&id)).await {
                Ok(chunk) => chunk,
                Err(error) if error.kind() == DirectGetErrorKind::NotFound => continue,
                Err(error) => return Err(generic(error)),
            };
            if newest.time < before {
                tracing::debug!(id, "chunks of an upload that died removed");
                self.drop_chunks(&id).await?;
                swept += 1;
            }
        }
        Ok(swept)
    }

    /// The ids under which there are chunks.
    async fn uploads(&self) -> Result<Vec<String>> {
        let prefix = self.chunk_subject("");
        let mut listing = self.stream.info_with_subjects(format!("{prefix}>")).await.map_err(generic)?;
        let mut found = Vec::new();
        while let Some((subject, _)) = listing.try_next().await.map_err(generic)? {
            found.extend(subject.strip_prefix(&prefix).map(str::to_owned));
        }
        Ok(found)
    }

    /// How much the bucket holds, and of what limit, for people.
    pub(in crate::objects) async fn room(&self) -> String {
        let Ok(stream) = self.bus.jetstream().get_stream(self.bus.prefix().objects_stream()).await else { return String::new() };
        let info = stream.cached_info();
        let bytes = info.state.bytes;
        match info.config.max_bytes {
            limit if limit > 0 => format!(": it holds {bytes} of at most {limit} bytes"),
            _ => format!(": it holds {bytes} bytes, and NATS as a whole has reached its limit, max_file_store or the account's"),
        }
    }

    /// The server's time.
    ///
    /// # Errors
    /// When it does not answer.
    pub(in crate::objects) async fn now(&self) -> Result<DateTime> {
        self.bus.server_time(&self.bus.prefix().objects_stream()).await.map_err(generic)
    }

    /// All descriptions, those of objects that another client deleted included.
    pub(super) async fn descriptions(&self) -> Result<Vec<Described>> {
        let (stream, filter) = (self.bus.prefix().objects_stream(), format!("$O.{}.M.>", self.name));
        let (mut found, mut next) = (Vec::new(), 1);
        loop {
            let batch = self.bus.read(&stream, &filter, next).await.map_err(generic)?;
            let Some(last) = batch.last() else { break };
            next = last.sequence + 1;
            for message in batch {
                match serde_json::from_slice(&message.payload) {
                    Ok(info) => found.push(Described { info, sequence: message.sequence, time: message.time }),
                    Err(error) => tracing::warn!(subject = %message.subject, %error, "not an object's description"),
                }
            }
        }
        Ok(found)
    }
}

fn evicting(config: &stream::Config) -> Option<String> {
    let stream::Config { max_age, max_messages_per_subject, max_bytes, max_messages, .. } = config;
    let mut settings = Vec::new();
    if !max_age.is_zero() {
        settings.push(format!("max_age {max_age:?}"));
    }
    if *max_messages_per_subject > 0 {
        settings.push(format!("max_msgs_per_subject {max_messages_per_subject}"));
    }
    if config.discard == DiscardPolicy::Old && (*max_bytes > 0 || *max_messages > 0) {
        settings.push(format!("discard old beyond max_bytes {max_bytes}, max_msgs {max_messages}"));
    }
    (!settings.is_empty()).then(|| settings.join(", "))
}

/// Whether a description was not replaced because it is another by now.
fn was_changed(error: &Error) -> bool {
    let code = crate::bus::jetstream_error(error);
    code == Some(ErrorCode::STREAM_WRONG_LAST_SEQUENCE) || code == Some(crate::buckets::WRONG_LAST_SEQUENCE_REPLICATED)
}
