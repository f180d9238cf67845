//! Trying again: a server that restarts, a store that has no room at the moment.

use std::time::Duration;

use tokio::time::Instant;

use super::traffic::count_error;
use super::{ObjectError, Objects, Place};
use crate::full::is_full;
use crate::messages::ObjectKey;

/// How often a read or write is tried.
const ATTEMPTS: u32 = 6;
/// Pause before the second attempt; doubles with each. All together about 12 s: a restart of the server.
const PAUSE: Duration = Duration::from_millis(400);
/// Longest pause while a write waits for room.
const MAX_PAUSE: Duration = Duration::from_secs(5);
/// How long a write waits for room unless told otherwise: for what the coordinator is about to delete.
pub(super) const PATIENCE: Duration = Duration::from_secs(3);

impl Objects {
    /// How much is stored and what limits it, where the store tells: for people.
    async fn room(&self) -> String {
        match &self.place {
            Place::JetStream(store) => store.room().await,
            Place::Directory(_) | Place::S3(_) | Place::Other(_) => String::new(),
        }
    }

    /// Tries until it works, for as long as a restart of the server takes.
    pub(super) async fn attempts<T, F>(&self, key: ObjectKey, mut attempt: impl FnMut() -> F) -> Result<T, ObjectError>
    where
        F: Future<Output = Result<T, object_store::Error>>,
    {
        let began = Instant::now();
        let mut pause = PAUSE;
        let mut left = ATTEMPTS;
        loop {
            let error = match attempt().await {
                Ok(value) => return Ok(value),
                Err(object_store::Error::NotFound { .. }) => {
                    return Err(ObjectError::NotFound { key, place: self.place.to_string().into() });
                }
                Err(error) => error,
            };
            let reason = crate::bus::chain(&error);
            let full = is_full(&error);
            count_error(if full { "full" } else { "failed" });
            if full {
                if began.elapsed() >= self.patience {
                    let reason = format!("{reason}{}", self.room().await);
                    return Err(ObjectError::Full { key: key.to_string(), place: self.place.to_string().into(), reason });
                }
                tracing::debug!(%key, error = reason, "the object store is full; waiting for room");
                tokio::time::sleep(pause).await;
                // Each attempt writes until there is no room.
                pause = (pause * 2).min(MAX_PAUSE);
                continue;
            }
            left -= 1;
            if left == 0 {
                return Err(ObjectError::Store { key: key.to_string(), place: self.place.to_string().into(), reason });
            }
            tracing::debug!(%key, error = reason, "object store failed; trying again");
            tokio::time::sleep(pause).await;
            pause *= 2;
        }
    }
}
