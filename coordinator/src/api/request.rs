//! Reading a request for a job: every field, before anything is looked up or stored.

use zisk_common::api::MAX_IDEMPOTENCY_KEY;
use zisk_common::errors::ErrorObject;
use zisk_common::ids::{Digest, JobId, ProgramId};
use zisk_common::messages::{
    JobParams, JobRequest, MAX_CLIENT, MAX_LOG_SEGMENT_STEPS, MAX_PRIORITY, MAX_RETENTION_SECONDS, MAX_TIMEOUT_SECONDS,
    MIN_LOG_SEGMENT_STEPS, MIN_PRIORITY, Metadata, ObjectRef, ProofKind, Version,
};
use zisk_common::objects::StoreUrl;
use zisk_common::subjects::{ApiEndpoint, RequestKind};

use super::data::{Data, INPUT, PROGRAM};
use super::fields::{Fields, not_allowed};
use super::value::Value;

/// A request for a job.
#[derive(Debug)]
pub struct Asked {
    /// What is to be done.
    pub goal: RequestKind,
    /// The program.
    pub program: Data,
    /// The input.
    pub input: Option<Data>,
    /// The input is to be streamed; then there is none here.
    pub input_stream: bool,
    /// How.
    pub params: JobParams,
    /// Who asks.
    pub client: String,
    /// What the client wants to be given back.
    pub metadata: Metadata,
    /// Requests of one client with the same key are one job.
    pub key: Option<String>,
}

impl Asked {
    /// Reads it; `message_id` is the message's header, `store` the cluster's.
    ///
    /// # Errors
    /// The first thing that is wrong.
    pub fn read(goal: RequestKind, body: Value, message_id: Option<&str>, store: &StoreUrl) -> Result<Self, ErrorObject> {
        let endpoint = match goal {
            RequestKind::Setup => ApiEndpoint::Setup,
            RequestKind::Execute => ApiEndpoint::Execute,
            RequestKind::Prove => ApiEndpoint::Prove,
        };
        let mut fields = Fields::of_request(body, endpoint)?;
        let program = fields.required("program", PROGRAM.expected())?;
        let program = PROGRAM.read("program", program, store)?;
        let input = fields.take("input").map(|value| input(value, store)).transpose()?;
        let (input, input_stream) = input.unwrap_or((None, false));
        let params = fields.take("params").map(params).transpose()?.unwrap_or_default();
        let client = fields.text("client", MAX_CLIENT)?.unwrap_or_default();
        let metadata = match fields.take("metadata") {
            None => Metadata::new(),
            Some(value) => Fields::texts("metadata", value)?.into_iter().collect(),
        };
        let key = idempotency_key(fields.text("idempotency_key", MAX_IDEMPOTENCY_KEY)?, message_id)?;
        let asked = Self { goal, program, input, input_stream, params, client, metadata, key };
        // What bounds a request of any origin.
        asked.request(JobId::random(), Digest::from_bytes([0; 32]), None)?;
        Ok(asked)
    }

    /// The job's id: for the same client and key always the same.
    pub fn job(&self) -> JobId {
        self.key.as_ref().map_or_else(JobId::random, |key| JobId::of_key(&self.client, key))
    }

    /// The request as coordinators read it, once program and input are stored.
    ///
    /// # Errors
    /// When it is out of bounds.
    pub fn request(&self, job: JobId, program: ProgramId, input: Option<ObjectRef>) -> Result<JobRequest, ErrorObject> {
        let input_stream = self.input_stream;
        let (params, client, metadata) = (self.params.clone(), self.client.clone(), self.metadata.clone());
        let request = JobRequest { v: Version::default(), job, program, input, input_stream, params, client, metadata };
        request.validate_for(self.goal)?;
        Ok(request)
    }
}

/// The input, and whether it is to be streamed.
fn input(value: Value, store: &StoreUrl) -> Result<(Option<Data>, bool), ErrorObject> {
    match &value {
        Value::Map(fields) if fields.iter().any(|(name, _)| name == "stream") => {
            let mut fields = Fields::of_field("input", value, &["stream"])?;
            match fields.flag("stream")? {
                Some(true) => Ok((None, true)),
                _ => Err(not_allowed("input.stream", "not true", "true, or another input")),
            }
        }
        _ => Ok((Some(INPUT.read("input", value, store)?), false)),
    }
}

fn params(value: Value) -> Result<JobParams, ErrorObject> {
    const ALLOWED: [&str; 6] =
        ["log_segment_steps", "proof", "max_steps", "timeout_seconds", "priority", "proof_retention_seconds"];
    let mut fields = Fields::of_field("params", value, &ALLOWED)?;
    let proof = match fields.text("proof", 64)?.as_deref() {
        None => None,
        Some("recursive") => Some(ProofKind::Recursive),
        Some("bundle") => Some(ProofKind::Bundle),
        Some(other) => return Err(not_allowed("params.proof", &format!("{other:?}"), "\"recursive\" or \"bundle\"")),
    };
    Ok(JobParams {
        log_segment_steps: fields.integer("log_segment_steps", MIN_LOG_SEGMENT_STEPS..=MAX_LOG_SEGMENT_STEPS)?,
        proof,
        max_steps: fields.integer("max_steps", 1..=u64::MAX)?,
        timeout_seconds: fields.integer("timeout_seconds", 1..=MAX_TIMEOUT_SECONDS)?,
        priority: fields.integer("priority", MIN_PRIORITY..=MAX_PRIORITY)?,
        proof_retention_seconds: fields.integer("proof_retention_seconds", 0..=MAX_RETENTION_SECONDS)?,
    })
}

fn idempotency_key(field: Option<String>, header: Option<&str>) -> Result<Option<String>, ErrorObject> {
    let expected = format!("a text of 1 to {MAX_IDEMPOTENCY_KEY} bytes, in this field or in the header Nats-Msg-Id");
    let key = match (field, header) {
        (Some(field), Some(header)) if field != header => {
            let value = "another than the header Nats-Msg-Id";
            return Err(not_allowed("idempotency_key", value, &expected));
        }
        (Some(key), _) => key,
        (None, Some(key)) => key.to_owned(),
        (None, None) => return Ok(None),
    };
    match key.len() {
        1..=MAX_IDEMPOTENCY_KEY => Ok(Some(key)),
        bytes => Err(not_allowed("idempotency_key", &format!("{bytes} bytes long"), &expected)),
    }
}
