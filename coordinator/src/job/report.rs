//! Workers' reports. Each result is committed once: the first that can be right wins, later ones are dropped.

use zisk_common::ids::WorkerId;
use zisk_common::messages::{
    EventBody, Executed, ExecutionSummary, Failure, FailureKind, Final, FoldRecord, Folded, GivenBack, JobState, ObjectScope,
    Planned, ProgramKeys, Proof, Report, SegmentRecord, SetupDone,
};
use zisk_common::subjects::{Phase, RequestKind};

use super::MAX_SEGMENTS;
use super::command::{Command, challenge_digest, event, fold_event, proof_event, segment};
use super::judge::{self, Before, avoid, is_over};
use super::transition::{Step, steps_of_cut};
use super::verdict::{self, Reason, Verdict, note_incident};

impl Step<'_> {
    pub(super) fn report(&mut self, report: Report) -> Verdict {
        let job = report.job();
        if job != self.record.job {
            return invalid(format!("it is for job {job}"));
        }
        let verdict = match report {
            Report::Setup(report) => self.setup(&report),
            Report::Planned(report) => self.planned(report),
            Report::Executed(report) => self.executed(report),
            Report::Contribution(report) => self.contribution(report),
            Report::Proof(report) => self.proof(&report),
            Report::GivenBack(report) => self.given_back(&report),
            Report::Rejected(report) => self.rejected(report),
            Report::Folded(report) => self.folded(report),
            Report::Final(report) => self.finished(&report),
            Report::Failed(report) => self.failed(report),
        };
        if verdict == Verdict::Applied && self.record.timings.started_ms == 0 {
            self.started();
        }
        verdict
    }

    /// The first report that counts shows that a worker runs the program.
    fn started(&mut self) {
        self.record.timings.started_ms = self.at_ms;
        if self.record.timings.admitted_ms == 0 {
            // Begun by a release that knew no turns.
            self.record.timings.admitted_ms = self.at_ms;
        }
        if self.record.state == JobState::Queued {
            self.record.state = JobState::Executing;
        }
        let executing = event(self.record, self.at_ms, EventBody::Executing {});
        self.commands.insert(0, Command::Publish(executing));
    }

    fn setup(&mut self, report: &SetupDone) -> Verdict {
        if report.program != self.record.request.program {
            return invalid("it is for another program");
        }
        if !self.take_keys(report.keys) {
            return Verdict::Dropped(Reason::Duplicate);
        }
        if self.record.goal == RequestKind::Setup {
            self.complete();
        }
        Verdict::Applied
    }

    fn planned(&mut self, report: Planned) -> Verdict {
        let n = report.n;
        if self.record.goal != RequestKind::Prove {
            return invalid(format!("a {} job has no segments", self.record.goal));
        }
        if report.segment.key.scope != ObjectScope::Segment(self.record.job) {
            return invalid(format!("{} is not a segment object of this job", report.segment.key));
        }
        if n >= self.record.progress.segments.unwrap_or(MAX_SEGMENTS) {
            return self.too_many_segments(n);
        }
        let index = n as usize;
        if self.record.segments.len() <= index {
            self.record.segments.resize_with(index + 1, SegmentRecord::default);
        }
        if let Some(first) = self.record.segments[index].segment {
            if first.key != report.segment.key {
                // The plan ran twice with different results: the first stays, work on it has begun.
                return invalid(format!("segment {n} was cut differently before"));
            }
            // Unless the segment's record was written and the job's was not: the coordinator died in between.
            return if self.take_keys(report.keys) { Verdict::Applied } else { Verdict::Dropped(Reason::Duplicate) };
        }
        self.take_keys(report.keys);
        let state = &mut self.record.segments[index];
        state.segment = Some(report.segment);
        state.attempt = 1;
        self.record.progress.planned += 1;
        if self.record.execution.is_none() {
            self.record.progress.steps = steps_of_cut(self.record);
        }
        self.publish(EventBody::Planned { n });
        self.assign_segment(n);
        Verdict::Applied
    }

    fn too_many_segments(&mut self, n: u32) -> Verdict {
        if let Some(segments) = self.record.progress.segments {
            return invalid(format!("segment {n} of {segments}"));
        }
        let message =
            format!("the program needs more than {MAX_SEGMENTS} segments: ask for larger ones (params.log_segment_steps)");
        self.fail(Failure::new(FailureKind::Input, message));
        Verdict::Applied
    }

    fn executed(&mut self, report: Executed) -> Verdict {
        if self.record.goal == RequestKind::Setup {
            return invalid("a setup job has no execution");
        }
        if self.record.execution.is_some() {
            return Verdict::Dropped(Reason::Duplicate);
        }
        self.take_keys(report.keys);
        let summary = ExecutionSummary {
            steps: report.steps,
            segments: report.segments,
            exit_code: report.exit_code,
            outputs: report.outputs,
            uart: report.uart,
        };
        self.record.execution = Some(summary.clone());
        self.record.public_values = Some(report.public_values);
        self.record.verifying_key = Some(report.verifying_key);
        self.record.progress.steps = report.steps;
        self.record.timings.executed_ms = self.at_ms;
        if self.record.goal == RequestKind::Execute {
            self.publish(EventBody::Executed { summary });
            self.complete();
            return Verdict::Applied;
        }
        self.record.progress.segments = Some(report.segments);
        self.record.state = JobState::Contributing;
        self.publish(EventBody::Executed { summary });
        let cut = self.record.segments.len();
        if report.exit_code != 0 {
            let message = format!("guest exited with code {}", report.exit_code);
            self.fail(failure_of(FailureKind::Execution, message, &report.worker, Phase::Executed));
        } else if report.segments == 0 || cut > report.segments as usize {
            let message = format!("the execution counts {} segments, but {cut} were cut", report.segments);
            self.fail(failure_of(FailureKind::Internal, message, &report.worker, Phase::Executed));
        }
        Verdict::Applied
    }

    fn proof(&mut self, report: &Proof) -> Verdict {
        let (n, worker, attempt, round) = (report.n, report.worker, report.attempt, self.record.round);
        let Some(challenge) = &self.record.challenge else {
            return early("the challenge is not derived yet");
        };
        let expected = challenge_digest(challenge);
        let Some(state) = self.record.segments.get_mut(n as usize) else {
            return invalid(format!("segment {n} does not exist"));
        };
        if state.node_in(round).is_some() {
            self.repeated(n, Phase::Proof, worker, attempt);
            return Verdict::Dropped(Reason::Duplicate);
        }
        // The same challenge comes back when a contribution takes its former place again.
        if report.challenge != expected && self.record.past_challenges.contains(&report.challenge) {
            return self.proof_of_earlier_round(n, worker, attempt);
        }
        let fault = if report.challenge != expected {
            Some("it was proven under another challenge".to_owned())
        } else if report.node.key.scope != ObjectScope::Node(self.record.job) {
            Some(format!("{} is not a node object of this job", report.node.key))
        } else {
            None
        };
        if let Some(fault) = fault {
            return self.result_refused(n, worker, attempt, Phase::Proof, &format!("segment proof refused: {fault}"));
        }
        let before = judge::before(state, round, &report.node, worker, attempt);
        if matches!(before, Some(Before::Same)) {
            return Verdict::Dropped(Reason::Stale);
        }
        let replaced = state.node.and(state.prover).map(|prover| (prover, state.proof_attempt));
        state.node = Some(report.node);
        state.node_round = round;
        state.prover = Some(worker);
        state.proof_attempt = attempt;
        state.proof_ms = report.milliseconds;
        state.commits = state.commits.saturating_add(1);
        self.segment = Some(n);
        self.record.progress.proven += 1;
        if let Some((prover, attempt)) = replaced {
            self.repeated(n, Phase::Proof, prover, attempt);
        }
        self.commands.extend(proof_event(self.record, n, self.at_ms).map(Command::Publish));
        if let Some(Before::Confirmed(wrongly)) = before {
            self.vindicate(n, &wrongly);
        }
        Verdict::Applied
    }

    /// It was begun before the new round was known, which is no fault; but its worker has given the assignment up.
    fn proof_of_earlier_round(&mut self, n: u32, worker: WorkerId, attempt: u32) -> Verdict {
        let state = &mut self.record.segments[n as usize];
        let committed = state.node.is_some() && (state.prover, state.proof_attempt) == (Some(worker), attempt);
        if committed || attempt < state.attempt {
            return Verdict::Dropped(Reason::Stale);
        }
        self.repeated(n, Phase::Proof, worker, attempt);
        verdict::count(&mut self.record.dropped, Reason::Stale);
        self.prove_again(n, attempt);
        Verdict::Applied
    }

    /// A result that cannot be right is an attempt that failed. Its worker has given the assignment up, or will: somebody
    /// must do it again.
    pub(super) fn result_refused(&mut self, n: u32, worker: WorkerId, attempt: u32, phase: Phase, message: &str) -> Verdict {
        self.repeated(n, phase, worker, attempt);
        let mut failure = failure_of(FailureKind::Internal, message.to_owned(), &worker, phase);
        failure.segment = Some(n);
        note_incident(self.record, failure.clone());
        let round = self.record.round;
        let Some(state) = self.record.segments.get_mut(n as usize) else { return Verdict::Dropped(Reason::Stale) };
        if state.node_in(round).is_some() || attempt < state.attempt {
            return Verdict::Dropped(Reason::Stale);
        }
        avoid(state, worker);
        self.attempt_failed(n, attempt, failure);
        Verdict::Incident(format!("{message} (worker {worker})"))
    }

    fn given_back(&mut self, report: &GivenBack) -> Verdict {
        let n = report.n;
        let Some(state) = self.record.segments.get_mut(n as usize).filter(|state| state.contribution.is_some()) else {
            return early(format!("segment {n} is not contributed"));
        };
        if state.given_back || state.node_in(self.record.round).is_some() || state.contributor != Some(report.worker) {
            return Verdict::Dropped(Reason::Duplicate);
        }
        state.given_back = true;
        self.segment = Some(n);
        Verdict::Applied
    }

    fn folded(&mut self, report: Folded) -> Verdict {
        let (n, round) = (report.n, self.record.round);
        // No fault of who folded: it was asked for before.
        if report.epoch < self.record.epoch || is_over(self.record, report.epoch) || report.round != round {
            return Verdict::Dropped(Reason::Stale);
        }
        let Some(segments) = self.record.progress.segments.filter(|_| self.record.challenge.is_some()) else {
            return early("there is nothing to fold yet");
        };
        if n == 0 || n >= segments {
            return invalid(format!("no fold of {segments} segments has the number {n}"));
        }
        if let Some(node) = report.node.filter(|node| node.key.scope != ObjectScope::Node(self.record.job)) {
            return invalid(format!("{} is not a node object of this job", node.key));
        }
        self.record.epoch = report.epoch;
        let Some(state) = self.record.segments.get_mut(n as usize) else { return early(format!("segment {n} is not cut")) };
        let committed = state.fold_in(round);
        let Folded { worker, epoch, node, milliseconds, refused, .. } = report;
        if committed.is_none_or(|fold| refused.as_ref().is_some_and(|refused| refused.worker == fold.worker)) {
            state.fold = Some(FoldRecord { worker, epoch, round, node, milliseconds });
            self.record.progress.folded += u32::from(committed.is_none());
            self.segment = Some(n);
        }
        // Of one that was committed before, too: its event may have been lost with the coordinator or with the stream.
        self.commands.extend(fold_event(self.record, n, self.at_ms).map(Command::Publish));
        if let Some(refused) = refused {
            let message = format!("fold refused by the aggregator {worker}: {}", refused.reason);
            let verdict = Verdict::Incident(format!("{message} (worker {})", refused.worker));
            let incident = failure_of(FailureKind::Internal, message, &refused.worker, Phase::Folded);
            note_incident(self.record, Failure { segment: Some(n), ..incident });
            return verdict;
        }
        if committed.is_some() { Verdict::Dropped(Reason::Duplicate) } else { Verdict::Applied }
    }

    fn finished(&mut self, report: &Final) -> Verdict {
        if report.epoch < self.record.epoch || is_over(self.record, report.epoch) {
            return stale(report.epoch, self.record.epoch);
        }
        // Should a proof have been rejected after this aggregator had taken it, its own check is as good.
        let proven_once = self.record.state == JobState::Proving && self.record.segments.iter().all(|state| state.commits > 0);
        if self.record.state != JobState::Folding && !proven_once {
            return early(format!("final proof of a job that is {}", self.record.state));
        }
        if report.proof.key.scope != ObjectScope::Proof {
            return invalid(format!("{} is not a proof object", report.proof.key));
        }
        self.record.epoch = report.epoch;
        self.record.proof = Some(report.proof);
        self.record.progress.folded = self.record.progress.segments.unwrap_or(1).saturating_sub(1);
        self.complete();
        Verdict::Applied
    }

    /// Whether the keys are news. Segments may be known before them, after a coordinator that died between two writes, and
    /// could not be assigned without.
    fn take_keys(&mut self, keys: ProgramKeys) -> bool {
        if self.record.keys.is_some() {
            return false;
        }
        self.record.keys = Some(keys);
        let waiting = (0u32..).zip(&self.record.segments).filter(|(_, state)| state.node.is_none());
        self.commands.extend(waiting.filter_map(|(n, _)| segment(self.record, n)).map(Command::Assign));
        true
    }
}

fn failure_of(kind: FailureKind, message: String, worker: &WorkerId, phase: Phase) -> Failure {
    Failure { worker: Some(*worker), phase: Some(phase), ..Failure::new(kind, message) }
}

fn invalid(what: impl Into<String>) -> Verdict {
    Verdict::Refused(Reason::Invalid, what.into())
}

fn early(what: impl Into<String>) -> Verdict {
    Verdict::Refused(Reason::Early, what.into())
}

fn stale(epoch: u64, newest: u64) -> Verdict {
    Verdict::Refused(Reason::Stale, format!("epoch {epoch} is stale: the aggregator has epoch {newest}"))
}
