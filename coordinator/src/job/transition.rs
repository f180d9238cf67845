//! One input, one step.

use zisk_common::ids::WorkerId;
use zisk_common::messages::{EventBody, Failure, FailureKind, Final, JobRecord, JobState, ObjectRef, Progress, Report};
use zisk_common::subjects::{Phase, RequestKind};

use super::command::{self, Command};
use super::protocol::Protocol;
use super::verdict::{self, Reason, Verdict, count_repeated, note_repeated};

/// Something that happened to a job.
#[derive(Debug, Clone, PartialEq, Eq)]
#[allow(clippy::large_enum_variant, reason = "nearly all inputs are reports")]
pub enum Input {
    /// The streamed input is whole and stored; none is an empty one.
    InputReceived(Option<ObjectRef>),
    /// What was streamed is no input of this job.
    InputRefused(Failure),
    /// It is the job's turn.
    Admitted,
    /// A worker's report.
    Report(Report),
    /// A final proof that proves something else or nothing.
    Disproved {
        /// Whose.
        report: Final,
        /// What is wrong with it.
        reason: String,
        /// It is the word of the worker that holds the job's aggregator lease.
        by_aggregator: bool,
    },
    /// A worker holds the job's aggregator lease.
    Elected {
        /// Who.
        worker: WorkerId,
        /// The lease's revision at its creation.
        epoch: u64,
    },
    /// Nobody holds the job's aggregator lease, and has not for long enough that somebody should be told to.
    LeaseLost,
    /// Somebody cancelled the job.
    Cancel {
        /// Why.
        message: String,
    },
    /// Time passed.
    Tick,
    /// [`Command::CleanUp`] is done.
    Cleaned,
    /// The record was read back, and its segments may be ahead of it: they are written first.
    Resumed,
}

/// An input's effect.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Transition {
    /// What became of it.
    pub verdict: Verdict,
    /// To be run, in order, after the commit.
    pub commands: Vec<Command>,
    /// The segment whose record changed.
    pub segment: Option<u32>,
}

impl Transition {
    /// Whether there is something to commit: what is dropped is counted.
    pub const fn changed(&self) -> bool {
        !matches!(self.verdict, Verdict::Idle)
    }
}

/// Applies `input`, which happened at `at_ms`, to the job.
pub fn apply(record: &mut JobRecord, input: Input, at_ms: u64, protocol: &dyn Protocol) -> Transition {
    let mut step = Step { record, at_ms, protocol, commands: Vec::new(), segment: None };
    let verdict = if step.record.state.is_terminal() { step.after_the_end(&input) } else { step.while_active(input) };
    if let Some(reason) = verdict.reason() {
        verdict::count(&mut step.record.dropped, reason);
    }
    Transition { verdict, commands: step.commands, segment: step.segment }
}

/// The steps that the segments cut so far stand for: all are full but perhaps the last.
pub(super) fn steps_of_cut(record: &JobRecord) -> u64 {
    let full = record.request.params.log_segment_steps.map_or(0, |log_steps| 1 << log_steps);
    u64::from(record.progress.planned).saturating_mul(full)
}

/// When the job fails for taking too long, in milliseconds since the Unix epoch; none never does.
pub fn deadline_ms(record: &JobRecord) -> Option<u64> {
    let seconds = record.request.params.timeout_seconds?;
    Some(record.timings.accepted_ms.saturating_add(seconds.saturating_mul(1000)))
}

/// A transition in the making.
pub(super) struct Step<'a> {
    pub(super) record: &'a mut JobRecord,
    pub(super) at_ms: u64,
    pub(super) protocol: &'a dyn Protocol,
    pub(super) commands: Vec<Command>,
    pub(super) segment: Option<u32>,
}

impl Step<'_> {
    fn after_the_end(&mut self, input: &Input) -> Verdict {
        match input {
            Input::Report(_) | Input::Disproved { .. } => Verdict::Dropped(Reason::Ended),
            Input::Cleaned if !self.record.cleaned => {
                self.record.cleaned = true;
                Verdict::Applied
            }
            _ => Verdict::Idle,
        }
    }

    /// Nothing of the job is on the bus but its chunks, and no worker has heard of it.
    fn while_waiting_for_input(&mut self, input: Input) -> Verdict {
        match input {
            Input::InputReceived(input) => self.input_received(input),
            Input::InputRefused(failure) => {
                self.fail(failure);
                Verdict::Applied
            }
            Input::Cancel { message } => {
                self.fail(Failure::new(FailureKind::Cancelled, message));
                Verdict::Applied
            }
            Input::Tick => self.tick(),
            Input::Report(_) | Input::Disproved { .. } => {
                Verdict::Refused(Reason::Early, "the job's input is not whole yet".to_owned())
            }
            Input::Admitted | Input::Elected { .. } | Input::LeaseLost | Input::Cleaned | Input::Resumed => Verdict::Idle,
        }
    }

    /// From here on it is a job as any other.
    fn input_received(&mut self, input: Option<ObjectRef>) -> Verdict {
        let record = &mut *self.record;
        record.request.input_stream = false;
        record.request.input = input;
        record.bytes = record.bytes.saturating_add(input.map_or(0, |input| input.size));
        record.state = JobState::Queued;
        record.timings.input_ms = self.at_ms;
        self.publish(EventBody::InputReceived { input });
        Verdict::Applied
    }

    fn while_active(&mut self, input: Input) -> Verdict {
        if self.record.waits_for_input() {
            return self.while_waiting_for_input(input);
        }
        let verdict = match input {
            Input::Admitted if self.record.is_waiting() => self.admitted(),
            Input::Report(report) => self.report(report),
            Input::Disproved { report, reason, by_aggregator } => self.disproved(&report, &reason, by_aggregator),
            // As the bucket says, also when it is smaller: a bucket that was deleted and made again counts from the start.
            Input::Elected { epoch, .. } if epoch != self.record.epoch => {
                self.record.epoch = epoch;
                Verdict::Applied
            }
            Input::LeaseLost if self.record.progress.proven > 0 => self.lease_lost(),
            Input::Cancel { message } => {
                self.fail(Failure::new(FailureKind::Cancelled, message));
                Verdict::Applied
            }
            Input::Tick => self.tick(),
            Input::Resumed => self.recount(),
            Input::InputReceived(_)
            | Input::InputRefused(_)
            | Input::Admitted
            | Input::Elected { .. }
            | Input::LeaseLost
            | Input::Cleaned => Verdict::Idle,
        };
        if verdict == Verdict::Applied {
            self.advance();
        }
        verdict
    }

    fn admitted(&mut self) -> Verdict {
        self.record.timings.admitted_ms = self.at_ms;
        self.publish(EventBody::Admitted {});
        self.commands.push(Command::Assign(command::plan(self.record)));
        Verdict::Applied
    }

    fn recount(&mut self) -> Verdict {
        let before = self.record.progress;
        let repeated = count_repeated(&self.record.segments);
        let mut counted = Progress { planned: 0, contributed: 0, proven: 0, folded: 0, repeated, ..before };
        for state in &self.record.segments {
            counted.planned += u32::from(state.segment.is_some());
            counted.contributed += u32::from(state.contribution.is_some());
            counted.proven += u32::from(state.node_in(self.record.round).is_some());
            counted.folded += u32::from(state.fold_in(self.record.round).is_some());
        }
        self.record.progress = counted;
        self.record.progress.steps =
            self.record.execution.as_ref().map_or_else(|| steps_of_cut(self.record), |summary| summary.steps);
        let counted = self.record.progress;
        // A contribution was replaced, and its coordinator died before it could say so in the job's own record.
        let round = self.record.segments.iter().map(|state| state.contribution_round).max().unwrap_or(0);
        if round > self.record.round {
            self.begin_round(round);
            return Verdict::Applied;
        }
        // Or a proof was rejected.
        let unproven = self.record.state == JobState::Folding && Some(counted.proven) != counted.segments;
        if unproven {
            self.record.state = JobState::Proving;
        }
        if counted == before && !unproven { Verdict::Idle } else { Verdict::Applied }
    }

    fn tick(&mut self) -> Verdict {
        let Some(seconds) = self.record.request.params.timeout_seconds else {
            return Verdict::Idle;
        };
        if deadline_ms(self.record).is_none_or(|deadline| self.at_ms < deadline) {
            return Verdict::Idle;
        }
        if self.record.waits_for_input() {
            let message =
                format!("its streamed input was not whole within its {seconds} s: it was not closed, or not put together");
            self.fail(Failure::new(FailureKind::Timeout, message));
            return Verdict::Applied;
        }
        if self.record.is_waiting() {
            let message = format!("not begun within its {seconds} s: it waited for its turn in the queue");
            self.fail(Failure::new(FailureKind::Timeout, message));
            return Verdict::Applied;
        }
        let progress = self.record.progress;
        let segments = progress.segments.map_or_else(|| "?".to_owned(), |n| n.to_string());
        let message = format!(
            "not done after its {seconds} s: {}, segments planned {}, contributed {}, proven {} of {segments}",
            self.record.state, progress.planned, progress.contributed, progress.proven
        );
        self.fail(Failure::new(FailureKind::Timeout, message));
        Verdict::Applied
    }

    /// What follows from the record as a whole, whichever report completed it.
    fn advance(&mut self) {
        if self.record.state.is_terminal() || self.record.goal != RequestKind::Prove {
            return;
        }
        let Some(segments) = self.record.progress.segments else {
            return;
        };
        if self.record.challenge.is_none() && self.record.progress.contributed == segments {
            self.derive_challenge();
        }
        if self.record.state == JobState::Proving && self.record.progress.proven == segments {
            self.record.state = JobState::Folding;
            self.record.timings.proven_ms = self.at_ms;
        }
    }

    pub(super) fn publish(&mut self, body: EventBody) {
        self.commands.push(Command::Publish(command::event(self.record, self.at_ms, body)));
    }

    /// Counts a contribution or proof of segment `n` that is not the one that counts.
    pub(super) fn repeated(&mut self, n: u32, phase: Phase, worker: WorkerId, attempt: u32) {
        let Some(state) = self.record.segments.get_mut(n as usize) else { return };
        if note_repeated(state, phase, worker, attempt) {
            self.record.progress.repeated = self.record.progress.repeated.saturating_add(1);
            self.segment = Some(n);
        }
    }

    pub(super) fn assign_segment(&mut self, n: u32) {
        self.segment = Some(n);
        self.commands.extend(command::segment(self.record, n).map(Command::Assign));
    }

    pub(super) fn assign_aggregation(&mut self) {
        self.record.aggregate_assignments = self.record.aggregate_assignments.saturating_add(1);
        self.commands.extend(command::aggregation(self.record).map(Command::Assign));
    }

    /// Ends the job well.
    pub(super) fn complete(&mut self) {
        self.end(JobState::Completed);
    }

    /// Ends the job with a failure.
    pub(super) fn fail(&mut self, failure: Failure) {
        let state = match failure.kind {
            FailureKind::Cancelled => JobState::Cancelled,
            _ => JobState::Failed,
        };
        self.record.failure = Some(failure);
        self.end(state);
    }

    fn end(&mut self, state: JobState) {
        self.record.state = state;
        self.record.timings.ended_ms = self.at_ms;
        // No new work for a job that has ended, should this very step have asked for some.
        self.commands.retain(|command| matches!(command, Command::Publish(_)));
        self.commands.extend(command::terminal(self.record));
    }
}
