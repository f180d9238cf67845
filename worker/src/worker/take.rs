//! Assignments that were pulled, and elections that were won.

use std::sync::Arc;

use tokio_util::sync::CancellationToken;
use tracing::debug;
use zisk_common::election::Lease;
use zisk_common::messages::{AggregateAssignment, FoldAssignment, PlanAssignment, SegmentAssignment};

use super::{Event, Held, Worker};
use crate::aggregate::{self, Candidacy};
use crate::fold;
use crate::plan;
use crate::pull::{Assigned, Delivery};
use crate::schedule::Key;
use crate::segment::{self, Segment};

impl Worker {
    pub(super) fn assigned(&mut self, assigned: Assigned) {
        let job = assigned.job();
        if self.is_closed() {
            self.settle(async move { assigned.into_delivery().nak().await });
            return;
        }
        if self.cancelled.get(&job).is_some() {
            debug!(%job, "assignment of a cancelled job: dropped");
            self.settle(async move { assigned.into_delivery().ack().await });
            return;
        }
        match assigned {
            Assigned::Segment(assignment, delivery) => self.take_segment(assignment, delivery),
            Assigned::Plan(assignment, delivery) => self.take_plan(assignment, delivery),
            Assigned::Fold(assignment, delivery) => self.take_fold(assignment, delivery),
            Assigned::Aggregate(assignment, delivery) => self.take_aggregation(&assignment, delivery),
        }
    }

    pub(super) fn take_segment(&mut self, assignment: SegmentAssignment, delivery: Delivery) {
        let (age, cancel) = self.job(assignment.job, &delivery);
        let key = Key { job: age, index: assignment.n };
        let redeliveries = delivery.redeliveries();
        if self.finishing.contains_key(&key) || !self.schedule.add(key, redeliveries == 0) {
            // Its in-progress acks were late, not lost. The holder's handle is as good as this one: an ack names the
            // message, not the delivery. Giving this one back would only hand the segment to a second worker.
            debug!(job = %assignment.job, segment = assignment.n, "redelivered while held: ignored");
            drop(delivery);
            return;
        }
        if self.challenges.get(&assignment.job).is_some() {
            self.schedule.challenge(age);
        }
        let segment = Segment {
            key,
            attempt: assignment.attempt.saturating_add(redeliveries),
            assignment: Arc::new(assignment),
            cancel: cancel.child_token(),
        };
        let held =
            Held { segment: segment.clone(), delivery: Arc::new(delivery), bytes: None, contributed: None, reported: false };
        self.held.insert(key, held);
        self.spawn(segment::fetch(self.context.clone(), segment, redeliveries > 0, self.events.clone()));
    }

    pub(super) fn take_plan(&mut self, assignment: PlanAssignment, delivery: Delivery) {
        let job = assignment.job;
        let (_, cancel) = self.job(job, &delivery);
        if !self.planning.insert(job) {
            drop(delivery);
            return;
        }
        let (context, events) = (self.context.clone(), self.events.clone());
        self.settle(async move {
            plan::run(&context, assignment, delivery, cancel).await;
            events.tell(Event::Planned(job));
        });
    }

    pub(super) fn take_fold(&mut self, assignment: FoldAssignment, delivery: Delivery) {
        let (job, n) = (assignment.job, assignment.n);
        let (_, cancel) = self.job(job, &delivery);
        if !self.folding.insert((job, n)) {
            drop(delivery);
            return;
        }
        let (context, events) = (self.context.clone(), self.events.clone());
        self.settle(async move {
            fold::run(&context, assignment, delivery, cancel).await;
            events.tell(Event::Folded(job, n));
        });
    }

    /// The last aggregator's lease has expired: stands for election. The assignment is settled either way, for the lease
    /// alone says who aggregates, and the coordinator watches that.
    pub(super) fn take_aggregation(&mut self, assignment: &AggregateAssignment, delivery: Delivery) {
        self.job(assignment.job, &delivery);
        let candidacy = Candidacy { job: assignment.job, program: assignment.program, keys: assignment.keys };
        let (context, events) = (self.context.clone(), self.events.clone());
        self.settle(async move {
            if let Some(lease) = context.stand_for_election(candidacy.job).await {
                events.tell(Event::Elected(candidacy, lease));
            }
            delivery.ack().await;
        });
    }

    pub(super) fn aggregate(&mut self, candidacy: Candidacy, lease: Lease) {
        let job = candidacy.job;
        if self.draining || self.cancelled.get(&job).is_some() {
            self.settle(async move { lease.resign().await });
            return;
        }
        let epoch = lease.epoch();
        let cancel = self.jobs.get(&job).map_or_else(CancellationToken::new, |job| job.cancel.clone());
        self.aggregating.insert(job, epoch);
        let (context, events) = (self.context.clone(), self.events.clone());
        self.settle(async move {
            aggregate::run(context, candidacy, lease, cancel).await;
            events.tell(Event::Aggregated(job, epoch));
        });
    }
}
