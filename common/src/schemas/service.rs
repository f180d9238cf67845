//! The requests of the coordinators' service. Coordinators read them by hand (`coordinator/src/api`), so that each mistake is named;
//! these types say the same to whoever writes one. Coordinators' own tests read the samples made of them.

use std::borrow::Cow;

use schemars::{JsonSchema, Schema, SchemaGenerator, json_schema};
use serde::{Deserialize, Serialize};

use crate::api::{ChunkStored, InputClosed, MAX_IDEMPOTENCY_KEY, MAX_INLINE, MAX_PAGE};
use crate::ids::{Digest, JobId};
use crate::input::MAX_CHUNKS;
use crate::messages::{JobParams, MAX_CLIENT, Metadata, Version};

/// A job that is to be done: for `prove` its run is proven, for `execute` the program is run without a proof.
#[derive(Debug, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct ProveRequest {
    /// The schema version that the request is written in.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub v: Option<Version>,
    /// The program.
    pub program: Program,
    /// Its input; without it the input is empty.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub input: Option<Input>,
    /// How to run and prove it.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub params: Option<JobParams>,
    /// Who asks, at most 64 bytes: the cluster is shared fairly between names.
    #[schemars(length(max = MAX_CLIENT))]
    #[serde(skip_serializing_if = "Option::is_none")]
    pub client: Option<String>,
    /// Pairs of texts of the client's own: kept with the job and given back.
    #[schemars(schema_with = "super::json_schema::optional_metadata")]
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub metadata: Option<Metadata>,
    /// 1 to 128 bytes, here or in the header `Nats-Msg-Id`: the same key of the same client is the same job, as long as that has a record.
    #[schemars(length(min = 1, max = MAX_IDEMPOTENCY_KEY))]
    #[serde(skip_serializing_if = "Option::is_none")]
    pub idempotency_key: Option<String>,
}

/// A program whose keys are to be derived.
#[derive(Debug, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct SetupRequest {
    /// The schema version that the request is written in.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub v: Option<Version>,
    /// The program.
    pub program: Program,
    /// How; of these only the time limit and the priority mean something here.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub params: Option<JobParams>,
    /// Who asks, at most 64 bytes: the cluster is shared fairly between names.
    #[schemars(length(max = MAX_CLIENT))]
    #[serde(skip_serializing_if = "Option::is_none")]
    pub client: Option<String>,
    /// Pairs of texts of the client's own: kept with the job and given back.
    #[schemars(schema_with = "super::json_schema::optional_metadata")]
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub metadata: Option<Metadata>,
    /// 1 to 128 bytes, here or in the header `Nats-Msg-Id`: the same key of the same client is the same job, as long as that has a record.
    #[schemars(length(min = 1, max = MAX_IDEMPOTENCY_KEY))]
    #[serde(skip_serializing_if = "Option::is_none")]
    pub idempotency_key: Option<String>,
}

/// Which job is meant.
#[derive(Debug, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct JobQuery {
    /// The schema version that the request is written in.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub v: Option<Version>,
    /// The job.
    pub job: JobId,
}

/// Which job's result is asked for.
#[derive(Debug, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct ResultRequest {
    /// The schema version that the request is written in.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub v: Option<Version>,
    /// The job.
    pub job: JobId,
    /// Whether the proof itself is to be in the answer where it fits, which it is unless this is false.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub inline: Option<bool>,
}

/// Which page of jobs is asked for.
#[derive(Debug, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct JobsRequest {
    /// The schema version that the request is written in.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub v: Option<Version>,
    /// Jobs of the page, 20 unless it is said.
    #[schemars(range(min = 1, max = MAX_PAGE))]
    #[serde(skip_serializing_if = "Option::is_none")]
    pub limit: Option<u8>,
    /// The job after which the page begins: the `next` of the page before.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub after: Option<JobId>,
}

/// A proof that is to be verified, by one of the program and its verifying key.
#[derive(Debug, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
#[schemars(extend("oneOf" = [
    { "properties": { "program": { "not": { "type": "null" } }, "verifying_key": { "type": "null" } }, "required": ["program"] },
    { "properties": { "verifying_key": { "not": { "type": "null" } }, "program": { "type": "null" } }, "required": ["verifying_key"] },
]))]
pub struct VerifyRequest {
    /// The schema version that the request is written in.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub v: Option<Version>,
    /// The proof.
    pub proof: Data<1>,
    /// The program that it is to be about.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub program: Option<Program>,
    /// The program's verifying key.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub verifying_key: Option<Data<2>>,
}

/// An input: data, or none yet.
#[derive(Debug, Serialize, Deserialize)]
#[serde(untagged)]
pub enum Input {
    Data(Data<0>),
    Stream { stream: bool },
}

impl JsonSchema for Input {
    fn schema_name() -> Cow<'static, str> {
        "Input".into()
    }

    fn json_schema(_: &mut SchemaGenerator) -> Schema {
        let streamed = json_schema!({
            "description": "It comes in chunks: by `input` requests, or on the subjects `input.<job>.<n>`.",
            "type": "object",
            "properties": { "stream": { "description": "True.", "const": true } },
            "required": ["stream"],
            "additionalProperties": false,
        });
        json_schema!({ "description": "An input.", "oneOf": [by_key("input"), by_url("input"), inline(), streamed] })
    }
}

/// A chunk of an input that is streamed, or its end: `n` and `chunk`, or `close`.
#[derive(Debug, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
#[schemars(extend("oneOf" = [
    {
        "properties": { "n": { "type": "integer" }, "chunk": { "type": "string" }, "close": { "type": "null" } },
        "required": ["n", "chunk"],
    },
    {
        "properties": { "close": { "type": "object" }, "n": { "type": "null" }, "chunk": { "type": "null" } },
        "required": ["close"],
    },
]))]
pub struct InputRequest {
    /// The schema version that the request is written in.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub v: Option<Version>,
    /// The job.
    pub job: JobId,
    /// The chunk's number, 0 for the first.
    #[schemars(range(max = MAX_CHUNKS - 1))]
    #[serde(skip_serializing_if = "Option::is_none")]
    pub n: Option<u32>,
    /// The chunk's bytes, at most 700 KiB: base64 with padding and without line breaks; in MessagePack a byte string is taken, too.
    #[schemars(regex(pattern = super::BASE64), length(max = MAX_INLINE.div_ceil(3) * 4))]
    #[serde(skip_serializing_if = "Option::is_none")]
    pub chunk: Option<String>,
    /// The end: what must be there for the input to be whole.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub close: Option<InputEnd>,
}

/// What an input has when it is whole.
#[derive(Debug, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct InputEnd {
    /// How many chunks: they are 0 to `chunks - 1`.
    #[schemars(range(max = MAX_CHUNKS))]
    pub chunks: u32,
    /// Their bytes together.
    pub bytes: u64,
    /// The blake3 digest of them together: a chunk that was stored first with other bytes is then found out.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub digest: Option<Digest>,
}

/// The answer: what was stored.
#[derive(Debug, Serialize, Deserialize, JsonSchema)]
#[serde(untagged)]
pub enum InputAnswer {
    Chunk(ChunkStored),
    Close(InputClosed),
}

/// What the data of a request are: the first part of their keys, and what they are called.
const KINDS: [(&str, &str, &str); 3] =
    [("input", "InputData", "An input."), ("proof", "FinalProof", "A final proof."), ("key", "VerifyingKey", "A verifying key.")];

/// Data of one of [`KINDS`]: an object that is stored, or the bytes themselves.
#[derive(Debug, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Data<const KIND: usize> {
    Key(String),
    Url(String),
    Inline(String),
}

/// A program: its id once it is stored, or as other data.
#[derive(Debug, Serialize, Deserialize)]
#[serde(untagged)]
pub enum Program {
    Id(String),
    Data(Data<3>),
}

impl<const KIND: usize> JsonSchema for Data<KIND> {
    fn schema_name() -> Cow<'static, str> {
        KINDS[KIND].1.into()
    }

    fn json_schema(_: &mut SchemaGenerator) -> Schema {
        let (scope, _, description) = KINDS[KIND];
        json_schema!({ "description": description, "oneOf": [by_key(scope), by_url(scope), inline()] })
    }
}

impl JsonSchema for Program {
    fn schema_name() -> Cow<'static, str> {
        "Program".into()
    }

    fn json_schema(_: &mut SchemaGenerator) -> Schema {
        json_schema!({
            "description": "A program, which is a statically linked 64-bit RISC-V ELF.",
            "oneOf": [
                { "description": "Its id once it is stored: the blake3 digest of the ELF.", "type": "string", "pattern": super::DIGEST },
                by_key("program"),
                by_url("program"),
                inline(),
            ],
        })
    }
}

fn by_key(scope: &str) -> Schema {
    let pattern = format!("^{scope}/[0-9a-f]{{64}}$");
    json_schema!({
        "description": "What is stored under this key, its digest being that of its bytes by blake3.",
        "type": "object",
        "properties": { "key": { "description": "The key.", "type": "string", "pattern": pattern } },
        "required": ["key"],
        "additionalProperties": false,
    })
}

fn by_url(scope: &str) -> Schema {
    let pattern = format!("^[a-z0-9]+://(.*/)?{scope}/[0-9a-f]{{64}}$");
    json_schema!({
        "description": "What is stored under this URL, which is the store's own, as coordinators have it, and a key.",
        "type": "object",
        "properties": { "url": { "description": "The URL.", "type": "string", "pattern": pattern } },
        "required": ["url"],
        "additionalProperties": false,
    })
}

fn inline() -> Schema {
    json_schema!({
        "description": "The bytes themselves, at most 700 KiB.",
        "type": "object",
        "properties": {
            "inline": {
                "description": "Base64 with padding and without line breaks; in MessagePack a byte string is taken, too.",
                "type": "string",
                "contentEncoding": "base64",
                "pattern": super::BASE64,
                "maxLength": MAX_INLINE.div_ceil(3) * 4,
            },
        },
        "required": ["inline"],
        "additionalProperties": false,
    })
}
