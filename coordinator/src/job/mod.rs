//! The job state machine: inputs in, a changed record and commands out. No I/O and no clock; time comes with each input.
//!
//! A job's record is a [`JobRecord`](zisk_common::messages::JobRecord). Nothing that follows from it is stored, so a
//! coordinator that reads it back owes exactly what [`outstanding`] says and goes on from there. Commands are idempotent:
//! running one twice changes nothing that running it once did not.

mod accept;
mod challenge;
mod command;
mod contribution;
mod failure;
mod judge;
mod protocol;
mod queue;
mod report;
mod transition;
mod verdict;

pub use accept::{Defaults, accept, accepted, refuse};
pub use command::{Command, outstanding};
pub use protocol::{NoChallenge, Protocol, ZiskProtocol};
pub use queue::{Full, Limits, Queue};
pub use transition::{Input, Transition, apply, deadline_ms};
pub use verdict::{Reason, Verdict};

/// Aggregators that failed or were lost after which the job fails.
pub const MAX_AGGREGATORS: usize = 10;

/// Challenges after which a job whose workers do not agree on its contributions fails.
pub const MAX_ROUNDS: u32 = 3;

/// Most segments of a job; also bounds what a worker that reports nonsense can make the coordinator allocate.
pub const MAX_SEGMENTS: u32 = zisk_protocol::MAX_SEGMENTS;

#[cfg(test)]
mod disputes;
#[cfg(test)]
mod explore;
#[cfg(test)]
mod fixtures;
#[cfg(test)]
mod properties;
#[cfg(test)]
mod tests;
