//! Following BROADCAST and EVENTS: what is there first, then what comes, across restarts and changes of leader.

use std::collections::VecDeque;
use std::future::pending;
use std::time::Duration;

use bytes::Bytes;
use futures::stream::SelectAll;
use futures::{FutureExt, StreamExt};
use tokio::sync::mpsc;
use tokio::time::Instant;

use crate::bus::{Bus, BusError};
use crate::ids::JobId;
use crate::messages::{Cancel, Challenge, CodecError, Event, decode};
use crate::subjects::{StreamKind, Subject};

/// How often to look for something new that was not heard of.
const LOOK: Duration = Duration::from_secs(1);
/// Pause before the first look for what was just published: a copy of the stream may not have it yet. Doubles with each look.
const FIRST_LOOK: Duration = Duration::from_millis(2);
/// How often to look whether the stream is still the one that is followed. One that was deleted and made again counts from 1.
const LOOK_FOR_ANOTHER: Duration = Duration::from_secs(5);
/// Messages read ahead.
const AHEAD: usize = 64;
/// Cancellations remembered until they come the second time.
const REMEMBERED: usize = 256;

/// What all workers of a job must hear.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Broadcast {
    /// Proving may begin.
    Challenge(Challenge),
    /// The job is over.
    Cancel(Cancel),
}

/// A stream's messages in order, each once; from the start again when the stream is another one.
///
/// They are read directly, without a consumer, which would die with its server and be missed for half a minute. That something was
/// published is heard by subscribing to the subjects; what was not heard is found by looking.
struct Follower {
    bus: Bus,
    messages: mpsc::Receiver<Followed>,
}

/// A message of the stream.
struct Followed {
    subject: String,
    payload: Bytes,
    /// It was read; else it was heard, and will be read too, unless it is purged before.
    read: bool,
}

impl Follower {
    /// `hears`: what is heard is passed on at once, besides being read.
    fn start(bus: &Bus, stream: StreamKind, filter: String, subjects: Vec<String>, hears: bool) -> Self {
        let (sender, messages) = mpsc::channel(AHEAD);
        let follow = follow(bus.clone(), stream, filter, subjects, hears, sender.clone());
        tokio::spawn(async move {
            tokio::select! {
                () = sender.closed() => {}
                () = follow => {}
            }
        });
        Self { bus: bus.clone(), messages }
    }

    /// The next message. Cancel-safe.
    async fn next(&mut self) -> Followed {
        match self.messages.recv().await {
            Some(message) => message,
            // The runtime is shutting down.
            None => pending().await,
        }
    }
}

async fn follow(
    bus: Bus,
    stream: StreamKind,
    filter: String,
    subjects: Vec<String>,
    hears: bool,
    sender: mpsc::Sender<Followed>,
) {
    let name = bus.prefix().stream(stream);
    let mut published = SelectAll::new();
    for subject in subjects {
        match bus.client().subscribe(subject).await {
            Ok(subscriber) => published.push(subscriber),
            Err(error) => tracing::debug!(%error, "not subscribed; looking only"),
        }
    }
    let mut identity = Identity::default();
    let (mut last, mut pause) = (0, FIRST_LOOK);
    loop {
        if identity.is_another(&bus, &name).await {
            tracing::info!(stream = name, "the stream is another one: following it from its start");
            last = 0;
        }
        let found = match bus.read(&name, &filter, last + 1).await {
            Ok(found) => found,
            Err(error) => {
                tracing::debug!(%error, "following failed; trying again");
                tokio::time::sleep(LOOK).await;
                continue;
            }
        };
        if found.is_empty() {
            tokio::select! {
                () = tokio::time::sleep(pause) => pause = (pause * 2).min(LOOK),
                Some(first) = published.next() => {
                    let mut heard = vec![first];
                    while let Some(Some(message)) = published.next().now_or_never() {
                        heard.push(message);
                    }
                    for message in heard.into_iter().filter(|_| hears) {
                        let subject = message.subject.into_string();
                        if sender.send(Followed { subject, payload: message.payload, read: false }).await.is_err() {
                            return;
                        }
                    }
                    pause = FIRST_LOOK;
                }
            }
            continue;
        }
        pause = FIRST_LOOK;
        for message in found {
            last = message.sequence;
            let subject = message.subject.into_string();
            if sender.send(Followed { subject, payload: message.payload, read: true }).await.is_err() {
                return;
            }
        }
    }
}

/// Which stream is followed.
#[derive(Default)]
struct Identity {
    /// When it was made, by the server's account; none before it was first seen.
    made: Option<String>,
    looked: Option<Instant>,
}

impl Identity {
    /// Looks, now and then, whether there is another stream of that name. While it is away, or the server is, there is nothing to tell.
    async fn is_another(&mut self, bus: &Bus, name: &str) -> bool {
        if self.looked.is_some_and(|looked| looked.elapsed() < LOOK_FOR_ANOTHER) {
            return false;
        }
        self.looked = Some(Instant::now());
        let Ok(stream) = bus.jetstream().get_stream(name).await else { return false };
        let made = stream.cached_info().created.to_string();
        let another = self.made.as_ref().is_some_and(|known| *known != made);
        self.made = Some(made);
        another
    }
}

/// All jobs' broadcasts. A cancellation is purged as soon as its job has ended, and who is a moment late would not read it: so that is
/// also taken when it is heard, but once.
pub struct Broadcasts {
    follower: Follower,
    /// Cancellations that came one way and not yet the other.
    heard: VecDeque<JobId>,
    read: VecDeque<JobId>,
}

impl Broadcasts {
    /// The next broadcast; what does not decode is logged and skipped. Cancel-safe.
    pub async fn next(&mut self) -> Broadcast {
        loop {
            let message = self.follower.next().await;
            let decoded = match self.follower.bus.prefix().parse(&message.subject) {
                Ok(Subject::Challenge(_)) if message.read => decode(&message.payload).map(Broadcast::Challenge),
                Ok(Subject::Cancel(job)) if self.is_first(job, message.read) => decode(&message.payload).map(Broadcast::Cancel),
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

    /// Whether this cancellation did not come the other way before.
    fn is_first(&mut self, job: JobId, read: bool) -> bool {
        let (this, other) = if read { (&mut self.read, &mut self.heard) } else { (&mut self.heard, &mut self.read) };
        if let Some(place) = other.iter().position(|known| *known == job) {
            other.remove(place);
            return false;
        }
        this.push_back(job);
        if this.len() > REMEMBERED {
            this.pop_front();
        }
        true
    }
}

/// Events from the first: one job's, or all.
pub struct Events(Follower);

impl Events {
    /// The next event. A job's last is the one with a terminal kind; after it this waits for ever. Cancel-safe.
    ///
    /// # Errors
    /// [`CodecError`] for an event that does not decode, such as one of a newer release; the next call goes on after it.
    pub async fn next(&mut self) -> Result<Event, CodecError> {
        let message = self.0.next().await;
        decode(&message.payload)
    }
}

/// The jobs whose streamed inputs came to their ends ([`crate::input`]).
pub struct InputCloses(Follower);

impl InputCloses {
    /// The next one. Cancel-safe.
    pub async fn next(&mut self) -> JobId {
        loop {
            let message = self.0.next().await;
            if let Ok(Subject::InputClose(job)) = self.0.bus.prefix().parse(&message.subject) {
                return job;
            }
        }
    }
}

impl Bus {
    /// Follows all jobs' challenges and cancellations: first the last of each job, then each as it comes.
    pub fn broadcasts(&self) -> Broadcasts {
        let prefix = self.prefix();
        let subjects = prefix.stream_subjects(StreamKind::Broadcast);
        let follower = Follower::start(self, StreamKind::Broadcast, format!("{prefix}.>"), subjects, true);
        Broadcasts { follower, heard: VecDeque::new(), read: VecDeque::new() }
    }

    /// Follows one job's events from the first on.
    pub fn events(&self, job: JobId) -> Events {
        let filter = self.prefix().events_of(job);
        Events(Follower::start(self, StreamKind::Events, filter.clone(), vec![filter], false))
    }

    /// Follows all jobs' events, from the oldest that is kept.
    pub fn all_events(&self) -> Events {
        let prefix = self.prefix();
        let subjects = prefix.stream_subjects(StreamKind::Events);
        Events(Follower::start(self, StreamKind::Events, format!("{prefix}.>"), subjects, false))
    }

    /// Follows the ends of all streamed inputs: first those that are there, then each as it comes.
    pub fn input_closes(&self) -> InputCloses {
        let filter = self.prefix().input_closes();
        InputCloses(Follower::start(self, StreamKind::Input, filter.clone(), vec![filter], false))
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
        let found = self.read_last(&self.prefix().stream(StreamKind::Broadcast), &subject).await?;
        Ok(found.map(|message| decode(&message.payload)).transpose()?)
    }
}
