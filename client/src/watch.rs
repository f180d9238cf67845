//! A job's events and its result, at any time.

use std::time::Duration;

use futures::Stream;
use tokio::sync::watch::Receiver;
use tokio::time::timeout;
use zisk_common::follow::Events;
use zisk_common::ids::JobId;
use zisk_common::messages::{Event, ExecutionSummary, JobRecord, JobState};

use crate::in_process::History;
use crate::{ClientError, Completed, RemoteClient};

/// How long the first event may take to come, of a job that has a record: the server has it, and sends it within milliseconds.
const FIRST_EVENT: Duration = Duration::from_secs(10);

/// A job's events from the first to the terminal one, also for who comes late.
pub struct Watch {
    source: Source,
    /// Read ahead, to know that there is one.
    first: Option<Event>,
    ended: bool,
}

enum Source {
    Bus(Events),
    Here { history: Receiver<History>, seen: usize },
}

impl Watch {
    pub(crate) fn here(history: Receiver<History>) -> Self {
        Self { source: Source::Here { history, seen: 0 }, first: None, ended: false }
    }

    /// The next event; none after the terminal one. Cancel-safe.
    ///
    /// # Errors
    /// [`ClientError::Codec`] for an event of a newer release; the next call goes on after it.
    pub async fn next(&mut self) -> Result<Option<Event>, ClientError> {
        if self.ended {
            return Ok(None);
        }
        let event = match (self.first.take(), &mut self.source) {
            (Some(event), _) => event,
            (None, Source::Bus(events)) => events.next().await?,
            (None, Source::Here { history, seen }) => {
                // An error: the client is gone, and its jobs with it.
                let Ok(history) = history.wait_for(|history| history.events.len() > *seen).await else { return Ok(None) };
                let event = history.events[*seen].clone();
                *seen += 1;
                event
            }
        };
        self.ended = event.kind().is_terminal();
        Ok(Some(event))
    }

    /// The same as a stream, which ends after the terminal event.
    pub fn into_stream(self) -> impl Stream<Item = Result<Event, ClientError>> + Send {
        futures::stream::unfold(self, |mut watch| async move {
            let next = watch.next().await.transpose()?;
            Some((next, watch))
        })
    }
}

impl RemoteClient {
    /// Follows a job's events from the first on.
    ///
    /// # Errors
    /// [`ClientError::UnknownJob`] when there is neither a record nor an event of it; [`ClientError::Forgotten`] when its events are
    /// older than the cluster keeps them.
    pub async fn watch(&self, job: JobId) -> Result<Watch, ClientError> {
        // A refused request has events but no record.
        let record = self.record(job).await?;
        let mut events = self.bus.events(job);
        match (timeout(FIRST_EVENT, events.next()).await, record) {
            (Ok(first), _) => Ok(Watch { source: Source::Bus(events), first: Some(first?), ended: false }),
            (Err(_), None) => Err(ClientError::UnknownJob(job)),
            (Err(_), Some(record)) => Err(ClientError::Forgotten { job, state: record.state }),
        }
    }

    /// What a job ended with, its final proof included.
    ///
    /// # Errors
    /// [`ClientError::Failed`] when it failed or was cancelled, [`ClientError::NotEnded`] while it goes on.
    pub async fn result(&self, job: JobId) -> Result<(JobRecord, Completed), ClientError> {
        let record = self.status(job).await?;
        if let Some(failure) = &record.failure {
            return Err(ClientError::Failed { job, failure: Box::new(failure.clone()) });
        }
        if record.state != JobState::Completed {
            return Err(ClientError::NotEnded { job, state: record.state });
        }
        let proof = match record.proof {
            Some(proof) => self.objects.get(proof.key).await?.to_vec(),
            None => Vec::new(),
        };
        let summary: ExecutionSummary = record.execution.clone().unwrap_or_default();
        let milliseconds = record.timings.ended_ms.saturating_sub(record.timings.accepted_ms);
        Ok((record, Completed { summary, proof, milliseconds }))
    }
}
