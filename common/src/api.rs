//! What the coordinators' service answers, beside what [`crate::view`] shows of jobs. Its requests are read by hand, so that each
//! mistake in them is named.

use serde::{Deserialize, Serialize};

use crate::ids::JobId;
use crate::messages::{JobState, ProofKind};
use crate::view::JobStatus;

/// Longest idempotency key, in bytes.
pub const MAX_IDEMPOTENCY_KEY: usize = 128;
/// Most bytes that are taken inline: in base64 they fit a message of a NATS server's default `max_payload`, with room for the rest of
/// the request.
pub const MAX_INLINE: usize = 700 * 1024;
/// Most jobs of one page.
pub const MAX_PAGE: u8 = 100;
/// Jobs of a page, unless the request says.
pub const PAGE: u8 = 20;

/// Whether a job was accepted.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(test, derive(schemars::JsonSchema))]
pub struct Submitted {
    /// The job, by whose id it is asked for later.
    pub job: JobId,
    /// Where it stands.
    pub state: SubmittedState,
    /// Its place among the jobs that wait, 1 being the next; null when its turn has come, or it is not known.
    pub position: Option<u32>,
}

/// Where a job stands that was asked for just now.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
#[cfg_attr(test, derive(schemars::JsonSchema))]
pub enum SubmittedState {
    /// The request is stored; no coordinator has taken it yet.
    Submitted,
    /// It is taken: queued, or, with an idempotency key that was used before, wherever that job stands by now.
    #[serde(untagged)]
    Taken(JobState),
}

/// A chunk of a streamed input that is stored.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(test, derive(schemars::JsonSchema))]
pub struct ChunkStored {
    /// The job.
    pub job: JobId,
    /// The chunk's number.
    pub n: u32,
    /// Its size.
    pub bytes: u64,
    /// Whether there was a chunk of this number already, which stays as it was.
    pub duplicate: bool,
}

/// The end of a streamed input, stored.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(test, derive(schemars::JsonSchema))]
pub struct InputClosed {
    /// The job.
    pub job: JobId,
    /// How many chunks there are.
    pub chunks: u32,
    /// How many bytes they have together.
    pub bytes: u64,
    /// Where the job stands: queued, or still waiting while the input is put together.
    pub state: JobState,
}

/// What became of a job that was to end.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(test, derive(schemars::JsonSchema))]
pub struct Cancelled {
    /// The job.
    pub job: JobId,
    /// Whether it is cancelled, now or since before. A job that had ended otherwise stays as it is.
    pub cancelled: bool,
    /// Where it stands.
    pub state: JobState,
}

/// One page of jobs, in the order of their ids.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(test, derive(schemars::JsonSchema))]
pub struct JobsPage {
    /// The jobs.
    pub jobs: Vec<JobStatus>,
    /// The `after` of the next page; null on the last.
    pub next: Option<JobId>,
}

/// What a valid proof proves. One that is not valid is an error.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(test, derive(schemars::JsonSchema))]
pub struct Verified {
    /// True.
    pub valid: bool,
    /// What kind of proof it is.
    pub kind: ProofKind,
    /// The public outputs, in words of 32 bits.
    pub outputs: Vec<u32>,
    /// The program's exit code.
    pub exit_code: u64,
    /// The proof's size in bytes.
    pub proof_bytes: u64,
}
