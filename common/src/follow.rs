//! Following BROADCAST and EVENTS: what is there first, then what comes, across restarts.

use std::time::Duration;

use async_nats::jetstream::consumer::{DeliverPolicy, pull};
use async_nats::jetstream::{self};
use futures::StreamExt;
use tokio::time::Instant;

use crate::bus::{Bus, BusError, chain};
use crate::ids::JobId;
use crate::messages::{Cancel, Challenge, CodecError, Event, decode};
use crate::streams::retried;
use crate::subjects::{StreamKind, Subject};

/// Pause before a broken subscription is made anew.
const PAUSE: Duration = Duration::from_millis(250);
/// How often to look whether the stream is still the one that is followed. One that was deleted and made again counts from 1, and
/// the client library goes on from where it was: it would wait for a message that comes much later, without a word.
const LOOK: Duration = Duration::from_secs(5);

/// What all workers of a job must hear.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Broadcast {
    /// Proving may begin.
    Challenge(Challenge),
    /// The job is over.
    Cancel(Cancel),
}

/// A stream's messages in order, each once; made anew after every failure from where it stopped, and from the start when the
/// stream is another one.
struct Follower {
    bus: Bus,
    stream: StreamKind,
    filter: String,
    start: DeliverPolicy,
    messages: Option<pull::Ordered>,
    last: u64,
    /// When the stream was made, by the server's account; none before it was first seen.
    made: Option<String>,
    looked: Instant,
}

impl Follower {
    fn new(bus: Bus, stream: StreamKind, filter: String, start: DeliverPolicy) -> Self {
        Self { bus, stream, filter, start, messages: None, last: 0, made: None, looked: Instant::now() }
    }

    /// The next message. Cancel-safe.
    async fn next(&mut self) -> jetstream::Message {
        loop {
            if self.messages.is_none() || self.looked.elapsed() >= LOOK {
                self.look().await;
            }
            if self.messages.is_none() {
                match self.opening().await {
                    Ok(messages) => self.messages = Some(messages),
                    Err(error) => {
                        tracing::debug!(%error, "following failed; trying again");
                        tokio::time::sleep(PAUSE).await;
                        continue;
                    }
                }
            }
            let Some(messages) = &mut self.messages else {
                continue;
            };
            let Ok(message) = tokio::time::timeout_at(self.looked + LOOK, messages.next()).await else {
                continue;
            };
            match message {
                Some(Ok(message)) => {
                    let sequence = message.info().map_or(0, |info| info.stream_sequence);
                    if sequence > self.last {
                        self.last = sequence;
                        return message;
                    }
                }
                Some(Err(error)) => {
                    tracing::debug!(error = chain(&error), "subscription broke; making it anew");
                    self.messages = None;
                    tokio::time::sleep(PAUSE).await;
                }
                None => {
                    self.messages = None;
                    tokio::time::sleep(PAUSE).await;
                }
            }
        }
    }

    /// Starts over where the stream is not the one that was followed.
    async fn look(&mut self) {
        let made = self.made().await;
        self.looked = Instant::now();
        // While it is away, or the server is, there is nothing to tell.
        let Some(made) = made else { return };
        if self.made.as_ref().is_some_and(|known| *known != made) {
            tracing::info!(
                stream = self.bus.prefix().stream(self.stream),
                "the stream is another one: following it from its start"
            );
            self.messages = None;
            self.last = 0;
        }
        self.made = Some(made);
    }

    /// Borrows nothing while it waits, as [`Follower::opening`].
    fn made(&self) -> impl Future<Output = Option<String>> + Send + use<> {
        let (bus, name) = (self.bus.clone(), self.bus.prefix().stream(self.stream));
        async move { Some(bus.jetstream().get_stream(name).await.ok()?.cached_info().created.to_string()) }
    }

    /// Makes the subscription. Borrows nothing while it waits: a subscription is not `Sync`, and a future that held it by
    /// reference could not be spawned.
    fn opening(&self) -> impl Future<Output = Result<pull::Ordered, BusError>> + Send + use<> {
        let bus = self.bus.clone();
        let name = bus.prefix().stream(self.stream);
        let action = format!("following {} in {name}", self.filter);
        let deliver_policy =
            if self.last == 0 { self.start } else { DeliverPolicy::ByStartSequence { start_sequence: self.last + 1 } };
        let config =
            pull::OrderedConfig { filter_subject: self.filter.clone(), deliver_policy, ..pull::OrderedConfig::default() };
        async move {
            let consumer =
                retried(&bus, &action, || bus.jetstream().create_consumer_on_stream(config.clone(), name.clone())).await?;
            consumer.messages().await.map_err(|error| BusError::transient(&action, chain(&error)))
        }
    }
}

/// All jobs' broadcasts.
pub struct Broadcasts(Follower);

impl Broadcasts {
    /// The next broadcast; what does not decode is logged and skipped. Cancel-safe.
    pub async fn next(&mut self) -> Broadcast {
        loop {
            let message = self.0.next().await;
            let decoded = match self.0.bus.prefix().parse(&message.subject) {
                Ok(Subject::Challenge(_)) => decode(&message.payload).map(Broadcast::Challenge),
                Ok(Subject::Cancel(_)) => decode(&message.payload).map(Broadcast::Cancel),
                _ => continue,
            };
            match decoded {
                Ok(broadcast) => return broadcast,
                Err(error) => {
                    tracing::error!(subject = %message.subject, %error, "broadcast skipped")
                }
            }
        }
    }
}

/// One job's events, from the first.
pub struct Events(Follower);

impl Events {
    /// The next event. The last is the one with a terminal kind; after it this waits for ever. Cancel-safe.
    ///
    /// # Errors
    /// [`CodecError`] for an event that does not decode, such as one of a newer release; the next call goes on after it.
    pub async fn next(&mut self) -> Result<Event, CodecError> {
        let message = self.0.next().await;
        decode(&message.payload)
    }
}

impl Bus {
    /// Follows all jobs' challenges and cancellations: first the last of each job, then each as it comes.
    pub fn broadcasts(&self) -> Broadcasts {
        let filter = format!("{}.>", self.prefix());
        Broadcasts(Follower::new(self.clone(), StreamKind::Broadcast, filter, DeliverPolicy::LastPerSubject))
    }

    /// Follows one job's events from the first on.
    pub fn events(&self, job: JobId) -> Events {
        Events(Follower::new(self.clone(), StreamKind::Events, self.prefix().events_of(job), DeliverPolicy::All))
    }

    /// The job's challenge, if it was broadcast.
    ///
    /// # Errors
    /// [`BusError`] when the server does not answer, or the challenge does not decode.
    pub async fn challenge(&self, job: JobId) -> Result<Option<Challenge>, BusError> {
        self.last_broadcast(self.prefix().challenge(job)).await
    }

    /// The job's cancellation, if there is one.
    ///
    /// # Errors
    /// [`BusError`] when the server does not answer, or the message does not decode.
    pub async fn cancellation(&self, job: JobId) -> Result<Option<Cancel>, BusError> {
        self.last_broadcast(self.prefix().cancel(job)).await
    }

    async fn last_broadcast<M: crate::messages::Message>(&self, subject: String) -> Result<Option<M>, BusError> {
        use jetstream::stream::LastRawMessageErrorKind;
        let name = self.prefix().stream(StreamKind::Broadcast);
        let action = format!("reading {subject}");
        let stream = retried(self, &action, || self.jetstream().get_stream_no_info(name.clone())).await?;
        // Through the leader, not a direct get: a follower may not have it yet.
        let found = retried(self, &action, || async {
            match stream.get_last_raw_message_by_subject(&subject).await {
                Ok(message) => Ok(Some(message)),
                Err(error) if error.kind() == LastRawMessageErrorKind::NoMessageFound => Ok(None),
                Err(error) => Err(error),
            }
        })
        .await?;
        Ok(match found {
            None => None,
            Some(message) => Some(decode(&message.payload)?),
        })
    }
}
