//! Dead letters: what failed for good.

use zisk_common::ids::JobId;
use zisk_common::messages::{Dead, DeadLetter, JobRequest, ObjectKey};

use crate::{ClientError, RemoteClient};

impl RemoteClient {
    /// The dead letters, newest first; what this release cannot read is logged and left out.
    ///
    /// # Errors
    /// [`ClientError`] when the server does not answer.
    pub async fn dead_letters(&self) -> Result<Vec<DeadLetter>, ClientError> {
        let letters = self.bus.dead_letters().await?.into_iter();
        Ok(letters
            .filter_map(|letter| match letter {
                Ok(letter) => Some(letter),
                Err((subject, error)) => {
                    tracing::error!(subject, %error, "dead letter left out");
                    None
                }
            })
            .collect())
    }

    /// One of them.
    ///
    /// # Errors
    /// [`ClientError::UnknownDead`] when there is none with this id.
    pub async fn dead_letter(&self, id: &str) -> Result<DeadLetter, ClientError> {
        self.bus.dead_letter(id).await?.ok_or_else(|| ClientError::UnknownDead(id.to_owned()))
    }

    /// Publishes the job's request again as a new job, whose id it returns, and removes the dead letter: should the new job
    /// fail, it has one of its own. The old job's record stays as it is.
    ///
    /// # Errors
    /// [`ClientError::NotAJob`] for a message that could not be read, [`ClientError::Gone`] when program or input are not
    /// there any more.
    pub async fn requeue(&self, id: &str) -> Result<JobId, ClientError> {
        let dead = match self.dead_letter(id).await?.dead {
            Dead::Job(dead) => dead,
            Dead::Unreadable(message) => {
                return Err(ClientError::NotAJob { id: id.to_owned(), subject: message.subject, reason: message.reason });
            }
        };
        let needed = [Some(ObjectKey::program(dead.request.program)), dead.request.input.map(|input| input.key)];
        for object in needed.into_iter().flatten() {
            // As new as one just uploaded, so that it is there when the job needs it.
            if !self.objects.renew(object).await? {
                return Err(ClientError::Gone { job: dead.job, object });
            }
        }
        let job = JobId::random();
        self.bus.publish_request(dead.goal, &JobRequest { job, ..dead.request }).await?;
        // Only now: as long as nothing else refers to the input, this letter keeps it.
        self.bus.drop_dead_letter(id).await?;
        Ok(job)
    }

    /// Removes a dead letter.
    ///
    /// # Errors
    /// [`ClientError::UnknownDead`] when there is none with this id.
    pub async fn drop_dead_letter(&self, id: &str) -> Result<(), ClientError> {
        match self.bus.drop_dead_letter(id).await? {
            true => Ok(()),
            false => Err(ClientError::UnknownDead(id.to_owned())),
        }
    }

    /// Removes all dead letters; returns how many.
    ///
    /// # Errors
    /// [`ClientError`] when the server does not answer.
    pub async fn drop_dead_letters(&self) -> Result<u64, ClientError> {
        Ok(self.bus.drop_dead_letters().await?)
    }
}
