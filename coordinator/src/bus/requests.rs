//! Requests: each becomes one job, or a refusal its client sees.

use metrics::counter;
use zisk_common::buckets::BucketError;
use zisk_common::ids::JobId;
use zisk_common::messages::{Event, EventBody, Failure, FailureKind, JobRequest, Progress, Version, unix_ms};
use zisk_common::pull::Delivery;
use zisk_common::subjects::{RequestKind, StreamKind};

use super::intake::{self, Request};
use super::outbox::still_leading;
use super::reports::give_back;
use super::{Coordinator, gauges};
use crate::job::accept;
use crate::metric_definitions::REQUESTS_REFUSED;

impl Coordinator {
    pub(super) async fn take_requests(&mut self, batch: Vec<Delivery>) {
        for delivery in batch {
            let outcome = match intake::request(&delivery) {
                Request::Valid(goal, request) => self.accept(goal, request).await,
                Request::Unreadable { job, reason } => {
                    if let Err(error) = self.refuse(&delivery, job, reason).await {
                        tracing::error!(%error, "unreadable request not set aside; it comes again");
                    }
                    continue;
                }
            };
            match outcome {
                Ok(()) => {
                    // Should the ack be lost, the request comes again and finds its job.
                    if let Err(error) = delivery.ack().await {
                        tracing::debug!(%error, "request not acknowledged");
                    }
                }
                Err(error) => {
                    tracing::error!(%error, "request not taken; it comes again");
                    give_back(&delivery).await;
                }
            }
        }
    }

    async fn accept(&mut self, goal: RequestKind, request: JobRequest) -> Result<(), BucketError> {
        still_leading(&self.tenure, "accepting a job")?;
        let job = request.job;
        let (record, commands) = accept(goal, request, &self.defaults, unix_ms());
        let stored = match self.records.create(record).await {
            Ok(stored) => stored,
            // Delivered before: whatever it owes is put on the bus by reading it.
            Err(error) if error.is_conflict() => return self.apply(job, Vec::new()).await.map(drop),
            Err(error) => return Err(error),
        };
        let record = &stored.record;
        if let Some(failure) = &record.failure {
            counter!(REQUESTS_REFUSED, "kind" => goal.as_str()).increment(1);
            gauges::count_ended(record);
            tracing::warn!(%job, %goal, %failure, "request refused");
        } else {
            let (program, client) = (record.request.program, &record.request.client);
            tracing::info!(%job, %goal, %program, client, "job accepted");
        }
        self.outbox.send(&commands).await?;
        self.keep(stored);
        Ok(())
    }

    /// Answers a request that cannot be read, and sets it aside. There is no record of such a job, only its terminal event.
    async fn refuse(&self, delivery: &Delivery, job: Option<JobId>, reason: String) -> Result<(), BucketError> {
        counter!(REQUESTS_REFUSED, "kind" => "unreadable").increment(1);
        tracing::warn!(?job, reason, "unreadable request refused and set aside: see `zisk dead list`");
        if let Some(job) = job
            && self.records.load(job).await?.is_none()
        {
            let failure = Failure::new(FailureKind::Input, format!("request refused: {reason}"));
            let event = Event {
                v: Version::default(),
                job,
                at_ms: unix_ms(),
                progress: Progress::default(),
                body: EventBody::Failed { failure },
            };
            self.bus.publish_event(&event).await?;
        }
        Ok(self.bus.bury(delivery, StreamKind::Requests, job, reason).await?)
    }
}
