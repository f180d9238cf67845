//! Progress of a job: counts per phase.

use zisk_common::messages::{Event, EventBody};

/// A phase a person can watch.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Phase {
    /// Waiting for the job's turn: its position, of so many.
    Wait,
    /// Deriving the program's keys.
    Setup,
    /// Running the program and cutting segments.
    Execute,
    /// Segments contributed.
    Contribute,
    /// Segments proven.
    Prove,
    /// Folds done.
    Aggregate,
}

impl Phase {
    /// How many there are.
    pub const COUNT: usize = 6;
}

/// How far one phase is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Progress {
    /// Which phase.
    pub phase: Phase,
    /// How many are done.
    pub done: u32,
    /// Of how many, once known.
    pub total: Option<u32>,
}

impl Progress {
    /// A phase has begun.
    pub const fn started(phase: Phase) -> Self {
        Self { phase, done: 0, total: None }
    }

    /// `done` of `total` are done.
    pub const fn done(phase: Phase, done: u32, total: Option<u32>) -> Self {
        Self { phase, done, total }
    }
}

/// How far an event says that the job is.
pub fn of(event: &Event) -> Option<Progress> {
    let counts = event.progress;
    let total = counts.segments;
    Some(match event.body {
        EventBody::Accepted { position: Some(position) } => Progress::done(Phase::Wait, position, None),
        EventBody::Accepted { position: None } | EventBody::Admitted {} | EventBody::Executing {} => {
            Progress::started(Phase::Setup)
        }
        EventBody::Planned { .. } | EventBody::Executed { .. } => Progress::done(Phase::Execute, counts.planned, total),
        EventBody::Contributed { .. } => Progress::done(Phase::Contribute, counts.contributed, total),
        EventBody::Proof { .. } | EventBody::Rejected { .. } => Progress::done(Phase::Prove, counts.proven, total),
        EventBody::Folded { .. } => {
            Progress::done(Phase::Aggregate, counts.folded, total.map(|segments| segments.saturating_sub(1)))
        }
        EventBody::WaitingForInput {} | EventBody::InputReceived { .. } => return None,
        EventBody::Challenged { .. } | EventBody::Replaced { .. } => return None,
        EventBody::Completed { .. } | EventBody::Failed { .. } | EventBody::Cancelled { .. } => return None,
    })
}
