//! The small part of the proof protocol the coordinator needs: contributions root and global challenge.
//!
//! docs/machine.md describes the states; `../../../docs/protocol.md` the transcript.
#![forbid(unsafe_code)]

use serde::{Deserialize, Serialize};

/// Number of 32-bit public outputs of a job.
pub const OUTPUT_COUNT: usize = 64;

/// What a finished execution makes public; bound into the global challenge.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct PublicValues {
    /// The public outputs, [`OUTPUT_COUNT`] words of 32 bits.
    pub outputs: Vec<u32>,
    /// Register a0 at the end.
    pub exit_code: u64,
}

/// The global challenge: 32 bytes from which every segment draws the challenges of the global bus.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct GlobalChallenge(pub [u8; 32]);

/// What is wrong with a contribution or a set of them.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum ProtocolError {
    /// The bytes are not a contribution of this version.
    #[error("contribution {index}: {reason}")]
    Malformed {
        /// Segment index it was posted for.
        index: u32,
        /// What is wrong.
        reason: String,
    },
    /// The contributions do not form one chain of segments.
    #[error("contributions do not chain at segment {index}: {reason}")]
    Chain {
        /// Where the chain breaks.
        index: u32,
        /// What differs.
        reason: String,
    },
}

/// Checks the form of a contribution posted for segment `index`.
pub fn check_contribution(_index: u32, _contribution: &[u8]) -> Result<(), ProtocolError> {
    todo!("lead writes this")
}

/// Derives the global challenge from the verifying key's digest, all contributions in index order and the public values.
pub fn global_challenge(
    _verifying_key_digest: &[u8; 32],
    _contributions: &[Vec<u8>],
    _public: &PublicValues,
) -> Result<GlobalChallenge, ProtocolError> {
    todo!("lead writes this")
}
