//! Reading a stream without a consumer. A consumer that is not replicated dies with its server, and is not made again before the
//! cluster has a leader; what is read here is answered by any server that has a copy.

use std::time::Duration;

use async_nats::StatusCode;
use async_nats::jetstream::message::StreamMessage;
use async_nats::jetstream::stream::LastRawMessageErrorKind;
use futures::StreamExt;
use serde_json::json;

use crate::bus::{Bus, BusError, chain};
use crate::streams::retried;

/// Messages read at once.
const BATCH: usize = 256;
/// The status that ends a batch.
const END_OF_BATCH: u16 = 204;
/// How long each may take to come.
const ANSWER: Duration = Duration::from_secs(1);

impl Bus {
    /// The first messages of a stream that match a filter, from this sequence on: at most 256, none when there are no more. The
    /// server that answers may lag behind the stream's leader.
    ///
    /// # Errors
    /// [`BusError`] when no server answers.
    pub async fn read(&self, stream: &str, filter: &str, from: u64) -> Result<Vec<StreamMessage>, BusError> {
        let action = format!("reading {filter} in {stream}");
        retried(self, &action, || self.read_once(&action, stream, filter, from)).await
    }

    /// The last message of a subject, by the leader's word: a copy may not have it yet.
    ///
    /// # Errors
    /// [`BusError`] when the leader does not answer.
    pub(crate) async fn read_last(&self, stream: &str, subject: &str) -> Result<Option<StreamMessage>, BusError> {
        let action = format!("reading {subject}");
        let opened = retried(self, &action, || self.jetstream().get_stream_no_info(stream)).await?;
        retried(self, &action, || async {
            match opened.get_last_raw_message_by_subject(subject).await {
                Ok(message) => Ok(Some(message)),
                Err(error) if error.kind() == LastRawMessageErrorKind::NoMessageFound => Ok(None),
                Err(error) => Err(error),
            }
        })
        .await
    }

    async fn read_once(&self, action: &str, stream: &str, filter: &str, from: u64) -> Result<Vec<StreamMessage>, BusError> {
        let failed = |reason: &dyn ToString| BusError::transient(action, reason.to_string());
        let (client, generation) = (self.client(), self.generation());
        let inbox = client.new_inbox();
        let mut answers = client.subscribe(inbox.clone()).await.map_err(|error| failed(&error))?;
        let request = json!({ "seq": from, "next_by_subj": filter, "batch": BATCH }).to_string();
        let subject = format!("$JS.API.DIRECT.GET.{stream}");
        client.publish_with_reply(subject, inbox, request.into()).await.map_err(|error| failed(&error))?;
        let mut found = Vec::new();
        loop {
            let answer = match tokio::time::timeout(ANSWER, answers.next()).await {
                Ok(Some(answer)) => answer,
                Ok(None) => return Err(failed(&"subscription ended")),
                Err(_) => return Err(failed(&"no answer in time")),
            };
            match answer.status {
                None => found.push(StreamMessage::try_from(answer).map_err(|error| failed(&chain(&error)))?),
                Some(status) if status == StatusCode::NOT_FOUND || status.as_u16() == END_OF_BATCH => break,
                Some(status) => return Err(failed(&status)),
            }
        }
        // On a connection that was made anew meanwhile the middle of the batch may be lost.
        if generation.has_changed().unwrap_or(true) {
            return Err(failed(&"connection lost"));
        }
        Ok(found)
    }
}
