//! Whether an object store can be used at all. Each thing is tried once, and nothing is waited for long: who asks will ask again.

use std::time::Duration;

use object_store::ObjectStoreExt;
use object_store::path::Path;
use thiserror::Error;
use uuid::Uuid;

use super::{Objects, Place, path_of};
use crate::bus::chain;
use crate::full::is_full;
use crate::ids::{Digest, WorkerId};
use crate::messages::ObjectKey;

/// A store that has not answered by then is of no use: a directory on a server that is gone, say.
const SILENCE: Duration = Duration::from_secs(10);

/// Why a store cannot be used.
#[derive(Debug, Error)]
pub enum ProbeError {
    /// One of its operations fails.
    #[error("the object store fails: {action} {path}: {reason}")]
    Failed {
        /// What was tried.
        action: &'static str,
        /// On what.
        path: String,
        /// What the store said.
        reason: String,
    },
    /// It does not give back what it was given.
    #[error("the object store fails: {path} is not read as it was written")]
    Altered {
        /// What was written.
        path: String,
    },
    /// It says nothing.
    #[error("the object store does not answer within {} s", SILENCE.as_secs())]
    Silent,
}

impl Objects {
    /// Writes, reads, compares and deletes a small object of this worker's own.
    ///
    /// # Errors
    /// [`ProbeError`] with what does not work.
    pub async fn probe(&self, worker: WorkerId) -> Result<(), ProbeError> {
        // Works and has no room: that is no worker's own trouble.
        self.has_room(worker).await.map(|_| ())
    }

    /// The same, and whether there is room for it: what is full is not tried any further.
    ///
    /// # Errors
    /// As [`Objects::probe`].
    pub async fn has_room(&self, who: WorkerId) -> Result<bool, ProbeError> {
        let path = Path::from(format!("probe/{who}"));
        let bytes = Uuid::new_v4().to_string().into_bytes();
        in_time(async {
            match self.store.put(&path, bytes.clone().into()).await {
                Err(error) if is_full(&error) => return Ok(false),
                put => put.map_err(failed("writing", &path))?,
            };
            let read = async { self.store.get(&path).await?.bytes().await };
            let read = read.await.map_err(failed("reading", &path))?;
            if read != bytes {
                return Err(ProbeError::Altered { path: path.to_string() });
            }
            self.store.delete(&path).await.map_err(failed("deleting", &path))?;
            Ok(true)
        })
        .await
    }

    /// Whether there is room for uploads, for who may upload and read but need not be allowed to delete: in JetStream nothing is left but
    /// a few bytes until the coordinator sweeps, elsewhere as [`Objects::has_room`].
    ///
    /// # Errors
    /// As [`Objects::probe`].
    pub async fn takes_uploads(&self, who: WorkerId) -> Result<bool, ProbeError> {
        let Place::JetStream(store) = &self.place else { return self.has_room(who).await };
        in_time(async {
            match store.try_upload().await {
                Err(error) if is_full(&error) => Ok(false),
                tried => tried.map_err(failed("writing", &Path::from("probe"))).map(|()| true),
            }
        })
        .await
    }

    /// Whether the object is there, whole.
    ///
    /// # Errors
    /// [`ProbeError`] when that cannot be found out.
    pub async fn has(&self, key: ObjectKey) -> Result<bool, ProbeError> {
        let path = path_of(key);
        in_time(async {
            let read = async { self.store.get(&path).await?.bytes().await };
            match read.await {
                Ok(bytes) => Ok(Digest::of(&bytes) == key.digest),
                Err(object_store::Error::NotFound { .. }) => Ok(false),
                Err(error) => Err(failed("reading", &path)(error)),
            }
        })
        .await
    }
}

async fn in_time<T>(work: impl Future<Output = Result<T, ProbeError>>) -> Result<T, ProbeError> {
    tokio::time::timeout(SILENCE, work).await.unwrap_or(Err(ProbeError::Silent))
}

fn failed(action: &'static str, path: &Path) -> impl FnOnce(object_store::Error) -> ProbeError {
    let path = path.to_string();
    move |error| ProbeError::Failed { action, path, reason: chain(&error) }
}

#[cfg(test)]
mod tests {
    use std::sync::Arc;

    use object_store::local::LocalFileSystem;

    use super::*;
    use crate::messages::ObjectScope;

    #[tokio::test]
    async fn a_store_that_works_is_left_as_it_was_and_one_that_does_not_is_named() {
        let folder = std::env::temp_dir().join(format!("zisk-probe-{}", Uuid::new_v4()));
        std::fs::create_dir(&folder).unwrap();
        let objects = Objects::over(Arc::new(LocalFileSystem::new_with_prefix(&folder).unwrap()));
        let worker = WorkerId::random();
        objects.probe(worker).await.unwrap();
        assert!(!folder.join(format!("probe/{worker}")).exists());

        let mark = objects.put(ObjectScope::Mark, "mark".into()).await.unwrap();
        assert!(objects.has(mark.key).await.unwrap());
        std::fs::write(folder.join(mark.key.to_string()), "another").unwrap();
        assert!(!objects.has(mark.key).await.unwrap());

        std::fs::remove_dir_all(folder.join("probe")).unwrap();
        std::fs::write(folder.join("probe"), "no directory").unwrap();
        let error = objects.probe(worker).await.unwrap_err().to_string();
        assert!(error.contains("writing") && error.contains("probe"), "{error}");
        std::fs::remove_dir_all(&folder).unwrap();
    }
}
