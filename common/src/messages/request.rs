//! What clients ask for.

use serde::{Deserialize, Serialize};
use thiserror::Error;

use super::codec::Version;
use super::object::{ObjectRef, ObjectScope};
use crate::ids::{JobId, ProgramId};

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

/// Longest name of a client, in bytes.
pub const MAX_CLIENT: usize = 64;

/// A job: what to run, on what. Which of setup, execute, prove is in the subject.
///
/// A person may publish one by hand as JSON, so what is not known here is refused rather than ignored.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct JobRequest {
    /// Schema version.
    #[serde(default)]
    pub v: Version,
    /// Chosen by the client; also the message id, so that a request published twice is one job.
    pub job: JobId,
    /// The program; its ELF is already in the object store.
    pub program: ProgramId,
    /// The input, already in the object store; none is an empty input.
    #[serde(default)]
    pub input: Option<ObjectRef>,
    /// How to run and prove it.
    #[serde(default)]
    pub params: JobParams,
    /// Who asks, at most [`MAX_CLIENT`] bytes: shown to operators, and jobs of one name share what the cluster can do fairly
    /// with those of the others.
    #[serde(default)]
    pub client: String,
}

/// What kind of proof a job ends with.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize)]
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
#[serde(deny_unknown_fields, default)]
pub struct JobParams {
    /// log2 of the steps of a segment.
    pub log_segment_steps: Option<u8>,
    /// The kind of proof: recursive when not set.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub proof: Option<ProofKind>,
    /// Steps after which the program is stopped and the job fails.
    pub max_steps: Option<u64>,
    /// Seconds after which the job fails, from its acceptance on: waiting for its turn counts.
    pub timeout_seconds: Option<u64>,
    /// 0 to 9, 5 when not set: among the jobs that wait, those of a higher priority are begun first.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub priority: Option<u8>,
    /// Seconds for which the proof is kept after the job's end; 0 is for ever.
    #[serde(skip_serializing_if = "Option::is_none")]
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
    /// The input names an object of another kind.
    #[error("input {key} is not an input object: expected input/<digest>")]
    Input {
        /// The key given.
        key: String,
    },
}

impl JobRequest {
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
        if self.params.timeout_seconds == Some(0) {
            return out_of_range("params.timeout_seconds", 0, "at least 1".to_owned());
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
        match &self.input {
            Some(input) if input.key.scope != ObjectScope::Input => Err(RequestError::Input { key: input.key.to_string() }),
            _ => Ok(()),
        }
    }
}
