//! What every task of the worker needs: the bus, the objects, the programs, and who it is.

use std::collections::HashMap;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::{Duration, Instant};

use async_nats::jetstream::consumer::pull;
use bytes::Bytes;
use metrics::counter;
use tokio::sync::Semaphore;
use tokio_util::sync::CancellationToken;
use tracing::{debug, warn};
use zisk_common::buckets::{Bucket, BucketError};
use zisk_common::bus::{Bus, BusError};
use zisk_common::election::Lease;
use zisk_common::ids::{JobId, ProgramId, WorkerId};
use zisk_common::job_log;
use zisk_common::keep_alive::KeepAlive;
use zisk_common::messages::{
    Begun, Failed, Failure, JobRecord, ObjectKey, ObjectRef, ObjectScope, ProgramEntry, Progress, Report, SegmentRecord, Version,
};
use zisk_common::objects::Objects;
use zisk_common::subjects::{AssignmentKind, BucketKind, ConsumerKind, Phase};
use zisk_prover::backend::Backend;

use crate::health::Health;
use crate::metric_definitions::FAILURES;
use crate::problem::Problem;
use crate::programs::Programs;

/// How long a job's record may be missing before its job counts as ended.
const MISSING: Duration = Duration::from_secs(60);
/// Pause before a report is tried again, beyond the retries of the bus itself.
const REPORT_PAUSE: Duration = Duration::from_secs(1);

/// Where a job stands, as a worker sees it.
pub enum Standing {
    /// It needs no more work.
    Ended,
    /// It is under way.
    At(Progress),
    /// That cannot be found out now.
    Unknown,
}

/// Shared by all tasks; cheap to clone.
#[derive(Clone)]
pub struct Context {
    inner: Arc<Inner>,
}

impl std::ops::Deref for Context {
    type Target = Inner;

    fn deref(&self) -> &Inner {
        &self.inner
    }
}

/// What a [`Context`] points to.
pub struct Inner {
    /// This worker.
    pub worker: WorkerId,
    /// The bus.
    pub bus: Bus,
    /// The thread that proving cannot starve.
    pub keep_alive: KeepAlive,
    /// The prover.
    pub backend: Arc<dyn Backend>,
    /// Loaded programs.
    pub programs: Programs,
    /// One fold at a time: it uses all cores as a proof does.
    pub folding: Semaphore,
    /// One check of a node at a time, beside a fold: milliseconds of one core, for which no fold is to wait.
    pub checking: Semaphore,
    /// Whether this worker can work.
    pub health: Health,
    /// One run at a time that only cuts a lost segment again.
    pub remaking: Semaphore,
    objects: Objects,
    jobs: Bucket<JobRecord>,
    segments: Bucket<SegmentRecord>,
    /// Beside the segments' records: who has begun what ([`crate::lost`]).
    pub(crate) begun: Bucket<Begun>,
    /// The keys under which this worker is noted there.
    pub(crate) marks: Mutex<Vec<String>>,
    keys: Bucket<ProgramEntry>,
    /// Jobs whose record was not there, and since when.
    missing: Mutex<HashMap<JobId, Instant>>,
    segments_open: Arc<AtomicBool>,
}

impl Context {
    /// Opens what the tasks share.
    ///
    /// # Errors
    /// [`BusError`] when a bucket is not there.
    pub async fn open(
        worker: WorkerId,
        bus: Bus,
        keep_alive: KeepAlive,
        objects: Objects,
        backend: Arc<dyn Backend>,
        programs_cached: usize,
        health: Health,
    ) -> Result<Self, BusError> {
        let inner = Inner {
            worker,
            keep_alive,
            programs: Programs::new(backend.clone(), programs_cached),
            backend,
            folding: Semaphore::new(1),
            checking: Semaphore::new(1),
            health,
            remaking: Semaphore::new(1),
            objects,
            jobs: bus.jobs().await?,
            segments: bus.bucket(BucketKind::Segments).await?,
            begun: bus.bucket(BucketKind::Segments).await?,
            marks: Mutex::default(),
            keys: bus.programs().await?,
            missing: Mutex::default(),
            segments_open: Arc::default(),
            bus,
        };
        Ok(Self { inner: Arc::new(inner) })
    }
}

impl Inner {
    /// An object's bytes, checked against its digest.
    pub async fn get(&self, object: &ObjectRef) -> Result<Bytes, Problem> {
        Ok(self.objects.get(*object).await?)
    }

    /// The same for an object whose size is not known.
    pub async fn get_by_key(&self, key: ObjectKey) -> Result<Bytes, Problem> {
        Ok(self.objects.get(key).await?)
    }

    /// The object store.
    pub fn objects(&self) -> &Objects {
        &self.objects
    }

    /// Stores an object under its digest.
    pub async fn put(&self, scope: ObjectScope, bytes: Bytes) -> Result<ObjectRef, Problem> {
        Ok(self.objects.put(scope, bytes).await?)
    }

    /// The program's entry, if it was set up.
    pub async fn program(&self, program: ProgramId) -> Result<Option<ProgramEntry>, Problem> {
        Ok(self.keys.get(program).await?.map(|entry| entry.value))
    }

    /// Registers a program; returns the entry that counts, which is another worker's when that was faster.
    pub async fn register_program(&self, entry: ProgramEntry) -> Result<ProgramEntry, Problem> {
        loop {
            let written = match self.keys.get(entry.program).await? {
                None => self.keys.create(entry.program, &entry).await,
                Some(known) if known.value.backend == entry.backend => return Ok(known.value),
                Some(known) => self.keys.update(entry.program, &entry, known.revision).await,
            };
            match written {
                Ok(_) => return Ok(entry),
                Err(error) if error.is_conflict() => {}
                Err(error) => return Err(error.into()),
            }
        }
    }

    /// The job's record.
    pub async fn job_record(&self, job: JobId) -> Result<Option<JobRecord>, Problem> {
        Ok(self.jobs.get(job).await?.map(|entry| entry.value))
    }

    /// Whether the job needs no more work. When that cannot be found out: no, for work done twice costs less than
    /// work not done.
    pub async fn job_has_ended(&self, job: JobId) -> bool {
        matches!(self.standing(job).await, Standing::Ended)
    }

    /// Where the job stands.
    pub async fn standing(&self, job: JobId) -> Standing {
        let record = match self.jobs.get(job).await {
            Ok(entry) => entry.map(|entry| entry.value),
            Err(error) => {
                debug!(%job, %error, "job record not read");
                return Standing::Unknown;
            }
        };
        let mut missing = self.missing.lock().unwrap_or_else(PoisonError::into_inner);
        let Some(record) = record else {
            // Assignments follow the record: without one the job is history, unless somebody deleted it and the coordinator is
            // about to write it again.
            let since = *missing.entry(job).or_insert_with(Instant::now);
            return if since.elapsed() < MISSING { Standing::Unknown } else { Standing::Ended };
        };
        missing.remove(&job);
        if record.state.is_terminal() { Standing::Ended } else { Standing::At(record.progress) }
    }

    /// Whether the segment's contribution is committed. When that cannot be found out: yes.
    pub async fn segment_is_contributed(&self, job: JobId, n: u32) -> bool {
        match self.segments.get(format!("{job}.{n}")).await {
            Ok(entry) => entry.is_some_and(|entry| entry.value.contribution.is_some()),
            Err(error) => {
                debug!(%job, segment = n, %error, "segment record not read");
                true
            }
        }
    }

    /// The segment's record.
    pub async fn segment_record(&self, job: JobId, n: u32) -> Result<Option<SegmentRecord>, Problem> {
        Ok(self.segments.get(format!("{job}.{n}")).await?.map(|entry| entry.value))
    }

    /// Whether the segment's proof is committed.
    pub async fn segment_is_proven(&self, job: JobId, n: u32) -> bool {
        match self.segments.get(format!("{job}.{n}")).await {
            Ok(entry) => entry.is_some_and(|entry| entry.value.node.is_some()),
            Err(error) => {
                debug!(%job, segment = n, %error, "segment record not read");
                false
            }
        }
    }

    /// Posts a report and waits for JetStream to store it: however long that takes, unless the job is over first.
    pub async fn report(&self, report: Report, cancel: &CancellationToken) -> Result<(), Problem> {
        loop {
            let posted = tokio::select! {
                () = cancel.cancelled() => return Err(Problem::Unwanted),
                posted = self.bus.publish_report(&report) => posted,
            };
            match posted {
                Ok(stored) if !stored.duplicate => return Ok(()),
                // Posted before, by its id, and perhaps lost with the stream it was in. A report that comes twice changes nothing.
                Ok(_) => match self.bus.with_new_ids().publish_report(&report).await {
                    Ok(_) => return Ok(()),
                    Err(error) if error.transient => warn!(%error, "report not stored; trying again"),
                    Err(error) => return Err(error.into()),
                },
                Err(error) if error.transient => warn!(%error, "report not stored; trying again"),
                Err(error) => return Err(error.into()),
            }
            tokio::time::sleep(REPORT_PAUSE).await;
        }
    }

    /// Posts that an attempt failed, unless it only stopped.
    pub async fn report_failure(
        &self,
        job: JobId,
        attempt: u32,
        phase: Phase,
        segment: Option<u32>,
        problem: &Problem,
        cancel: &CancellationToken,
    ) {
        let Some(kind) = problem.kind() else { return };
        counter!(FAILURES, "phase" => phase.as_str(), "kind" => kind.as_str()).increment(1);
        let failure = Failure {
            worker: Some(self.worker),
            phase: Some(phase),
            segment,
            log: job_log::recent(job),
            ..Failure::new(kind, problem.to_string())
        };
        let report = Report::Failed(Failed { v: Version::default(), job, attempt, failure });
        if let Err(error) = self.report(report, cancel).await {
            debug!(%job, %error, "failure not reported");
        }
    }

    /// Tries to become the job's aggregator.
    pub async fn stand_for_election(&self, job: JobId) -> Option<Lease> {
        match self.bus.stand(&self.keep_alive, job, self.worker).await {
            Ok(lease) => lease,
            Err(error) => {
                // Another proof's worker stands too, and if none can, the coordinator asks for it.
                warn!(%job, %error, "election failed");
                None
            }
        }
    }

    /// How many other workers wait for segments; `None` when that cannot be found out, or segments are queued.
    pub async fn idle_workers(&self) -> Option<usize> {
        let kind = ConsumerKind::Assign(AssignmentKind::Segment);
        let stream = self.bus.prefix().stream(kind.stream());
        let consumer =
            self.bus.jetstream().get_consumer_from_stream::<pull::Config, _, _>(kind.durable_name(), stream).await.ok()?;
        let info = consumer.cached_info();
        (info.num_pending == 0).then_some(info.num_waiting)
    }

    /// Whether a request of this worker for segments may wait at the server.
    pub fn pulling_segments(&self) -> bool {
        self.segments_open.load(Ordering::Relaxed)
    }

    /// What [`pulling_segments`](Self::pulling_segments) reads.
    pub fn segments_open(&self) -> Arc<AtomicBool> {
        self.segments_open.clone()
    }
}

impl From<BucketError> for Problem {
    fn from(error: BucketError) -> Self {
        match error {
            BucketError::Bus(error) => Self::Bus(error),
            other => Self::Message(other.to_string()),
        }
    }
}
