//! What all workers of a job must hear; the last per job is kept for those who come late.

use super::bytes::ByteBuf;
use serde::{Deserialize, Serialize};

use super::codec::Version;
use super::report::FailureKind;
use crate::ids::JobId;

/// The job's global challenge: proving may begin.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(test, derive(schemars::JsonSchema))]
pub struct Challenge {
    /// Schema version.
    pub v: Version,
    /// The job.
    pub job: JobId,
    /// The challenge; the prover's encoding.
    pub challenge: ByteBuf,
    /// The job's number of segments.
    pub segments: u32,
    /// Counts the job's challenges: a later one takes an earlier one's place.
    #[serde(default)]
    pub round: u32,
}

/// The job has ended without a proof: drop all work on it.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(test, derive(schemars::JsonSchema))]
pub struct Cancel {
    /// Schema version.
    pub v: Version,
    /// The job.
    pub job: JobId,
    /// Why.
    pub kind: FailureKind,
    /// Why, in words.
    pub message: String,
}

impl Cancel {
    /// What a client says who does not want the job any more.
    pub fn by_client(job: JobId) -> Self {
        Self { v: Version::default(), job, kind: FailureKind::Cancelled, message: "cancelled by a client".to_owned() }
    }
}
