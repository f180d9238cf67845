//! Units of work, coordinator to worker.

use std::time::Duration;

use super::bytes::ByteBuf;
use bytes::Bytes;
use serde::{Deserialize, Serialize};

use super::codec::{CodecError, Version, decode, encode};
use super::object::ObjectRef;
use super::presence::ProgramKeys;
use super::request::JobParams;
use crate::ids::{JobId, ProgramId, WorkerId};
use crate::subjects::{AssignmentKind, Prefix, RequestKind};

/// Run the program, cut it in segments. Derives the program's keys first when `programs` has none.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(test, derive(schemars::JsonSchema))]
pub struct PlanAssignment {
    /// Schema version.
    pub v: Version,
    /// The job.
    pub job: JobId,
    /// How often the coordinator published this; JetStream's delivery count adds to it.
    pub attempt: u32,
    /// Only keys, also an execution, or also segments.
    pub goal: RequestKind,
    /// The program; its ELF is in the object store under `program/<id>`.
    pub program: ProgramId,
    /// The input; none is empty.
    pub input: Option<ObjectRef>,
    /// With the coordinator's defaults filled in.
    pub params: JobParams,
    /// Milliseconds that whoever gets it first leaves it, so that attempts which fail at once do not follow at once.
    #[serde(default)]
    pub pause_ms: u32,
}

/// Contribute one segment and, once the challenge is broadcast, prove it.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(test, derive(schemars::JsonSchema))]
pub struct SegmentAssignment {
    /// Schema version.
    pub v: Version,
    /// The job.
    pub job: JobId,
    /// The segment's index.
    pub n: u32,
    /// How often the coordinator published this; JetStream's delivery count adds to it.
    pub attempt: u32,
    /// The program.
    pub program: ProgramId,
    /// Its keys.
    pub keys: ProgramKeys,
    /// The segment.
    pub segment: ObjectRef,
    /// As in the plan.
    pub params: JobParams,
    /// Milliseconds that whoever gets it first leaves it, so that attempts which fail at once do not follow at once.
    #[serde(default)]
    pub pause_ms: u32,
    /// The round that it was published in: as much part of its name as the attempt.
    #[serde(default)]
    pub round: u32,
    /// Workers that are not to take it while others are there: a result of theirs for it was refused.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub avoid: Vec<WorkerId>,
}

/// Fold two neighbouring nodes. The one assignment that is published by a worker: the job's aggregator.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(test, derive(schemars::JsonSchema))]
pub struct FoldAssignment {
    /// Schema version.
    pub v: Version,
    /// The job.
    pub job: JobId,
    /// The first segment of the right node. No two folds of a tree have the same.
    pub n: u32,
    /// The aggregator's epoch: a fold for one that was replaced is of no use.
    pub epoch: u64,
    /// The round under whose challenge both nodes are.
    pub round: u32,
    /// The program.
    pub program: ProgramId,
    /// Its keys.
    pub keys: ProgramKeys,
    /// The node over the lower segments.
    pub left: ObjectRef,
    /// The node that follows it.
    pub right: ObjectRef,
    /// Workers that are not to take it while others are there: a fold of theirs was refused.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub avoid: Vec<WorkerId>,
}

/// Stand for election as the job's aggregator: the last one's lease expired.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(test, derive(schemars::JsonSchema))]
pub struct AggregateAssignment {
    /// Schema version.
    pub v: Version,
    /// The job.
    pub job: JobId,
    /// Counts the job's aggregation assignments.
    pub n: u32,
    /// How often the coordinator published this; JetStream's delivery count adds to it.
    pub attempt: u32,
    /// The program.
    pub program: ProgramId,
    /// Its keys.
    pub keys: ProgramKeys,
    /// The job's number of segments.
    pub segments: u32,
    /// The global challenge; the prover's encoding.
    pub challenge: ByteBuf,
    /// Milliseconds that whoever gets it first leaves it, so that attempts which fail at once do not follow at once.
    #[serde(default)]
    pub pause_ms: u32,
    /// Workers that are not to take it while others are there: they were replaced as aggregators.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub avoid: Vec<WorkerId>,
}

/// Any assignment.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Assignment {
    /// Run and cut.
    Plan(PlanAssignment),
    /// Contribute and prove.
    Segment(SegmentAssignment),
    /// Fold.
    Fold(FoldAssignment),
    /// Aggregate.
    Aggregate(AggregateAssignment),
}

impl Assignment {
    /// Reads the assignment of this class.
    ///
    /// # Errors
    /// [`CodecError`] as [`decode`].
    pub fn decode(kind: AssignmentKind, payload: &[u8]) -> Result<Self, CodecError> {
        Ok(match kind {
            AssignmentKind::Plan => Self::Plan(decode(payload)?),
            AssignmentKind::Segment => Self::Segment(decode(payload)?),
            AssignmentKind::Fold => Self::Fold(decode(payload)?),
            AssignmentKind::Aggregate => Self::Aggregate(decode(payload)?),
        })
    }

    /// Writes it as MessagePack.
    ///
    /// # Errors
    /// [`CodecError`] as [`encode`].
    pub fn encode(&self) -> Result<Bytes, CodecError> {
        match self {
            Self::Plan(message) => encode(message),
            Self::Segment(message) => encode(message),
            Self::Fold(message) => encode(message),
            Self::Aggregate(message) => encode(message),
        }
    }

    /// Its class.
    pub const fn kind(&self) -> AssignmentKind {
        match self {
            Self::Plan(_) => AssignmentKind::Plan,
            Self::Segment(_) => AssignmentKind::Segment,
            Self::Fold(_) => AssignmentKind::Fold,
            Self::Aggregate(_) => AssignmentKind::Aggregate,
        }
    }

    /// Its job.
    pub const fn job(&self) -> JobId {
        match self {
            Self::Plan(message) => message.job,
            Self::Segment(message) => message.job,
            Self::Fold(message) => message.job,
            Self::Aggregate(message) => message.job,
        }
    }

    /// How long whoever gets it first leaves it.
    pub const fn pause(&self) -> Duration {
        Duration::from_millis(match self {
            Self::Plan(message) => message.pause_ms,
            Self::Segment(message) => message.pause_ms,
            Self::Fold(_) => 0,
            Self::Aggregate(message) => message.pause_ms,
        } as u64)
    }

    /// Who is not to take it while others are there.
    pub fn avoid(&self) -> &[WorkerId] {
        match self {
            Self::Plan(_) => &[],
            Self::Segment(message) => &message.avoid,
            Self::Fold(message) => &message.avoid,
            Self::Aggregate(message) => &message.avoid,
        }
    }

    /// Its number within job and class.
    pub const fn n(&self) -> u32 {
        match self {
            Self::Plan(_) => 0,
            Self::Segment(message) => message.n,
            Self::Fold(message) => message.n,
            Self::Aggregate(message) => message.n,
        }
    }

    /// How often the coordinator published it; a fold is published once.
    pub const fn attempt(&self) -> u32 {
        match self {
            Self::Plan(message) => message.attempt,
            Self::Segment(message) => message.attempt,
            Self::Fold(_) => 1,
            Self::Aggregate(message) => message.attempt,
        }
    }

    /// The subject it is published on.
    pub fn subject(&self, prefix: &Prefix) -> String {
        prefix.assign(self.kind(), self.job(), self.n())
    }

    /// The message id: the same assignment published twice is stored once.
    pub fn message_id(&self) -> String {
        let first = format!("assign.{}.{}.{}.{}", self.kind(), self.job(), self.n(), self.attempt());
        match self {
            Self::Segment(message) if message.round > 0 => format!("{first}.{}", message.round),
            Self::Fold(message) => format!("{first}.{}.{}", message.epoch, message.round),
            _ => first,
        }
    }
}
