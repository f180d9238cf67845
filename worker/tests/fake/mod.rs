//! A prover for tests of the cluster: deterministic, sleeps instead of proving, checks what the real one checks.

use std::ops::ControlFlow;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU32, Ordering};
use std::time::Duration;

use serde::{Deserialize, Serialize};
use tokio::sync::Notify;
use zisk_protocol::{GlobalChallenge, OUTPUT_COUNT, PublicValues};
use zisk_prover::backend::{Backend, BackendError, Contributed, ExecuteOptions, Execution, LoadedProgram, ProofKind, Setup};

/// What a fake program does; its "ELF" is [`MAGIC`] and this as JSON.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub struct FakeProgram {
    pub segments: u32,
    /// Duration of each stage of a segment.
    pub work_ms: u64,
    /// What stage 1 says it holds.
    pub kept_bytes: usize,
    /// Duration of a fold.
    pub fold_ms: u64,
    pub exit_code: u64,
    /// Traps instead of halting.
    pub trap: bool,
    /// The segment whose proof takes its worker with it.
    pub deadly: Option<u32>,
}

impl FakeProgram {
    pub fn new(segments: u32, work_ms: u64) -> Self {
        Self { segments, work_ms, kept_bytes: 1000, fold_ms: 0, exit_code: 0, trap: false, deadly: None }
    }

    pub fn elf(&self) -> Vec<u8> {
        [MAGIC, &serde_json::to_vec(self).unwrap()].concat()
    }
}

const MAGIC: &[u8] = b"FAKE";

/// Counts what it was asked to do.
#[derive(Debug, Default)]
pub struct Calls {
    pub setup: AtomicU32,
    pub contribute: AtomicU32,
    pub prove: AtomicU32,
    pub fold: AtomicU32,
    pub self_test: AtomicU32,
    /// The worker is to be killed.
    pub died: Notify,
}

#[derive(Debug, Default)]
pub struct FakeBackend {
    pub calls: Arc<Calls>,
    /// Says that it is of another version.
    pub outdated: bool,
    /// Whether its folds are none.
    pub folds_falsely: bool,
    /// Fails whatever it is asked to compute, its own test included.
    pub broken: Arc<AtomicBool>,
}

#[derive(Serialize, Deserialize)]
struct Node {
    first: u32,
    last: u32,
    challenge: [u8; 32],
}

fn parse<'a, T: Deserialize<'a>>(what: &'static str, bytes: &'a [u8]) -> Result<T, BackendError> {
    serde_json::from_slice(bytes).map_err(|error| BackendError::Malformed { what, reason: error.to_string() })
}

fn json<T: Serialize>(value: &T) -> Vec<u8> {
    serde_json::to_vec(value).unwrap()
}

impl FakeBackend {
    pub const VERSION: &'static str = "fake-1";
    /// The challenge the test's coordinator broadcasts.
    pub const CHALLENGE: GlobalChallenge = GlobalChallenge([7; 32]);
}

/// The node over two neighbours.
fn joined(left: &[u8], right: &[u8]) -> Result<Vec<u8>, BackendError> {
    let (left, right): (Node, Node) = (parse("node", left)?, parse("node", right)?);
    if left.last + 1 != right.first || left.challenge != right.challenge {
        return Err(BackendError::Rejected(format!("{} and {} are no neighbours", left.last, right.first)));
    }
    Ok(json(&Node { first: left.first, last: right.last, challenge: left.challenge }))
}

impl Backend for FakeBackend {
    fn version(&self) -> &'static str {
        if self.outdated { "fake-0" } else { Self::VERSION }
    }

    fn setup(&self, elf: &[u8]) -> Result<Setup, BackendError> {
        self.calls.setup.fetch_add(1, Ordering::Relaxed);
        let program = elf.strip_prefix(MAGIC).ok_or_else(|| BackendError::Program("not a fake".to_owned()))?;
        parse::<FakeProgram>("program", program)?;
        let verifying_key = program.to_vec();
        let verifying_key_digest = [3; 32];
        Ok(Setup { proving_key: program.to_vec(), verifying_key, verifying_key_digest })
    }

    fn load(&self, proving_key: &[u8]) -> Result<Arc<dyn LoadedProgram>, BackendError> {
        let program = parse("proving key", proving_key)?;
        Ok(Arc::new(FakeLoaded { program, calls: self.calls.clone(), broken: self.broken.clone() }))
    }

    fn fold(&self, verifying_key: &[u8], left: &[u8], right: &[u8]) -> Result<Vec<u8>, BackendError> {
        self.calls.fold.fetch_add(1, Ordering::Relaxed);
        std::thread::sleep(Duration::from_millis(parse::<FakeProgram>("verifying key", verifying_key)?.fold_ms));
        if self.folds_falsely { Ok(left.to_vec()) } else { joined(left, right) }
    }

    fn finish(&self, verifying_key: &[u8], root: &[u8], public: &PublicValues) -> Result<Vec<u8>, BackendError> {
        let program: FakeProgram = parse("verifying key", verifying_key)?;
        let node: Node = parse("node", root)?;
        if (node.first, node.last + 1) != (0, program.segments) {
            return Err(BackendError::Rejected("segments missing".to_owned()));
        }
        Ok(json(public))
    }

    fn check_segment_proof(
        &self,
        _verifying_key: &[u8],
        _contribution: &[u8],
        challenge: &GlobalChallenge,
        _kind: ProofKind,
        node: &[u8],
    ) -> Result<(), BackendError> {
        let node: Node = parse("node", node)?;
        if node.challenge == challenge.0 { Ok(()) } else { Err(BackendError::Rejected("challenge".to_owned())) }
    }

    fn check_fold(&self, _verifying_key: &[u8], left: &[u8], right: &[u8], node: &[u8]) -> Result<(), BackendError> {
        if joined(left, right)? == node { Ok(()) } else { Err(BackendError::Rejected("another fold".to_owned())) }
    }

    fn self_test(&self) -> Result<(), BackendError> {
        self.calls.self_test.fetch_add(1, Ordering::Relaxed);
        works(&self.broken)
    }

    fn kind(&self, _proof: &[u8]) -> ProofKind {
        ProofKind::default()
    }

    fn verify(&self, _verifying_key: &[u8], proof: &[u8]) -> Result<PublicValues, BackendError> {
        parse("proof", proof)
    }
}

struct FakeLoaded {
    program: FakeProgram,
    calls: Arc<Calls>,
    broken: Arc<AtomicBool>,
}

impl LoadedProgram for FakeLoaded {
    fn execute(
        &self,
        input: &[u8],
        options: &ExecuteOptions,
        sink: &mut dyn FnMut(u32, Vec<u8>) -> ControlFlow<()>,
    ) -> Result<Execution, BackendError> {
        let mut segments = 0;
        if options.log_segment_steps.is_some() {
            for index in 0..self.program.segments {
                if sink(index, json(&index)).is_break() {
                    return Err(BackendError::Stopped);
                }
                segments += 1;
            }
        }
        if self.program.trap {
            return Err(BackendError::Trap("pc 0x90000000: unknown instruction 0x0".to_owned()));
        }
        let mut outputs = vec![0; OUTPUT_COUNT];
        outputs[0] = input.iter().map(|&byte| u32::from(byte)).sum();
        let public = PublicValues { outputs, exit_code: self.program.exit_code };
        Ok(Execution { public, steps: 1000 * u64::from(self.program.segments), segments, uart: "hello\n".to_owned() })
    }

    fn contribute(&self, segment: &[u8]) -> Result<(Vec<u8>, Box<dyn Contributed>), BackendError> {
        self.calls.contribute.fetch_add(1, Ordering::Relaxed);
        works(&self.broken)?;
        let index: u32 = parse("segment", segment)?;
        std::thread::sleep(Duration::from_millis(self.program.work_ms));
        let contributed = FakeContributed { index, program: self.program.clone(), calls: self.calls.clone() };
        Ok((json(&("contribution", index)), Box::new(contributed)))
    }
}

fn works(broken: &AtomicBool) -> Result<(), BackendError> {
    match broken.load(Ordering::Relaxed) {
        true => Err(BackendError::Internal("no such device".to_owned())),
        false => Ok(()),
    }
}

struct FakeContributed {
    index: u32,
    program: FakeProgram,
    calls: Arc<Calls>,
}

impl Contributed for FakeContributed {
    fn prove(self: Box<Self>, challenge: &GlobalChallenge, _kind: ProofKind) -> Result<Vec<u8>, BackendError> {
        self.calls.prove.fetch_add(1, Ordering::Relaxed);
        if self.program.deadly == Some(self.index) {
            self.calls.died.notify_one();
            std::thread::sleep(Duration::from_secs(60));
        }
        std::thread::sleep(Duration::from_millis(self.program.work_ms));
        Ok(json(&Node { first: self.index, last: self.index, challenge: challenge.0 }))
    }

    fn memory_bytes(&self) -> usize {
        self.program.kept_bytes
    }
}
