//! A job's events and its result, at any time.

use std::time::Duration;

use tokio::time::timeout;
use zisk_common::follow::Events;
use zisk_common::ids::JobId;
use zisk_common::messages::{Event, ExecutionSummary, JobRecord, JobState};

use crate::{ClientError, Completed, RemoteClient};

/// How long the first event may take to come, of a job that has a record: the server has it, and sends it within milliseconds.
const FIRST_EVENT: Duration = Duration::from_secs(10);

/// A job's events from the first to the terminal one, also for who comes late.
pub struct Watch {
    events: Events,
    /// Read ahead, to know that there is one.
    first: Option<Event>,
    ended: bool,
}

impl Watch {
    /// The next event; none after the terminal one. Cancel-safe.
    ///
    /// # Errors
    /// [`ClientError::Codec`] for an event of a newer release; the next call goes on after it.
    pub async fn next(&mut self) -> Result<Option<Event>, ClientError> {
        if self.ended {
            return Ok(None);
        }
        let event = match self.first.take() {
            Some(event) => event,
            None => self.events.next().await?,
        };
        self.ended = event.kind().is_terminal();
        Ok(Some(event))
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
            (Ok(first), _) => Ok(Watch { events, first: Some(first?), ended: false }),
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
