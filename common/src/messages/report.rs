//! Results and failures, worker to coordinator.

use super::bytes::ByteBuf;
use bytes::Bytes;
use serde::{Deserialize, Serialize};
use thiserror::Error;

use super::codec::{CodecError, Version, decode, encode};
use super::object::ObjectRef;
use super::presence::ProgramKeys;
use crate::errors::ErrorCode;
use crate::ids::{Digest, JobId, ProgramId, WorkerId};
use crate::subjects::{Phase, Prefix};

/// The program's keys are in the object store and in `programs`.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(test, derive(schemars::JsonSchema))]
pub struct SetupDone {
    /// Schema version.
    pub v: Version,
    /// The job.
    pub job: JobId,
    /// Who did it.
    pub worker: WorkerId,
    /// The program.
    pub program: ProgramId,
    /// Its keys.
    pub keys: ProgramKeys,
    /// How long it took; 0 when the keys were already there.
    pub milliseconds: u64,
}

/// A segment was cut and is in the object store.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(test, derive(schemars::JsonSchema))]
pub struct Planned {
    /// Schema version.
    pub v: Version,
    /// The job.
    pub job: JobId,
    /// The segment's index.
    pub n: u32,
    /// Who cut it.
    pub worker: WorkerId,
    /// The segment.
    pub segment: ObjectRef,
    /// The program's keys: what its assignment needs, so that the coordinator looks nothing up.
    pub keys: ProgramKeys,
}

/// The program ended; all segments are cut.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(test, derive(schemars::JsonSchema))]
pub struct Executed {
    /// Schema version.
    pub v: Version,
    /// The job.
    pub job: JobId,
    /// Who ran it.
    pub worker: WorkerId,
    /// The number of segments.
    pub segments: u32,
    /// The number of steps.
    pub steps: u64,
    /// The program's exit code.
    pub exit_code: u64,
    /// The public outputs as the guest wrote them, for people and clients.
    pub outputs: ByteBuf,
    /// The public values the challenge binds (outputs and exit code among them); the prover's encoding.
    pub public_values: ByteBuf,
    /// What the guest printed, cut at a size the coordinator can store.
    pub uart: ByteBuf,
    /// The verifying key's digest as the prover encodes it; binds the challenge.
    pub verifying_key: ByteBuf,
    /// The program's keys.
    pub keys: ProgramKeys,
    /// How long the execution took.
    pub milliseconds: u64,
}

/// A segment's contribution.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(test, derive(schemars::JsonSchema))]
pub struct Contribution {
    /// Schema version.
    pub v: Version,
    /// The job.
    pub job: JobId,
    /// The segment's index.
    pub n: u32,
    /// Who made it.
    pub worker: WorkerId,
    /// Which delivery of the assignment: the coordinator's attempt plus JetStream's redeliveries.
    pub attempt: u32,
    /// The contribution; the prover's encoding.
    pub contribution: ByteBuf,
    /// How long it took.
    pub milliseconds: u64,
}

/// A segment's proof is in the object store, as a leaf of the aggregation tree.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(test, derive(schemars::JsonSchema))]
pub struct Proof {
    /// Schema version.
    pub v: Version,
    /// The job.
    pub job: JobId,
    /// The segment's index.
    pub n: u32,
    /// Who made it.
    pub worker: WorkerId,
    /// Which delivery of the assignment.
    pub attempt: u32,
    /// The node.
    pub node: ObjectRef,
    /// Digest of the challenge it was proven under: a proof for another challenge is of no use.
    pub challenge: Digest,
    /// How long it took.
    pub milliseconds: u64,
}

/// A segment whose contribution was made here is left to an idle worker. Only so that the work this repeats is not taken for
/// a fault's; the assignment itself goes back with a nak.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(test, derive(schemars::JsonSchema))]
pub struct GivenBack {
    /// Schema version.
    pub v: Version,
    /// The job.
    pub job: JobId,
    /// The segment's index.
    pub n: u32,
    /// Who gives it back.
    pub worker: WorkerId,
    /// Which delivery of the assignment.
    pub attempt: u32,
}

/// The aggregator checked a committed segment proof against the committed contribution and the challenge, and rejects it.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(test, derive(schemars::JsonSchema))]
pub struct Rejected {
    /// Schema version.
    pub v: Version,
    /// The job.
    pub job: JobId,
    /// The segment's index.
    pub n: u32,
    /// The aggregator.
    pub worker: WorkerId,
    /// Its epoch; a stale one is refused.
    pub epoch: u64,
    /// Which of the segment's committed proofs.
    pub commit: u32,
    /// The proof.
    pub node: ObjectRef,
    /// Who made it.
    pub prover: WorkerId,
    /// What is wrong with it.
    pub reason: String,
    /// The digest of the contribution that it does prove, where that is a rival of the committed one.
    #[serde(default)]
    pub proves: Option<Digest>,
}

/// Two neighbouring nodes were folded, by the aggregator or for it.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(test, derive(schemars::JsonSchema))]
pub struct Folded {
    /// Schema version.
    pub v: Version,
    /// The job.
    pub job: JobId,
    /// The first segment of the right node.
    pub n: u32,
    /// Who folded.
    pub worker: WorkerId,
    /// The aggregator's epoch; a stale one is refused.
    pub epoch: u64,
    /// The round under whose challenge both nodes are.
    pub round: u32,
    /// The node; none of a bundle, whose nodes are worth no upload.
    pub node: Option<ObjectRef>,
    /// How long it took.
    pub milliseconds: u64,
    /// The fold that this one takes the place of, as the aggregator says: it checked it and refused it.
    #[serde(default)]
    pub refused: Option<RefusedFold>,
}

/// A fold that is none.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(test, derive(schemars::JsonSchema))]
pub struct RefusedFold {
    /// Whose.
    pub worker: WorkerId,
    /// What is wrong with it.
    pub reason: String,
}

/// The final proof is in the object store.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(test, derive(schemars::JsonSchema))]
pub struct Final {
    /// Schema version.
    pub v: Version,
    /// The job.
    pub job: JobId,
    /// The aggregator.
    pub worker: WorkerId,
    /// Its epoch; a stale one is refused.
    pub epoch: u64,
    /// The final proof, verified by the aggregator.
    pub proof: ObjectRef,
    /// How long aggregation took, from election on.
    pub milliseconds: u64,
}

/// Something failed for good: the job cannot succeed, or this attempt of a unit could not.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(test, derive(schemars::JsonSchema))]
pub struct Failed {
    /// Schema version.
    pub v: Version,
    /// The job.
    pub job: JobId,
    /// Which delivery of the assignment.
    pub attempt: u32,
    /// What failed, where.
    pub failure: Failure,
}

/// Whose fault a failure is, which decides whether trying again can help.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[cfg_attr(test, derive(schemars::JsonSchema))]
#[serde(rename_all = "snake_case")]
pub enum FailureKind {
    /// The request, the ELF or the input is not usable.
    Input,
    /// The guest trapped or exceeded its step limit.
    Execution,
    /// The job exceeded its time.
    Timeout,
    /// Someone cancelled it.
    Cancelled,
    /// Too many jobs wait already.
    Busy,
    /// A store has no room left.
    Storage,
    /// What was streamed is not the input that its end announced.
    IncompleteInput,
    /// A defect or a lost resource of the cluster.
    Internal,
}

impl FailureKind {
    /// All of them.
    pub const ALL: &[Self] = &[
        Self::Input,
        Self::Execution,
        Self::Timeout,
        Self::Cancelled,
        Self::Busy,
        Self::Storage,
        Self::IncompleteInput,
        Self::Internal,
    ];

    /// The kind as it stands in messages and logs.
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Input => "input",
            Self::Execution => "execution",
            Self::Timeout => "timeout",
            Self::Cancelled => "cancelled",
            Self::Busy => "busy",
            Self::Storage => "storage",
            Self::IncompleteInput => "incomplete_input",
            Self::Internal => "internal",
        }
    }

    /// The kind as an error.
    pub const fn code(self) -> ErrorCode {
        match self {
            Self::Input => ErrorCode::JobRefused,
            Self::Execution => ErrorCode::ExecutionFailed,
            Self::Timeout => ErrorCode::JobTimeout,
            Self::Cancelled => ErrorCode::JobCancelled,
            Self::Busy => ErrorCode::QueueFull,
            Self::Storage => ErrorCode::StoreFull,
            Self::IncompleteInput => ErrorCode::InputIncomplete,
            Self::Internal => ErrorCode::JobFailed,
        }
    }
}

impl std::fmt::Display for FailureKind {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str(self.as_str())
    }
}

/// A typed failure: the terminal outcome a user reads.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, Error)]
#[cfg_attr(test, derive(schemars::JsonSchema))]
#[error("{kind} failure: {message}")]
pub struct Failure {
    /// Whose fault it is.
    pub kind: FailureKind,
    /// What happened; lower case, specific.
    pub message: String,
    /// Who found out; none is the coordinator.
    pub worker: Option<WorkerId>,
    /// In which phase.
    pub phase: Option<Phase>,
    /// On which segment.
    pub segment: Option<u32>,
    /// The last lines that the worker logged about the job, oldest first.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub log: Vec<String>,
}

impl Failure {
    /// A failure found outside any phase.
    pub fn new(kind: FailureKind, message: impl Into<String>) -> Self {
        Self { kind, message: message.into(), worker: None, phase: None, segment: None, log: Vec::new() }
    }
}

/// Any report.
#[derive(Debug, Clone, PartialEq, Eq)]
#[allow(missing_docs)] // each holds the struct of its name
pub enum Report {
    Setup(SetupDone),
    Planned(Planned),
    Executed(Executed),
    Contribution(Contribution),
    Proof(Proof),
    GivenBack(GivenBack),
    Rejected(Rejected),
    Folded(Folded),
    Final(Final),
    Failed(Failed),
}

impl Report {
    /// Reads the report of this phase.
    ///
    /// # Errors
    /// [`CodecError`] as [`decode`].
    pub fn decode(phase: Phase, payload: &[u8]) -> Result<Self, CodecError> {
        Ok(match phase {
            Phase::Setup => Self::Setup(decode(payload)?),
            Phase::Planned => Self::Planned(decode(payload)?),
            Phase::Executed => Self::Executed(decode(payload)?),
            Phase::Contribution => Self::Contribution(decode(payload)?),
            Phase::Proof => Self::Proof(decode(payload)?),
            Phase::GivenBack => Self::GivenBack(decode(payload)?),
            Phase::Rejected => Self::Rejected(decode(payload)?),
            Phase::Folded => Self::Folded(decode(payload)?),
            Phase::Final => Self::Final(decode(payload)?),
            Phase::Failed => Self::Failed(decode(payload)?),
        })
    }

    /// Writes it as MessagePack.
    ///
    /// # Errors
    /// [`CodecError`] as [`encode`].
    pub fn encode(&self) -> Result<Bytes, CodecError> {
        match self {
            Self::Setup(message) => encode(message),
            Self::Planned(message) => encode(message),
            Self::Executed(message) => encode(message),
            Self::Contribution(message) => encode(message),
            Self::Proof(message) => encode(message),
            Self::GivenBack(message) => encode(message),
            Self::Rejected(message) => encode(message),
            Self::Folded(message) => encode(message),
            Self::Final(message) => encode(message),
            Self::Failed(message) => encode(message),
        }
    }

    /// Its phase.
    pub const fn phase(&self) -> Phase {
        match self {
            Self::Setup(_) => Phase::Setup,
            Self::Planned(_) => Phase::Planned,
            Self::Executed(_) => Phase::Executed,
            Self::Contribution(_) => Phase::Contribution,
            Self::Proof(_) => Phase::Proof,
            Self::GivenBack(_) => Phase::GivenBack,
            Self::Rejected(_) => Phase::Rejected,
            Self::Folded(_) => Phase::Folded,
            Self::Final(_) => Phase::Final,
            Self::Failed(_) => Phase::Failed,
        }
    }

    /// Its job.
    pub const fn job(&self) -> JobId {
        match self {
            Self::Setup(message) => message.job,
            Self::Planned(message) => message.job,
            Self::Executed(message) => message.job,
            Self::Contribution(message) => message.job,
            Self::Proof(message) => message.job,
            Self::GivenBack(message) => message.job,
            Self::Rejected(message) => message.job,
            Self::Folded(message) => message.job,
            Self::Final(message) => message.job,
            Self::Failed(message) => message.job,
        }
    }

    /// Its number within job and phase: the segment, or 0.
    pub fn n(&self) -> u32 {
        match self {
            Self::Planned(message) => message.n,
            Self::Contribution(message) => message.n,
            Self::Proof(message) => message.n,
            Self::GivenBack(message) => message.n,
            Self::Rejected(message) => message.n,
            Self::Folded(message) => message.n,
            Self::Failed(message) => message.failure.segment.unwrap_or(0),
            Self::Setup(_) | Self::Executed(_) | Self::Final(_) => 0,
        }
    }

    /// The worker that posts it; what failed elsewhere than at a worker has none, and is no report.
    pub const fn worker(&self) -> Option<WorkerId> {
        match self {
            Self::Setup(message) => Some(message.worker),
            Self::Planned(message) => Some(message.worker),
            Self::Executed(message) => Some(message.worker),
            Self::Contribution(message) => Some(message.worker),
            Self::Proof(message) => Some(message.worker),
            Self::GivenBack(message) => Some(message.worker),
            Self::Rejected(message) => Some(message.worker),
            Self::Folded(message) => Some(message.worker),
            Self::Final(message) => Some(message.worker),
            Self::Failed(message) => message.failure.worker,
        }
    }

    /// The subject it is published on by this worker.
    pub fn subject(&self, prefix: &Prefix, worker: WorkerId) -> String {
        prefix.report(self.job(), self.phase(), self.n(), worker)
    }

    /// The message id. It names the worker: the same result from two workers is two messages, for the first may turn
    /// out invalid; the coordinator commits one of them.
    pub fn message_id(&self) -> String {
        let worker = self.worker().map_or_else(|| "none".to_owned(), |id| id.to_string());
        let attempt = match self {
            Self::Contribution(message) => u64::from(message.attempt),
            Self::Proof(message) => u64::from(message.attempt),
            Self::GivenBack(message) => u64::from(message.attempt),
            // One epoch may reject more than one proof of a segment.
            Self::Rejected(message) => {
                return format!("report.{}.rejected.{}.{}.{}", message.job, message.n, message.epoch, message.commit);
            }
            Self::Failed(message) => u64::from(message.attempt),
            // One epoch may fold in more than one round.
            Self::Folded(Folded { job, n, epoch, round, .. }) => {
                return format!("report.{job}.folded.{n}.{worker}.{epoch}.{round}");
            }
            Self::Final(message) => message.epoch,
            Self::Setup(_) | Self::Planned(_) | Self::Executed(_) => 0,
        };
        format!("report.{}.{}.{}.{worker}.{attempt}", self.job(), self.phase(), self.n())
    }
}
