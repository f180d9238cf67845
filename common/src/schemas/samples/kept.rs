//! Samples of what the key-value buckets hold.

use super::bus::{params, request, summary};
use super::{Sampled, digest, failure, job, keys, node, object, proof, segment, worker};
use crate::election::Holding;
use crate::ids::WorkerId;
use crate::messages::*;
use crate::subjects::{Phase, RequestKind};

const AT: u64 = 1_767_225_600_000;

impl Sampled for JobRecord {
    fn samples() -> Vec<(&'static str, Self)> {
        let sample = Self {
            v: Version::default(),
            job: job(),
            goal: RequestKind::Prove,
            request: JobRequest { params: params(), ..request() },
            state: JobState::Failed,
            progress: Progress {
                segments: Some(2),
                planned: 2,
                contributed: 2,
                proven: 1,
                folded: 0,
                steps: 19_075,
                repeated: 1,
            },
            keys: Some(keys()),
            segments: Vec::new(),
            execution: Some(summary()),
            public_values: Some([1, 2, 3].into()),
            verifying_key: Some([9; 32].into()),
            challenge: Some([7; 32].into()),
            round: 1,
            past_challenges: vec![digest("challenge")],
            epoch: 42,
            plan_attempt: 1,
            plan_failures: vec![failure()],
            aggregate_assignments: 1,
            fold_failures: vec![FoldFailure { epoch: 41, failure: failure() }],
            proof: Some(proof()),
            failure: Some(failure()),
            timings: Timings {
                accepted_ms: AT,
                input_ms: 0,
                admitted_ms: AT + 1,
                started_ms: AT + 2,
                executed_ms: AT + 3,
                challenged_ms: AT + 4,
                proven_ms: AT + 5,
                ended_ms: AT + 6,
            },
            max_attempts: DEFAULT_ATTEMPTS,
            dropped: DroppedReports { duplicate: 1, stale: 2, early: 3, ended: 4, invalid: 5 },
            incidents: vec![failure()],
            bytes: 70_000,
            cleaned: true,
        };
        let mut streamed = sample.clone();
        streamed.request = JobRequest { input: None, input_stream: true, ..sample.request.clone() };
        streamed.state = JobState::WaitingForInput;
        streamed.timings.input_ms = AT + 1;
        vec![("", sample), ("streamed", streamed)]
    }
}

impl Sampled for SegmentRecord {
    fn samples() -> Vec<(&'static str, Self)> {
        let rejected = RejectedProof {
            node: node(),
            prover: worker(1),
            attempt: 1,
            round: 1,
            aggregator: worker(2),
            epoch: 42,
            reason: "the proof does not verify".to_owned(),
        };
        let fold = FoldRecord { worker: worker(2), epoch: 42, round: 1, node: Some(node()), milliseconds: 3_100 };
        let sample = Self {
            v: Version::default(),
            segment: Some(segment()),
            attempt: 1,
            contribution: Some([0, 255, 7].into()),
            contributor: Some(worker(1)),
            contribution_attempt: 1,
            confirmed_by: Some(worker(2)),
            rivals: vec![Rival { contribution: [1].into(), worker: worker(3), attempt: 1 }],
            contribution_round: 1,
            node: Some(node()),
            node_round: 1,
            prover: Some(worker(1)),
            proof_attempt: 1,
            proof_ms: 5_200,
            commits: 2,
            rejected: vec![rejected],
            fold: Some(fold),
            avoid: vec![worker(3)],
            failures: vec![failure()],
            given_back: true,
            repeated: vec![Repeated { phase: Phase::Proof, worker: worker(2), attempt: 2 }],
        };
        vec![("", sample)]
    }
}

impl Sampled for Begun {
    fn samples() -> Vec<(&'static str, Self)> {
        vec![("", Self { v: Version::default(), workers: vec![worker(1), worker(2)] })]
    }
}

impl Sampled for WorkerPresence {
    fn samples() -> Vec<(&'static str, Self)> {
        let (release, backend) = ("0.1.0".to_owned(), "built-in 1".to_owned());
        let sample = Self {
            v: Version::default(),
            worker: worker(1),
            host: "prover-1".to_owned(),
            capacity: 8,
            versions: Versions { release, backend, asked: Some("built-in 2".to_owned()) },
            state: WorkerState::Busy,
            reason: Some("its own test failed".to_owned()),
            load: Load { units_busy: 4, assignments: 6, waiting: 2, aggregating: vec![job()] },
            started_ms: AT,
            seen_ms: AT + 10_000,
        };
        vec![("", sample)]
    }
}

impl Sampled for ProgramEntry {
    fn samples() -> Vec<(&'static str, Self)> {
        let sample = Self {
            v: Version::default(),
            program: digest("program"),
            backend: "built-in 1".to_owned(),
            keys: keys(),
            verifying_key: [9; 32].into(),
            worker: worker(1),
            milliseconds: 950,
        };
        vec![("", sample)]
    }
}

impl Sampled for Holding<WorkerId> {
    fn samples() -> Vec<(&'static str, Self)> {
        vec![("", Self { v: Version::default(), holder: worker(1), epoch: 42 })]
    }
}

impl Sampled for QueueOrder {
    fn samples() -> Vec<(&'static str, Self)> {
        vec![("", Self { v: Version::default(), waiting: vec![job()] })]
    }
}

impl Sampled for StoreMark {
    fn samples() -> Vec<(&'static str, Self)> {
        vec![("", Self { v: Version::default(), object: object(ObjectScope::Mark, 36).key })]
    }
}

impl Sampled for BusCondition {
    fn samples() -> Vec<(&'static str, Self)> {
        let stuck = [("stream ZISK_V1_EVENTS".to_owned(), "its retention cannot be changed".to_owned())].into();
        vec![("", Self { v: Version::default(), stuck })]
    }
}
