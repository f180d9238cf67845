//! Key-value buckets of messages, changed by compare-and-swap.

use std::marker::PhantomData;
use std::pin::pin;
use std::time::Duration;

use async_nats::jetstream::{ErrorCode, kv};
use bytes::Bytes;
use futures::{StreamExt, stream};
use thiserror::Error;
use tokio::time::Instant;

use crate::bus::{Bus, BusError, jetstream_error};
use crate::full::stays_full;
use crate::messages::{CodecError, JobRecord, Message, ProgramEntry, QueueOrder, WorkerPresence, decode, encode};
use crate::streams::retried;
use crate::subjects::BucketKind;

/// "Wrong last sequence" as a replicated stream says it; async-nats does not know the code.
pub(crate) const WRONG_LAST_SEQUENCE_REPLICATED: ErrorCode = ErrorCode(10164);

/// The header that marks a deletion.
const OPERATION: &str = "KV-Operation";
/// Entries read at once.
const CONCURRENCY: usize = 32;

/// Why an entry could not be read or changed.
#[derive(Debug, Error)]
pub enum BucketError {
    /// Someone else changed the entry first: read it again.
    #[error("{key} in {bucket} was changed by someone else")]
    Conflict {
        /// The bucket.
        bucket: String,
        /// The key.
        key: String,
    },
    /// What is stored, or was to be, is not the message it should be.
    #[error(transparent)]
    Codec(#[from] CodecError),
    /// The server does not answer, or refuses.
    #[error(transparent)]
    Bus(#[from] BusError),
}

impl BucketError {
    /// Whether someone else was first.
    pub const fn is_conflict(&self) -> bool {
        matches!(self, Self::Conflict { .. })
    }
}

/// A value with the revision it was read or written at.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Entry<M> {
    /// The value.
    pub value: M,
    /// Grows with every change in the bucket.
    pub revision: u64,
}

/// A bucket whose values are all messages of one kind.
#[derive(Debug, Clone)]
pub struct Bucket<M> {
    bus: Bus,
    store: kv::Store,
    message: PhantomData<fn() -> M>,
}

impl Bus {
    /// The job records, keyed by job id.
    ///
    /// # Errors
    /// [`BusError`] when the bucket is not there.
    pub async fn jobs(&self) -> Result<Bucket<JobRecord>, BusError> {
        self.bucket(BucketKind::Jobs).await
    }

    /// The workers, keyed by worker id; those that are gone have expired.
    ///
    /// # Errors
    /// [`BusError`] when the bucket is not there.
    pub async fn workers(&self) -> Result<Bucket<WorkerPresence>, BusError> {
        self.bucket(BucketKind::Workers).await
    }

    /// The programs' keys, keyed by program id.
    ///
    /// # Errors
    /// [`BusError`] when the bucket is not there.
    pub async fn programs(&self) -> Result<Bucket<ProgramEntry>, BusError> {
        self.bucket(BucketKind::Programs).await
    }

    /// Which jobs wait, in order, as the leading coordinator last wrote it.
    ///
    /// # Errors
    /// [`BucketError`], never a conflict.
    pub async fn queue_order(&self) -> Result<QueueOrder, BucketError> {
        let entry = self.bucket::<QueueOrder>(BucketKind::Queue).await?.get(QueueOrder::KEY).await?;
        Ok(entry.map(|entry| entry.value).unwrap_or_default())
    }

    /// Any bucket; prefer the named ones.
    ///
    /// # Errors
    /// [`BusError`] when the bucket is not there.
    pub async fn bucket<M: Message>(&self, kind: BucketKind) -> Result<Bucket<M>, BusError> {
        let name = self.prefix().bucket(kind);
        let store = retried(self, &format!("opening bucket {name}"), || self.publishing().get_key_value(&name)).await?;
        Ok(Bucket { bus: self.clone(), store, message: PhantomData })
    }
}

impl<M: Message> Bucket<M> {
    /// The entry under `key`, if there is one.
    ///
    /// # Errors
    /// [`BucketError`], never a conflict.
    pub async fn get(&self, key: impl ToString) -> Result<Option<Entry<M>>, BucketError> {
        let key = key.to_string();
        match self.read(&key).await? {
            Some(entry) if entry.operation == kv::Operation::Put => {
                Ok(Some(Entry { value: decode(&entry.value)?, revision: entry.revision }))
            }
            _ => Ok(None),
        }
    }

    /// Creates the entry; returns its revision.
    ///
    /// # Errors
    /// [`BucketError::Conflict`] when there is one.
    pub async fn create(&self, key: impl ToString, value: &M) -> Result<u64, BucketError> {
        let key = key.to_string();
        let revision = match self.read(&key).await? {
            None => 0,
            Some(entry) if entry.operation == kv::Operation::Put => return Err(self.conflict(&key)),
            // A marker of deletion: the entry is created after it.
            Some(entry) => entry.revision,
        };
        self.swap(&key, encode(value)?, revision).await
    }

    /// Replaces the entry that has this revision; returns the new revision.
    ///
    /// # Errors
    /// [`BucketError::Conflict`] when it has another, or expired.
    pub async fn update(&self, key: impl ToString, value: &M, revision: u64) -> Result<u64, BucketError> {
        self.swap(&key.to_string(), encode(value)?, revision).await
    }

    /// Writes the entry, whatever it was; returns its revision.
    ///
    /// # Errors
    /// [`BucketError`], never a conflict.
    pub async fn put(&self, key: impl ToString, value: &M) -> Result<u64, BucketError> {
        let (key, bytes) = (key.to_string(), encode(value)?);
        let action = format!("writing {key} in {}", self.store.name);
        Ok(retried(&self.bus, &action, || self.store.put(&key, bytes.clone())).await?)
    }

    /// Removes the entry; nothing happens when there is none.
    ///
    /// # Errors
    /// [`BucketError`], never a conflict.
    pub async fn delete(&self, key: impl ToString) -> Result<(), BucketError> {
        let key = key.to_string();
        let action = format!("deleting {key} in {}", self.store.name);
        // Not `purge`: there is no history to purge, and it wants the header that these streams do not take.
        Ok(retried(&self.bus, &action, || self.store.delete(&key)).await?)
    }

    /// Removes the entry if it still has this revision, and leaves no marker; whether it did.
    ///
    /// # Errors
    /// [`BucketError`], never a conflict.
    pub async fn forget(&self, key: impl ToString, revision: u64) -> Result<bool, BucketError> {
        let key = key.to_string();
        let action = format!("removing {key} from {}", self.store.name);
        let subject = format!("$KV.{}.{key}", self.store.name);
        let purged = retried(&self.bus, &action, || {
            let purge = self.store.stream.purge().filter(&subject).sequence(revision + 1);
            async move { purge.await }
        });
        Ok(purged.await?.purged > 0)
    }

    /// All keys, by the leader's word; one whose entry was deleted may be among them until the mark of that has expired.
    ///
    /// # Errors
    /// [`BucketError`], never a conflict.
    pub async fn keys(&self) -> Result<Vec<String>, BucketError> {
        let subjects = self.bus.subjects(&self.store.stream_name, &format!("{}>", self.store.prefix)).await?;
        Ok(subjects.into_keys().filter_map(|subject| subject.strip_prefix(&self.store.prefix).map(str::to_owned)).collect())
    }

    /// The entry under a key that was just listed: the server that is asked first may not have it yet.
    ///
    /// # Errors
    /// [`BucketError`], never a conflict.
    pub async fn get_listed(&self, key: impl ToString) -> Result<Option<Entry<M>>, BucketError> {
        let key = key.to_string();
        match self.get(&key).await? {
            Some(entry) => Ok(Some(entry)),
            None => self.get_from_leader(&key).await,
        }
    }

    async fn get_from_leader(&self, key: &str) -> Result<Option<Entry<M>>, BucketError> {
        let subject = format!("{}{key}", self.store.prefix);
        match self.bus.read_last(&self.store.stream_name, &subject).await? {
            Some(message) if message.headers.get(OPERATION).is_none() => {
                Ok(Some(Entry { value: decode(&message.payload)?, revision: message.sequence }))
            }
            _ => Ok(None),
        }
    }

    /// All entries that decode; the others are logged, for one bad entry must not hide the rest.
    ///
    /// # Errors
    /// [`BucketError`], never a conflict.
    pub async fn entries(&self) -> Result<Vec<(String, Entry<M>)>, BucketError> {
        let keys = self.keys().await?;
        let read = stream::iter(keys).map(|key| async move { (self.get(&key).await, key) }).buffered(CONCURRENCY);
        let mut read = pin!(read);
        let mut entries = Vec::new();
        while let Some((entry, key)) = read.next().await {
            match entry {
                Ok(Some(entry)) => entries.push((key, entry)),
                Ok(None) => {}
                Err(BucketError::Codec(error)) => tracing::warn!(key, %error, "entry skipped"),
                Err(error) => return Err(error),
            }
        }
        Ok(entries)
    }

    /// The values of all entries that decode, as [`Bucket::entries`].
    ///
    /// # Errors
    /// [`BucketError`], never a conflict.
    pub async fn values(&self) -> Result<Vec<M>, BucketError> {
        Ok(self.entries().await?.into_iter().map(|(_, entry)| entry.value).collect())
    }

    /// How long entries live, as it was when the bucket was opened; none is for ever.
    pub fn max_age(&self) -> Option<Duration> {
        Some(self.store.stream.cached_info().config.max_age).filter(|age| !age.is_zero())
    }

    /// The bucket as async-nats has it, to watch it.
    pub fn store(&self) -> &kv::Store {
        &self.store
    }

    fn conflict(&self, key: &str) -> BucketError {
        BucketError::Conflict { bucket: self.store.name.clone(), key: key.to_owned() }
    }

    async fn read(&self, key: &str) -> Result<Option<kv::Entry>, BucketError> {
        let action = format!("reading {key} in {}", self.store.name);
        Ok(retried(&self.bus, &action, || self.store.entry(key)).await?)
    }

    /// Compare-and-swap that ends in a known state: when the answer is lost, the entry itself tells whether the write
    /// was done.
    async fn swap(&self, key: &str, bytes: Bytes, revision: u64) -> Result<u64, BucketError> {
        let begun = Instant::now();
        let deadline = begun + self.bus.config().retry;
        let mut unsure = false;
        loop {
            let error = match self.store.update(key, bytes.clone(), revision).await {
                Ok(revision) => return Ok(revision),
                Err(error) => error,
            };
            let conflict = error.kind() == kv::UpdateErrorKind::WrongLastRevision
                || jetstream_error(&error) == Some(WRONG_LAST_SEQUENCE_REPLICATED);
            if conflict && !unsure {
                return Err(self.conflict(key));
            }
            if conflict {
                return match self.read(key).await? {
                    Some(entry) if entry.revision > revision && entry.value == bytes => Ok(entry.revision),
                    _ => Err(self.conflict(key)),
                };
            }
            unsure = true;
            if Instant::now() >= deadline || stays_full(&error, begun) {
                let action = format!("changing {key} in {}", self.store.name);
                return Err(BusError::met(action, &error).into());
            }
            tokio::time::sleep(Duration::from_millis(100)).await;
        }
    }
}
