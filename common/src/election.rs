//! Who aggregates a job: one key per job in a bucket whose entries expire.

use std::time::Duration;

use serde::{Deserialize, Serialize};
use tokio::sync::{oneshot, watch};
use tokio::time::Instant;

use crate::buckets::{Bucket, BucketError};
use crate::bus::{Bus, BusError};
use crate::ids::{JobId, WorkerId};
use crate::keep_alive::KeepAlive;
use crate::messages::{Message, Version};
use crate::subjects::BucketKind;

/// What the key holds.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
struct Holding {
    v: Version,
    worker: WorkerId,
    /// Unknown (0) until the first renewal: the revision is the answer to the write that would carry it.
    epoch: u64,
}

impl Message for Holding {
    const NAME: &'static str = "election entry";
}

/// The holder of a job's lease, as others see it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Holder {
    /// The aggregator.
    pub worker: WorkerId,
    /// Its epoch.
    pub epoch: u64,
}

/// A job's lease, renewed from the keep-alive thread until dropped or lost.
#[derive(Debug)]
pub struct Lease {
    job: JobId,
    epoch: u64,
    lost: watch::Receiver<bool>,
    /// Dropping it stops the renewals; sending on it deletes the key as well.
    resign: oneshot::Sender<oneshot::Sender<()>>,
}

impl Bus {
    /// Tries to become the job's aggregator; `None` when another is.
    ///
    /// # Errors
    /// [`BusError`] when the server does not answer.
    pub async fn stand(&self, keep_alive: &KeepAlive, job: JobId, worker: WorkerId) -> Result<Option<Lease>, BusError> {
        let bucket: Bucket<Holding> = self.bucket(BucketKind::Elections).await?;
        let holding = Holding { v: Version::default(), worker, epoch: 0 };
        let asked = Instant::now();
        let epoch = match bucket.create(job, &holding).await {
            Ok(revision) => revision,
            Err(BucketError::Conflict { .. }) => return Ok(None),
            Err(error) => return Err(unconflicted(error, job)),
        };
        let (lost_sender, lost) = watch::channel(false);
        let (resign, resigned) = oneshot::channel();
        let holding = Holding { epoch, ..holding };
        keep_alive.spawn(move |bus| renew(bus, job, holding, asked, lost_sender, resigned));
        Ok(Some(Lease { job, epoch, lost, resign }))
    }

    /// Who aggregates the job now.
    ///
    /// # Errors
    /// [`BusError`] when the server does not answer.
    pub async fn holder(&self, job: JobId) -> Result<Option<Holder>, BusError> {
        let bucket: Bucket<Holding> = self.bucket(BucketKind::Elections).await?;
        let entry = bucket.get(job).await.map_err(|error| unconflicted(error, job))?;
        Ok(entry.map(|entry| Holder {
            worker: entry.value.worker,
            epoch: if entry.value.epoch == 0 { entry.revision } else { entry.value.epoch },
        }))
    }

    /// Removes the job's key, whoever holds it: the job has ended.
    ///
    /// # Errors
    /// [`BusError`] when the server does not answer.
    pub async fn close_election(&self, job: JobId) -> Result<(), BusError> {
        let bucket: Bucket<Holding> = self.bucket(BucketKind::Elections).await?;
        bucket.delete(job).await.map_err(|error| unconflicted(error, job))
    }
}

impl Lease {
    /// The job.
    pub const fn job(&self) -> JobId {
        self.job
    }

    /// The key's revision at creation; later holders have higher ones.
    pub const fn epoch(&self) -> u64 {
        self.epoch
    }

    /// Whether the lease is gone: stop folding, another may have begun.
    pub fn is_lost(&self) -> bool {
        *self.lost.borrow()
    }

    /// Returns when the lease is gone.
    pub async fn lost(&self) {
        // An error means that the renewing task is gone, and the lease with it.
        let _ = self.lost.clone().wait_for(|lost| *lost).await;
    }

    /// Gives the lease up, so that another need not wait for it to expire.
    pub async fn resign(self) {
        let (done, gone) = oneshot::channel();
        if self.resign.send(done).is_ok() {
            let _ = gone.await; // the task is gone: the lease expires
        }
    }
}

async fn renew(
    bus: Bus,
    job: JobId,
    holding: Holding,
    asked: Instant,
    lost: watch::Sender<bool>,
    mut resigned: oneshot::Receiver<oneshot::Sender<()>>,
) {
    let lease = bus.lease();
    let epoch = holding.epoch;
    let mut revision = epoch;
    // The server counts from when it wrote, which is after we asked: counted from here we are never late to stop.
    let mut valid_until = asked + lease;
    let bucket: Bucket<Holding> = loop {
        match bus.bucket(BucketKind::Elections).await {
            Ok(bucket) => break bucket,
            Err(_) if Instant::now() < valid_until => {}
            Err(_) => {
                lost.send_replace(true);
                return;
            }
        }
    };
    loop {
        let asked = Instant::now();
        match tokio::time::timeout_at(valid_until, bucket.update(job, &holding, revision)).await {
            Ok(Ok(next)) => {
                revision = next;
                valid_until = asked + lease;
            }
            Ok(Err(BucketError::Bus(error))) if error.transient && Instant::now() < valid_until => {}
            Ok(Err(_)) | Err(_) => {
                tracing::warn!(%job, epoch, "aggregator lease lost");
                lost.send_replace(true);
                return;
            }
        }
        tokio::select! {
            () = tokio::time::sleep((lease / 3).max(Duration::from_millis(50))) => {}
            asked = &mut resigned => {
                if let Ok(done) = asked {
                    // Only while it is still ours; another's key is not to be touched.
                    if let Err(error) = bucket.store().delete_expect_revision(job.to_string(), Some(revision)).await {
                        tracing::debug!(%error, "lease not deleted; it expires");
                    }
                    let _ = done.send(()); // no one waits any more
                }
                lost.send_replace(true);
                return;
            }
        }
    }
}

fn unconflicted(error: BucketError, job: JobId) -> BusError {
    match error {
        BucketError::Bus(error) => error,
        other => BusError::permanent(format!("election of job {job}"), other),
    }
}
