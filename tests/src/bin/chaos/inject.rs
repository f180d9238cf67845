//! Doing a fault to the cluster, and undoing it.

use std::collections::VecDeque;
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use anyhow::Result;
use bytes::Bytes;
use futures::StreamExt;
use tokio::time::{Instant, timeout};
use zisk_common::bus::Bus;
use zisk_common::ids::{Digest, JobId, WorkerId};
use zisk_common::messages::{
    ByteBuf, Contribution, ObjectKey, ObjectRef, ObjectScope, Proof, Report, SegmentRecord, Version, unix_ms,
};
use zisk_common::subjects::{BucketKind, ConsumerKind, StreamKind};
use zisk_tests::Link;
use zisk_tests::busy::BusyCores;
use zisk_tests::guests::{RunEnd, Workload};

use crate::cluster::Cluster;
use crate::fault::{Fault, Harm, Role, Trouble};
use crate::jobs::Flow;
use crate::schedule::Step;

/// How long a server may take to answer before the fault is tried again later.
const ANSWER: Duration = Duration::from_secs(2);
/// Reports kept to be published again, and how many of them at a time.
const CAPTURED: usize = 300;
const REPEATED: usize = 10;
/// What a delayed and what a throttled network does.
const DELAYED: Link = Link::Slow { delay: Duration::from_millis(300), bytes_per_second: u64::MAX };
const THROTTLED: Link = Link::Slow { delay: Duration::ZERO, bytes_per_second: 20_000 };

/// A fault that happened.
pub struct Happened {
    /// Which.
    pub fault: Fault,
    /// When.
    pub at_ms: u64,
    /// Whose work it hit.
    pub hit: Hit,
}

/// Whose work a fault hits.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Hit {
    /// Everybody's.
    All,
    /// A worker's.
    Worker(WorkerId),
    /// A job's.
    Job(JobId),
}

/// What is to be undone later.
enum Undo {
    Thaw(usize),
    Clear(usize),
    Start(usize),
    ThawServer(usize),
    StartServer(usize),
    Rest(BusyCores),
}

type Captured = Arc<Mutex<VecDeque<(String, Bytes)>>>;

/// Does faults and undoes them.
pub struct Injector {
    undo: Vec<(Instant, Undo)>,
    captured: Captured,
    workloads: Vec<Workload>,
}

impl Injector {
    pub async fn start(bus: &Bus, workloads: Vec<Workload>) -> Result<Self> {
        let captured = Captured::default();
        let mut reports = bus.client().subscribe(format!("{}.report.>", bus.prefix())).await?;
        let keep = captured.clone();
        tokio::spawn(async move {
            while let Some(message) = reports.next().await {
                // Those without headers are our own.
                if message.headers.is_none() {
                    continue;
                }
                let mut kept = keep.lock().unwrap_or_else(PoisonError::into_inner);
                if kept.len() == CAPTURED {
                    kept.pop_front();
                }
                kept.push_back((message.subject.to_string(), message.payload));
            }
        });
        Ok(Self { undo: Vec::new(), captured, workloads })
    }

    /// Does it, if there is anything now that it can hit.
    ///
    /// # Errors
    /// When the cluster cannot be harmed as it should be.
    pub async fn inject(&mut self, step: &Step, cluster: &mut Cluster, flow: &Flow) -> Result<Option<Happened>> {
        let at_ms = unix_ms();
        let hit = match step.fault {
            Fault::Process(harm, Role::Server | Role::ServerLeader) => self.harm_server(harm, step, cluster)?,
            Fault::Process(harm, role) => self.harm(harm, role, step, cluster, flow).await,
            Fault::Network(trouble, role) => self.trouble(trouble, role, step, cluster, flow).await,
            Fault::DamageObject | Fault::DeleteObject => spoil_object(step, cluster, flow),
            Fault::Deadline => {
                let long: Vec<&Workload> = self.workloads.iter().filter(|it| matches!(it.end, RunEnd::Outputs(_))).collect();
                let chosen = chosen(&long, step.pick).map(|workload| (*workload).clone());
                chosen.map(|workload| {
                    flow.submit_hurried(workload, step.lasts);
                    Hit::All
                })
            }
            Fault::Cancel => chosen(&flow.active(), step.pick).map(|&job| {
                flow.cancel(job);
                Hit::Job(job)
            }),
            Fault::BusyCores => {
                self.later(step, Undo::Rest(BusyCores::start(2)));
                Some(Hit::All)
            }
            _ => timeout(ANSWER, self.on_the_bus(step, cluster, flow)).await.ok().and_then(Result::ok).flatten(),
        };
        Ok(hit.map(|hit| Happened { fault: step.fault, at_ms, hit }))
    }

    /// Undoes what is due, or everything.
    ///
    /// # Errors
    /// When something does not start again.
    pub fn undo(&mut self, everything: bool, cluster: &mut Cluster) -> Result<()> {
        let now = Instant::now();
        let (due, waiting): (Vec<_>, Vec<_>) =
            std::mem::take(&mut self.undo).into_iter().partition(|(at, _)| everything || *at <= now);
        self.undo = waiting;
        for (_, undo) in due {
            match &undo {
                &Undo::ThawServer(server) => cluster.fleet.nats.servers[server].thaw(),
                &Undo::StartServer(server) => cluster.fleet.nats.servers[server].restart()?,
                &Undo::Start(place) => cluster.start_at(place)?,
                &Undo::Clear(place) => cluster.places[place].set_network(Link::Clear),
                &Undo::Thaw(place) => cluster.places[place].process().into_iter().for_each(|process| process.thaw()),
                Undo::Rest(_) => {}
            }
            match undo {
                Undo::ThawServer(server) | Undo::StartServer(server) => cluster.servers_hit[server] = false,
                Undo::Start(place) | Undo::Clear(place) | Undo::Thaw(place) => cluster.places[place].hit = false,
                Undo::Rest(busy) => drop(busy),
            }
        }
        Ok(())
    }

    fn later(&mut self, step: &Step, undo: Undo) {
        self.undo.push((Instant::now() + step.lasts, undo));
    }

    fn harm_server(&mut self, harm: Harm, step: &Step, cluster: &mut Cluster) -> Result<Option<Hit>> {
        let count = cluster.servers_hit.len();
        if cluster.servers_hit.contains(&true) {
            return Ok(None);
        }
        let server = match step.fault {
            Fault::Process(_, Role::ServerLeader) => {
                let stream = cluster.fleet.bus.prefix().stream(StreamKind::Report);
                match cluster.fleet.nats.leader_of(&stream) {
                    Some(server) => server,
                    None => return Ok(None),
                }
            }
            _ => step.pick % count,
        };
        cluster.servers_hit[server] = true;
        let process = &mut cluster.fleet.nats.servers[server];
        match harm {
            Harm::Kill => process.kill(),
            Harm::Terminate => process.stop()?,
            Harm::Freeze => process.freeze(),
        }
        let undo = if harm == Harm::Freeze { Undo::ThawServer(server) } else { Undo::StartServer(server) };
        self.later(step, undo);
        Ok(Some(Hit::All))
    }

    async fn harm(&mut self, harm: Harm, role: Role, step: &Step, cluster: &mut Cluster, flow: &Flow) -> Option<Hit> {
        let place = whom(role, step, cluster, flow).await?;
        cluster.places[place].hit = true;
        let hit = hit(place, cluster);
        match harm {
            Harm::Kill => cluster.kill(place),
            Harm::Terminate => cluster.terminate(place),
            Harm::Freeze => cluster.places[place].process()?.freeze(),
        }
        self.later(step, if harm == Harm::Freeze { Undo::Thaw(place) } else { Undo::Start(place) });
        Some(hit)
    }

    async fn trouble(&mut self, trouble: Trouble, role: Role, step: &Step, cluster: &mut Cluster, flow: &Flow) -> Option<Hit> {
        let number = whom(role, step, cluster, flow).await?;
        let place = &mut cluster.places[number];
        match trouble {
            Trouble::Cut => place.cut_network(),
            Trouble::Refuse => place.set_network(Link::Down),
            Trouble::Silence => place.set_network(Link::Silent),
            Trouble::Delay => place.set_network(DELAYED),
            Trouble::Throttle => place.set_network(THROTTLED),
        }
        if !step.lasts.is_zero() {
            place.hit = true;
            self.later(step, Undo::Clear(number));
        }
        Some(hit(number, cluster))
    }

    /// What is done by calls to the server, which may be away.
    async fn on_the_bus(&self, step: &Step, cluster: &Cluster, flow: &Flow) -> Result<Option<Hit>> {
        let bus = &cluster.fleet.bus;
        let (prefix, jetstream) = (bus.prefix(), bus.jetstream());
        // Not the requests: a client whose purged request was acknowledged must submit again. Not the events: they are our evidence.
        let streams = [StreamKind::Assign, StreamKind::Report, StreamKind::Broadcast];
        let stream = prefix.stream(streams[step.pick % streams.len()]);
        match step.fault {
            Fault::DeleteConsumer => {
                let Some(kind) = chosen(ConsumerKind::ALL, step.pick) else { return Ok(None) };
                jetstream.delete_consumer_from_stream(kind.durable_name(), prefix.stream(kind.stream())).await?;
            }
            Fault::DeleteStream => {
                jetstream.delete_stream(stream).await?;
            }
            Fault::PurgeStream => {
                jetstream.get_stream(stream).await?.purge().await?;
            }
            Fault::DeleteBucket => {
                // Not the jobs: records of those that have ended are lost with it.
                let buckets = [
                    BucketKind::Elections,
                    BucketKind::Segments,
                    BucketKind::Workers,
                    BucketKind::Queue,
                    BucketKind::Leader,
                    BucketKind::Cluster,
                ];
                jetstream.delete_key_value(prefix.bucket(buckets[step.pick % buckets.len()])).await?;
            }
            Fault::RepeatReports => {
                let latest = self.captured(|_| true);
                return publish(bus, latest.into_iter().rev().take(REPEATED)).await;
            }
            Fault::LateReports => {
                let active = flow.active();
                let late = self.captured(|job| !active.contains(&job));
                let skipped = step.pick % late.len().max(1);
                return publish(bus, late.into_iter().skip(skipped).take(REPEATED)).await;
            }
            Fault::FalseContribution | Fault::RivalContribution | Fault::FalseProof | Fault::FalseNode => {
                return lie(step, cluster, flow).await;
            }
            _ => return Ok(None),
        }
        Ok(Some(Hit::All))
    }

    /// Reports of such jobs, oldest first.
    fn captured(&self, wanted: impl Fn(JobId) -> bool) -> Vec<(String, Bytes)> {
        let kept = self.captured.lock().unwrap_or_else(PoisonError::into_inner);
        let of = |subject: &str| subject.split('.').rev().nth(2)?.parse().ok();
        kept.iter().filter(|(subject, _)| of(subject).is_some_and(&wanted)).cloned().collect()
    }
}

fn hit(place: usize, cluster: &Cluster) -> Hit {
    cluster.places[place].worker.map_or(Hit::All, Hit::Worker)
}

fn chosen<T>(choices: &[T], pick: usize) -> Option<&T> {
    choices.get(pick % choices.len().max(1))
}

/// The place of one that no fault has.
async fn whom(role: Role, step: &Step, cluster: &Cluster, flow: &Flow) -> Option<usize> {
    let (workers, coordinators) = (cluster.free(true), cluster.free(false));
    // One worker and one coordinator are left.
    if workers.len() < 2 || coordinators.len() < 2 && matches!(role, Role::Leader | Role::Standby) {
        return None;
    }
    let found = match role {
        Role::Worker => workers,
        Role::Aggregator => {
            let holders = async {
                let mut found = Vec::new();
                for job in flow.active() {
                    if let Ok(Some(holder)) = cluster.fleet.bus.holder(job).await {
                        found.extend(workers.iter().copied().filter(|&it| cluster.places[it].worker == Some(holder.worker)));
                    }
                }
                found
            };
            timeout(ANSWER, holders).await.ok()?
        }
        Role::Leader | Role::Standby => {
            let leader = timeout(ANSWER, cluster.leader()).await.ok()??;
            coordinators.into_iter().filter(|&it| (it == leader) == (role == Role::Leader)).collect()
        }
        Role::Server | Role::ServerLeader => return None,
    };
    chosen(&found, step.pick).copied()
}

/// Without their message ids, so that the server stores them again.
async fn publish(bus: &Bus, reports: impl Iterator<Item = (String, Bytes)>) -> Result<Option<Hit>> {
    let mut hit = None;
    for (subject, payload) in reports {
        bus.client().publish(subject, payload).await?;
        hit = Some(Hit::All);
    }
    Ok(hit)
}

/// A report that is false, of a worker that is none of the cluster's.
async fn lie(step: &Step, cluster: &Cluster, flow: &Flow) -> Result<Option<Hit>> {
    let bus = &cluster.fleet.bus;
    let active: Vec<JobId> =
        flow.jobs().iter().filter(|(_, job)| job.end.is_none() && !job.lied_about).map(|(id, _)| *id).collect();
    let (jobs, segments) = (bus.jobs().await?, bus.bucket::<SegmentRecord>(BucketKind::Segments).await?);
    for job in active {
        let Some(record) = jobs.get(job).await? else { continue };
        let planned = record.value.progress.planned as usize;
        if planned == 0 || record.value.state.is_terminal() {
            continue;
        }
        let n = (step.pick % planned) as u32;
        let Some(segment) = segments.get(format!("{job}.{n}")).await? else { continue };
        let SegmentRecord { attempt, contribution, node, .. } = segment.value;
        let (v, worker, milliseconds) = (Version::default(), WorkerId::random(), 1);
        let contributed = |contribution: Vec<u8>| {
            let contribution = ByteBuf::from(contribution);
            Report::Contribution(Contribution { v, job, n, worker, attempt, contribution, milliseconds })
        };
        let proven = |node, challenge| Report::Proof(Proof { v, job, n, worker, attempt, node, challenge, milliseconds });
        let report = match (step.fault, contribution, record.value.challenge) {
            (Fault::FalseContribution, None, _) => contributed(b"no contribution".to_vec()),
            (Fault::RivalContribution, Some(committed), _) => {
                let mut rival = committed.into_vec();
                // Somewhere in the commitment: the form stays right.
                let at = rival.len() / 2;
                rival[at] ^= 1;
                contributed(rival)
            }
            (Fault::FalseProof, _, Some(_)) if node.is_none() => {
                let digest = Digest::of(b"another");
                proven(ObjectRef { key: ObjectKey { scope: ObjectScope::Node(job), digest }, size: 7 }, digest)
            }
            (Fault::FalseNode, _, Some(challenge)) if node.is_none() => {
                let node = cluster.fleet.objects.put(ObjectScope::Node(job), Bytes::from_static(b"no node")).await?;
                proven(node, Digest::of(&challenge))
            }
            _ => continue,
        };
        if let Some(job) = flow.jobs().get_mut(&job) {
            job.lied_about = true;
        }
        bus.publish_report(&report).await?;
        return Ok(Some(Hit::Job(job)));
    }
    Ok(None)
}

/// Changes or deletes a segment or proof of a job in the store.
fn spoil_object(step: &Step, cluster: &Cluster, flow: &Flow) -> Option<Hit> {
    let stored = |job: JobId| files_below(&cluster.fleet.objects_of(job)).into_iter().map(move |file| (job, file));
    let files: Vec<(JobId, PathBuf)> = flow.active().into_iter().flat_map(stored).collect();
    let (job, file) = chosen(&files, step.pick)?;
    if step.fault == Fault::DeleteObject {
        std::fs::remove_file(file).ok()?;
        return Some(Hit::Job(*job));
    }
    // In place, without making it: it may be deleted meanwhile.
    let mut bytes = std::fs::read(file).ok()?;
    let at = step.pick % bytes.len().max(1);
    *bytes.get_mut(at)? ^= 1;
    let mut open = std::fs::File::options().write(true).open(file).ok()?;
    std::io::Write::write_all(&mut open, &bytes).ok()?;
    Some(Hit::Job(*job))
}

/// What is stored: what is being written has another name.
fn files_below(directory: &Path) -> Vec<PathBuf> {
    let (mut files, mut folders) = (Vec::new(), vec![directory.to_owned()]);
    while let Some(folder) = folders.pop() {
        for entry in std::fs::read_dir(&folder).into_iter().flatten().flatten() {
            let path = entry.path();
            if path.is_dir() { folders.push(path) } else { files.push(path) }
        }
    }
    files.retain(|file| !file.to_string_lossy().contains('#'));
    files.sort();
    files
}
