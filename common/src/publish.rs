//! Publishing that survives: message id, acknowledgement, retry.

use std::time::Duration;

use async_nats::HeaderMap;
use async_nats::jetstream::ErrorCode;
use async_nats::jetstream::context::{PublishError, PublishErrorKind};
use async_nats::jetstream::message::PublishMessage;
use bytes::Bytes;
use tokio::time::Instant;

use crate::bus::{Bus, BusError, chain, jetstream_error};
use crate::full::stays_full;
use crate::messages::{
    Assignment, CONTENT_TYPE, Cancel, Challenge, CodecError, DeadLetter, Event, JobRequest, MESSAGE_PACK, PROVER_VERSION, Report,
    encode,
};
use crate::subjects::{RequestKind, Subject};
use crate::trace::{TRACEPARENT, traceparent};

/// Longest pause between two attempts: what it adds to the time that an election takes.
const MAX_PAUSE: Duration = Duration::from_millis(400);

/// What the stream answered.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Stored {
    /// The message's sequence in its stream; 0 where the stream does not say which one it has already.
    pub sequence: u64,
    /// Whether the stream had a message with this id already.
    pub duplicate: bool,
}

impl From<CodecError> for BusError {
    fn from(error: CodecError) -> Self {
        Self::permanent("encoding", error)
    }
}

impl Bus {
    /// Stores a payload once: publishes with `message_id`, waits for the stream's acknowledgement, and tries again for
    /// [`crate::bus::BusConfig::retry`], so that a killed server or a change of leader loses and doubles nothing.
    ///
    /// # Errors
    /// [`BusError`], not transient when the payload can never be stored.
    pub async fn publish(&self, subject: String, message_id: &str, payload: Bytes) -> Result<Stored, BusError> {
        self.publish_with(HeaderMap::new(), subject, message_id, payload).await
    }

    pub(crate) async fn publish_with(
        &self,
        mut headers: HeaderMap,
        subject: String,
        message_id: &str,
        payload: Bytes,
    ) -> Result<Stored, BusError> {
        if headers.get(CONTENT_TYPE).is_none() {
            headers.insert(CONTENT_TYPE, MESSAGE_PACK);
        }
        if let Some(job) = self.prefix().parse(&subject).ok().and_then(Subject::job) {
            headers.insert(TRACEPARENT, traceparent(job));
        }
        let message_id = self.message_id(message_id);
        let begun = Instant::now();
        let deadline = begun + self.config().retry;
        let mut pause = Duration::from_millis(50);
        loop {
            let asked = Instant::now();
            let message = PublishMessage::build().payload(payload.clone()).headers(headers.clone()).message_id(&message_id);
            let outcome = async { self.publishing().send_publish(subject.clone(), message).await?.await }.await;
            let error = match outcome {
                Ok(ack) => {
                    return Ok(Stored { sequence: ack.sequence, duplicate: ack.duplicate });
                }
                Err(error) => error,
            };
            let action = || format!("publishing {} bytes on {subject}", payload.len());
            if let Some(denied) = self.denied_since(asked, &subject) {
                return Err(BusError::permanent(action(), denied));
            }
            if is_repeated(&error) {
                return Ok(Stored { sequence: 0, duplicate: true });
            }
            if is_permanent(&error) {
                return Err(BusError::permanent(action(), chain(&error)));
            }
            if Instant::now() + pause >= deadline || stays_full(&error, begun) {
                return Err(BusError::met(action(), &error));
            }
            tracing::debug!(subject, error = chain(&error), "publish not acknowledged; trying again");
            tokio::time::sleep(pause).await;
            pause = (pause * 2).min(MAX_PAUSE);
        }
    }

    /// Publishes a request; the job id is the message id.
    ///
    /// # Errors
    /// As [`Bus::publish`].
    pub async fn publish_request(&self, kind: RequestKind, request: &JobRequest) -> Result<Stored, BusError> {
        let id = format!("request.{}", request.job);
        let mut headers = HeaderMap::new();
        // Its subject does not name the job.
        headers.insert(TRACEPARENT, traceparent(request.job));
        self.publish_with(headers, self.prefix().request(kind), &id, encode(request)?).await
    }

    /// Publishes an assignment for workers whose prover has this version. In a header: it is to be read even where the
    /// payload, of another version, is not.
    ///
    /// # Errors
    /// As [`Bus::publish`].
    pub async fn publish_assignment(&self, assignment: &Assignment, prover: &str) -> Result<Stored, BusError> {
        let mut headers = HeaderMap::new();
        headers.insert(PROVER_VERSION, prover);
        self.publish_with(headers, assignment.subject(self.prefix()), &assignment.message_id(), assignment.encode()?).await
    }

    /// Publishes a report, in the name of the worker that it is of.
    ///
    /// # Errors
    /// As [`Bus::publish`]; when it is a failure without a worker.
    pub async fn publish_report(&self, report: &Report) -> Result<Stored, BusError> {
        let no_worker = || BusError::permanent("publishing a failure", "it does not name the worker that it happened to");
        let worker = report.worker().ok_or_else(no_worker)?;
        self.publish(report.subject(self.prefix(), worker), &report.message_id(), report.encode()?).await
    }

    /// Publishes an event.
    ///
    /// # Errors
    /// As [`Bus::publish`].
    pub async fn publish_event(&self, event: &Event) -> Result<Stored, BusError> {
        self.publish(event.subject(self.prefix()), &event.message_id(), encode(event)?).await
    }

    /// Broadcasts a job's challenge.
    ///
    /// # Errors
    /// As [`Bus::publish`].
    pub async fn broadcast_challenge(&self, challenge: &Challenge) -> Result<Stored, BusError> {
        let id = match challenge.round {
            0 => format!("challenge.{}", challenge.job),
            round => format!("challenge.{}.{round}", challenge.job),
        };
        self.publish(self.prefix().challenge(challenge.job), &id, encode(challenge)?).await
    }

    /// Broadcasts that a job has ended without a proof.
    ///
    /// # Errors
    /// As [`Bus::publish`].
    pub async fn broadcast_cancel(&self, cancel: &Cancel) -> Result<Stored, BusError> {
        let id = format!("cancel.{}", cancel.job);
        self.publish(self.prefix().cancel(cancel.job), &id, encode(cancel)?).await
    }

    /// Sets aside what failed for good, with its cause, for people.
    ///
    /// # Errors
    /// As [`Bus::publish`].
    pub async fn publish_dead(&self, letter: &DeadLetter) -> Result<Stored, BusError> {
        let subject = letter.subject(self.prefix());
        self.publish(subject.clone(), &format!("{subject}.{}", letter.at_ms), encode(letter)?).await
    }
}

/// Whether the stream takes one message on each subject, and has that of this one: later than it remembers message ids.
fn is_repeated(error: &PublishError) -> bool {
    jetstream_error(error) == Some(ErrorCode::STREAM_STORE_FAILED) && chain(error).contains("per subject")
}

fn is_permanent(error: &PublishError) -> bool {
    match error.kind() {
        PublishErrorKind::MaxPayloadExceeded | PublishErrorKind::WrongLastMessageId | PublishErrorKind::WrongLastSequence => true,
        PublishErrorKind::Other => jetstream_error(error) == Some(ErrorCode::STREAM_MESSAGE_EXCEEDS_MAXIMUM),
        _ => false,
    }
}
