//! What must hold after any run, whatever died during it.

use std::collections::{BTreeMap, HashMap};
use std::path::Path;
use std::time::Duration;

use anyhow::{Context, Result, bail, ensure};
use futures::StreamExt;
use serde_json::Value;
use tokio::time::{Instant, sleep, timeout};
use zisk_common::bus::Bus;
use zisk_common::ids::{JobId, WorkerId};
use zisk_common::messages::{Event, EventBody, JobRecord, JobState, ObjectRef, SegmentRecord, decode};
use zisk_common::objects::Objects;
use zisk_common::subjects::{BucketKind, ConsumerKind, EventKind, StreamKind};

use crate::guests::{Reference, RunEnd, Workload};
use crate::{Process, scrape};

/// Pause between two looks at something that is to change.
const LOOK: Duration = Duration::from_millis(100);
/// How long what is there takes to be read.
const READ: Duration = Duration::from_secs(10);

/// A job's end, to be compared with a later look.
#[derive(Clone, Debug)]
pub struct End {
    /// The record as it stood.
    pub record: JobRecord,
    /// All events.
    pub events: Vec<Event>,
}

/// Waits until the job's record is terminal.
///
/// # Errors
/// When it is not within `limit`; with where it stands.
pub async fn end_of(bus: &Bus, job: JobId, limit: Duration) -> Result<JobRecord> {
    let jobs = bus.jobs().await?;
    let deadline = Instant::now() + limit;
    loop {
        let record = jobs.get(job).await?.map(|entry| entry.value);
        if let Some(record) = &record
            && record.state.is_terminal()
        {
            return Ok(record.clone());
        }
        if Instant::now() >= deadline {
            let Some(record) = record else { bail!("job {job} was not accepted within {limit:?}") };
            bail!("job {job} has not ended after {limit:?}: {} {:?}", record.state, record.progress);
        }
        sleep(LOOK).await;
    }
}

/// All events in the stream, or those of one job, oldest first.
///
/// # Errors
/// When they cannot be read.
pub async fn events(bus: &Bus, job: Option<JobId>) -> Result<Vec<Event>> {
    let filter = job.map_or_else(|| format!("{}.>", bus.prefix()), |job| bus.prefix().events_of(job));
    let stream = bus.prefix().stream(StreamKind::Events);
    let (mut found, mut next) = (Vec::new(), 1);
    loop {
        let batch = bus.read(&stream, &filter, next).await?;
        let Some(last) = batch.last() else { return Ok(found) };
        next = last.sequence + 1;
        for message in &batch {
            found.push(decode::<Event>(&message.payload)?);
        }
    }
}

/// Checks one job that has ended: exactly one terminal event, which says what the record says, and at most one committed
/// result per segment and phase.
///
/// # Errors
/// With what does not hold.
pub async fn check_job(bus: &Bus, job: JobId) -> Result<End> {
    let record = bus.jobs().await?.get(job).await?.with_context(|| format!("job {job} has no record"))?.value;
    let events = events(bus, Some(job)).await?;
    check_events(&record, &events).with_context(|| format!("job {job}"))?;
    Ok(End { record, events })
}

/// [`check_job`] on what was read before.
///
/// # Errors
/// As [`check_job`].
pub fn check_events(record: &JobRecord, events: &[Event]) -> Result<()> {
    ensure!(record.state.is_terminal(), "not ended: {}", record.state);
    let terminal: Vec<&Event> = events.iter().filter(|event| event.kind().is_terminal()).collect();
    ensure!(terminal.len() == 1, "{} terminal events: {terminal:?}", terminal.len());
    let end = terminal[0];
    match (&end.body, record.state) {
        (EventBody::Completed { proof, .. }, JobState::Completed) => {
            ensure!(*proof == record.proof, "the event names another proof than the record");
        }
        (EventBody::Failed { failure }, JobState::Failed) | (EventBody::Cancelled { failure }, JobState::Cancelled) => {
            ensure!(Some(failure) == record.failure.as_ref(), "the event names another cause than the record");
        }
        (_, state) => bail!("the record says {state}, the event {}", end.kind()),
    }
    ensure!(events.last().is_some_and(|last| last.kind().is_terminal()), "an event after the end: {:?}", events.last());
    // Events may come twice, after a coordinator's death; they must then say the same.
    let mut contributors: BTreeMap<u32, WorkerId> = BTreeMap::new();
    let mut nodes: BTreeMap<(u32, u32), (WorkerId, ObjectRef)> = BTreeMap::new();
    let mut rejected = false;
    for event in events {
        match event.body.clone() {
            EventBody::Contributed { n, worker, .. } => {
                let first = *contributors.entry(n).or_insert(worker);
                ensure!(first == worker, "two contributions of segment {n} committed: of {first} and of {worker}");
            }
            // One that was rejected makes room for another.
            EventBody::Proof { n, worker, node, commit, .. } => {
                let first = *nodes.entry((n, commit)).or_insert((worker, node));
                ensure!(first == (worker, node), "two proofs of segment {n} committed: {first:?} and {:?}", (worker, node));
            }
            EventBody::Rejected { .. } => rejected = true,
            _ => {}
        }
    }
    if record.state == JobState::Completed {
        let segments = record.progress.segments.unwrap_or(0);
        ensure!(record.progress.contributed == segments, "{:?}", record.progress);
        // An aggregator that had taken a proof does not wait for it when another rejects it.
        ensure!(record.progress.proven == segments || rejected, "{:?}", record.progress);
        let proofs = nodes.keys().filter(|(_, commit)| *commit <= 1).count();
        ensure!(proofs <= segments as usize, "{proofs} proofs of {segments} segments");
    }
    Ok(())
}

/// Checks that the job ended as a run without faults does: with a proof that verifies, of the same outputs, or with a
/// failure of the same kind.
///
/// # Errors
/// With what does not hold.
pub async fn check_outcome(objects: &Objects, reference: &Reference, workload: &Workload, record: &JobRecord) -> Result<()> {
    match (&workload.end, record.state) {
        (RunEnd::Outputs(_), JobState::Completed) => check_proof(objects, reference, workload, record).await,
        (RunEnd::Failure(kind), JobState::Failed) => {
            let failure = record.failure.as_ref().context("no cause")?;
            ensure!(failure.kind == *kind, "{} job {}: expected failure kind {kind}: {failure}", workload.name, record.job);
            Ok(())
        }
        (expected, state) => {
            bail!("{} job {} ended {state}, not with {expected:?}: {:?}", workload.name, record.job, record.failure)
        }
    }
}

/// Checks a completed job's proof.
///
/// # Errors
/// When it does not verify, or with other outputs than those of a run without faults.
pub async fn check_proof(objects: &Objects, reference: &Reference, workload: &Workload, record: &JobRecord) -> Result<()> {
    let RunEnd::Outputs(outputs) = &workload.end else {
        bail!("{} job {} completed, but the guest fails", workload.name, record.job);
    };
    let proof = record.proof.context("completed without a proof")?;
    let bytes = objects.get(proof.key).await?;
    reference
        .verify(&workload.elf, &bytes, outputs)
        .with_context(|| format!("{} job {} has a WRONG proof", workload.name, record.job))
}

/// Checks that a job's end is what it was.
///
/// # Errors
/// When it changed.
pub async fn check_unchanged(bus: &Bus, before: &JobRecord) -> Result<()> {
    let job = before.job;
    let now = bus.jobs().await?.get(job).await?.with_context(|| format!("job {job}'s record is gone"))?.value;
    check_same_end(before, &now)
}

/// [`check_unchanged`] on what was read before.
///
/// # Errors
/// As [`check_unchanged`].
pub fn check_same_end(before: &JobRecord, now: &JobRecord) -> Result<()> {
    let job = before.job;
    let end = |record: &JobRecord| (record.state, record.failure.clone(), record.proof, record.timings.ended_ms);
    ensure!(end(before) == end(now), "job {job}'s end changed: {:?} is now {:?}", end(before), end(now));
    Ok(())
}

/// Waits until nothing is left of jobs that have ended, all of which must have: no message, no lease, no segment record, no
/// segment or node. `store` is the directory of objects where they are in one.
///
/// # Errors
/// With everything that is left after `grace`.
pub async fn check_nothing_left(bus: &Bus, store: Option<&Path>, grace: Duration) -> Result<()> {
    let deadline = Instant::now() + grace;
    loop {
        // A call that is not answered in time says nothing yet.
        let left = leftovers(bus, store).await.unwrap_or_else(|error| vec![format!("not read: {error:#}")]);
        if left.is_empty() {
            return Ok(());
        }
        ensure!(Instant::now() < deadline, "left after {grace:?}:\n  {}", left.join("\n  "));
        sleep(LOOK * 3).await;
    }
}

/// Waits until the gauges of work are zero at all of these coordinators, and until one of them leads.
///
/// # Errors
/// With those that are not after `grace`.
pub async fn check_gauges(coordinators: &[&Process], grace: Duration) -> Result<()> {
    const GAUGES: [&str; 4] = ["zisk_active_jobs", "zisk_waiting_jobs", "zisk_waiting_bytes", "zisk_queue_depth"];
    let deadline = Instant::now() + grace;
    loop {
        let (mut wrong, mut leaders) = (Vec::new(), 0);
        for coordinator in coordinators {
            let (_, text) = scrape::page(coordinator, "/metrics")?;
            for line in text.lines() {
                let Some((name, value)) = line.rsplit_once(' ') else { continue };
                leaders += usize::from(name == "zisk_coordinator_leader" && value == "1");
                if GAUGES.iter().any(|gauge| name.split('{').next() == Some(gauge)) && value != "0" {
                    wrong.push(format!("{}: {line}", coordinator.name()));
                }
            }
        }
        if leaders != 1 {
            wrong.push(format!("{leaders} coordinators lead"));
        }
        if wrong.is_empty() {
            return Ok(());
        }
        ensure!(Instant::now() < deadline, "not zero after {grace:?}:\n  {}", wrong.join("\n  "));
        sleep(LOOK * 10).await;
    }
}

async fn leftovers(bus: &Bus, store: Option<&Path>) -> Result<Vec<String>> {
    let mut left = Vec::new();
    let prefix = bus.prefix();
    for kind in [StreamKind::Requests, StreamKind::Assign, StreamKind::Report, StreamKind::Broadcast, StreamKind::Input] {
        let name = prefix.stream(kind);
        let messages = bus.jetstream().get_stream(&name).await?.cached_info().state.messages;
        if messages > 0 {
            let subjects = subjects(bus, &name).await.unwrap_or_default();
            left.push(format!("{messages} messages in {name}: {subjects:?}"));
        }
    }
    for &kind in ConsumerKind::ALL {
        let depth = bus.queue_depth(kind).await?;
        if depth.in_flight > 0 {
            left.push(format!("{} messages of {kind:?} are held", depth.in_flight));
        }
    }
    for (job, entry) in bus.jobs().await?.entries().await? {
        let record = entry.value;
        if !record.state.is_terminal() {
            left.push(format!("job {job} is {}: {:?}", record.state, record.progress));
        } else if !record.cleaned {
            left.push(format!("job {job} is {} but not cleaned up", record.state));
        }
    }
    for kind in [BucketKind::Elections, BucketKind::Segments] {
        let keys = bus.bucket::<SegmentRecord>(kind).await?.keys().await?;
        left.extend(keys.into_iter().map(|key| format!("key {key} in {}", prefix.bucket(kind))));
    }
    match store {
        Some(directory) => {
            let jobs = directory.join("job");
            let mut folders = vec![jobs];
            while let Some(folder) = folders.pop() {
                for entry in std::fs::read_dir(&folder).into_iter().flatten().flatten() {
                    if entry.file_type().is_ok_and(|kind| kind.is_dir()) {
                        folders.push(entry.path());
                    } else {
                        left.push(format!("object {}", entry.path().display()));
                    }
                }
            }
        }
        None => {
            if let Ok(bucket) = bus.jetstream().get_object_store(prefix.objects_bucket()).await {
                let mut list = bucket.list().await?;
                while let Ok(Some(object)) = timeout(READ, list.next()).await {
                    let name = object?.name;
                    if name.starts_with("job/") {
                        left.push(format!("object {name}"));
                    }
                }
            }
        }
    }
    Ok(left)
}

async fn subjects(bus: &Bus, stream: &str) -> Result<Vec<String>> {
    let mut info = bus.jetstream().get_stream(stream).await?.info_with_subjects(">").await?;
    let mut subjects = Vec::new();
    while let Some(Ok((subject, count))) = info.next().await {
        subjects.push(format!("{subject} ({count})"));
    }
    Ok(subjects)
}

/// Work done, by the workers' own account.
#[derive(Clone, Debug, Default)]
pub struct Work {
    /// Contributions computed, by job and segment.
    pub contributions: HashMap<(String, u64), u32>,
    /// Proofs computed, by job and segment.
    pub proofs: HashMap<(String, u64), u32>,
    /// Plans begun, by job.
    pub plans: HashMap<String, u32>,
    /// Aggregations begun, by job.
    pub aggregations: HashMap<String, u32>,
}

impl Work {
    /// Reads the logs (JSON) of all workers in this directory.
    ///
    /// # Errors
    /// When a log cannot be read.
    pub fn of_logs(directory: &Path) -> Result<Self> {
        let mut work = Self::default();
        for entry in std::fs::read_dir(directory)? {
            let path = entry?.path();
            let name = path.file_name().and_then(|name| name.to_str()).unwrap_or_default();
            if name.starts_with("worker") && name.ends_with(".log") {
                let text = String::from_utf8_lossy(&std::fs::read(&path)?).into_owned();
                text.lines().filter_map(|line| serde_json::from_str(line).ok()).for_each(|line| work.add(&line));
            }
        }
        Ok(work)
    }

    fn add(&mut self, line: &Value) {
        let (Some(message), Some(job)) = (line["message"].as_str(), line["job"].as_str()) else { return };
        let job = job.to_owned();
        let segment = line["segment"].as_u64();
        match (message, segment) {
            ("contributed", Some(n)) => *self.contributions.entry((job, n)).or_default() += 1,
            ("proven", Some(n)) => *self.proofs.entry((job, n)).or_default() += 1,
            ("plan begun", _) => *self.plans.entry(job).or_default() += 1,
            ("elected aggregator", _) => *self.aggregations.entry(job).or_default() += 1,
            _ => {}
        }
    }

    /// How often (contributions, proofs, plans, aggregations) were done beyond the first time.
    pub fn repeated(&self) -> [u32; 4] {
        fn beyond<'a>(counts: impl Iterator<Item = &'a u32>) -> u32 {
            counts.map(|count| count - 1).sum()
        }
        [
            beyond(self.contributions.values()),
            beyond(self.proofs.values()),
            beyond(self.plans.values()),
            beyond(self.aggregations.values()),
        ]
    }

    /// What a run without faults must show.
    ///
    /// # Errors
    /// When something was done twice.
    pub fn check_done_once(&self) -> Result<()> {
        let repeated = self.repeated();
        ensure!(repeated == [0; 4], "contributions, proofs, plans, aggregations done again without a fault: {repeated:?}");
        Ok(())
    }
}

/// Whether a job got anywhere with this event: what a fault may hold up.
pub const fn is_progress(kind: EventKind) -> bool {
    !matches!(kind, EventKind::Accepted | EventKind::Admitted)
}
