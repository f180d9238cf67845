//! Pulling assignments: one task per class of work, each taking only what the worker's loop says there is room for.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use metrics::counter;
use tokio::sync::{oneshot, watch};
use tokio_util::sync::CancellationToken;
use tracing::{debug, error, warn};
use zisk_common::bus::Bus;
use zisk_common::ids::{JobId, WorkerId};
use zisk_common::keep_alive::{Hold, KeepAlive};
use zisk_common::messages::{
    AggregateAssignment, Assignment, CodecError, FoldAssignment, PlanAssignment, SegmentAssignment, names_a_version,
};
use zisk_common::pull;
use zisk_common::subjects::{AssignmentKind, ConsumerKind, StreamKind, Subject};

use crate::avoid::{self, FOR_OTHERS};
use crate::metric_definitions::{OTHER_VERSION, REDELIVERIES};
use crate::worker::{Event, Events};

/// How long one request waits at the server.
const WAIT: Duration = Duration::from_secs(10);
/// How long a plan waits while segments are queued: proving goes before new jobs.
const AFTER_SEGMENTS: Duration = Duration::from_millis(200);
/// How long to pull nothing after an assignment for another version of the prover: others are to get it first.
const AFTER_OTHER_VERSION: Duration = Duration::from_secs(30);

/// Deliveries after which an assignment that no worker understands is set aside.
const UNREAD_DELIVERIES: u32 = 10;

/// How many assignments of each class to pull now.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Pulls {
    /// Plans.
    pub plan: usize,
    /// Segments.
    pub segment: usize,
    /// Folds.
    pub fold: usize,
    /// Aggregations.
    pub aggregate: usize,
}

impl Pulls {
    fn of(self, kind: AssignmentKind) -> usize {
        match kind {
            AssignmentKind::Plan => self.plan,
            AssignmentKind::Segment => self.segment,
            AssignmentKind::Fold => self.fold,
            AssignmentKind::Aggregate => self.aggregate,
        }
    }
}

/// An assignment's message, kept with this worker by in-progress acks until it is settled or forgotten.
pub struct Delivery {
    message: pull::Delivery,
    /// In-progress acks go out until this is dropped.
    _hold: Hold,
}

impl Delivery {
    /// How often it was delivered before.
    pub fn redeliveries(&self) -> u32 {
        self.message.delivered().saturating_sub(1)
    }

    /// Its place in the stream: lower is older.
    pub fn sequence(&self) -> u64 {
        self.message.sequence()
    }

    /// Done, or not wanted any more: no one is to get it again.
    pub async fn ack(&self) {
        if let Err(error) = self.message.ack().await {
            // It comes again, and whoever gets it finds the work done.
            warn!(%error, "assignment not acknowledged");
        }
    }

    /// Gives it back at once.
    pub async fn nak(&self) {
        if let Err(error) = self.message.nak(None).await {
            debug!(%error, "assignment not given back; it comes again after ack_wait");
        }
    }
}

/// An assignment with its message.
pub enum Assigned {
    /// Run and cut.
    Plan(PlanAssignment, Delivery),
    /// Contribute and prove.
    Segment(SegmentAssignment, Delivery),
    /// Fold.
    Fold(FoldAssignment, Delivery),
    /// Aggregate.
    Aggregate(AggregateAssignment, Delivery),
}

impl Assigned {
    /// Its job.
    pub fn job(&self) -> JobId {
        match self {
            Self::Plan(assignment, _) => assignment.job,
            Self::Segment(assignment, _) => assignment.job,
            Self::Fold(assignment, _) => assignment.job,
            Self::Aggregate(assignment, _) => assignment.job,
        }
    }

    /// Its message.
    pub fn into_delivery(self) -> Delivery {
        match self {
            Self::Plan(_, delivery) | Self::Segment(_, delivery) | Self::Fold(_, delivery) | Self::Aggregate(_, delivery) => {
                delivery
            }
        }
    }
}

/// What a pulling task needs.
#[derive(Clone)]
pub struct Pulling {
    /// Where assignments are.
    pub bus: Bus,
    /// Keeps them with this worker.
    pub keep_alive: KeepAlive,
    /// This worker.
    pub worker: WorkerId,
    /// How many are wanted.
    pub wanted: watch::Receiver<Pulls>,
    /// The version of this worker's prover.
    pub prover: &'static str,
    /// Another version that was asked for here, for people to see.
    pub asked: watch::Sender<Option<String>>,
    /// Where they go.
    pub events: Events,
    /// Set while a request for a segment may wait at the server.
    pub segments_open: Arc<AtomicBool>,
    /// Ends the tasks.
    pub stop: CancellationToken,
}

impl Pulling {
    /// Starts one task per class.
    pub fn start(self) {
        for &kind in AssignmentKind::ALL {
            let pulling = self.clone();
            tokio::spawn(async move {
                let stop = pulling.stop.clone();
                stop.run_until_cancelled(pulling.run(kind)).await;
            });
        }
    }

    async fn run(mut self, kind: AssignmentKind) {
        let mut puller = self.bus.puller(ConsumerKind::Assign(kind));
        loop {
            self.set_open(kind, false);
            if self.wanted.wait_for(|wanted| wanted.of(kind) > 0).await.is_err() {
                return;
            }
            if kind == AssignmentKind::Plan && self.segments_are_queued().await {
                tokio::time::sleep(AFTER_SEGMENTS).await;
                continue;
            }
            self.set_open(kind, true);
            let free = self.wanted.borrow().of(kind);
            let mut wanted = self.wanted.clone();
            let pulled = tokio::select! {
                pulled = puller.fetch(free, WAIT) => Some(pulled),
                _ = async { wanted.wait_for(|wanted| wanted.of(kind) == 0).await.is_err() } => None,
            };
            match pulled {
                // A request that waits is an idle worker to the others: withdraw it when there is no room any more.
                None => puller.release().await,
                Some(pulled) => {
                    let mut refused = false;
                    for message in pulled {
                        if message.delivered() > 1 {
                            counter!(REDELIVERIES, "class" => kind.as_str()).increment(1);
                        }
                        refused |= self.is_for_others(kind, &message).await || !self.hand_over(kind, message).await;
                    }
                    if refused {
                        self.set_open(kind, false);
                        tokio::time::sleep(AFTER_OTHER_VERSION).await;
                    }
                }
            }
        }
    }

    /// Gives an assignment back that is for another version of the prover: it would end in contributions and proofs that
    /// its coordinator refuses, one by one.
    async fn is_for_others(&self, kind: AssignmentKind, message: &pull::Delivery) -> bool {
        let asked = message.prover_version().filter(|asked| *asked != self.prover);
        let news = self.asked.send_if_modified(|known| {
            let news = known.as_deref() != asked;
            *known = asked.map(str::to_owned);
            news
        });
        let Some(asked) = asked else { return false };
        counter!(OTHER_VERSION, "class" => kind.as_str()).increment(1);
        if news {
            let own = self.prover;
            error!("assignments are for the prover {asked}, this worker's is {own}: it takes none; run the same release on both");
        }
        if let Err(error) = message.nak(None).await {
            debug!(%error, "assignment not given back; it comes again after ack_wait");
        }
        true
    }

    /// False when the assignment is not understood.
    async fn hand_over(&self, kind: AssignmentKind, message: pull::Delivery) -> bool {
        let decoded = Assignment::decode(kind, message.payload());
        if let Ok(assignment) = &decoded
            && let Some(pause) = self.is_for_later(assignment, &message).await
        {
            if let Err(error) = message.nak(Some(pause)).await {
                debug!(%error, "assignment not given back; it comes again after ack_wait");
            }
            return true;
        }
        let delivery = Delivery { _hold: self.keep_alive.hold(&message), message };
        let assigned = match decoded {
            Ok(Assignment::Plan(assignment)) => Assigned::Plan(assignment, delivery),
            Ok(Assignment::Segment(assignment)) => Assigned::Segment(assignment, delivery),
            Ok(Assignment::Fold(assignment)) => Assigned::Fold(assignment, delivery),
            Ok(Assignment::Aggregate(assignment)) => Assigned::Aggregate(assignment, delivery),
            Err(error) => return self.not_understood(kind, &delivery.message, &error).await,
        };
        let (taken, done) = oneshot::channel();
        self.events.tell(Event::Assigned(Box::new(assigned), taken));
        // Until the loop has counted it: else the next pull would take one too many. An error means it has ended.
        let _ = done.await;
        true
    }

    /// How long this worker is to leave an assignment alone: it has just failed elsewhere, or is meant for others.
    async fn is_for_later(&self, assignment: &Assignment, message: &pull::Delivery) -> Option<Duration> {
        if message.delivered() <= 1 && !assignment.pause().is_zero() {
            return Some(assignment.pause());
        }
        avoid::is_for_others(&self.bus, self.worker, self.prover, assignment).await.then_some(FOR_OTHERS)
    }

    /// What may be another release's is given back, for a worker of that release to read; what is nobody's, or comes back
    /// again and again, is set aside. The coordinator finds it missing and assigns the work anew. Returns whether this worker
    /// may go on at once.
    async fn not_understood(&self, kind: AssignmentKind, message: &pull::Delivery, error: &CodecError) -> bool {
        let class = kind.as_str();
        if names_a_version(message.payload()) && message.delivered() < UNREAD_DELIVERIES {
            warn!(class, %error, "assignment not understood: given back");
            let _ = message.nak(None).await;
            return false;
        }
        error!(class, %error, "assignment not understood: set aside, see `zisk dead list`");
        let job = match message.subject() {
            Ok(Subject::Assign { job, .. }) => Some(job),
            _ => None,
        };
        if let Err(error) = self.bus.bury(message, StreamKind::Assign, job, error.to_string()).await {
            warn!(%error, "assignment not set aside; it comes again");
        }
        true
    }

    async fn segments_are_queued(&self) -> bool {
        let depth = self.bus.queue_depth(ConsumerKind::Assign(AssignmentKind::Segment)).await;
        depth.is_ok_and(|depth| depth.pending > 0)
    }

    fn set_open(&self, kind: AssignmentKind, open: bool) {
        if kind == AssignmentKind::Segment {
            self.segments_open.store(open, Ordering::Relaxed);
        }
    }
}
