//! Inputs that are streamed: chunks are raw bytes, their end is a message.

use serde::{Deserialize, Serialize};

use super::codec::{CodecError, JSON, Version, decode, decode_as};
use crate::ids::Digest;

/// The end of a streamed input, on `input.<job>.close`: what must be there for the input to be whole.
///
/// A person may publish one by hand as JSON, so what is not known here is refused rather than ignored.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(test, derive(schemars::JsonSchema))]
#[serde(deny_unknown_fields)]
pub struct InputClose {
    /// Schema version.
    #[serde(default)]
    pub v: Version,
    /// The number of chunks: they are 0 to `chunks - 1`.
    pub chunks: u32,
    /// Their bytes together.
    pub bytes: u64,
    /// The blake3 digest of them together, where who sends it knows that: a chunk that was stored first with other bytes is then found out.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub digest: Option<Digest>,
}

impl InputClose {
    /// Reads it, without a header to say how it is written: no MessagePack map begins with a brace.
    ///
    /// # Errors
    /// As [`decode`].
    pub fn read(payload: &[u8]) -> Result<Self, CodecError> {
        match payload.trim_ascii_start().starts_with(b"{") {
            true => decode_as(Some(JSON), payload),
            false => decode(payload),
        }
    }
}
