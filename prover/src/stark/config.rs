//! The proof system's parts: field, hash, commitment, transcript; and its parameters.

use p3_challenger::DuplexChallenger;
use p3_commit::ExtensionMmcs;
use p3_dft::Radix2DitParallel;
use p3_field::extension::BinomialExtensionField;
use p3_field::{ExtensionField, Field};
use p3_fri::{FriParameters, TwoAdicFriPcs};
use p3_koala_bear::{KoalaBear, Poseidon2KoalaBear, default_koalabear_poseidon2_16};
use p3_merkle_tree::MerkleTreeMmcs;
use p3_symmetric::{PaddingFreeSponge, TruncatedPermutation};
use serde::{Deserialize, Serialize};

/// The field of all columns: 2^31 - 2^24 + 1.
pub type Val = KoalaBear;
/// Several values side by side, as wide as the processor's vectors.
pub type PackedVal = <Val as Field>::Packing;
/// The field of all challenges: degree 4, 124 bits.
pub type Challenge = BinomialExtensionField<Val, 4>;
/// Several challenges side by side.
pub type PackedChallenge = <Challenge as ExtensionField<Val>>::ExtensionPacking;
/// Degree of [`Challenge`] over [`Val`].
pub const EXTENSION_DEGREE: usize = 4;

type Permutation = Poseidon2KoalaBear<16>;
type Hash = PaddingFreeSponge<Permutation, 16, 8, 8>;
type Compress = TruncatedPermutation<Permutation, 2, 8, 16>;
/// Merkle trees over matrices of [`Val`].
pub type ValMmcs = MerkleTreeMmcs<PackedVal, PackedVal, Hash, Compress, 2, 8>;
type ChallengeMmcs = ExtensionMmcs<Val, Challenge, ValMmcs>;
/// The polynomial commitment: FRI over two-adic cosets.
pub type Pcs = TwoAdicFriPcs<Val, Radix2DitParallel<Val>, ValMmcs, ChallengeMmcs>;
/// The Fiat-Shamir transcript.
pub type Challenger = DuplexChallenger<Val, Permutation, 16, 8>;
/// Root of a Merkle tree.
pub type Commitment = <Pcs as p3_commit::Pcs<Challenge, Challenger>>::Commitment;
/// What the prover keeps of a commitment.
pub type ProverData = <Pcs as p3_commit::Pcs<Challenge, Challenger>>::ProverData;
/// A FRI opening proof.
pub type OpeningProof = <Pcs as p3_commit::Pcs<Challenge, Challenger>>::Proof;
/// A domain of evaluation.
pub type Domain = <Pcs as p3_commit::Pcs<Challenge, Challenger>>::Domain;

/// Parameters of the proof system; part of the verifying key. docs/security.md counts their bits.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Parameters {
    /// log2 of the inverse rate of FRI.
    pub log_blowup: u8,
    /// FRI queries.
    pub queries: u16,
    /// Proof of work before the queries, bits.
    pub query_grinding_bits: u8,
    /// Proof of work before the LogUp challenges, bits.
    pub logup_grinding_bits: u8,
    /// Most a FRI round folds, log2.
    pub max_log_arity: u8,
}

impl Default for Parameters {
    fn default() -> Self {
        Self { log_blowup: 1, queries: 100, query_grinding_bits: 16, logup_grinding_bits: 16, max_log_arity: 3 }
    }
}

/// The proof system, ready for use.
#[derive(Clone)]
pub struct Config {
    /// Its parameters.
    pub parameters: Parameters,
    /// The commitment scheme.
    pub pcs: Pcs,
    /// Its Merkle trees, to look into prover data.
    pub mmcs: ValMmcs,
    permutation: Permutation,
}

impl Config {
    /// Builds the proof system.
    pub fn new(parameters: Parameters) -> Self {
        let permutation = default_koalabear_poseidon2_16();
        let mmcs = ValMmcs::new(Hash::new(permutation.clone()), Compress::new(permutation.clone()), 0);
        let fri = FriParameters {
            log_blowup: usize::from(parameters.log_blowup),
            log_final_poly_len: 0,
            max_log_arity: usize::from(parameters.max_log_arity),
            num_queries: usize::from(parameters.queries),
            commit_proof_of_work_bits: 0,
            query_proof_of_work_bits: usize::from(parameters.query_grinding_bits),
            mmcs: ChallengeMmcs::new(mmcs.clone()),
        };
        let pcs = Pcs::new(Radix2DitParallel::default(), mmcs.clone(), fri);
        Self { parameters, pcs, mmcs, permutation }
    }

    /// An empty transcript.
    pub fn challenger(&self) -> Challenger {
        Challenger::new(self.permutation.clone())
    }
}
