//! `api.prove`, `api.execute`, `api.setup`: a job, and at once whether it was accepted.

use bytes::Bytes;
use serde_json::{Value as Json, json};
use tokio::time::timeout;
use zisk_common::api::{Submitted, SubmittedState};
use zisk_common::errors::{ErrorCode, ErrorObject};
use zisk_common::ids::{Digest, JobId};
use zisk_common::messages::{EventBody, JobParams, JobRecord, JobState, ObjectKey, ObjectRef, ObjectScope};
use zisk_common::objects::Objects;
use zisk_common::subjects::RequestKind;
use zisk_machine::program::Program;

use super::data::{Data, INPUT, PROGRAM};
use super::request::Asked;
use super::value::Value;
use super::{ANSWER_WITHIN, Api, blocking};

const QUEUED: SubmittedState = SubmittedState::Taken(JobState::Queued);

impl Api {
    /// Makes a job of a request: nothing is stored before all of it is found to be right.
    pub(super) async fn submit(&self, goal: RequestKind, body: Value, message_id: Option<&str>) -> Result<Json, ErrorObject> {
        let asked = Asked::read(goal, body, message_id, &self.store)?;
        let objects = self.objects().await?;
        let job = asked.job();
        if asked.key.is_some()
            && let Some(record) = self.record(job).await?
        {
            return self.same(&asked, &record).await;
        }
        if let Data::Key(key) = asked.program {
            PROGRAM.find("program", objects, key).await?;
        }
        let input = match asked.input {
            Some(Data::Key(key)) => Some(INPUT.find("input", objects, key).await?),
            _ => None,
        };
        if let Data::Inline(elf) = &asked.program {
            check_program(elf.clone()).await?;
        }
        let waiting = self.bus.queue_order().await?.waiting.len();
        if waiting >= self.max_jobs {
            let message = format!("{waiting} jobs wait, as many as [queue] max_jobs allows: submit it again when there is room");
            return Err(ErrorObject::new(ErrorCode::QueueFull, message));
        }
        let program = match &asked.program {
            Data::Key(key) => key.digest,
            Data::Inline(elf) => objects.put(ObjectScope::Program, elf.clone()).await?.key.digest,
        };
        let input = match &asked.input {
            Some(Data::Inline(bytes)) => store_input(objects, bytes).await?,
            _ => input,
        };
        self.bus.publish_request(goal, &asked.request(job, program, input)?).await?;
        let mut events = self.bus.events(job);
        let (state, position) = match timeout(ANSWER_WITHIN, events.next()).await {
            // Stored, so it holds: a coordinator will come.
            Err(_) => (SubmittedState::Submitted, None),
            Ok(Err(error)) => return Err(ErrorObject::new(ErrorCode::OtherRelease, error.to_string()).of(job)),
            Ok(Ok(event)) => match event.body {
                EventBody::Accepted { .. } if asked.input_stream => (SubmittedState::Taken(JobState::WaitingForInput), None),
                EventBody::Accepted { position } => (QUEUED, position),
                EventBody::Failed { failure } | EventBody::Cancelled { failure } => {
                    return Err(ErrorObject::from(&failure).of(job));
                }
                // Its first event went with the stream it was in.
                _ => (QUEUED, None),
            },
        };
        // Of two different requests with one key at the same moment, one was first.
        if asked.key.is_some()
            && let Some(record) = self.record(job).await?
        {
            check_same(&asked, &record)?;
        }
        Ok(json!(Submitted { job, state, position }))
    }

    /// Answers a request that was made before.
    async fn same(&self, asked: &Asked, record: &JobRecord) -> Result<Json, ErrorObject> {
        check_same(asked, record)?;
        let position = self.position(record).await?;
        Ok(json!(Submitted { job: record.job, state: SubmittedState::Taken(record.state), position }))
    }
}

async fn store_input(objects: &Objects, bytes: &Bytes) -> Result<Option<ObjectRef>, ErrorObject> {
    match bytes.is_empty() {
        true => Ok(None),
        false => Ok(Some(objects.put(ObjectScope::Input, bytes.clone()).await?)),
    }
}

/// Beside everything else: an ELF is a stranger's, and takes a while to read.
async fn check_program(elf: Bytes) -> Result<(), ErrorObject> {
    let read = blocking(move || Program::from_elf(&elf).map(drop).map_err(|error| error.to_string())).await?;
    read.map_err(|reason| {
        let error = ErrorObject::new(ErrorCode::ProgramUnusable, format!("the program cannot be proven: {reason}"));
        error.at("program.inline").allowing("a statically linked 64-bit RISC-V ELF built against the ziskos crate")
    })
}

/// Whether a key's second request is its first once more. What it leaves open the first may have set: defaults were filled in.
fn check_same(asked: &Asked, record: &JobRecord) -> Result<(), ErrorObject> {
    let first = &record.request;
    let input = match &asked.input {
        None => None,
        Some(Data::Key(key)) => Some(*key),
        Some(Data::Inline(bytes)) if bytes.is_empty() => None,
        Some(Data::Inline(bytes)) => Some(key_of(ObjectScope::Input, bytes)),
    };
    let program = match &asked.program {
        Data::Key(key) => *key,
        Data::Inline(elf) => key_of(ObjectScope::Program, elf),
    };
    let differs = if asked.goal != record.goal {
        Some("kind")
    } else if program.digest != first.program {
        Some("program")
    } else if asked.input_stream != record.is_streamed() || !asked.input_stream && input != first.input.map(|object| object.key) {
        Some("input")
    } else if asked.metadata != first.metadata {
        Some("metadata")
    } else if !says_no_other(&asked.params, &first.params) {
        Some("params")
    } else {
        None
    };
    let Some(what) = differs else { return Ok(()) };
    Err(reused(what, record.job))
}

fn reused(what: &str, job: JobId) -> ErrorObject {
    let message = format!("the idempotency key belongs to job {job} of another request: its {what} is not the same");
    ErrorObject::new(ErrorCode::KeyReused, message).at("idempotency_key").allowing("a new key for a new request").of(job)
}

fn key_of(scope: ObjectScope, bytes: &Bytes) -> ObjectKey {
    ObjectKey { scope, digest: Digest::of(bytes) }
}

fn says_no_other(said: &JobParams, known: &JobParams) -> bool {
    fn same<T: PartialEq>(said: &Option<T>, known: &Option<T>) -> bool {
        said.is_none() || said == known
    }
    same(&said.log_segment_steps, &known.log_segment_steps)
        && same(&said.proof, &known.proof)
        && same(&said.max_steps, &known.max_steps)
        && same(&said.timeout_seconds, &known.timeout_seconds)
        && same(&said.priority, &known.priority)
        && same(&said.proof_retention_seconds, &known.proof_retention_seconds)
}
