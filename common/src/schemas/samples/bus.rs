//! Samples of what crosses the streams.

use super::{Sampled, digest, failure, job, keys, node, object, proof, segment, worker};
use crate::messages::*;
use crate::subjects::RequestKind;

fn v() -> Version {
    Version::default()
}

pub fn params() -> JobParams {
    JobParams {
        log_segment_steps: Some(18),
        proof: Some(ProofKind::Recursive),
        max_steps: Some(1_000_000),
        timeout_seconds: Some(600),
        priority: Some(5),
        proof_retention_seconds: Some(86_400),
    }
}

pub fn metadata() -> Metadata {
    [("order".to_owned(), "17".to_owned())].into()
}

pub fn request() -> JobRequest {
    JobRequest {
        v: v(),
        job: job(),
        program: digest("program"),
        input: Some(object(ObjectScope::Input, 8)),
        input_stream: false,
        params: params(),
        client: "docs".to_owned(),
        metadata: metadata(),
    }
}

pub fn summary() -> ExecutionSummary {
    let outputs = [1u32, 0xffff_ffff].into_iter().flat_map(u32::to_le_bytes).collect::<Vec<u8>>().into();
    ExecutionSummary { steps: 19_075, segments: 2, exit_code: 0, outputs, uart: b"hello\n"[..].into() }
}

impl Sampled for JobRequest {
    fn samples() -> Vec<(&'static str, Self)> {
        let least = Self { input: None, params: JobParams::default(), client: String::new(), metadata: [].into(), ..request() };
        let streamed = Self { input_stream: true, ..least.clone() };
        vec![("", request()), ("least", least), ("streamed", streamed)]
    }
}

impl Sampled for PlanAssignment {
    fn samples() -> Vec<(&'static str, Self)> {
        let JobRequest { program, input, params, .. } = request();
        let goal = RequestKind::Prove;
        vec![("", Self { v: v(), job: job(), attempt: 1, goal, program, input, params, pause_ms: 500 })]
    }
}

impl Sampled for SegmentAssignment {
    fn samples() -> Vec<(&'static str, Self)> {
        let sample = Self {
            v: v(),
            job: job(),
            n: 1,
            attempt: 2,
            program: digest("program"),
            keys: keys(),
            segment: segment(),
            params: params(),
            pause_ms: 500,
            round: 1,
            avoid: vec![worker(1)],
        };
        vec![("", sample)]
    }
}

impl Sampled for FoldAssignment {
    fn samples() -> Vec<(&'static str, Self)> {
        let (left, right, avoid) = (node(), node(), vec![worker(1)]);
        let program = digest("program");
        vec![("", Self { v: v(), job: job(), n: 1, epoch: 42, round: 1, program, keys: keys(), left, right, avoid })]
    }
}

impl Sampled for AggregateAssignment {
    fn samples() -> Vec<(&'static str, Self)> {
        let sample = Self {
            v: v(),
            job: job(),
            n: 1,
            attempt: 1,
            program: digest("program"),
            keys: keys(),
            segments: 2,
            challenge: [7; 32].into(),
            pause_ms: 500,
            avoid: vec![worker(1)],
        };
        vec![("", sample)]
    }
}

impl Sampled for SetupDone {
    fn samples() -> Vec<(&'static str, Self)> {
        let program = digest("program");
        vec![("", Self { v: v(), job: job(), worker: worker(1), program, keys: keys(), milliseconds: 950 })]
    }
}

impl Sampled for Planned {
    fn samples() -> Vec<(&'static str, Self)> {
        vec![("", Self { v: v(), job: job(), n: 1, worker: worker(1), segment: segment(), keys: keys() })]
    }
}

impl Sampled for Executed {
    fn samples() -> Vec<(&'static str, Self)> {
        let ExecutionSummary { steps, segments, exit_code, outputs, uart } = summary();
        let sample = Self {
            v: v(),
            job: job(),
            worker: worker(1),
            segments,
            steps,
            exit_code,
            outputs,
            public_values: [1, 2, 3].into(),
            uart,
            verifying_key: [9; 32].into(),
            keys: keys(),
            milliseconds: 120,
        };
        vec![("", sample)]
    }
}

impl Sampled for Contribution {
    fn samples() -> Vec<(&'static str, Self)> {
        let contribution = [0, 255, 7].into();
        vec![("", Self { v: v(), job: job(), n: 1, worker: worker(1), attempt: 1, contribution, milliseconds: 2_400 })]
    }
}

impl Sampled for Proof {
    fn samples() -> Vec<(&'static str, Self)> {
        let challenge = digest("challenge");
        let (node, milliseconds) = (node(), 5_200);
        vec![("", Self { v: v(), job: job(), n: 1, worker: worker(1), attempt: 1, node, challenge, milliseconds })]
    }
}

impl Sampled for GivenBack {
    fn samples() -> Vec<(&'static str, Self)> {
        vec![("", Self { v: v(), job: job(), n: 1, worker: worker(1), attempt: 1 })]
    }
}

impl Sampled for Rejected {
    fn samples() -> Vec<(&'static str, Self)> {
        let sample = Self {
            v: v(),
            job: job(),
            n: 1,
            worker: worker(2),
            epoch: 42,
            commit: 1,
            node: node(),
            prover: worker(1),
            reason: "the proof does not verify".to_owned(),
            proves: Some(digest("rival")),
        };
        vec![("", sample)]
    }
}

impl Sampled for Folded {
    fn samples() -> Vec<(&'static str, Self)> {
        let refused = RefusedFold { worker: worker(1), reason: "the fold does not verify".to_owned() };
        let sample = Self {
            v: v(),
            job: job(),
            n: 1,
            worker: worker(2),
            epoch: 42,
            round: 1,
            node: Some(node()),
            milliseconds: 3_100,
            refused: Some(refused),
        };
        vec![("", sample)]
    }
}

impl Sampled for Final {
    fn samples() -> Vec<(&'static str, Self)> {
        vec![("", Self { v: v(), job: job(), worker: worker(2), epoch: 42, proof: proof(), milliseconds: 4_000 })]
    }
}

impl Sampled for Failed {
    fn samples() -> Vec<(&'static str, Self)> {
        vec![("", Self { v: v(), job: job(), attempt: 3, failure: failure() })]
    }
}

impl Sampled for Challenge {
    fn samples() -> Vec<(&'static str, Self)> {
        vec![("", Self { v: v(), job: job(), challenge: [7; 32].into(), segments: 2, round: 1 })]
    }
}

impl Sampled for Cancel {
    fn samples() -> Vec<(&'static str, Self)> {
        vec![("", Self::by_client(job()))]
    }
}

impl Sampled for InputClose {
    fn samples() -> Vec<(&'static str, Self)> {
        let end = Self { v: v(), chunks: 3, bytes: 2_000_000, digest: None };
        vec![("", end), ("digest", Self { digest: Some(digest("input")), ..end })]
    }
}

impl Sampled for Event {
    fn samples() -> Vec<(&'static str, Self)> {
        let progress =
            Progress { segments: Some(2), planned: 2, contributed: 2, proven: 1, folded: 1, steps: 19_075, repeated: 1 };
        let worker = super::worker;
        let reason = "the proof does not verify".to_owned();
        let (n, milliseconds) = (1, 2_400);
        let bodies = vec![
            ("accepted", EventBody::Accepted { position: Some(3) }),
            ("waiting-for-input", EventBody::WaitingForInput {}),
            ("input-received", EventBody::InputReceived { input: request().input }),
            ("admitted", EventBody::Admitted {}),
            ("executing", EventBody::Executing {}),
            ("planned", EventBody::Planned { n }),
            ("executed", EventBody::Executed { summary: summary() }),
            ("contributed", EventBody::Contributed { n, worker: worker(1), milliseconds }),
            ("challenged", EventBody::Challenged { round: 1 }),
            ("replaced", EventBody::Replaced { n, worker: worker(2), replaced: worker(1) }),
            ("proof", EventBody::Proof { n, worker: worker(1), node: node(), commit: 1, milliseconds }),
            ("rejected", EventBody::Rejected { n, worker: worker(1), aggregator: worker(2), reason, commit: 1 }),
            ("folded", EventBody::Folded { n, worker: worker(2), epoch: 42, round: 1, node: Some(node()), milliseconds }),
            ("completed", EventBody::Completed { proof: Some(proof()), summary: Some(summary()), milliseconds }),
            ("failed", EventBody::Failed { failure: failure() }),
            ("cancelled", EventBody::Cancelled { failure: Failure::new(FailureKind::Cancelled, "cancelled by a client") }),
        ];
        let event = |(name, body): (&'static str, EventBody)| {
            let metadata =
                if matches!(body, EventBody::Accepted { .. }) || body.end().is_some() { metadata() } else { [].into() };
            (name, Self { v: v(), job: job(), at_ms: 1_767_225_600_000, progress, metadata, body })
        };
        bodies.into_iter().map(event).collect()
    }
}

impl Sampled for DeadLetter {
    fn samples() -> Vec<(&'static str, Self)> {
        let of = |request| Dead::Job(DeadJob::new(RequestKind::Prove, request, failure(), 3, vec![failure(); 3]));
        let streamed = JobRequest { input: None, input_stream: true, ..request() };
        let unreadable = Unreadable {
            subject: "zisk.v1.request.prove".to_owned(),
            stream: "ZISK_V1_REQUESTS".to_owned(),
            sequence: 9,
            job: Some(job()),
            reason: "request does not decode from JSON: missing field `program`".to_owned(),
            content_type: Some("application/json".to_owned()),
            bytes: 2,
            payload: b"{}"[..].into(),
        };
        let letter = |dead| Self { v: v(), at_ms: 1_767_225_600_000, dead };
        vec![
            ("job", letter(of(request()))),
            ("job-streamed", letter(of(streamed))),
            ("unreadable", letter(Dead::Unreadable(unreadable))),
        ]
    }
}
