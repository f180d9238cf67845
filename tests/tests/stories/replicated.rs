//! NATS servers that are lost: one of three that lead something, and a single one of which only the disk is left. `ZISK_TEST_SEED`
//! repeats a run.

use std::time::Duration;

use anyhow::{Context, Result, ensure};
use tokio::time::{Instant, sleep};
use zisk_common::bus::{Bus, BusConfig};
use zisk_common::ids::{JobId, ProgramId};
use zisk_common::messages::{JobParams, JobRequest, Version, decode};
use zisk_common::subjects::{BucketKind, ConsumerKind, EventKind, RequestKind, StreamKind};
use zisk_tests::chance::Chance;
use zisk_tests::fleet::Settings;
use zisk_tests::story::{JOB, PATIENCE, Story};
use zisk_tests::{NatsServer, nats_server};

/// A moment in a phase.
const MOMENT: Duration = Duration::from_millis(400);

#[tokio::test(flavor = "multi_thread")]
async fn a_server_that_leads_is_killed_and_no_job_is_lost() -> Result<()> {
    let mut chance = Chance::of_this_run();
    let settings = Settings { ack_wait: PATIENCE, lease: PATIENCE, servers: 3, ..Settings::default() };
    let mut story = Story::start_with(settings, 2).await?;
    story.fleet.start_coordinator()?;
    let workload = story.reference.hashes(16)?;
    let prefix = story.fleet.bus.prefix().clone();
    let streams = [
        prefix.bucket_stream(BucketKind::Jobs),
        prefix.bucket_stream(BucketKind::Segments),
        prefix.bucket_stream(BucketKind::Leader),
        prefix.stream(StreamKind::Report),
        prefix.stream(StreamKind::Assign),
        prefix.stream(StreamKind::Broadcast),
        prefix.stream(StreamKind::Events),
    ];
    let mut ended = Vec::new();
    // The cluster's own leader, then that of any stream.
    for moment in [EventKind::Contributed, EventKind::Proof] {
        let led = if ended.is_empty() { None } else { chance.pick(&streams) };
        let job = story.submit(&workload).await?;
        story.wait_for(job, moment).await?;
        let pause = chance.between(Duration::ZERO, MOMENT);
        sleep(pause).await;
        let nats = &mut story.fleet.nats;
        let deadline = Instant::now() + JOB;
        // Between two leaders there is none for a moment, and a server may be slow to say.
        let victim = loop {
            if let Some(victim) = led.map_or_else(|| nats.meta_leader(), |stream| nats.leader_of(stream)) {
                break victim;
            }
            ensure!(Instant::now() < deadline, "no leader of {led:?}");
            sleep(Duration::from_millis(50)).await;
        };
        let what = format!("server {victim}, that led {led:?}, killed {pause:?} after {moment}");
        eprintln!("{what}");
        nats.servers[victim].kill();
        // What is asked for while it is away is accepted, too.
        let next = story.submit(&workload).await.with_context(|| what.clone())?;
        for job in [job, next] {
            ended.push(story.ends_well(job, &workload).await.with_context(|| what.clone())?);
        }
        story.fleet.nats.servers[victim].restart()?;
        story.fleet.nats.settle()?;
        story.is_clean(&ended.iter().collect::<Vec<_>>()).await.with_context(|| what)?;
    }
    Ok(())
}

fn request() -> JobRequest {
    JobRequest {
        v: Version::default(),
        job: JobId::random(),
        program: ProgramId::of(b"a program"),
        input: None,
        input_stream: false,
        params: JobParams::default(),
        client: String::new(),
        metadata: Default::default(),
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_request_that_was_acknowledged_outlives_its_server() -> Result<()> {
    let mut chance = Chance::of_this_run();
    let directory = tempfile::tempdir()?;
    let store = directory.path().join("store");
    // Each write is synced before it is acknowledged, so that not even a loss of power, of which this story shows the server's end,
    // takes it away.
    let extra = format!("http: \"127.0.0.1:-1\"\njetstream {{ store_dir: {store:?}, sync_interval: always }}");
    let mut nats = NatsServer::start_with(&nats_server()?, &extra)?;
    let page = nats.monitor("/jsz")?;
    ensure!(page["config"]["sync_always"] == true, "{}", page["config"]);
    let bus = Bus::connect(BusConfig { url: nats.url(), ..BusConfig::default() }).await?;
    bus.prepare().await?;
    let mut accepted = Vec::new();
    for _ in 0..10 {
        for _ in 0..=chance.below(3) {
            let request = request();
            bus.publish_request(RequestKind::Prove, &request).await?;
            accepted.push(request.job);
        }
        nats.kill();
        nats.restart()?;
    }
    let mut puller = bus.puller(ConsumerKind::Requests);
    let mut found = Vec::new();
    while found.len() < accepted.len() {
        let deliveries = puller.fetch(accepted.len(), Duration::from_secs(60)).await;
        ensure!(!deliveries.is_empty(), "{} of {} requests are there", found.len(), accepted.len());
        for delivery in deliveries {
            let request: JobRequest = decode(delivery.payload())?;
            found.push(request.job);
            delivery.ack().await?;
        }
    }
    assert_eq!(found, accepted);
    Ok(())
}
