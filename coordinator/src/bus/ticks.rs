//! What happens because time passes: deadlines, leases, and a look at jobs in which nothing moves.

use std::time::Duration;

use zisk_common::ids::JobId;
use zisk_common::messages::unix_ms;

use super::leases::Leases;
use super::{Coordinator, gauges};
use crate::job::{Input, Verdict, deadline_ms, outstanding};

/// A job in which nothing moved for so long is compared with the bus: what it owes and is not there (a purged stream, a
/// lost message) is put there again.
const STILL: Duration = Duration::from_secs(30);

impl Coordinator {
    pub(super) async fn tick(&mut self) {
        gauges::show_active(self.jobs.values().map(|active| &active.stored.record));
        self.show_queue().await;
        for job in self.dropped.clone() {
            self.apply_on_tick(job, Vec::new()).await;
        }
        self.look_again_at_inputs();
        let overdue: Vec<JobId> = self.jobs_where(|active| {
            let record = &active.stored.record;
            !record.state.is_terminal() && deadline_ms(record).is_some_and(|deadline| unix_ms() >= deadline)
        });
        for job in overdue {
            self.apply_on_tick(job, vec![Input::Tick]).await;
        }
        let aggregated = self.jobs_where(|active| Leases::concerns(&active.stored.record));
        for (job, news) in self.leases.poll(&self.bus, aggregated).await {
            if news == Input::LeaseLost && self.aggregation_is_assigned(job).await {
                continue;
            }
            self.apply_on_tick(job, vec![news]).await;
        }
        self.leases.show(&self.tenure);
        // What waits has nothing on the bus.
        for job in self.jobs_where(|active| active.touched.elapsed() >= STILL && !active.stored.record.is_waiting()) {
            self.compare_with_bus(job).await;
            self.look_at_input(job);
        }
    }

    fn jobs_where(&self, wanted: impl Fn(&super::ActiveJob) -> bool) -> Vec<JobId> {
        self.jobs.iter().filter(|(_, active)| wanted(active)).map(|(job, _)| *job).collect()
    }

    async fn apply_on_tick(&mut self, job: JobId, inputs: Vec<Input>) {
        let touched = self.jobs.get(&job).map(|active| active.touched);
        match self.apply(job, inputs).await {
            // Looking is not moving.
            Ok(Some(verdicts)) if verdicts == [Verdict::Idle] => {
                if let (Some(active), Some(touched)) = (self.jobs.get_mut(&job), touched) {
                    active.touched = touched;
                }
            }
            Ok(_) => {}
            Err(error) => tracing::error!(%job, %error, "not committed; trying again"),
        }
    }

    async fn aggregation_is_assigned(&self, job: JobId) -> bool {
        self.outbox.aggregation_is_assigned(job).await.unwrap_or_else(|error| {
            tracing::debug!(%job, %error, "aggregation assignments not read");
            true
        })
    }

    /// Puts on the bus what the job owes and is not there.
    pub(super) async fn compare_with_bus(&mut self, job: JobId) {
        self.keep_recorded(job).await;
        let Some(active) = self.jobs.remove(&job) else { return };
        let record = &active.stored.record;
        if let Err(error) = self.outbox.send_missing(record, outstanding(record, unix_ms())).await {
            tracing::warn!(%job, %error, "job not compared with the bus");
        }
        self.keep(active.stored);
    }
}
