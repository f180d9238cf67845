//! The durable record of a job: all a coordinator needs to go on after a restart.

use super::bytes::ByteBuf;
use serde::{Deserialize, Serialize};

use super::codec::Version;
use super::event::Progress;
use super::object::ObjectRef;
use super::presence::ProgramKeys;
use super::report::Failure;
use super::request::{JobRequest, NORMAL_PRIORITY};
use crate::ids::{Digest, JobId, WorkerId};
use crate::subjects::{Phase, RequestKind};

/// Attempts at one unit of work, unless the coordinator's settings say.
pub const DEFAULT_ATTEMPTS: u32 = 3;

/// Where a job stands.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[cfg_attr(test, derive(schemars::JsonSchema))]
#[serde(rename_all = "snake_case")]
pub enum JobState {
    /// Accepted: its input is being streamed, and is not whole yet.
    WaitingForInput,
    /// Accepted: waits for its turn, then for a worker.
    Queued,
    /// The program runs; segments are cut and contributed.
    Executing,
    /// The program ended; contributions are missing.
    Contributing,
    /// The challenge is out; segment proofs are missing.
    Proving,
    /// All segment proofs are there; the final proof is missing.
    Folding,
    /// Terminal: done.
    Completed,
    /// Terminal: failed.
    Failed,
    /// Terminal: cancelled.
    Cancelled,
}

impl JobState {
    /// Whether the job has ended.
    pub const fn is_terminal(self) -> bool {
        matches!(self, Self::Completed | Self::Failed | Self::Cancelled)
    }

    /// The state as it stands in messages and logs.
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::WaitingForInput => "waiting_for_input",
            Self::Queued => "queued",
            Self::Executing => "executing",
            Self::Contributing => "contributing",
            Self::Proving => "proving",
            Self::Folding => "folding",
            Self::Completed => "completed",
            Self::Failed => "failed",
            Self::Cancelled => "cancelled",
        }
    }
}

impl std::fmt::Display for JobState {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str(self.as_str())
    }
}

/// What a run of the program gave.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(test, derive(schemars::JsonSchema))]
pub struct ExecutionSummary {
    /// Steps.
    pub steps: u64,
    /// Segments.
    pub segments: u32,
    /// The program's exit code.
    pub exit_code: u64,
    /// The public outputs as the guest wrote them.
    pub outputs: ByteBuf,
    /// What the guest printed.
    pub uart: ByteBuf,
}

/// One segment of a job, in the bucket `segments` under `<job>.<n>` (docs/decisions/0010-job-records.md).
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(test, derive(schemars::JsonSchema))]
pub struct SegmentRecord {
    /// Schema version.
    pub v: Version,
    /// The segment; none while only later ones have been reported.
    pub segment: Option<ObjectRef>,
    /// The attempt its newest assignment carries; deliveries count up from it.
    pub attempt: u32,
    /// Its contribution, once committed.
    pub contribution: Option<ByteBuf>,
    /// Who contributed it.
    pub contributor: Option<WorkerId>,
    /// In which attempt.
    #[serde(default)]
    pub contribution_attempt: u32,
    /// Another worker whose contribution is the same.
    #[serde(default)]
    pub confirmed_by: Option<WorkerId>,
    /// Contributions that differ from it, and its predecessor once it took another's place.
    #[serde(default)]
    pub rivals: Vec<Rival>,
    /// The round that began when it took another's place; 0 when it is the first.
    #[serde(default)]
    pub contribution_round: u32,
    /// Its proof, once committed; of this round or an earlier one (`node_round`).
    pub node: Option<ObjectRef>,
    /// The round whose challenge it is under.
    #[serde(default)]
    pub node_round: u32,
    /// Who proved it.
    pub prover: Option<WorkerId>,
    /// In which attempt.
    #[serde(default)]
    pub proof_attempt: u32,
    /// How long that took.
    #[serde(default)]
    pub proof_ms: u64,
    /// How many proofs of it were committed, those that were rejected later included.
    #[serde(default)]
    pub commits: u32,
    /// Proofs that were committed and that the aggregator rejected, newest last.
    #[serde(default)]
    pub rejected: Vec<RejectedProof>,
    /// The fold of the nodes that end before this segment and begin with it, once committed; of this round or an earlier one.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub fold: Option<FoldRecord>,
    /// Workers whose result for it was refused or rejected: others are to try first.
    #[serde(default)]
    pub avoid: Vec<WorkerId>,
    /// Reported failures of attempts, newest last.
    pub failures: Vec<Failure>,
    /// Its contributor had more than it could prove at once and gave it to an idle worker: no fault made that one compute the
    /// contribution again.
    #[serde(default)]
    pub given_back: bool,
    /// Work done for it beside that of the committed results.
    #[serde(default)]
    pub repeated: Vec<Repeated>,
}

impl SegmentRecord {
    /// Its proof under the challenge of this round.
    pub fn node_in(&self, round: u32) -> Option<ObjectRef> {
        self.node.filter(|_| self.node_round == round)
    }

    /// Its fold of this round.
    pub fn fold_in(&self, round: u32) -> Option<FoldRecord> {
        self.fold.filter(|fold| fold.round == round)
    }
}

/// A committed fold. Nobody relies on it unseen: an aggregator checks it before it goes on from it.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(test, derive(schemars::JsonSchema))]
pub struct FoldRecord {
    /// Who folded.
    pub worker: WorkerId,
    /// For which aggregator.
    pub epoch: u64,
    /// Under which round's challenge.
    pub round: u32,
    /// The node; none of a bundle, whose nodes are worth no upload.
    pub node: Option<ObjectRef>,
    /// How long it took.
    #[serde(default)]
    pub milliseconds: u64,
}

/// A contribution that differs from the committed one.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(test, derive(schemars::JsonSchema))]
pub struct Rival {
    /// The contribution.
    pub contribution: ByteBuf,
    /// Who made it.
    pub worker: WorkerId,
    /// In which attempt.
    pub attempt: u32,
}

/// A segment proof that was committed and does not stand.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(test, derive(schemars::JsonSchema))]
pub struct RejectedProof {
    /// The proof.
    pub node: ObjectRef,
    /// Who made it.
    pub prover: WorkerId,
    /// In which attempt.
    pub attempt: u32,
    /// Under which round's challenge.
    pub round: u32,
    /// Who rejected it.
    pub aggregator: WorkerId,
    /// The aggregator's epoch.
    pub epoch: u64,
    /// What is wrong with it.
    pub reason: String,
}

/// A contribution or proof that was computed, but is not the one that counts: another attempt's is.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(test, derive(schemars::JsonSchema))]
pub struct Repeated {
    /// `contribution` or `proof`.
    pub phase: Phase,
    /// Who computed it.
    pub worker: WorkerId,
    /// In which attempt.
    pub attempt: u32,
}

/// Reports that changed nothing, by reason.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(test, derive(schemars::JsonSchema))]
#[serde(default)]
pub struct DroppedReports {
    /// The result was committed already.
    pub duplicate: u32,
    /// Of an attempt that was replaced, or an aggregator that was.
    pub stale: u32,
    /// Before what it follows from.
    pub early: u32,
    /// The job had ended.
    pub ended: u32,
    /// It cannot be right.
    pub invalid: u32,
}

impl DroppedReports {
    /// Each count by the name of its reason.
    pub const fn by_reason(&self) -> [(&'static str, u32); 5] {
        [
            ("duplicate", self.duplicate),
            ("stale", self.stale),
            ("early", self.early),
            ("ended", self.ended),
            ("invalid", self.invalid),
        ]
    }
}

/// Who has begun a piece of work that was delivered before and has not come to an end with it, in the bucket `segments`
/// under `<job>.<segment>.begun` and `<job>.plan.begun`. Entries that stay are workers that were lost over it.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(test, derive(schemars::JsonSchema))]
pub struct Begun {
    /// Schema version.
    pub v: Version,
    /// The workers; one that came back under its old id may be there twice.
    pub workers: Vec<WorkerId>,
}

/// One aggregator's failure.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(test, derive(schemars::JsonSchema))]
pub struct FoldFailure {
    /// Its epoch.
    pub epoch: u64,
    /// What it reported, or that it is gone.
    pub failure: Failure,
}

/// When each phase was reached, in milliseconds since the Unix epoch; 0 is not yet.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(test, derive(schemars::JsonSchema))]
#[serde(default)]
pub struct Timings {
    /// The request was accepted.
    pub accepted_ms: u64,
    /// Its streamed input was whole.
    #[serde(skip_serializing_if = "is_zero")]
    pub input_ms: u64,
    /// It was the job's turn; what it needs went on the bus.
    pub admitted_ms: u64,
    /// The first report came.
    pub started_ms: u64,
    /// The program ended.
    pub executed_ms: u64,
    /// The last contribution was committed and the challenge derived.
    pub challenged_ms: u64,
    /// The last segment proof was committed.
    pub proven_ms: u64,
    /// The job ended.
    pub ended_ms: u64,
}

impl Timings {
    /// When the job began to wait for its turn: when it was accepted, or had its streamed input.
    pub fn queued_ms(&self) -> u64 {
        self.accepted_ms.max(self.input_ms)
    }
}

#[allow(clippy::trivially_copy_pass_by_ref, reason = "serde's own signature")]
const fn is_zero(number: &u64) -> bool {
    *number == 0
}

/// The jobs that wait for their turn, in the bucket `queue` under `order`: written by the leading coordinator when
/// it has changed, at most once a second, for people to see. Which job is next follows from the job records alone.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(test, derive(schemars::JsonSchema))]
pub struct QueueOrder {
    /// Schema version.
    pub v: Version,
    /// The next one first.
    pub waiting: Vec<JobId>,
}

impl QueueOrder {
    /// Its key.
    pub const KEY: &str = "order";

    /// The job's place, 1 being the next; none when it does not wait.
    pub fn position(&self, job: JobId) -> Option<u32> {
        let index = self.waiting.iter().position(|waiting| *waiting == job)?;
        u32::try_from(index + 1).ok()
    }
}

/// A job, in the bucket `jobs` under its id; changed only by compare-and-swap on the entry's revision.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(test, derive(schemars::JsonSchema))]
pub struct JobRecord {
    /// Schema version.
    pub v: Version,
    /// The job.
    pub job: JobId,
    /// What was asked for.
    pub goal: RequestKind,
    /// The request, with the coordinator's defaults filled in.
    pub request: JobRequest,
    /// Where it stands.
    pub state: JobState,
    /// Counters, as in events.
    pub progress: Progress,
    /// The program's keys, once known.
    pub keys: Option<ProgramKeys>,
    /// Per segment, by index. Stored apart, so that the size of a job's record does not grow with its segments.
    #[serde(skip)]
    pub segments: Vec<SegmentRecord>,
    /// What the run gave, once it ended.
    pub execution: Option<ExecutionSummary>,
    /// The public values the challenge binds; the prover's encoding.
    pub public_values: Option<ByteBuf>,
    /// The verifying key's digest as the prover encodes it.
    pub verifying_key: Option<ByteBuf>,
    /// The global challenge, once derived; the prover's encoding.
    pub challenge: Option<ByteBuf>,
    /// Counts the challenges: a new one is derived when a contribution is replaced after the challenge.
    #[serde(default)]
    pub round: u32,
    /// Digests of the challenges of earlier rounds.
    #[serde(default)]
    pub past_challenges: Vec<Digest>,
    /// The newest aggregator's epoch seen.
    pub epoch: u64,
    /// The attempt the newest plan assignment carries; deliveries count up from it.
    pub plan_attempt: u32,
    /// Reported failures of plan attempts, newest last.
    pub plan_failures: Vec<Failure>,
    /// How many aggregation assignments were published.
    pub aggregate_assignments: u32,
    /// Aggregators that failed or were lost, one entry per epoch, newest last.
    pub fold_failures: Vec<FoldFailure>,
    /// The final proof.
    pub proof: Option<ObjectRef>,
    /// Why it ended without one.
    pub failure: Option<Failure>,
    /// When each phase was reached.
    pub timings: Timings,
    /// Failed attempts of one unit of work after which the job fails.
    #[serde(default = "default_attempts")]
    pub max_attempts: u32,
    /// Reports that changed nothing.
    #[serde(default)]
    pub dropped: DroppedReports,
    /// Results that a worker should not have come with, oldest first: who, what of, and what is wrong. The first 32.
    #[serde(default)]
    pub incidents: Vec<Failure>,
    /// Bytes of its program and input, which count while it waits.
    #[serde(default)]
    pub bytes: u64,
    /// After a terminal state: purging and deleting are done.
    pub cleaned: bool,
}

/// Of a job that an earlier release began.
const fn default_attempts() -> u32 {
    DEFAULT_ATTEMPTS
}

impl JobRecord {
    /// Whether the job waits for its turn: nothing of it is on the bus.
    pub fn is_waiting(&self) -> bool {
        self.state == JobState::Queued && self.timings.admitted_ms == 0
    }

    /// Whether its input is being streamed, and is not whole yet.
    pub fn waits_for_input(&self) -> bool {
        self.state == JobState::WaitingForInput
    }

    /// Whether its input is, or was, streamed.
    pub const fn is_streamed(&self) -> bool {
        self.request.input_stream || self.timings.input_ms != 0
    }

    /// Its priority, [`NORMAL_PRIORITY`] unless the request says.
    pub fn priority(&self) -> u8 {
        self.request.params.priority.unwrap_or(NORMAL_PRIORITY)
    }
}
