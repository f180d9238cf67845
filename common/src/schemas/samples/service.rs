//! Samples of the coordinators' service.

use super::bus::{metadata, params, request, summary};
use super::{Sampled, digest, failure, job, proof};
use crate::api::{Cancelled, ChunkStored, InputClosed, JobsPage, Submitted, SubmittedState, Verified};
use crate::errors::{ErrorCode, ErrorObject};
use crate::messages::{DroppedReports, FailureKind, JobState, ProofKind, Version};
use crate::schemas::service::{
    Data, Input, InputAnswer, InputEnd, InputRequest, JobQuery, JobsRequest, Program, ProveRequest, ResultRequest, SetupRequest,
    VerifyRequest,
};
use crate::subjects::RequestKind;
use crate::view::{Incident, JobFailure, JobProof, JobResult, JobStatus, output_words};

fn v() -> Option<Version> {
    Some(Version::default())
}

impl Sampled for ProveRequest {
    fn samples() -> Vec<(&'static str, Self)> {
        let full = Self {
            v: v(),
            program: Program::Data(Data::Key(format!("program/{}", digest("program")))),
            input: Some(Input::Data(Data::Inline("BQAAAAAAAAA=".to_owned()))),
            params: Some(params()),
            client: Some("docs".to_owned()),
            metadata: Some(metadata()),
            idempotency_key: Some("order-17".to_owned()),
        };
        let stored = Self {
            v: None,
            program: Program::Id(digest("program").to_string()),
            input: Some(Input::Data(Data::Key(request().input.unwrap().key.to_string()))),
            params: None,
            client: None,
            metadata: None,
            idempotency_key: None,
        };
        let with = |program, input| Self {
            program,
            input: Some(input),
            v: None,
            params: None,
            client: None,
            metadata: None,
            idempotency_key: None,
        };
        let url = |what: &str, digest| format!("jetstream://{what}/{digest}");
        let input = Input::Data(Data::Url(url("input", digest("input"))));
        let by_url = with(Program::Data(Data::Url(url("program", digest("program")))), input);
        let streamed = with(Program::Id(digest("program").to_string()), Input::Stream { stream: true });
        vec![("", full), ("stored", stored), ("url", by_url), ("streamed", streamed)]
    }
}

impl Sampled for InputRequest {
    fn samples() -> Vec<(&'static str, Self)> {
        let chunk = Self { v: v(), job: job(), n: Some(0), chunk: Some("BQAAAAAAAAA=".to_owned()), close: None };
        let close = |digest| {
            let end = InputEnd { chunks: 1, bytes: 8, digest };
            Self { v: None, job: job(), n: None, chunk: None, close: Some(end) }
        };
        vec![("chunk", chunk), ("close", close(None)), ("close-digest", close(Some(digest("input"))))]
    }
}

impl Sampled for InputAnswer {
    fn samples() -> Vec<(&'static str, Self)> {
        let chunk = ChunkStored { job: job(), n: 0, bytes: 8, duplicate: false };
        let close = InputClosed { job: job(), chunks: 1, bytes: 8, state: JobState::Queued };
        vec![("chunk", Self::Chunk(chunk)), ("close", Self::Close(close))]
    }
}

impl Sampled for SetupRequest {
    fn samples() -> Vec<(&'static str, Self)> {
        let sample = Self {
            v: v(),
            program: Program::Id(digest("program").to_string()),
            params: Some(params()),
            client: Some("docs".to_owned()),
            metadata: Some(metadata()),
            idempotency_key: Some("key-17".to_owned()),
        };
        let with = |program| Self { v: v(), program, params: None, client: None, metadata: None, idempotency_key: None };
        let key = Program::Data(Data::Key(format!("program/{}", digest("program"))));
        let inline = Program::Data(Data::Inline("f0VMRg==".to_owned()));
        let url = Program::Data(Data::Url(format!("jetstream://program/{}", digest("program"))));
        vec![("", sample), ("key", with(key)), ("url", with(url)), ("inline", with(inline))]
    }
}

impl Sampled for JobQuery {
    fn samples() -> Vec<(&'static str, Self)> {
        vec![("", Self { v: v(), job: job() })]
    }
}

impl Sampled for ResultRequest {
    fn samples() -> Vec<(&'static str, Self)> {
        vec![("", Self { v: v(), job: job(), inline: Some(true) })]
    }
}

impl Sampled for JobsRequest {
    fn samples() -> Vec<(&'static str, Self)> {
        vec![("", Self { v: v(), limit: Some(20), after: Some(job()) })]
    }
}

impl Sampled for VerifyRequest {
    fn samples() -> Vec<(&'static str, Self)> {
        let proof = || Data::Key(proof().key.to_string());
        let program = Some(Program::Id(digest("program").to_string()));
        let key = Some(Data::Key(format!("key/{}", digest("verifying"))));
        let url = Some(Data::Url(format!("jetstream://key/{}", digest("verifying"))));
        vec![
            ("url", Self { v: v(), proof: proof(), program: None, verifying_key: url }),
            ("program", Self { v: v(), proof: proof(), program, verifying_key: None }),
            ("key", Self { v: v(), proof: Data::Inline("AAEC/w==".to_owned()), program: None, verifying_key: key }),
        ]
    }
}

impl Sampled for Submitted {
    fn samples() -> Vec<(&'static str, Self)> {
        let queued = SubmittedState::Taken(JobState::Queued);
        vec![
            ("queued", Self { job: job(), state: queued, position: Some(3) }),
            ("stored", Self { job: job(), state: SubmittedState::Submitted, position: None }),
        ]
    }
}

fn status() -> JobStatus {
    let failure = failure();
    JobStatus {
        job: job(),
        kind: RequestKind::Prove,
        state: JobState::Failed,
        position: Some(3),
        priority: 5,
        client: "docs".to_owned(),
        metadata: metadata(),
        program: digest("program"),
        segments: Some(2),
        planned: 2,
        contributed: 2,
        proven: 1,
        folded: 0,
        steps: 19_075,
        repeated: 1,
        dropped: DroppedReports { duplicate: 1, stale: 2, early: 3, ended: 4, invalid: 5 },
        incidents: vec![Incident::from(&failure)],
        accepted_ms: 1_767_225_600_000,
        admitted_ms: 1_767_225_600_001,
        ended_ms: 1_767_225_602_400,
        failure: Some(JobFailure { code: ErrorCode::JobFailed, kind: FailureKind::Internal, message: failure.message }),
    }
}

impl Sampled for JobStatus {
    fn samples() -> Vec<(&'static str, Self)> {
        vec![("", status())]
    }
}

impl Sampled for JobResult {
    fn samples() -> Vec<(&'static str, Self)> {
        let run = summary();
        let proved = Self {
            job: job(),
            kind: RequestKind::Prove,
            program: digest("program"),
            client: "docs".to_owned(),
            metadata: metadata(),
            outputs: Some(output_words(&run.outputs)),
            exit_code: Some(run.exit_code),
            steps: Some(run.steps),
            segments: Some(run.segments),
            uart: Some("hello\n".to_owned()),
            milliseconds: 2_400,
            proof: Some(JobProof { key: proof().key, bytes: 4, inline: Some("AAEC/w==".to_owned()) }),
        };
        let executed = Self { kind: RequestKind::Execute, proof: None, ..proved.clone() };
        vec![("prove", proved), ("execute", executed)]
    }
}

impl Sampled for Cancelled {
    fn samples() -> Vec<(&'static str, Self)> {
        vec![("", Self { job: job(), cancelled: true, state: JobState::Cancelled })]
    }
}

impl Sampled for JobsPage {
    fn samples() -> Vec<(&'static str, Self)> {
        vec![("", Self { jobs: vec![status()], next: Some(job()) })]
    }
}

impl Sampled for Verified {
    fn samples() -> Vec<(&'static str, Self)> {
        let outputs = output_words(&summary().outputs);
        vec![("", Self { valid: true, kind: ProofKind::Recursive, outputs, exit_code: 0, proof_bytes: 430_080 })]
    }
}

impl Sampled for ErrorObject {
    fn samples() -> Vec<(&'static str, Self)> {
        let error = Self::new(ErrorCode::NotAllowed, "params.priority is 10: expected a whole number, 0 to 9");
        let field = error.at("params.priority").allowing("a whole number, 0 to 9");
        vec![("field", field), ("job", Self::new(ErrorCode::ExecutionFailed, "the guest exited with 2").of(job()))]
    }
}
