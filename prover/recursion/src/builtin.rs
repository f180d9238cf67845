//! The built-in prover behind the cluster's seam: segment proofs, recursive proofs and bundles.

use std::ops::ControlFlow;
use std::sync::Arc;

use serde::{Deserialize, Serialize};
use zisk_machine::executor::{Execution as MachineExecution, ExecutionError, Executor};
use zisk_machine::program::Program;
use zisk_machine::replay::replay;
use zisk_machine::segment::Segment;
use zisk_protocol::{Contribution, GlobalChallenge, MAX_SEGMENTS, PublicValues};

use zisk_prover::backend::{Backend, BackendError, Contributed, ExecuteOptions, Execution, LoadedProgram, ProofKind, Setup};
use zisk_prover::bundle::{self, ProofError, ProvenSegment, decode, encode};
use zisk_prover::keys::{FORMAT, KeyError, ProvingKey, VerifyingKey, check_parameters};
use zisk_prover::segment::{Committed, MAX_STEPS, Verifier, contribute};
use zisk_prover::self_test::self_test;
use zisk_prover::stark::config::Parameters;

use crate::final_proof::{FinalError, FinalProof};
use crate::gadgets::node::NodeValues;
use crate::release;
use crate::tree::{Node, RECURSIVE, Tree, TreeError};

/// The built-in prover.
#[derive(Clone, Debug, Default)]
pub struct BuiltIn {
    /// Parameters of the keys that setup makes.
    pub parameters: Parameters,
}

/// The built-in prover with the default parameters.
pub fn built_in() -> Arc<dyn Backend> {
    Arc::new(BuiltIn::default())
}

/// A proving key in transit: all else is derived from the program.
#[derive(Serialize, Deserialize)]
struct ProvingKeyBytes {
    format: String,
    parameters: Parameters,
    program: Program,
}

fn malformed(what: &'static str) -> impl Fn(String) -> BackendError {
    move |reason| BackendError::Malformed { what, reason }
}

fn verifying_key(bytes: &[u8]) -> Result<VerifyingKey, BackendError> {
    VerifyingKey::from_bytes(bytes).map_err(|e: KeyError| malformed("verifying key")(e.to_string()))
}

fn rejected(error: ProofError) -> BackendError {
    match error {
        ProofError::Malformed(reason) => malformed("proof")(reason),
        error => BackendError::Rejected(error.to_string()),
    }
}

impl Backend for BuiltIn {
    fn version(&self) -> &'static str {
        FORMAT
    }

    fn setup(&self, elf: &[u8]) -> Result<Setup, BackendError> {
        let program = Program::from_elf(elf).map_err(|e| BackendError::Program(e.to_string()))?;
        let proving = ProvingKeyBytes { format: FORMAT.into(), parameters: self.parameters, program };
        let proving_key = encode(&proving);
        let key = ProvingKey::new(proving.program, self.parameters).map_err(BackendError::Program)?;
        Ok(Setup { proving_key, verifying_key: key.verifying.to_bytes(), verifying_key_digest: key.digest })
    }

    fn load(&self, proving_key: &[u8]) -> Result<Arc<dyn LoadedProgram>, BackendError> {
        let bytes: ProvingKeyBytes = decode(proving_key).map_err(|e| malformed("proving key")(e.to_string()))?;
        if bytes.format != FORMAT {
            return Err(malformed("proving key")(format!("format {:?} instead of {FORMAT:?}", bytes.format)));
        }
        check_parameters(&bytes.parameters).map_err(|e| malformed("proving key")(e.to_string()))?;
        let key = ProvingKey::new(bytes.program, bytes.parameters).map_err(malformed("proving key"))?;
        Ok(Arc::new(BuiltInProgram(Arc::new(key))))
    }

    fn fold(&self, verifying_key_bytes: &[u8], left: &[u8], right: &[u8]) -> Result<Vec<u8>, BackendError> {
        match (kind(left), kind(right)) {
            (ProofKind::Recursive, ProofKind::Recursive) => {
                let [left, right] = [left, right].map(|bytes| decode::<Node>(bytes).map_err(rejected));
                Ok(encode(&tree()?.join(&left?, &right?).map_err(of_tree)?))
            }
            (ProofKind::Bundle, ProofKind::Bundle) => {
                let key = verifying_key(verifying_key_bytes)?;
                let [left, right] = [left, right].map(|bytes| decode::<bundle::Node>(bytes).map_err(rejected));
                Ok(encode(&bundle::Node::fold(&Verifier::new(&key), left?, right?).map_err(rejected)?))
            }
            _ => Err(BackendError::Rejected("one node is recursive and one is a bundle".into())),
        }
    }

    fn finish(&self, verifying_key_bytes: &[u8], root: &[u8], public: &PublicValues) -> Result<Vec<u8>, BackendError> {
        let key = verifying_key(verifying_key_bytes)?;
        match kind(root) {
            ProofKind::Recursive => {
                let root = decode(root).map_err(rejected)?;
                Ok(encode(&FinalProof::new(tree()?, &key, root, public).map_err(of_final)?))
            }
            ProofKind::Bundle => {
                let root = decode(root).map_err(rejected)?;
                Ok(encode(&bundle::FinalProof::new(&key, root, public).map_err(rejected)?))
            }
        }
    }

    fn check_segment_proof(
        &self,
        verifying_key_bytes: &[u8],
        contribution: &[u8],
        challenge: &GlobalChallenge,
        expected: ProofKind,
        node: &[u8],
    ) -> Result<(), BackendError> {
        let key = verifying_key(verifying_key_bytes)?;
        let refuse = |reason: &str| Err(BackendError::Rejected(reason.into()));
        if kind(node) != expected {
            return refuse("it is not a proof of the job's kind");
        }
        match expected {
            ProofKind::Recursive => {
                let node: Node = decode(node).map_err(rejected)?;
                let contribution: Contribution = decode(contribution).map_err(rejected)?;
                if key.parameters != release::segment_parameters() {
                    return Err(of_final(FinalError::Parameters));
                }
                // The sum is the proof's to say; all else of a node of one segment is known.
                let Some(&sum) = node.publics.get(NodeValues::SUM) else { return refuse("public values are missing") };
                let expected = NodeValues::leaf(&contribution, sum).publics(&key, challenge);
                tree()?.verify(&node, &expected.map_err(TreeError::from).map_err(of_tree)?).map_err(of_tree)
            }
            ProofKind::Bundle => {
                let node: bundle::Node = decode(node).map_err(rejected)?;
                let [segment] = &node.segments[..] else { return refuse("it is not the proof of one segment") };
                if segment.contribution.to_bytes() != contribution {
                    return refuse("it is not a proof of this contribution");
                }
                if node.challenge != *challenge {
                    return refuse("it was made for another challenge");
                }
                node.verify(&Verifier::new(&key)).map(drop).map_err(rejected)
            }
        }
    }

    fn check_fold(&self, verifying_key: &[u8], left: &[u8], right: &[u8], node: &[u8]) -> Result<(), BackendError> {
        match (kind(left), kind(right), kind(node)) {
            (ProofKind::Recursive, ProofKind::Recursive, ProofKind::Recursive) => {
                let [left, right, node] = [left, right, node].map(|bytes| decode::<Node>(bytes).map_err(rejected));
                tree()?.check_join(&left?, &right?, &node?).map_err(of_tree)
            }
            // A bundle's fold is no more than its parts, and cheaper than a check.
            _ if self.fold(verifying_key, left, right)? == node => Ok(()),
            _ => Err(BackendError::Rejected("it is not the fold of these nodes".into())),
        }
    }

    fn self_test(&self) -> Result<(), BackendError> {
        self_test(self)
    }

    fn kind(&self, proof: &[u8]) -> ProofKind {
        kind(proof)
    }

    fn verify(&self, verifying_key_bytes: &[u8], proof: &[u8]) -> Result<PublicValues, BackendError> {
        let key = verifying_key(verifying_key_bytes)?;
        match kind(proof) {
            ProofKind::Recursive => {
                let proof: FinalProof = decode(proof).map_err(rejected)?;
                proof.verify(tree()?, &key).map_err(of_final)?;
                Ok(proof.public)
            }
            ProofKind::Bundle => {
                let proof: bundle::FinalProof = decode(proof).map_err(rejected)?;
                proof.verify(&key).map_err(rejected)?;
                Ok(proof.public)
            }
        }
    }
}

/// Nodes and proofs that are recursive say so first of all.
fn kind(bytes: &[u8]) -> ProofKind {
    let says = bytes.strip_prefix(&[RECURSIVE.len() as u8]).is_some_and(|rest| rest.starts_with(RECURSIVE.as_bytes()));
    if says { ProofKind::Recursive } else { ProofKind::Bundle }
}

fn tree() -> Result<&'static Tree, BackendError> {
    release::tree().map_err(|error| BackendError::Internal(error.to_string()))
}

fn of_tree(error: TreeError) -> BackendError {
    match error {
        TreeError::Pinned(_) => BackendError::Internal(error.to_string()),
        error => BackendError::Rejected(error.to_string()),
    }
}

fn of_final(error: FinalError) -> BackendError {
    match error {
        FinalError::Malformed(reason) => malformed("proof")(reason),
        FinalError::Root(error) => of_tree(error),
        error => BackendError::Rejected(error.to_string()),
    }
}

struct BuiltInProgram(Arc<ProvingKey>);

fn execution(done: MachineExecution) -> Execution {
    Execution {
        public: PublicValues { outputs: done.outputs.to_vec(), exit_code: done.exit_code },
        steps: done.steps,
        segments: done.segments,
        uart: done.uart,
    }
}

impl LoadedProgram for BuiltInProgram {
    fn execute(
        &self,
        input: &[u8],
        options: &ExecuteOptions,
        sink: &mut dyn FnMut(u32, Vec<u8>) -> ControlFlow<()>,
    ) -> Result<Execution, BackendError> {
        let executor = Executor::new(&self.0.executable).max_steps(options.max_steps);
        let mut too_many = false;
        let done = match options.log_segment_steps {
            None => executor.execute(input),
            Some(k) if k > MAX_STEPS.ilog2() => Err(ExecutionError::SegmentSize(k)),
            Some(k) => executor.execute_segments(input, k, |segment| {
                if segment.index >= MAX_SEGMENTS {
                    too_many = true;
                    return ControlFlow::Break(());
                }
                sink(segment.index, encode(&segment))
            }),
        };
        match done {
            Ok(done) => Ok(execution(done)),
            Err(_) if too_many => {
                Err(BackendError::Trap(format!("the execution has more than {MAX_SEGMENTS} segments; ask for larger segments")))
            }
            Err(ExecutionError::Stopped | ExecutionError::Cancelled) => Err(BackendError::Stopped),
            Err(error @ ExecutionError::Trap(_)) => Err(BackendError::Trap(error.to_string())),
            Err(error) => Err(BackendError::Malformed { what: "execution request", reason: error.to_string() }),
        }
    }

    fn contribute(&self, segment: &[u8]) -> Result<(Vec<u8>, Box<dyn Contributed>), BackendError> {
        let segment: Segment = decode(segment).map_err(|e| malformed("segment")(e.to_string()))?;
        let trace = replay(&self.0.executable, &segment, MAX_STEPS.ilog2()).map_err(|e| malformed("segment")(e.to_string()))?;
        let committed = contribute(&self.0, &segment, &trace).map_err(BackendError::Internal)?;
        let contribution = committed.contribution.to_bytes();
        Ok((contribution, Box::new(BuiltInContributed { key: Arc::clone(&self.0), committed })))
    }
}

struct BuiltInContributed {
    key: Arc<ProvingKey>,
    committed: Committed,
}

impl Contributed for BuiltInContributed {
    fn prove(self: Box<Self>, challenge: &GlobalChallenge, kind: ProofKind) -> Result<Vec<u8>, BackendError> {
        let Self { key, committed } = *self;
        let proof = committed.prove(&key, challenge).map_err(BackendError::Internal)?;
        let contribution = committed.contribution.clone();
        // What stage 1 held is not needed any more.
        drop(committed);
        Ok(match kind {
            ProofKind::Recursive => encode(&tree()?.lift(&key.verifying, challenge, &contribution, &proof).map_err(of_tree)?),
            ProofKind::Bundle => encode(&bundle::Node::leaf(key.digest, *challenge, ProvenSegment { contribution, proof })),
        })
    }

    fn memory_bytes(&self) -> usize {
        self.committed.memory_bytes(1 << self.key.config.parameters.log_blowup)
    }
}
