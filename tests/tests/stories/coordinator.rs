//! The coordinator against a real nats-server, with a worker that only pretends to prove.

use std::time::Duration;

use anyhow::{Context, Result, bail};
use async_nats::HeaderMap;
use tokio::time::{sleep, timeout};
use zisk_common::bus::{Bus, BusConfig};
use zisk_common::election::Lease;
use zisk_common::ids::{Digest, JobId, WorkerId};
use zisk_common::keep_alive::KeepAlive;
use zisk_common::messages::*;
use zisk_common::objects::{Objects, StoreUrl};
use zisk_common::presence::Presence;
use zisk_common::pull::Delivery;
use zisk_common::subjects::{AssignmentKind, ConsumerKind, EventKind, Phase, RequestKind, StreamKind};
use zisk_machine::memory_map::HALT_PC;
use zisk_machine::segment::State;
use zisk_protocol::PublicValues;
use zisk_tests::{NatsServer, Process, Program};

use crate::support::{SOON, expect_clean, expect_empty_queues, until_the_end};

fn coordinator(nats: &NatsServer) -> Program {
    Program::new("zisk-coordinator", nats.directory())
        .arg("--nats-url")
        .arg(nats.url())
        .arg("--metrics-port")
        .arg("0")
        .arg("--lease-seconds")
        .arg("2")
        .arg("--log-level")
        .arg("info,zisk_coordinator=debug,async_nats=warn")
        .env("ZISK_COORDINATOR_SERVER_LEADER_LEASE_SECONDS", "2")
        // Those of the workers here are made up.
        .env("ZISK_COORDINATOR_JOBS_VERIFY_PROOFS", "false")
}

fn start_coordinator(nats: &NatsServer, label: &str) -> Result<Process> {
    coordinator(nats).start(label)
}

/// How many assignments were ever stored.
async fn assignments(bus: &Bus) -> Result<u64> {
    let stream = bus.jetstream().get_stream(bus.prefix().stream(StreamKind::Assign)).await?;
    Ok(stream.cached_info().state.last_sequence)
}

async fn connect(nats: &NatsServer) -> Result<Bus> {
    let config = BusConfig { url: nats.url(), lease: Duration::from_secs(2), ..BusConfig::default() };
    let bus = Bus::connect(config).await?;
    bus.prepare().await?;
    Ok(bus)
}

/// A worker without a prover. `max_steps` of a job is the number of its segments.
#[derive(Clone)]
struct Worker {
    id: WorkerId,
    bus: Bus,
    objects: Objects,
    keep_alive: KeepAlive,
    /// How long a contribution or a proof takes.
    pace: Duration,
    /// Whether it ever finishes an aggregation.
    aggregates: bool,
}

impl Worker {
    async fn new(nats: &NatsServer) -> Result<Self> {
        let bus = connect(nats).await?;
        let objects = Objects::open(&StoreUrl::JetStream, &bus).await?;
        let keep_alive = KeepAlive::start(&bus).await?;
        Ok(Self { id: WorkerId::random(), bus, objects, keep_alive, pace: Duration::ZERO, aggregates: true })
    }

    /// Works in the background until the test ends.
    fn start(&self) {
        for kind in [AssignmentKind::Plan, AssignmentKind::Segment, AssignmentKind::Aggregate] {
            let worker = self.clone();
            tokio::spawn(async move {
                let mut puller = worker.bus.puller(ConsumerKind::Assign(kind));
                loop {
                    for delivery in puller.fetch(8, Duration::from_secs(1)).await {
                        let worker = worker.clone();
                        tokio::spawn(async move {
                            if let Err(error) = worker.work(kind, &delivery).await {
                                eprintln!("fake worker: {error:#}");
                            }
                        });
                    }
                }
            });
        }
    }

    async fn work(&self, kind: AssignmentKind, delivery: &Delivery) -> Result<()> {
        let hold = self.keep_alive.hold(delivery);
        match Assignment::decode(kind, delivery.payload())? {
            Assignment::Plan(plan) => self.plan(&plan).await?,
            Assignment::Segment(segment) => {
                if !self.segment(&segment).await? {
                    return Ok(());
                }
                if let Some(lease) = self.bus.stand(&self.keep_alive, segment.job, self.id).await? {
                    tokio::spawn(self.clone().aggregate(lease));
                }
            }
            Assignment::Fold(_) => bail!("this aggregator publishes no folds"),
            Assignment::Aggregate(fold) => {
                if let Some(lease) = self.bus.stand(&self.keep_alive, fold.job, self.id).await? {
                    tokio::spawn(self.clone().aggregate(lease));
                }
            }
        }
        drop(hold);
        delivery.ack().await?;
        Ok(())
    }

    async fn plan(&self, plan: &PlanAssignment) -> Result<()> {
        let (job, segments) = (plan.job, plan.params.max_steps.unwrap() as u32);
        let keys = self.keys().await?;
        for n in 0..segments {
            let segment = self.objects.put(ObjectScope::Segment(job), format!("segment {n}").into()).await?;
            let planned = Planned { v: Version::default(), job, n, worker: self.id, segment, keys };
            self.bus.publish_report(&Report::Planned(planned)).await?;
        }
        let public = PublicValues { outputs: vec![7; zisk_protocol::OUTPUT_COUNT], exit_code: 0 };
        let executed = Executed {
            v: Version::default(),
            job,
            worker: self.id,
            segments,
            steps: u64::from(segments) * 10,
            exit_code: 0,
            outputs: ByteBuf::from(vec![7]),
            public_values: ByteBuf::from(rmp_serde::to_vec_named(&public)?),
            uart: ByteBuf::new(),
            verifying_key: ByteBuf::from(vec![1; 32]),
            keys,
            milliseconds: 1,
        };
        self.bus.publish_report(&Report::Executed(executed)).await?;
        Ok(())
    }

    /// Returns false when the job ended before its challenge came.
    async fn segment(&self, segment: &SegmentAssignment) -> Result<bool> {
        let (job, n, attempt) = (segment.job, segment.n, segment.attempt);
        sleep(self.pace).await;
        let last = self.bus.jobs().await?.get(job).await?.context("no record")?.value.request.params.max_steps;
        let contribution = ByteBuf::from(contribution(n, u64::from(n) + 1 == last.unwrap()));
        let report = Contribution { v: Version::default(), job, n, worker: self.id, attempt, contribution, milliseconds: 1 };
        self.bus.publish_report(&Report::Contribution(report)).await?;
        let challenge = loop {
            if let Some(challenge) = self.bus.challenge(job).await? {
                break challenge;
            }
            if self.bus.cancellation(job).await?.is_some() {
                return Ok(false);
            }
            sleep(Duration::from_millis(20)).await;
        };
        sleep(self.pace).await;
        let node = self.objects.put(ObjectScope::Node(job), format!("node {n}").into()).await?;
        let proof = Proof {
            v: Version::default(),
            job,
            n,
            worker: self.id,
            attempt,
            node,
            challenge: Digest::of(&challenge.challenge),
            milliseconds: 1,
        };
        self.bus.publish_report(&Report::Proof(proof)).await?;
        Ok(true)
    }

    async fn aggregate(self, lease: Lease) {
        if !self.aggregates {
            return; // drops the lease, which then expires
        }
        let mut events = self.bus.events(lease.job());
        let mut nodes = std::collections::BTreeSet::new();
        loop {
            let Ok(event) = events.next().await else { continue };
            if let EventBody::Proof { n, .. } = event.body {
                nodes.insert(n);
            }
            if event.progress.segments == Some(nodes.len() as u32) || event.kind().is_terminal() {
                break;
            }
        }
        let proof = self.objects.put(ObjectScope::Proof, lease.job().to_string().into()).await.unwrap();
        let (job, epoch) = (lease.job(), lease.epoch());
        let report = Final { v: Version::default(), job, worker: self.id, epoch, proof, milliseconds: 1 };
        self.bus.publish_report(&Report::Final(report)).await.unwrap();
        lease.resign().await;
    }

    async fn keys(&self) -> Result<ProgramKeys> {
        let proving = self.objects.put(ObjectScope::Key, "proving".into()).await?;
        let verifying = self.objects.put(ObjectScope::Key, "verifying".into()).await?;
        Ok(ProgramKeys { proving, verifying })
    }
}

/// A contribution that chains with those of its neighbours.
fn contribution(n: u32, is_last: bool) -> Vec<u8> {
    let state = |n: u32, halted: bool| State { pc: if halted { HALT_PC } else { 100 + n }, cursor: n, image: n > 0 };
    zisk_protocol::Contribution {
        index: n,
        start: state(n, false),
        end: state(n + 1, is_last),
        steps: 10,
        log_heights: zisk_protocol::shape::shapes()[0],
        commitment: [n; 8],
    }
    .to_bytes()
}

fn request(segments: u64) -> JobRequest {
    JobRequest {
        v: Version::default(),
        job: JobId::random(),
        program: Digest::of(b"elf"),
        input: None,
        input_stream: false,
        params: JobParams { max_steps: Some(segments), ..JobParams::default() },
        client: "test".to_owned(),
        metadata: Default::default(),
    }
}

/// Waits for the job's first event of a kind.
async fn until(bus: &Bus, job: JobId, kind: EventKind) -> Result<Event> {
    let mut events = bus.events(job);
    let looking = async {
        loop {
            let event = events.next().await?;
            if event.kind() == kind {
                return Ok(event);
            }
        }
    };
    timeout(SOON, looking).await.with_context(|| format!("job {job}: no {kind}"))?
}

fn kinds(events: &[Event]) -> Vec<EventKind> {
    let mut kinds: Vec<EventKind> = events.iter().map(Event::kind).collect();
    kinds.dedup();
    kinds
}

#[tokio::test(flavor = "multi_thread")]
async fn a_job_goes_through_all_its_phases_and_leaves_nothing_behind() -> Result<()> {
    let nats = NatsServer::start()?;
    let mut coordinator = start_coordinator(&nats, "coordinator")?;
    coordinator.wait_for_log("coordinator ready", SOON)?;
    let worker = Worker::new(&nats).await?;
    let bus = worker.bus.clone();
    let _presence = Presence::start(
        &worker.keep_alive,
        WorkerPresence {
            v: Version::default(),
            worker: worker.id,
            host: "here".to_owned(),
            capacity: 10,
            versions: Versions::default(),
            state: WorkerState::Idle,
            reason: None,
            load: Load::default(),
            started_ms: unix_ms(),
            seen_ms: unix_ms(),
        },
    );
    coordinator.wait_for_log(&format!("worker registered: {} capacity=10", worker.id), SOON)?;
    worker.start();

    let request = request(5);
    bus.publish_request(RequestKind::Prove, &request).await?;
    let events = until_the_end(&bus, request.job, SOON).await?;
    let kinds = kinds(&events);
    assert_eq!(kinds.first(), Some(&EventKind::Accepted));
    assert_eq!(kinds.last(), Some(&EventKind::Completed), "{kinds:?}");
    assert!(kinds.contains(&EventKind::Challenged));
    let end = events.last().unwrap();
    assert_eq!((end.progress.proven, end.progress.segments), (5, Some(5)));

    // The same request again is the same job.
    bus.publish(bus.prefix().request(RequestKind::Prove), "another id", encode(&request)?).await?;
    let record = expect_clean(&bus, request.job).await?;
    assert_eq!(record.state, JobState::Completed);
    expect_empty_queues(&bus).await?;
    assert!(worker.objects.head(record.proof.unwrap().key).await?.is_some());
    let segment = ObjectKey { scope: ObjectScope::Segment(request.job), digest: Digest::of(b"segment 0") };
    assert!(worker.objects.head(segment).await?.is_none());

    // And stops in good order.
    let status = coordinator.stop()?;
    assert!(status.success(), "{status}");
    Ok(())
}

#[tokio::test(flavor = "multi_thread")]
async fn a_killed_coordinator_goes_on_where_it_was() -> Result<()> {
    let nats = NatsServer::start()?;
    let mut worker = Worker::new(&nats).await?;
    worker.pace = Duration::from_millis(150);
    worker.start();
    let bus = worker.bus.clone();
    let jobs: Vec<JobRequest> = (0..3).map(|_| request(12)).collect();
    for request in &jobs {
        bus.publish_request(RequestKind::Prove, request).await?;
    }
    let ended = {
        let (bus, jobs) = (bus.clone(), jobs.clone());
        tokio::spawn(async move {
            for request in &jobs {
                until_the_end(&bus, request.job, Duration::from_secs(300)).await?;
            }
            Ok::<_, anyhow::Error>(())
        })
    };
    let mut kills = 0;
    let mut coordinator = start_coordinator(&nats, "coordinator-0")?;
    let mut pause = 60;
    while !ended.is_finished() && kills < 12 {
        coordinator.wait_for_log("it leads", SOON)?;
        sleep(Duration::from_millis(pause)).await;
        pause = pause * 7 % 401 + 40;
        coordinator.kill();
        kills += 1;
        coordinator = start_coordinator(&nats, &format!("coordinator-{kills}"))?;
    }
    ended.await??;
    for request in &jobs {
        assert_eq!(expect_clean(&bus, request.job).await?.state, JobState::Completed);
    }
    expect_empty_queues(&bus).await?;
    eprintln!("{kills} kills");
    Ok(())
}

#[tokio::test(flavor = "multi_thread")]
async fn a_restarted_nats_server_loses_nothing() -> Result<()> {
    let mut nats = NatsServer::start()?;
    let mut coordinator = start_coordinator(&nats, "coordinator")?;
    coordinator.wait_for_log("coordinator ready", SOON)?;
    let mut worker = Worker::new(&nats).await?;
    worker.pace = Duration::from_millis(200);
    worker.start();
    let request = request(12);
    worker.bus.publish_request(RequestKind::Prove, &request).await?;
    for _ in 0..3 {
        sleep(Duration::from_millis(250)).await;
        nats.restart()?;
    }
    until_the_end(&worker.bus, request.job, Duration::from_secs(300)).await?;
    assert_eq!(expect_clean(&worker.bus, request.job).await?.state, JobState::Completed);
    assert!(coordinator.is_running());
    Ok(())
}

#[tokio::test(flavor = "multi_thread")]
async fn one_coordinator_leads_and_another_takes_over() -> Result<()> {
    let nats = NatsServer::start()?;
    let mut first = start_coordinator(&nats, "first")?;
    first.wait_for_log("it leads", SOON)?;
    let mut second = start_coordinator(&nats, "second")?;
    second.wait_for_log("it stands by", SOON)?;
    let mut worker = Worker::new(&nats).await?;
    worker.pace = Duration::from_millis(300);
    worker.start();
    let bus = worker.bus.clone();
    let submit = async || -> Result<Vec<JobRequest>> {
        let jobs: Vec<JobRequest> = (0..4).map(|_| request(16)).collect();
        for request in &jobs {
            bus.publish_request(RequestKind::Prove, request).await?;
        }
        until(&bus, jobs[0].job, EventKind::Contributed).await?;
        Ok(jobs)
    };
    let mut expected = 0;
    let mut all_end = async |jobs: Vec<JobRequest>| -> Result<()> {
        for request in &jobs {
            until_the_end(&bus, request.job, Duration::from_secs(300)).await?;
            let record = expect_clean(&bus, request.job).await?;
            assert_eq!(record.state, JobState::Completed);
            expected += 1 + 16 + u64::from(record.aggregate_assignments);
        }
        // Whoever led: nothing was dispatched twice.
        assert_eq!(assignments(&bus).await?, expected);
        Ok(())
    };

    // The leader is killed in the middle of four jobs.
    let jobs = submit().await?;
    first.kill();
    second.wait_for_log("it leads", SOON)?;
    all_end(jobs).await?;

    // The leader is paused past its lease, and comes back.
    let mut third = start_coordinator(&nats, "third")?;
    third.wait_for_log("it stands by", SOON)?;
    let jobs = submit().await?;
    second.freeze();
    third.wait_for_log("it leads", SOON)?;
    second.thaw();
    second.wait_for_log("leads no more", SOON)?;
    second.wait_for_log("it stands by", SOON)?;
    all_end(jobs).await?;

    // The leader is stopped: it resigns.
    let jobs = submit().await?;
    assert!(third.stop()?.success());
    all_end(jobs).await?;
    assert!(second.is_running());
    Ok(())
}

#[tokio::test(flavor = "multi_thread")]
async fn an_aggregator_that_vanishes_is_replaced() -> Result<()> {
    let nats = NatsServer::start()?;
    let mut coordinator = start_coordinator(&nats, "coordinator")?;
    let mut lazy = Worker::new(&nats).await?;
    lazy.aggregates = false;
    let good = Worker::new(&nats).await?;
    let bus = good.bus.clone();
    let request = request(3);
    bus.publish_request(RequestKind::Prove, &request).await?;
    // The lazy one does all segments and wins the election; only the other takes fold assignments.
    for kind in [AssignmentKind::Plan, AssignmentKind::Segment] {
        let lazy = lazy.clone();
        tokio::spawn(async move {
            let mut puller = lazy.bus.puller(ConsumerKind::Assign(kind));
            loop {
                for delivery in puller.fetch(8, Duration::from_secs(1)).await {
                    let lazy = lazy.clone();
                    tokio::spawn(async move { lazy.work(kind, &delivery).await });
                }
            }
        });
    }
    let mut puller = bus.puller(ConsumerKind::Assign(AssignmentKind::Aggregate));
    let fold = puller.fetch(1, SOON).await;
    good.work(AssignmentKind::Aggregate, fold.first().context("no fold assignment")?).await?;
    until_the_end(&bus, request.job, SOON).await?;
    let record = expect_clean(&bus, request.job).await?;
    assert_eq!((record.state, record.aggregate_assignments), (JobState::Completed, 1));
    assert!(coordinator.is_running());
    Ok(())
}

#[tokio::test(flavor = "multi_thread")]
async fn failures_cancellation_and_timeouts_end_a_job_with_their_cause() -> Result<()> {
    let nats = NatsServer::start()?;
    let mut coordinator = start_coordinator(&nats, "coordinator")?;
    coordinator.wait_for_log("coordinator ready", SOON)?;
    let worker = Worker::new(&nats).await?;
    let bus = worker.bus.clone();

    let trapped = request(1);
    bus.publish_request(RequestKind::Prove, &trapped).await?;
    let failure = Failure {
        worker: Some(worker.id),
        phase: Some(Phase::Executed),
        ..Failure::new(FailureKind::Execution, "load outside the map at pc 0x90000010")
    };
    timeout(SOON, bus.puller(ConsumerKind::Assign(AssignmentKind::Plan)).fetch(1, SOON)).await?;
    let report = Failed { v: Version::default(), job: trapped.job, attempt: 1, failure: failure.clone() };
    bus.publish_report(&Report::Failed(report)).await?;
    let events = until_the_end(&bus, trapped.job, SOON).await?;
    assert_eq!(events.last().unwrap().body, EventBody::Failed { failure });
    expect_clean(&bus, trapped.job).await?;
    // The broadcast that stopped its workers goes with the job.
    let purged = async {
        while bus.cancellation(trapped.job).await?.is_some() {
            sleep(Duration::from_millis(100)).await;
        }
        anyhow::Ok(())
    };
    timeout(SOON, purged).await??;

    let cancelled = request(1);
    bus.publish_request(RequestKind::Prove, &cancelled).await?;
    sleep(Duration::from_millis(300)).await;
    let message = "by its client".to_owned();
    let cancel = Cancel { v: Version::default(), job: cancelled.job, kind: FailureKind::Cancelled, message };
    bus.broadcast_cancel(&cancel).await?;
    let events = until_the_end(&bus, cancelled.job, SOON).await?;
    assert_eq!(events.last().unwrap().kind(), EventKind::Cancelled);
    assert_eq!(expect_clean(&bus, cancelled.job).await?.state, JobState::Cancelled);

    let mut slow = request(1);
    slow.params.timeout_seconds = Some(1);
    bus.publish_request(RequestKind::Prove, &slow).await?;
    until_the_end(&bus, slow.job, SOON).await?;
    let failure = expect_clean(&bus, slow.job).await?.failure.unwrap();
    assert_eq!(failure.kind, FailureKind::Timeout);
    expect_empty_queues(&bus).await?;
    Ok(())
}

#[tokio::test(flavor = "multi_thread")]
async fn requests_that_make_no_sense_are_refused_in_words() -> Result<()> {
    let nats = NatsServer::start()?;
    let _coordinator = start_coordinator(&nats, "coordinator")?;
    let bus = connect(&nats).await?;
    let refusal = async |job: JobId| -> Result<String> {
        let events = until_the_end(&bus, job, SOON).await?;
        match &events.last().unwrap().body {
            EventBody::Failed { failure } if failure.kind == FailureKind::Input => Ok(failure.message.clone()),
            other => bail!("not refused: {other:?}"),
        }
    };

    let mut wild = request(1);
    wild.params.log_segment_steps = Some(60);
    bus.publish_request(RequestKind::Prove, &wild).await?;
    let text = refusal(wild.job).await?;
    assert!(text.contains("log_segment_steps is 60: expected 10 to 20"), "{text}");

    // By hand, with a spelling mistake.
    let job = JobId::random();
    let json = format!(r#"{{"job":"{job}","program":"{}","inptu":1}}"#, Digest::of(b"elf"));
    let mut headers = HeaderMap::new();
    headers.insert(CONTENT_TYPE, JSON);
    bus.client().publish_with_headers(bus.prefix().request(RequestKind::Prove), headers, json.into()).await?;
    let text = refusal(job).await?;
    assert!(text.contains("inptu"), "{text}");

    bus.client().publish(bus.prefix().request(RequestKind::Prove), "garbage".into()).await?;
    expect_empty_queues(&bus).await?;
    Ok(())
}

#[tokio::test(flavor = "multi_thread")]
async fn it_waits_for_nats_and_says_so_and_names_a_port_in_use() -> Result<()> {
    let mut nats = NatsServer::start()?;
    nats.stop()?;
    let mut coordinator = start_coordinator(&nats, "coordinator")?;
    let line = coordinator.wait_for_log("no NATS server answers at", SOON)?;
    assert!(line.contains(&nats.url()) && line.contains("trying again"), "{line}");
    nats.restart()?;
    coordinator.wait_for_log("coordinator ready", SOON)?;

    let taken = std::net::TcpListener::bind("0.0.0.0:0")?;
    let port = taken.local_addr()?.port().to_string();
    let output = Program::new("zisk-coordinator", nats.directory())
        .arg("--nats-url")
        .arg(nats.url())
        .arg("--metrics-port")
        .arg(port)
        .command()?
        .output()?;
    let text = String::from_utf8_lossy(&output.stderr).into_owned();
    assert!(!output.status.success());
    assert!(text.contains("Address already in use") && text.contains("--metrics-port"), "{text}");
    Ok(())
}
