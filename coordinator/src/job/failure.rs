//! Failed attempts: which unit of work failed, and whether trying again can help.

use zisk_common::messages::{Failed, Failure, FailureKind, FoldFailure};
use zisk_common::subjects::Phase;

use super::MAX_AGGREGATORS;
use super::command::{self, Command};
use super::judge::is_over;
use super::transition::Step;
use super::verdict::{Reason, Verdict};

/// Pause before the next attempt, after so many have failed: what fails at once is not to be tried a hundred times a second.
pub(super) const fn pause_ms(failures: usize) -> u32 {
    match failures {
        0 | 1 => 0,
        2 => 1_000,
        _ => 4_000,
    }
}

/// A unit of work.
enum Unit {
    Plan,
    Segment(u32),
    Fold,
}

impl Step<'_> {
    pub(super) fn failed(&mut self, report: Failed) -> Verdict {
        let failure = report.failure;
        let unit = match (failure.segment, failure.phase) {
            (Some(n), _) => Unit::Segment(n),
            (None, Some(Phase::Folded | Phase::Final)) => Unit::Fold,
            (None, Some(Phase::Contribution | Phase::Proof | Phase::GivenBack | Phase::Rejected)) => {
                let text = "a segment's failure that names no segment".to_owned();
                return Verdict::Refused(Reason::Invalid, text);
            }
            (None, None | Some(Phase::Setup | Phase::Planned | Phase::Executed | Phase::Failed)) => Unit::Plan,
        };
        match unit {
            Unit::Plan => self.plan_failed(report.attempt, failure),
            Unit::Segment(n) => self.segment_failed(n, report.attempt, failure),
            Unit::Fold => self.fold_failed(report.attempt.into(), failure),
        }
    }

    fn plan_failed(&mut self, attempt: u32, failure: Failure) -> Verdict {
        if command::is_planned(self.record) {
            return Verdict::Dropped(Reason::Duplicate);
        }
        if attempt < self.record.plan_attempt {
            return Verdict::Dropped(Reason::Stale);
        }
        self.record.plan_failures.push(failure.clone());
        if is_final(&failure) {
            self.fail(failure);
        } else if self.is_last(self.record.plan_failures.len()) {
            self.give_up("planning", failure);
        } else {
            self.record.plan_attempt = attempt.saturating_add(1);
            self.commands.push(Command::Assign(command::plan(self.record)));
        }
        Verdict::Applied
    }

    pub(super) fn segment_failed(&mut self, n: u32, attempt: u32, failure: Failure) -> Verdict {
        let Some(state) = self.record.segments.get_mut(n as usize).filter(|state| state.segment.is_some()) else {
            return Verdict::Refused(Reason::Early, format!("segment {n} is not cut"));
        };
        // A failure of an attempt that has been replaced says nothing about the one under way.
        if state.node_in(self.record.round).is_some() || attempt < state.attempt {
            return Verdict::Dropped(Reason::Stale);
        }
        self.attempt_failed(n, attempt, failure);
        Verdict::Applied
    }

    /// Counts a failed attempt at segment `n`, which has no proof, and has it tried again, or ends the job.
    pub(super) fn attempt_failed(&mut self, n: u32, attempt: u32, failure: Failure) {
        let state = &mut self.record.segments[n as usize];
        state.failures.push(failure.clone());
        state.attempt = state.attempt.max(attempt).saturating_add(1);
        let failures = state.failures.len();
        self.segment = Some(n);
        if is_final(&failure) {
            self.fail(failure);
        } else if self.is_last(failures) {
            self.give_up(&format!("segment {n}"), failure);
        } else {
            self.assign_segment(n);
        }
    }

    /// Has segment `n` proven again after this attempt, which was no failure.
    pub(super) fn prove_again(&mut self, n: u32, attempt: u32) {
        if self.record.state.is_terminal() {
            return;
        }
        let state = &mut self.record.segments[n as usize];
        state.attempt = state.attempt.max(attempt).saturating_add(1);
        self.assign_segment(n);
    }

    fn fold_failed(&mut self, epoch: u64, failure: Failure) -> Verdict {
        if self.record.progress.proven == 0 {
            return Verdict::Refused(Reason::Early, "there is nothing to fold yet".to_owned());
        }
        // An aggregator stands for one attempt, and its epoch for it.
        if is_over(self.record, epoch) {
            return Verdict::Dropped(Reason::Duplicate);
        }
        self.aggregation_failed(epoch, failure);
        Verdict::Applied
    }

    /// Counts a failed aggregation and has another worker elected, or ends the job.
    pub(super) fn aggregation_failed(&mut self, epoch: u64, failure: Failure) {
        let failures = &mut self.record.fold_failures;
        match failures.iter_mut().find(|known| known.epoch == epoch) {
            // Taken for lost before its report came.
            Some(known) => known.failure = failure.clone(),
            None => failures.push(FoldFailure { epoch, failure: failure.clone() }),
        }
        let reported = failures.iter().filter(|known| known.failure.worker.is_some()).count();
        if is_final(&failure) {
            self.fail(failure);
        } else if self.is_last(reported) {
            self.give_up("aggregation", failure);
        } else {
            self.assign_aggregation();
        }
    }

    /// Nobody holds the job's lease: asks for another aggregator, unless too many were lost. More than failures that were
    /// reported, for a worker that is stopped in peace resigns as well.
    pub(super) fn lease_lost(&mut self) -> Verdict {
        let epoch = self.record.epoch;
        if epoch > 0 && self.record.fold_failures.iter().all(|known| known.epoch != epoch) {
            let message = format!("the aggregator of epoch {epoch} was lost before the final proof");
            let failure = Failure { phase: Some(Phase::Folded), ..Failure::new(FailureKind::Internal, message) };
            self.record.fold_failures.push(FoldFailure { epoch, failure: failure.clone() });
            if self.record.fold_failures.len() >= MAX_AGGREGATORS {
                let message = format!("aggregation failed under {MAX_AGGREGATORS} aggregators, at last: {}", failure.message);
                self.fail(Failure { message, ..failure });
                return Verdict::Applied;
            }
        }
        self.assign_aggregation();
        Verdict::Applied
    }

    /// Whether this was the last attempt that a unit of work gets.
    fn is_last(&self, failures: usize) -> bool {
        failures >= self.record.max_attempts as usize
    }

    fn give_up(&mut self, what: &str, last: Failure) {
        let attempts = self.record.max_attempts;
        let message = match attempts {
            1 => format!("{what} failed: {}", last.message),
            _ => format!("{what} failed {attempts} times, at last: {}", last.message),
        };
        self.fail(Failure { kind: FailureKind::Internal, message, ..last });
    }
}

/// Whether the same work would fail again on any worker. In a full store, too: its worker has waited for room, and what gives the
/// others some is that this job ends.
fn is_final(failure: &Failure) -> bool {
    matches!(failure.kind, FailureKind::Input | FailureKind::Execution | FailureKind::Storage)
}
