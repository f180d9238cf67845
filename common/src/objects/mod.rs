//! Content-addressed objects: programs, keys, inputs, segments, nodes, proofs.
//!
//! Behind `object_store`'s trait, so that another backend is one more arm in [`Objects::open`].

mod directory;
mod error;
mod jetstream;
mod parts;
mod probe;
mod retry;
mod s3;
mod sweep;
mod traffic;

use std::fmt;
use std::path::{Path as FilePath, PathBuf};
use std::str::FromStr;
use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use futures::StreamExt;
use object_store::local::LocalFileSystem;
use object_store::path::Path;
use object_store::{ObjectStore, ObjectStoreExt};

use self::error::Incomplete;
pub use self::error::ObjectError;
pub use self::jetstream::JetStreamStore;
pub use self::parts::Parts;
pub use self::probe::ProbeError;
use self::retry::PATIENCE;
pub use self::s3::Bucket;
pub use self::sweep::Stored;
use self::traffic::Direction;

use crate::bus::Bus;
use crate::ids::{Digest, JobId, ProgramId};
use crate::messages::{ObjectKey, ObjectRef, ObjectScope};

/// Pauses before an object that is missing or damaged is read again.
const READ_AGAIN: [Duration; 4] =
    [Duration::from_millis(100), Duration::from_millis(300), Duration::from_millis(800), Duration::from_millis(1500)];
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
    /// A bucket of an S3-compatible service.
    S3(Bucket),
}

impl FromStr for StoreUrl {
    type Err = ObjectError;

    fn from_str(text: &str) -> Result<Self, ObjectError> {
        if matches!(text, "jetstream" | "jetstream://" | "nats" | "nats://") {
            return Ok(Self::JetStream);
        }
        if let Some(path) = text.strip_prefix("file://").filter(|path| path.starts_with('/')) {
            return Ok(Self::Directory(PathBuf::from(path)));
        }
        let bucket = text.strip_prefix("s3://").and_then(Bucket::parse);
        bucket.map(Self::S3).ok_or_else(|| ObjectError::Url(text.to_owned()))
    }
}

impl StoreUrl {
    /// What stands before an object's key in its URL.
    pub fn base(&self) -> String {
        match self {
            Self::JetStream => "jetstream://".to_owned(),
            Self::Directory(_) | Self::S3(_) => format!("{}/", self.to_string().trim_end_matches('/')),
        }
    }
}

impl std::fmt::Display for StoreUrl {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match self {
            Self::JetStream => f.write_str("jetstream"),
            Self::Directory(path) => write!(f, "file://{}", path.display()),
            Self::S3(bucket) => bucket.fmt(f),
        }
    }
}

/// The store; cheap to clone.
#[derive(Debug, Clone)]
pub struct Objects {
    store: Arc<dyn ObjectStore>,
    place: Place,
    /// How long a write waits for room in a full store.
    patience: Duration,
}

/// What the store is, for what `object_store`'s trait does not offer.
#[derive(Debug, Clone)]
enum Place {
    JetStream(Box<JetStreamStore>),
    Directory(PathBuf),
    S3(Bucket),
    Other(String),
}

impl fmt::Display for Place {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::JetStream(store) => store.fmt(f),
            Self::Directory(path) => write!(f, "directory {}", path.display()),
            Self::S3(bucket) => bucket.fmt(f),
            Self::Other(name) => f.write_str(name),
        }
    }
}

/// What one reading met.
enum Damage {
    Missing,
    Truncated { bytes: u64, expected: u64 },
    Altered { bytes: u64, found: Digest },
}

impl Objects {
    /// Opens the store, creating directory or bucket when missing.
    ///
    /// # Errors
    /// [`ObjectError`] when it cannot be used.
    pub async fn open(url: &StoreUrl, bus: &Bus) -> Result<Self, ObjectError> {
        Ok(match url {
            StoreUrl::JetStream => {
                let store = JetStreamStore::open(bus).await?;
                if let Some(settings) = store.evicts() {
                    return Err(ObjectError::Evicting { bucket: bus.prefix().objects_bucket(), settings });
                }
                Self { store: Arc::new(store.clone()), place: Place::JetStream(Box::new(store)), patience: PATIENCE }
            }
            StoreUrl::Directory(path) => Self::in_directory(path)?,
            StoreUrl::S3(bucket) => {
                let fail = |reason| ObjectError::Bucket { bucket: bucket.to_string(), reason };
                let store = bucket.open().map_err(fail)?;
                Self { store: Arc::new(store), place: Place::S3(bucket.clone()), patience: PATIENCE }
            }
        })
    }

    /// As [`Objects::open`], for the coordinator, which owns the store's settings: a store that deletes by itself is made to stop that.
    ///
    /// # Errors
    /// As [`Objects::open`].
    pub async fn own(url: &StoreUrl, bus: &Bus) -> Result<Self, ObjectError> {
        if *url == StoreUrl::JetStream {
            JetStreamStore::open(bus).await?.stop_evicting().await?;
        }
        Self::open(url, bus).await
    }

    fn in_directory(path: &FilePath) -> Result<Self, ObjectError> {
        let fail = |reason: String| ObjectError::Directory { path: path.display().to_string(), reason };
        std::fs::create_dir_all(path).map_err(|error| fail(error.to_string()))?;
        let store = LocalFileSystem::new_with_prefix(path).map_err(|error| fail(error.to_string()))?;
        // A job's folders go with its last object.
        let store = store.with_fsync(true).with_automatic_cleanup(true);
        Ok(Self { store: Arc::new(store), place: Place::Directory(path.to_owned()), patience: PATIENCE })
    }

    /// The same store, in which a write waits so long for room: others may be about to make some.
    #[must_use]
    pub fn with_patience(self, patience: Duration) -> Self {
        Self { patience, ..self }
    }

    /// A store over any backend.
    pub fn over(store: Arc<dyn ObjectStore>) -> Self {
        let place = Place::Other(store.to_string());
        Self { store, place, patience: PATIENCE }
    }

    /// Whether they are in a bucket on the bus.
    pub const fn are_on_the_bus(&self) -> bool {
        matches!(self.place, Place::JetStream(_))
    }

    /// Stores bytes. An object that is already there, whole, is not uploaded again, but is as new as if it had been; one that
    /// is there and damaged is replaced.
    ///
    /// # Errors
    /// [`ObjectError::Store`] when the backend fails.
    pub async fn put(&self, scope: ObjectScope, bytes: Bytes) -> Result<ObjectRef, ObjectError> {
        let key = ObjectKey { scope, digest: digest_of(&bytes).await };
        let object = ObjectRef { key, size: bytes.len() as u64 };
        if !self.renew(object).await? {
            let path = path_of(key);
            let put = self.attempts(key, || self.store.put(&path, bytes.clone().into())).await;
            put.map_err(|error| match error {
                // What cannot be found while an object is written is what it should be in.
                ObjectError::NotFound { key, place } => {
                    ObjectError::Store { key: key.to_string(), place, reason: "there is no such bucket or directory".to_owned() }
                }
                error => error,
            })?;
            traffic::count(Direction::Written, scope, object.size);
        }
        Ok(object)
    }

    /// Reads an object whole, and checks size and digest. Should it be missing or damaged, it is read again for some seconds:
    /// a replica may lag behind, another may just be writing it.
    ///
    /// # Errors
    /// [`ObjectError::NotFound`], [`ObjectError::Truncated`], [`ObjectError::Altered`] or [`ObjectError::Store`].
    pub async fn get(&self, object: impl Into<Wanted>) -> Result<Bytes, ObjectError> {
        let wanted: Wanted = object.into();
        let key = wanted.key;
        let mut pauses = READ_AGAIN.iter();
        loop {
            let damage = match self.read(wanted).await? {
                Ok(bytes) => return Ok(bytes),
                Err(damage) => damage,
            };
            traffic::count_error(if matches!(damage, Damage::Missing) { "missing" } else { "damaged" });
            let Some(pause) = pauses.next() else {
                let place = self.place.to_string().into();
                return Err(match damage {
                    Damage::Missing => ObjectError::NotFound { key, place },
                    Damage::Truncated { bytes, expected } => ObjectError::Truncated { key, place, bytes, expected },
                    Damage::Altered { bytes, found } => ObjectError::Altered { key, place, bytes, found },
                });
            };
            tracing::debug!(%key, %damage, "reading the object again");
            tokio::time::sleep(*pause).await;
        }
    }

    /// One reading.
    async fn read(&self, wanted: Wanted) -> Result<Result<Bytes, Damage>, ObjectError> {
        let Wanted { key, size } = wanted;
        let path = path_of(key);
        let once = || async {
            let read = async { self.store.get(&path).await?.bytes().await };
            match read.await {
                Ok(bytes) => Ok(Ok(bytes)),
                Err(object_store::Error::NotFound { .. }) => Ok(Err(Damage::Missing)),
                Err(error) => match Incomplete::of(&error) {
                    Some(Incomplete { bytes, expected }) => Ok(Err(Damage::Truncated { bytes, expected })),
                    None => Err(error),
                },
            }
        };
        let bytes = match self.attempts(key, once).await? {
            Ok(bytes) => bytes,
            Err(damage) => return Ok(Err(damage)),
        };
        let length = bytes.len() as u64;
        traffic::count(Direction::Read, key.scope, length);
        if let Some(expected) = size.filter(|size| length < *size) {
            return Ok(Err(Damage::Truncated { bytes: length, expected }));
        }
        let found = digest_of(&bytes).await;
        Ok(if found == key.digest { Ok(bytes) } else { Err(Damage::Altered { bytes: length, found }) })
    }

    /// Whether the store has the object, whole; from now on it counts as written now.
    ///
    /// # Errors
    /// [`ObjectError::Store`] when the backend fails.
    pub async fn renew(&self, object: impl Into<Wanted>) -> Result<bool, ObjectError> {
        let wanted: Wanted = object.into();
        let (key, path) = (wanted.key, path_of(wanted.key));
        if self.head(key).await?.is_none() {
            return Ok(false);
        }
        let bytes = match self.read(wanted).await? {
            Ok(bytes) => bytes,
            Err(damage) => {
                tracing::warn!(%key, %damage, "a stored object is not what it should be: it is stored again");
                return Ok(false);
            }
        };
        match &self.place {
            Place::JetStream(store) => self.attempts(key, || store.renew(&path)).await,
            Place::Directory(directory) => self.attempts(key, || directory::renew(directory, &path)).await,
            // S3 changes an object's time only with its bytes.
            Place::S3(_) => {
                self.attempts(key, || self.store.put(&path, bytes.clone().into())).await?;
                traffic::count(Direction::Written, key.scope, bytes.len() as u64);
                Ok(true)
            }
            Place::Other(_) => Ok(false),
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
        match self.attempts(key, || self.store.head(&path)).await {
            Ok(meta) => Ok(Some(ObjectRef { key, size: meta.size })),
            Err(ObjectError::NotFound { .. }) => Ok(None),
            Err(error) => Err(error),
        }
    }

    /// Deletes an object; nothing happens when there is none.
    ///
    /// # Errors
    /// [`ObjectError::Store`] when the backend fails.
    pub async fn delete(&self, key: ObjectKey) -> Result<(), ObjectError> {
        let path = path_of(key);
        match self.attempts(key, || self.store.delete(&path)).await {
            // Deleting what is missing is an error in a directory and none elsewhere.
            Ok(()) | Err(ObjectError::NotFound { .. }) => Ok(()),
            Err(error) => Err(error),
        }
    }

    /// The jobs that have segments or nodes in the store.
    ///
    /// # Errors
    /// [`ObjectError::Store`] when the backend fails.
    pub async fn jobs(&self) -> Result<Vec<JobId>, ObjectError> {
        let prefix = Path::from("job");
        let fail = |error: object_store::Error| ObjectError::Store {
            key: prefix.to_string(),
            place: self.place.to_string().into(),
            reason: error.to_string(),
        };
        let found = self.store.list_with_delimiter(Some(&prefix)).await.map_err(fail)?;
        Ok(found.common_prefixes.iter().filter_map(|path| path.filename()?.parse().ok()).collect())
    }

    /// Deletes a job's segments and nodes; returns how many. To be called once the job's terminal state is committed.
    ///
    /// # Errors
    /// [`ObjectError::Store`] when the backend fails; what was deleted stays so, and calling again goes on.
    pub async fn delete_job(&self, job: JobId) -> Result<u64, ObjectError> {
        let prefix = Path::from(format!("job/{job}"));
        let fail = |error: object_store::Error| ObjectError::Store {
            key: prefix.to_string(),
            place: self.place.to_string().into(),
            reason: error.to_string(),
        };
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

/// An object to be read: its key, and its size where that is known.
#[derive(Debug, Clone, Copy)]
pub struct Wanted {
    key: ObjectKey,
    size: Option<u64>,
}

impl From<ObjectKey> for Wanted {
    fn from(key: ObjectKey) -> Self {
        Self { key, size: None }
    }
}

impl From<ObjectRef> for Wanted {
    fn from(object: ObjectRef) -> Self {
        Self { key: object.key, size: Some(object.size) }
    }
}

impl fmt::Display for Damage {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Missing => f.write_str("missing"),
            Self::Truncated { bytes, expected } => write!(f, "truncated: {bytes} of {expected} bytes"),
            Self::Altered { bytes, found } => write!(f, "altered: {bytes} bytes that hash to {found}"),
        }
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

#[cfg(test)]
mod tests;
