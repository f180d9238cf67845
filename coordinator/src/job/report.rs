//! Workers' reports. Each result is committed once: the first that can be right wins, later ones are dropped.

use zisk_common::messages::{
    Contribution, EventBody, Executed, ExecutionSummary, Failure, FailureKind, Final, Folded, JobState, ObjectScope, Planned,
    ProgramKeys, Proof, Report, SegmentRecord, SetupDone,
};
use zisk_common::subjects::{Phase, RequestKind};

use super::MAX_SEGMENTS;
use super::command::{Command, challenge_digest, event, proof_event, segment};
use super::transition::{Step, Verdict, steps_of_cut};

impl Step<'_> {
    pub(super) fn report(&mut self, report: Report) -> Verdict {
        let job = report.job();
        if job != self.record.job {
            return refused(format!("it is for job {job}"));
        }
        let verdict = match report {
            Report::Setup(report) => self.setup(&report),
            Report::Planned(report) => self.planned(report),
            Report::Executed(report) => self.executed(report),
            Report::Contribution(report) => self.contribution(report),
            Report::Proof(report) => self.proof(&report),
            Report::Folded(report) => self.folded(&report),
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
            return refused("it is for another program");
        }
        if !self.take_keys(report.keys) {
            return Verdict::Duplicate;
        }
        if self.record.goal == RequestKind::Setup {
            self.complete();
        }
        Verdict::Applied
    }

    fn planned(&mut self, report: Planned) -> Verdict {
        let n = report.n;
        if self.record.goal != RequestKind::Prove {
            return refused(format!("a {} job has no segments", self.record.goal));
        }
        if report.segment.key.scope != ObjectScope::Segment(self.record.job) {
            return refused(format!("{} is not a segment object of this job", report.segment.key));
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
                return refused(format!("segment {n} was cut differently before"));
            }
            // Unless the segment's record was written and the job's was not: the coordinator died in between.
            return if self.take_keys(report.keys) { Verdict::Applied } else { Verdict::Duplicate };
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
            return refused(format!("segment {n} of {segments}"));
        }
        let message =
            format!("the program needs more than {MAX_SEGMENTS} segments: ask for larger ones (params.log_segment_steps)");
        self.fail(Failure::new(FailureKind::Input, message));
        Verdict::Applied
    }

    fn executed(&mut self, report: Executed) -> Verdict {
        if self.record.goal == RequestKind::Setup {
            return refused("a setup job has no execution");
        }
        if self.record.execution.is_some() {
            return Verdict::Duplicate;
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

    fn contribution(&mut self, report: Contribution) -> Verdict {
        let n = report.n;
        let Some(state) = self.record.segments.get_mut(n as usize).filter(|state| state.segment.is_some()) else {
            return refused(format!("segment {n} is not cut"));
        };
        if let Some(first) = &state.contribution {
            if *first == report.contribution {
                return Verdict::Duplicate;
            }
            let by = state.contributor.map_or_else(|| "another worker".to_owned(), |id| id.to_string());
            return Verdict::Incident(format!(
                "the contribution of worker {} to segment {n} differs from the one that {by} committed",
                report.worker
            ));
        }
        if let Err(reason) = self.protocol.check_contribution(n, &report.contribution) {
            let message = format!("contribution refused: {reason}");
            let mut failure = failure_of(FailureKind::Internal, message.clone(), &report.worker, Phase::Contribution);
            failure.segment = Some(n);
            return match self.segment_failed(n, report.attempt, failure) {
                Verdict::Applied => Verdict::Incident(format!("{message} (worker {})", report.worker)),
                other => other,
            };
        }
        state.contribution = Some(report.contribution);
        state.contributor = Some(report.worker);
        self.segment = Some(n);
        self.record.progress.contributed += 1;
        self.publish(EventBody::Contributed { n, worker: report.worker });
        Verdict::Applied
    }

    fn proof(&mut self, report: &Proof) -> Verdict {
        let n = report.n;
        let Some(challenge) = &self.record.challenge else {
            return refused("the challenge is not derived yet");
        };
        let expected = challenge_digest(challenge);
        let Some(state) = self.record.segments.get_mut(n as usize) else {
            return refused(format!("segment {n} does not exist"));
        };
        if state.node.is_some() {
            return Verdict::Duplicate;
        }
        let fault = if report.challenge != expected {
            Some("it was proven under another challenge".to_owned())
        } else if report.node.key.scope != ObjectScope::Node(self.record.job) {
            Some(format!("{} is not a node object of this job", report.node.key))
        } else {
            None
        };
        if let Some(fault) = fault {
            // Its worker has given the assignment up: somebody must prove the segment again.
            let message = format!("segment proof refused: {fault}");
            let mut failure = failure_of(FailureKind::Internal, message.clone(), &report.worker, Phase::Proof);
            failure.segment = Some(n);
            return match self.segment_failed(n, report.attempt, failure) {
                Verdict::Applied => Verdict::Incident(format!("{message} (worker {})", report.worker)),
                other => other,
            };
        }
        state.node = Some(report.node);
        state.prover = Some(report.worker);
        self.segment = Some(n);
        self.record.progress.proven += 1;
        self.commands.extend(proof_event(self.record, n, self.at_ms).map(Command::Publish));
        Verdict::Applied
    }

    fn folded(&mut self, report: &Folded) -> Verdict {
        if report.epoch < self.record.epoch {
            return stale(report.epoch, self.record.epoch);
        }
        // A new aggregator starts over.
        if report.epoch == self.record.epoch && report.folded <= self.record.progress.folded {
            return Verdict::Duplicate;
        }
        self.record.epoch = report.epoch;
        self.record.progress.folded = report.folded;
        self.publish(EventBody::Folded { worker: report.worker, epoch: report.epoch });
        Verdict::Applied
    }

    fn finished(&mut self, report: &Final) -> Verdict {
        if report.epoch < self.record.epoch {
            return stale(report.epoch, self.record.epoch);
        }
        if self.record.state != JobState::Folding {
            return refused(format!("final proof of a job that is {}", self.record.state));
        }
        if report.proof.key.scope != ObjectScope::Proof {
            return refused(format!("{} is not a proof object", report.proof.key));
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

fn failure_of(kind: FailureKind, message: String, worker: &zisk_common::ids::WorkerId, phase: Phase) -> Failure {
    Failure { worker: Some(*worker), phase: Some(phase), ..Failure::new(kind, message) }
}

fn refused(reason: impl Into<String>) -> Verdict {
    Verdict::Refused(reason.into())
}

fn stale(epoch: u64, newest: u64) -> Verdict {
    refused(format!("epoch {epoch} is stale: the aggregator has epoch {newest}"))
}
