//! Jobs as programs are shown them: the same JSON from `zisk --json` and from the service on NATS, with stable names.

use serde::{Deserialize, Serialize};

use crate::errors::ErrorCode;
use crate::ids::{JobId, ProgramId, WorkerId};
use crate::messages::{DroppedReports, Failure, FailureKind, JobRecord, JobState, Metadata, ObjectKey, QueueOrder};
use crate::subjects::{Phase, RequestKind};

/// Where a job stands.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(test, derive(schemars::JsonSchema))]
pub struct JobStatus {
    /// The job.
    pub job: JobId,
    /// What was asked for.
    pub kind: RequestKind,
    /// Where it stands.
    pub state: JobState,
    /// Its place among the jobs that wait, 1 being the next; null when its turn has come.
    pub position: Option<u32>,
    /// 0 (last) to 9 (first).
    pub priority: u8,
    /// Who asked.
    pub client: String,
    /// The client's own pairs of texts.
    pub metadata: Metadata,
    /// The program.
    pub program: ProgramId,
    /// The number of segments, once the program ended.
    pub segments: Option<u32>,
    /// Segments cut so far.
    pub planned: u32,
    /// Contributions committed.
    pub contributed: u32,
    /// Segment proofs committed.
    pub proven: u32,
    /// Folds done, of `segments - 1`.
    pub folded: u32,
    /// Steps executed; while the program runs, the size of the segments cut so far.
    pub steps: u64,
    /// Contributions and proofs that were computed again because of a fault.
    pub repeated: u32,
    /// Reports that changed nothing, by reason.
    pub dropped: DroppedReports,
    /// Results that a worker should not have come with, oldest first.
    pub incidents: Vec<Incident>,
    /// When the request was accepted, in milliseconds since the Unix epoch.
    pub accepted_ms: u64,
    /// When it was the job's turn, in milliseconds since the Unix epoch; 0 is not yet.
    pub admitted_ms: u64,
    /// When the job ended, in milliseconds since the Unix epoch; 0 is not yet.
    pub ended_ms: u64,
    /// Why it ended without a result.
    pub failure: Option<JobFailure>,
}

/// A failure of one attempt.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(test, derive(schemars::JsonSchema))]
pub struct Incident {
    /// Whose fault it is.
    pub kind: FailureKind,
    /// What happened.
    pub message: String,
    /// Who found out; null is the coordinator.
    pub worker: Option<WorkerId>,
    /// In which phase.
    pub phase: Option<Phase>,
    /// On which segment.
    pub segment: Option<u32>,
}

/// Why a job ended without a result.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(test, derive(schemars::JsonSchema))]
pub struct JobFailure {
    /// Its code.
    pub code: ErrorCode,
    /// Whose fault it is.
    pub kind: FailureKind,
    /// What happened.
    pub message: String,
}

/// What a job that ended well ended with.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(test, derive(schemars::JsonSchema))]
pub struct JobResult {
    /// The job.
    pub job: JobId,
    /// What was asked for.
    pub kind: RequestKind,
    /// The program.
    pub program: ProgramId,
    /// Who asked.
    pub client: String,
    /// The client's own pairs of texts.
    pub metadata: Metadata,
    /// The public outputs, in words of 32 bits; null after setup, as all of the run is.
    pub outputs: Option<Vec<u32>>,
    /// The program's exit code.
    pub exit_code: Option<u64>,
    /// Steps executed.
    pub steps: Option<u64>,
    /// The number of segments.
    pub segments: Option<u32>,
    /// What the guest printed; what is no UTF-8 is replaced.
    pub uart: Option<String>,
    /// From acceptance to the end, in milliseconds.
    pub milliseconds: u64,
    /// The final proof; null after execute and setup.
    pub proof: Option<JobProof>,
}

/// A final proof.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(test, derive(schemars::JsonSchema))]
pub struct JobProof {
    /// Where it is in the object store.
    pub key: ObjectKey,
    /// Its size in bytes.
    pub bytes: u64,
    /// The proof in base64; null when it does not fit a message or was not asked for.
    pub inline: Option<String>,
}

impl JobStatus {
    /// Where the job of this record stands.
    pub fn new(job: &JobRecord, queue: &QueueOrder) -> Self {
        let failure =
            |failure: &Failure| JobFailure { code: failure.kind.code(), kind: failure.kind, message: failure.message.clone() };
        Self {
            job: job.job,
            kind: job.goal,
            state: job.state,
            position: queue.position(job.job).filter(|_| job.is_waiting()),
            priority: job.priority(),
            client: job.request.client.clone(),
            metadata: job.request.metadata.clone(),
            program: job.request.program,
            segments: job.progress.segments,
            planned: job.progress.planned,
            contributed: job.progress.contributed,
            proven: job.progress.proven,
            folded: job.progress.folded,
            steps: job.progress.steps,
            repeated: job.progress.repeated,
            dropped: job.dropped,
            incidents: job.incidents.iter().map(Incident::from).collect(),
            accepted_ms: job.timings.accepted_ms,
            admitted_ms: job.timings.admitted_ms,
            ended_ms: job.timings.ended_ms,
            failure: job.failure.as_ref().map(failure),
        }
    }
}

impl JobResult {
    /// What the job of this record ended with; the proof is to be added.
    pub fn new(job: &JobRecord) -> Self {
        let run = job.execution.as_ref();
        Self {
            job: job.job,
            kind: job.goal,
            program: job.request.program,
            client: job.request.client.clone(),
            metadata: job.request.metadata.clone(),
            outputs: run.map(|run| output_words(&run.outputs)),
            exit_code: run.map(|run| run.exit_code),
            steps: run.map(|run| run.steps),
            segments: run.map(|run| run.segments),
            uart: run.map(|run| String::from_utf8_lossy(&run.uart).into_owned()),
            milliseconds: job.timings.ended_ms.saturating_sub(job.timings.accepted_ms),
            proof: None,
        }
    }
}

impl From<&Failure> for Incident {
    fn from(failure: &Failure) -> Self {
        let Failure { kind, message, worker, phase, segment, log: _ } = failure;
        Self { kind: *kind, message: message.clone(), worker: *worker, phase: *phase, segment: *segment }
    }
}

/// Public outputs as words: 32 bits each, little-endian, as the guest wrote them.
pub fn output_words(outputs: &[u8]) -> Vec<u32> {
    outputs.chunks_exact(4).map(|word| u32::from_le_bytes([word[0], word[1], word[2], word[3]])).collect()
}
