//! A proof in this process, without NATS: the same calls of the prover, in the same order and with the same options, as a
//! cluster makes them. So the difference in time between the two is the cluster's overhead.

use std::ops::ControlFlow;
use std::sync::mpsc;
use std::time::{Duration, Instant};

use zisk_common::messages::{DEFAULT_LOG_SEGMENT_STEPS, FailureKind};
use zisk_protocol::ProtocolError;
use zisk_prover::backend::{Backend, BackendError, Contributed, ExecuteOptions, Execution, LoadedProgram, ProofKind, Setup};

use crate::progress::{Phase, Progress};

/// Segments the executor may be ahead of the prover. Two: one being handed over, one being cut.
const SEGMENTS_AHEAD: usize = 2;

/// The cluster's default (coordinator, `[jobs]`).
const MAX_STEPS: u64 = 1 << 34;
/// Memory for stage-1 data: what the worker's default leaves on the smallest machine we measure on.
const KEPT_BYTES: usize = 8 << 30;

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

impl Default for LocalOptions {
    fn default() -> Self {
        Self {
            log_segment_steps: DEFAULT_LOG_SEGMENT_STEPS.into(),
            max_steps: MAX_STEPS,
            kind: ProofKind::default(),
            kept_bytes: KEPT_BYTES,
        }
    }
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

impl LocalError {
    /// Whose fault it is.
    pub const fn kind(&self) -> FailureKind {
        match self {
            Self::Backend(BackendError::Program(_)) => FailureKind::Input,
            Self::Backend(BackendError::Trap(_)) => FailureKind::Execution,
            Self::Backend(BackendError::Stopped) => FailureKind::Cancelled,
            Self::Backend(_) | Self::Protocol(_) | Self::Thread(_) => FailureKind::Internal,
        }
    }
}

/// What has just been done of a proof.
#[derive(Debug)]
pub enum Step<'a> {
    /// The program's keys are there.
    Prepared,
    /// One more segment is contributed: so many now.
    Contributed {
        /// How many.
        done: u32,
    },
    /// The program has ended, and all is contributed.
    Executed(&'a Execution),
    /// One more segment is proven.
    Proven {
        /// How many now.
        done: u32,
        /// Of how many.
        total: u32,
        /// Its node.
        node: &'a [u8],
    },
    /// Two more nodes are one.
    Folded {
        /// How many times.
        done: u32,
        /// Of how many.
        total: u32,
        /// The first segment of the right one.
        n: u32,
        /// What they were folded to.
        node: &'a [u8],
    },
}

/// Told of each step; to break off is not to go on to the next.
pub type Observer<'a> = dyn FnMut(Step<'_>) -> ControlFlow<()> + 'a;

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
    progress(Progress::started(Phase::Setup));
    prove_observed(backend, elf, input, options, &mut |step| {
        match step {
            Step::Prepared | Step::Executed(_) => {}
            Step::Contributed { done } => progress(Progress::done(Phase::Contribute, done, None)),
            Step::Proven { done, total, .. } => progress(Progress::done(Phase::Prove, done, Some(total))),
            Step::Folded { done, total, .. } => progress(Progress::done(Phase::Aggregate, done, Some(total))),
        }
        ControlFlow::Continue(())
    })
}

/// [`prove`], observed step by step.
///
/// # Errors
/// As [`prove`]; [`BackendError::Stopped`] when the observer breaks off.
pub fn prove_observed(
    backend: &dyn Backend,
    elf: &[u8],
    input: &[u8],
    options: &LocalOptions,
    observe: &mut Observer<'_>,
) -> Result<LocalProof, LocalError> {
    let mut seconds = PhaseSeconds::default();
    let mut clock = Instant::now();
    let setup = backend.setup(elf)?;
    let program = backend.load(&setup.proving_key)?;
    seconds.setup = lap(&mut clock);
    go_on(observe(Step::Prepared))?;

    let (execution, segments) = contribute(program.as_ref(), input, options, observe)?;
    go_on(observe(Step::Executed(&execution)))?;
    let contributions: Vec<Vec<u8>> = segments.iter().map(|segment| segment.contribution.clone()).collect();
    let challenge = zisk_protocol::global_challenge(&setup.verifying_key_digest, &contributions, &execution.public)?;
    seconds.contribute = lap(&mut clock);

    let mut nodes = Vec::with_capacity(segments.len());
    for segment in segments {
        let contributed = match segment.stage1 {
            Stage1::Kept(contributed) => contributed,
            Stage1::Dropped { segment } => program.contribute(&segment)?.1,
        };
        let node = contributed.prove(&challenge, options.kind)?;
        go_on(observe(Step::Proven { done: nodes.len() as u32 + 1, total: execution.segments, node: &node }))?;
        nodes.push(node);
    }
    seconds.prove = lap(&mut clock);

    let proof = aggregate(backend, &setup, nodes, &execution, observe)?;
    seconds.aggregate = lap(&mut clock);
    Ok(LocalProof { execution, proof, verifying_key: setup.verifying_key, seconds })
}

fn go_on(flow: ControlFlow<()>) -> Result<(), BackendError> {
    match flow {
        ControlFlow::Continue(()) => Ok(()),
        ControlFlow::Break(()) => Err(BackendError::Stopped),
    }
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
    observe: &mut Observer<'_>,
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
            let contributed = program.contribute(&segment).and_then(|contributed| {
                go_on(observe(Step::Contributed { done: waiting.len() as u32 + 1 }))?;
                Ok(contributed)
            });
            match contributed {
                Ok((contribution, contributed)) => {
                    let bytes = contributed.memory_bytes();
                    let stage1 = if kept + bytes <= options.kept_bytes {
                        kept += bytes;
                        Stage1::Kept(contributed)
                    } else {
                        Stage1::Dropped { segment }
                    };
                    waiting.push(Waiting { contribution, stage1 });
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
    observe: &mut Observer<'_>,
) -> Result<Vec<u8>, BackendError> {
    let total = execution.segments.saturating_sub(1);
    let mut folds = 0;
    let mut fold = |left: &[u8], n: u32, right: &[u8]| {
        let node = backend.fold(&setup.verifying_key, left, right)?;
        folds += 1;
        go_on(observe(Step::Folded { done: folds, total, n, node: &node }))?;
        Ok::<_, BackendError>(node)
    };
    // Like counting in binary: two nodes over equally many segments become one. Each with its first segment and their number.
    let mut stack: Vec<(u32, u32, Vec<u8>)> = Vec::new();
    for (n, node) in (0..).zip(nodes) {
        let (mut first, mut size, mut node) = (n, 1, node);
        while let Some((left_first, _, left)) = stack.pop_if(|(_, left_size, _)| *left_size == size) {
            node = fold(&left, first, &node)?;
            (first, size) = (left_first, 2 * size);
        }
        stack.push((first, size, node));
    }
    let mut root: Option<(u32, Vec<u8>)> = None;
    while let Some((first, _, left)) = stack.pop() {
        let node = match root {
            None => left,
            Some((n, right)) => fold(&left, n, &right)?,
        };
        root = Some((first, node));
    }
    let (_, root) = root.ok_or_else(|| BackendError::Internal("an execution without segments".to_owned()))?;
    backend.finish(&setup.verifying_key, &root, &execution.public)
}

fn lap(clock: &mut Instant) -> f64 {
    let now = Instant::now();
    let elapsed: Duration = now - *clock;
    *clock = now;
    elapsed.as_secs_f64()
}
