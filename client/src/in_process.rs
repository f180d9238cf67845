//! Jobs in this process, without a cluster: the same calls, events and errors.

use std::collections::HashMap;
use std::ops::ControlFlow;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError, TryLockError, mpsc};
use std::time::{Duration, Instant};

use bytes::Bytes;
use tokio::sync::watch;
use zisk_common::ids::{Digest, JobId, WorkerId};
use zisk_common::messages::{
    Event, EventBody, ExecutionSummary, Failure, FailureKind, JobState, Metadata, ObjectKey, ObjectRef, ObjectScope,
    Progress as Counts, ProofKind, Version, unix_ms,
};
use zisk_common::subjects::{EventKind, RequestKind};
use zisk_prover::backend::Execution;
use zisk_recursion::builtin::built_in;

use crate::local::{self, LocalError, LocalOptions, Step};
use crate::progress::{self, Progress};
use crate::watch::Watch;
use crate::{Cancellation, ClientError, Completed, InputStream, JobOptions};

/// How long a job may take whose input is streamed, unless it says: as on a cluster, so that none waits for ever.
const STREAMED_WITHIN: Duration = Duration::from_secs(3600);
/// How often a job looks whether it is its turn.
const LOOK: Duration = Duration::from_millis(20);

/// A client without a cluster. Jobs are worked on one after the other, by a thread each; those that have not ended are
/// given up when the client is dropped. Programs, proofs and events are kept as long as the client.
#[derive(Default)]
pub struct LocalClient {
    jobs: Mutex<HashMap<JobId, Arc<Job>>>,
    /// Held by the job whose turn it is.
    turn: Arc<Mutex<()>>,
}

/// A job's events, and what it ended with.
#[derive(Default)]
pub(crate) struct History {
    pub(crate) events: Vec<Event>,
    counts: Counts,
    end: Option<Result<Completed, Failure>>,
}

/// Where a job's input comes from.
enum Source {
    Given(Vec<u8>),
    /// In chunks; none is the end.
    Streamed(mpsc::Receiver<Option<Bytes>>),
}

/// The other end of a streamed input.
pub(crate) struct Feed(mpsc::Sender<Option<Bytes>>);

impl Feed {
    pub(crate) fn push(&self, chunk: Bytes) {
        // Nobody listens any more when the job has ended: it is told by the job's own end.
        let _ = self.0.send(Some(chunk));
    }

    pub(crate) fn close(&self) {
        let _ = self.0.send(None); // as above
    }
}

struct Job {
    id: JobId,
    /// Who works, in events.
    worker: WorkerId,
    began: Instant,
    timeout: Option<Duration>,
    metadata: Metadata,
    given_up: AtomicBool,
    history: watch::Sender<History>,
}

impl LocalClient {
    pub(crate) fn start(&self, kind: RequestKind, elf: &[u8], input: &[u8], options: &JobOptions) -> Result<JobId, ClientError> {
        self.begin(kind, elf, Source::Given(input.to_vec()), options.timeout, options)
    }

    pub(crate) fn start_streamed(&self, kind: RequestKind, elf: &[u8], options: &JobOptions) -> Result<InputStream, ClientError> {
        let (sender, chunks) = mpsc::channel();
        let timeout = options.timeout.unwrap_or(STREAMED_WITHIN);
        let job = self.begin(kind, elf, Source::Streamed(chunks), Some(timeout), options)?;
        Ok(InputStream::here(job, Feed(sender)))
    }

    fn begin(
        &self,
        kind: RequestKind,
        elf: &[u8],
        source: Source,
        timeout: Option<Duration>,
        options: &JobOptions,
    ) -> Result<JobId, ClientError> {
        let job = Arc::new(Job {
            id: JobId::random(),
            worker: WorkerId::random(),
            began: Instant::now(),
            timeout,
            metadata: options.metadata.clone(),
            given_up: AtomicBool::new(false),
            history: watch::Sender::new(History::default()),
        });
        job.emit(EventBody::Accepted { position: None }, |_| {});
        let (elf, options) = (elf.to_vec(), of_job(options));
        let (working, turn) = (job.clone(), self.turn.clone());
        let started = std::thread::Builder::new().name("local job".to_owned()).spawn(move || {
            let input = working.input(source);
            let _turn = working.wait_for_turn(&turn);
            let worked = catch_unwind(AssertUnwindSafe(|| working.work(kind, &elf, &input, &options)));
            working.finish(kind, worked.unwrap_or_else(|_| Err(Failure::new(FailureKind::Internal, "the prover panicked"))));
        });
        started.map_err(|reason| ClientError::File { action: "start", path: "a thread".to_owned(), reason })?;
        self.jobs.lock().unwrap_or_else(PoisonError::into_inner).insert(job.id, job.clone());
        Ok(job.id)
    }

    fn job(&self, id: JobId) -> Result<Arc<Job>, ClientError> {
        let jobs = self.jobs.lock().unwrap_or_else(PoisonError::into_inner);
        jobs.get(&id).cloned().ok_or(ClientError::UnknownJob(id))
    }

    pub(crate) fn follow(&self, id: JobId) -> Result<Watch, ClientError> {
        Ok(Watch::here(self.job(id)?.history.subscribe()))
    }

    pub(crate) async fn end_of(&self, id: JobId, mut progress: impl FnMut(Progress) + Send) -> Result<Completed, ClientError> {
        let mut watch = self.follow(id)?;
        while let Some(event) = watch.next().await? {
            if let Some(step) = progress::of(&event) {
                progress(step);
            }
        }
        self.result_of(id)
    }

    pub(crate) fn result_of(&self, id: JobId) -> Result<Completed, ClientError> {
        match &self.job(id)?.history.borrow().end {
            None => Err(ClientError::NotEnded { job: id, state: JobState::Executing }),
            Some(Ok(done)) => Ok(done.clone()),
            Some(Err(failure)) => Err(ClientError::Failed { job: id, failure: Box::new(failure.clone()) }),
        }
    }

    /// Takes effect when the step under way is done.
    pub(crate) async fn end(&self, id: JobId) -> Result<Cancellation, ClientError> {
        let job = self.job(id)?;
        let before = job.history.borrow().end.is_some();
        job.given_up.store(true, Ordering::Relaxed);
        let mut history = job.history.subscribe();
        // The sender lives in `job`.
        let _ = history.wait_for(|history| history.end.is_some()).await;
        let state = match &history.borrow().end {
            Some(Err(failure)) if failure.kind == FailureKind::Cancelled => JobState::Cancelled,
            Some(Err(_)) => JobState::Failed,
            _ => JobState::Completed,
        };
        Ok(match state {
            JobState::Cancelled => Cancellation::Cancelled { before },
            state => Cancellation::EndedBefore(state),
        })
    }
}

impl Drop for LocalClient {
    fn drop(&mut self) {
        for job in self.jobs.lock().unwrap_or_else(PoisonError::into_inner).values() {
            job.given_up.store(true, Ordering::Relaxed);
        }
    }
}

impl Job {
    fn event(&self, progress: Counts, body: EventBody) -> Event {
        let kind = body.kind();
        let first_or_last = kind == EventKind::Accepted || kind.is_terminal();
        let metadata = if first_or_last { self.metadata.clone() } else { Metadata::default() };
        Event { v: Version::default(), job: self.id, at_ms: unix_ms(), progress, metadata, body }
    }

    fn emit(&self, body: EventBody, count: impl FnOnce(&mut Counts)) {
        self.history.send_modify(|history| {
            count(&mut history.counts);
            let progress = history.counts;
            history.events.push(self.event(progress, body));
        });
    }

    /// The terminal event and the result, seen together.
    fn finish(&self, kind: RequestKind, worked: Result<Completed, Failure>) {
        let body = match &worked {
            Ok(done) => EventBody::Completed {
                proof: (!done.proof.is_empty()).then(|| object(ObjectScope::Proof, &done.proof)),
                summary: (kind != RequestKind::Setup).then(|| done.summary.clone()),
                milliseconds: done.milliseconds,
            },
            Err(failure) if failure.kind == FailureKind::Cancelled => EventBody::Cancelled { failure: failure.clone() },
            Err(failure) => EventBody::Failed { failure: failure.clone() },
        };
        self.history.send_modify(|history| {
            let progress = history.counts;
            history.events.push(self.event(progress, body));
            history.end = Some(worked);
        });
    }

    /// The whole input; what there is of it once the job is given up.
    fn input(&self, source: Source) -> Vec<u8> {
        let chunks = match source {
            Source::Given(input) => return input,
            Source::Streamed(chunks) => chunks,
        };
        self.emit(EventBody::WaitingForInput {}, |_| {});
        let mut input = Vec::new();
        while self.given_up().is_none() {
            match chunks.recv_timeout(LOOK) {
                Ok(Some(chunk)) => input.extend_from_slice(&chunk),
                Ok(None) => {
                    let whole = (!input.is_empty()).then(|| object(ObjectScope::Input, &input));
                    self.emit(EventBody::InputReceived { input: whole }, |_| {});
                    break;
                }
                Err(mpsc::RecvTimeoutError::Timeout) => {}
                // Dropped before its end: nobody can close it any more.
                Err(mpsc::RecvTimeoutError::Disconnected) => std::thread::sleep(LOOK),
            }
        }
        input
    }

    /// None once it is given up.
    fn wait_for_turn<'a>(&self, turn: &'a Mutex<()>) -> Option<MutexGuard<'a, ()>> {
        while self.given_up().is_none() {
            match turn.try_lock() {
                Ok(turn) => return Some(turn),
                // A job that panicked has left nothing half done for the next.
                Err(TryLockError::Poisoned(turn)) => return Some(turn.into_inner()),
                Err(TryLockError::WouldBlock) => std::thread::sleep(LOOK),
            }
        }
        None
    }

    /// Why it is to go no further.
    fn given_up(&self) -> Option<Failure> {
        if self.given_up.load(Ordering::Relaxed) {
            return Some(Failure::new(FailureKind::Cancelled, "cancelled by a client"));
        }
        let limit = self.timeout.filter(|limit| self.began.elapsed() >= *limit)?;
        Some(Failure::new(FailureKind::Timeout, format!("not ended within {} s", limit.as_secs_f64())))
    }

    fn work(&self, kind: RequestKind, elf: &[u8], input: &[u8], options: &LocalOptions) -> Result<Completed, Failure> {
        if let Some(failure) = self.given_up() {
            return Err(failure);
        }
        self.emit(EventBody::Admitted {}, |_| {});
        let backend = built_in();
        let (summary, proof) = match kind {
            RequestKind::Setup => {
                backend.setup(elf).map_err(|error| failure_of(&error.into()))?;
                (ExecutionSummary::default(), Vec::new())
            }
            RequestKind::Execute => {
                self.emit(EventBody::Executing {}, |_| {});
                let execution = local::execute(backend.as_ref(), elf, input, options.max_steps);
                let summary = summary_of(&execution.map_err(|error| failure_of(&error.into()))?);
                self.emit(EventBody::Executed { summary: summary.clone() }, |counts| counts.steps = summary.steps);
                (summary, Vec::new())
            }
            RequestKind::Prove => {
                let mut stopped = None;
                let proven = local::prove_observed(backend.as_ref(), elf, input, options, &mut |step| {
                    stopped = self.step(&step, options.kind).or_else(|| self.given_up());
                    if stopped.is_some() { ControlFlow::Break(()) } else { ControlFlow::Continue(()) }
                });
                let proven = proven.map_err(|error| stopped.unwrap_or_else(|| failure_of(&error)))?;
                (summary_of(&proven.execution), proven.proof)
            }
        };
        let milliseconds = u64::try_from(self.began.elapsed().as_millis()).unwrap_or(u64::MAX);
        Ok(Completed { summary, proof, milliseconds })
    }

    /// Announces a step; returns why it is the last, if it is.
    fn step(&self, step: &Step, kind: zisk_prover::backend::ProofKind) -> Option<Failure> {
        let worker = self.worker;
        match step {
            Step::Prepared => self.emit(EventBody::Executing {}, |_| {}),
            Step::Contributed { done } => {
                let n = done.saturating_sub(1);
                self.emit(EventBody::Planned { n }, |counts| counts.planned = *done);
                self.emit(EventBody::Contributed { n, worker, milliseconds: 0 }, |counts| counts.contributed = *done);
            }
            Step::Executed(execution) => {
                let summary = summary_of(execution);
                self.emit(EventBody::Executed { summary }, |counts| {
                    counts.segments = Some(execution.segments);
                    counts.steps = execution.steps;
                });
                // As a cluster has it: nobody wants to pay for a proof of a failure.
                if execution.public.exit_code != 0 {
                    let message = format!("guest exited with code {}", execution.public.exit_code);
                    return Some(Failure::new(FailureKind::Execution, message));
                }
                self.emit(EventBody::Challenged { round: 0 }, |_| {});
            }
            Step::Proven { done, node, .. } => {
                let node = object(ObjectScope::Node(self.id), node);
                let body = EventBody::Proof { n: done.saturating_sub(1), worker, node, commit: 1, milliseconds: 0 };
                self.emit(body, |counts| counts.proven = *done);
            }
            Step::Folded { done, n, node, .. } => {
                // Of a bundle the cluster keeps none, either.
                let node = (kind == zisk_prover::backend::ProofKind::Recursive).then(|| object(ObjectScope::Node(self.id), node));
                let body = EventBody::Folded { n: *n, worker, epoch: 1, round: 0, node, milliseconds: 0 };
                self.emit(body, |counts| counts.folded = *done);
            }
        }
        None
    }
}

fn of_job(options: &JobOptions) -> LocalOptions {
    let default = LocalOptions::default();
    LocalOptions {
        log_segment_steps: options.log_segment_steps.map_or(default.log_segment_steps, u32::from),
        max_steps: options.max_steps.unwrap_or(default.max_steps),
        kind: match options.proof.unwrap_or_default() {
            ProofKind::Recursive => zisk_prover::backend::ProofKind::Recursive,
            ProofKind::Bundle => zisk_prover::backend::ProofKind::Bundle,
        },
        kept_bytes: default.kept_bytes,
    }
}

fn summary_of(execution: &Execution) -> ExecutionSummary {
    let outputs: Vec<u8> = execution.public.outputs.iter().flat_map(|word| word.to_le_bytes()).collect();
    ExecutionSummary {
        steps: execution.steps,
        segments: execution.segments,
        exit_code: execution.public.exit_code,
        outputs: outputs.into(),
        uart: execution.uart.clone().into_bytes().into(),
    }
}

fn failure_of(error: &LocalError) -> Failure {
    Failure::new(error.kind(), error.to_string())
}

fn object(scope: ObjectScope, bytes: &[u8]) -> ObjectRef {
    ObjectRef { key: ObjectKey { scope, digest: Digest::of(bytes) }, size: bytes.len() as u64 }
}
