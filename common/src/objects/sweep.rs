//! What a store holds, how old it is by the store's own clock, and removing what nobody needs.

use std::time::Duration;

use bytes::Bytes;
use chrono::{DateTime, Utc};
use futures::StreamExt;
use object_store::ObjectStoreExt;
use object_store::path::Path;
use uuid::Uuid;

use super::{ObjectError, Objects, Place, directory, path_of};
use crate::messages::ObjectKey;

/// An object in the store.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Stored {
    /// Its key.
    pub key: ObjectKey,
    /// Its size in bytes.
    pub size: u64,
    /// How long ago it was written or renewed, by the store's clock.
    pub age: Duration,
}

impl Objects {
    /// All objects. What is in the store under a name that is no key of ours is left out.
    ///
    /// # Errors
    /// [`ObjectError::Store`] when the backend fails.
    pub async fn list(&self) -> Result<Vec<Stored>, ObjectError> {
        let fail = |error| self.failed("listing", &error);
        let now = self.now().await?;
        let mut listing = self.store.list(None);
        let mut found = Vec::new();
        while let Some(meta) = listing.next().await {
            // Deleted while they were listed.
            let meta = match meta {
                Err(object_store::Error::NotFound { .. }) => continue,
                other => other.map_err(fail)?,
            };
            match meta.location.as_ref().parse() {
                Ok(key) => found.push(Stored { key, size: meta.size, age: age(now, meta.last_modified) }),
                Err(reason) => tracing::debug!(reason, "left alone"),
            }
        }
        Ok(found)
    }

    /// Deletes an object that is at least so old, which one that was renewed since it was listed is not; whether it did.
    ///
    /// # Errors
    /// [`ObjectError::Store`] when the backend fails.
    pub async fn delete_old(&self, key: ObjectKey, min_age: Duration) -> Result<bool, ObjectError> {
        let path = path_of(key);
        let before = self.now().await? - min_age;
        let deleted = match &self.place {
            Place::JetStream(store) => store.delete_written_before(&path, before).await,
            Place::Directory(directory) => directory::delete_written_before(directory, &path, before).await,
            // Between the two somebody may renew it, who stores it again when it turns out to be missing.
            Place::S3(_) | Place::Other(_) => match self.store.head(&path).await {
                Ok(meta) if meta.last_modified < before => self.store.delete(&path).await.map(|()| true),
                Ok(_) => Ok(false),
                Err(error) => Err(error),
            },
        };
        match deleted {
            Err(object_store::Error::NotFound { .. }) => Ok(false),
            other => other.map_err(|error| self.failed(&key.to_string(), &error)),
        }
    }

    /// Removes what uploads left behind that died at least `grace` ago, which no reader sees: at most `limit` of them. Returns
    /// how many.
    ///
    /// # Errors
    /// [`ObjectError::Store`] when the backend fails; what was removed stays so.
    pub async fn sweep_uploads(&self, grace: Duration, limit: usize) -> Result<u64, ObjectError> {
        let before = self.now().await? - grace;
        let swept = match &self.place {
            Place::JetStream(store) => store.sweep_uploads(before, limit).await,
            Place::Directory(directory) => directory::sweep_uploads(directory, before, limit).await,
            // An object is sent in one request: one that died leaves nothing.
            Place::S3(_) | Place::Other(_) => Ok(0),
        };
        swept.map_err(|error| self.failed("sweeping", &error))
    }

    /// The time by the clock that the store's ages come from.
    async fn now(&self) -> Result<DateTime<Utc>, ObjectError> {
        let now = match &self.place {
            Place::JetStream(store) => store.now().await,
            Place::Directory(directory) => directory::now(directory).await,
            Place::S3(_) => self.time_of_a_new_object().await,
            Place::Other(_) => Ok(Utc::now()),
        };
        now.map_err(|error| self.failed("reading its clock", &error))
    }

    /// S3 tells its time by an object's.
    async fn time_of_a_new_object(&self) -> Result<DateTime<Utc>, object_store::Error> {
        let path = Path::from(format!("clock/{}", Uuid::new_v4()));
        self.store.put(&path, Bytes::from_static(b"now").into()).await?;
        let meta = self.store.head(&path).await;
        self.store.delete(&path).await?;
        Ok(meta?.last_modified)
    }

    pub(super) fn failed(&self, what: &str, error: &object_store::Error) -> ObjectError {
        ObjectError::Store { key: what.to_owned(), place: self.place.to_string().into(), reason: crate::bus::chain(error) }
    }
}

fn age(now: DateTime<Utc>, then: DateTime<Utc>) -> Duration {
    (now - then).to_std().unwrap_or_default()
}
