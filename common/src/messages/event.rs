//! What happens to a job, for anyone who watches.

use serde::{Deserialize, Serialize};

use super::codec::Version;
use super::job::{ExecutionSummary, JobState};
use super::object::ObjectRef;
use super::report::Failure;
use super::request::Metadata;
use crate::ids::{JobId, WorkerId};
use crate::subjects::{EventKind, Prefix};

/// Something happened to a job. Each carries the counters, so a watcher who starts late shows the right bars at once.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(test, derive(schemars::JsonSchema))]
pub struct Event {
    /// Schema version.
    pub v: Version,
    /// The job.
    pub job: JobId,
    /// When, in milliseconds since the Unix epoch.
    pub at_ms: u64,
    /// The counters after this event.
    pub progress: Progress,
    /// The request's metadata, in the job's first and in its terminal event.
    #[serde(default, skip_serializing_if = "Metadata::is_empty")]
    pub metadata: Metadata,
    /// What happened.
    pub body: EventBody,
}

/// A job's counters.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(test, derive(schemars::JsonSchema))]
#[serde(default)]
pub struct Progress {
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
    /// Contributions and proofs that were computed again because of a fault; without one it is 0.
    pub repeated: u32,
}

/// What happened; serialized as `{"<kind>": {...}}`.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(test, derive(schemars::JsonSchema))]
#[serde(rename_all = "snake_case")]
pub enum EventBody {
    /// The request is valid and recorded.
    Accepted {
        /// Its place among the jobs that wait, 1 being the next; none when it is its turn already.
        #[serde(default)]
        position: Option<u32>,
    },
    /// The job's input is being streamed.
    WaitingForInput {},
    /// The streamed input is whole: the job waits for its turn.
    InputReceived {
        /// What it has become.
        input: Option<ObjectRef>,
    },
    /// It is the job's turn: its program waits for a worker.
    Admitted {},
    /// The program is being run.
    Executing {},
    /// A segment was cut.
    Planned {
        /// Its index.
        n: u32,
    },
    /// The program ended.
    Executed {
        /// Outputs, exit code, steps.
        summary: ExecutionSummary,
    },
    /// A contribution was committed.
    Contributed {
        /// The segment's index.
        n: u32,
        /// Who made it.
        worker: WorkerId,
        /// How long it took; 0 where nobody measures.
        #[serde(default)]
        milliseconds: u64,
    },
    /// The challenge was broadcast.
    Challenged {
        /// Above 0 a contribution was replaced: all segments are proven anew under this challenge.
        #[serde(default)]
        round: u32,
    },
    /// A committed contribution was false: another took its place.
    Replaced {
        /// The segment's index.
        n: u32,
        /// Whose contribution counts now.
        worker: WorkerId,
        /// Whose was replaced.
        replaced: WorkerId,
    },
    /// A segment proof was committed; the aggregator folds from these.
    Proof {
        /// The segment's index.
        n: u32,
        /// Who made it.
        worker: WorkerId,
        /// The node.
        node: ObjectRef,
        /// Counts the segment's committed proofs: a second one takes the place of a first that was rejected.
        #[serde(default)]
        commit: u32,
        /// How long it took; 0 where nobody measures.
        #[serde(default)]
        milliseconds: u64,
    },
    /// A committed segment proof was rejected: the segment is proven again.
    Rejected {
        /// The segment's index.
        n: u32,
        /// Whose proof it was.
        worker: WorkerId,
        /// The aggregator.
        aggregator: WorkerId,
        /// What is wrong with it.
        reason: String,
        /// Which of the segment's committed proofs.
        commit: u32,
    },
    /// Two neighbouring nodes were folded.
    Folded {
        /// The first segment of the right one.
        n: u32,
        /// Who folded.
        worker: WorkerId,
        /// The aggregator's epoch.
        epoch: u64,
        /// The round under whose challenge both are.
        round: u32,
        /// The node, for this aggregator and the next; none of a bundle.
        node: Option<ObjectRef>,
        /// How long it took; 0 where nobody measures.
        #[serde(default)]
        milliseconds: u64,
    },
    /// Terminal: done.
    Completed {
        /// The final proof; none when only setup or execution was asked for.
        proof: Option<ObjectRef>,
        /// Outputs, exit code, steps; none when only setup was asked for.
        summary: Option<ExecutionSummary>,
        /// From acceptance to completion.
        milliseconds: u64,
    },
    /// Terminal: failed.
    Failed {
        /// Why.
        failure: Failure,
    },
    /// Terminal: cancelled.
    Cancelled {
        /// Why.
        failure: Failure,
    },
}

impl EventBody {
    /// Its kind, as in the subject.
    pub const fn kind(&self) -> EventKind {
        match self {
            Self::Accepted { .. } => EventKind::Accepted,
            Self::WaitingForInput {} => EventKind::WaitingForInput,
            Self::InputReceived { .. } => EventKind::InputReceived,
            Self::Admitted {} => EventKind::Admitted,
            Self::Executing {} => EventKind::Executing,
            Self::Planned { .. } => EventKind::Planned,
            Self::Executed { .. } => EventKind::Executed,
            Self::Contributed { .. } => EventKind::Contributed,
            Self::Challenged { .. } => EventKind::Challenged,
            Self::Replaced { .. } => EventKind::Replaced,
            Self::Proof { .. } => EventKind::Proof,
            Self::Rejected { .. } => EventKind::Rejected,
            Self::Folded { .. } => EventKind::Folded,
            Self::Completed { .. } => EventKind::Completed,
            Self::Failed { .. } => EventKind::Failed,
            Self::Cancelled { .. } => EventKind::Cancelled,
        }
    }

    /// The state in which it ends the job; none when the job goes on.
    pub const fn end(&self) -> Option<JobState> {
        match self {
            Self::Completed { .. } => Some(JobState::Completed),
            Self::Failed { .. } => Some(JobState::Failed),
            Self::Cancelled { .. } => Some(JobState::Cancelled),
            _ => None,
        }
    }
}

impl Event {
    /// Its kind, as in the subject.
    pub const fn kind(&self) -> EventKind {
        self.body.kind()
    }

    /// The subject it is published on.
    pub fn subject(&self, prefix: &Prefix) -> String {
        match self.body {
            EventBody::Proof { n, commit, .. } => prefix.proof_event(self.job, n, commit),
            _ => prefix.event(self.job, self.kind()),
        }
    }

    /// The message id: a replayed command stores nothing twice.
    pub fn message_id(&self) -> String {
        let n = match &self.body {
            EventBody::Planned { n } | EventBody::Contributed { n, .. } => u64::from(*n),
            EventBody::Proof { n, commit, .. } | EventBody::Rejected { n, commit, .. } => {
                return format!("event.{}.{}.{n}.{}", self.job, self.kind(), commit.max(&1));
            }
            // One that was refused is followed by another's.
            EventBody::Folded { n, round, worker, .. } => {
                return format!("event.{}.{}.{n}.{round}.{worker}", self.job, self.kind());
            }
            EventBody::Challenged { round } => u64::from(*round),
            EventBody::Replaced { n, worker, .. } => return format!("event.{}.{}.{n}.{worker}", self.job, self.kind()),
            _ => 0,
        };
        format!("event.{}.{}.{n}", self.job, self.kind())
    }
}
