//! Reports: those of one job are applied together.

use std::time::Duration;

use futures::future::join_all;
use metrics::counter;
use zisk_common::ids::JobId;
use zisk_common::messages::Report;
use zisk_common::pull::Delivery;
use zisk_common::subjects::{Phase, StreamKind, Subject};

use super::{Coordinator, intake};
use crate::job::{Input, Verdict};
use crate::metric_definitions::{INCIDENTS, REPORTS_DROPPED, RETRIES};

/// Pause before a message that could not be handled comes again.
const AGAIN_AFTER: Duration = Duration::from_secs(1);

/// Reports of one job, in the order they came.
pub(super) struct Batch {
    pub(super) job: JobId,
    pub(super) reports: Vec<Report>,
    pub(super) deliveries: Vec<Delivery>,
}

impl Coordinator {
    pub(super) async fn take_reports(&mut self, deliveries: Vec<Delivery>) {
        for batch in self.by_job(deliveries).await {
            let batch = self.set_final_proofs_apart(batch).await;
            let inputs = batch.reports.iter().cloned().map(Input::Report).collect();
            self.take_batch(batch, inputs).await;
        }
    }

    /// Applies the inputs that a job's reports came to, one each.
    pub(super) async fn take_batch(&mut self, batch: Batch, news: Vec<Input>) {
        if news.is_empty() {
            return;
        }
        let mut inputs = self.elected(&batch).await;
        let before = inputs.len();
        inputs.extend(news);
        match self.apply(batch.job, inputs).await {
            Ok(verdicts) => {
                let verdicts = verdicts.map(|mut verdicts| verdicts.split_off(before));
                let attempt_ended = attempt_ended(&batch, verdicts.as_deref());
                count(&batch, verdicts);
                let acks = join_all(batch.deliveries.iter().map(Delivery::ack)).await;
                for error in acks.into_iter().filter_map(Result::err) {
                    tracing::debug!(%error, "report not acknowledged; its duplicate is dropped");
                }
                if attempt_ended && self.is_under_way(batch.job) {
                    self.compare_with_bus(batch.job).await;
                }
            }
            Err(error) => {
                tracing::error!(job = %batch.job, %error, "reports not committed; they come again");
                join_all(batch.deliveries.iter().map(give_back)).await;
            }
        }
    }

    /// Who aggregates the job, where somebody says that he does: the next look at the leases would tell too late whose word
    /// counts, and an aggregator says its last word once.
    pub(super) async fn elected(&self, batch: &Batch) -> Vec<Input> {
        if !batch.reports.iter().any(|report| matches!(report, Report::Final(_) | Report::Rejected(_))) {
            return Vec::new();
        }
        match self.bus.holder(batch.job).await {
            Ok(Some(holder)) => vec![Input::Elected { worker: holder.worker, epoch: holder.epoch }],
            Ok(None) => Vec::new(),
            Err(error) => {
                tracing::debug!(job = %batch.job, %error, "lease not read");
                Vec::new()
            }
        }
    }

    /// Reads the reports and groups them; sets aside what is none.
    async fn by_job(&self, deliveries: Vec<Delivery>) -> Vec<Batch> {
        let mut batches: Vec<Batch> = Vec::new();
        for delivery in deliveries {
            let report = match intake::report(&delivery) {
                Ok(report) => report,
                Err(reason) => {
                    counter!(REPORTS_DROPPED, "phase" => "unknown", "reason" => "unreadable").increment(1);
                    tracing::error!(sequence = delivery.sequence(), reason, "unreadable report set aside: see `zisk dead list`");
                    let job = match delivery.subject() {
                        Ok(Subject::Report { job, .. }) => Some(job),
                        _ => None,
                    };
                    if let Err(error) = self.bus.bury(&delivery, StreamKind::Report, job, reason).await {
                        tracing::warn!(%error, "not set aside; it comes again");
                    }
                    continue;
                }
            };
            let job = report.job();
            let place = batches.iter().position(|batch| batch.job == job).unwrap_or_else(|| {
                batches.push(Batch { job, reports: Vec::new(), deliveries: Vec::new() });
                batches.len() - 1
            });
            batches[place].reports.push(report);
            batches[place].deliveries.push(delivery);
        }
        batches
    }

    fn is_under_way(&self, job: JobId) -> bool {
        self.jobs.get(&job).is_some_and(|active| !active.stored.record.state.is_terminal())
    }
}

/// Whether an attempt ended without a result. As long as its report was on the bus it looked as if the attempt under way
/// had just ended: a coordinator that died need not have assigned the next, and the one after it saw no need.
fn attempt_ended(batch: &Batch, verdicts: Option<&[Verdict]>) -> bool {
    let without_result = |(report, verdict): (&Report, &Verdict)| match report {
        Report::Failed(_) => true,
        Report::Setup(_) | Report::Executed(_) | Report::Proof(_) | Report::Final(_) => *verdict != Verdict::Applied,
        Report::Planned(_) | Report::Contribution(_) | Report::GivenBack(_) | Report::Rejected(_) | Report::Folded(_) => false,
    };
    verdicts.is_some_and(|verdicts| batch.reports.iter().zip(verdicts).any(without_result))
}

pub(super) async fn give_back(delivery: &Delivery) {
    if let Err(error) = delivery.nak(Some(AGAIN_AFTER)).await {
        tracing::debug!(%error, "not given back; it comes again");
    }
}

fn count(batch: &Batch, verdicts: Option<Vec<Verdict>>) {
    let job = batch.job;
    let Some(verdicts) = verdicts else {
        tracing::warn!(%job, reports = batch.reports.len(), "reports of an unknown job dropped");
        for report in &batch.reports {
            counter!(REPORTS_DROPPED, "phase" => report.phase().as_str(), "reason" => "unknown_job").increment(1);
        }
        return;
    };
    for (report, verdict) in batch.reports.iter().zip(verdicts) {
        let (phase, n, worker) = (report.phase(), report.n(), report.worker());
        match verdict {
            Verdict::Applied => {
                if let Report::Failed(failed) = report {
                    let what = failed.failure.phase.unwrap_or(Phase::Failed);
                    counter!(RETRIES, "phase" => what.as_str()).increment(1);
                    tracing::warn!(%job, attempt = failed.attempt, failure = %failed.failure, ?worker, "attempt failed");
                } else {
                    tracing::debug!(%job, %phase, n, ?worker, "report committed");
                }
            }
            Verdict::Dropped(reason) => {
                let reason = reason.as_str();
                counter!(REPORTS_DROPPED, "phase" => phase.as_str(), "reason" => reason).increment(1);
                tracing::debug!(%job, %phase, n, ?worker, reason, "report dropped");
            }
            Verdict::Refused(reason, what) => {
                counter!(REPORTS_DROPPED, "phase" => phase.as_str(), "reason" => reason.as_str()).increment(1);
                tracing::warn!(%job, %phase, n, ?worker, reason = what, "report refused");
            }
            Verdict::Incident(what) => {
                counter!(INCIDENTS).increment(1);
                tracing::error!(%job, %phase, n, ?worker, what, "incident");
            }
            Verdict::Idle => {}
        }
    }
}
