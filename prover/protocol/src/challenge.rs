//! The global challenge.

use serde::{Deserialize, Serialize};

use crate::contribution::{Contribution, check_chain};
use crate::tree::{Digest, contributions_root, digest_bytes, leaf};
use crate::{OUTPUT_COUNT, ProtocolError};

/// Proof of work in the global challenge: makes up for the size of the largest job (docs/security.md).
pub const CHALLENGE_GRINDING_BITS: u32 = 20;

/// Separates this hash from every other use of blake3, and names the version of the protocol.
const DOMAIN: &str = "zisk distributed proving 2026-11 global challenge v1";

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

/// A challenge with its proof of work.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct SealedChallenge {
    /// The challenge.
    pub challenge: GlobalChallenge,
    /// Least nonce that gives it enough leading zero bits.
    pub nonce: u64,
}

/// All contributions of a job: how many, and the root over them.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct AllContributions {
    /// How many.
    pub count: u32,
    /// Root of the tree over them, in index order.
    pub root: Digest,
}

impl AllContributions {
    /// Of a job.
    pub fn new(contributions: &[Contribution]) -> Self {
        let leaves: Vec<_> = contributions.iter().map(leaf).collect();
        Self { count: contributions.len() as u32, root: contributions_root(&leaves) }
    }
}

fn seed(key: &[u8; 32], contributions: AllContributions, public: &PublicValues) -> Result<[u8; 32], ProtocolError> {
    if public.outputs.len() != OUTPUT_COUNT {
        return Err(ProtocolError::PublicValues(format!("{} outputs instead of {OUTPUT_COUNT}", public.outputs.len())));
    }
    let mut hasher = blake3::Hasher::new_derive_key(DOMAIN);
    hasher.update(key);
    hasher.update(&contributions.count.to_le_bytes());
    hasher.update(&digest_bytes(&contributions.root));
    for output in &public.outputs {
        hasher.update(&output.to_le_bytes());
    }
    hasher.update(&public.exit_code.to_le_bytes());
    Ok(*hasher.finalize().as_bytes())
}

/// The candidate a nonce gives, and whether it has the proof of work.
fn candidate(seed: &[u8; 32], nonce: u64) -> (GlobalChallenge, bool) {
    let mut input = [0; 40];
    input[..32].copy_from_slice(seed);
    input[32..].copy_from_slice(&nonce.to_le_bytes());
    let hash = *blake3::hash(&input).as_bytes();
    let head = u64::from_be_bytes(hash[..8].try_into().expect("8 of 32 bytes"));
    (GlobalChallenge(hash), head.leading_zeros() >= CHALLENGE_GRINDING_BITS)
}

impl SealedChallenge {
    /// Derives the challenge: searches the least nonce (about 2^[`CHALLENGE_GRINDING_BITS`] hashes).
    pub fn derive(
        verifying_key_digest: &[u8; 32],
        contributions: AllContributions,
        public: &PublicValues,
    ) -> Result<Self, ProtocolError> {
        let seed = seed(verifying_key_digest, contributions, public)?;
        let sealed = (0..).find_map(|nonce| match candidate(&seed, nonce) {
            (challenge, true) => Some(Self { challenge, nonce }),
            _ => None,
        });
        Ok(sealed.expect("some nonce has enough zero bits"))
    }

    /// The challenge with this nonce; `None` if it has no proof of work.
    pub fn with_nonce(
        verifying_key_digest: &[u8; 32],
        contributions: AllContributions,
        public: &PublicValues,
        nonce: u64,
    ) -> Result<Option<Self>, ProtocolError> {
        let seed = seed(verifying_key_digest, contributions, public)?;
        Ok(match candidate(&seed, nonce) {
            (challenge, true) => Some(Self { challenge, nonce }),
            _ => None,
        })
    }

    /// Whether this is the challenge of these contributions and public values, with its proof of work.
    pub fn check(
        &self,
        verifying_key_digest: &[u8; 32],
        contributions: AllContributions,
        public: &PublicValues,
    ) -> Result<bool, ProtocolError> {
        Ok(Self::with_nonce(verifying_key_digest, contributions, public, self.nonce)? == Some(*self))
    }
}

/// Derives the global challenge from the verifying key's digest, all contributions (bytes) in index order and the public values.
pub fn global_challenge(
    verifying_key_digest: &[u8; 32],
    contributions: &[Vec<u8>],
    public: &PublicValues,
) -> Result<GlobalChallenge, ProtocolError> {
    let contributions = contributions
        .iter()
        .enumerate()
        .map(|(i, bytes)| Contribution::from_bytes(i as u32, bytes))
        .collect::<Result<Vec<_>, _>>()?;
    check_chain(&contributions)?;
    let contributions = AllContributions::new(&contributions);
    Ok(SealedChallenge::derive(verifying_key_digest, contributions, public)?.challenge)
}
