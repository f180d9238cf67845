//! Aggregator leases: who holds them, and for how long nobody has.

use std::collections::HashMap;
use std::time::Duration;

use futures::{StreamExt, stream};
use tokio::time::Instant;
use zisk_common::bus::Bus;
use zisk_common::ids::JobId;
use zisk_common::messages::JobRecord;

use crate::job::Input;

/// How long a job with proofs may be without an aggregator before one is asked for. Between the acknowledged proof and
/// the worker's candidacy lie milliseconds, between the aggregator's last act and our reading of it hardly more.
const PATIENCE: Duration = Duration::from_secs(3);

/// Since when which job has had no aggregator. Expired leases vanish without a message, so they are asked for, not
/// watched.
#[derive(Debug, Default)]
pub(super) struct Leases {
    vacant_since: HashMap<JobId, Instant>,
}

impl Leases {
    /// Whether the job should have an aggregator now.
    pub(super) fn concerns(record: &JobRecord) -> bool {
        !record.state.is_terminal() && record.progress.proven > 0
    }

    /// Asks who holds the leases of these jobs, and says what is news.
    pub(super) async fn poll(&mut self, bus: &Bus, jobs: Vec<JobId>) -> Vec<(JobId, Input)> {
        self.vacant_since.retain(|job, _| jobs.contains(job));
        let holders: Vec<_> =
            stream::iter(jobs).map(|job| async move { (job, bus.holder(job).await) }).buffer_unordered(16).collect().await;
        let mut news = Vec::new();
        for (job, holder) in holders {
            match holder {
                Ok(Some(holder)) => {
                    self.vacant_since.remove(&job);
                    news.push((job, Input::Elected { worker: holder.worker, epoch: holder.epoch }));
                }
                Ok(None) => {
                    let since = self.vacant_since.entry(job).or_insert_with(Instant::now);
                    if since.elapsed() >= PATIENCE {
                        // Asked for again after as long, should nobody come.
                        *since = Instant::now();
                        news.push((job, Input::LeaseLost));
                    }
                }
                Err(error) => tracing::debug!(%job, %error, "lease not read"),
            }
        }
        news
    }
}
