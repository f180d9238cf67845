//! `api.input`: a chunk of a streamed input, or its end, for clients that would rather ask than publish.

use bytes::Bytes;
use serde_json::{Value as Json, json};
use tokio::time::timeout;
use zisk_common::api::{ChunkStored, InputClosed};
use zisk_common::errors::{ErrorCode, ErrorObject};
use zisk_common::ids::JobId;
use zisk_common::input::MAX_CHUNKS;
use zisk_common::messages::{EventBody, InputClose, JobState, Version};
use zisk_common::subjects::ApiEndpoint;
use zisk_machine::input::MAX_INPUT_BYTES;

use super::data::inline;
use super::fields::{Fields, not_allowed};
use super::jobs::job;
use super::value::Value;
use super::{ANSWER_WITHIN, Api};

const CHUNK: &str = "base64 of a chunk's bytes";
const N: &str = "the chunk's number, 0 for the first";
const CLOSE: &str =
    "{\"chunks\": <how many>, \"bytes\": <all together>}, and \"digest\": <blake3 of all together> where it is known";
const DIGEST: &str = "the blake3 digest of the whole input: 64 hexadecimal digits in lower case";

/// What a request brings.
enum Brought {
    Chunk(u32, Bytes),
    Close(InputClose),
}

impl Api {
    /// Stores a chunk or an end, of a job that waits for its input.
    pub(super) async fn input(&self, body: Value) -> Result<Json, ErrorObject> {
        let mut fields = Fields::of_request(body, ApiEndpoint::Input)?;
        let job = job(&mut fields)?;
        let brought = brought(&mut fields)?;
        // Of a job that no coordinator has taken yet it is stored, and found when one does.
        if let Some(record) = self.once_taken(job).await? {
            if let Some(failure) = &record.failure {
                return Err(ErrorObject::from(failure).of(job));
            }
            if !record.waits_for_input() {
                let message = format!("job {job} awaits no input, it is {}", record.state);
                return Err(ErrorObject::new(ErrorCode::NoInputAwaited, message).at("job").of(job));
            }
        }
        match brought {
            Brought::Chunk(n, chunk) => {
                let bytes = chunk.len();
                let stored = self.bus.push_input(job, n, chunk).await?;
                Ok(json!(ChunkStored { job, n, bytes: bytes as u64, duplicate: stored.duplicate }))
            }
            Brought::Close(close) => {
                self.bus.close_input(job, &close).await?;
                let state = self.after_close(job).await?;
                Ok(json!(InputClosed { job, chunks: close.chunks, bytes: close.bytes, state }))
            }
        }
    }

    /// Where the job stands once its input has been put together, or when that takes too long for an answer.
    async fn after_close(&self, job: JobId) -> Result<JobState, ErrorObject> {
        let mut events = self.bus.events(job);
        let received = async {
            loop {
                // An event that this release cannot read says nothing here.
                match events.next().await.map(|event| event.body) {
                    Ok(EventBody::InputReceived { .. }) => return Ok(JobState::Queued),
                    Ok(EventBody::Failed { failure } | EventBody::Cancelled { failure }) => {
                        return Err(ErrorObject::from(&failure).of(job));
                    }
                    _ => {}
                }
            }
        };
        timeout(ANSWER_WITHIN, received).await.unwrap_or(Ok(JobState::WaitingForInput))
    }
}

fn brought(fields: &mut Fields) -> Result<Brought, ErrorObject> {
    let (n, chunk) = (fields.integer("n", 0..=MAX_CHUNKS - 1)?, fields.take("chunk"));
    match (n, chunk, fields.take("close")) {
        (Some(n), Some(chunk), None) => Ok(Brought::Chunk(n, inline("chunk", chunk)?)),
        (None, None, Some(close)) => {
            let mut close = Fields::of_field("close", close, &["chunks", "bytes", "digest"])?;
            let chunks = close.integer("chunks", 0..=MAX_CHUNKS)?.ok_or_else(|| close.missing("chunks", CLOSE))?;
            let bytes = close.integer("bytes", 0..=MAX_INPUT_BYTES as u64)?.ok_or_else(|| close.missing("bytes", CLOSE))?;
            let digest = close.parsed("digest", DIGEST)?;
            Ok(Brought::Close(InputClose { v: Version::default(), chunks, bytes, digest }))
        }
        (None, Some(_), None) => Err(fields.missing("n", N)),
        (Some(_), None, None) => Err(fields.missing("chunk", CHUNK)),
        (None, None, None) => Err(fields.missing("chunk", &format!("n and chunk ({CHUNK}), or close ({CLOSE})"))),
        (_, _, Some(_)) => Err(not_allowed("close", "there beside a chunk", "n and chunk, or close")),
    }
}
