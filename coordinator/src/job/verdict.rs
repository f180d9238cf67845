//! What becomes of an input: what counts, what is dropped and why, what was computed in vain. The counts are statistics: no
//! rule of the state machine depends on them, but for `max_attempts`.

use zisk_common::ids::WorkerId;
use zisk_common::messages::{DroppedReports, Failure, JobRecord, Repeated, SegmentRecord};
use zisk_common::subjects::Phase;

/// What became of an input.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Verdict {
    /// It changed the record, which must be committed before the commands are run.
    Applied,
    /// It changed the record, and shows that a worker is broken.
    Incident(String),
    /// A report that changes nothing.
    Dropped(Reason),
    /// A report that changes nothing, and that nobody should have posted.
    Refused(Reason, String),
    /// Nothing to do.
    Idle,
}

/// Why a report changes nothing.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Reason {
    /// Its result was committed already.
    Duplicate,
    /// It is of an attempt that was replaced, or of an aggregator that was.
    Stale,
    /// It came before what it follows from.
    Early,
    /// The job had ended.
    Ended,
    /// It cannot be right.
    Invalid,
}

impl Reason {
    /// As it stands in metrics and logs.
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Duplicate => "duplicate",
            Self::Stale => "stale",
            Self::Early => "early",
            Self::Ended => "ended",
            Self::Invalid => "invalid",
        }
    }
}

impl Verdict {
    /// Whether it changed what the job is, and not only what is counted.
    pub const fn is_news(&self) -> bool {
        matches!(self, Self::Applied | Self::Incident(_))
    }

    /// Why the report was dropped.
    pub const fn reason(&self) -> Option<Reason> {
        match self {
            Self::Dropped(reason) | Self::Refused(reason, _) => Some(*reason),
            _ => None,
        }
    }
}

/// Counts a report that was dropped.
pub(super) const fn count(dropped: &mut DroppedReports, reason: Reason) {
    let counter = match reason {
        Reason::Duplicate => &mut dropped.duplicate,
        Reason::Stale => &mut dropped.stale,
        Reason::Early => &mut dropped.early,
        Reason::Ended => &mut dropped.ended,
        Reason::Invalid => &mut dropped.invalid,
    };
    *counter = counter.saturating_add(1);
}

/// Work noted per segment; what comes beyond it is not counted any more.
const MAX_REPEATED: usize = 100;

/// Notes a contribution or proof that was computed and is not the one that counts. A report that comes twice is one
/// computation: whether this is news.
pub(super) fn note_repeated(state: &mut SegmentRecord, phase: Phase, worker: WorkerId, attempt: u32) -> bool {
    let committed = match phase {
        Phase::Contribution => state.contributor.map(|by| (by, state.contribution_attempt)),
        _ => state.prover.map(|by| (by, state.proof_attempt)),
    };
    let repeated = Repeated { phase, worker, attempt };
    if committed == Some((worker, attempt)) || state.repeated.contains(&repeated) || state.repeated.len() >= MAX_REPEATED {
        return false;
    }
    state.repeated.push(repeated);
    true
}

/// Incidents kept in a job's record.
const MAX_INCIDENTS: usize = 32;

/// Keeps an incident for people: a job's segments go with it, its record stays.
pub(super) fn note_incident(record: &mut JobRecord, incident: Failure) {
    if record.incidents.len() < MAX_INCIDENTS && !record.incidents.contains(&incident) {
        record.incidents.push(Failure { log: Vec::new(), ..incident });
    }
}

/// How much of it there is in all segments.
pub(super) fn count_repeated(segments: &[SegmentRecord]) -> u32 {
    segments.iter().fold(0, |sum, state| sum.saturating_add(u32::try_from(state.repeated.len()).unwrap_or(u32::MAX)))
}
