//! Streams and buckets that lost what was in them: what is remembered of the jobs under way is written again, and what they owe
//! is put on the bus again.

use zisk_common::buckets::BucketError;
use zisk_common::ids::JobId;
use zisk_common::settings::Thing;
use zisk_common::subjects::BucketKind;

use super::Coordinator;
use super::records::StoredJob;

impl Coordinator {
    /// Some streams and buckets were deleted and made again.
    pub(super) async fn make_up_for(&mut self, lost: &[Thing]) {
        if lost.contains(&Thing::Bucket(BucketKind::Queue)) {
            self.order.forget();
        }
        let jobs: Vec<JobId> = self.jobs.keys().copied().collect();
        if [BucketKind::Jobs, BucketKind::Segments].iter().any(|kind| lost.contains(&Thing::Bucket(*kind))) {
            tracing::error!("records were deleted: those of {} jobs under way are written again, others are lost", jobs.len());
            for &job in &jobs {
                self.keep_recorded(job).await;
            }
        }
        if lost.iter().any(|thing| matches!(thing, Thing::Stream(_))) {
            for job in jobs {
                if self.jobs.get(&job).is_some_and(|active| !active.stored.record.is_waiting()) {
                    self.compare_with_bus(job).await;
                }
            }
        }
    }

    /// Looks whether the job's record is there, and writes it again if it is not.
    pub(super) async fn keep_recorded(&mut self, job: JobId) {
        let Some(mut active) = self.jobs.remove(&job) else { return };
        let kept = async {
            if self.records.is_lost(&active.stored).await? {
                self.write_again(&mut active.stored).await?;
            }
            Ok::<_, BucketError>(())
        };
        match kept.await {
            // Another's record counts: this one is read back.
            Err(error) if error.is_conflict() => {
                self.dropped.insert(job);
                return;
            }
            // What is remembered is all there is: it is kept, and tried again.
            Err(error) => tracing::error!(%job, %error, "the job's record was not written again; trying again"),
            Ok(()) => {}
        }
        self.jobs.insert(job, active);
    }

    pub(super) async fn write_again(&self, stored: &mut StoredJob) -> Result<(), BucketError> {
        super::outbox::still_leading(&self.tenure, "writing a job's record again")?;
        self.records.restore(stored).await?;
        let record = &stored.record;
        tracing::error!(job = %record.job, state = %record.state, "the job's record was deleted: it is written again as it is remembered");
        Ok(())
    }
}
