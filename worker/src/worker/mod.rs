//! The worker's loop: one task that owns the schedule. Everything else (pulls, fetches, computations, reports) runs in
//! tasks that tell it what happened.

mod recent;
mod segments;
mod take;

use std::collections::{HashMap, HashSet};
use std::pin::pin;
use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use metrics::gauge;
use tokio::sync::{mpsc, oneshot, watch};
use tokio::time::{Instant, MissedTickBehavior};
use tokio_util::sync::CancellationToken;
use tokio_util::task::TaskTracker;
use tracing::{debug, error, info, warn};
use zisk_common::election::Lease;
use zisk_common::follow::Broadcast;
use zisk_common::ids::JobId;
use zisk_common::messages::{Challenge, Load, Progress};
use zisk_protocol::GlobalChallenge;
use zisk_prover::backend::Contributed;

use self::recent::RecentJobs;
use crate::aggregate::Candidacy;
use crate::context::{Context, Standing};
use crate::metric_definitions::{AGGREGATIONS, ASSIGNMENTS, SEGMENTS_WAITING, UNITS_BUSY};
use crate::pull::{Assigned, Delivery, Pulls};
use crate::schedule::{Key, Limits, Schedule};
use crate::segment::Segment;

/// How often to look whether other workers are idle while segments wait here. Well below the time a segment takes.
const GIVE_BACK_INTERVAL: Duration = Duration::from_secs(1);
/// How often to look whether the jobs worked on here have ended. The broadcast of a cancellation says so at once; it is gone
/// soon after, and a worker that was cut off meanwhile would hold the job's segments for ever.
const ENDED_INTERVAL: Duration = Duration::from_secs(30);
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
    /// This worker cannot do it.
    Returned(Key),
    /// A plan has ended.
    Planned(JobId),
    /// A fold for another aggregator has ended.
    Folded(JobId, u32),
    /// This worker is the job's aggregator now.
    Elected(Candidacy, Lease),
    /// An aggregation of this epoch has ended.
    Aggregated(JobId, u64),
    /// A challenge or a cancellation.
    Broadcast(Broadcast),
    /// The job has ended, by its record.
    Ended(JobId),
    /// It has not, and stands so.
    Standing(JobId, Progress),
    /// The contribution was reported and is not in the record.
    Uncommitted(Key),
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
    /// Its contribution was reported from here.
    reported: bool,
}

/// A job this worker has something to do with.
struct Job {
    age: u64,
    cancel: CancellationToken,
    /// Where it stood at the last look.
    standing: Option<Progress>,
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
    /// The newest round's, by job; kept while the broadcast may still be needed.
    challenges: RecentJobs<(u32, GlobalChallenge)>,
    cancelled: RecentJobs<()>,
    planning: HashSet<JobId>,
    folding: HashSet<(JobId, u32)>,
    aggregating: HashMap<JobId, u64>,
    pulls: watch::Sender<Pulls>,
    load: watch::Sender<Load>,
    /// What must be finished before the process ends: acks and naks, plans, aggregations.
    settling: TaskTracker,
    draining: bool,
    /// It does not pass its own tests.
    sick: bool,
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
            folding: HashSet::new(),
            aggregating: HashMap::new(),
            pulls,
            load,
            settling: TaskTracker::new(),
            draining: false,
            sick: false,
        }
    }

    /// Works until `drain`, then finishes or gives back within `shutdown_timeout`.
    pub async fn run(mut self, mut events: mpsc::UnboundedReceiver<Event>, drain: CancellationToken, shutdown_timeout: Duration) {
        let mut tick = tokio::time::interval(GIVE_BACK_INTERVAL);
        tick.set_missed_tick_behavior(MissedTickBehavior::Delay);
        let mut look_for_ended = tokio::time::interval(ENDED_INTERVAL);
        look_for_ended.set_missed_tick_behavior(MissedTickBehavior::Delay);
        let mut health = self.context.health.follow();
        let bus = self.context.bus.clone();
        let mut gone = pin!(bus.gone());
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
                _ = look_for_ended.tick() => self.look_for_ended_jobs(),
                Ok(()) = health.changed() => self.health_changed(health.borrow_and_update().is_some()),
                () = drain.cancelled(), if !self.draining => {
                    info!(seconds = shutdown_timeout.as_secs(), "shutting down: finishing or giving back");
                    deadline = Some(Instant::now() + shutdown_timeout);
                    self.drain();
                }
                () = tokio::time::sleep_until(at), if deadline.is_some() => {
                    warn!(running = self.schedule.running(), "shutdown time is over: giving the rest back");
                    break;
                }
                () = &mut gone, if self.draining => {
                    warn!("NATS is away: stopping at once, what was begun goes to another worker");
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
            Event::Returned(key) => self.returned(key),
            Event::Planned(job) => {
                self.planning.remove(&job);
            }
            Event::Folded(job, n) => {
                self.folding.remove(&(job, n));
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
            Event::Ended(job) => self.cancel(job),
            Event::Standing(job, progress) => self.standing(job, progress),
            Event::Uncommitted(key) => self.uncommitted(key),
            Event::Idle(workers) => self.give_back(workers),
        }
    }

    fn challenged(&mut self, message: &Challenge) {
        let Ok(challenge) = message.challenge.as_slice().try_into() else {
            error!(job = %message.job, bytes = message.challenge.len(), "challenge is not 32 bytes: ignored");
            return;
        };
        // One that was read may be older than one that was broadcast meanwhile.
        if self.challenges.get(&message.job).is_some_and(|(round, _)| *round > message.round) {
            return;
        }
        if message.round > 0 {
            info!(job = %message.job, round = message.round, "a new challenge: its segments are proven anew");
        }
        self.challenges.insert(message.job, (message.round, GlobalChallenge(challenge)));
        if let Some(job) = self.jobs.get(&message.job) {
            self.schedule.challenge(job.age);
        }
    }

    fn cancel(&mut self, job: JobId) {
        self.cancelled.insert(job, ());
        let Some(known) = self.jobs.get(&job) else { return };
        info!(%job, "job has ended: dropping its work");
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

    fn drain(&mut self) {
        self.draining = true;
        for key in self.schedule.leave() {
            self.nak(key);
        }
    }

    fn health_changed(&mut self, sick: bool) {
        self.sick = sick;
        if sick {
            // No request for more is to be open when something is given back, or it may come back at once.
            self.publish_state();
            for key in self.schedule.leave() {
                self.nak(key);
            }
        }
    }

    /// Whether it takes nothing more.
    fn is_closed(&self) -> bool {
        self.draining || self.sick
    }

    fn is_done(&self) -> bool {
        let nothing_held = self.schedule.is_empty() && self.finishing.is_empty() && self.planning.is_empty();
        nothing_held && self.folding.is_empty() && self.aggregating.is_empty()
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
        // What still computes is stopped by us, not lost over its work.
        let settled = async {
            self.context.end_all().await;
            self.settling.wait().await;
        };
        tokio::select! {
            () = settled => return,
            () = tokio::time::sleep(LEAVE_TIMEOUT) => {}
            () = self.context.bus.gone() => {}
        }
        debug!("some work could not be given back in time: it will be redelivered");
    }

    /// The job's age and the token that ends its work here.
    fn job(&mut self, id: JobId, delivery: &Delivery) -> (u64, CancellationToken) {
        let age = delivery.sequence();
        let job = self.jobs.entry(id).or_insert_with(|| Job { age, cancel: CancellationToken::new(), standing: None });
        (job.age, job.cancel.clone())
    }

    /// Forgets jobs this worker has nothing left to do for.
    fn forget_jobs(&mut self) {
        let ages: HashSet<u64> = self.held.keys().chain(self.finishing.keys()).map(|key| key.job).collect();
        let folding: HashSet<JobId> = self.folding.iter().map(|(job, _)| *job).collect();
        self.jobs.retain(|id, job| {
            let held = ages.contains(&job.age) || self.planning.contains(id) || folding.contains(id);
            held || self.aggregating.contains_key(id)
        });
    }

    /// Asks whether the jobs worked on here have ended, and where they stand.
    fn look_for_ended_jobs(&self) {
        for &job in self.jobs.keys() {
            let (context, events) = (self.context.clone(), self.events.clone());
            self.spawn(async move {
                match context.standing(job).await {
                    Standing::Ended => events.tell(Event::Ended(job)),
                    Standing::At(progress) => events.tell(Event::Standing(job, progress)),
                    Standing::Unknown => {}
                }
            });
        }
    }

    /// Publishes how much to pull and how busy this worker is.
    fn publish_state(&self) {
        let open = usize::from(!self.is_closed());
        let pulls = Pulls {
            // Beside all else, as an aggregator's own: what is to be folded is the end of a job that others wait for.
            fold: open * usize::from(self.folding.is_empty()),
            aggregate: open,
            segment: open * self.schedule.wanted(),
            // A new job is begun only when there is nothing to prove for those that are.
            plan: open * usize::from(self.planning.is_empty() && self.schedule.has_free_slot()),
        };
        self.pulls.send_if_modified(|current| std::mem::replace(current, pulls) != pulls);
        let load = Load {
            units_busy: count(self.schedule.running() + self.planning.len()),
            assignments: count(self.schedule.len() + self.finishing.len() + self.planning.len() + self.folding.len()),
            waiting: count(self.held.values().filter(|held| held.contributed.is_some()).count()),
            aggregating: self.aggregating.keys().copied().collect(),
        };
        gauge!(UNITS_BUSY).set(load.units_busy);
        gauge!(ASSIGNMENTS).set(load.assignments);
        gauge!(SEGMENTS_WAITING).set(load.waiting);
        gauge!(AGGREGATIONS).set(count(load.aggregating.len()));
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
