//! A proof in this process, without NATS: the same calls of the prover, in the same order and with the same options, as a
//! cluster makes them. So the difference in time between the two is the cluster's overhead.

use std::ops::ControlFlow;
use std::sync::mpsc;
use std::time::{Duration, Instant};

use zisk_protocol::{GlobalChallenge, ProtocolError, PublicValues};
use zisk_prover::backend::{Backend, BackendError, Contributed, ExecuteOptions, Execution, LoadedProgram, ProofKind, Setup};

use crate::progress::{Phase, Progress};

/// Segments the executor may be ahead of the prover. Two: one being handed over, one being cut.
const SEGMENTS_AHEAD: usize = 2;

/// How to prove.
#[derive(Clone, Debug)]
pub struct LocalOptions {
    /// Segments have at most 2^`log_segment_steps` steps.
    pub log_segment_steps: u32,
    /// Traps after so many steps.
    pub max_steps: u64,
    /// What kind of proof.
    pub kind: ProofKind,
    /// Memory for stage-1 data that waits for the challenge; what does not fit is recomputed. Bytes.
    pub kept_bytes: usize,
}

/// Wall time of each phase. They follow one another, except that the execution runs beside the contributions.
#[derive(Clone, Copy, Debug, Default, serde::Serialize)]
pub struct PhaseSeconds {
    /// ELF to keys, and making them ready for work.
    pub setup: f64,
    /// Execution and contributions.
    pub contribute: f64,
    /// Segment proofs.
    pub prove: f64,
    /// Folds and the final proof.
    pub aggregate: f64,
}

/// A finished local proof.
#[derive(Clone, Debug)]
pub struct LocalProof {
    /// What the execution ended with.
    pub execution: Execution,
    /// The final proof.
    pub proof: Vec<u8>,
    /// The key that verifies it.
    pub verifying_key: Vec<u8>,
    /// Where the time went.
    pub seconds: PhaseSeconds,
}

/// Why there is no local proof.
#[derive(Debug, thiserror::Error)]
pub enum LocalError {
    /// The prover refused or failed.
    #[error(transparent)]
    Backend(#[from] BackendError),
    /// The contributions give no challenge: a bug in the prover.
    #[error("the prover's own contributions are refused: {0}")]
    Protocol(#[from] ProtocolError),
    /// The executor's thread could not be started, or panicked.
    #[error("the executor's thread {0}")]
    Thread(String),
}

/// How the challenge is derived; a parameter so that tests can run with a prover that has none of the real formats.
pub type DeriveChallenge = fn(&[u8; 32], &[Vec<u8>], &PublicValues) -> Result<GlobalChallenge, ProtocolError>;

/// Proves `elf` on `input` (the bytes of the input area) in this process.
///
/// # Errors
/// [`LocalError`]: the program is refused, traps, or the prover fails.
pub fn prove(
    backend: &dyn Backend,
    elf: &[u8],
    input: &[u8],
    options: &LocalOptions,
    progress: &mut dyn FnMut(Progress),
) -> Result<LocalProof, LocalError> {
    prove_with(backend, zisk_protocol::global_challenge, elf, input, options, progress)
}

/// [`prove`] with a challenge derivation of the caller's choosing.
///
/// # Errors
/// As [`prove`].
pub fn prove_with(
    backend: &dyn Backend,
    derive: DeriveChallenge,
    elf: &[u8],
    input: &[u8],
    options: &LocalOptions,
    progress: &mut dyn FnMut(Progress),
) -> Result<LocalProof, LocalError> {
    let mut seconds = PhaseSeconds::default();
    let mut clock = Instant::now();
    progress(Progress::started(Phase::Setup));
    let setup = backend.setup(elf)?;
    let program = backend.load(&setup.proving_key)?;
    seconds.setup = lap(&mut clock);

    let (execution, segments) = contribute(program.as_ref(), input, options, progress)?;
    let contributions: Vec<Vec<u8>> = segments.iter().map(|segment| segment.contribution.clone()).collect();
    let challenge = derive(&setup.verifying_key_digest, &contributions, &execution.public)?;
    seconds.contribute = lap(&mut clock);

    let mut nodes = Vec::with_capacity(segments.len());
    for segment in segments {
        let contributed = match segment.stage1 {
            Stage1::Kept(contributed) => contributed,
            Stage1::Dropped { segment } => program.contribute(&segment)?.1,
        };
        nodes.push(contributed.prove(&challenge, options.kind)?);
        progress(Progress::done(Phase::Prove, nodes.len() as u32, Some(execution.segments)));
    }
    seconds.prove = lap(&mut clock);

    let proof = aggregate(backend, &setup, nodes, &execution, progress)?;
    seconds.aggregate = lap(&mut clock);
    Ok(LocalProof { execution, proof, verifying_key: setup.verifying_key, seconds })
}

/// Executes `elf` on `input` in this process, without a proof.
///
/// # Errors
/// [`BackendError`]: the program is refused or traps.
pub fn execute(backend: &dyn Backend, elf: &[u8], input: &[u8], max_steps: u64) -> Result<Execution, BackendError> {
    let setup = backend.setup(elf)?;
    let program = backend.load(&setup.proving_key)?;
    let options = ExecuteOptions { log_segment_steps: None, max_steps };
    program.execute(input, &options, &mut |_, _| ControlFlow::Continue(()))
}

/// A segment between contribution and proof.
struct Waiting {
    contribution: Vec<u8>,
    stage1: Stage1,
}

enum Stage1 {
    Kept(Box<dyn Contributed>),
    Dropped { segment: Vec<u8> },
}

/// Executes on a thread of its own and contributes each segment as it is cut.
fn contribute(
    program: &dyn LoadedProgram,
    input: &[u8],
    options: &LocalOptions,
    progress: &mut dyn FnMut(Progress),
) -> Result<(Execution, Vec<Waiting>), LocalError> {
    let execute = ExecuteOptions { log_segment_steps: Some(options.log_segment_steps), max_steps: options.max_steps };
    let (sender, receiver) = mpsc::sync_channel::<Vec<u8>>(SEGMENTS_AHEAD);
    std::thread::scope(|scope| {
        let executor = std::thread::Builder::new()
            .name("execute".to_owned())
            .spawn_scoped(scope, || {
                // Moved in, so that the receiver sees the end.
                let sender = sender;
                program.execute(input, &execute, &mut |_, segment| match sender.send(segment) {
                    Ok(()) => ControlFlow::Continue(()),
                    Err(_) => ControlFlow::Break(()),
                })
            })
            .map_err(|error| LocalError::Thread(format!("could not be started: {error}")))?;
        let mut waiting = Vec::new();
        let mut kept = 0;
        let mut failed = None;
        for segment in receiver {
            match program.contribute(&segment) {
                Ok((contribution, contributed)) => {
                    let bytes = contributed.memory_bytes();
                    let stage1 = if kept + bytes <= options.kept_bytes {
                        kept += bytes;
                        Stage1::Kept(contributed)
                    } else {
                        Stage1::Dropped { segment }
                    };
                    waiting.push(Waiting { contribution, stage1 });
                    progress(Progress::done(Phase::Contribute, waiting.len() as u32, None));
                }
                Err(error) => {
                    failed = Some(error);
                    // Dropping the receiver stops the executor.
                    break;
                }
            }
        }
        let execution = executor.join().map_err(|_| LocalError::Thread("panicked".to_owned()))?;
        match failed {
            Some(error) => Err(error.into()),
            None => Ok((execution?, waiting)),
        }
    })
}

/// Folds the nodes in the shape of the cluster's tree and makes the final proof.
fn aggregate(
    backend: &dyn Backend,
    setup: &Setup,
    nodes: Vec<Vec<u8>>,
    execution: &Execution,
    progress: &mut dyn FnMut(Progress),
) -> Result<Vec<u8>, BackendError> {
    let total = execution.segments.saturating_sub(1);
    let mut folds = 0;
    let mut fold = |left: &[u8], right: &[u8]| {
        let node = backend.fold(&setup.verifying_key, left, right)?;
        folds += 1;
        progress(Progress::done(Phase::Aggregate, folds, Some(total)));
        Ok::<_, BackendError>(node)
    };
    // Like counting in binary: two nodes over equally many segments become one.
    let mut stack: Vec<(u32, Vec<u8>)> = Vec::new();
    for node in nodes {
        let (mut size, mut node) = (1, node);
        while let Some((_, left)) = stack.pop_if(|(left_size, _)| *left_size == size) {
            node = fold(&left, &node)?;
            size *= 2;
        }
        stack.push((size, node));
    }
    let mut root: Option<Vec<u8>> = None;
    while let Some((_, left)) = stack.pop() {
        root = Some(match root {
            None => left,
            Some(right) => fold(&left, &right)?,
        });
    }
    let root = root.ok_or_else(|| BackendError::Internal("an execution without segments".to_owned()))?;
    backend.finish(&setup.verifying_key, &root, &execution.public)
}

fn lap(clock: &mut Instant) -> f64 {
    let now = Instant::now();
    let elapsed: Duration = now - *clock;
    *clock = now;
    elapsed.as_secs_f64()
}
