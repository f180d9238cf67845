//! The small part of the proof protocol the coordinator needs: contributions, their root, the global challenge.
//!
//! `docs/protocol.md` describes the whole protocol.
#![forbid(unsafe_code)]

mod challenge;
mod contribution;
pub mod shape;
mod tree;

pub use challenge::{
    AllContributions, CHALLENGE_GRINDING_BITS, GlobalChallenge, PublicValues, SealedChallenge, global_challenge,
};
pub use contribution::{ABSENT, Contribution, MAX_SEGMENTS, TABLES, check_chain, check_contribution};
pub use tree::{Digest, contributions_root, fold_order, join, leaf};

/// Version of all that processes of a cluster exchange about a proof: keys, segments, contributions, challenge, nodes and
/// proofs. Raised with every change of any of them; work goes only between processes of the same version.
pub const VERSION: &str = "zisk-built-in/2";

/// Number of 32-bit public outputs of a job.
pub const OUTPUT_COUNT: usize = zisk_machine::memory_map::OUTPUT_COUNT;

/// What is wrong with a contribution or a set of them.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum ProtocolError {
    /// The bytes are not a contribution to this segment.
    #[error("contribution {index}: {reason}")]
    Malformed {
        /// Segment index it was posted for.
        index: u32,
        /// What is wrong.
        reason: String,
    },
    /// The contributions do not form one chain of segments from entry to halt.
    #[error("contributions do not chain at segment {index}: {reason}")]
    Chain {
        /// Where the chain breaks.
        index: u32,
        /// What differs.
        reason: String,
    },
    /// The public values have the wrong shape.
    #[error("public values: {0}")]
    PublicValues(String),
}
