//! What the state machine needs of the proof protocol.

use zisk_protocol::{GlobalChallenge, ProtocolError, PublicValues};

/// Why contributions have no challenge.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct NoChallenge {
    /// What is wrong.
    pub reason: String,
    /// The segment that does not follow from the one before.
    pub segment: Option<u32>,
}

impl From<String> for NoChallenge {
    fn from(reason: String) -> Self {
        Self { reason, segment: None }
    }
}

/// Checks contributions and derives the challenge; a seam so that the state machine is tested with made-up contributions.
pub trait Protocol: Send + Sync {
    /// The version whose contributions and challenges these are; assignments carry it, and workers of another take none.
    fn version(&self) -> &'static str {
        zisk_protocol::VERSION
    }

    /// Checks the form of a contribution posted for segment `index`.
    ///
    /// # Errors
    /// What is wrong with it.
    fn check_contribution(&self, index: u32, contribution: &[u8]) -> Result<(), String>;

    /// Derives the global challenge from the verifying key's digest, all contributions in index order and the
    /// public values, each in the prover's encoding.
    ///
    /// # Errors
    /// Why these inputs have no challenge.
    fn global_challenge(
        &self,
        verifying_key: &[u8],
        contributions: &[Vec<u8>],
        public_values: &[u8],
    ) -> Result<Vec<u8>, NoChallenge>;
}

/// The proof protocol itself.
#[derive(Debug, Clone, Copy, Default)]
pub struct ZiskProtocol;

impl Protocol for ZiskProtocol {
    fn check_contribution(&self, index: u32, contribution: &[u8]) -> Result<(), String> {
        zisk_protocol::check_contribution(index, contribution).map_err(|error| error.to_string())
    }

    fn global_challenge(
        &self,
        verifying_key: &[u8],
        contributions: &[Vec<u8>],
        public_values: &[u8],
    ) -> Result<Vec<u8>, NoChallenge> {
        let verifying_key: [u8; 32] = verifying_key
            .try_into()
            .map_err(|_| format!("the verifying key's digest has {} bytes instead of 32", verifying_key.len()))?;
        let public_values: PublicValues =
            rmp_serde::from_slice(public_values).map_err(|error| format!("the public values do not decode: {error}"))?;
        zisk_protocol::global_challenge(&verifying_key, contributions, &public_values)
            .map(|GlobalChallenge(bytes)| bytes.to_vec())
            .map_err(|error| NoChallenge {
                reason: error.to_string(),
                segment: match error {
                    ProtocolError::Chain { index, .. } => Some(index),
                    _ => None,
                },
            })
    }
}
