//! A nats-server, workers, and a coordinator that does the least that is needed to conduct one job at a time.

use std::collections::BTreeSet;
use std::net::TcpListener;
use std::path::PathBuf;
use std::process::{Child, Command, Stdio};
use std::sync::Arc;
use std::sync::atomic::AtomicBool;
use std::time::Duration;

use tempfile::TempDir;
use tokio::sync::watch;
use tokio::task::JoinHandle;
use tokio_util::sync::CancellationToken;
use zisk_common::bus::{Bus, BusConfig};
use zisk_common::config::testing;
use zisk_common::ids::{Digest, JobId};
use zisk_common::messages::{
    AggregateAssignment, Assignment, ByteBuf, Cancel, Challenge, DroppedReports, Event, EventBody, ExecutionSummary, Failure,
    FailureKind, Folded, JobParams, JobRecord, JobRequest, JobState, ObjectScope, PlanAssignment, Progress, Report,
    SegmentAssignment, SegmentRecord, Timings, Version, WorkerPresence, WorkerState,
};
use zisk_common::objects::{Objects, StoreUrl};
use zisk_common::subjects::{AssignmentKind, BucketKind, ConsumerKind, RequestKind, Subject};
use zisk_protocol::PublicValues;
use zisk_prover::backend::Backend;
use zisk_worker::Config;

use crate::fake::{Calls, FakeBackend, FakeProgram};

/// Everything is faster than in production, in the same proportions.
const ACK_WAIT: Duration = Duration::from_secs(5);
const LEASE: Duration = Duration::from_secs(4);
/// No story takes longer, on a machine that does much else.
const STORY: Duration = Duration::from_secs(240);

pub struct Stage {
    nats: Nats,
    bus: Bus,
    objects: Objects,
}

/// How a job ended.
#[derive(Debug)]
#[allow(dead_code, reason = "printed when a test fails")]
pub enum Outcome {
    Completed { outputs: Vec<u32>, duplicates: u32, proof: Vec<u8> },
    Executed { segments: u32, outputs: Vec<u32> },
    Failed(Failure),
}

struct Nats {
    process: Child,
    port: u16,
    folder: TempDir,
}

impl Nats {
    fn start() -> Self {
        let folder = tempfile::tempdir().unwrap();
        let port = TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap().port();
        Self { process: Self::spawn(port, &folder), port, folder }
    }

    fn spawn(port: u16, folder: &TempDir) -> Child {
        let program = std::env::var_os("ZISK_NATS_SERVER")
            .map_or_else(|| PathBuf::from(concat!(env!("CARGO_MANIFEST_DIR"), "/../.tools/nats-server")), PathBuf::from);
        Command::new(&program)
            .args(["-js", "-a", "127.0.0.1", "-p", &port.to_string(), "-sd"])
            .arg(folder.path())
            .stdout(Stdio::null())
            .stderr(Stdio::null())
            .spawn()
            .unwrap_or_else(|error| panic!("{}: {error}; run scripts/install-nats.sh", program.display()))
    }

    fn kill(&mut self) {
        self.process.kill().unwrap();
        self.process.wait().unwrap();
    }
}

impl Drop for Nats {
    fn drop(&mut self) {
        self.kill();
    }
}

/// A worker in this process, on a runtime of its own so that it can be killed.
pub struct TestWorker {
    pub calls: Arc<Calls>,
    stop: CancellationToken,
    runtime: Option<tokio::runtime::Runtime>,
    task: Option<JoinHandle<()>>,
}

impl TestWorker {
    /// SIGTERM.
    pub async fn stop(mut self) {
        self.stop.cancel();
        if let Some(task) = self.task.take() {
            tokio::time::timeout(STORY, task).await.expect("the worker stops").unwrap();
        }
    }

    /// kill -9, as near as a thread comes to it. (Its keep-alive thread ends with the last hold.)
    pub fn kill(mut self) {
        self.task.take();
        if let Some(runtime) = self.runtime.take() {
            runtime.shutdown_background();
        }
    }
}

impl Drop for TestWorker {
    fn drop(&mut self) {
        if let Some(runtime) = self.runtime.take() {
            runtime.shutdown_background();
        }
    }
}

impl Stage {
    pub async fn start() -> Self {
        // RUST_LOG=debug shows what the workers do.
        let _ = tracing_subscriber::fmt().with_env_filter(tracing_subscriber::EnvFilter::from_default_env()).try_init();
        let nats = Nats::start();
        let bus = Bus::connect(bus_config(nats.port)).await.unwrap();
        bus.prepare().await.unwrap();
        let objects = Objects::open(&StoreUrl::JetStream, &bus).await.unwrap();
        Self { nats, bus, objects }
    }

    /// A worker with these settings beside those of the stage.
    pub fn worker(&self, settings: &str) -> TestWorker {
        self.worker_with(settings, FakeBackend::default())
    }

    /// One whose prover is of another version than the coordinator's.
    pub fn outdated_worker(&self) -> TestWorker {
        self.worker_with("", FakeBackend { outdated: true, ..FakeBackend::default() })
    }

    /// One whose folds are none.
    pub fn worker_that_folds_falsely(&self) -> TestWorker {
        self.worker_with("", FakeBackend { folds_falsely: true, ..FakeBackend::default() })
    }

    /// One whose prover fails while this is set.
    pub fn breakable_worker(&self, broken: &Arc<AtomicBool>) -> TestWorker {
        self.worker_with("", FakeBackend { broken: broken.clone(), ..FakeBackend::default() })
    }

    /// Waits until a worker is shown in this state.
    pub async fn until_shown(&self, state: WorkerState) -> WorkerPresence {
        let looking = async {
            loop {
                if let Some(worker) = self.shown().await.into_iter().find(|worker| worker.state == state) {
                    return worker;
                }
                tokio::time::sleep(Duration::from_millis(20)).await;
            }
        };
        tokio::time::timeout(STORY, looking).await.unwrap_or_else(|_| panic!("no worker is {state:?}"))
    }

    /// What is shown of the workers.
    pub async fn shown(&self) -> Vec<WorkerPresence> {
        self.bus.workers().await.unwrap().values().await.unwrap()
    }

    fn worker_with(&self, settings: &str, backend: FakeBackend) -> TestWorker {
        let arguments: Vec<&str> = settings.split(' ').filter(|argument| !argument.is_empty()).collect();
        let settings = testing::read(&zisk_worker::keys::program(), &arguments, &[]).unwrap();
        let mut config = Config::new(&settings).unwrap();
        config.bus.nats_url = Some(format!("nats://127.0.0.1:{}", self.nats.port));
        config.bus.ack_wait_seconds = Some(ACK_WAIT.as_secs());
        config.bus.lease_seconds = Some(LEASE.as_secs());
        let calls = backend.calls.clone();
        let stop = CancellationToken::new();
        let runtime = tokio::runtime::Builder::new_multi_thread().worker_threads(1).enable_all().build().unwrap();
        let running = zisk_worker::run(config, Arc::new(backend), stop.clone(), watch::Sender::new(None));
        let task = runtime.spawn(async move { running.await.unwrap() });
        TestWorker { calls, stop, runtime: Some(runtime), task: Some(task) }
    }

    pub async fn prove(&self, program: &FakeProgram, input: &[u8]) -> Outcome {
        self.run(RequestKind::Prove, &program.elf(), input).await
    }

    pub async fn run(&self, goal: RequestKind, elf: &[u8], input: &[u8]) -> Outcome {
        let job = self.submit(goal, elf, input).await;
        self.conductor().conduct(job).await
    }

    /// Uploads, writes the job's record and publishes its plan.
    pub async fn submit(&self, goal: RequestKind, elf: &[u8], input: &[u8]) -> JobId {
        let job = JobId::random();
        let program = self.objects.put(ObjectScope::Program, elf.to_vec().into()).await.unwrap();
        let input = self.objects.put(ObjectScope::Input, input.to_vec().into()).await.unwrap();
        let params = JobParams {
            log_segment_steps: Some(10),
            max_steps: Some(1 << 40),
            timeout_seconds: Some(60),
            ..JobParams::default()
        };
        let request = JobRequest {
            v: Version::default(),
            job,
            program: program.key.digest,
            input: Some(input),
            input_stream: false,
            params: params.clone(),
            client: String::new(),
            metadata: Default::default(),
        };
        self.bus.jobs().await.unwrap().create(job, &record(goal, request)).await.unwrap();
        let plan = PlanAssignment {
            v: Version::default(),
            job,
            attempt: 1,
            goal,
            program: program.key.digest,
            input: Some(input),
            params,
            pause_ms: 0,
        };
        self.bus.publish_assignment(&Assignment::Plan(plan), FakeBackend::VERSION).await.unwrap();
        job
    }

    pub async fn cancel(&self, job: JobId) {
        let message = "cancelled by the test".to_owned();
        let cancel = Cancel { v: Version::default(), job, kind: FailureKind::Cancelled, message };
        self.bus.broadcast_cancel(&cancel).await.unwrap();
        let filter = self.bus.prefix().assignments_of(job);
        self.bus.purge(zisk_common::subjects::StreamKind::Assign, &filter).await.unwrap();
    }

    pub fn conductor(&self) -> Conductor {
        Conductor { bus: self.bus.clone(), objects: self.objects.clone() }
    }

    /// kill -9, then a new server on the same store.
    pub async fn restart_nats(&mut self) {
        self.nats.kill();
        tokio::time::sleep(Duration::from_millis(500)).await;
        self.nats.process = Nats::spawn(self.nats.port, &self.nats.folder);
    }

    /// Assignments not settled.
    pub async fn held_messages(&self) -> u64 {
        let mut held = 0;
        for &kind in AssignmentKind::ALL {
            let depth = self.bus.queue_depth(ConsumerKind::Assign(kind)).await.unwrap();
            held += depth.pending + depth.in_flight;
        }
        held
    }
}

pub struct Conductor {
    bus: Bus,
    objects: Objects,
}

impl Conductor {
    /// Does for one job what the coordinator does, until it ends.
    pub async fn conduct(self, job: JobId) -> Outcome {
        tokio::time::timeout(STORY, self.conduct_for_ever(job)).await.expect("the job ends in time")
    }

    async fn conduct_for_ever(self, job: JobId) -> Outcome {
        let mut reports = self.bus.puller(ConsumerKind::Reports);
        let jobs = self.bus.jobs().await.unwrap();
        let segment_records = self.bus.bucket::<SegmentRecord>(BucketKind::Segments).await.unwrap();
        let mut record = jobs.get(job).await.unwrap().unwrap().value;
        let (mut contributed, mut proven) = (BTreeSet::new(), BTreeSet::new());
        let (mut duplicates, mut challenged, mut folds) = (0, false, 0);
        let mut watched = tokio::time::Instant::now();
        loop {
            for delivery in reports.fetch(10, Duration::from_millis(500)).await {
                let Ok(Subject::Report { phase, job: of, .. }) = delivery.subject() else { panic!("no report") };
                let report = Report::decode(phase, delivery.payload()).unwrap();
                if of != job {
                    delivery.ack().await.unwrap();
                    continue;
                }
                match report {
                    Report::Setup(_) | Report::GivenBack(_) => {}
                    Report::Folded(Folded { n, worker, epoch, round, node, .. }) => {
                        self.event(job, EventBody::Folded { n, worker, epoch, round, node, milliseconds: 1 }).await;
                    }
                    Report::Rejected(rejected) => panic!("{rejected:?}"),
                    Report::Planned(planned) => {
                        let assignment = SegmentAssignment {
                            v: Version::default(),
                            job,
                            n: planned.n,
                            attempt: 1,
                            program: record.request.program,
                            keys: planned.keys,
                            segment: planned.segment,
                            params: record.request.params.clone(),
                            pause_ms: 0,
                            round: 0,
                            avoid: Vec::new(),
                        };
                        record.keys = Some(planned.keys);
                        self.bus.publish_assignment(&Assignment::Segment(assignment), FakeBackend::VERSION).await.unwrap();
                    }
                    Report::Executed(executed) => {
                        let public: PublicValues = rmp_serde::from_slice(&executed.public_values).unwrap();
                        if record.goal == RequestKind::Execute {
                            delivery.ack().await.unwrap();
                            return Outcome::Executed { segments: executed.segments, outputs: public.outputs };
                        }
                        record.execution = Some(ExecutionSummary {
                            steps: executed.steps,
                            segments: executed.segments,
                            exit_code: executed.exit_code,
                            outputs: executed.outputs,
                            uart: executed.uart,
                        });
                        record.public_values = Some(executed.public_values);
                        jobs.put(job, &record).await.unwrap();
                    }
                    Report::Contribution(contribution) => {
                        duplicates += u32::from(!contributed.insert(contribution.n));
                    }
                    Report::Proof(proof) => {
                        assert_eq!(proof.challenge, Digest::of(&FakeBackend::CHALLENGE.0));
                        if !proven.insert(proof.n) {
                            duplicates += 1;
                        } else {
                            let segment = SegmentRecord {
                                contribution: Some(ByteBuf::new()),
                                node: Some(proof.node),
                                commits: 1,
                                ..SegmentRecord::default()
                            };
                            segment_records.put(format!("{job}.{}", proof.n), &segment).await.unwrap();
                            let body = EventBody::Proof {
                                n: proof.n,
                                worker: proof.worker,
                                node: proof.node,
                                commit: 1,
                                milliseconds: 1,
                            };
                            self.event(job, body).await;
                        }
                    }
                    Report::Final(last) => {
                        let proof = self.objects.get(last.proof.key).await.unwrap().to_vec();
                        record.state = JobState::Completed;
                        jobs.put(job, &record).await.unwrap();
                        let body = EventBody::Completed { proof: Some(last.proof), summary: None, milliseconds: 0 };
                        self.event(job, body).await;
                        delivery.ack().await.unwrap();
                        let outputs = FakeBackend::default().verify(&[], &proof).unwrap().outputs;
                        return Outcome::Completed { outputs, duplicates, proof };
                    }
                    Report::Failed(failed) => {
                        record.state = JobState::Failed;
                        jobs.put(job, &record).await.unwrap();
                        self.event(job, EventBody::Failed { failure: failed.failure.clone() }).await;
                        delivery.ack().await.unwrap();
                        return Outcome::Failed(failed.failure);
                    }
                }
                delivery.ack().await.unwrap();
            }
            let segments = record.execution.as_ref().map(|execution| execution.segments);
            if !challenged && segments.is_some_and(|segments| contributed.len() as u32 == segments) {
                challenged = true;
                record.challenge = Some(ByteBuf::from(FakeBackend::CHALLENGE.0));
                jobs.put(job, &record).await.unwrap();
                self.broadcast(job, segments.unwrap()).await;
            }
            // Without an aggregator for a while: have one elected.
            if !proven.is_empty() && self.bus.holder(job).await.unwrap().is_none() {
                if watched.elapsed() > LEASE {
                    watched = tokio::time::Instant::now();
                    folds += 1;
                    self.assign_aggregation(&record, folds).await;
                }
            } else {
                watched = tokio::time::Instant::now();
            }
        }
    }

    async fn broadcast(&self, job: JobId, segments: u32) {
        let challenge = ByteBuf::from(FakeBackend::CHALLENGE.0);
        self.bus.broadcast_challenge(&Challenge { v: Version::default(), job, challenge, segments, round: 0 }).await.unwrap();
    }

    async fn assign_aggregation(&self, record: &JobRecord, n: u32) {
        let fold = AggregateAssignment {
            v: Version::default(),
            job: record.job,
            n,
            attempt: 1,
            program: record.request.program,
            keys: record.keys.unwrap(),
            segments: record.execution.as_ref().unwrap().segments,
            challenge: ByteBuf::from(FakeBackend::CHALLENGE.0),
            pause_ms: 0,
            avoid: Vec::new(),
        };
        self.bus.publish_assignment(&Assignment::Aggregate(fold), FakeBackend::VERSION).await.unwrap();
    }

    async fn event(&self, job: JobId, body: EventBody) {
        let event =
            Event { v: Version::default(), job, at_ms: 0, progress: Progress::default(), metadata: Default::default(), body };
        self.bus.publish_event(&event).await.unwrap();
    }
}

fn bus_config(port: u16) -> BusConfig {
    BusConfig { url: format!("nats://127.0.0.1:{port}"), ack_wait: ACK_WAIT, lease: LEASE, ..BusConfig::default() }
}

fn record(goal: RequestKind, request: JobRequest) -> JobRecord {
    JobRecord {
        v: Version::default(),
        job: request.job,
        goal,
        request,
        state: JobState::Queued,
        progress: Progress::default(),
        keys: None,
        segments: Vec::new(),
        execution: None,
        public_values: None,
        verifying_key: None,
        challenge: None,
        round: 0,
        past_challenges: Vec::new(),
        epoch: 0,
        plan_attempt: 1,
        plan_failures: Vec::new(),
        aggregate_assignments: 0,
        fold_failures: Vec::new(),
        proof: None,
        failure: None,
        timings: Timings::default(),
        max_attempts: 3,
        dropped: DroppedReports::default(),
        incidents: Vec::new(),
        bytes: 0,
        cleaned: false,
    }
}
