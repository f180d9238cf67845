//! The settings of every stream, consumer and bucket, and bringing the server to them.

use std::collections::HashMap;
use std::time::Duration;

use async_nats::jetstream::consumer::{AckPolicy, pull};
use async_nats::jetstream::stream;
use futures::TryStreamExt;

use crate::bus::{Bus, BusError, chain};
pub use crate::clock::Stored;
use crate::subjects::{AssignmentKind, BucketKind, ConsumerKind, StreamKind};

/// How long a message id is remembered: longer than any publish is retried, a restart between attempts included.
const DUPLICATE_WINDOW: Duration = Duration::from_secs(120);
/// How long events can be watched.
const EVENTS_AGE: Duration = Duration::from_secs(7 * 24 * 3600);
/// How long challenges and cancellations outlive their job when nobody purges them.
const BROADCAST_AGE: Duration = Duration::from_secs(7 * 24 * 3600);
/// How long chunks of an input outlive their pushing when nobody purges them, which is done when their job has its input or ends.
const INPUT_AGE: Duration = Duration::from_secs(7 * 24 * 3600);
/// Chunks of all inputs together, so that very small ones do not make lists of them long.
const INPUT_MESSAGES: i64 = 1 << 18;
/// Messages out at all workers together: no limit. A job's challenge needs the contributions of all its segments (up to
/// 65,535), each held unacknowledged until then, and jobs run beside each other: under any limit some job never gets one.
const MAX_ACK_PENDING: i64 = -1;
/// Longest pause between two attempts of a call: what it adds to the time that an election takes.
const MAX_PAUSE: Duration = Duration::from_millis(500);
/// Pull requests waiting on one consumer: one per worker.
const MAX_WAITING: i64 = 8_192;

impl Bus {
    /// Brings all streams, consumers and buckets to this process's settings. For the coordinator, which owns them; everybody
    /// else calls [`Bus::prepare_missing`].
    ///
    /// # Errors
    /// [`BusError`] with the name of what could not be created.
    pub async fn prepare(&self) -> Result<(), BusError> {
        for &kind in StreamKind::ALL {
            self.prepare_stream(kind).await?;
        }
        for &kind in ConsumerKind::ALL {
            self.prepare_consumer(kind).await?;
        }
        for &kind in BucketKind::ALL {
            self.prepare_bucket(kind).await?;
        }
        Ok(())
    }

    /// Creates the streams, consumers and buckets that are missing, and leaves those that are there as they are: two
    /// processes with different settings must not take turns in changing them.
    ///
    /// # Errors
    /// [`BusError`] with the name of what could not be created.
    pub async fn prepare_missing(&self) -> Result<(), BusError> {
        for &kind in StreamKind::ALL {
            self.prepare_missing_stream(kind).await?;
        }
        for &kind in ConsumerKind::ALL {
            self.prepare_missing_consumer(kind).await?;
        }
        for &kind in BucketKind::ALL {
            self.prepare_missing_bucket(kind).await?;
        }
        self.read_times().await;
        Ok(())
    }

    /// Creates one stream unless it is there.
    ///
    /// # Errors
    /// [`BusError`] with its name.
    pub async fn prepare_missing_stream(&self, kind: StreamKind) -> Result<(), BusError> {
        if self.has_stream(&self.prefix().stream(kind)).await? { Ok(()) } else { self.prepare_stream(kind).await }
    }

    /// Creates one bucket unless it is there.
    ///
    /// # Errors
    /// [`BusError`] with its name.
    pub async fn prepare_missing_bucket(&self, kind: BucketKind) -> Result<(), BusError> {
        if self.has_stream(&self.prefix().bucket_stream(kind)).await? { Ok(()) } else { self.prepare_bucket(kind).await }
    }

    /// Creates one durable consumer unless it is there.
    ///
    /// # Errors
    /// [`BusError`] with its name.
    pub async fn prepare_missing_consumer(&self, kind: ConsumerKind) -> Result<(), BusError> {
        if self.has_consumer(kind).await? { Ok(()) } else { self.prepare_consumer(kind).await }
    }

    /// Reads `ack_wait` and lease as the server has them, which is as the coordinator set them: whoever is to act before
    /// they end must not go by settings of its own. What cannot be read stays as it was.
    pub async fn read_times(&self) {
        let kind = ConsumerKind::Assign(AssignmentKind::Segment);
        let stream = self.prefix().stream(kind.stream());
        match self.jetstream().get_consumer_from_stream::<pull::Config, _, _>(kind.durable_name(), stream).await {
            Ok(consumer) => self.set_ack_wait(consumer.cached_info().config.ack_wait),
            Err(error) => tracing::debug!(%error, "ack_wait not read"),
        }
        let bucket = self.prefix().bucket_stream(BucketKind::Elections);
        match self.jetstream().get_stream(bucket).await {
            Ok(stream) => self.set_lease(stream.cached_info().config.max_age),
            Err(error) => tracing::debug!(%error, "lease not read"),
        }
    }

    /// Brings one stream to its settings.
    ///
    /// # Errors
    /// [`BusError`] with its name.
    pub async fn prepare_stream(&self, kind: StreamKind) -> Result<(), BusError> {
        let config = self.stream_config(kind);
        if self.stream_is_set(&config).await? {
            return Ok(());
        }
        let name = config.name.clone();
        retried(self, &format!("creating stream {name}"), || self.making().create_or_update_stream(config.clone())).await?;
        Ok(())
    }

    /// Brings one bucket to its settings.
    ///
    /// # Errors
    /// [`BusError`] with its name.
    pub async fn prepare_bucket(&self, kind: BucketKind) -> Result<(), BusError> {
        let config = self.bucket_stream(kind);
        if self.stream_is_set(&config).await? {
            return Ok(());
        }
        let action = format!("creating bucket {}", self.prefix().bucket(kind));
        retried(self, &action, || self.making().create_or_update_stream(config.clone())).await?;
        Ok(())
    }

    /// Brings one durable consumer to its settings.
    ///
    /// # Errors
    /// [`BusError`] with its name.
    pub async fn prepare_consumer(&self, kind: ConsumerKind) -> Result<(), BusError> {
        if self.consumer_is_set(kind).await? {
            return Ok(());
        }
        let stream = self.prefix().stream(kind.stream());
        let config = self.consumer_config(kind);
        retried(self, &format!("creating consumer {} of {stream}", kind.durable_name()), || {
            self.making().create_consumer_on_stream(config.clone(), stream.clone())
        })
        .await?;
        Ok(())
    }

    pub(crate) fn stream_config(&self, kind: StreamKind) -> stream::Config {
        let (retention, max_age, per_subject) = match kind {
            StreamKind::Requests | StreamKind::Assign | StreamKind::Report => {
                (stream::RetentionPolicy::WorkQueue, Duration::ZERO, -1)
            }
            // Only the last per job: whoever comes late reads it first, then follows.
            StreamKind::Broadcast => (stream::RetentionPolicy::Limits, BROADCAST_AGE, 1),
            StreamKind::Events => (stream::RetentionPolicy::Limits, EVENTS_AGE, -1),
            // A coordinator that dies may set the same aside twice.
            StreamKind::Dead => (stream::RetentionPolicy::Limits, self.config().dead_age, 1),
            // The first of each number counts: a chunk that is pushed twice is one, however late the second comes.
            StreamKind::Input => (stream::RetentionPolicy::Limits, INPUT_AGE, 1),
        };
        // Where something must give way it is the oldest of what is kept for people; nowhere else.
        let (max_messages, discard) = match kind {
            StreamKind::Dead => (self.config().dead_entries, stream::DiscardPolicy::Old),
            // How many bytes it may hold is set elsewhere: [`crate::full`].
            StreamKind::Input => (INPUT_MESSAGES, stream::DiscardPolicy::New),
            _ => (-1, stream::DiscardPolicy::New),
        };
        stream::Config {
            name: self.prefix().stream(kind),
            subjects: self.prefix().stream_subjects(kind),
            retention,
            max_age,
            max_messages_per_subject: per_subject,
            max_messages,
            discard,
            discard_new_per_subject: kind == StreamKind::Input,
            num_replicas: self.config().replicas,
            duplicate_window: DUPLICATE_WINDOW,
            allow_direct: true,
            storage: stream::StorageType::File,
            ..stream::Config::default()
        }
    }

    pub(crate) fn consumer_config(&self, kind: ConsumerKind) -> pull::Config {
        pull::Config {
            durable_name: Some(kind.durable_name().to_owned()),
            filter_subject: self.prefix().consumer_filter(kind),
            ack_policy: AckPolicy::Explicit,
            ack_wait: match kind {
                ConsumerKind::Assign(_) => self.config().ack_wait,
                // What a leader that is gone had in hand is there for the next when its lease has expired.
                ConsumerKind::Requests | ConsumerKind::Reports => self.config().ack_wait.min(self.config().leader_lease),
            },
            // Past max_deliver a message stays in a work queue for ever and nobody hears of it: we count attempts.
            max_deliver: -1,
            max_ack_pending: MAX_ACK_PENDING,
            max_waiting: MAX_WAITING,
            ..pull::Config::default()
        }
    }

    /// The stream under a key-value bucket, as async-nats makes it but for `allow_rollup`: by a message with that header, under a key that
    /// it may write, a worker would delete all others.
    pub(crate) fn bucket_stream(&self, kind: BucketKind) -> stream::Config {
        stream::Config {
            name: self.prefix().bucket_stream(kind),
            subjects: vec![format!("$KV.{}.>", self.prefix().bucket(kind))],
            max_messages_per_subject: 1,
            // On the bucket, never per key: `update` silently drops a key's own TTL.
            max_age: match kind {
                BucketKind::Workers | BucketKind::Elections => self.config().lease,
                BucketKind::Leader => self.config().leader_lease,
                BucketKind::Jobs | BucketKind::Segments | BucketKind::Programs | BucketKind::Queue | BucketKind::Cluster => {
                    Duration::ZERO
                }
            },
            num_replicas: self.config().replicas,
            storage: stream::StorageType::File,
            discard: stream::DiscardPolicy::New,
            deny_delete: true,
            allow_direct: true,
            ..stream::Config::default()
        }
    }

    /// What waits in a consumer's queue and what is out at workers.
    ///
    /// # Errors
    /// [`BusError`] when the server does not answer.
    pub async fn queue_depth(&self, kind: ConsumerKind) -> Result<QueueDepth, BusError> {
        let stream = self.prefix().stream(kind.stream());
        let action = format!("reading consumer {} of {stream}", kind.durable_name());
        let consumer = self
            .jetstream()
            .get_consumer_from_stream::<pull::Config, _, _>(kind.durable_name(), stream)
            .await
            .map_err(|error| BusError::transient(&action, chain(&error)))?;
        let info = consumer.cached_info();
        Ok(QueueDepth {
            pending: info.num_pending,
            in_flight: u64::try_from(info.num_ack_pending).unwrap_or(0),
            redelivered: u64::try_from(info.num_redelivered).unwrap_or(0),
            receivers: u64::try_from(info.num_waiting).unwrap_or(0),
            deliveries: info.delivered.consumer_sequence,
        })
    }

    /// Bytes in JetStream's files of this account, and its limit, if it has one of its own.
    ///
    /// # Errors
    /// [`BusError`] when the server does not answer.
    pub async fn storage(&self) -> Result<(u64, Option<u64>), BusError> {
        let account = self.jetstream().query_account().await;
        let account = account.map_err(|error| BusError::transient("reading the account", chain(&error)))?;
        // -1 is none.
        Ok((account.storage, account.limits.max_storage.and_then(|limit| u64::try_from(limit).ok()).filter(|limit| *limit > 0)))
    }

    /// The sequences of the oldest message that a stream has and of the newest that it ever had: of a queue of work, whatever is older
    /// than the first was taken.
    ///
    /// # Errors
    /// [`BusError`] when the server does not answer.
    pub async fn sequences(&self, kind: StreamKind) -> Result<(u64, u64), BusError> {
        let name = self.prefix().stream(kind);
        let stream = retried(self, &format!("reading stream {name}"), || self.jetstream().get_stream(&name)).await?;
        let state = &stream.cached_info().state;
        let first = if state.messages == 0 { state.last_sequence + 1 } else { state.first_sequence };
        Ok((first, state.last_sequence))
    }

    /// The subjects of a stream that match a filter, with how many messages each has: what its leader has, not a copy that may lag
    /// behind.
    ///
    /// # Errors
    /// [`BusError`] when the server does not answer.
    pub async fn subjects(&self, stream: &str, filter: &str) -> Result<HashMap<String, usize>, BusError> {
        let opened = self.jetstream().get_stream_no_info(stream).await;
        let opened = opened.map_err(|error| BusError::transient(format!("opening stream {stream}"), chain(&error)))?;
        retried(self, &format!("listing {filter} in {stream}"), || async {
            opened.info_with_subjects(filter).await?.try_collect().await
        })
        .await
    }

    /// Removes all messages of a stream that match a subject filter; returns how many.
    ///
    /// # Errors
    /// [`BusError`] when the server does not answer.
    pub async fn purge(&self, kind: StreamKind, filter: &str) -> Result<u64, BusError> {
        self.purge_stream(&self.prefix().stream(kind), filter).await
    }

    /// The same for any stream, a bucket's for instance.
    ///
    /// # Errors
    /// As [`Bus::purge`].
    pub async fn purge_stream(&self, name: &str, filter: &str) -> Result<u64, BusError> {
        let stream = retried(self, &format!("opening stream {name}"), || self.jetstream().get_stream_no_info(name)).await?;
        let purged = retried(self, &format!("purging {filter} from {name}"), || {
            let purge = stream.purge().filter(filter);
            async move { purge.await }
        })
        .await?;
        Ok(purged.purged)
    }
}

/// How much work a consumer has.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct QueueDepth {
    /// Not delivered yet.
    pub pending: u64,
    /// Delivered, not acknowledged.
    pub in_flight: u64,
    /// Of those, delivered more than once.
    pub redelivered: u64,
    /// Requests for messages that wait at the server.
    pub receivers: u64,
    /// Deliveries since the consumer was made, repeated ones included.
    pub deliveries: u64,
}

/// Tries until it works or [`crate::bus::BusConfig::retry`] has passed: right after an election of JetStream's leader
/// administrative calls fail with codes that mean nothing a second later.
pub(crate) async fn retried<T, E, F>(bus: &Bus, action: &str, mut attempt: impl FnMut() -> F) -> Result<T, BusError>
where
    E: std::error::Error + 'static,
    F: Future<Output = Result<T, E>>,
{
    let deadline = tokio::time::Instant::now() + bus.config().retry;
    let mut pause = Duration::from_millis(100);
    let mut denied = false;
    loop {
        let asked = tokio::time::Instant::now();
        match attempt().await {
            Ok(value) => return Ok(value),
            Err(error) => {
                let reason = chain(&error);
                // Once it may have been another's call that was denied.
                let denial = bus.denied_since(asked, "");
                if let Some(denial) = denial.as_ref().filter(|_| denied) {
                    return Err(BusError::permanent(action, denial));
                }
                denied = denial.is_some();
                if tokio::time::Instant::now() + pause >= deadline {
                    return Err(BusError::met(action, &error));
                }
                // A setting that contradicts what is there will not change by waiting.
                if let Some(code) = crate::bus::jetstream_error(&error)
                    && is_permanent(code)
                {
                    return Err(BusError::permanent(action, reason));
                }
                tracing::debug!(action, reason, "trying again");
                tokio::time::sleep(pause).await;
                pause = (pause * 2).min(MAX_PAUSE);
            }
        }
    }
}

fn is_permanent(code: async_nats::jetstream::ErrorCode) -> bool {
    use async_nats::jetstream::ErrorCode;
    [
        ErrorCode::STREAM_SUBJECT_OVERLAP,
        ErrorCode::STREAM_INVALID_CONFIG,
        ErrorCode::STREAM_REPLICAS_NOT_SUPPORTED,
        ErrorCode::STORAGE_RESOURCES_EXCEEDED,
        ErrorCode::MAXIMUM_STREAMS_LIMIT,
    ]
    .contains(&code)
}
