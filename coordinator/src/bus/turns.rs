//! Whose turn it is: jobs that wait are begun as soon as there is room, and people see who waits.

use metrics::gauge;
use zisk_common::buckets::Bucket;
use zisk_common::bus::{Bus, BusError};
use zisk_common::ids::JobId;
use zisk_common::messages::{QueueOrder, Version, unix_ms};
use zisk_common::subjects::BucketKind;

use super::Coordinator;
use crate::job::{Input, Queue};
use crate::metric_definitions::{OLDEST_WAITING_SECONDS, WAITING_BYTES, WAITING_JOBS};

impl Coordinator {
    /// Begins the jobs whose turn it is. Each is committed before its plan goes on the bus, so whatever dies here, the next
    /// coordinator knows from the records which were begun and what they are owed.
    pub(super) async fn admit(&mut self) {
        if *self.full.borrow() {
            // It would find no room for its segments.
            return;
        }
        while let Some(job) = self.queue.next(self.running_limit()) {
            match self.apply(job, vec![Input::Admitted]).await {
                Ok(Some(_)) if self.queue.is_waiting(job) => {
                    tracing::error!(%job, "a job whose turn it is was not begun");
                    return;
                }
                Ok(Some(_)) => {}
                Ok(None) => {
                    tracing::warn!(%job, "a job that waited has no record any more");
                    self.queue.forget(job);
                }
                Err(error) => {
                    tracing::error!(%job, %error, "a job whose turn it is was not begun; trying again");
                    return;
                }
            }
        }
    }

    /// How many jobs run at once now.
    pub(super) fn running_limit(&self) -> usize {
        self.limits.running(*self.units.borrow())
    }

    /// Shows who waits.
    pub(super) async fn show_queue(&mut self) {
        show(&self.queue);
        if let Err(error) = self.order.write(&self.queue).await {
            tracing::debug!(%error, "the queue's order is not written; trying again");
        }
    }
}

/// Shows how much waits, and for how long.
pub(super) fn show(queue: &Queue) {
    let oldest = queue.oldest_ms().map_or(0, |accepted_ms| unix_ms().saturating_sub(accepted_ms));
    // Doubles hold counts exactly up to 2^53.
    gauge!(WAITING_JOBS).set(queue.waiting() as f64);
    gauge!(WAITING_BYTES).set(queue.bytes() as f64);
    gauge!(OLDEST_WAITING_SECONDS).set(oldest as f64 / 1000.0);
}

/// The order in its bucket: one key, whatever the number of jobs, and written only when it has changed.
pub(super) struct Order {
    bucket: Bucket<QueueOrder>,
    written: Option<Vec<JobId>>,
}

impl Order {
    pub(super) async fn open(bus: &Bus) -> Result<Self, BusError> {
        Ok(Self { bucket: bus.bucket(BucketKind::Queue).await?, written: None })
    }

    /// What was written is gone.
    pub(super) fn forget(&mut self) {
        self.written = None;
    }

    async fn write(&mut self, queue: &Queue) -> Result<(), zisk_common::buckets::BucketError> {
        let waiting = queue.order();
        if self.written.as_ref() == Some(&waiting) {
            return Ok(());
        }
        let order = QueueOrder { v: Version::default(), waiting };
        self.written = None;
        self.bucket.put(QueueOrder::KEY, &order).await?;
        self.written = Some(order.waiting);
        Ok(())
    }
}
