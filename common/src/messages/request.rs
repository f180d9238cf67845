//! What clients ask for.

use std::collections::BTreeMap;

use serde::{Deserialize, Serialize};
use thiserror::Error;

use super::codec::Version;
use super::object::{ObjectRef, ObjectScope};
use crate::ids::{JobId, ProgramId};
use crate::subjects::RequestKind;

/// Smallest segment a job may ask for, as log2 of its steps.
pub const MIN_LOG_SEGMENT_STEPS: u8 = 10;
/// Largest segment a job may ask for, as log2 of its steps.
pub const MAX_LOG_SEGMENT_STEPS: u8 = 20;

/// Segments of a job that does not say, as log2 of their steps: large, so that lifts and folds are little beside them
/// (docs/decisions/0007-parameters.md).
pub const DEFAULT_LOG_SEGMENT_STEPS: u8 = 20;

/// Lowest priority a job may ask for.
pub const MIN_PRIORITY: u8 = 0;
/// Highest priority a job may ask for: it is begun before all others.
pub const MAX_PRIORITY: u8 = 9;
/// The priority of a job that does not say.
pub const NORMAL_PRIORITY: u8 = 5;

/// Longest retention that anybody may ask for, in seconds: ten years, beyond which only 0, for ever, is meant.
pub const MAX_RETENTION_SECONDS: u64 = 10 * 365 * 24 * 3600;

/// Longest time that anybody may ask for, in seconds: seven days, after which what is streamed is gone, too.
pub const MAX_TIMEOUT_SECONDS: u64 = 7 * 24 * 3600;

/// Longest name of a client, in bytes.
pub const MAX_CLIENT: usize = 64;

/// Pairs of metadata that a job may have.
pub const MAX_METADATA: usize = 32;
/// Longest key of metadata, in bytes.
pub const MAX_METADATA_KEY: usize = 64;
/// Longest value of metadata, in bytes.
pub const MAX_METADATA_VALUE: usize = 512;

/// Pairs of texts that mean something to the client alone: kept with the job, and given back.
pub type Metadata = BTreeMap<String, String>;

/// A job: what to run, on what. Which of setup, execute, prove is in the subject.
///
/// A person may publish one by hand as JSON, so what is not known here is refused rather than ignored.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(test, derive(schemars::JsonSchema))]
#[serde(deny_unknown_fields)]
pub struct JobRequest {
    /// Schema version.
    #[serde(default)]
    pub v: Version,
    /// Chosen by the client; also the message id, so that a request published twice is one job.
    pub job: JobId,
    /// The program; its ELF is already in the object store.
    pub program: ProgramId,
    /// The input, already in the object store (under `input/<digest>`); none is an empty input.
    #[serde(default)]
    #[cfg_attr(test, schemars(schema_with = "crate::schemas::json_schema::input"))]
    pub input: Option<ObjectRef>,
    /// The input comes after the request, in chunks on `input.<job>.<n>`: the job waits for its end. Then there is no `input`.
    #[serde(default, skip_serializing_if = "is_false")]
    pub input_stream: bool,
    /// How to run and prove it.
    #[serde(default)]
    pub params: JobParams,
    /// Who asks, at most 64 bytes: shown to operators, and jobs of one name share what the cluster can do fairly with those of the
    /// others.
    #[serde(default)]
    #[cfg_attr(test, schemars(length(max = MAX_CLIENT)))]
    pub client: String,
    /// At most 32 pairs of the client's own (keys of 1 to 64 bytes, values of at most 512), given back in the job's first and last event and in its record.
    #[serde(default, skip_serializing_if = "Metadata::is_empty")]
    #[cfg_attr(test, schemars(schema_with = "crate::schemas::json_schema::metadata"))]
    pub metadata: Metadata,
}

#[allow(clippy::trivially_copy_pass_by_ref, reason = "serde's own signature")]
const fn is_false(flag: &bool) -> bool {
    !*flag
}

/// What kind of proof a job ends with.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(test, derive(schemars::JsonSchema))]
#[serde(rename_all = "snake_case")]
pub enum ProofKind {
    /// One proof about all segment proofs: small, and quick to verify whatever the number of segments.
    #[default]
    Recursive,
    /// All segment proofs together: large, and takes less to make.
    Bundle,
}

/// Options of a job; what is not set is the coordinator's default.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(test, derive(schemars::JsonSchema))]
#[serde(deny_unknown_fields, default)]
pub struct JobParams {
    /// log2 of the steps of a segment, 10 to 20.
    #[cfg_attr(test, schemars(range(min = MIN_LOG_SEGMENT_STEPS, max = MAX_LOG_SEGMENT_STEPS)))]
    pub log_segment_steps: Option<u8>,
    /// The kind of proof: recursive when not set.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub proof: Option<ProofKind>,
    /// Steps after which the program is stopped and the job fails.
    #[cfg_attr(test, schemars(range(min = 1)))]
    pub max_steps: Option<u64>,
    /// Seconds after which the job fails, from its acceptance on: waiting for its turn counts. At most seven days.
    #[cfg_attr(test, schemars(range(min = 1, max = MAX_TIMEOUT_SECONDS)))]
    pub timeout_seconds: Option<u64>,
    /// 0 to 9, 5 when not set: among the jobs that wait, those of a higher priority are begun first.
    #[serde(skip_serializing_if = "Option::is_none")]
    #[cfg_attr(test, schemars(range(min = MIN_PRIORITY, max = MAX_PRIORITY)))]
    pub priority: Option<u8>,
    /// Seconds for which the proof is kept after the job's end; 0 is for ever, and more than ten years are refused.
    #[serde(skip_serializing_if = "Option::is_none")]
    #[cfg_attr(test, schemars(range(max = MAX_RETENTION_SECONDS)))]
    pub proof_retention_seconds: Option<u64>,
}

/// A request that decodes but cannot be served.
#[derive(Debug, Clone, PartialEq, Eq, Error)]
pub enum RequestError {
    /// A parameter outside its range.
    #[error("{field} is {value}: expected {expected}")]
    OutOfRange {
        /// The field's name.
        field: &'static str,
        /// What it holds.
        value: u64,
        /// Its range.
        expected: String,
    },
    /// The client's name is too long.
    #[error("client is {bytes} bytes long: expected at most {MAX_CLIENT}")]
    Client {
        /// Its length.
        bytes: usize,
    },
    /// There is too much metadata, or too long.
    #[error("metadata {key:?} {problem}: expected {}", Self::METADATA)]
    Metadata {
        /// The key; the first one too many, where there are too many.
        key: String,
        /// What is wrong.
        problem: &'static str,
    },
    /// The input names an object of another kind.
    #[error("input {key} is not an input object: expected input/<digest>")]
    Input {
        /// The key given.
        key: String,
    },
    /// The input is to be streamed, where there is one already or none is needed.
    #[error("input_stream is true, {problem}: expected {}", Self::INPUT_STREAM)]
    InputStream {
        /// What contradicts that.
        problem: &'static str,
    },
}

impl RequestError {
    const METADATA: &str = "at most 32 pairs, keys of 1 to 64 bytes, values of at most 512 bytes";
    const INPUT_STREAM: &str = "true for a prove or execute request without input, else false or nothing";

    /// The field that is wrong.
    pub fn field(&self) -> String {
        match self {
            Self::OutOfRange { field, .. } => (*field).to_owned(),
            Self::Client { .. } => "client".to_owned(),
            Self::Metadata { key, .. } => format!("metadata.{key}"),
            Self::Input { .. } => "input".to_owned(),
            Self::InputStream { .. } => "input_stream".to_owned(),
        }
    }

    /// What it may be.
    pub fn allowed(&self) -> String {
        match self {
            Self::OutOfRange { expected, .. } => expected.clone(),
            Self::Client { .. } => format!("at most {MAX_CLIENT} bytes"),
            Self::Metadata { .. } => Self::METADATA.to_owned(),
            Self::Input { .. } => "input/<digest>".to_owned(),
            Self::InputStream { .. } => Self::INPUT_STREAM.to_owned(),
        }
    }
}

impl JobRequest {
    /// Cuts off what is too long, so that a request that is refused fits its record.
    pub fn shorten(&mut self) {
        if self.client.len() > MAX_CLIENT {
            self.client.truncate(self.client.floor_char_boundary(MAX_CLIENT));
        }
        if check_metadata(&self.metadata).is_err() {
            self.metadata.clear();
        }
    }

    /// Checks what a request of this kind may say: [`JobRequest::validate`], and what only some may.
    ///
    /// # Errors
    /// As there.
    pub fn validate_for(&self, goal: RequestKind) -> Result<(), RequestError> {
        self.validate()?;
        match self.input_stream && goal == RequestKind::Setup {
            true => Err(RequestError::InputStream { problem: "and setup takes no input" }),
            false => Ok(()),
        }
    }

    /// Checks ranges.
    ///
    /// # Errors
    /// [`RequestError`] naming the field and its range.
    pub fn validate(&self) -> Result<(), RequestError> {
        let out_of_range = |field, value, expected: String| Err(RequestError::OutOfRange { field, value, expected });
        if let Some(log) = self.params.log_segment_steps
            && !(MIN_LOG_SEGMENT_STEPS..=MAX_LOG_SEGMENT_STEPS).contains(&log)
        {
            let expected = format!("{MIN_LOG_SEGMENT_STEPS} to {MAX_LOG_SEGMENT_STEPS}");
            return out_of_range("params.log_segment_steps", log.into(), expected);
        }
        if self.params.max_steps == Some(0) {
            return out_of_range("params.max_steps", 0, "at least 1".to_owned());
        }
        if let Some(seconds) = self.params.timeout_seconds
            && !(1..=MAX_TIMEOUT_SECONDS).contains(&seconds)
        {
            return out_of_range("params.timeout_seconds", seconds, format!("1 to {MAX_TIMEOUT_SECONDS} (seven days)"));
        }
        if let Some(priority) = self.params.priority
            && !(MIN_PRIORITY..=MAX_PRIORITY).contains(&priority)
        {
            let expected = format!("{MIN_PRIORITY} (last) to {MAX_PRIORITY} (first)");
            return out_of_range("params.priority", priority.into(), expected);
        }
        if let Some(seconds) = self.params.proof_retention_seconds
            && seconds > MAX_RETENTION_SECONDS
        {
            let expected = format!("0 (for ever) to {MAX_RETENTION_SECONDS}");
            return out_of_range("params.proof_retention_seconds", seconds, expected);
        }
        if self.client.len() > MAX_CLIENT {
            return Err(RequestError::Client { bytes: self.client.len() });
        }
        check_metadata(&self.metadata)?;
        if self.input_stream && self.input.is_some() {
            return Err(RequestError::InputStream { problem: "and there is an input" });
        }
        match &self.input {
            Some(input) if input.key.scope != ObjectScope::Input => Err(RequestError::Input { key: input.key.to_string() }),
            _ => Ok(()),
        }
    }
}

fn check_metadata(metadata: &Metadata) -> Result<(), RequestError> {
    let wrong = |key: &str, problem| Err(RequestError::Metadata { key: key.chars().take(MAX_METADATA_KEY).collect(), problem });
    if let Some(key) = metadata.keys().nth(MAX_METADATA) {
        return wrong(key, "is one too many");
    }
    for (key, value) in metadata {
        if key.is_empty() || key.len() > MAX_METADATA_KEY {
            return wrong(key, "is no key");
        }
        if value.len() > MAX_METADATA_VALUE {
            return wrong(key, "has too long a value");
        }
    }
    Ok(())
}
