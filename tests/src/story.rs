//! What the failure stories have in common: a fleet, jobs on it, and the oracles after each.

use std::path::PathBuf;
use std::time::Duration;

use anyhow::{Context, Result, ensure};
use tokio::time::{Instant, sleep, timeout};
use zisk_common::ids::JobId;
use zisk_common::messages::{Event, JobRecord};
use zisk_common::subjects::EventKind;

use crate::fleet::{Fleet, Settings};
use crate::guests::{Reference, Workload};
use crate::oracles::{self, Work};

/// How long a job may take here, whatever happens to it, on a machine that does much else.
pub const JOB: Duration = Duration::from_secs(300);
/// How long until nothing is left of a job: what comes after its end is swept every 30 s.
pub const GRACE: Duration = Duration::from_secs(120);
/// A silent worker's assignments go to another, and the lease of a silent aggregator or coordinator expires. Not less than the shortest
/// that a cluster has by default: who is alive is not to be taken for dead because the machine is busy.
pub const PATIENCE: Duration = Duration::from_secs(5);
/// log2 of a segment's steps; a hash takes about 3,700 steps.
pub const LOG_STEPS: u8 = 12;

/// A fleet and what its jobs are compared with.
pub struct Story {
    /// The cluster.
    pub fleet: Fleet,
    /// What runs without faults give.
    pub reference: Reference,
}

impl Story {
    /// A server, a coordinator, and so many workers.
    ///
    /// # Errors
    /// When something does not start.
    pub async fn start(workers: usize) -> Result<Self> {
        Self::start_with(Settings { ack_wait: PATIENCE, lease: PATIENCE, ..Settings::default() }, workers).await
    }

    /// As [`Story::start`], set otherwise.
    ///
    /// # Errors
    /// When something does not start.
    pub async fn start_with(settings: Settings, workers: usize) -> Result<Self> {
        let mut fleet = Fleet::start(settings).await?;
        for _ in 0..workers {
            fleet.start_worker()?;
        }
        Ok(Self { fleet, reference: Reference::default() })
    }

    /// Submits a job with small segments.
    ///
    /// # Errors
    /// When it cannot be submitted.
    pub async fn submit(&self, workload: &Workload) -> Result<JobId> {
        self.fleet.submit(workload, LOG_STEPS, None).await
    }

    /// Waits for the job's first event of a kind.
    ///
    /// # Errors
    /// When it does not hold in time.
    pub async fn wait_for(&self, job: JobId, kind: EventKind) -> Result<Event> {
        let mut events = self.fleet.bus.events(job);
        let looking = async {
            loop {
                let event = events.next().await?;
                if event.kind() == kind {
                    return Ok(event);
                }
                ensure!(!event.kind().is_terminal(), "job {job} ended before {kind}: {:?}", event.body);
            }
        };
        let looked = timeout(JOB, looking).await.with_context(|| format!("job {job}: no {kind}"));
        looked.flatten().inspect_err(|_| self.keep_logs())
    }

    /// The place of the job's aggregator among the workers, once there is one.
    ///
    /// # Errors
    /// When there is none in time.
    pub async fn aggregator(&self, job: JobId) -> Result<usize> {
        let deadline = Instant::now() + JOB;
        loop {
            if let Some(holder) = self.fleet.bus.holder(job).await?
                && let Some(index) = self.fleet.position(holder.worker)
            {
                return Ok(index);
            }
            ensure!(Instant::now() < deadline, "job {job} has no aggregator");
            sleep(Duration::from_millis(20)).await;
        }
    }

    /// The job ends as without faults.
    ///
    /// # Errors
    /// When it does not hold in time.
    pub async fn ends_well(&self, job: JobId, workload: &Workload) -> Result<JobRecord> {
        let record = self.ends(job).await?;
        let checked = oracles::check_outcome(&self.fleet.objects, &self.reference, workload, &record).await;
        checked.inspect_err(|_| self.keep_logs())?;
        Ok(record)
    }

    /// The job ends once, some way or other.
    ///
    /// # Errors
    /// When it does not hold in time.
    pub async fn ends(&self, job: JobId) -> Result<JobRecord> {
        let record = oracles::end_of(&self.fleet.bus, job, JOB).await.inspect_err(|_| self.keep_logs())?;
        let deadline = Instant::now() + GRACE;
        // The event follows the record.
        while let Err(error) = oracles::check_job(&self.fleet.bus, job).await {
            if Instant::now() >= deadline {
                self.keep_logs();
                return Err(error);
            }
            sleep(Duration::from_millis(200)).await;
        }
        Ok(record)
    }

    /// Nothing is left, and these ends stand.
    ///
    /// # Errors
    /// When it does not hold in time.
    pub async fn is_clean(&self, ended: &[&JobRecord]) -> Result<()> {
        let store = self.fleet.directory().join("objects");
        let checked = async {
            oracles::check_nothing_left(&self.fleet.bus, Some(&store), GRACE).await?;
            for record in ended {
                oracles::check_unchanged(&self.fleet.bus, record).await?;
                oracles::check_job(&self.fleet.bus, record.job).await?;
            }
            Ok(())
        };
        checked.await.inspect_err(|_| self.keep_logs())
    }

    /// What the processes logged stays where it is: something does not hold.
    pub fn keep_logs(&self) {
        self.fleet.nats.keep_directory();
    }

    /// Work done so far, by the workers' logs.
    ///
    /// # Errors
    /// When a log cannot be read.
    pub fn work(&self) -> Result<Work> {
        Work::of_logs(self.fleet.directory())
    }

    /// Whether a coordinator has logged a line with all of these.
    pub fn coordinator_said(&self, words: &[&str]) -> bool {
        let logs: Vec<String> = self.fleet.coordinators.iter().map(|process| process.log()).collect();
        logs.iter().flat_map(|log| log.lines()).any(|line| words.iter().all(|word| line.contains(word)))
    }

    /// A job's stored segments or nodes, once there are some.
    ///
    /// # Errors
    /// When it does not hold in time.
    pub async fn files(&self, job: JobId, what: &str) -> Result<Vec<PathBuf>> {
        let folder = self.fleet.objects_of(job).join(what);
        let deadline = Instant::now() + JOB;
        loop {
            let files: Vec<PathBuf> =
                std::fs::read_dir(&folder).into_iter().flatten().flatten().map(|entry| entry.path()).collect();
            // What is being written has another name.
            let files: Vec<PathBuf> = files.into_iter().filter(|file| !file.to_string_lossy().contains('#')).collect();
            if !files.is_empty() {
                return Ok(files);
            }
            ensure!(Instant::now() < deadline, "nothing in {}", folder.display());
            sleep(Duration::from_millis(5)).await;
        }
    }
}
