//! The final proof of a job: the root of its tree. To verify it takes the program's verifying key and nothing else.

use p3_field::{BasedVectorSpace, PrimeCharacteristicRing, PrimeField32};
use serde::{Deserialize, Serialize};
use zisk_machine::memory_map::HALT_PC;
use zisk_machine::segment::State;
use zisk_protocol::{AllContributions, GlobalChallenge, MAX_SEGMENTS, ProtocolError, PublicValues, SealedChallenge};
use zisk_prover::keys::VerifyingKey;
use zisk_prover::public;
use zisk_prover::segment::global_challenges;
use zisk_prover::stark::config::{Challenge, Config, Val};

use crate::gadgets::node::NodeValues;
use crate::gadgets::tree::PUBLICS;
use crate::tree::{Node, RECURSIVE, Tree, TreeError};

/// A final proof.
#[derive(Clone, Serialize, Deserialize)]
pub struct FinalProof {
    /// [`RECURSIVE`].
    pub format: String,
    /// What it proves.
    pub public: PublicValues,
    /// Nonce of the challenge's proof of work.
    pub nonce: u64,
    /// The node of all segments.
    pub root: Node,
}

/// Why a final proof is rejected.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum FinalError {
    /// Of another version, or damaged.
    #[error("not a proof of this version: {0}")]
    Malformed(String),
    /// The program's key has other parameters than segments that can be lifted.
    #[error("the verifying key has other parameters than this version's recursive proofs: only its bundles can be verified")]
    Parameters,
    /// Not all segments of a job.
    #[error("the proof is of segments {first} to {end} (exclusive), not of a whole job")]
    Range {
        /// Index of the first.
        first: u32,
        /// Index after the last.
        end: u32,
    },
    /// The challenge has no proof of work, or cannot be derived.
    #[error("the global challenge does not belong to these contributions, outputs and exit code")]
    Challenge,
    /// Public values of the wrong shape.
    #[error(transparent)]
    Public(#[from] ProtocolError),
    /// A fingerprint of a public word is zero.
    #[error("segments do not agree on memory: the global bus does not balance")]
    GlobalBus,
    /// The root is not what it must be.
    #[error(transparent)]
    Root(#[from] TreeError),
}

fn coefficients(value: Challenge) -> [u32; 4] {
    let coefficients: &[Val] = value.as_basis_coefficients_slice();
    std::array::from_fn(|i| coefficients[i].as_canonical_u32())
}

/// What a proof says of the job and nobody else knows. All of it goes into the challenge or is compared.
struct Claims {
    contributions: AllContributions,
    /// The last word of the ledger.
    cursor: u32,
}

fn claims(publics: &[Challenge]) -> Result<Claims, FinalError> {
    if publics.len() != PUBLICS {
        return Err(FinalError::Malformed(format!("{} public values instead of {PUBLICS}", publics.len())));
    }
    let [first, end, ..] = coefficients(publics[NodeValues::RANGE]);
    if first != 0 || !(1..=MAX_SEGMENTS).contains(&end) {
        return Err(FinalError::Range { first, end });
    }
    let root: Vec<u32> = publics[NodeValues::ROOT..NodeValues::SUM].iter().copied().flat_map(coefficients).collect();
    let root = std::array::from_fn(|i| Val::from_u32(root[i]));
    let [_, _, cursor, _] = coefficients(publics[NodeValues::AFTER]);
    Ok(Claims { contributions: AllContributions { count: end, root }, cursor })
}

impl FinalProof {
    /// Makes the final proof of the node that covers all segments, and verifies it.
    pub fn new(tree: &Tree, key: &VerifyingKey, root: Node, public: &PublicValues) -> Result<Self, FinalError> {
        let Claims { contributions, .. } = claims(&root.publics)?;
        let sealed = SealedChallenge::derive(&key.digest(), contributions, public)?;
        let proof = Self { format: RECURSIVE.into(), public: public.clone(), nonce: sealed.nonce, root };
        proof.verify(tree, key)?;
        Ok(proof)
    }

    /// Accepts, or names what is wrong.
    pub fn verify(&self, tree: &Tree, key: &VerifyingKey) -> Result<(), FinalError> {
        if self.format != RECURSIVE {
            return Err(FinalError::Malformed(format!("format {:?} instead of {RECURSIVE:?}", self.format)));
        }
        if key.parameters != tree.segments {
            return Err(FinalError::Parameters);
        }
        let Claims { contributions, cursor } = claims(&self.root.publics)?;
        let sealed = SealedChallenge::with_nonce(&key.digest(), contributions, &self.public, self.nonce)?;
        let challenge: GlobalChallenge = sealed.ok_or(FinalError::Challenge)?.challenge;
        let global = global_challenges(&Config::new(key.parameters), &challenge);
        let expected = NodeValues {
            root: contributions.root,
            // What the segments' sums leave is what the verifier itself receives.
            sum: public::received(&self.public, &global).ok_or(FinalError::GlobalBus)?,
            first: 0,
            end: contributions.count,
            before: State { pc: key.entry, cursor: 0, image: false },
            after: State { pc: HALT_PC, cursor, image: true },
        };
        let expected = expected.publics(key, &challenge).map_err(TreeError::from)?;
        Ok(tree.verify(&self.root, &expected)?)
    }
}
