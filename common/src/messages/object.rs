//! References to objects: where they are and what they must hash to.

use std::fmt;
use std::str::FromStr;

use serde::{Deserialize, Serialize};

use crate::ids::{Digest, JobId, ProgramId};

/// What an object is, and with whom it lives and dies.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum ObjectScope {
    /// An ELF. Kept.
    Program,
    /// A proving or verifying key. Kept.
    Key,
    /// A job's input. Kept, for two jobs may share it.
    Input,
    /// A final proof. Kept.
    Proof,
    /// What tells the cluster's store from others ([`StoreMark`](super::StoreMark)). Kept.
    Mark,
    /// A segment; deleted with its job. The job is in the key because two jobs that run the same program on the same
    /// input cut the same segments, and the first to end must not delete the other's.
    Segment(JobId),
    /// A node of the aggregation tree; deleted with its job.
    Node(JobId),
}

impl ObjectScope {
    /// What the object is, as a label.
    pub const fn kind(self) -> &'static str {
        match self {
            Self::Program => "program",
            Self::Key => "key",
            Self::Input => "input",
            Self::Proof => "proof",
            Self::Mark => "mark",
            Self::Segment(_) => "segment",
            Self::Node(_) => "node",
        }
    }
}

/// An object's key: its scope and its digest, written as a path.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[cfg_attr(test, derive(schemars::JsonSchema))]
#[serde(try_from = "String", into = "String")]
#[cfg_attr(test, schemars(extend("pattern" = crate::schemas::object_key())))]
pub struct ObjectKey {
    /// What the object is.
    pub scope: ObjectScope,
    /// The blake3 digest of its bytes.
    pub digest: Digest,
}

impl ObjectKey {
    /// The key of a program's ELF.
    pub const fn program(id: ProgramId) -> Self {
        Self { scope: ObjectScope::Program, digest: id }
    }
}

impl fmt::Display for ObjectKey {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let digest = self.digest;
        match self.scope {
            ObjectScope::Program => write!(f, "program/{digest}"),
            ObjectScope::Key => write!(f, "key/{digest}"),
            ObjectScope::Input => write!(f, "input/{digest}"),
            ObjectScope::Proof => write!(f, "proof/{digest}"),
            ObjectScope::Mark => write!(f, "mark/{digest}"),
            ObjectScope::Segment(job) => write!(f, "job/{job}/segment/{digest}"),
            ObjectScope::Node(job) => write!(f, "job/{job}/node/{digest}"),
        }
    }
}

impl FromStr for ObjectKey {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        let parts: Vec<&str> = text.split('/').collect();
        let job = |token: &str| token.parse::<JobId>().map_err(|error| error.to_string());
        let (scope, digest) = match *parts {
            ["program", digest] => (ObjectScope::Program, digest),
            ["key", digest] => (ObjectScope::Key, digest),
            ["input", digest] => (ObjectScope::Input, digest),
            ["proof", digest] => (ObjectScope::Proof, digest),
            ["mark", digest] => (ObjectScope::Mark, digest),
            ["job", id, "segment", digest] => (ObjectScope::Segment(job(id)?), digest),
            ["job", id, "node", digest] => (ObjectScope::Node(job(id)?), digest),
            _ => {
                let text: String = text.chars().take(120).collect();
                return Err(format!(
                    "{text:?} is not an object key: expected {{program,key,input,proof,mark}}/<digest> or \
                     job/<job>/{{segment,node}}/<digest>"
                ));
            }
        };
        Ok(Self { scope, digest: digest.parse().map_err(|error: crate::ids::InvalidId| error.to_string())? })
    }
}

impl TryFrom<String> for ObjectKey {
    type Error = String;

    fn try_from(text: String) -> Result<Self, String> {
        text.parse()
    }
}

impl From<ObjectKey> for String {
    fn from(key: ObjectKey) -> String {
        key.to_string()
    }
}

/// An object: its key and how many bytes it has.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[cfg_attr(test, derive(schemars::JsonSchema))]
#[serde(deny_unknown_fields)]
pub struct ObjectRef {
    /// Where it is and what it hashes to.
    pub key: ObjectKey,
    /// Its size in bytes.
    pub size: u64,
}
