//! The jobs: clients that submit one after the other, and how each ended.

use std::collections::BTreeMap;
use std::sync::atomic::{AtomicBool, AtomicU32, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use anyhow::Result;
use tokio::task::JoinSet;
use tokio::time::{Instant, sleep};
use zisk_client::{JobOptions, RemoteClient};
use zisk_common::bus::Bus;
use zisk_common::ids::JobId;
use zisk_common::messages::{JobRecord, ProofKind};
use zisk_tests::chance::Chance;
use zisk_tests::guests::{Reference, RunEnd, Workload};

/// Clients, each of which has one job at a time.
const CLIENTS: u64 = 6;
/// log2 of a segment's steps: the smallest there is.
const LOG_STEPS: u8 = 12;
/// One job in so many fails by itself.
const FAILING: usize = 8;
/// A job that takes longer is stuck. Well above what a busy machine needs for all that can happen to one.
const JOB_LIMIT: Duration = Duration::from_secs(300);
/// One job in so many is to end with a recursive proof: of segments this short it takes most of the time.
const RECURSIVE: usize = 8;
/// Between two looks at a job, and after a request that was not taken.
const LOOK: Duration = Duration::from_millis(200);

/// An accepted job: its request was acknowledged.
#[derive(Clone)]
pub struct Job {
    /// What it is to do.
    pub workload: Workload,
    /// Somebody asked for its cancellation.
    pub cancelled: bool,
    /// It has less time than it may need.
    pub hurried: bool,
    /// A worker lied about it once: that costs one attempt, and a second time might cost the last one.
    pub lied_about: bool,
    /// How it ended, when that was first seen.
    pub end: Option<JobRecord>,
}

/// All of them, and who submits more.
#[derive(Clone)]
pub struct Flow {
    client: Arc<RemoteClient>,
    bus: Bus,
    jobs: Arc<Mutex<BTreeMap<JobId, Job>>>,
    stopped: Arc<AtomicBool>,
    refused: Arc<AtomicU32>,
}

impl Flow {
    pub fn new(client: Arc<RemoteClient>, bus: Bus) -> Self {
        Self { client, bus, jobs: Arc::default(), stopped: Arc::default(), refused: Arc::default() }
    }

    pub fn jobs(&self) -> MutexGuard<'_, BTreeMap<JobId, Job>> {
        self.jobs.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Jobs that have not ended, as far as is known.
    pub fn active(&self) -> Vec<JobId> {
        self.jobs().iter().filter(|(_, job)| job.end.is_none()).map(|(id, _)| *id).collect()
    }

    /// Requests that were not acknowledged, so not accepted.
    pub fn refused(&self) -> u32 {
        self.refused.load(Ordering::Relaxed)
    }

    /// Starts the clients. What they submit follows from the seed, when from the cluster's speed.
    pub fn start(&self, seed: u64, workloads: Vec<Workload>) -> JoinSet<()> {
        let workloads = Arc::new(workloads);
        let mut clients = JoinSet::new();
        for number in 0..CLIENTS {
            let (flow, workloads) = (self.clone(), workloads.clone());
            // Far from the seeds next to it.
            let chance = Chance::new(seed ^ (number + 1).rotate_right(16));
            clients.spawn(flow.submit_and_wait(number, workloads, chance));
        }
        clients
    }

    /// From now on nothing new is submitted.
    pub fn stop(&self) {
        self.stopped.store(true, Ordering::Relaxed);
    }

    async fn submit_and_wait(self, number: u64, workloads: Arc<Vec<Workload>>, mut chance: Chance) {
        let client = format!("client {number}");
        while !self.stopped.load(Ordering::Relaxed) {
            let failing = chance.below(FAILING) == 0;
            let fit: Vec<&Workload> = workloads.iter().filter(|it| matches!(it.end, RunEnd::Failure(_)) == failing).collect();
            let Some(workload) = chance.pick(&fit) else { return };
            let proof = if chance.below(RECURSIVE) == 0 { ProofKind::Recursive } else { ProofKind::Bundle };
            match self.submit(&client, workload, proof, None).await {
                Ok(id) => self.wait(id).await,
                Err(error) => {
                    eprintln!("not submitted: {error:#}");
                    sleep(LOOK).await;
                }
            }
        }
    }

    /// A job that has so much time, whoever waits for it.
    pub fn submit_hurried(&self, workload: Workload, timeout: Duration) {
        let flow = self.clone();
        tokio::spawn(async move {
            if let Ok(id) = flow.submit("hurried", &workload, ProofKind::Bundle, Some(timeout)).await {
                flow.wait(id).await;
            }
        });
    }

    /// Cancels a job. It holds once it is stored, whatever comes of the answer; the job may end otherwise before.
    pub fn cancel(&self, id: JobId) {
        if let Some(job) = self.jobs().get_mut(&id) {
            job.cancelled = true;
        }
        let client = self.client.clone();
        tokio::spawn(async move {
            if let Err(error) = client.cancel(id).await {
                eprintln!("job {id} not cancelled: {error}");
            }
        });
    }

    async fn submit(&self, client: &str, workload: &Workload, proof: ProofKind, timeout: Option<Duration>) -> Result<JobId> {
        let options = JobOptions {
            log_segment_steps: Some(LOG_STEPS),
            proof: Some(proof),
            max_steps: workload.max_steps,
            timeout,
            client: Some(client.to_owned()),
            ..JobOptions::default()
        };
        let id = self.client.prove(&workload.elf, &workload.input, &options).await.inspect_err(|_| {
            self.refused.fetch_add(1, Ordering::Relaxed);
        })?;
        let job = Job { workload: workload.clone(), cancelled: false, hurried: timeout.is_some(), lied_about: false, end: None };
        self.jobs().insert(id, job);
        Ok(id)
    }

    async fn wait(&self, id: JobId) {
        let deadline = Instant::now() + JOB_LIMIT;
        while Instant::now() < deadline {
            // What cannot be read now is read the next time.
            let read = async { anyhow::Ok(self.bus.jobs().await?.get(id).await?) };
            if let Ok(Some(entry)) = read.await
                && entry.value.state.is_terminal()
            {
                if let Some(job) = self.jobs().get_mut(&id) {
                    job.end = Some(entry.value);
                }
                return;
            }
            sleep(LOOK).await;
        }
        eprintln!("job {id} has not ended within {JOB_LIMIT:?}");
    }
}

/// What the jobs do: one segment and more, and some that fail by themselves.
///
/// # Errors
/// When a guest is not there.
pub fn workloads(reference: &Reference) -> Result<Vec<Workload>> {
    let mut all = Vec::new();
    for hashes in [1, 2, 3, 4, 6] {
        all.push(reference.hashes(hashes)?);
    }
    all.push(reference.workload("fibonacci", &[0xfa])?);
    all.push(reference.workload("trap", b"l")?);
    all.push(reference.workload("exit-one", &[])?);
    all.push(reference.garbage());
    Ok(all)
}
