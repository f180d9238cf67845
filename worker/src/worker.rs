//! The worker's loop: one task that owns the schedule. Everything else (pulls, fetches, computations, reports) runs in
//! tasks that tell it what happened.

use std::collections::{HashMap, HashSet, VecDeque};
use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use tokio::sync::{mpsc, oneshot, watch};
use tokio::time::{Instant, MissedTickBehavior};
use tokio_util::sync::CancellationToken;
use tokio_util::task::TaskTracker;
use tracing::{debug, error, info, warn};
use zisk_common::election::Lease;
use zisk_common::follow::Broadcast;
use zisk_common::ids::JobId;
use zisk_common::messages::{Challenge, FoldAssignment, Load, PlanAssignment, SegmentAssignment};
use zisk_protocol::GlobalChallenge;
use zisk_prover::backend::Contributed;

use crate::aggregate::{self, Candidacy};
use crate::context::Context;
use crate::plan;
use crate::pull::{Assigned, Delivery, Pulls};
use crate::schedule::{Key, Limits, Schedule, Work};
use crate::segment::{self, Segment, Start};

/// How often to look whether other workers are idle while segments wait here. Well below the time a segment takes.
const GIVE_BACK_INTERVAL: Duration = Duration::from_secs(1);
/// How long a leaving worker waits until what it gives back is given back.
const LEAVE_TIMEOUT: Duration = Duration::from_secs(5);

/// What happened.
pub enum Event {
    /// An assignment was pulled. The puller waits for the answer before it pulls more.
    Assigned(Box<Assigned>, oneshot::Sender<()>),
    /// A segment's bytes are here.
    Fetched(Key, Bytes),
    /// Stage 1 is done.
    Contributed(Key, Box<dyn Contributed>),
    /// Stage 2 is computed; upload and report go on.
    Proven(Key),
    /// Nothing is left to do for the segment.
    Settled(Key),
    /// A plan has ended.
    Planned(JobId),
    /// This worker is the job's aggregator now.
    Elected(Candidacy, Lease),
    /// An aggregation of this epoch has ended.
    Aggregated(JobId, u64),
    /// A challenge or a cancellation.
    Broadcast(Broadcast),
    /// So many other workers wait for segments.
    Idle(usize),
}

/// Where tasks tell the loop what happened.
#[derive(Clone)]
pub struct Events(mpsc::UnboundedSender<Event>);

impl Events {
    /// A channel to the loop.
    pub fn channel() -> (Self, mpsc::UnboundedReceiver<Event>) {
        let (sender, receiver) = mpsc::unbounded_channel();
        (Self(sender), receiver)
    }

    /// Tells the loop; once the loop has ended nobody needs to know.
    pub fn tell(&self, event: Event) {
        let _ = self.0.send(event);
    }
}

/// A segment this worker holds.
struct Held {
    segment: Segment,
    delivery: Arc<Delivery>,
    bytes: Option<Bytes>,
    contributed: Option<Box<dyn Contributed>>,
}

/// A job this worker has something to do with.
struct Job {
    age: u64,
    cancel: CancellationToken,
}

/// The loop's state.
pub struct Worker {
    context: Context,
    events: Events,
    schedule: Schedule,
    held: HashMap<Key, Held>,
    /// Segments proven here whose upload and report are not finished.
    finishing: HashMap<Key, Held>,
    jobs: HashMap<JobId, Job>,
    /// By job; kept while the broadcast may still be needed.
    challenges: RecentJobs<GlobalChallenge>,
    cancelled: RecentJobs<()>,
    planning: HashSet<JobId>,
    aggregating: HashMap<JobId, u64>,
    pulls: watch::Sender<Pulls>,
    load: watch::Sender<Load>,
    /// What must be finished before the process ends: acks and naks, plans, aggregations.
    settling: TaskTracker,
    draining: bool,
}

impl Worker {
    /// A worker that holds nothing.
    pub fn new(context: Context, limits: Limits, events: Events, pulls: watch::Sender<Pulls>, load: watch::Sender<Load>) -> Self {
        Self {
            context,
            events,
            schedule: Schedule::new(limits),
            held: HashMap::new(),
            finishing: HashMap::new(),
            jobs: HashMap::new(),
            challenges: RecentJobs::default(),
            cancelled: RecentJobs::default(),
            planning: HashSet::new(),
            aggregating: HashMap::new(),
            pulls,
            load,
            settling: TaskTracker::new(),
            draining: false,
        }
    }

    /// Works until `drain`, then finishes or gives back within `shutdown_timeout`.
    pub async fn run(mut self, mut events: mpsc::UnboundedReceiver<Event>, drain: CancellationToken, shutdown_timeout: Duration) {
        let mut tick = tokio::time::interval(GIVE_BACK_INTERVAL);
        tick.set_missed_tick_behavior(MissedTickBehavior::Delay);
        let mut deadline = None;
        self.publish_state();
        while !(self.draining && self.is_done()) {
            let at = deadline.unwrap_or_else(|| Instant::now() + Duration::from_secs(3600));
            tokio::select! {
                event = events.recv() => match event {
                    Some(event) => self.handle(event),
                    None => break,
                },
                _ = tick.tick() => {
                    self.forget_jobs();
                    self.look_for_idle_workers();
                }
                () = drain.cancelled(), if !self.draining => {
                    info!(seconds = shutdown_timeout.as_secs(), "shutting down: finishing or giving back");
                    deadline = Some(Instant::now() + shutdown_timeout);
                    self.drain();
                }
                () = tokio::time::sleep_until(at), if deadline.is_some() => {
                    warn!(running = self.schedule.running(), "shutdown time is over: giving the rest back");
                    break;
                }
            }
            self.start_work();
            self.publish_state();
        }
        self.leave().await;
    }

    fn handle(&mut self, event: Event) {
        match event {
            Event::Assigned(assigned, taken) => {
                self.assigned(*assigned);
                self.start_work();
                // Before the puller looks at how much is wanted.
                self.publish_state();
                let _ = taken.send(());
            }
            Event::Fetched(key, bytes) => self.fetched(key, bytes),
            Event::Contributed(key, contributed) => self.contributed(key, contributed),
            Event::Proven(key) => self.proven(key),
            Event::Settled(key) => self.settled(key),
            Event::Planned(job) => {
                self.planning.remove(&job);
            }
            Event::Elected(candidacy, lease) => self.aggregate(candidacy, lease),
            Event::Aggregated(job, epoch) => {
                // A lease lost and won again has begun another aggregation.
                if self.aggregating.get(&job) == Some(&epoch) {
                    self.aggregating.remove(&job);
                }
            }
            Event::Broadcast(Broadcast::Challenge(challenge)) => self.challenged(&challenge),
            Event::Broadcast(Broadcast::Cancel(cancel)) => self.cancel(cancel.job),
            Event::Idle(workers) => self.give_back(workers),
        }
    }

    fn challenged(&mut self, message: &Challenge) {
        let Ok(challenge) = message.challenge.as_slice().try_into() else {
            error!(job = %message.job, bytes = message.challenge.len(), "challenge is not 32 bytes: ignored");
            return;
        };
        self.challenges.insert(message.job, GlobalChallenge(challenge));
        if let Some(job) = self.jobs.get(&message.job) {
            self.schedule.challenge(job.age);
        }
    }

    fn assigned(&mut self, assigned: Assigned) {
        let job = assigned.job();
        if self.draining {
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
            Assigned::Fold(assignment, delivery) => self.take_fold(&assignment, delivery),
        }
    }

    fn take_segment(&mut self, assignment: SegmentAssignment, delivery: Delivery) {
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
        let held = Held { segment: segment.clone(), delivery: Arc::new(delivery), bytes: None, contributed: None };
        self.held.insert(key, held);
        self.spawn(segment::fetch(self.context.clone(), segment, redeliveries > 0, self.events.clone()));
    }

    fn take_plan(&mut self, assignment: PlanAssignment, delivery: Delivery) {
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

    /// The last aggregator's lease has expired: stands for election. The assignment is settled either way, for the lease
    /// alone says who aggregates, and the coordinator watches that.
    fn take_fold(&mut self, assignment: &FoldAssignment, delivery: Delivery) {
        self.job(assignment.job, &delivery);
        let candidacy = Candidacy { job: assignment.job, keys: assignment.keys };
        let (context, events) = (self.context.clone(), self.events.clone());
        self.settle(async move {
            if let Some(lease) = context.stand_for_election(candidacy.job).await {
                events.tell(Event::Elected(candidacy, lease));
            }
            delivery.ack().await;
        });
    }

    fn aggregate(&mut self, candidacy: Candidacy, lease: Lease) {
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

    /// Starts what fits in the free slots.
    fn start_work(&mut self) {
        while let Some(work) = self.schedule.next_work() {
            self.start(work);
        }
    }

    fn start(&mut self, work: Work) {
        let (Work::Contribute(key) | Work::Prove(key) | Work::ContributeAndProve(key) | Work::Refetch(key)) = work;
        let Some(held) = self.held.get_mut(&key) else {
            self.schedule.remove(key);
            return;
        };
        let (context, segment, events) = (self.context.clone(), held.segment.clone(), self.events.clone());
        let challenge = self.challenges.get(&segment.assignment.job).copied();
        let start = match work {
            Work::Prove(_) => held.contributed.take().map(Start::Contributed),
            _ => held.bytes.take().map(Start::Segment),
        };
        match (work, start, challenge) {
            (Work::Refetch(_), ..) => self.spawn(segment::fetch(context, segment, false, events)),
            (Work::Contribute(_), Some(Start::Segment(bytes)), _) => {
                self.spawn(segment::contribute(context, segment, bytes, events));
            }
            (Work::Prove(_) | Work::ContributeAndProve(_), Some(start), Some(challenge)) => {
                self.spawn(segment::prove(context, segment, start, challenge, events));
            }
            // The schedule and what is held disagree: give the segment to someone else rather than stop.
            _ => {
                warn!(job = %segment.assignment.job, segment = key.index, ?work, "nothing to work on: given back");
                self.schedule.remove(key);
                self.nak(key);
            }
        }
    }

    fn fetched(&mut self, key: Key, bytes: Bytes) {
        let Some(held) = self.held.get_mut(&key) else { return };
        held.bytes = Some(bytes);
        if let Some(work) = self.schedule.fetched(key) {
            self.start(work);
        }
    }

    fn contributed(&mut self, key: Key, contributed: Box<dyn Contributed>) {
        match self.held.get_mut(&key) {
            // Cancelled meanwhile.
            None => self.schedule.remove(key),
            Some(_) if self.draining => {
                self.schedule.remove(key);
                self.nak(key);
            }
            Some(held) => {
                let dropped = self.schedule.contributed(key, contributed.memory_bytes());
                held.contributed = Some(contributed);
                for key in dropped {
                    if let Some(held) = self.held.get_mut(&key) {
                        held.contributed = None;
                    }
                }
            }
        }
    }

    fn proven(&mut self, key: Key) {
        self.schedule.remove(key);
        if let Some(held) = self.held.remove(&key) {
            self.finishing.insert(key, held);
        }
    }

    fn settled(&mut self, key: Key) {
        self.schedule.remove(key);
        if let Some(held) = self.held.remove(&key).or_else(|| self.finishing.remove(&key)) {
            self.settle(async move { held.delivery.ack().await });
        }
    }

    fn cancel(&mut self, job: JobId) {
        self.cancelled.insert(job, ());
        let Some(known) = self.jobs.get(&job) else { return };
        info!(%job, "job cancelled: dropping its work");
        known.cancel.cancel();
        // What is being computed keeps its slot until it ends; its result is dropped.
        self.schedule.remove_job(known.age);
        let (age, mut deliveries) = (known.age, Vec::new());
        self.held.retain(|key, held| {
            if key.job == age {
                deliveries.push(held.delivery.clone());
            }
            key.job != age
        });
        self.settle(async move {
            for delivery in deliveries {
                delivery.ack().await;
            }
        });
    }

    /// Asks how many other workers wait for segments, if any wait for a slot here.
    fn look_for_idle_workers(&mut self) {
        if self.draining || self.schedule.spare() == 0 || self.context.pulling_segments() {
            return;
        }
        let (context, events) = (self.context.clone(), self.events.clone());
        self.spawn(async move {
            if let Some(workers) = context.idle_workers().await {
                events.tell(Event::Idle(workers));
            }
        });
    }

    fn give_back(&mut self, idle: usize) {
        if self.draining || self.context.pulling_segments() {
            return;
        }
        for key in self.schedule.give_back(idle) {
            if let Some(held) = self.held.get(&key) {
                info!(job = %held.segment.assignment.job, segment = key.index, "given back to an idle worker");
            }
            self.nak(key);
        }
    }

    /// Gives a segment back that is no longer in the schedule.
    fn nak(&mut self, key: Key) {
        if let Some(held) = self.held.remove(&key) {
            held.segment.cancel.cancel();
            self.settle(async move { held.delivery.nak().await });
        }
    }

    fn drain(&mut self) {
        self.draining = true;
        for key in self.schedule.leave() {
            self.nak(key);
        }
    }

    fn is_done(&self) -> bool {
        self.schedule.is_empty() && self.finishing.is_empty() && self.planning.is_empty() && self.aggregating.is_empty()
    }

    /// Gives back whatever is left and waits until that is settled.
    async fn leave(mut self) {
        for job in self.jobs.values() {
            job.cancel.cancel();
        }
        let keys: Vec<Key> = self.held.keys().copied().collect();
        for key in keys {
            self.nak(key);
        }
        for (_, held) in std::mem::take(&mut self.finishing) {
            self.settle(async move { held.delivery.nak().await });
        }
        self.settling.close();
        if tokio::time::timeout(LEAVE_TIMEOUT, self.settling.wait()).await.is_err() {
            debug!("some work could not be given back in time: it will be redelivered");
        }
    }

    /// The job's age and the token that ends its work here.
    fn job(&mut self, id: JobId, delivery: &Delivery) -> (u64, CancellationToken) {
        let age = delivery.sequence();
        let job = self.jobs.entry(id).or_insert_with(|| Job { age, cancel: CancellationToken::new() });
        (job.age, job.cancel.clone())
    }

    /// Forgets jobs this worker has nothing left to do for.
    fn forget_jobs(&mut self) {
        let ages: HashSet<u64> = self.held.keys().chain(self.finishing.keys()).map(|key| key.job).collect();
        self.jobs.retain(|id, job| ages.contains(&job.age) || self.planning.contains(id) || self.aggregating.contains_key(id));
    }

    /// Publishes how much to pull and how busy this worker is.
    fn publish_state(&self) {
        let open = usize::from(!self.draining);
        let pulls = Pulls {
            fold: open,
            segment: open * self.schedule.wanted(),
            // A new job is begun only when there is nothing to prove for those that are.
            plan: open * usize::from(self.planning.is_empty() && self.schedule.has_free_slot()),
        };
        self.pulls.send_if_modified(|current| std::mem::replace(current, pulls) != pulls);
        let load = Load {
            units_busy: count(self.schedule.running() + self.planning.len()),
            assignments: count(self.schedule.len() + self.finishing.len() + self.planning.len()),
            waiting: count(self.held.values().filter(|held| held.contributed.is_some()).count()),
            aggregating: self.aggregating.keys().copied().collect(),
        };
        self.load.send_if_modified(|current| {
            let changed = *current != load;
            *current = load;
            changed
        });
    }

    /// Runs a task that need not end before the process does.
    fn spawn(&self, task: impl Future<Output = ()> + Send + 'static) {
        tokio::spawn(task);
    }

    /// Runs a task that should end before the process does.
    fn settle(&self, task: impl Future<Output = ()> + Send + 'static) {
        self.settling.spawn(task);
    }
}

fn count(number: usize) -> u32 {
    u32::try_from(number).unwrap_or(u32::MAX)
}

/// Something about the jobs heard of last: bounded, for nothing tells a worker when a job it does not work on ends.
struct RecentJobs<T> {
    known: HashMap<JobId, T>,
    order: VecDeque<JobId>,
}

impl<T> Default for RecentJobs<T> {
    fn default() -> Self {
        Self { known: HashMap::new(), order: VecDeque::new() }
    }
}

impl<T> RecentJobs<T> {
    /// More jobs than any cluster runs at once.
    const CAPACITY: usize = 10_000;

    fn insert(&mut self, job: JobId, value: T) {
        if self.known.insert(job, value).is_none() {
            self.order.push_back(job);
        }
        while self.order.len() > Self::CAPACITY {
            if let Some(oldest) = self.order.pop_front() {
                self.known.remove(&oldest);
            }
        }
    }

    fn get(&self, job: &JobId) -> Option<&T> {
        self.known.get(job)
    }
}
