//! Requests: each becomes one job, or a refusal its client sees.

use metrics::counter;
use zisk_common::buckets::BucketError;
use zisk_common::ids::JobId;
use zisk_common::messages::{
    Event, EventBody, Failure, FailureKind, JobRequest, Metadata, ObjectKey, Progress, Version, unix_ms,
};
use zisk_common::pull::Delivery;
use zisk_common::subjects::{RequestKind, StreamKind};

use super::intake::{self, Request};
use super::outbox::still_leading;
use super::reports::give_back;
use super::{Coordinator, gauges};
use crate::job::{Input, accept, accepted, refuse};
use crate::metric_definitions::{JOBS_REFUSED, REQUESTS_REFUSED};

/// Requests taken while JetStream is full: what is written of each comes out of the coordinators' reserve, which their lease needs, too.
const TAKEN_WHEN_FULL: u32 = 64;
/// Programs whose size is remembered.
const PROGRAMS: usize = 10_000;

impl Coordinator {
    pub(super) async fn take_requests(&mut self, batch: Vec<Delivery>) {
        for delivery in batch {
            if !self.may_take() {
                give_back(&delivery).await;
                continue;
            }
            let outcome = match intake::request(&delivery) {
                Request::Valid(goal, request) => self.accept(goal, request).await,
                Request::Unreadable { job, reason } => {
                    if let Err(error) = self.set_aside(&delivery, job, reason).await {
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

    /// Whether there is room for another job's record and events.
    fn may_take(&mut self) -> bool {
        self.taken_when_full = if *self.full.borrow() { self.taken_when_full.saturating_add(1) } else { 0 };
        self.taken_when_full <= TAKEN_WHEN_FULL
    }

    async fn accept(&mut self, goal: RequestKind, request: JobRequest) -> Result<(), BucketError> {
        still_leading(&self.tenure, "accepting a job")?;
        let job = request.job;
        let bytes = self.bytes_of(&request).await;
        let mut record = accept(goal, request, bytes, &self.defaults, unix_ms());
        let running = self.running_limit();
        let full = if record.state.is_terminal() {
            None
        } else {
            self.queue.admits(bytes, record.waits_for_input(), &self.limits, running).err()
        };
        if let Some(full) = full {
            record = refuse(record, Failure::new(FailureKind::Busy, full.to_string()));
        }
        let stored = match self.records.create(record).await {
            Ok(stored) => stored,
            // Delivered before: whatever it owes is put on the bus by reading it.
            Err(error) if error.is_conflict() => {
                let inputs = self.cancellation(job).await?;
                return self.apply(job, inputs.into_iter().collect()).await.map(drop);
            }
            Err(error) => return Err(error),
        };
        let record = &stored.record;
        if let Some(failure) = &record.failure {
            counter!(REQUESTS_REFUSED, "kind" => goal.as_str()).increment(1);
            if let Some(full) = full {
                counter!(JOBS_REFUSED, "limit" => full.limit()).increment(1);
            }
            gauges::count_ended(record);
            tracing::warn!(%job, %goal, %failure, "request refused");
            self.outbox.send(&accepted(record, None)).await?;
            self.keep(stored);
            return Ok(());
        }
        self.queue.note(record);
        let position = self.position_of(job, running);
        let (program, client) = (record.request.program, &record.request.client);
        tracing::info!(%job, %goal, %program, client, priority = record.priority(), position, "job accepted");
        self.outbox.send(&accepted(record, position)).await?;
        self.keep(stored);
        // It may have come to its end before; from here on that is heard.
        self.look_at_input(job);
        // Only now: what is broadcast from here on finds the job.
        if let Some(cancel) = self.cancellation(job).await? {
            self.apply(job, vec![cancel]).await?;
        }
        self.admit().await;
        Ok(())
    }

    /// The job's place among those that wait, unless its turn is now.
    fn position_of(&self, job: JobId, running: usize) -> Option<u32> {
        let place = self.queue.order().iter().position(|waiting| *waiting == job)?;
        let place = (place + 1).checked_sub(self.queue.room(running)).filter(|place| *place > 0)?;
        u32::try_from(place).ok()
    }

    /// The cancellation that somebody broadcast before the job was in memory.
    pub(super) async fn cancellation(&self, job: JobId) -> Result<Option<Input>, BucketError> {
        let cancel = self.bus.cancellation(job).await?;
        Ok(cancel.map(|cancel| Input::Cancel { message: cancel.message }))
    }

    /// The bytes of program and input. The input's size is its client's word: a wrong one makes the limit less exact, no more.
    async fn bytes_of(&mut self, request: &JobRequest) -> u64 {
        let input = request.input.map_or(0, |input| input.size);
        let program = match self.program_bytes.get(&request.program) {
            Some(bytes) => *bytes,
            None => match self.objects.head(ObjectKey::program(request.program)).await {
                Ok(Some(object)) => {
                    if self.program_bytes.len() >= PROGRAMS {
                        self.program_bytes.clear();
                    }
                    self.program_bytes.insert(request.program, object.size);
                    object.size
                }
                // A worker will say what is wrong with it.
                Ok(None) => 0,
                Err(error) => {
                    tracing::debug!(program = %request.program, %error, "size of the program not read");
                    0
                }
            },
        };
        program.saturating_add(input)
    }

    /// Answers a request that cannot be read, and sets it aside. There is no record of such a job, only its terminal event.
    async fn set_aside(&self, delivery: &Delivery, job: Option<JobId>, reason: String) -> Result<(), BucketError> {
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
                metadata: Metadata::new(),
                body: EventBody::Failed { failure },
            };
            self.bus.publish_event(&event).await?;
        }
        Ok(self.bus.bury(delivery, StreamKind::Requests, job, reason).await?)
    }
}
