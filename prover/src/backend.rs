//! The seam between the cluster and a prover. What crosses it is bytes with a version.

use std::ops::ControlFlow;
use std::sync::Arc;

use zisk_protocol::{GlobalChallenge, PublicValues};

/// Kinds of proofs. All nodes of a job are of one.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum ProofKind {
    /// One proof about proofs: small, and as quick to verify whatever the number of segments.
    #[default]
    Recursive,
    /// All segment proofs together: grows with their number, and takes less to make.
    Bundle,
}

impl ProofKind {
    /// For messages.
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Recursive => "recursive",
            Self::Bundle => "bundle",
        }
    }
}

/// What setup derives from an ELF.
#[derive(Clone, Debug)]
pub struct Setup {
    /// Lets a worker execute and prove the program.
    pub proving_key: Vec<u8>,
    /// Lets anybody verify its proofs.
    pub verifying_key: Vec<u8>,
    /// Digest of the verifying key, bound into every challenge.
    pub verifying_key_digest: [u8; 32],
}

/// Parameters of an execution.
#[derive(Clone, Debug)]
pub struct ExecuteOptions {
    /// Segments have at most 2^`log_segment_steps` steps. `None`: execute only, no segments.
    pub log_segment_steps: Option<u32>,
    /// Traps after so many steps.
    pub max_steps: u64,
}

/// A finished execution.
#[derive(Clone, Debug)]
pub struct Execution {
    /// Outputs and exit code.
    pub public: PublicValues,
    /// Steps executed.
    pub steps: u64,
    /// Segments handed to the sink.
    pub segments: u32,
    /// What the guest printed (bounded).
    pub uart: String,
}

/// Why a prover could not do what was asked.
#[derive(Debug, thiserror::Error)]
pub enum BackendError {
    /// The ELF is not one this prover accepts.
    #[error("program refused: {0}")]
    Program(String),
    /// The execution trapped: no proof exists.
    #[error("execution trapped: {0}")]
    Trap(String),
    /// The sink asked to stop.
    #[error("execution stopped")]
    Stopped,
    /// Bytes from elsewhere (key, segment, challenge, proof) are malformed or belong to another version.
    #[error("malformed {what}: {reason}")]
    Malformed {
        /// Which object.
        what: &'static str,
        /// What is wrong with it.
        reason: String,
    },
    /// A proof does not verify.
    #[error("proof rejected: {0}")]
    Rejected(String),
    /// The prover itself failed.
    #[error("prover failed: {0}")]
    Internal(String),
}

/// A prover: everything a cluster needs of it.
pub trait Backend: Send + Sync {
    /// Name and version of its formats; objects of another version are refused.
    fn version(&self) -> &'static str;
    /// ELF to keys.
    fn setup(&self, elf: &[u8]) -> Result<Setup, BackendError>;
    /// Makes a proving key ready for work (expensive; cache it by program id).
    fn load(&self, proving_key: &[u8]) -> Result<Arc<dyn LoadedProgram>, BackendError>;
    /// Joins two neighbouring nodes (segment proofs or folds) of one kind. Both are checked.
    fn fold(&self, verifying_key: &[u8], left: &[u8], right: &[u8]) -> Result<Vec<u8>, BackendError>;
    /// Makes the final proof from the node that covers all segments, and verifies it.
    fn finish(&self, verifying_key: &[u8], root: &[u8], public: &PublicValues) -> Result<Vec<u8>, BackendError>;
    /// Checks a segment proof of a kind against its contribution and the challenge (a node of one segment).
    fn check_segment_proof(
        &self,
        verifying_key: &[u8],
        contribution: &[u8],
        challenge: &GlobalChallenge,
        kind: ProofKind,
        node: &[u8],
    ) -> Result<(), BackendError>;
    /// Checks that a node is the fold of two that were checked before.
    fn check_fold(&self, verifying_key: &[u8], left: &[u8], right: &[u8], node: &[u8]) -> Result<(), BackendError>;
    /// Shows that this machine can prove: a whole job in miniature, well below a second.
    fn self_test(&self) -> Result<(), BackendError>;
    /// The kind of which a node or a final proof says it is.
    fn kind(&self, proof: &[u8]) -> ProofKind;
    /// Verifies a final proof of any kind: the public values it proves, or what is wrong.
    fn verify(&self, verifying_key: &[u8], proof: &[u8]) -> Result<PublicValues, BackendError>;
}

/// A program ready to be executed and proven.
pub trait LoadedProgram: Send + Sync {
    /// Runs the program; `sink(index, segment)` gets each segment as soon as it is cut.
    fn execute(
        &self,
        input: &[u8],
        options: &ExecuteOptions,
        sink: &mut dyn FnMut(u32, Vec<u8>) -> ControlFlow<()>,
    ) -> Result<Execution, BackendError>;
    /// Stage 1 of a segment: its contribution (same bytes from every worker) and what stage 2 needs.
    fn contribute(&self, segment: &[u8]) -> Result<(Vec<u8>, Box<dyn Contributed>), BackendError>;
}

/// A segment between contribution and proof; holds memory until proven or dropped.
pub trait Contributed: Send {
    /// Stage 2: the segment proof, a node that `fold` takes.
    fn prove(self: Box<Self>, challenge: &GlobalChallenge, kind: ProofKind) -> Result<Vec<u8>, BackendError>;
    /// Bytes of memory held.
    fn memory_bytes(&self) -> usize;
}
