//! Encoding, decoding, and the schema version.

use std::fmt;

use bytes::Bytes;
use serde::de::{DeserializeOwned, Error as _};
use serde::{Deserialize, Deserializer, Serialize, Serializer};
use thiserror::Error;

/// The schema version this build writes, and the newest it reads. A message that gains an optional field keeps it;
/// one whose meaning changes raises it.
pub const SCHEMA_VERSION: u16 = 1;

/// Header that names a payload's encoding.
pub const CONTENT_TYPE: &str = "Content-Type";
/// Content type of MessagePack; assumed when the header is missing.
pub const MESSAGE_PACK: &str = "application/msgpack";
/// Content type of JSON; accepted on requests.
pub const JSON: &str = "application/json";

/// Header that names the prover's version an assignment is for.
pub const PROVER_VERSION: &str = "Zisk-Prover-Version";

/// A message's schema version; reading one newer than [`SCHEMA_VERSION`] fails.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Version(u16);

impl Default for Version {
    fn default() -> Self {
        Self(SCHEMA_VERSION)
    }
}

impl Version {
    /// The number.
    pub const fn number(self) -> u16 {
        self.0
    }
}

#[cfg(test)]
impl schemars::JsonSchema for Version {
    fn schema_name() -> std::borrow::Cow<'static, str> {
        "Version".into()
    }

    fn json_schema(_: &mut schemars::SchemaGenerator) -> schemars::Schema {
        schemars::json_schema!({
            "description": "A schema version that this release reads. One that is newer is refused.",
            "type": "integer",
            "minimum": 1,
            "maximum": SCHEMA_VERSION,
        })
    }
}

impl fmt::Display for Version {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0.fmt(f)
    }
}

impl Serialize for Version {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.serialize_u16(self.0)
    }
}

impl<'de> Deserialize<'de> for Version {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        match u16::deserialize(deserializer)? {
            number @ 1..=SCHEMA_VERSION => Ok(Self(number)),
            other => {
                Err(D::Error::custom(format_args!("schema version {other} is not one this build reads (1 to {SCHEMA_VERSION})")))
            }
        }
    }
}

/// Why a payload could not be written or read.
#[derive(Debug, Error)]
pub enum CodecError {
    /// The message does not serialize; a bug here, not in what was received.
    #[error("{message} does not encode: {reason}")]
    Encode {
        /// The message's name.
        message: &'static str,
        /// What the encoder said.
        reason: String,
    },
    /// The payload was written by a newer release.
    #[error(
        "{message} has schema version {found}, newer than {SCHEMA_VERSION}, the newest this build reads: upgrade this \
         process, or run it with another prefix"
    )]
    Newer {
        /// The message's name.
        message: &'static str,
        /// The version found.
        found: u64,
    },
    /// The payload is not this message.
    #[error("{message} does not decode from {encoding}: {reason}")]
    Decode {
        /// The message's name.
        message: &'static str,
        /// The encoding tried.
        encoding: &'static str,
        /// What is wrong and what was expected.
        reason: String,
    },
    /// The header names an encoding that is not read here.
    #[error("content type {0:?} is not read here: expected {MESSAGE_PACK} or {JSON}")]
    ContentType(String),
}

/// A payload with a name and a schema version `v`.
pub trait Message: Serialize + DeserializeOwned {
    /// The name used in errors.
    const NAME: &'static str;
}

macro_rules! messages {
    ($($type:ty => $name:literal,)+) => {
        $(impl Message for $type { const NAME: &'static str = $name; })+

        /// All of them, for `schemas/`.
        #[cfg(test)]
        pub(crate) fn described() -> Vec<crate::schemas::Described> {
            vec![$(crate::schemas::Described::message::<$type>(),)+]
        }
    };
}

messages! {
    super::JobRequest => "request",
    super::PlanAssignment => "plan assignment",
    super::SegmentAssignment => "segment assignment",
    super::FoldAssignment => "fold assignment",
    super::AggregateAssignment => "aggregation assignment",
    super::SetupDone => "setup report",
    super::Planned => "planned report",
    super::Executed => "executed report",
    super::Contribution => "contribution report",
    super::Proof => "proof report",
    super::GivenBack => "given-back report",
    super::Rejected => "rejection report",
    super::Folded => "folded report",
    super::Final => "final report",
    super::Failed => "failed report",
    super::Challenge => "challenge",
    super::Cancel => "cancel",
    super::Event => "event",
    super::InputClose => "input end",
    super::JobRecord => "job record",
    super::SegmentRecord => "segment record",
    super::WorkerPresence => "worker presence",
    super::ProgramEntry => "program entry",
    super::Begun => "work begun",
    super::DeadLetter => "dead letter",
    super::QueueOrder => "queue order",
    super::StoreMark => "store mark",
    super::BusCondition => "bus condition",
}

/// Writes a message as MessagePack with named fields.
///
/// # Errors
/// [`CodecError::Encode`] when the message does not serialize.
pub fn encode<M: Message>(message: &M) -> Result<Bytes, CodecError> {
    rmp_serde::to_vec_named(message)
        .map(Bytes::from)
        .map_err(|error| CodecError::Encode { message: M::NAME, reason: error.to_string() })
}

/// Writes a message as JSON.
///
/// # Errors
/// [`CodecError::Encode`] when the message does not serialize.
pub fn encode_json<M: Message>(message: &M) -> Result<Bytes, CodecError> {
    serde_json::to_vec(message)
        .map(Bytes::from)
        .map_err(|error| CodecError::Encode { message: M::NAME, reason: error.to_string() })
}

/// Reads a message written as MessagePack.
///
/// # Errors
/// [`CodecError::Newer`] for a newer schema version, [`CodecError::Decode`] for anything else.
pub fn decode<M: Message>(payload: &[u8]) -> Result<M, CodecError> {
    rmp_serde::from_slice(payload).map_err(|error| {
        // Only on failure: the version decides which error this is, whatever field the decoder stopped at.
        let version = rmp_serde::from_slice(payload).ok();
        decode_error::<M>("MessagePack", version, error.to_string())
    })
}

/// Reads a message in the encoding its content-type header names; MessagePack when there is none.
///
/// # Errors
/// As [`decode`], and [`CodecError::ContentType`] for an encoding not read here.
pub fn decode_as<M: Message>(content_type: Option<&str>, payload: &[u8]) -> Result<M, CodecError> {
    // Parameters such as "; charset=utf-8" change nothing.
    let essence = content_type.map(|value| value.split(';').next().unwrap_or(value).trim().to_ascii_lowercase());
    match essence.as_deref() {
        None | Some("" | MESSAGE_PACK | "application/x-msgpack" | "application/vnd.msgpack") => decode(payload),
        Some(JSON) => serde_json::from_slice(payload)
            .map_err(|error| decode_error::<M>("JSON", serde_json::from_slice(payload).ok(), error.to_string())),
        Some(other) => Err(CodecError::ContentType(other.to_owned())),
    }
}

/// Whether a payload that does not decode may be another release's message: it has a schema version.
pub fn names_a_version(payload: &[u8]) -> bool {
    rmp_serde::from_slice::<Probe>(payload).is_ok()
}

/// The version alone, whatever else the payload holds.
#[derive(Deserialize)]
struct Probe {
    v: u64,
}

fn decode_error<M: Message>(encoding: &'static str, version: Option<Probe>, reason: String) -> CodecError {
    match version {
        Some(Probe { v }) if v > u64::from(SCHEMA_VERSION) => CodecError::Newer { message: M::NAME, found: v },
        _ => CodecError::Decode { message: M::NAME, encoding, reason },
    }
}
