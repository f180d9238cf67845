//! Content-addressed objects: programs, keys, inputs, segments, nodes, proofs.
//!
//! Behind `object_store`'s trait, so that another backend is one more arm in [`Objects::open`].

mod jetstream;
mod probe;

use std::path::PathBuf;
use std::str::FromStr;
use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use futures::StreamExt;
use object_store::local::LocalFileSystem;
use object_store::path::Path;
use object_store::{ObjectStore, ObjectStoreExt};
use thiserror::Error;

pub use self::jetstream::JetStreamStore;
pub use self::probe::ProbeError;

use crate::bus::{Bus, BusError};
use crate::ids::{Digest, JobId, ProgramId};
use crate::messages::{ObjectKey, ObjectRef, ObjectScope};

/// How often a read or write is tried.
const ATTEMPTS: u32 = 6;
/// Pause before the second attempt; doubles with each. All together about 12 s: a restart of the server.
const PAUSE: Duration = Duration::from_millis(400);
/// Above this hashing goes to a thread of its own, for it would hold up everyone else's.
const HASH_INLINE: usize = 256 * 1024;

/// Where objects are.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub enum StoreUrl {
    /// A bucket on the bus itself; nothing else to install.
    #[default]
    JetStream,
    /// A directory that all processes share.
    Directory(PathBuf),
}

impl FromStr for StoreUrl {
    type Err = ObjectError;

    fn from_str(text: &str) -> Result<Self, ObjectError> {
        if matches!(text, "jetstream" | "jetstream://" | "nats" | "nats://") {
            return Ok(Self::JetStream);
        }
        match text.strip_prefix("file://") {
            Some(path) if path.starts_with('/') => Ok(Self::Directory(PathBuf::from(path))),
            _ => Err(ObjectError::Url(text.to_owned())),
        }
    }
}

impl std::fmt::Display for StoreUrl {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match self {
            Self::JetStream => f.write_str("jetstream"),
            Self::Directory(path) => write!(f, "file://{}", path.display()),
        }
    }
}

/// Why an object could not be read or written.
#[derive(Debug, Error)]
pub enum ObjectError {
    /// No store is known by this URL.
    #[error("object store {0:?} is not known: expected jetstream (a bucket on NATS) or file:///directory")]
    Url(String),
    /// The directory cannot be used.
    #[error("object store directory {path}: {reason}")]
    Directory {
        /// The directory.
        path: String,
        /// What is wrong with it.
        reason: String,
    },
    /// The bucket cannot be opened.
    #[error(transparent)]
    Bus(#[from] BusError),
    /// There is no such object.
    #[error("object {0} is not in the store")]
    NotFound(ObjectKey),
    /// What is there, also after reading again, is not what was stored.
    #[error("object {key} is damaged: its {bytes} bytes hash to {found}")]
    Digest {
        /// The key.
        key: ObjectKey,
        /// How much was read.
        bytes: usize,
        /// What it hashes to.
        found: Digest,
    },
    /// The store failed, after all attempts.
    #[error("object {key}: {reason}")]
    Store {
        /// The key.
        key: String,
        /// What the last attempt met.
        reason: String,
    },
}

/// The store; cheap to clone.
#[derive(Debug, Clone)]
pub struct Objects {
    store: Arc<dyn ObjectStore>,
    on_the_bus: bool,
}

impl Objects {
    /// Opens the store, creating directory or bucket when missing.
    ///
    /// # Errors
    /// [`ObjectError`] when it cannot be used.
    pub async fn open(url: &StoreUrl, bus: &Bus) -> Result<Self, ObjectError> {
        Ok(match url {
            StoreUrl::JetStream => Self { store: Arc::new(JetStreamStore::open(bus).await?), on_the_bus: true },
            StoreUrl::Directory(path) => {
                let fail = |reason: String| ObjectError::Directory { path: path.display().to_string(), reason };
                tokio::fs::create_dir_all(path).await.map_err(|error| fail(error.to_string()))?;
                let store = LocalFileSystem::new_with_prefix(path).map_err(|error| fail(error.to_string()))?;
                // A job's folders go with its last object.
                Self::over(Arc::new(store.with_fsync(true).with_automatic_cleanup(true)))
            }
        })
    }

    /// A store over any backend.
    pub fn over(store: Arc<dyn ObjectStore>) -> Self {
        Self { store, on_the_bus: false }
    }

    /// Whether they are in a bucket on the bus.
    pub const fn are_on_the_bus(&self) -> bool {
        self.on_the_bus
    }

    /// Stores bytes; an object that is already there is not uploaded again.
    ///
    /// # Errors
    /// [`ObjectError::Store`] when the backend fails.
    pub async fn put(&self, scope: ObjectScope, bytes: Bytes) -> Result<ObjectRef, ObjectError> {
        let key = ObjectKey { scope, digest: digest_of(&bytes).await };
        let object = ObjectRef { key, size: bytes.len() as u64 };
        if self.head(key).await? == Some(object) {
            return Ok(object);
        }
        let path = path_of(key);
        attempts(key, || self.store.put(&path, bytes.clone().into())).await?;
        Ok(object)
    }

    /// Reads an object whole, and checks its digest; on a mismatch it is read once more.
    ///
    /// # Errors
    /// [`ObjectError::NotFound`], [`ObjectError::Digest`] or [`ObjectError::Store`].
    pub async fn get(&self, key: ObjectKey) -> Result<Bytes, ObjectError> {
        let path = path_of(key);
        let mut read_again = true;
        loop {
            let read = || async { self.store.get(&path).await?.bytes().await };
            let bytes = attempts(key, read).await?;
            let found = digest_of(&bytes).await;
            if found == key.digest {
                return Ok(bytes);
            }
            if !read_again {
                return Err(ObjectError::Digest { key, bytes: bytes.len(), found });
            }
            tracing::warn!(%key, %found, bytes = bytes.len(), "digest mismatch; reading again");
            read_again = false;
        }
    }

    /// Reads a program's ELF.
    ///
    /// # Errors
    /// As [`Objects::get`].
    pub async fn program(&self, id: ProgramId) -> Result<Bytes, ObjectError> {
        self.get(ObjectKey::program(id)).await
    }

    /// The object under this key, if there is one.
    ///
    /// # Errors
    /// [`ObjectError::Store`] when the backend fails.
    pub async fn head(&self, key: ObjectKey) -> Result<Option<ObjectRef>, ObjectError> {
        let path = path_of(key);
        match attempts(key, || self.store.head(&path)).await {
            Ok(meta) => Ok(Some(ObjectRef { key, size: meta.size })),
            Err(ObjectError::NotFound(_)) => Ok(None),
            Err(error) => Err(error),
        }
    }

    /// Deletes an object; nothing happens when there is none.
    ///
    /// # Errors
    /// [`ObjectError::Store`] when the backend fails.
    pub async fn delete(&self, key: ObjectKey) -> Result<(), ObjectError> {
        let path = path_of(key);
        match attempts(key, || self.store.delete(&path)).await {
            // Deleting what is missing is an error in a directory and none elsewhere.
            Ok(()) | Err(ObjectError::NotFound(_)) => Ok(()),
            Err(error) => Err(error),
        }
    }

    /// The jobs that have segments or nodes in the store.
    ///
    /// # Errors
    /// [`ObjectError::Store`] when the backend fails.
    pub async fn jobs(&self) -> Result<Vec<JobId>, ObjectError> {
        let prefix = Path::from("job");
        let fail = |error: object_store::Error| ObjectError::Store { key: prefix.to_string(), reason: error.to_string() };
        let found = self.store.list_with_delimiter(Some(&prefix)).await.map_err(fail)?;
        Ok(found.common_prefixes.iter().filter_map(|path| path.filename()?.parse().ok()).collect())
    }

    /// Deletes a job's segments and nodes; returns how many. To be called once the job's terminal state is committed.
    ///
    /// # Errors
    /// [`ObjectError::Store`] when the backend fails; what was deleted stays so, and calling again goes on.
    pub async fn delete_job(&self, job: JobId) -> Result<u64, ObjectError> {
        let prefix = Path::from(format!("job/{job}"));
        let fail = |error: object_store::Error| ObjectError::Store { key: prefix.to_string(), reason: error.to_string() };
        let mut found = self.store.list(Some(&prefix));
        let mut paths = Vec::new();
        while let Some(meta) = found.next().await {
            paths.push(meta.map_err(fail)?.location);
        }
        let mut deleted = 0;
        for path in paths {
            match self.store.delete(&path).await {
                Ok(()) => deleted += 1,
                Err(object_store::Error::NotFound { .. }) => {}
                Err(error) => return Err(fail(error)),
            }
        }
        Ok(deleted)
    }
}

fn path_of(key: ObjectKey) -> Path {
    Path::from(key.to_string())
}

async fn digest_of(bytes: &Bytes) -> Digest {
    if bytes.len() <= HASH_INLINE {
        return Digest::of(bytes);
    }
    let shared = bytes.clone();
    // Fails only when the runtime is shutting down; then it no longer matters who waits.
    match tokio::task::spawn_blocking(move || Digest::of(&shared)).await {
        Ok(digest) => digest,
        Err(_) => Digest::of(bytes),
    }
}

async fn attempts<T, F>(key: ObjectKey, mut attempt: impl FnMut() -> F) -> Result<T, ObjectError>
where
    F: Future<Output = Result<T, object_store::Error>>,
{
    let mut pause = PAUSE;
    for left in (0..ATTEMPTS).rev() {
        match attempt().await {
            Ok(value) => return Ok(value),
            Err(object_store::Error::NotFound { .. }) => return Err(ObjectError::NotFound(key)),
            Err(error) if left == 0 => {
                return Err(ObjectError::Store { key: key.to_string(), reason: crate::bus::chain(&error) });
            }
            Err(error) => {
                tracing::debug!(%key, error = crate::bus::chain(&error), "object store failed; trying again")
            }
        }
        tokio::time::sleep(pause).await;
        pause *= 2;
    }
    Err(ObjectError::Store { key: key.to_string(), reason: "no attempt was made".to_owned() })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn store_urls() {
        assert_eq!("jetstream".parse::<StoreUrl>().unwrap(), StoreUrl::JetStream);
        let directory: StoreUrl = "file:///tmp/with space".parse().unwrap();
        assert_eq!(directory, StoreUrl::Directory(PathBuf::from("/tmp/with space")));
        let error = "s3://bucket".parse::<StoreUrl>().unwrap_err().to_string();
        assert!(error.contains("file:///directory"), "{error}");
        assert!("file://relative".parse::<StoreUrl>().is_err());
    }
}
