//! Jobs on a cluster.

use std::time::Duration;

use tokio::time::Instant;
use zisk_common::bus::Bus;
use zisk_common::config::BusArgs;
use zisk_common::ids::JobId;
use zisk_common::messages::{
    Cancel, EventBody, ExecutionSummary, JobParams, JobRecord, JobRequest, JobState, Metadata, ObjectRef, ObjectScope, ProofKind,
    QueueOrder, Version, WorkerPresence,
};
use zisk_common::objects::Objects;
use zisk_common::subjects::{ConsumerKind, RequestKind};

use crate::progress::{self, Phase, Progress};
use crate::{ClientError, InputStream};

/// How long a coordinator may take to accept a request. It answers within milliseconds, and takes over within seconds.
const ACCEPTED_WITHIN: Duration = Duration::from_secs(10);
/// How often a client that waits for its turn looks where it stands, and how much more seldom for every job before it:
/// the order is as long as the queue, and so many clients read it.
const LOOK: Duration = Duration::from_secs(1);
const LOOK_PER_PLACE: Duration = Duration::from_millis(50);

/// Options of a job; what is not set is the cluster's default.
#[derive(Clone, Debug, Default)]
pub struct JobOptions {
    /// log2 of the steps of a segment.
    pub log_segment_steps: Option<u8>,
    /// What kind of proof: recursive when not set.
    pub proof: Option<ProofKind>,
    /// Steps after which the program is stopped.
    pub max_steps: Option<u64>,
    /// How long the job may take, from its acceptance on: waiting for its turn counts.
    pub timeout: Option<Duration>,
    /// 0 (last) to 9 (first), 5 when not set: whose turn comes first among the jobs that wait.
    pub priority: Option<u8>,
    /// Seconds for which the cluster keeps the proof after the job's end; 0 is for ever.
    pub keep_proof_seconds: Option<u64>,
    /// At most 32 pairs of the caller's own, given back in the job's first and last event and in its record.
    pub metadata: Metadata,
    /// Who asks, at most 64 bytes: what the cluster can do is shared fairly between names. By default this program's name.
    pub client: Option<String>,
}

/// What became of a cancellation.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Cancellation {
    /// The job has ended as cancelled, now or before.
    Cancelled {
        /// It had been cancelled before.
        before: bool,
    },
    /// The job had ended otherwise, and stays so.
    EndedBefore(JobState),
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
        let input = match input {
            [] => None,
            bytes => Some(self.objects.put(ObjectScope::Input, bytes.to_vec().into()).await?),
        };
        self.request(kind, elf, input, false, options).await
    }

    /// Uploads the program, unless it is there, and publishes the request of a job that waits for its input.
    ///
    /// # Errors
    /// As [`prove`](Self::prove).
    pub async fn submit_streamed(&self, kind: RequestKind, elf: &[u8], options: &JobOptions) -> Result<InputStream, ClientError> {
        let job = self.request(kind, elf, None, true, options).await?;
        Ok(InputStream::over(job, self.bus.clone()))
    }

    async fn request(
        &self,
        kind: RequestKind,
        elf: &[u8],
        input: Option<ObjectRef>,
        input_stream: bool,
        options: &JobOptions,
    ) -> Result<JobId, ClientError> {
        let program = self.objects.put(ObjectScope::Program, elf.to_vec().into()).await?;
        let job = JobId::random();
        let request = JobRequest {
            v: Version::default(),
            job,
            program: program.key.digest,
            input,
            input_stream,
            params: JobParams {
                log_segment_steps: options.log_segment_steps,
                proof: options.proof,
                max_steps: options.max_steps,
                timeout_seconds: options.timeout.map(|timeout| timeout.as_secs().max(1)),
                priority: options.priority,
                proof_retention_seconds: options.keep_proof_seconds,
            },
            client: options.client.clone().unwrap_or_else(|| format!("zisk {}", env!("CARGO_PKG_VERSION"))),
            metadata: options.metadata.clone(),
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
        let mut waiting: Option<Instant> = None;
        let mut summary = None;
        loop {
            let look_at = waiting.unwrap_or(taken_until);
            let event = tokio::select! {
                event = events.next() => event?,
                () = tokio::time::sleep_until(look_at), if waiting.is_some() => {
                    let mut place = 0;
                    // A look that fails is no reason to give up: the next one may not.
                    if let Ok(order) = self.bus.queue_order().await
                        && let Some(position) = order.position(job)
                    {
                        place = position;
                        progress(Progress::done(Phase::Wait, position, u32::try_from(order.waiting.len()).ok()));
                    }
                    waiting = Some(Instant::now() + LOOK + LOOK_PER_PLACE * place);
                    continue;
                }
                () = tokio::time::sleep_until(taken_until), if !taken => {
                    let seconds = ACCEPTED_WITHIN.as_secs();
                    let prefix = self.bus.prefix().to_string();
                    return Err(ClientError::NoCoordinator { job, seconds, prefix });
                }
            };
            taken = true;
            if let Some(step) = progress::of(&event) {
                progress(step);
            }
            match event.body {
                EventBody::Accepted { position: Some(_) } => waiting = Some(Instant::now() + LOOK),
                // Its place is in the order from now on.
                EventBody::InputReceived { .. } => waiting = Some(Instant::now()),
                EventBody::Accepted { position: None } | EventBody::Admitted {} | EventBody::Executing {} => waiting = None,
                EventBody::Executed { summary: executed } => summary = Some(executed),
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
                _ => {}
            }
        }
    }

    /// The job's record.
    ///
    /// # Errors
    /// [`ClientError::UnknownJob`] when there is none.
    pub async fn status(&self, job: JobId) -> Result<JobRecord, ClientError> {
        self.record(job).await?.ok_or(ClientError::UnknownJob(job))
    }

    /// Which jobs wait for their turn, in order.
    ///
    /// # Errors
    /// [`ClientError`] when the server does not answer.
    pub async fn queue(&self) -> Result<QueueOrder, ClientError> {
        Ok(self.bus.queue_order().await?)
    }

    /// All jobs the cluster remembers, newest first.
    ///
    /// # Errors
    /// [`ClientError`] when the server does not answer.
    pub async fn jobs(&self) -> Result<Vec<JobRecord>, ClientError> {
        let mut jobs = self.bus.jobs().await?.values().await?;
        jobs.sort_by_key(|job| std::cmp::Reverse(job.timings.accepted_ms));
        Ok(jobs)
    }

    /// The workers that are there.
    ///
    /// # Errors
    /// As [`jobs`](Self::jobs).
    pub async fn workers(&self) -> Result<Vec<WorkerPresence>, ClientError> {
        let mut workers = self.bus.workers().await?.values().await?;
        workers.sort_by_key(|worker| worker.started_ms);
        Ok(workers)
    }

    /// Ends a job, also one whose request no coordinator has taken yet. A second time changes nothing.
    ///
    /// # Errors
    /// [`ClientError::UnknownJob`] when there is none, [`ClientError::NotConfirmed`] when no coordinator answers: the
    /// cancellation is stored and holds all the same.
    pub async fn cancel(&self, job: JobId) -> Result<Cancellation, ClientError> {
        let mut record = self.record(job).await?;
        if record.is_none() {
            // Perhaps its request waits; one that was taken meanwhile has a record now.
            let requests = self.bus.queue_depth(ConsumerKind::Requests).await?;
            record = self.record(job).await?;
            if record.is_none() && requests.pending + requests.in_flight == 0 {
                return Err(ClientError::UnknownJob(job));
            }
        }
        match record.map(|record| record.state) {
            Some(JobState::Cancelled) => return Ok(Cancellation::Cancelled { before: true }),
            Some(state) if state.is_terminal() => return Ok(Cancellation::EndedBefore(state)),
            _ => {}
        }
        self.bus.broadcast_cancel(&Cancel::by_client(job)).await?;
        let mut events = self.bus.events(job);
        let ended = async {
            loop {
                match events.next().await?.body.end() {
                    Some(JobState::Cancelled) => return Ok(Cancellation::Cancelled { before: false }),
                    Some(state) => return Ok(Cancellation::EndedBefore(state)),
                    None => {}
                }
            }
        };
        match tokio::time::timeout(ACCEPTED_WITHIN, ended).await {
            Ok(ended) => ended,
            Err(_) => Err(ClientError::NotConfirmed { job, seconds: ACCEPTED_WITHIN.as_secs() }),
        }
    }

    pub(crate) async fn record(&self, job: JobId) -> Result<Option<JobRecord>, ClientError> {
        Ok(self.bus.jobs().await?.get(job).await?.map(|entry| entry.value))
    }
}
