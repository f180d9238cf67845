//! An error as a program is told it.

use serde::{Deserialize, Serialize};

use super::ErrorCode;
use crate::buckets::BucketError;
use crate::bus::BusError;
use crate::ids::JobId;
use crate::messages::{Failure, RequestError};
use crate::objects::ObjectError;

/// Longest text of an error, in characters: part of it may be what somebody sent.
const MAX_TEXT: usize = 1000;

/// What went wrong, where, what is allowed there, and where more is said about it.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(test, derive(schemars::JsonSchema))]
pub struct ErrorObject {
    /// The code.
    pub code: ErrorCode,
    /// The request's field that is to blame: `params.priority`.
    pub field: Option<String>,
    /// What happened.
    pub message: String,
    /// What the field may be.
    pub allowed: Option<String>,
    /// The job, where there is one.
    pub job: Option<JobId>,
    /// The code's page in the repository.
    pub docs: String,
}

impl ErrorObject {
    /// An error that is no field's.
    pub fn new(code: ErrorCode, message: impl Into<String>) -> Self {
        Self { code, field: None, message: bounded(message.into()), allowed: None, job: None, docs: code.page() }
    }

    /// The same, with the field that is to blame.
    #[must_use]
    pub fn at(self, field: impl Into<String>) -> Self {
        Self { field: Some(bounded(field.into())), ..self }
    }

    /// The same, with what is allowed there.
    #[must_use]
    pub fn allowing(self, allowed: impl Into<String>) -> Self {
        Self { allowed: Some(allowed.into()), ..self }
    }

    /// The same, about this job.
    #[must_use]
    pub fn of(self, job: JobId) -> Self {
        Self { job: Some(job), ..self }
    }
}

fn bounded(text: String) -> String {
    match text.char_indices().nth(MAX_TEXT) {
        Some((end, _)) => format!("{} ...", &text[..end]),
        None => text,
    }
}

impl From<&Failure> for ErrorObject {
    fn from(failure: &Failure) -> Self {
        Self::new(failure.kind.code(), &failure.message)
    }
}

impl From<RequestError> for ErrorObject {
    fn from(error: RequestError) -> Self {
        Self::new(ErrorCode::NotAllowed, error.to_string()).at(error.field()).allowing(error.allowed())
    }
}

impl From<BusError> for ErrorObject {
    fn from(error: BusError) -> Self {
        let code = if error.full { ErrorCode::StoreFull } else { ErrorCode::NatsUnavailable };
        Self::new(code, error.to_string())
    }
}

impl From<BucketError> for ErrorObject {
    fn from(error: BucketError) -> Self {
        match error {
            BucketError::Bus(error) => error.into(),
            BucketError::Codec(error) => Self::new(ErrorCode::OtherRelease, error.to_string()),
            BucketError::Conflict { .. } => Self::new(ErrorCode::NatsUnavailable, error.to_string()),
        }
    }
}

impl From<ObjectError> for ErrorObject {
    fn from(error: ObjectError) -> Self {
        let code = match error {
            ObjectError::Full { .. } => ErrorCode::StoreFull,
            _ => ErrorCode::ObjectStore,
        };
        Self::new(code, error.to_string())
    }
}
