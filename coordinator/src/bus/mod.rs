//! The coordinator on the bus: pulls requests and reports, applies them to job records, runs what follows.
//!
//! One loop does it all, so that a job's steps have one order. For each job: read (from memory, or back from the
//! buckets), apply, commit, run the commands, and only then acknowledge what was pulled. Whatever fails on the way, the
//! job is dropped from memory; the messages come again, and reading the record back makes up for commands not run.
//!
//! Only the coordinator that leads works. What it remembers is current because nobody else commits; and should one that was
//! paused or cut off not know yet that another leads, the compare-and-swap of every commit keeps it from doing harm.

mod cleanup;
mod condition;
mod final_proofs;
mod gauges;
mod inputs;
mod intake;
mod leases;
mod losses;
mod outbox;
mod queues;
mod records;
mod reports;
mod requests;
mod retention;
mod room;
mod ticks;
mod turns;
pub(crate) mod upkeep;
mod workers;

use std::collections::{BTreeSet, HashMap, HashSet};
use std::sync::Arc;
use std::time::Duration;

use futures::future::join_all;
use metrics::counter;
use tokio::sync::{mpsc, watch};
use tokio::time::{Instant, MissedTickBehavior};
use tokio_util::sync::CancellationToken;
use zisk_common::buckets::BucketError;
use zisk_common::bus::{Bus, BusError};
use zisk_common::election::Tenure;
use zisk_common::follow::Broadcast;
use zisk_common::ids::{JobId, ProgramId};
use zisk_common::messages::{JobRecord, JobState, unix_ms};
use zisk_common::objects::Objects;
use zisk_common::settings::Thing;
use zisk_common::subjects::ConsumerKind;
use zisk_prover::backend::Backend;

pub use self::condition::NotReady;
use self::final_proofs::{FinalProofs, Judged};
use self::inputs::{Inputs, Looked};
use self::leases::Leases;
use self::outbox::Outbox;
use self::records::{Records, StoredJob};
pub use self::retention::Retention;
pub use self::room::Room;
use self::turns::Order;
use crate::job::{Defaults, Input, Limits, Protocol, Queue, Verdict, apply, outstanding};
use crate::metric_definitions::{COMMIT_CONFLICTS, WORK_REPEATED};

/// Reports applied together: enough to share a commit, few enough to be done well within `ack_wait`.
const REPORT_BATCH: usize = 64;
/// Requests taken together.
const REQUEST_BATCH: usize = 16;
/// How often deadlines and leases are looked at.
const TICK: Duration = Duration::from_secs(1);
/// Commits that lose against another coordinator before the messages are given back.
const MAX_CONFLICTS: u32 = 10;

/// What a coordinator is set to.
#[derive(Clone)]
pub struct Settings {
    /// What jobs get that do not say.
    pub defaults: Defaults,
    /// How many run, and how many wait.
    pub limits: Limits,
    /// What is kept.
    pub storage: Storage,
    /// Verifies final proofs before they count; without it the aggregator's own check has to do.
    pub verifier: Option<Arc<dyn Backend>>,
}

/// What is kept in the store, and how much room is.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Storage {
    /// For how long.
    pub retention: Retention,
    /// How much room.
    pub room: Room,
}

/// A coordinator.
pub struct Coordinator {
    bus: Bus,
    records: Records,
    outbox: Outbox,
    tenure: Tenure,
    objects: Objects,
    protocol: Arc<dyn Protocol>,
    defaults: Defaults,
    limits: Limits,
    storage: Storage,
    /// Whether JetStream has no room to spare.
    full: watch::Receiver<bool>,
    is_full: watch::Sender<bool>,
    /// Requests taken since there was room, those left to be taken later included.
    taken_when_full: u32,
    /// Who waits and who runs, as last committed, those dropped from memory included.
    queue: Queue,
    order: Order,
    /// The compute units of the present workers.
    units: watch::Receiver<u32>,
    units_seen: watch::Sender<u32>,
    /// Sizes of programs that were asked for.
    program_bytes: HashMap<ProgramId, u64>,
    /// The jobs under way, as last committed.
    jobs: HashMap<JobId, ActiveJob>,
    /// Jobs that a failure dropped from memory, to be read back.
    dropped: HashSet<JobId>,
    leases: Leases,
    /// Ended jobs that are being cleaned up.
    cleaning: HashSet<JobId>,
    cleaned: mpsc::UnboundedSender<(JobId, bool)>,
    cleaned_receiver: mpsc::UnboundedReceiver<(JobId, bool)>,
    final_proofs: FinalProofs,
    judged_receiver: mpsc::UnboundedReceiver<Judged>,
    inputs: Inputs,
    looked_receiver: mpsc::UnboundedReceiver<(JobId, Looked)>,
    not_ready: NotReady,
    /// Streams and buckets that are not those they were.
    replaced: mpsc::UnboundedSender<Vec<Thing>>,
    replaced_receiver: mpsc::UnboundedReceiver<Vec<Thing>>,
}

struct ActiveJob {
    stored: StoredJob,
    /// When it last changed, or was last compared with the bus.
    touched: Instant,
}

impl Coordinator {
    /// A coordinator that leads for this tenure on this bus, whose streams and buckets must be prepared.
    ///
    /// # Errors
    /// [`BusError`] when a bucket is not there.
    pub async fn new(
        bus: Bus,
        tenure: Tenure,
        objects: Objects,
        protocol: Arc<dyn Protocol>,
        settings: Settings,
        not_ready: NotReady,
    ) -> Result<Self, BusError> {
        let Settings { defaults, limits, storage, verifier } = settings;
        let (final_proofs, judged_receiver) = FinalProofs::new(objects.clone(), verifier);
        let (inputs, looked_receiver) = Inputs::new(bus.clone(), objects.clone());
        let (is_full, full) = watch::channel(false);
        let (units_seen, units) = watch::channel(0);
        let (cleaned, cleaned_receiver) = mpsc::unbounded_channel();
        let (replaced, replaced_receiver) = mpsc::unbounded_channel();
        Ok(Self {
            records: Records::open(&bus).await?,
            order: Order::open(&bus).await?,
            outbox: Outbox::new(bus.clone(), protocol.version(), tenure.clone()),
            bus,
            tenure,
            objects,
            protocol,
            defaults,
            limits,
            storage,
            full,
            is_full,
            taken_when_full: 0,
            queue: Queue::default(),
            units,
            units_seen,
            program_bytes: HashMap::new(),
            jobs: HashMap::new(),
            dropped: HashSet::new(),
            leases: Leases::default(),
            cleaning: HashSet::new(),
            cleaned,
            cleaned_receiver,
            final_proofs,
            judged_receiver,
            inputs,
            looked_receiver,
            not_ready,
            replaced,
            replaced_receiver,
        })
    }

    /// Works until `stop`, then finishes what is in hand and gives back what was pulled but not begun.
    pub async fn run(mut self, stop: CancellationToken) {
        let (bus, objects, records) = (self.bus.clone(), self.objects.clone(), self.records.clone());
        let side_tasks = [
            tokio::spawn(room::follow(bus.clone(), self.storage.room, self.is_full.clone(), stop.clone())),
            tokio::spawn(retention::follow(bus, objects, records, self.tenure.clone(), self.storage.retention, stop.clone())),
            tokio::spawn(workers::follow(self.bus.clone(), self.protocol.version(), self.units_seen.clone(), stop.clone())),
            tokio::spawn(queues::follow(self.bus.clone(), stop.clone())),
            tokio::spawn(upkeep::follow(
                self.bus.clone(),
                self.objects.clone(),
                self.records.clone(),
                self.full.clone(),
                self.not_ready.clone(),
                self.replaced.clone(),
                stop.clone(),
            )),
        ];
        tokio::select! {
            () = stop.cancelled() => {}
            () = self.resume() => {}
        }
        let (request_sender, mut requests) = mpsc::channel(1);
        let (report_sender, mut reports) = mpsc::channel(1);
        let pull = |kind, batch, sender| tokio::spawn(intake::pull(self.bus.clone(), kind, batch, sender, stop.clone()));
        let pullers = [
            pull(ConsumerKind::Requests, REQUEST_BATCH, request_sender),
            pull(ConsumerKind::Reports, REPORT_BATCH, report_sender),
        ];
        let mut broadcasts = self.bus.broadcasts();
        let mut closes = self.bus.input_closes();
        let mut ticks = tokio::time::interval(TICK);
        ticks.set_missed_tick_behavior(MissedTickBehavior::Delay);
        loop {
            tokio::select! {
                biased;
                () = stop.cancelled() => break,
                _ = ticks.tick() => self.tick().await,
                Some(things) = self.replaced_receiver.recv() => self.make_up_for(&things).await,
                Some((job, done)) = self.cleaned_receiver.recv() => self.cleaned(job, done).await,
                Some(judged) = self.judged_receiver.recv() => self.take_judged(judged).await,
                job = closes.next() => self.look_at_input(job),
                Some((job, looked)) = self.looked_receiver.recv() => self.take_looked(job, looked).await,
                broadcast = broadcasts.next() => self.broadcast(broadcast).await,
                Some(batch) = reports.recv() => self.take_reports(batch).await,
                Some(batch) = requests.recv() => self.take_requests(batch).await,
            }
            // Whatever it was: a job may have ended, and the next need not wait for a tick.
            self.admit().await;
        }
        for puller in pullers {
            // It ends by itself; a panic in it is logged by the runtime.
            let _ = puller.await;
        }
        // Pulled but not begun: another coordinator, or the next run, need not wait for it.
        let pulled = std::iter::from_fn(|| reports.try_recv().ok()).chain(std::iter::from_fn(|| requests.try_recv().ok()));
        let given_back = join_all(pulled.flatten().map(|delivery| async move { delivery.nak(None).await })).await;
        for error in given_back.into_iter().filter_map(Result::err) {
            tracing::debug!(%error, "not given back; it comes again");
        }
        for task in side_tasks {
            let _ = task.await; // as above
        }
        // What it knew of jobs is another's to show.
        gauges::show_active(std::iter::empty());
        turns::show(&Queue::default());
        self.bus.flush().await;
    }

    /// Reads back the jobs that have not ended and puts on the bus what a coordinator before us may have owed.
    async fn resume(&mut self) {
        let records = loop {
            match self.records.all().await {
                Ok(records) => break records,
                Err(error) => tracing::warn!(%error, "job records cannot be read yet; trying again"),
            }
            tokio::time::sleep(TICK).await;
        };
        // Those that have ended say when their clients were last served, where these have others.
        let (ended, unfinished): (Vec<_>, Vec<_>) = records.into_iter().partition(|stored| stored.record.state.is_terminal());
        unfinished.iter().chain(&ended).for_each(|stored| self.queue.note(&stored.record));
        let owing: Vec<StoredJob> =
            unfinished.into_iter().chain(ended.into_iter().filter(|stored| !stored.record.cleaned)).collect();
        if !owing.is_empty() {
            tracing::info!(jobs = owing.len(), waiting = self.queue.waiting(), "resuming unfinished jobs");
        }
        for stored in owing {
            if stored.record.is_waiting() || stored.record.waits_for_input() {
                // It has nothing but its record, and owes nothing.
                self.keep(stored);
                continue;
            }
            let job = stored.record.job;
            // What fails here is tried again with the next tick.
            if let Err(error) = self.apply(job, Vec::new()).await {
                tracing::error!(%job, %error, "job not resumed");
            }
        }
    }

    /// Somebody else's cancellation counts as a request; our own find their job ended.
    async fn broadcast(&mut self, broadcast: Broadcast) {
        let Broadcast::Cancel(cancel) = broadcast else { return };
        // Of a job that is not known yet it is read when its request comes.
        if (self.jobs.contains_key(&cancel.job) || self.dropped.contains(&cancel.job))
            && let Err(error) = self.apply(cancel.job, vec![Input::Cancel { message: cancel.message }]).await
        {
            tracing::error!(job = %cancel.job, %error, "cancellation not committed");
        }
    }

    /// Applies inputs to one job, in order: commits once, runs the commands, and returns what became of each input;
    /// `None` when there is no such job.
    async fn apply(&mut self, id: JobId, inputs: Vec<Input>) -> Result<Option<Vec<Verdict>>, BucketError> {
        for _ in 0..MAX_CONFLICTS {
            match self.try_apply(id, inputs.clone()).await {
                Err(error) if error.is_conflict() => {
                    counter!(COMMIT_CONFLICTS).increment(1);
                    tracing::debug!(job = %id, "another coordinator was first; reading the job back");
                }
                Err(error) => {
                    self.dropped.insert(id);
                    return Err(error);
                }
                done => {
                    if self.dropped.remove(&id) && matches!(done, Ok(None)) {
                        tracing::error!(job = %id, "the job's record was deleted while nobody remembered it: the job is lost");
                    }
                    return done;
                }
            }
        }
        self.dropped.insert(id);
        let reason = format!("{MAX_CONFLICTS} conflicts in a row");
        Err(BusError::transient(format!("committing job {id}"), reason).into())
    }

    async fn try_apply(&mut self, id: JobId, inputs: Vec<Input>) -> Result<Option<Vec<Verdict>>, BucketError> {
        let Some(mut stored) = self.take(id).await? else { return Ok(None) };
        // Whatever is refused is counted, and so committed: a record that another coordinator is ahead of shows here.
        let verdicts = self.step(&mut stored, inputs).await?;
        self.keep(stored);
        Ok(Some(verdicts))
    }

    /// The job from memory, else read back, with what it owed put on the bus.
    async fn take(&mut self, id: JobId) -> Result<Option<StoredJob>, BucketError> {
        if let Some(active) = self.jobs.remove(&id) {
            return Ok(Some(active.stored));
        }
        let Some(mut stored) = self.records.load(id).await? else { return Ok(None) };
        if !stored.record.cleaned {
            let mut inputs = vec![Input::Resumed];
            // Broadcasts are followed for jobs in memory: one that came meanwhile was missed.
            if !stored.record.state.is_terminal() {
                inputs.extend(self.cancellation(id).await?);
            }
            self.step(&mut stored, inputs).await?;
            let owed = outstanding(&stored.record, unix_ms());
            self.outbox.send_missing(&stored.record, owed).await?;
        }
        Ok(Some(stored))
    }

    /// Keeps the job for its next input; has it cleaned up, or forgets it, when it has ended.
    fn keep(&mut self, stored: StoredJob) {
        let (id, record) = (stored.record.job, &stored.record);
        self.queue.note(record);
        if record.cleaned {
            return;
        }
        if record.state.is_terminal() && self.cleaning.insert(id) {
            let (bus, records, objects, cleaned) =
                (self.bus.clone(), self.records.clone(), self.objects.clone(), self.cleaned.clone());
            let (begun, streamed) = (record.timings.admitted_ms != 0, record.is_streamed());
            tokio::spawn(async move {
                let clean = async {
                    if streamed {
                        bus.purge_input(id).await?;
                    }
                    match begun {
                        true => cleanup::clean_up(&bus, &records, &objects, id).await,
                        false => cleanup::clean_up_unbegun(&bus, id).await,
                    }
                };
                let done = clean.await;
                if let Err(error) = &done {
                    tracing::warn!(job = %id, error = format!("{error:#}"), "clean-up failed; trying again later");
                }
                let _ = cleaned.send((id, done.is_ok())); // fails only when we are shutting down
            });
        }
        self.jobs.insert(id, ActiveJob { stored, touched: Instant::now() });
    }

    async fn cleaned(&mut self, id: JobId, done: bool) {
        self.cleaning.remove(&id);
        if done && let Err(error) = self.apply(id, vec![Input::Cleaned]).await {
            tracing::debug!(job = %id, %error, "clean-up not recorded; it is done again");
        }
    }

    async fn step(&self, stored: &mut StoredJob, inputs: Vec<Input>) -> Result<Vec<Verdict>, BucketError> {
        let (before, repeated, epoch) = (stored.record.state, stored.record.progress.repeated, stored.record.epoch);
        let at_ms = unix_ms();
        let (mut verdicts, mut commands, mut segments) = (Vec::new(), Vec::new(), BTreeSet::new());
        let mut changed = false;
        for input in inputs {
            let transition = apply(&mut stored.record, input, at_ms, self.protocol.as_ref());
            if transition.changed() {
                changed = true;
                commands.extend(transition.commands);
                segments.extend(transition.segment);
            }
            verdicts.push(transition.verdict);
        }
        if changed {
            outbox::still_leading(&self.tenure, "committing a job")?;
            if let Err(error) = self.records.commit(stored, &segments).await {
                if !error.is_conflict() || !self.records.is_lost(stored).await? {
                    return Err(error);
                }
                self.write_again(stored).await?;
            }
            log_progress(before, &stored.record);
            gauges::count_aggregator(epoch, &stored.record);
            counter!(WORK_REPEATED).increment(stored.record.progress.repeated.saturating_sub(repeated).into());
            self.outbox.send(&commands).await?;
        }
        Ok(verdicts)
    }
}

fn log_progress(before: JobState, record: &JobRecord) {
    let (job, state, progress) = (record.job, record.state, record.progress);
    if before == state {
        return;
    }
    if !state.is_terminal() {
        tracing::info!(%job, segments = ?progress.segments, steps = progress.steps, "job {state}");
        return;
    }
    gauges::count_ended(record);
    let milliseconds = record.timings.ended_ms.saturating_sub(record.timings.accepted_ms);
    match &record.failure {
        None => tracing::info!(%job, milliseconds, segments = ?progress.segments, "job {state}"),
        Some(failure) => tracing::warn!(%job, milliseconds, %failure, "job {state}"),
    }
}
