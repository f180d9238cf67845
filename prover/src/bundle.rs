//! Nodes of the aggregation tree and the final proof: here a bundle that carries all segment proofs along.

use p3_maybe_rayon::prelude::*;
use serde::{Deserialize, Serialize};
use zisk_protocol::{AllContributions, Contribution, GlobalChallenge, ProtocolError, PublicValues, SealedChallenge, check_chain};

use crate::keys::{FORMAT, VerifyingKey};
use crate::public;
use crate::segment::{SegmentError, Verifier, global_challenges};
use crate::stark::config::Challenge;
use crate::stark::prove::StarkProof;

/// A contribution with its proof.
#[derive(Clone, Serialize, Deserialize)]
pub struct ProvenSegment {
    /// The contribution.
    pub contribution: Contribution,
    /// Its proof.
    pub proof: StarkProof,
}

/// A node: neighbouring segments of one job. A single segment is a leaf.
#[derive(Clone, Serialize, Deserialize)]
pub struct Node {
    /// [`FORMAT`].
    pub format: String,
    /// Digest of the verifying key.
    pub key: [u8; 32],
    /// The job's challenge.
    pub challenge: GlobalChallenge,
    /// The segments, in order.
    pub segments: Vec<ProvenSegment>,
}

/// A final proof.
#[derive(Clone, Serialize, Deserialize)]
pub struct FinalProof {
    /// What it proves.
    pub public: PublicValues,
    /// Nonce of the challenge's proof of work.
    pub nonce: u64,
    /// The node of all segments.
    pub root: Node,
}

/// Why a node or a final proof is rejected. Names what is wrong.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum ProofError {
    /// Not a proof, damaged, or of another version.
    #[error("not a proof of this version: {0}")]
    Malformed(String),
    /// The proof is of another program (or was made with other parameters).
    #[error("the proof is of another program: its verifying key's digest is not that of the key given")]
    Program,
    /// A node without segments, or two nodes that are not neighbours.
    #[error("nodes do not join: {0}")]
    Join(String),
    /// The segments do not form one execution from entry to halt.
    #[error(transparent)]
    Chain(#[from] ProtocolError),
    /// The execution does not start at the program's entry.
    #[error("the execution starts at pc {0:#x}, not at the program's entry")]
    Entry(u32),
    /// The challenge is not the hash of the key, the contributions and the public values.
    #[error("the global challenge does not belong to these contributions, outputs and exit code")]
    Challenge,
    /// A segment's proof is rejected.
    #[error("segment {index}: {error}")]
    Segment {
        /// Which.
        index: u32,
        /// Why.
        error: SegmentError,
    },
    /// The sums of all segments are not zero.
    #[error("segments do not agree on memory: the global bus does not balance")]
    GlobalBus,
}

/// Reads any of this module's messages.
pub fn decode<'a, T: Deserialize<'a>>(bytes: &'a [u8]) -> Result<T, ProofError> {
    let (value, rest) = postcard::take_from_bytes(bytes).map_err(|e| ProofError::Malformed(e.to_string()))?;
    if rest.is_empty() { Ok(value) } else { Err(ProofError::Malformed(format!("{} bytes too many", rest.len()))) }
}

/// Writes any of this module's messages.
pub fn encode<T: Serialize>(value: &T) -> Vec<u8> {
    postcard::to_stdvec(value).expect("a proof serialises")
}

impl Node {
    /// A leaf.
    pub fn leaf(key: [u8; 32], challenge: GlobalChallenge, segment: ProvenSegment) -> Self {
        Self { format: FORMAT.into(), key, challenge, segments: vec![segment] }
    }

    /// First and one-past-last index; `None` for a node without segments.
    pub fn range(&self) -> Option<(u32, u32)> {
        Some((self.segments.first()?.contribution.index, self.segments.last()?.contribution.index + 1))
    }

    /// Verifies everything a node claims by itself: key, order, each segment. Returns the sum on the job's buses.
    pub fn verify(&self, verifier: &Verifier<'_>) -> Result<Challenge, ProofError> {
        if self.format != FORMAT {
            return Err(ProofError::Malformed(format!("format {:?} instead of {FORMAT:?}", self.format)));
        }
        if self.key != verifier.digest {
            return Err(ProofError::Program);
        }
        if self.segments.is_empty() {
            return Err(ProofError::Join("a node without segments".into()));
        }
        for pair in self.segments.windows(2) {
            neighbours(&pair[0].contribution, &pair[1].contribution)?;
        }
        for ProvenSegment { contribution, .. } in &self.segments {
            let _checked: Contribution = Contribution::from_bytes(contribution.index, &contribution.to_bytes())?;
        }
        let sums: Vec<Result<Challenge, ProofError>> = self
            .segments
            .par_iter()
            .map(|ProvenSegment { contribution, proof }| {
                verifier
                    .segment(contribution, &self.challenge, proof)
                    .map_err(|error| ProofError::Segment { index: contribution.index, error })
            })
            .collect();
        // In order: of several bad segments the first is named.
        sums.into_iter().sum()
    }

    /// Joins two neighbours after verifying both.
    pub fn fold(verifier: &Verifier<'_>, left: Self, right: Self) -> Result<Self, ProofError> {
        for child in [&left, &right] {
            let _sum: Challenge = child.verify(verifier)?;
        }
        if left.challenge != right.challenge {
            return Err(ProofError::Join("they are of different jobs: their challenges differ".into()));
        }
        let (Some(last), Some(first)) = (left.segments.last(), right.segments.first()) else {
            return Err(ProofError::Join("a node without segments".into()));
        };
        neighbours(&last.contribution, &first.contribution)?;
        let mut node = left;
        node.segments.extend(right.segments);
        Ok(node)
    }
}

fn neighbours(left: &Contribution, right: &Contribution) -> Result<(), ProofError> {
    if left.index.checked_add(1) != Some(right.index) {
        return Err(ProofError::Join(format!("segment {} is followed by segment {}", left.index, right.index)));
    }
    if left.end != right.start {
        return Err(ProofError::Join(format!("segment {} does not start where {} ends", right.index, left.index)));
    }
    Ok(())
}

impl FinalProof {
    /// Makes the final proof of the node that covers all segments, and verifies it.
    pub fn new(key: &VerifyingKey, root: Node, public: &PublicValues) -> Result<Self, ProofError> {
        let contributions: Vec<_> = root.segments.iter().map(|s| s.contribution.clone()).collect();
        let sealed = SealedChallenge::derive(&key.digest(), AllContributions::new(&contributions), public)?;
        let proof = Self { public: public.clone(), nonce: sealed.nonce, root };
        proof.verify(key)?;
        Ok(proof)
    }

    /// Accepts, or names what is wrong. Needs nothing but the key.
    pub fn verify(&self, key: &VerifyingKey) -> Result<(), ProofError> {
        let verifier = Verifier::new(key);
        let contributions: Vec<_> = self.root.segments.iter().map(|s| s.contribution.clone()).collect();
        for (i, c) in contributions.iter().enumerate() {
            // The same checks as on a contribution that arrives alone.
            Contribution::from_bytes(i as u32, &c.to_bytes())?;
        }
        check_chain(&contributions)?;
        if contributions[0].start.pc != key.entry {
            return Err(ProofError::Entry(contributions[0].start.pc));
        }
        let sealed = SealedChallenge { challenge: self.root.challenge, nonce: self.nonce };
        if self.root.key != verifier.digest {
            return Err(ProofError::Program);
        }
        if !sealed.check(&verifier.digest, AllContributions::new(&contributions), &self.public)? {
            return Err(ProofError::Challenge);
        }
        let sum = self.root.verify(&verifier)?;
        let global = global_challenges(&verifier.config, &self.root.challenge);
        let received = public::received(&self.public, &global).ok_or(ProofError::GlobalBus)?;
        if sum != received {
            return Err(ProofError::GlobalBus);
        }
        Ok(())
    }
}
