//! Everything that crosses the bus: one struct per message, MessagePack with named fields; requests also as JSON.
//!
//! Byte strings (contributions, challenges, public values) are the prover's encodings, opaque here.

mod assignment;
mod broadcast;
mod bytes;
mod cluster;
mod codec;
mod dead;
mod event;
mod input;
mod job;
mod object;
mod presence;
mod report;
mod request;

pub use assignment::{AggregateAssignment, Assignment, FoldAssignment, PlanAssignment, SegmentAssignment};
pub use broadcast::{Cancel, Challenge};
pub use bytes::ByteBuf;
pub use cluster::{BusCondition, StoreMark};
#[cfg(test)]
pub(crate) use codec::described;
pub use codec::{
    CONTENT_TYPE, CodecError, JSON, MESSAGE_PACK, Message, PROVER_VERSION, SCHEMA_VERSION, Version, decode, decode_as, encode,
    encode_json, names_a_version,
};
pub(crate) use dead::filter_of as dead_filter;
pub use dead::{Dead, DeadJob, DeadLetter, Unreadable};
pub use event::{Event, EventBody, Progress};
pub use input::InputClose;
pub use job::{
    Begun, DEFAULT_ATTEMPTS, DroppedReports, ExecutionSummary, FoldFailure, FoldRecord, JobRecord, JobState, QueueOrder,
    RejectedProof, Repeated, Rival, SegmentRecord, Timings,
};
pub use object::{ObjectKey, ObjectRef, ObjectScope};
pub use presence::{Load, ProgramEntry, ProgramKeys, Versions, WorkerPresence, WorkerState};
pub use report::{
    Contribution, Executed, Failed, Failure, FailureKind, Final, Folded, GivenBack, Planned, Proof, RefusedFold, Rejected,
    Report, SetupDone,
};
pub use request::{
    DEFAULT_LOG_SEGMENT_STEPS, JobParams, JobRequest, MAX_CLIENT, MAX_LOG_SEGMENT_STEPS, MAX_METADATA, MAX_METADATA_KEY,
    MAX_METADATA_VALUE, MAX_PRIORITY, MAX_RETENTION_SECONDS, MAX_TIMEOUT_SECONDS, MIN_LOG_SEGMENT_STEPS, MIN_PRIORITY, Metadata,
    NORMAL_PRIORITY, ProofKind, RequestError,
};

/// Milliseconds since the Unix epoch, now.
pub fn unix_ms() -> u64 {
    std::time::SystemTime::now()
        .duration_since(std::time::UNIX_EPOCH)
        .map_or(0, |since| u64::try_from(since.as_millis()).unwrap_or(u64::MAX))
}

#[cfg(test)]
mod tests;
