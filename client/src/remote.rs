//! Jobs on a cluster.

use std::time::Duration;

use tokio::time::Instant;
use zisk_common::bus::Bus;
use zisk_common::config::BusArgs;
use zisk_common::ids::JobId;
use zisk_common::messages::{
    Cancel, EventBody, ExecutionSummary, FailureKind, JobParams, JobRecord, JobRequest, ObjectScope, Version, WorkerPresence,
};
use zisk_common::objects::Objects;
use zisk_common::subjects::RequestKind;

use crate::ClientError;
use crate::progress::{Phase, Progress};

/// How long a coordinator may take to accept a request. It answers within milliseconds, and takes over within seconds.
const ACCEPTED_WITHIN: Duration = Duration::from_secs(10);

/// Options of a job; what is not set is the cluster's default.
#[derive(Clone, Debug, Default)]
pub struct JobOptions {
    /// log2 of the steps of a segment.
    pub log_segment_steps: Option<u8>,
    /// Steps after which the program is stopped.
    pub max_steps: Option<u64>,
    /// How long the job may take.
    pub timeout: Option<Duration>,
}

/// A job that ended well.
#[derive(Clone, Debug)]
pub struct Completed {
    /// Outputs, exit code, steps, segments.
    pub summary: ExecutionSummary,
    /// The final proof; empty when none was asked for.
    pub proof: Vec<u8>,
    /// From acceptance to completion, as the coordinator counts.
    pub milliseconds: u64,
}

/// A client of one cluster.
pub struct RemoteClient {
    pub(crate) bus: Bus,
    pub(crate) objects: Objects,
}

impl RemoteClient {
    /// Connects.
    ///
    /// # Errors
    /// [`ClientError`] that says what to do.
    pub async fn connect(args: &BusArgs) -> Result<Self, ClientError> {
        let bus = Bus::connect(args.bus("zisk")?).await?;
        // So that a request outlives this process even where no coordinator has ever run.
        bus.prepare_missing().await?;
        let objects = Objects::open(&args.store()?, &bus).await?;
        Ok(Self { bus, objects })
    }

    /// Submits a job that proves.
    ///
    /// # Errors
    /// [`ClientError`] when program, input or request cannot be stored.
    pub async fn prove(&self, elf: &[u8], input: &[u8], options: &JobOptions) -> Result<JobId, ClientError> {
        self.submit(RequestKind::Prove, elf, input, options).await
    }

    /// Submits a job that runs the program without a proof.
    ///
    /// # Errors
    /// As [`prove`](Self::prove).
    pub async fn execute(&self, elf: &[u8], input: &[u8], options: &JobOptions) -> Result<JobId, ClientError> {
        self.submit(RequestKind::Execute, elf, input, options).await
    }

    /// Uploads program and input, unless they are there, and publishes the request. The job is safe once this returns.
    ///
    /// # Errors
    /// As [`prove`](Self::prove).
    pub async fn submit(&self, kind: RequestKind, elf: &[u8], input: &[u8], options: &JobOptions) -> Result<JobId, ClientError> {
        let program = self.objects.put(ObjectScope::Program, elf.to_vec().into()).await?;
        let input = match input {
            [] => None,
            bytes => Some(self.objects.put(ObjectScope::Input, bytes.to_vec().into()).await?),
        };
        let job = JobId::random();
        let request = JobRequest {
            v: Version::default(),
            job,
            program: program.key.digest,
            input,
            params: JobParams {
                log_segment_steps: options.log_segment_steps,
                max_steps: options.max_steps,
                timeout_seconds: options.timeout.map(|timeout| timeout.as_secs().max(1)),
            },
            client: format!("zisk {}", env!("CARGO_PKG_VERSION")),
        };
        self.bus.publish_request(kind, &request).await?;
        Ok(job)
    }

    /// Follows a job from its first event to its end, and gets its proof.
    ///
    /// # Errors
    /// [`ClientError::Failed`] with the job's failure, [`ClientError::NoCoordinator`] when nobody takes it.
    pub async fn wait(&self, job: JobId, mut progress: impl FnMut(Progress)) -> Result<Completed, ClientError> {
        let mut events = self.bus.events(job);
        let taken_until = Instant::now() + ACCEPTED_WITHIN;
        let mut taken = false;
        let mut summary = None;
        loop {
            let event = tokio::select! {
                event = events.next() => event?,
                () = tokio::time::sleep_until(taken_until), if !taken => {
                    let seconds = ACCEPTED_WITHIN.as_secs();
                    let prefix = self.bus.prefix().to_string();
                    return Err(ClientError::NoCoordinator { job, seconds, prefix });
                }
            };
            taken = true;
            let counts = event.progress;
            let total = counts.segments;
            match event.body {
                EventBody::Planned { .. } => progress(Progress::done(Phase::Execute, counts.planned, total)),
                EventBody::Executed { summary: executed } => {
                    progress(Progress::done(Phase::Execute, counts.planned, total));
                    summary = Some(executed);
                }
                EventBody::Contributed { .. } => progress(Progress::done(Phase::Contribute, counts.contributed, total)),
                EventBody::Proof { .. } => progress(Progress::done(Phase::Prove, counts.proven, total)),
                EventBody::Folded { .. } => {
                    let folds = total.map(|segments| segments.saturating_sub(1));
                    progress(Progress::done(Phase::Aggregate, counts.folded, folds));
                }
                EventBody::Accepted {} | EventBody::Queued { .. } | EventBody::Executing {} => {
                    progress(Progress::started(Phase::Setup));
                }
                EventBody::Challenged {} => {}
                EventBody::Completed { proof, summary: last, milliseconds } => {
                    let proof = match proof {
                        Some(object) => self.objects.get(object.key).await?.to_vec(),
                        None => Vec::new(),
                    };
                    let summary = last.or(summary).unwrap_or_default();
                    return Ok(Completed { summary, proof, milliseconds });
                }
                EventBody::Failed { failure } | EventBody::Cancelled { failure } => {
                    return Err(ClientError::Failed { job, failure: Box::new(failure) });
                }
            }
        }
    }

    /// The job's record.
    ///
    /// # Errors
    /// [`ClientError::UnknownJob`] when there is none.
    pub async fn status(&self, job: JobId) -> Result<JobRecord, ClientError> {
        let entry = self.bus.jobs().await?.get(job).await?;
        entry.map(|entry| entry.value).ok_or(ClientError::UnknownJob(job))
    }

    /// All jobs the cluster remembers, newest first.
    ///
    /// # Errors
    /// [`ClientError`] when the server does not answer.
    pub async fn jobs(&self) -> Result<Vec<JobRecord>, ClientError> {
        let entries = self.bus.jobs().await?.entries().await?;
        let mut jobs: Vec<JobRecord> = entries.into_iter().map(|(_, entry)| entry.value).collect();
        jobs.sort_by_key(|job| std::cmp::Reverse(job.timings.accepted_ms));
        Ok(jobs)
    }

    /// The workers that are there.
    ///
    /// # Errors
    /// As [`jobs`](Self::jobs).
    pub async fn workers(&self) -> Result<Vec<WorkerPresence>, ClientError> {
        let entries = self.bus.workers().await?.entries().await?;
        let mut workers: Vec<WorkerPresence> = entries.into_iter().map(|(_, entry)| entry.value).collect();
        workers.sort_by_key(|worker| worker.started_ms);
        Ok(workers)
    }

    /// Asks that a job be ended. `false` when it had ended already.
    ///
    /// # Errors
    /// [`ClientError::UnknownJob`] when there is none.
    pub async fn cancel(&self, job: JobId) -> Result<bool, ClientError> {
        if self.status(job).await?.state.is_terminal() {
            return Ok(false);
        }
        let message = "cancelled by a client".to_owned();
        let cancel = Cancel { v: Version::default(), job, kind: FailureKind::Cancelled, message };
        self.bus.broadcast_cancel(&cancel).await?;
        Ok(true)
    }
}
