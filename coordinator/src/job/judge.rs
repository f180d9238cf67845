//! The aggregator's word on segment proofs. The coordinator verifies the final proof alone; the elected aggregator checks each
//! committed proof before it folds it, and says which it rejects. What it rejects goes away and is proven again: together with
//! a new challenge round, the only way in which a committed result is lost.
//!
//! An aggregator may lie as a prover may, so its word has bounds: of one segment it rejects one proof, of two workers at most.
//! Beyond that it is replaced, the proof in question stands, and its successor judges it. Every epoch that was replaced counts as
//! a failed aggregation, every rejection as a failed attempt at its segment, and both are bounded.

use std::collections::BTreeSet;

use zisk_common::ids::WorkerId;
use zisk_common::messages::{
    EventBody, Failure, FailureKind, Final, JobRecord, JobState, ObjectRef, Rejected, RejectedProof, SegmentRecord,
};
use zisk_common::subjects::Phase;

use super::command::Command;
use super::transition::Step;
use super::verdict::{Reason, Verdict, note_incident};

/// Workers whose proofs one aggregator may reject.
const MAX_ACCUSED: usize = 2;

/// Whether the aggregator of this epoch reported a failure or was replaced: nothing it says counts any more.
pub(super) fn is_over(record: &JobRecord, epoch: u64) -> bool {
    record.fold_failures.iter().any(|known| known.epoch == epoch && known.failure.worker.is_some())
}

/// Workers that others should go before as aggregators.
pub(super) fn former_aggregators(record: &JobRecord) -> Vec<WorkerId> {
    let named: BTreeSet<WorkerId> = record.fold_failures.iter().filter_map(|known| known.failure.worker).collect();
    named.into_iter().collect()
}

/// Notes that others should try the segment first.
pub(super) fn avoid(state: &mut SegmentRecord, worker: WorkerId) {
    if !state.avoid.contains(&worker) {
        state.avoid.push(worker);
    }
}

/// What is known of a proof that was rejected before.
pub(super) enum Before {
    /// The same report again.
    Same,
    /// Another worker makes the same of the same segment: the one that rejected it was wrong.
    Confirmed(RejectedProof),
}

/// Looks for a proof among those that were rejected.
pub(super) fn before(state: &SegmentRecord, round: u32, node: &ObjectRef, prover: WorkerId, attempt: u32) -> Option<Before> {
    let known = state.rejected.iter().find(|known| known.round == round && known.node.key == node.key)?;
    match (known.prover == prover, known.attempt == attempt) {
        (true, true) => Some(Before::Same),
        // It did the same again; that says nothing.
        (true, false) => None,
        (false, _) => Some(Before::Confirmed(known.clone())),
    }
}

impl Step<'_> {
    pub(super) fn rejected(&mut self, report: Rejected) -> Verdict {
        let (n, epoch, aggregator) = (report.n, report.epoch, report.worker);
        if epoch < self.record.epoch || is_over(self.record, epoch) {
            let newest = self.record.epoch;
            return Verdict::Refused(Reason::Stale, format!("epoch {epoch} is over: the newest known is {newest}"));
        }
        let Some(state) = self.record.segments.get(n as usize) else {
            return Verdict::Refused(Reason::Invalid, format!("segment {n} does not exist"));
        };
        let (commit, attempt, contributor) = (state.commits, state.proof_attempt, state.contributor);
        let (Some(node), Some(prover)) = (state.node_in(self.record.round), state.prover) else {
            return Verdict::Dropped(Reason::Stale);
        };
        if node.key != report.node.key || commit != report.commit {
            return Verdict::Dropped(Reason::Stale);
        }
        self.record.epoch = epoch;
        if let Some(doubt) = self.doubt(epoch, n, prover) {
            let reason = report.reason;
            let what = format!("{doubt}; the proof of worker {prover} for segment {n} stands until another judges it ({reason})");
            self.depose(epoch, aggregator, &what);
            return Verdict::Incident(format!("aggregator {aggregator} of epoch {epoch} is replaced: {what}"));
        }
        let reason = report.reason;
        let what = format!("segment proof rejected by aggregator {aggregator}: {reason}");
        let round = self.record.round;
        let state = &mut self.record.segments[n as usize];
        (state.node, state.prover) = (None, None);
        state.rejected.push(RejectedProof { node, prover, attempt, round, aggregator, epoch, reason: reason.clone() });
        avoid(state, prover);
        self.record.progress.proven -= 1;
        if self.record.state == JobState::Folding {
            self.record.state = JobState::Proving;
            self.record.timings.proven_ms = 0;
        }
        self.repeated(n, Phase::Proof, prover, attempt);
        self.publish(EventBody::Rejected { n, worker: prover, aggregator, reason, commit });
        let failure = Failure {
            worker: Some(prover),
            phase: Some(Phase::Proof),
            segment: Some(n),
            ..Failure::new(FailureKind::Internal, what.clone())
        };
        // It may be the contribution that is false, and the proof right.
        if let Some(rival) = report.proves.filter(|rival| self.is_eligible(n, *rival)) {
            self.adopt(n, rival);
            self.prove_again(n, attempt);
            return Verdict::Incident(format!("{what} (worker {prover}), but it proves another contribution to segment {n}"));
        }
        note_incident(self.record, failure.clone());
        // Or both: its contributor cannot prove it, and another differs.
        if contributor == Some(prover)
            && let Some(rival) = self.strongest_rival(n).filter(|rival| self.is_eligible(n, *rival))
        {
            self.adopt(n, rival);
        }
        if !self.record.state.is_terminal() {
            self.attempt_failed(n, attempt, failure);
        }
        Verdict::Incident(format!("{what} (worker {prover})"))
    }

    /// Its maker is named; an aggregator is replaced, for its successor to make a right one.
    pub(super) fn disproved(&mut self, report: &Final, reason: &str, by_aggregator: bool) -> Verdict {
        let (epoch, worker) = (report.epoch, report.worker);
        if epoch < self.record.epoch || is_over(self.record, epoch) {
            return Verdict::Refused(Reason::Stale, format!("a false final proof of epoch {epoch}, which is over: {reason}"));
        }
        let what = format!("its final proof is refused: {reason}");
        if by_aggregator {
            self.record.epoch = epoch;
            self.depose(epoch, worker, &what);
        } else {
            let failure = Failure::new(FailureKind::Internal, what.clone());
            note_incident(self.record, Failure { worker: Some(worker), phase: Some(Phase::Final), ..failure });
        }
        Verdict::Incident(format!("worker {worker}, epoch {epoch}: {what}"))
    }

    /// Why the aggregator's word on this proof is not taken.
    fn doubt(&self, epoch: u64, n: u32, prover: WorkerId) -> Option<String> {
        let rejected = |state: &SegmentRecord| state.rejected.iter().filter(|known| known.epoch == epoch).count();
        if self.record.segments.get(n as usize).is_some_and(|state| rejected(state) > 0) {
            return Some("it rejects a second proof of the same segment".to_owned());
        }
        let all = self.record.segments.iter().flat_map(|state| &state.rejected);
        let mut accused: BTreeSet<WorkerId> = all.filter(|known| known.epoch == epoch).map(|known| known.prover).collect();
        accused.insert(prover);
        (accused.len() > MAX_ACCUSED).then(|| format!("it rejects proofs of more than {MAX_ACCUSED} workers"))
    }

    /// Takes the lease away: as an aggregation that failed, for everything that follows.
    fn depose(&mut self, epoch: u64, aggregator: WorkerId, why: &str) {
        let message = format!("aggregator {aggregator} was replaced: {why}");
        let failure =
            Failure { worker: Some(aggregator), phase: Some(Phase::Folded), ..Failure::new(FailureKind::Internal, message) };
        note_incident(self.record, failure.clone());
        self.commands.push(Command::Depose { job: self.record.job, epoch });
        self.aggregation_failed(epoch, failure);
    }

    /// A second worker proved just what was rejected: the failure was none, and the one that rejected it is replaced if it
    /// still aggregates.
    pub(super) fn vindicate(&mut self, n: u32, wrongly: &RejectedProof) {
        let state = &mut self.record.segments[n as usize];
        state.avoid.retain(|worker| *worker != wrongly.prover);
        state.failures.retain(|failure| failure.worker != Some(wrongly.prover) || failure.phase != Some(Phase::Proof));
        if wrongly.epoch == self.record.epoch && !is_over(self.record, wrongly.epoch) {
            let why = format!("it rejected a proof of segment {n} that two workers made alike");
            self.depose(wrongly.epoch, wrongly.aggregator, &why);
        }
    }
}
