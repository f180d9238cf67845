//! The whole cluster as its users meet it: real nats-server, coordinator, workers, prover and command line, real guests.
//!
//! What dies, dies by `kill -9` at a random moment: `ZISK_TEST_SEED` repeats a run.

use std::cell::Cell;
use std::collections::HashSet;
use std::path::{Path, PathBuf};
use std::time::Duration;

use anyhow::{Context, Result, bail, ensure};
use serde_json::Value;
use tokio::time::{Instant, sleep, timeout};
use zisk_common::bus::{Bus, BusConfig};
use zisk_common::ids::{JobId, WorkerId};
use zisk_common::messages::{Event, EventBody, JobState};
use zisk_common::subjects::EventKind;
use zisk_tests::chance::Chance;
use zisk_tests::{NatsServer, Process, Program, free_port};

use crate::support::{SOON, expect_clean, expect_empty_queues, until_the_end};

/// How long a job may take here, losses included. None of these stories is about speed.
const JOB: Duration = Duration::from_secs(300);
/// A lost worker's assignments go to another after this, and a lost aggregator's lease expires.
const PATIENCE: Duration = Duration::from_secs(5);
/// The guest of most stories: 20 hashes, about 74,000 steps.
const HASHER: &str = "sha-hasher";
const HASHES: &str = "n = 20";
/// With that guest: 10 segments.
const LOG_STEPS: &str = "13";
const MIN_SEGMENTS: u32 = 8;

/// Exit codes of `zisk`, as its help lists them.
mod exit {
    pub const UNUSABLE: i32 = 3;
    pub const GUEST_FAILED: i32 = 4;
    pub const NO_NATS: i32 = 6;
    pub const NO_COORDINATOR: i32 = 7;
    pub const CANCELLED: i32 = 9;
    pub const INVALID_PROOF: i32 = 10;
    pub const ENDED_BEFORE: i32 = 12;
}

fn elf(guest: &str) -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join(format!("../guests/elf/{guest}.elf"))
}

/// An input file of guests/vectors.json and what the guest must do with it.
struct Vector {
    input: Vec<u8>,
    outputs: Vec<u64>,
}

impl Vector {
    fn find(guest: &str, name: &str) -> Result<Self> {
        let text = std::fs::read_to_string(Path::new(env!("CARGO_MANIFEST_DIR")).join("../guests/vectors.json"))?;
        let vectors: Vec<Value> = serde_json::from_str(&text)?;
        let vector = vectors.iter().find(|vector| vector["guest"] == guest && vector["name"] == name);
        let vector = vector.with_context(|| format!("no vector {guest}: {name}"))?;
        let hex = vector["input"].as_str().context("no input")?;
        let bytes = (0..hex.len()).step_by(2).map(|at| u8::from_str_radix(&hex[at..at + 2], 16));
        let area = bytes.collect::<Result<Vec<u8>, _>>()?;
        // As it lies in memory: the length in 8 bytes, the input file, padding.
        let input = match area.split_first_chunk() {
            Some((length, rest)) => rest[..u64::from_le_bytes(*length) as usize].to_vec(),
            None => Vec::new(),
        };
        Ok(Self { input, outputs: words(&vector["outputs"])? })
    }
}

/// Public outputs without the zeros at the end.
fn words(value: &Value) -> Result<Vec<u64>> {
    let words = value.as_array().context("no outputs")?.iter().map(|word| word.as_u64().context("not a word"));
    let mut words = words.collect::<Result<Vec<u64>>>()?;
    while words.last() == Some(&0) {
        words.pop();
    }
    Ok(words)
}

struct Worker {
    id: WorkerId,
    process: Process,
}

/// A cluster; its parts stop in this order when it is dropped.
struct Cluster {
    workers: Vec<Worker>,
    coordinator: Option<Process>,
    bus: Bus,
    store: Option<PathBuf>,
    started: Cell<u32>,
    nats: NatsServer,
}

/// A `zisk prove` in the background.
struct Proving {
    id: JobId,
    process: Process,
    stdout: PathBuf,
    proof: PathBuf,
}

/// A `zisk` that has ended.
struct Ended {
    code: Option<i32>,
    stdout: String,
    stderr: String,
}

impl Ended {
    fn json(&self) -> Result<Value> {
        ensure!(self.code == Some(0), "exit code {:?}: {}", self.code, self.stderr);
        Ok(serde_json::from_str(&self.stdout)?)
    }

    /// Refused as users should be: this code, nothing on stdout, one paragraph at the end of stderr with these words.
    fn expect_refusal(&self, code: i32, words: &[&str]) -> Result<()> {
        let shown = format!("code {:?}\nstdout: {}\nstderr: {}", self.code, self.stdout, self.stderr);
        ensure!(self.code == Some(code), "expected exit code {code}\n{shown}");
        ensure!(self.stdout.is_empty(), "something on stdout\n{shown}");
        let error = self.stderr.lines().last().unwrap_or_default();
        let errors = self.stderr.lines().filter(|line| line.starts_with("error: ")).count();
        ensure!(error.starts_with("error: ") && errors == 1, "not one paragraph\n{shown}");
        ensure!(!self.stderr.contains("panicked") && !self.stderr.contains("WARN"), "{shown}");
        for word in words {
            ensure!(error.contains(word), "{word:?} is not in it\n{shown}");
        }
        Ok(())
    }
}

impl Cluster {
    async fn start(workers: usize) -> Result<Self> {
        Self::on(NatsServer::start()?, workers, None).await
    }

    async fn on(nats: NatsServer, workers: usize, store: Option<PathBuf>) -> Result<Self> {
        let bus = BusConfig { url: nats.url(), ack_wait: PATIENCE, lease: PATIENCE, ..BusConfig::default() };
        let bus = Bus::connect(bus).await?;
        let mut cluster = Self { workers: Vec::new(), coordinator: None, bus, store, started: Cell::new(0), nats };
        cluster.start_coordinator()?;
        for _ in 0..workers {
            cluster.start_worker(1)?;
        }
        Ok(cluster)
    }

    fn program(&self, name: &str) -> Program {
        let seconds = PATIENCE.as_secs().to_string();
        let program = Program::new(name, self.nats.directory()).env("ZISK_NATS_URL", self.nats.url());
        let program = program.env("ZISK_ACK_WAIT_SECONDS", &seconds).env("ZISK_LEASE_SECONDS", &seconds);
        match &self.store {
            Some(directory) => program.env("ZISK_OBJECT_STORE", format!("file://{}", directory.display())),
            None => program,
        }
    }

    fn label(&self, name: &str) -> String {
        self.started.set(self.started.get() + 1);
        format!("{name}-{}", self.started.get())
    }

    fn start_coordinator(&mut self) -> Result<()> {
        let label = self.label("coordinator");
        let mut process = self.program("zisk-coordinator").arg("--metrics-port").arg("0").start(&label)?;
        process.wait_for_log("coordinator ready", SOON)?;
        self.coordinator = Some(process);
        Ok(())
    }

    fn kill_coordinator(&mut self) {
        self.coordinator.take().unwrap().kill();
    }

    fn start_worker(&mut self, capacity: u32) -> Result<()> {
        let label = self.label("worker");
        let id = WorkerId::random();
        let program = self.program("zisk-worker").arg("--worker-id").arg(id.to_string());
        let mut process = program.arg("--compute-capacity").arg(capacity.to_string()).start(&label)?;
        process.wait_for_log(&format!("registered as worker {id} (capacity {capacity})"), SOON)?;
        self.workers.push(Worker { id, process });
        Ok(())
    }

    fn kill_worker(&mut self, index: usize) {
        let mut worker = self.workers.remove(index);
        assert!(worker.process.is_running(), "the worker died before it was killed:\n{}", worker.process.log_end());
        worker.process.kill();
    }

    fn file(&self, name: &str, bytes: &[u8]) -> Result<PathBuf> {
        let path = self.nats.directory().join(self.label(name));
        std::fs::write(&path, bytes)?;
        Ok(path)
    }

    /// Runs `zisk` to its end.
    fn zisk(&self, arguments: &[&str]) -> Result<Ended> {
        let program = arguments.iter().fold(self.program("zisk"), |program, &argument| program.arg(argument));
        let label = self.label("zisk");
        run(&program, &self.nats.directory().join(label), JOB)
    }

    /// `zisk prove` without options.
    fn prove(&self, program: &Path, input: &[u8]) -> Result<Ended> {
        let input = self.file("input", input)?;
        let out = self.nats.directory().join(self.label("proof"));
        let ended = self.zisk(&["prove", "--program", text(program), "--input", text(&input), "--out", text(&out)])?;
        assert_eq!(out.exists(), ended.code == Some(0), "a proof exactly if it says so");
        Ok(ended)
    }

    /// Starts `zisk prove` of the guest of most stories; returns once the request is stored. The proof is a bundle: for segments
    /// this short, recursion would take most of the time.
    fn begin(&self) -> Result<Proving> {
        self.begin_with(LOG_STEPS, &["--proof", "bundle"])
    }

    fn begin_with(&self, log_steps: &str, options: &[&str]) -> Result<Proving> {
        let input = self.file("input", &Vector::find(HASHER, HASHES)?.input)?;
        let label = self.label("prove");
        let at = |extension: &str| self.nats.directory().join(format!("{label}.{extension}"));
        let (stdout, stderr, proof) = (at("out"), at("err"), at("proof"));
        let program = self.program("zisk").arg("prove").arg("--program").arg(text(&elf(HASHER)));
        let program = program.arg("--input").arg(text(&input)).arg("--out").arg(text(&proof));
        let program = program.arg("--segment-log-steps").arg(log_steps);
        let command = options.iter().fold(program, |program, &option| program.arg(option)).command()?;
        let mut process = Process::start_apart(&label, &command, &stdout, &stderr)?;
        let line = process.wait_for_log("job ", SOON)?;
        let id = line.trim_start_matches("job ").parse().with_context(|| line.clone())?;
        Ok(Proving { id, process, stdout, proof })
    }

    /// What everyone logged last, for a failure's message.
    fn logs(&self) -> String {
        let workers = self.workers.iter().map(|worker| &worker.process);
        let logs = self.coordinator.iter().chain(workers).map(|process| format!("----\n{}", process.log_end()));
        logs.collect::<Vec<_>>().join("\n")
    }

    /// Waits for the first event that is as described; the job's end is an error.
    async fn wait_for(&self, job: JobId, what: &str, found: impl Fn(&Event) -> bool) -> Result<Event> {
        let mut events = self.bus.events(job);
        let looking = async {
            loop {
                let event = events.next().await?;
                if found(&event) {
                    return Ok(event);
                }
                ensure!(!event.kind().is_terminal(), "job {job} ended before {what}: {:?}", event.body);
            }
        };
        timeout(JOB, looking).await.with_context(|| format!("job {job}: no {what}\n{}", self.logs()))?
    }

    /// Waits until the client has its proof, and checks with a separate process that it is one, of the right outputs.
    /// Nothing may be left on the bus. Returns the events.
    async fn finish(&self, proving: Proving) -> Result<Vec<Event>> {
        self.finished(proving).await.with_context(|| self.logs())
    }

    async fn finished(&self, mut proving: Proving) -> Result<Vec<Event>> {
        let status = proving.process.wait(JOB)?;
        ensure!(status.success(), "{status}: {}", proving.process.log_end());
        let printed = std::fs::read_to_string(&proving.stdout)?;
        ensure!(printed.contains(&proving.id.to_string()) && printed.contains("exit code  0"), "{printed}");
        self.expect_valid(&proving.proof)?;
        let events = until_the_end(&self.bus, proving.id, SOON).await?;
        let end = events.last().unwrap();
        ensure!(end.kind() == EventKind::Completed, "{:?}", end.body);
        ensure!(end.progress.segments >= Some(MIN_SEGMENTS), "{:?} segments", end.progress.segments);
        ensure!(end.progress.segments == Some(end.progress.proven), "{:?}", end.progress);
        let record = expect_clean(&self.bus, proving.id).await?;
        ensure!(record.state == JobState::Completed, "{:?}", record.state);
        Ok(events)
    }

    fn expect_valid(&self, proof: &Path) -> Result<()> {
        let verified = self.zisk(&["verify", text(proof), "--program", text(&elf(HASHER)), "--json"])?.json()?;
        ensure!(verified["valid"] == true, "{verified}");
        let (found, expected) = (words(&verified["outputs"])?, Vector::find(HASHER, HASHES)?.outputs);
        ensure!(found == expected, "outputs {found:?} instead of {expected:?}");
        Ok(())
    }

    /// The cluster still works: one more job, from request to verified proof.
    async fn expect_working(&self) -> Result<()> {
        let proving = self.begin_with("14", &["--proof", "bundle"])?;
        let mut process = proving.process;
        let status = process.wait(JOB)?;
        ensure!(status.success(), "{status}: {}", process.log_end());
        self.expect_valid(&proving.proof)?;
        expect_empty_queues(&self.bus).await
    }
}

fn text(path: &Path) -> &str {
    path.to_str().unwrap()
}

fn run(program: &Program, at: &Path, limit: Duration) -> Result<Ended> {
    let (stdout, stderr) = (at.with_extension("out"), at.with_extension("err"));
    let mut process = Process::start_apart("zisk", &program.command()?, &stdout, &stderr)?;
    let code = process.wait(limit)?.code();
    Ok(Ended { code, stdout: std::fs::read_to_string(stdout)?, stderr: process.log() })
}

/// The workers that contributed, proved or folded.
fn at_work(events: &[Event]) -> HashSet<WorkerId> {
    let worker = |event: &Event| match event.body {
        EventBody::Contributed { worker, .. } | EventBody::Proof { worker, .. } | EventBody::Folded { worker, .. } => {
            Some(worker)
        }
        _ => None,
    };
    events.iter().filter_map(worker).collect()
}

/// All files below.
fn left_in(directory: &Path) -> Vec<PathBuf> {
    let entries = directory.read_dir().into_iter().flatten().flatten().map(|entry| entry.path());
    entries.flat_map(|path| if path.is_dir() { left_in(&path) } else { vec![path] }).collect()
}

/// Nothing is left of the jobs in this store. What a worker stored after its job's end is swept.
async fn expect_no_job_in(store: &Path) -> Result<()> {
    let (jobs, deadline) = (store.join("job"), Instant::now() + SOON);
    while jobs.exists() {
        ensure!(Instant::now() < deadline, "left: {:?}", left_in(&jobs));
        sleep(Duration::from_millis(100)).await;
    }
    Ok(())
}

/// One job on two workers, who both have a part in it, and nothing is left of it.
async fn a_job_on_two_workers(cluster: &Cluster) -> Result<()> {
    let proving = cluster.begin()?;
    let events = cluster.finish(proving).await?;
    let workers = cluster.workers.iter().map(|worker| worker.id).collect();
    ensure!(at_work(&events) == workers, "{:?} of {workers:?}", at_work(&events));
    expect_empty_queues(&cluster.bus).await
}

#[tokio::test(flavor = "multi_thread")]
async fn two_workers_prove_a_program_and_its_proof_verifies() -> Result<()> {
    let cluster = Cluster::start(2).await?;
    a_job_on_two_workers(&cluster).await?;
    // The program's keys are known now.
    a_job_on_two_workers(&cluster).await?;
    // What one gets who asks for nothing: one small proof.
    let proving = cluster.begin_with(LOG_STEPS, &[])?;
    let proof = proving.proof.clone();
    cluster.finish(proving).await?;
    let bytes = proof.metadata()?.len();
    ensure!(bytes < 500_000, "{bytes} bytes of recursive proof");
    expect_empty_queues(&cluster.bus).await
}

#[tokio::test(flavor = "multi_thread")]
async fn it_works_on_the_oldest_supported_server_with_objects_in_a_directory() -> Result<()> {
    let directory = tempfile::Builder::new().prefix("zisk objects ").tempdir()?;
    let mut cluster = Cluster::on(NatsServer::start_version("2.11.11")?, 2, Some(directory.path().to_owned())).await?;
    a_job_on_two_workers(&cluster).await?;
    // Program, input, keys and proof stay; segments and nodes are gone.
    ensure!(directory.path().read_dir()?.next().is_some(), "no objects in {}", directory.path().display());
    expect_no_job_in(directory.path()).await?;
    // And losing a worker there.
    let proving = cluster.begin()?;
    cluster.wait_for(proving.id, "a contribution", |event| event.kind() == EventKind::Contributed).await?;
    cluster.kill_worker(0);
    cluster.finish(proving).await?;
    expect_no_job_in(directory.path()).await?;
    expect_empty_queues(&cluster.bus).await
}

#[tokio::test(flavor = "multi_thread")]
async fn a_worker_killed_at_any_moment_is_made_good() -> Result<()> {
    let mut chance = Chance::of_this_run();
    let mut cluster = Cluster::start(2).await?;
    for moment in [EventKind::Executing, EventKind::Contributed, EventKind::Proof, EventKind::Folded] {
        let proving = cluster.begin()?;
        cluster.wait_for(proving.id, moment.as_str(), |event| event.kind() == moment).await?;
        let pause = chance.between(Duration::ZERO, Duration::from_millis(150));
        sleep(pause).await;
        let victim = chance.below(2);
        eprintln!("kill -9 of worker {victim}, {pause:?} after {moment}");
        cluster.kill_worker(victim);
        cluster.finish(proving).await.with_context(|| format!("worker {victim} killed {pause:?} after {moment}"))?;
        expect_empty_queues(&cluster.bus).await?;
        cluster.start_worker(1)?;
    }
    Ok(())
}

#[tokio::test(flavor = "multi_thread")]
async fn a_killed_aggregator_is_replaced() -> Result<()> {
    let mut cluster = Cluster::start(2).await?;
    let proving = cluster.begin()?;
    let deadline = Instant::now() + JOB;
    let aggregator = loop {
        if let Some(holder) = cluster.bus.holder(proving.id).await? {
            break holder.worker;
        }
        ensure!(Instant::now() < deadline, "nobody was elected");
        sleep(Duration::from_millis(5)).await;
    };
    let index = cluster.workers.iter().position(|worker| worker.id == aggregator).context("someone unknown was elected")?;
    cluster.kill_worker(index);
    let events = cluster.finish(proving).await?;
    let last = events.iter().rev().find_map(|event| match event.body {
        EventBody::Folded { worker, .. } => Some(worker),
        _ => None,
    });
    ensure!(last == Some(cluster.workers[0].id), "folded by {last:?}");
    expect_empty_queues(&cluster.bus).await
}

#[tokio::test(flavor = "multi_thread")]
async fn a_killed_coordinator_and_a_killed_nats_server_come_back_and_lose_nothing() -> Result<()> {
    let mut chance = Chance::of_this_run();
    let mut cluster = Cluster::start(2).await?;
    let proving = cluster.begin()?;
    for moment in [EventKind::Executing, EventKind::Contributed, EventKind::Proof] {
        cluster.wait_for(proving.id, moment.as_str(), |event| event.kind() == moment).await?;
        let pause = chance.between(Duration::ZERO, Duration::from_millis(100));
        sleep(pause).await;
        eprintln!("kill -9 of the coordinator, {pause:?} after {moment}");
        cluster.kill_coordinator();
        sleep(chance.between(Duration::ZERO, Duration::from_millis(300))).await;
        cluster.start_coordinator()?;
    }
    cluster.finish(proving).await?;
    expect_empty_queues(&cluster.bus).await?;

    let proving = cluster.begin()?;
    for moment in [EventKind::Executing, EventKind::Contributed, EventKind::Proof] {
        cluster.wait_for(proving.id, moment.as_str(), |event| event.kind() == moment).await?;
        let pause = chance.between(Duration::ZERO, Duration::from_millis(100));
        sleep(pause).await;
        eprintln!("kill -9 of nats-server, {pause:?} after {moment}");
        cluster.nats.kill();
        sleep(chance.between(Duration::ZERO, Duration::from_millis(300))).await;
        cluster.nats.restart()?;
    }
    cluster.finish(proving).await?;
    for worker in &mut cluster.workers {
        ensure!(worker.process.is_running(), "a worker ended:\n{}", worker.process.log_end());
    }
    ensure!(cluster.coordinator.as_mut().unwrap().is_running(), "the coordinator ended");
    expect_empty_queues(&cluster.bus).await
}

#[tokio::test(flavor = "multi_thread")]
async fn what_cannot_be_proven_is_refused_in_words_and_the_cluster_goes_on() -> Result<()> {
    let cluster = Cluster::start(1).await?;
    let garbage = cluster.file("garbage.elf", b"#!/bin/sh\necho no program\n")?;
    cluster.prove(&garbage, b"")?.expect_refusal(exit::UNUSABLE, &["garbage.elf", "not a program", "Build"])?;

    let mut half = std::fs::read(elf(HASHER))?;
    half.truncate(half.len() / 2);
    let half = cluster.file("half.elf", &half)?;
    cluster.prove(&half, b"")?.expect_refusal(exit::UNUSABLE, &["half.elf", "not a program", "Build"])?;

    // Past the client's own check, as another client might send it.
    for (guest, vector, words) in
        [("trap", "breakpoint", ["pc 0x", "zisk execute --local"]), ("exit-one", "no input", ["code 1", "zisk execute --local"])]
    {
        let input = Vector::find(guest, vector)?.input;
        cluster.prove(&elf(guest), &input)?.expect_refusal(exit::GUEST_FAILED, &words)?;
    }

    let missing = cluster.nats.directory().join("missing").display().to_string();
    let out = cluster.nats.directory().join("out").display().to_string();
    let hasher = elf(HASHER).display().to_string();
    let prove = ["prove", "--program", &hasher, "--input", &missing, "--out", &out];
    cluster.zisk(&prove)?.expect_refusal(exit::UNUSABLE, &["cannot read", &missing, "Name"])?;
    let prove = ["prove", "--program", &missing, "--out", &out];
    cluster.zisk(&prove)?.expect_refusal(exit::UNUSABLE, &["cannot read", &missing, "Name"])?;
    let nowhere = format!("{missing}/proof");
    let prove = ["prove", "--program", &hasher, "--out", &nowhere];
    cluster.zisk(&prove)?.expect_refusal(exit::UNUSABLE, &["cannot write", &nowhere, "Name"])?;

    expect_empty_queues(&cluster.bus).await?;
    cluster.expect_working().await
}

#[tokio::test(flavor = "multi_thread")]
async fn without_a_coordinator_the_request_waits_for_one() -> Result<()> {
    let mut cluster = Cluster::start(1).await?;
    cluster.coordinator.take().unwrap().stop()?;
    let input = Vector::find(HASHER, HASHES)?.input;
    let began = Instant::now();
    let ended = cluster.prove(&elf(HASHER), &input)?;
    ensure!(began.elapsed() < Duration::from_secs(60), "came back after {:?}", began.elapsed());
    ended.expect_refusal(exit::NO_COORDINATOR, &["no coordinator", "zisk-coordinator", "zisk status"])?;

    // As promised there.
    let job: JobId = ended.stderr.lines().next().unwrap_or_default().trim_start_matches("job ").parse()?;
    cluster.start_coordinator()?;
    let events = until_the_end(&cluster.bus, job, JOB).await?;
    ensure!(events.last().unwrap().kind() == EventKind::Completed, "{events:?}");
    let status = cluster.zisk(&["status", &job.to_string(), "--json"])?.json()?;
    ensure!(status["state"] == "completed", "{status}");
    Ok(())
}

#[tokio::test(flavor = "multi_thread")]
async fn without_a_usable_nats_server_it_says_what_to_start() -> Result<()> {
    let directory = tempfile::tempdir()?;
    let out = directory.path().join("proof").display().to_string();
    let prove = |url: &str, label: &str| {
        let program = Program::new("zisk", directory.path()).arg("prove").arg("--nats-url").arg(url);
        let program = program.arg("--program").arg(text(&elf(HASHER))).arg("--out").arg(&out);
        run(&program, &directory.path().join(label), Duration::from_secs(60))
    };
    let url = format!("nats://127.0.0.1:{}", free_port()?);
    prove(&url, "none")?.expect_refusal(exit::NO_NATS, &[&url, "nats-server -js", "--nats-url"])?;

    let old = NatsServer::start_version("2.10.26")?;
    prove(&old.url(), "old")?.expect_refusal(exit::NO_NATS, &[&old.url(), "2.10.26", "2.11", "install-nats.sh"])?;

    let bare = NatsServer::start_without_jetstream()?;
    prove(&bare.url(), "bare")?.expect_refusal(exit::NO_NATS, &[&bare.url(), "JetStream"])
}

#[tokio::test(flavor = "multi_thread")]
async fn every_other_command_says_what_it_found() -> Result<()> {
    let cluster = Cluster::start(1).await?;
    let hasher = elf(HASHER).display().to_string();
    let vector = Vector::find(HASHER, HASHES)?;
    let input = cluster.file("input", &vector.input)?.display().to_string();
    let executed = cluster.zisk(&["execute", "--program", &hasher, "--input", &input, "--json"])?.json()?;
    assert_eq!((words(&executed["outputs"])?, executed["exit_code"].as_u64()), (vector.outputs, Some(0)));
    let executed = cluster.zisk(&["execute", "--program", text(&elf("exit-one"))])?;
    ensure!(executed.code == Some(exit::GUEST_FAILED) && executed.stderr.contains("code 1"), "{}", executed.stderr);

    let proving = cluster.begin()?;
    let (job, proof) = (proving.id.to_string(), proving.proof.clone());
    cluster.finish(proving).await?;
    let status = cluster.zisk(&["status", &job, "--json"])?.json()?;
    ensure!(status["state"] == "completed" && status["proven"] == status["segments"], "{status}");
    let shown = cluster.zisk(&["status", &job])?;
    ensure!(shown.code == Some(0) && shown.stdout.contains("completed"), "{}", shown.stdout);
    let jobs = cluster.zisk(&["jobs", "--json"])?.json()?;
    ensure!(jobs.as_array().unwrap().iter().any(|entry| entry["job"] == job), "{jobs}");
    let unknown = JobId::random().to_string();
    cluster.zisk(&["status", &unknown])?.expect_refusal(1, &["no job", &unknown, "zisk jobs"])?;
    cluster.zisk(&["cancel", &unknown])?.expect_refusal(1, &["no job", &unknown])?;
    let late = cluster.zisk(&["cancel", &job, "--json"])?;
    let cancelled: Value = serde_json::from_str(&late.stdout)?;
    ensure!(cancelled["cancelled"] == false && cancelled["state"] == "completed", "it had ended: {cancelled}");
    ensure!(late.code == Some(exit::ENDED_BEFORE), "{:?}", late.code);

    let other = elf("fibonacci");
    let proof_text = text(&proof);
    let verified = cluster.zisk(&["verify", proof_text, "--program", text(&other)])?;
    verified.expect_refusal(exit::INVALID_PROOF, &["not valid", "program"])?;
    let bytes = std::fs::read(&proof)?;
    let mut chance = Chance::of_this_run();
    for _ in 0..4 {
        let mut tampered = bytes.clone();
        let at = chance.below(bytes.len());
        tampered[at] ^= 1 << chance.below(8);
        eprintln!("tampered with byte {at} of {}", bytes.len());
        let tampered = cluster.file("tampered", &tampered)?;
        let verified = cluster.zisk(&["verify", text(&tampered), "--program", &hasher])?;
        verified.expect_refusal(exit::INVALID_PROOF, &["not valid: "])?;
    }
    let truncated = cluster.file("truncated", &bytes[..bytes.len() / 2])?;
    let verified = cluster.zisk(&["verify", text(&truncated), "--program", &hasher])?;
    verified.expect_refusal(exit::INVALID_PROOF, &["not valid: "])
}

#[tokio::test(flavor = "multi_thread")]
async fn a_cancelled_job_leaves_workers_and_bus_at_once() -> Result<()> {
    let cluster = Cluster::start(2).await?;
    let mut proving = cluster.begin_with("11", &["--proof", "bundle"])?;
    cluster.wait_for(proving.id, "a contribution", |event| event.kind() == EventKind::Contributed).await?;
    let cancelled = cluster.zisk(&["cancel", &proving.id.to_string(), "--json"])?.json()?;
    ensure!(cancelled["cancelled"] == true, "{cancelled}");
    let code = proving.process.wait(SOON)?.code();
    let stdout = std::fs::read_to_string(&proving.stdout)?;
    Ended { code, stdout, stderr: proving.process.log() }.expect_refusal(exit::CANCELLED, &["cancelled", "Submit it again"])?;
    ensure!(!proving.proof.exists(), "a proof of a cancelled job");
    assert_eq!(expect_clean(&cluster.bus, proving.id).await?.state, JobState::Cancelled);
    expect_empty_queues(&cluster.bus).await?;
    let deadline = Instant::now() + SOON;
    loop {
        let workers = cluster.zisk(&["workers", "--json"])?.json()?;
        let workers = workers.as_array().context("no list")?;
        if workers.len() == 2 && workers.iter().all(|worker| worker["state"] == "idle" && worker["busy"] == 0) {
            break;
        }
        ensure!(Instant::now() < deadline, "still at work, or not there: {workers:?}");
        sleep(Duration::from_millis(100)).await;
    }
    cluster.expect_working().await
}

#[tokio::test(flavor = "multi_thread")]
async fn one_unit_is_enough_for_many_segments_and_for_two_jobs_at_once() -> Result<()> {
    let cluster = Cluster::start(1).await?;
    let jobs = [cluster.begin()?, cluster.begin()?];
    for proving in jobs {
        cluster.finish(proving).await?;
    }
    expect_empty_queues(&cluster.bus).await
}

#[tokio::test(flavor = "multi_thread")]
async fn a_worker_told_to_stop_leaves_its_work_to_the_other() -> Result<()> {
    let mut cluster = Cluster::start(2).await?;
    let proving = cluster.begin()?;
    cluster.wait_for(proving.id, "a contribution", |event| event.kind() == EventKind::Contributed).await?;
    let mut leaving = cluster.workers.remove(0);
    leaving.process.terminate();
    // Its own limit is 30 s.
    let status = leaving.process.wait(Duration::from_secs(60))?;
    ensure!(status.code() == Some(0), "{status}\n{}", leaving.process.log_end());
    cluster.finish(proving).await?;
    expect_empty_queues(&cluster.bus).await?;
    let workers = cluster.zisk(&["workers", "--json"])?.json()?;
    let ids: Vec<&str> = workers.as_array().context("no list")?.iter().filter_map(|worker| worker["worker"].as_str()).collect();
    if ids != [cluster.workers[0].id.to_string()] {
        bail!("{ids:?}");
    }
    Ok(())
}
