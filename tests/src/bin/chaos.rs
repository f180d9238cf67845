//! A cluster at work while its parts fail: `scripts/chaos.sh --minutes N --seed S`.
//!
//! Faults are chosen by the seed; jobs flow all the time. At the end every oracle of `zisk_tests::oracles` must hold.
#![forbid(unsafe_code)]

use std::collections::{BTreeMap, HashMap, VecDeque};
use std::path::{Path, PathBuf};
use std::process::ExitCode;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use anyhow::{Context, Result, bail};
use bytes::Bytes;
use futures::StreamExt;
use tokio::time::{Instant, sleep};
use zisk_client::{Cancellation, ClientError};
use zisk_common::ids::{JobId, WorkerId};
use zisk_common::messages::{Event, EventBody, JobRecord, JobState, unix_ms};
use zisk_common::subjects::{BucketKind, ConsumerKind};
use zisk_tests::chance::Chance;
use zisk_tests::fleet::{Fleet, Settings, Worker};
use zisk_tests::guests::{Reference, RunEnd, Workload};
use zisk_tests::oracles::{self, Work};
use zisk_tests::{Link, Process};

/// Jobs under way at a time.
const JOBS: usize = 3;
/// Workers at a time; the first is behind the proxy.
const WORKERS: usize = 3;
/// A job that takes longer is stuck. Well above what a busy machine needs for all that can happen to one.
const JOB_LIMIT: Duration = Duration::from_secs(300);
/// What is left of jobs must be gone after this.
const GRACE: Duration = Duration::from_secs(90);
/// Between two faults.
const PAUSE: (Duration, Duration) = (Duration::from_millis(1500), Duration::from_secs(6));
/// Between two looks at the jobs.
const LOOK: Duration = Duration::from_millis(200);
/// Reports kept to be published again.
const CAPTURED: usize = 300;

#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
enum Fault {
    KillWorker,
    KillAggregator,
    StopWorker,
    FreezeWorker,
    KillCoordinator,
    FreezeCoordinator,
    KillNats,
    CutLink,
    SlowLink,
    SilentLink,
    DeleteConsumer,
    DeleteLeases,
    RepeatReports,
    DamageObject,
    CancelJob,
}

impl Fault {
    const ALL: &[Self] = &[
        Self::KillWorker,
        Self::KillAggregator,
        Self::StopWorker,
        Self::FreezeWorker,
        Self::KillCoordinator,
        Self::FreezeCoordinator,
        Self::KillNats,
        Self::CutLink,
        Self::SlowLink,
        Self::SilentLink,
        Self::DeleteConsumer,
        Self::DeleteLeases,
        Self::RepeatReports,
        Self::DamageObject,
        Self::CancelJob,
    ];

    /// Whether it holds anything up that recovers.
    const fn disturbs(self) -> bool {
        !matches!(self, Self::CancelJob | Self::DamageObject | Self::RepeatReports)
    }
}

/// A fault that happened.
struct Happened {
    fault: Fault,
    at_ms: u64,
    /// Whose work it hits; none is everybody's.
    worker: Option<WorkerId>,
}

/// What is to be undone later.
enum Undo {
    Thaw(WorkerId),
    ThawCoordinator(usize),
    ClearLink,
    StartWorker { by_proxy: bool },
    StartCoordinator,
}

struct Job {
    workload: Workload,
    submitted: Instant,
    cancelled: bool,
    /// An object of it was damaged: it may fail.
    damaged: bool,
    end: Option<JobRecord>,
}

type Captured = Arc<Mutex<VecDeque<(String, Bytes)>>>;

struct Chaos {
    fleet: Fleet,
    chance: Chance,
    workloads: Vec<Workload>,
    jobs: BTreeMap<JobId, Job>,
    happened: Vec<Happened>,
    undo: Vec<(Instant, Undo)>,
    leaving: Vec<Process>,
    captured: Captured,
    problems: Vec<String>,
}

impl Chaos {
    async fn start(seed: u64, reference: &Reference) -> Result<Self> {
        let settings = Settings { ack_wait: Duration::from_secs(4), lease: Duration::from_secs(3), ..Settings::default() };
        let mut fleet = Fleet::start(settings).await?;
        fleet.start_coordinator()?;
        for index in 0..WORKERS {
            if index == 0 {
                fleet.start_worker_by_proxy()?
            } else {
                fleet.start_worker()?
            };
        }
        let captured = Captured::default();
        let mut reports = fleet.bus.client().subscribe(format!("{}.report.>", fleet.bus.prefix())).await?;
        let keep = captured.clone();
        tokio::spawn(async move {
            while let Some(message) = reports.next().await {
                let mut kept = keep.lock().unwrap_or_else(PoisonError::into_inner);
                if kept.len() == CAPTURED {
                    kept.pop_front();
                }
                kept.push_back((message.subject.to_string(), message.payload));
            }
        });
        let workloads = vec![
            reference.hashes(2)?,
            reference.hashes(3)?,
            reference.hashes(4)?,
            reference.hashes(6)?,
            reference.workload("fibonacci", &[0xfa])?,
            reference.workload("trap", b"l")?,
            reference.workload("exit-one", &[])?,
            reference.garbage(),
        ];
        Ok(Self {
            fleet,
            chance: Chance::new(seed),
            workloads,
            jobs: BTreeMap::new(),
            happened: Vec::new(),
            undo: Vec::new(),
            leaving: Vec::new(),
            captured,
            problems: Vec::new(),
        })
    }

    fn active(&self) -> Vec<JobId> {
        self.jobs.iter().filter(|(_, job)| job.end.is_none()).map(|(id, _)| *id).collect()
    }

    async fn submit(&mut self) {
        let failing = self.chance.below(8) == 0;
        let wanted: Vec<&Workload> =
            self.workloads.iter().filter(|workload| matches!(workload.end, RunEnd::Failure(_)) == failing).collect();
        let Some(workload) = self.chance.pick(&wanted).map(|workload| (*workload).clone()) else { return };
        match self.fleet.submit(&workload, 12, None).await {
            Ok(id) => {
                let job = Job { workload, submitted: Instant::now(), cancelled: false, damaged: false, end: None };
                self.jobs.insert(id, job);
            }
            // Not acknowledged, so not accepted; the next one comes.
            Err(error) => eprintln!("not submitted: {error:#}"),
        }
    }

    /// Looks which jobs have ended.
    async fn look(&mut self) {
        for id in self.active() {
            let read = async { anyhow::Ok(self.fleet.bus.jobs().await?.get(id).await?) };
            let record = match read.await {
                Ok(entry) => entry.map(|entry| entry.value),
                Err(error) => {
                    eprintln!("job {id} not read: {error:#}");
                    continue;
                }
            };
            let Some(job) = self.jobs.get_mut(&id) else { continue };
            if let Some(record) = &record
                && record.state.is_terminal()
            {
                job.end = Some(record.clone());
            } else if job.submitted.elapsed() > JOB_LIMIT {
                let state = record.map(|record| format!("{} {:?}", record.state, record.progress));
                self.problems.push(format!("LOST: job {id} ({}) has not ended: {state:?}", job.workload.name));
                // Once is enough.
                job.submitted = Instant::now() + JOB_LIMIT * 10;
            }
        }
    }

    async fn inject(&mut self) -> Result<()> {
        let Some(fault) = self.chance.pick(Fault::ALL).copied() else { return Ok(()) };
        let at_ms = unix_ms();
        if let Some(worker) = self.try_inject(fault).await? {
            let name = worker.map_or_else(String::new, |id| format!(" of {id}"));
            eprintln!("{:>4} {fault:?}{name}, {} jobs under way", self.happened.len() + 1, self.active().len());
            self.happened.push(Happened { fault, at_ms, worker });
        }
        Ok(())
    }

    /// Does it, if it can be done now; returns whom it hits.
    async fn try_inject(&mut self, fault: Fault) -> Result<Option<Option<WorkerId>>> {
        let settings = *self.fleet.settings();
        let soon = self.chance.between(Duration::from_millis(200), Duration::from_secs(3));
        let long = settings.ack_wait + self.chance.between(Duration::from_secs(1), Duration::from_secs(4));
        let frozen = self.undo.iter().any(|(_, undo)| matches!(undo, Undo::Thaw(_)));
        match fault {
            Fault::KillWorker | Fault::StopWorker | Fault::KillAggregator => {
                if self.fleet.workers.len() < 2 || frozen {
                    return Ok(None);
                }
                let index = if fault == Fault::KillAggregator {
                    match self.aggregator().await {
                        Some(index) => index,
                        None => return Ok(None),
                    }
                } else {
                    self.chance.below(self.fleet.workers.len())
                };
                let Worker { id, mut process, by_proxy } = self.fleet.workers.remove(index);
                if fault == Fault::StopWorker {
                    process.terminate();
                    self.leaving.push(process);
                } else {
                    process.kill();
                }
                self.later(soon, Undo::StartWorker { by_proxy });
                Ok(Some(Some(id)))
            }
            Fault::FreezeWorker => {
                if self.fleet.workers.len() < 2 || frozen {
                    return Ok(None);
                }
                let index = self.chance.below(self.fleet.workers.len());
                let worker = &self.fleet.workers[index];
                worker.process.freeze();
                let id = worker.id;
                self.later(long, Undo::Thaw(id));
                Ok(Some(Some(id)))
            }
            Fault::KillCoordinator => {
                if self.fleet.coordinators.is_empty() {
                    return Ok(None);
                }
                let index = self.chance.below(self.fleet.coordinators.len());
                // A frozen one's place is taken by number.
                if self.undo.iter().any(|(_, undo)| matches!(undo, Undo::ThawCoordinator(_))) {
                    return Ok(None);
                }
                self.fleet.coordinators.remove(index).kill();
                self.later(soon, Undo::StartCoordinator);
                Ok(Some(None))
            }
            Fault::FreezeCoordinator => {
                if self.undo.iter().any(|(_, undo)| matches!(undo, Undo::ThawCoordinator(_))) {
                    return Ok(None);
                }
                let Some(first) = self.fleet.coordinators.first() else { return Ok(None) };
                first.freeze();
                self.later(long, Undo::ThawCoordinator(0));
                Ok(Some(None))
            }
            Fault::KillNats => {
                self.fleet.nats.servers[0].kill();
                sleep(soon.min(Duration::from_secs(2))).await;
                self.fleet.nats.servers[0].restart()?;
                Ok(Some(None))
            }
            Fault::CutLink | Fault::SlowLink | Fault::SilentLink => {
                let Some(worker) = self.fleet.workers.iter().find(|worker| worker.by_proxy) else { return Ok(None) };
                let id = worker.id;
                if self.undo.iter().any(|(_, undo)| matches!(undo, Undo::ClearLink)) {
                    return Ok(None);
                }
                match fault {
                    Fault::CutLink => self.fleet.proxy.cut(),
                    Fault::SlowLink => {
                        self.fleet.proxy.set(Link::Slow { delay: Duration::from_millis(300), bytes_per_second: 100_000 });
                        self.later(long, Undo::ClearLink);
                    }
                    _ => {
                        self.fleet.proxy.set(Link::Silent);
                        self.later(long, Undo::ClearLink);
                    }
                }
                Ok(Some(Some(id)))
            }
            Fault::DeleteConsumer => {
                let Some(kind) = self.chance.pick(ConsumerKind::ALL).copied() else { return Ok(None) };
                let stream = self.fleet.bus.prefix().stream(kind.stream());
                let jetstream = self.fleet.bus.jetstream();
                match jetstream.delete_consumer_from_stream(kind.durable_name(), stream).await {
                    Ok(_) => Ok(Some(None)),
                    Err(_) => Ok(None),
                }
            }
            Fault::DeleteLeases => {
                let bucket = self.fleet.bus.prefix().bucket(BucketKind::Elections);
                match self.fleet.bus.jetstream().delete_key_value(bucket).await {
                    Ok(_) => Ok(Some(None)),
                    Err(_) => Ok(None),
                }
            }
            Fault::RepeatReports => {
                let captured: Vec<(String, Bytes)> =
                    self.captured.lock().unwrap_or_else(PoisonError::into_inner).iter().cloned().collect();
                if captured.is_empty() {
                    return Ok(None);
                }
                for _ in 0..10 {
                    if let Some((subject, payload)) = self.chance.pick(&captured).cloned() {
                        // Without its message id, so that the server stores it again.
                        self.fleet.bus.client().publish(subject, payload).await?;
                    }
                }
                Ok(Some(None))
            }
            Fault::DamageObject => {
                let Some(job) = self.chance.pick(&self.active()).copied() else { return Ok(None) };
                let files = files_below(&self.fleet.objects_of(job));
                let Some(file) = self.chance.pick(&files) else { return Ok(None) };
                // It may have been deleted meanwhile.
                let Ok(mut bytes) = std::fs::read(file) else { return Ok(None) };
                let at = self.chance.below(bytes.len());
                let Some(byte) = bytes.get_mut(at) else { return Ok(None) };
                *byte ^= 1;
                if !file.exists() || std::fs::write(file, bytes).is_err() {
                    return Ok(None);
                }
                if let Some(job) = self.jobs.get_mut(&job) {
                    job.damaged = true;
                }
                Ok(Some(None))
            }
            Fault::CancelJob => {
                let Some(id) = self.chance.pick(&self.active()).copied() else { return Ok(None) };
                match self.fleet.client.cancel(id).await {
                    // One that is not confirmed yet is stored, and holds.
                    Ok(Cancellation::Cancelled { .. }) | Err(ClientError::NotConfirmed { .. } | ClientError::Bus(_)) => {
                        if let Some(job) = self.jobs.get_mut(&id) {
                            job.cancelled = true;
                        }
                        Ok(Some(None))
                    }
                    _ => Ok(None),
                }
            }
        }
    }

    async fn aggregator(&mut self) -> Option<usize> {
        let mut found = Vec::new();
        for job in self.active() {
            if let Ok(Some(holder)) = self.fleet.bus.holder(job).await {
                found.extend(self.fleet.position(holder.worker));
            }
        }
        self.chance.pick(&found).copied()
    }

    fn later(&mut self, after: Duration, undo: Undo) {
        self.undo.push((Instant::now() + after, undo));
    }

    /// Undoes what is due, or everything.
    fn undo(&mut self, everything: bool) -> Result<()> {
        let now = Instant::now();
        let (due, waiting): (Vec<_>, Vec<_>) =
            std::mem::take(&mut self.undo).into_iter().partition(|(at, _)| everything || *at <= now);
        self.undo = waiting;
        for (_, undo) in due {
            match undo {
                Undo::Thaw(id) => {
                    if let Some(index) = self.fleet.position(id) {
                        self.fleet.workers[index].process.thaw();
                    }
                }
                Undo::ThawCoordinator(index) => {
                    if let Some(coordinator) = self.fleet.coordinators.get(index) {
                        coordinator.thaw();
                    }
                }
                Undo::ClearLink => self.fleet.proxy.set(Link::Clear),
                Undo::StartWorker { by_proxy } => {
                    let url = if by_proxy { self.fleet.proxy.url() } else { self.fleet.nats.url() };
                    let worker = self.fleet.launch_worker(&url, by_proxy)?;
                    self.fleet.workers.push(worker);
                }
                Undo::StartCoordinator => {
                    let coordinator = self.fleet.launch_coordinator()?;
                    self.fleet.coordinators.push(coordinator);
                }
            }
        }
        Ok(())
    }

    /// Nobody may die unasked.
    fn look_at_processes(&mut self) -> Result<()> {
        let url = self.fleet.nats.url();
        for index in (0..self.fleet.workers.len()).rev() {
            if !self.fleet.workers[index].process.is_running() {
                let mut dead = self.fleet.workers.remove(index);
                let status = dead.process.wait(Duration::ZERO);
                self.problems.push(format!("worker {} ended by itself ({status:?}): {}", dead.id, last_line(&dead.process)));
                let worker = self.fleet.launch_worker(&url, false)?;
                self.fleet.workers.push(worker);
            }
        }
        for index in (0..self.fleet.coordinators.len()).rev() {
            if !self.fleet.coordinators[index].is_running() {
                let dead = self.fleet.coordinators.remove(index);
                self.problems.push(format!("a coordinator ended by itself: {}", last_line(&dead)));
                let coordinator = self.fleet.launch_coordinator()?;
                self.fleet.coordinators.push(coordinator);
            }
        }
        for mut leaving in std::mem::take(&mut self.leaving) {
            if leaving.is_running() {
                self.leaving.push(leaving);
            } else {
                let status = leaving.wait(Duration::ZERO)?;
                if status.code() != Some(0) {
                    self.problems.push(format!("a worker told to stop ended with {status}: {}", last_line(&leaving)));
                }
            }
        }
        Ok(())
    }

    async fn run(&mut self, length: Duration) -> Result<()> {
        let end = Instant::now() + length;
        let mut next_fault = Instant::now() + Duration::from_secs(5);
        while Instant::now() < end {
            while self.active().len() < JOBS {
                let before = self.jobs.len();
                self.submit().await;
                if self.jobs.len() == before {
                    break;
                }
            }
            if Instant::now() >= next_fault {
                self.inject().await?;
                next_fault = Instant::now() + self.chance.between(PAUSE.0, PAUSE.1);
            }
            self.undo(false)?;
            self.look_at_processes()?;
            self.look().await;
            sleep(LOOK).await;
        }
        eprintln!("no more faults; {} jobs under way", self.active().len());
        self.undo(true)?;
        while !self.active().is_empty() && self.problems.iter().all(|problem| !problem.starts_with("LOST")) {
            self.look_at_processes()?;
            self.look().await;
            sleep(LOOK).await;
        }
        Ok(())
    }

    async fn check(&mut self, reference: &Reference) {
        let bus = &self.fleet.bus;
        for (id, job) in &self.jobs {
            let Some(end) = &job.end else { continue };
            let checked = async {
                oracles::check_job(bus, *id).await?;
                oracles::check_unchanged(bus, end).await?;
                match end.state {
                    JobState::Completed => oracles::check_proof(&self.fleet.objects, reference, &job.workload, end).await,
                    JobState::Cancelled if job.cancelled => Ok(()),
                    _ if job.damaged => Ok(()),
                    _ => oracles::check_outcome(&self.fleet.objects, reference, &job.workload, end).await,
                }
            };
            if let Err(error) = checked.await {
                self.problems.push(format!("{error:#}"));
            }
        }
        let store = self.fleet.directory().join("objects");
        if let Err(error) = oracles::check_nothing_left(bus, Some(&store), GRACE).await {
            self.problems.push(format!("{error:#}"));
        }
    }

    fn print(&self, events: &[Event], work: &Work) {
        let mut ends: BTreeMap<String, u32> = BTreeMap::new();
        for job in self.jobs.values() {
            let end = match &job.end {
                None => "LOST".to_owned(),
                Some(record) => match &record.failure {
                    None => record.state.to_string(),
                    Some(failure) => {
                        let why = if job.damaged { ", object damaged" } else { "" };
                        format!("{} ({}{why})", record.state, failure.kind)
                    }
                },
            };
            *ends.entry(end).or_default() += 1;
        }
        println!("jobs accepted        {}", self.jobs.len());
        for (end, count) in &ends {
            println!("  {end:<34} {count}");
        }
        println!("lost                 {}", self.jobs.values().filter(|job| job.end.is_none()).count());
        println!("faults               {}", self.happened.len());
        let recovery = recovery(&self.happened, &self.jobs, events);
        for fault in Fault::ALL {
            let count = self.happened.iter().filter(|happened| happened.fault == *fault).count();
            let name = format!("{fault:?}");
            println!("  {name:<20} {count:>4}   {}", recovery.get(fault).map_or_else(String::new, |times| percentiles(times)));
        }
        let all: Vec<u64> = recovery.values().flatten().copied().collect();
        println!("recovery             {}", percentiles(&all));
        let [contributions, proofs, plans, aggregations] = work.repeated();
        println!(
            "done again           {contributions} contributions of {}, {proofs} proofs of {}, {plans} plans of {}, {aggregations} aggregations of {}",
            work.contributions.len(),
            work.proofs.len(),
            work.plans.len(),
            work.aggregations.len()
        );
        println!("problems             {}", self.problems.len());
        for problem in &self.problems {
            println!("  {problem}");
        }
    }
}

/// From each fault to the next progress of each job it hit, in milliseconds.
fn recovery(happened: &[Happened], jobs: &BTreeMap<JobId, Job>, events: &[Event]) -> BTreeMap<Fault, Vec<u64>> {
    let mut by_job: HashMap<JobId, Vec<&Event>> = HashMap::new();
    for event in events {
        by_job.entry(event.job).or_default().push(event);
    }
    let mut times: BTreeMap<Fault, Vec<u64>> = BTreeMap::new();
    for fault in happened.iter().filter(|happened| happened.fault.disturbs()) {
        for id in jobs.keys() {
            let Some(events) = by_job.get(id) else { continue };
            let (before, after): (Vec<&Event>, Vec<&Event>) = events.iter().partition(|event| event.at_ms <= fault.at_ms);
            let hit = match fault.worker {
                None => !before.is_empty(),
                Some(worker) => before.iter().any(|event| is_of(event, worker)),
            };
            if let (true, Some(next)) = (hit, after.iter().find(|event| oracles::is_progress(event.kind()))) {
                times.entry(fault.fault).or_default().push(next.at_ms - fault.at_ms);
            }
        }
    }
    times
}

fn is_of(event: &Event, by: WorkerId) -> bool {
    match event.body {
        EventBody::Contributed { worker, .. } | EventBody::Proof { worker, .. } | EventBody::Folded { worker, .. } => {
            worker == by
        }
        _ => false,
    }
}

fn percentiles(times: &[u64]) -> String {
    let mut times = times.to_vec();
    times.sort_unstable();
    let at = |part: usize| times.get((times.len() * part / 100).min(times.len().saturating_sub(1))).copied().unwrap_or(0);
    if times.is_empty() {
        return String::new();
    }
    format!("p50 {} ms, p99 {} ms, max {} ms ({} jobs)", at(50), at(99), at(100), times.len())
}

fn files_below(directory: &Path) -> Vec<PathBuf> {
    let (mut files, mut folders) = (Vec::new(), vec![directory.to_owned()]);
    while let Some(folder) = folders.pop() {
        for entry in std::fs::read_dir(&folder).into_iter().flatten().flatten() {
            let path = entry.path();
            if path.is_dir() { folders.push(path) } else { files.push(path) }
        }
    }
    files.sort();
    files
}

fn last_line(process: &Process) -> String {
    process.log().lines().last().unwrap_or_default().to_owned()
}

/// `--minutes N --seed S`
fn arguments() -> Result<(Duration, u64)> {
    let (mut minutes, mut seed) = (1.0, unix_ms());
    let mut arguments = std::env::args().skip(1);
    while let Some(name) = arguments.next() {
        let value = arguments.next().with_context(|| format!("{name} needs a value"))?;
        match name.as_str() {
            "--minutes" => minutes = value.parse().with_context(|| format!("--minutes {value}"))?,
            "--seed" => seed = value.parse().with_context(|| format!("--seed {value}"))?,
            _ => bail!("{name}: expected --minutes N or --seed S"),
        }
    }
    Ok((Duration::from_secs_f64(60.0 * minutes), seed))
}

async fn story() -> Result<bool> {
    let (length, seed) = arguments()?;
    let reference = Reference::default();
    let mut chaos = Chaos::start(seed, &reference).await?;
    eprintln!("seed {seed}; logs in {}", chaos.fleet.directory().display());
    let ran = chaos.run(length).await;
    if let Err(error) = ran {
        chaos.problems.push(format!("the run ended early: {error:#}"));
    }
    chaos.check(&reference).await;
    let events = oracles::events(&chaos.fleet.bus, None).await?;
    let work = Work::of_logs(chaos.fleet.directory())?;
    println!("seed                 {seed}");
    println!("minutes              {:.1}", length.as_secs_f64() / 60.0);
    chaos.print(&events, &work);
    let well = chaos.problems.is_empty();
    if !well {
        chaos.fleet.nats.keep_directory();
    }
    Ok(well)
}

fn main() -> ExitCode {
    let runtime = match tokio::runtime::Runtime::new() {
        Ok(runtime) => runtime,
        Err(error) => {
            eprintln!("chaos: {error}");
            return ExitCode::FAILURE;
        }
    };
    // On this thread: the processes die with the one that started them.
    match runtime.block_on(story()) {
        Ok(true) => ExitCode::SUCCESS,
        Ok(false) => ExitCode::FAILURE,
        Err(error) => {
            eprintln!("chaos: {error:#}");
            ExitCode::FAILURE
        }
    }
}
