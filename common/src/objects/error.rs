//! Why an object could not be read or written, and whether that is the object's fault or the store's.

use std::fmt;

use thiserror::Error;

use crate::bus::BusError;
use crate::ids::Digest;
use crate::messages::ObjectKey;

/// Why an object could not be read or written.
#[derive(Debug, Error)]
pub enum ObjectError {
    /// No store is known by this URL.
    #[error("object store {0:?} is not known: expected jetstream (a bucket on NATS), file:///directory or s3://bucket/prefix")]
    Url(String),
    /// The directory cannot be used.
    #[error("object store directory {path}: {reason}")]
    Directory {
        /// The directory.
        path: String,
        /// What is wrong with it.
        reason: String,
    },
    /// The S3 bucket cannot be used as it is configured.
    #[error("object store {bucket}: {reason}")]
    Bucket {
        /// The bucket.
        bucket: String,
        /// What is wrong.
        reason: String,
    },
    /// Somebody made the bucket otherwise.
    #[error(
        "object bucket {bucket} deletes by itself ({settings}), so jobs would lose what they need: a coordinator resets that when it \
         starts to lead, or delete the bucket to have it made anew"
    )]
    Evicting {
        /// The bucket.
        bucket: String,
        /// By which settings.
        settings: String,
    },
    /// The bucket cannot be opened.
    #[error(transparent)]
    Bus(#[from] BusError),
    /// There is no such object, also after looking again.
    #[error("object {key} is not in the store: missing in {place}")]
    NotFound {
        /// The key.
        key: ObjectKey,
        /// The store.
        place: Box<str>,
    },
    /// It is not whole, also after reading again.
    #[error("object {key} in {place} is damaged: truncated, {bytes} of its {expected} bytes are there")]
    Truncated {
        /// The key.
        key: ObjectKey,
        /// The store.
        place: Box<str>,
        /// How much was read.
        bytes: u64,
        /// How much it has.
        expected: u64,
    },
    /// What is there, also after reading again, is not what was stored.
    #[error("object {key} in {place} is damaged: altered, its {bytes} bytes hash to {found}")]
    Altered {
        /// The key.
        key: ObjectKey,
        /// The store.
        place: Box<str>,
        /// How much was read.
        bytes: u64,
        /// What it hashes to.
        found: Digest,
    },
    /// There is no room for it, also after waiting.
    #[error("object {key} is not stored: {place} is full ({reason})")]
    Full {
        /// The key.
        key: String,
        /// The store.
        place: Box<str>,
        /// Which limit was met, and how much is stored.
        reason: String,
    },
    /// The store failed, after all attempts.
    #[error("object {key} in {place}: {reason}")]
    Store {
        /// The key.
        key: String,
        /// The store.
        place: Box<str>,
        /// What the last attempt met.
        reason: String,
    },
}

impl ObjectError {
    /// Whether the object itself is to blame: missing or damaged, so that storing it again helps.
    pub const fn is_damage(&self) -> bool {
        matches!(self, Self::NotFound { .. } | Self::Truncated { .. } | Self::Altered { .. })
    }
}

/// A store's sign that an object's end is not there.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Incomplete {
    pub(super) bytes: u64,
    pub(super) expected: u64,
}

impl fmt::Display for Incomplete {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "only {} of {} bytes are there", self.bytes, self.expected)
    }
}

impl std::error::Error for Incomplete {}

impl Incomplete {
    /// The sign, if the error is one.
    pub(super) fn of(error: &object_store::Error) -> Option<Self> {
        let object_store::Error::Generic { source, .. } = error else { return None };
        source.downcast_ref().copied()
    }
}
