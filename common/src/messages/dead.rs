//! What failed for good, set aside for people: with its cause, and what is needed to ask for it again.

use super::bytes::ByteBuf;
use serde::{Deserialize, Serialize};

use super::codec::Version;
use super::report::Failure;
use super::request::JobRequest;
use crate::ids::JobId;
use crate::subjects::{Phase, Prefix, RequestKind, StreamKind, Subject};

/// Bytes kept of a message that cannot be read.
const PAYLOAD_BYTES: usize = 4096;
/// Failed attempts kept, the newest.
const ATTEMPTS: usize = 16;

/// An entry of DEAD.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(test, derive(schemars::JsonSchema))]
pub struct DeadLetter {
    /// Schema version.
    pub v: Version,
    /// When it was set aside, in milliseconds since the Unix epoch.
    pub at_ms: u64,
    /// What it is.
    pub dead: Dead,
}

/// What can be set aside.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(test, derive(schemars::JsonSchema))]
#[serde(rename_all = "snake_case")]
#[allow(clippy::large_enum_variant, reason = "read one at a time")]
pub enum Dead {
    /// A job that the cluster could not bring to its end.
    Job(DeadJob),
    /// A message that could not be read.
    Unreadable(Unreadable),
}

/// A job that failed through the cluster's fault, or for a unit of work that fails wherever it is tried.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(test, derive(schemars::JsonSchema))]
pub struct DeadJob {
    /// The job.
    pub job: JobId,
    /// What was asked for.
    pub goal: RequestKind,
    /// The request, to be published again under another id.
    pub request: JobRequest,
    /// What failed last, and so the job: phase, segment and worker, with the last lines of that worker's log.
    pub failure: Failure,
    /// Which attempt that was.
    pub attempt: u32,
    /// All failed attempts at the same unit of work, oldest first; the newest 16.
    pub attempts: Vec<Failure>,
}

/// A message that is none of ours, or of a release we do not read.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(test, derive(schemars::JsonSchema))]
pub struct Unreadable {
    /// The subject it was published on.
    pub subject: String,
    /// The stream it was in.
    pub stream: String,
    /// Its sequence there.
    pub sequence: u64,
    /// The job it names, if that much can be read.
    pub job: Option<JobId>,
    /// What is wrong with it.
    pub reason: String,
    /// How its publisher said it is encoded.
    pub content_type: Option<String>,
    /// How many bytes it had.
    pub bytes: u64,
    /// The first 4 KiB of them.
    pub payload: ByteBuf,
}

impl DeadJob {
    /// A job that `failure` ended at this attempt, after `attempts` at the same unit of work.
    pub fn new(goal: RequestKind, request: JobRequest, failure: Failure, attempt: u32, mut attempts: Vec<Failure>) -> Self {
        attempts.drain(..attempts.len().saturating_sub(ATTEMPTS));
        // One excerpt is enough: the last worker's.
        for earlier in &mut attempts {
            earlier.log.clear();
        }
        Self { job: request.job, goal, request, failure, attempt, attempts }
    }
}

impl Unreadable {
    /// The same with what is kept of the payload.
    #[must_use]
    pub fn with_payload(self, payload: &[u8]) -> Self {
        Self { bytes: payload.len() as u64, payload: ByteBuf::from(&payload[..payload.len().min(PAYLOAD_BYTES)]), ..self }
    }
}

impl DeadLetter {
    /// What it is listed under: a job's id, or `<stream>-<sequence>`.
    pub fn id(&self) -> String {
        match &self.dead {
            Dead::Job(dead) => dead.job.to_string(),
            Dead::Unreadable(dead) => format!("{}-{}", dead.stream, dead.sequence),
        }
    }

    /// The subject it is published on.
    pub fn subject(&self, prefix: &Prefix) -> String {
        match &self.dead {
            Dead::Job(dead) => {
                prefix.dead(dead.job, dead.failure.phase.unwrap_or(Phase::Failed), dead.failure.segment.unwrap_or(0))
            }
            Dead::Unreadable(dead) => format!("{prefix}.dead.unreadable.{}.{}", dead.stream, dead.sequence),
        }
    }
}

/// The filter of the letters that can have this id; none can when it is no id.
pub fn filter_of(prefix: &Prefix, id: &str) -> Option<String> {
    if let Ok(job) = id.parse::<JobId>() {
        return Some(format!("{prefix}.dead.{job}.>"));
    }
    let (stream, sequence) = id.split_once('-')?;
    let subject = prefix.dead_unreadable(stream.parse::<StreamKind>().ok()?, sequence.parse().ok()?);
    matches!(prefix.parse(&subject), Ok(Subject::DeadUnreadable { .. })).then_some(subject)
}
