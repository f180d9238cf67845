//! Pulling from a durable consumer: as much as there is room for, whatever happens to the server.
//!
//! The pull protocol is spoken here directly: async-nats's stream of messages prefetches, ends for good when the
//! consumer is deleted, and its `fetch` with a heartbeat stops waking up after the first one (0.51).

use std::collections::VecDeque;
use std::time::Duration;

use async_nats::jetstream::message::AckKind;
use async_nats::jetstream::{self};
use async_nats::{StatusCode, Subscriber};
use bytes::Bytes;
use futures::StreamExt;
use tokio::sync::watch;
use tokio::time::Instant;

use crate::bus::{Bus, BusError};
use crate::messages::{CONTENT_TYPE, PROVER_VERSION};
use crate::subjects::{ConsumerKind, Subject, SubjectError};

/// How often the server shows that it still knows of a waiting pull request.
const HEARTBEAT: Duration = Duration::from_secs(2);
/// Silence after which the request is taken for lost: two heartbeats and some.
const SILENCE: Duration = Duration::from_secs(5);
/// How long an immediate request may take to be answered.
const ANSWER: Duration = Duration::from_secs(2);
/// Pause after a failure.
const PAUSE: Duration = Duration::from_millis(250);

/// A message and the means to settle it.
#[derive(Debug)]
pub struct Delivery {
    subject: Result<Subject, SubjectError>,
    message: jetstream::Message,
    retry: Duration,
}

impl Delivery {
    /// The subject, read.
    ///
    /// # Errors
    /// [`SubjectError`] when someone published what is none of ours; such a message is to be [`Delivery::discard`]ed.
    pub fn subject(&self) -> Result<Subject, SubjectError> {
        self.subject.clone()
    }

    /// The subject as it came, ours or not.
    pub fn raw_subject(&self) -> &str {
        self.message.subject.as_str()
    }

    /// The payload.
    pub fn payload(&self) -> &Bytes {
        &self.message.payload
    }

    /// The payload's encoding, when the publisher named one.
    pub fn content_type(&self) -> Option<&str> {
        self.message.headers.as_ref()?.get(CONTENT_TYPE).map(async_nats::HeaderValue::as_str)
    }

    /// The prover's version that an assignment is for; none is any.
    pub fn prover_version(&self) -> Option<&str> {
        self.message.headers.as_ref()?.get(PROVER_VERSION).map(async_nats::HeaderValue::as_str)
    }

    /// How often it was delivered, this time included.
    pub fn delivered(&self) -> u32 {
        self.message.info().ok().and_then(|info| u32::try_from(info.delivered).ok()).unwrap_or(1)
    }

    /// Its sequence in the stream.
    pub fn sequence(&self) -> u64 {
        self.message.info().map_or(0, |info| info.stream_sequence)
    }

    /// Where acknowledgements go; in-progress acks are sent there from another connection.
    pub(crate) fn reply(&self) -> Option<async_nats::Subject> {
        self.message.reply.clone()
    }

    /// Done: removes the message, and returns when the server has confirmed it.
    ///
    /// It does not prove that no one else got the message in the meantime: results are committed once, elsewhere.
    ///
    /// # Errors
    /// [`BusError`] when the server confirms nothing for [`crate::bus::BusConfig::retry`]; the message then comes again.
    pub async fn ack(&self) -> Result<(), BusError> {
        self.settle(AckKind::Ack).await
    }

    /// Still at work: another `ack_wait` for it. Should this be lost, the message comes again.
    pub async fn in_progress(&self) {
        let _ = self.message.ack_with(AckKind::Progress).await;
    }

    /// Gives the message back; it is delivered again after `delay`, or at once.
    ///
    /// # Errors
    /// As [`Delivery::ack`].
    pub async fn nak(&self, delay: Option<Duration>) -> Result<(), BusError> {
        self.settle(AckKind::Nak(delay)).await
    }

    /// Removes the message unprocessed: it can never be, and is recorded elsewhere.
    ///
    /// # Errors
    /// As [`Delivery::ack`].
    pub async fn discard(&self) -> Result<(), BusError> {
        self.settle(AckKind::Term).await
    }

    async fn settle(&self, kind: AckKind) -> Result<(), BusError> {
        let deadline = Instant::now() + self.retry;
        loop {
            let attempt = tokio::time::timeout(ANSWER, self.message.double_ack_with(kind)).await;
            let reason = match attempt {
                Ok(Ok(())) => return Ok(()),
                Ok(Err(error)) => error.to_string(),
                Err(_) => "no confirmation in time".to_owned(),
            };
            if Instant::now() + PAUSE >= deadline {
                return Err(BusError::transient(format!("acknowledging {}", self.message.subject), reason));
            }
            tokio::time::sleep(PAUSE).await;
        }
    }
}

/// Pulls from one durable consumer.
#[derive(Debug)]
pub struct Puller {
    bus: Bus,
    kind: ConsumerKind,
    /// The request that waits at the server, if any; kept across calls so that a dropped [`Puller::fetch`] loses nothing.
    waiting: Option<Waiting>,
    generation: watch::Receiver<u64>,
    failing: bool,
}

#[derive(Debug)]
struct Waiting {
    inbox: Subscriber,
    expires: Instant,
    heard: Instant,
}

/// Why a request ended.
enum Ended {
    /// Everything asked for came, or there is no more.
    Done,
    /// The consumer or its stream is gone, or the server does not answer.
    Lost(String),
}

impl Bus {
    /// A puller on a durable consumer.
    pub fn puller(&self, kind: ConsumerKind) -> Puller {
        Puller { bus: self.clone(), kind, waiting: None, generation: self.generation(), failing: false }
    }
}

impl Puller {
    /// Up to `free` messages: at once what is there, else the next one to come within `wait`; empty when none came.
    ///
    /// Never more than `free` are taken from the queue. Failures (server away, consumer deleted) are repaired and logged
    /// here; meanwhile this returns empty after `wait`. When the future is dropped, a request for one message may still
    /// wait at the server: call again soon, or [`Puller::release`].
    pub async fn fetch(&mut self, free: usize, wait: Duration) -> Vec<Delivery> {
        let deadline = Instant::now() + wait;
        if free == 0 {
            tokio::time::sleep_until(deadline).await;
            return Vec::new();
        }
        let mut taken = VecDeque::new();
        loop {
            if self.waiting.is_none() {
                match self.take_now(free, &mut taken).await {
                    Ended::Done if !taken.is_empty() => break,
                    Ended::Done => {}
                    Ended::Lost(_) if !taken.is_empty() => break,
                    Ended::Lost(reason) => {
                        if self.recover(&reason, deadline).await {
                            continue;
                        }
                        break;
                    }
                }
            }
            match self.wait_for_one(deadline).await {
                Ok(Some(message)) => {
                    taken.push_back(message);
                    break;
                }
                Ok(None) if Instant::now() >= deadline => break,
                Ok(None) => {}
                Err(reason) => {
                    if !self.recover(&reason, deadline).await {
                        break;
                    }
                }
            }
        }
        if self.failing && !taken.is_empty() {
            self.failing = false;
            tracing::info!(consumer = self.kind.durable_name(), "pulling works again");
        }
        taken.into_iter().map(|message| self.delivery(message)).collect()
    }

    /// Withdraws the waiting request; what came in the meantime is given back.
    pub async fn release(&mut self) {
        let Some(mut waiting) = self.waiting.take() else {
            return;
        };
        // The server forgets the request with its inbox; what is already on its way still arrives, and then the end.
        if waiting.inbox.drain().await.is_err() {
            return;
        }
        while let Ok(Some(message)) = tokio::time::timeout(ANSWER, waiting.inbox.next()).await {
            if message.status.is_none() {
                let delivery = self.delivery(message);
                if let Err(error) = delivery.nak(None).await {
                    tracing::debug!(%error, "giving back failed; it comes again after ack_wait");
                }
            }
        }
    }

    fn delivery(&self, message: async_nats::Message) -> Delivery {
        Delivery {
            subject: self.bus.prefix().parse(&message.subject),
            message: jetstream::Message { message, context: self.bus.publishing().clone() },
            retry: self.bus.config().retry,
        }
    }

    /// Takes what is there, without waiting for more.
    async fn take_now(&mut self, free: usize, taken: &mut VecDeque<async_nats::Message>) -> Ended {
        let request = format!(r#"{{"batch":{free},"no_wait":true}}"#);
        let mut inbox = match self.request(request).await {
            Ok(inbox) => inbox,
            Err(reason) => return Ended::Lost(reason),
        };
        while taken.len() < free {
            match tokio::time::timeout(ANSWER, inbox.next()).await {
                Ok(Some(message)) => match read_status(&message) {
                    None => taken.push_back(message),
                    Some(Status::Heartbeat) => {}
                    Some(Status::NoMore) => return Ended::Done,
                    Some(Status::Failed(reason)) => return Ended::Lost(reason),
                },
                Ok(None) => return Ended::Lost("subscription ended".to_owned()),
                Err(_) => return Ended::Lost("pull request not answered".to_owned()),
            }
        }
        Ended::Done
    }

    /// Waits for one message until `deadline`; `Ok(None)` when the request expired first.
    async fn wait_for_one(&mut self, deadline: Instant) -> Result<Option<async_nats::Message>, String> {
        if self.waiting.is_none() {
            let left = deadline.saturating_duration_since(Instant::now());
            if left < Duration::from_millis(1) {
                return Ok(None);
            }
            let heartbeat = if left >= 2 * HEARTBEAT { HEARTBEAT.as_nanos() } else { 0 };
            let request = format!(r#"{{"batch":1,"expires":{},"idle_heartbeat":{heartbeat}}}"#, left.as_nanos());
            self.generation.mark_unchanged();
            let inbox = self.request(request).await?;
            self.waiting = Some(Waiting { inbox, expires: Instant::now() + left, heard: Instant::now() });
        }
        loop {
            let Some(waiting) = &mut self.waiting else {
                return Ok(None);
            };
            // The server answers at `expires`; give that answer time to arrive.
            let silent = (waiting.heard + SILENCE).min(waiting.expires + Duration::from_millis(500));
            let outlasts = waiting.expires > deadline + Duration::from_millis(1);
            let message = tokio::select! {
                message = waiting.inbox.next() => message,
                // The server holds requests in memory: one made on an earlier connection may be forgotten.
                changed = self.generation.changed() => {
                    self.waiting = None;
                    return if changed.is_ok() { Ok(None) } else { Err("connection closed".to_owned()) };
                }
                () = tokio::time::sleep_until(silent) => {
                    let expired = Instant::now() >= waiting.expires;
                    self.waiting = None;
                    return if expired { Ok(None) } else { Err("no heartbeat".to_owned()) };
                }
                // A fetch that was dropped left a request that outlasts this one: it stays for the next.
                () = tokio::time::sleep_until(deadline), if outlasts => return Ok(None),
            };
            let Some(message) = message else {
                self.waiting = None;
                return Err("subscription ended".to_owned());
            };
            waiting.heard = Instant::now();
            match read_status(&message) {
                Some(Status::Heartbeat) => {}
                None => {
                    self.waiting = None;
                    return Ok(Some(message));
                }
                Some(Status::NoMore) => {
                    self.waiting = None;
                    return Ok(None);
                }
                Some(Status::Failed(reason)) => {
                    self.waiting = None;
                    return Err(reason);
                }
            }
        }
    }

    async fn request(&self, request: String) -> Result<Subscriber, String> {
        let client = self.bus.client();
        let stream = self.bus.prefix().stream(self.kind.stream());
        let subject = format!("$JS.API.CONSUMER.MSG.NEXT.{stream}.{}", self.kind.durable_name());
        let inbox = client.new_inbox();
        let subscriber = client.subscribe(inbox.clone()).await.map_err(|error| error.to_string())?;
        client.publish_with_reply(subject, inbox, request.into()).await.map_err(|error| error.to_string())?;
        Ok(subscriber)
    }

    /// Recreates stream and consumer; false when there is no time left.
    async fn recover(&mut self, reason: &str, deadline: Instant) -> bool {
        let consumer = self.kind.durable_name();
        if self.failing {
            tracing::debug!(consumer, reason, "pulling still fails");
        } else {
            self.failing = true;
            tracing::warn!(consumer, reason, "pulling failed; trying again");
        }
        let repair = async {
            tokio::time::sleep(PAUSE).await;
            self.bus.prepare_missing_stream(self.kind.stream()).await?;
            self.bus.prepare_missing_consumer(self.kind).await
        };
        match tokio::time::timeout_at(deadline, repair).await {
            Ok(Ok(())) => true,
            Ok(Err(error)) => {
                tracing::debug!(%error, "repair failed");
                Instant::now() < deadline
            }
            Err(_) => false,
        }
    }
}

enum Status {
    Heartbeat,
    NoMore,
    Failed(String),
}

fn read_status(message: &async_nats::Message) -> Option<Status> {
    let status = message.status?;
    Some(match status {
        StatusCode::OK => return None,
        StatusCode::IDLE_HEARTBEAT => Status::Heartbeat,
        StatusCode::NOT_FOUND | StatusCode::TIMEOUT => Status::NoMore,
        StatusCode::NO_RESPONDERS => Status::Failed("no such consumer, or JetStream is away".to_owned()),
        other => {
            let description = message.description.as_ref().map_or("", |text| text.as_str());
            Status::Failed(format!("{other} {description}"))
        }
    })
}
