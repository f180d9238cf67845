//! A cluster of real processes: nats-servers, coordinators, workers, each of which can be made to fail.

use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Duration;

use anyhow::{Context, Result};
use zisk_client::{JobOptions, RemoteClient};
use zisk_common::bus::Bus;
use zisk_common::config::BusArgs;
use zisk_common::ids::{JobId, WorkerId};
use zisk_common::messages::ProofKind;
use zisk_common::objects::Objects;

use crate::guests::Workload;
use crate::{NatsCluster, Process, Program, Proxy};

/// How long a process may take to be ready on a busy machine.
const READY: Duration = Duration::from_secs(120);

/// How the cluster is set.
#[derive(Clone, Copy, Debug)]
pub struct Settings {
    /// A silent worker's assignments go to another after this.
    pub ack_wait: Duration,
    /// A silent aggregator counts as gone after this.
    pub lease: Duration,
    /// Objects in a directory, where files can be damaged; else on the bus.
    pub directory_store: bool,
    /// NATS servers, each with a copy of everything: 1, 3 or 5.
    pub servers: usize,
}

impl Default for Settings {
    fn default() -> Self {
        Self { ack_wait: Duration::from_secs(5), lease: Duration::from_secs(5), directory_store: true, servers: 1 }
    }
}

/// A worker of the fleet.
#[derive(Debug)]
pub struct Worker {
    /// Its id.
    pub id: WorkerId,
    /// Its process.
    pub process: Process,
    /// Whether it reaches NATS through the proxy.
    pub by_proxy: bool,
}

/// The cluster; its parts stop in this order when it is dropped.
pub struct Fleet {
    /// The workers.
    pub workers: Vec<Worker>,
    /// The coordinators.
    pub coordinators: Vec<Process>,
    /// A client of it.
    pub client: Arc<RemoteClient>,
    /// Its bus.
    pub bus: Bus,
    /// Its objects.
    pub objects: Objects,
    /// Before the first NATS server, for workers started with [`Fleet::start_worker_by_proxy`].
    pub proxy: Proxy,
    settings: Settings,
    /// Of coordinators started from now on.
    pub coordinator_environment: Vec<(&'static str, String)>,
    /// Of workers started from now on.
    pub worker_environment: Vec<(&'static str, String)>,
    started: u32,
    /// The servers, and the directory of all logs.
    pub nats: NatsCluster,
}

impl Fleet {
    /// The servers and one coordinator.
    ///
    /// # Errors
    /// When something does not start.
    pub async fn start(settings: Settings) -> Result<Self> {
        Self::start_with(settings, Vec::new(), None).await
    }

    /// A server, whose JetStream may store so many bytes, and one coordinator with this environment.
    ///
    /// # Errors
    /// As [`Fleet::start`].
    pub async fn start_with(
        settings: Settings,
        coordinator_environment: Vec<(&'static str, String)>,
        max_file_store: Option<u64>,
    ) -> Result<Self> {
        let mut nats = NatsCluster::start(settings.servers)?;
        if let Some(bytes) = max_file_store {
            for server in &mut nats.servers {
                server.limit_store(bytes);
                server.restart()?;
            }
        }
        let target = nats.servers[0].url().trim_start_matches("nats://").parse()?;
        let proxy = Proxy::start(target).await?;
        let args = bus_args(&nats.url(), &settings, nats.directory());
        let client = Arc::new(RemoteClient::connect(&args).await?);
        let bus = Bus::connect(args.bus("zisk-tests")?).await?;
        let objects = Objects::open(&args.store()?, &bus).await?;
        let (workers, coordinators) = (Vec::new(), Vec::new());
        let worker_environment = Vec::new();
        let mut fleet = Self {
            workers,
            coordinators,
            client,
            bus,
            objects,
            proxy,
            settings,
            coordinator_environment,
            worker_environment,
            started: 0,
            nats,
        };
        fleet.start_coordinator()?;
        Ok(fleet)
    }

    /// Its settings.
    pub const fn settings(&self) -> &Settings {
        &self.settings
    }

    /// Logs and stores.
    pub fn directory(&self) -> &Path {
        self.nats.directory()
    }

    /// Where a job's segments and nodes are, in a directory store.
    pub fn objects_of(&self, job: JobId) -> PathBuf {
        store(self.directory()).join("job").join(job.to_string())
    }

    /// Starts one more coordinator.
    ///
    /// # Errors
    /// When it is not ready in time; with its log.
    pub fn start_coordinator(&mut self) -> Result<()> {
        let mut process = self.launch_coordinator(&self.nats.url())?;
        process.wait_for_log("coordinator ready", READY)?;
        self.coordinators.push(process);
        Ok(())
    }

    /// Starts a coordinator without waiting for it, and without keeping it.
    ///
    /// # Errors
    /// When it cannot be started.
    pub fn launch_coordinator(&mut self, url: &str) -> Result<Process> {
        let label = self.label("coordinator");
        let mut program = self.program("zisk-coordinator", url).arg("--metrics-port").arg("0");
        for (key, value) in &self.coordinator_environment {
            program = program.env(key, value);
        }
        let lease = self.settings.lease.as_secs().to_string();
        program.env("ZISK_COORDINATOR_SERVER_LEADER_LEASE_SECONDS", lease).start(&label)
    }

    /// Starts one more worker; returns its place among them.
    ///
    /// # Errors
    /// When it is not ready in time; with its log.
    pub fn start_worker(&mut self) -> Result<usize> {
        self.start_worker_at(&self.nats.url(), false)
    }

    /// Starts one more worker behind the proxy.
    ///
    /// # Errors
    /// As [`Fleet::start_worker`].
    pub fn start_worker_by_proxy(&mut self) -> Result<usize> {
        self.start_worker_at(&self.proxy.url(), true)
    }

    fn start_worker_at(&mut self, url: &str, by_proxy: bool) -> Result<usize> {
        let worker = self.launch_worker(url, by_proxy)?;
        self.workers.push(worker);
        let last = self.workers.len() - 1;
        self.workers[last].process.wait_for_log("registered as worker", READY)?;
        Ok(last)
    }

    /// Starts a worker without waiting for it, and without keeping it.
    ///
    /// # Errors
    /// When it cannot be started.
    pub fn launch_worker(&mut self, url: &str, by_proxy: bool) -> Result<Worker> {
        let label = self.label("worker");
        let id = WorkerId::random();
        let mut program = self.program("zisk-worker", url).arg("--worker-id").arg(id.to_string());
        for (key, value) in &self.worker_environment {
            program = program.env(key, value);
        }
        let process = program.arg("--compute-capacity").arg("1").start(&label)?;
        Ok(Worker { id, process, by_proxy })
    }

    /// Submits a job with segments of 2^`log_steps` steps, whose proof is a bundle: for segments this short, recursion would take
    /// most of the time, and what the stories are about is the same.
    ///
    /// # Errors
    /// When it cannot be submitted.
    pub async fn submit(&self, workload: &Workload, log_steps: u8, timeout: Option<Duration>) -> Result<JobId> {
        self.submit_for(workload, log_steps, timeout, ProofKind::Bundle).await
    }

    /// Submits a job that is to end with this kind of proof.
    ///
    /// # Errors
    /// When it cannot be submitted.
    pub async fn submit_for(
        &self,
        workload: &Workload,
        log_steps: u8,
        timeout: Option<Duration>,
        proof: ProofKind,
    ) -> Result<JobId> {
        let options = JobOptions {
            log_segment_steps: Some(log_steps),
            proof: Some(proof),
            max_steps: workload.max_steps,
            timeout,
            ..JobOptions::default()
        };
        self.client.prove(&workload.elf, &workload.input, &options).await.context("submitting")
    }

    /// The worker's place among those that run.
    pub fn position(&self, id: WorkerId) -> Option<usize> {
        self.workers.iter().position(|worker| worker.id == id)
    }

    fn program(&self, name: &str, url: &str) -> Program {
        let mut program = Program::new(name, self.directory()).env("ZISK_NATS_URL", url).env("ZISK_LOG_FORMAT", "json");
        program = program.env("ZISK_ACK_WAIT_SECONDS", self.settings.ack_wait.as_secs().to_string());
        program = program.env("ZISK_LEASE_SECONDS", self.settings.lease.as_secs().to_string());
        program = program.env("ZISK_REPLICAS", self.settings.servers.to_string());
        program = program.env("ZISK_LOG_LEVEL", "info,zisk_coordinator=debug,zisk_worker=debug,async_nats=warn");
        match bus_args("", &self.settings, self.directory()).object_store {
            Some(store) => program.env("ZISK_OBJECT_STORE", store),
            None => program,
        }
    }

    fn label(&mut self, name: &str) -> String {
        self.started += 1;
        format!("{name}-{}", self.started)
    }
}

fn bus_args(url: &str, settings: &Settings, directory: &Path) -> BusArgs {
    BusArgs {
        nats_url: Some(url.to_owned()),
        object_store: settings.directory_store.then(|| format!("file://{}", store(directory).display())),
        ack_wait_seconds: Some(settings.ack_wait.as_secs()),
        lease_seconds: Some(settings.lease.as_secs()),
        replicas: Some(settings.servers),
        ..BusArgs::default()
    }
}

fn store(directory: &Path) -> PathBuf {
    directory.join("objects")
}
