//! What one process at a time does, by lease: aggregating a job, leading the coordinators. One key for each in a bucket whose
//! entries expire.

use std::fmt;
use std::time::Duration;

use serde::de::DeserializeOwned;
use serde::{Deserialize, Serialize};
use tokio::sync::{oneshot, watch};
use tokio::time::Instant;

use crate::buckets::{Bucket, BucketError};
use crate::bus::{Bus, BusError};
use crate::ids::{CoordinatorId, JobId, WorkerId};
use crate::keep_alive::KeepAlive;
use crate::messages::{Message, Version};
use crate::subjects::BucketKind;

/// Something that one process at a time does; written as its key.
pub trait Post: Copy + fmt::Display + Send + Sync + 'static {
    /// Who can hold it.
    type Holder: Copy + Serialize + DeserializeOwned + Send + Sync + 'static;
    /// Where its key is.
    const BUCKET: BucketKind;

    /// How long a lease outlives its last renewal, as far as this process knows.
    fn lease(self, bus: &Bus) -> Duration;
}

/// Aggregating a job.
impl Post for JobId {
    type Holder = WorkerId;
    const BUCKET: BucketKind = BucketKind::Elections;

    fn lease(self, bus: &Bus) -> Duration {
        bus.lease()
    }
}

/// Leading the coordinators.
#[derive(Debug, Clone, Copy)]
pub struct Leadership;

impl fmt::Display for Leadership {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("leader")
    }
}

impl Post for Leadership {
    type Holder = CoordinatorId;
    const BUCKET: BucketKind = BucketKind::Leader;

    fn lease(self, bus: &Bus) -> Duration {
        bus.config().leader_lease
    }
}

/// A lease is renewed every third of its time: seldom twice between a read and a write.
const DEPOSE_ATTEMPTS: u32 = 5;

/// A lease: what one process at a time does, and who.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(test, derive(schemars::JsonSchema), schemars(rename = "ElectionEntry"))]
pub(crate) struct Holding<H> {
    /// Schema version.
    pub(crate) v: Version,
    /// Who holds it: a worker; under the key of the leader a coordinator.
    #[serde(rename = "worker")]
    pub(crate) holder: H,
    /// The revision at which it was taken. Unknown (0) until the first renewal: the revision is the answer to the write that would
    /// carry it.
    pub(crate) epoch: u64,
}

impl<H: Serialize + DeserializeOwned> Message for Holding<H> {
    const NAME: &'static str = "election entry";
}

/// The holder of a job's lease, as others see it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Holder {
    /// The aggregator.
    pub worker: WorkerId,
    /// Its epoch.
    pub epoch: u64,
    /// Another with every renewal.
    pub revision: u64,
}

/// A lease, by default a job's, renewed from the keep-alive thread until dropped or lost.
#[derive(Debug)]
pub struct Lease<P = JobId> {
    post: P,
    epoch: u64,
    tenure: Tenure,
    /// Dropping it stops the renewals; sending on it deletes the key as well.
    resign: oneshot::Sender<oneshot::Sender<()>>,
}

/// Whether a lease is still held; cheap to clone.
#[derive(Debug, Clone)]
pub struct Tenure {
    /// Until when, unless it is renewed; none once it is gone.
    until: watch::Receiver<Option<Instant>>,
    /// From a renewal until then.
    lease: Duration,
}

impl Bus {
    /// Tries to take the post (to become the job's aggregator, the leader); `None` when another has it.
    ///
    /// # Errors
    /// [`BusError`] when the server does not answer.
    pub async fn stand<P: Post>(&self, keep_alive: &KeepAlive, post: P, holder: P::Holder) -> Result<Option<Lease<P>>, BusError> {
        let bucket: Bucket<Holding<P::Holder>> = self.bucket(P::BUCKET).await?;
        let holding = Holding { v: Version::default(), holder, epoch: 0 };
        let asked = Instant::now();
        let epoch = match bucket.create(post, &holding).await {
            Ok(revision) => revision,
            Err(BucketError::Conflict { .. }) => return Ok(None),
            Err(error) => return Err(unconflicted(error, post)),
        };
        // By what the server has, and never longer than what this process is about to set.
        let lease = match bucket.max_age() {
            Some(age) => age.min(post.lease(self)),
            None => post.lease(self),
        };
        let (sender, until) = watch::channel(Some(asked + lease));
        let (resign, resigned) = oneshot::channel();
        let holding = Holding { epoch, ..holding };
        keep_alive.spawn(move |bus| renew(bus, post, holding, lease, sender, resigned));
        Ok(Some(Lease { post, epoch, tenure: Tenure { until, lease }, resign }))
    }

    /// Who aggregates the job now.
    ///
    /// # Errors
    /// [`BusError`] when the server does not answer.
    pub async fn holder(&self, job: JobId) -> Result<Option<Holder>, BusError> {
        Ok(self.held(job).await?.map(|(worker, epoch, revision)| Holder { worker, epoch, revision }))
    }

    /// Which coordinator leads now.
    ///
    /// # Errors
    /// [`BusError`] when the server does not answer.
    pub async fn leader(&self) -> Result<Option<CoordinatorId>, BusError> {
        Ok(self.held(Leadership).await?.map(|(coordinator, ..)| coordinator))
    }

    async fn held<P: Post>(&self, post: P) -> Result<Option<(P::Holder, u64, u64)>, BusError> {
        let bucket: Bucket<Holding<P::Holder>> = self.bucket(P::BUCKET).await?;
        let entry = bucket.get(post).await.map_err(|error| unconflicted(error, post))?;
        Ok(entry.map(|entry| {
            let epoch = if entry.value.epoch == 0 { entry.revision } else { entry.value.epoch };
            (entry.value.holder, epoch, entry.revision)
        }))
    }

    /// Takes the job's lease away from the aggregator of this epoch, unless it has another by now.
    ///
    /// # Errors
    /// [`BusError`] when the server does not answer.
    pub async fn depose(&self, job: JobId, epoch: u64) -> Result<(), BusError> {
        let bucket: Bucket<Holding<WorkerId>> = self.bucket(BucketKind::Elections).await?;
        let mut failed = String::new();
        for _ in 0..DEPOSE_ATTEMPTS {
            let Some(entry) = bucket.get(job).await.map_err(|error| unconflicted(error, job))? else { return Ok(()) };
            let held = if entry.value.epoch == 0 { entry.revision } else { entry.value.epoch };
            if held != epoch {
                return Ok(());
            }
            match bucket.store().delete_expect_revision(job.to_string(), Some(entry.revision)).await {
                Ok(()) => return Ok(()),
                // Renewed in between.
                Err(error) => failed = error.to_string(),
            }
        }
        Err(BusError::transient(format!("taking the lease of {job} away from epoch {epoch}"), failed))
    }

    /// Removes the job's key, whoever holds it: the job has ended.
    ///
    /// # Errors
    /// [`BusError`] when the server does not answer.
    pub async fn close_election(&self, job: JobId) -> Result<(), BusError> {
        let bucket: Bucket<Holding<WorkerId>> = self.bucket(BucketKind::Elections).await?;
        bucket.delete(job).await.map_err(|error| unconflicted(error, job))
    }
}

impl Lease {
    /// The job.
    pub const fn job(&self) -> JobId {
        self.post
    }
}

impl<P: Post> Lease<P> {
    /// The key's revision at creation; later holders have higher ones.
    pub const fn epoch(&self) -> u64 {
        self.epoch
    }

    /// Whether the lease is gone: stop, another may have begun.
    pub fn is_lost(&self) -> bool {
        self.tenure.is_lost()
    }

    /// Returns when the lease is gone.
    pub async fn lost(&self) {
        self.tenure.lost().await;
    }

    /// The same question for others to ask.
    pub fn tenure(&self) -> Tenure {
        self.tenure.clone()
    }

    /// Gives the lease up, so that another need not wait for it to expire.
    pub async fn resign(self) {
        let (done, gone) = oneshot::channel();
        if self.resign.send(done).is_ok() {
            let _ = gone.await; // the task is gone: the lease expires
        }
    }
}

impl Tenure {
    /// Whether the lease is gone. By the clock: a process that was paused knows it before anything else has run.
    pub fn is_lost(&self) -> bool {
        self.until.borrow().is_none_or(|until| Instant::now() >= until)
    }

    /// How long ago it was last renewed; none once it is gone.
    pub fn age(&self) -> Option<Duration> {
        let left = (*self.until.borrow())?.checked_duration_since(Instant::now())?;
        Some(self.lease.saturating_sub(left))
    }

    /// Returns when the lease is gone.
    pub async fn lost(&self) {
        // An error means that the renewing task is gone, and the lease with it.
        let _ = self.until.clone().wait_for(Option::is_none).await;
    }
}

async fn renew<P: Post>(
    bus: Bus,
    post: P,
    holding: Holding<P::Holder>,
    lease: Duration,
    held: watch::Sender<Option<Instant>>,
    mut resigned: oneshot::Receiver<oneshot::Sender<()>>,
) {
    let epoch = holding.epoch;
    let mut revision = epoch;
    // The server counts from when it wrote, which is after we asked: counted from here we are never late to stop.
    let mut valid_until = (*held.borrow()).unwrap_or_else(Instant::now);
    let bucket: Bucket<Holding<P::Holder>> = loop {
        match bus.bucket(P::BUCKET).await {
            Ok(bucket) => break bucket,
            Err(_) if Instant::now() < valid_until => {}
            Err(_) => {
                held.send_replace(None);
                return;
            }
        }
    };
    loop {
        let asked = Instant::now();
        match tokio::time::timeout_at(valid_until, bucket.update(post, &holding, revision)).await {
            Ok(Ok(next)) => {
                revision = next;
                valid_until = asked + lease;
                held.send_replace(Some(valid_until));
            }
            Ok(Err(BucketError::Bus(error))) if error.transient && Instant::now() < valid_until => {}
            Ok(Err(_)) | Err(_) => {
                tracing::warn!(%post, epoch, "lease lost");
                held.send_replace(None);
                return;
            }
        }
        tokio::select! {
            () = tokio::time::sleep((lease / 3).max(Duration::from_millis(50))) => {}
            asked = &mut resigned => {
                if let Ok(done) = asked {
                    // Only while it is still ours; another's key is not to be touched.
                    if let Err(error) = bucket.store().delete_expect_revision(post.to_string(), Some(revision)).await {
                        tracing::debug!(%error, "lease not deleted; it expires");
                    }
                    let _ = done.send(()); // no one waits any more
                }
                held.send_replace(None);
                return;
            }
        }
    }
}

fn unconflicted(error: BucketError, post: impl fmt::Display) -> BusError {
    match error {
        BucketError::Bus(error) => error,
        other => BusError::permanent(format!("election for {post}"), other),
    }
}
