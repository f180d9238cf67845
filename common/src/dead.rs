//! DEAD: what failed for good, kept for people within bounds of age and number.

use futures::{StreamExt, TryStreamExt, stream};

use async_nats::jetstream::stream::LastRawMessageErrorKind;

use crate::bus::{Bus, BusError, chain};
use crate::ids::JobId;
use crate::messages::{CodecError, Dead, DeadLetter, Unreadable, Version, dead_filter, decode, unix_ms};
use crate::pull::Delivery;
use crate::streams::retried;
use crate::subjects::StreamKind;

/// A letter, or the subject of one that does not decode.
pub type Read = Result<DeadLetter, (String, CodecError)>;

/// Letters read at the same time.
const CONCURRENCY: usize = 16;

impl Bus {
    /// All dead letters, newest first; one that does not decode comes as its subject and error, so that it is not overlooked.
    ///
    /// # Errors
    /// [`BusError`] when the server does not answer.
    pub async fn dead_letters(&self) -> Result<Vec<Read>, BusError> {
        self.read_dead(&self.prefix().dead_letters()).await
    }

    /// The dead letters with this id: one, but of a job whose stream was altered by hand.
    ///
    /// # Errors
    /// As [`Bus::dead_letters`].
    pub async fn dead_letter(&self, id: &str) -> Result<Option<DeadLetter>, BusError> {
        let Some(filter) = dead_filter(self.prefix(), id) else { return Ok(None) };
        Ok(self.read_dead(&filter).await?.into_iter().find_map(Result::ok))
    }

    /// Removes a dead letter; whether there was one.
    ///
    /// # Errors
    /// As [`Bus::dead_letters`].
    pub async fn drop_dead_letter(&self, id: &str) -> Result<bool, BusError> {
        let Some(filter) = dead_filter(self.prefix(), id) else { return Ok(false) };
        Ok(self.purge(StreamKind::Dead, &filter).await? > 0)
    }

    /// Removes all dead letters; returns how many.
    ///
    /// # Errors
    /// As [`Bus::dead_letters`].
    pub async fn drop_dead_letters(&self) -> Result<u64, BusError> {
        self.purge(StreamKind::Dead, &self.prefix().dead_letters()).await
    }

    /// Sets a message aside that cannot be read, and removes it from its queue.
    ///
    /// # Errors
    /// [`BusError`] when the server does not answer; the message then comes again.
    pub async fn bury(
        &self,
        delivery: &Delivery,
        stream: StreamKind,
        job: Option<JobId>,
        reason: String,
    ) -> Result<(), BusError> {
        let unreadable = Unreadable {
            subject: delivery.raw_subject().to_owned(),
            stream: stream.to_string(),
            sequence: delivery.sequence(),
            job,
            reason,
            content_type: delivery.content_type().map(str::to_owned),
            bytes: 0,
            payload: Default::default(),
        };
        let dead = Dead::Unreadable(unreadable.with_payload(delivery.payload()));
        self.publish_dead(&DeadLetter { v: Version::default(), at_ms: unix_ms(), dead }).await?;
        delivery.discard().await
    }

    async fn read_dead(&self, filter: &str) -> Result<Vec<Read>, BusError> {
        let name = self.prefix().stream(StreamKind::Dead);
        let action = format!("reading {filter} in {name}");
        let failed = |reason: String| BusError::transient(&action, reason);
        let dead = retried(self, &action, || self.jetstream().get_stream_no_info(name.clone())).await?;
        let mut listing = dead.info_with_subjects(filter).await.map_err(|error| failed(chain(&error)))?;
        let mut subjects = Vec::new();
        while let Some((subject, _)) = listing.try_next().await.map_err(|error| failed(chain(&error)))? {
            subjects.push(subject);
        }
        let mut letters: Vec<(u64, Read)> = stream::iter(subjects)
            .map(|subject| {
                let dead = &dead;
                let failed = &failed;
                async move {
                    // Through the leader: what was just dropped is not to be listed.
                    match dead.get_last_raw_message_by_subject(&subject).await {
                        Ok(message) => Ok(Some((message.sequence, decode(&message.payload).map_err(|error| (subject, error))))),
                        Err(error) if error.kind() == LastRawMessageErrorKind::NoMessageFound => Ok(None),
                        Err(error) => Err(failed(chain(&error))),
                    }
                }
            })
            .buffer_unordered(CONCURRENCY)
            .try_filter_map(|letter| async move { Ok(letter) })
            .try_collect()
            .await?;
        letters.sort_by_key(|(sequence, _)| std::cmp::Reverse(*sequence));
        Ok(letters.into_iter().map(|(_, letter)| letter).collect())
    }
}
