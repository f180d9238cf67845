//! Aggregator leases: who holds them, and for how long nobody has.

use std::collections::HashMap;
use std::time::Duration;

use futures::{StreamExt, stream};
use metrics::gauge;
use tokio::time::Instant;
use zisk_common::bus::Bus;
use zisk_common::election::Tenure;
use zisk_common::ids::JobId;
use zisk_common::messages::JobRecord;

use crate::job::Input;
use crate::metric_definitions::LEASE_AGE;

/// How long a job with proofs may be without an aggregator before one is asked for. Between the acknowledged proof and
/// the worker's candidacy lie milliseconds, between the aggregator's last act and our reading of it hardly more.
const PATIENCE: Duration = Duration::from_secs(3);

/// Since when which job has had no aggregator. Expired leases vanish without a message, so they are asked for, not
/// watched.
#[derive(Debug, Default)]
pub(super) struct Leases {
    vacant_since: HashMap<JobId, Instant>,
    /// The leases that are held, by their revision, and since when they have it as far as was seen here.
    renewed: HashMap<JobId, (u64, Instant)>,
}

impl Leases {
    /// Whether the job should have an aggregator now.
    pub(super) fn concerns(record: &JobRecord) -> bool {
        !record.state.is_terminal() && record.progress.proven > 0
    }

    /// Shows how old the leases are: the leader's, and the oldest of the aggregators'.
    pub(super) fn show(&self, tenure: &Tenure) {
        gauge!(LEASE_AGE, "of" => "leader").set(tenure.age().unwrap_or_default());
        let oldest = self.renewed.values().map(|(_, since)| since.elapsed()).max();
        gauge!(LEASE_AGE, "of" => "aggregator").set(oldest.unwrap_or_default());
    }

    /// Asks who holds the leases of these jobs, and says what is news.
    pub(super) async fn poll(&mut self, bus: &Bus, jobs: Vec<JobId>) -> Vec<(JobId, Input)> {
        self.vacant_since.retain(|job, _| jobs.contains(job));
        let holders: Vec<_> =
            stream::iter(jobs).map(|job| async move { (job, bus.holder(job).await) }).buffer_unordered(16).collect().await;
        let mut news = Vec::new();
        self.renewed.retain(|job, _| holders.iter().any(|(held, holder)| held == job && !matches!(holder, Ok(None))));
        for (job, holder) in holders {
            match holder {
                Ok(Some(holder)) => {
                    self.vacant_since.remove(&job);
                    let known = self.renewed.entry(job).or_insert_with(|| (holder.revision, Instant::now()));
                    if known.0 != holder.revision {
                        *known = (holder.revision, Instant::now());
                    }
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
