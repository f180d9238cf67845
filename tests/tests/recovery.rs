//! How long a cluster of three NATS servers takes to go on after a loss. The times are printed, and written as JSON to the file that
//! `ZISK_RECOVERY_JSON` names; `ZISK_RECOVERY_RUNS` says how often each loss happens (once). No time is asserted: a busy
//! machine is no fault. That each job ends as without a fault is.
#![allow(clippy::unwrap_used)] // a failed step is a failed test

use std::collections::BTreeMap;
use std::time::Duration;

use anyhow::{Context, Result, ensure};
use tokio::time::{Instant, sleep};
use zisk_common::ids::JobId;
use zisk_common::messages::{EventBody, unix_ms};
use zisk_common::subjects::{BucketKind, EventKind, StreamKind};
use zisk_tests::fleet::Settings;
use zisk_tests::guests::Workload;
use zisk_tests::story::{JOB, Story};

/// A silent worker's segments go to another after this; a silent coordinator's lease expires after this (the default).
const PATIENCE: Duration = Duration::from_secs(5);
/// Between two looks at a log.
const LOOK: Duration = Duration::from_millis(20);

/// Milliseconds, by what was lost.
type Times = BTreeMap<&'static str, Vec<u64>>;

#[tokio::test(flavor = "multi_thread")]
async fn times_to_go_on_after_a_loss() -> Result<()> {
    let runs = std::env::var("ZISK_RECOVERY_RUNS").ok().and_then(|text| text.parse().ok()).unwrap_or(1);
    let settings = Settings { ack_wait: PATIENCE, lease: PATIENCE, servers: 3, ..Settings::default() };
    let mut story = Story::start_with(settings, 2).await?;
    let mut times = Times::new();
    for run in 0..runs {
        let took = a_worker(&mut story).await.context("a worker lost")?;
        times.entry("worker killed, its segment proven elsewhere").or_default().push(took);
        let took = the_coordinator(&mut story).await.context("the coordinator lost")?;
        times.entry("coordinator killed and started again").or_default().push(took);
        let took = the_leading_coordinator(&mut story).await.context("the leading coordinator lost")?;
        times.entry("leading coordinator killed, another takes over").or_default().push(took);
        let (what, took) = a_server(&mut story, run).await.context("a server lost")?;
        eprintln!("server killed, {what}: {took} ms");
        times.entry("NATS server killed, that led something").or_default().push(took);
    }
    report(&mut times)
}

/// A worker that has segments in hand: until another has worked on one of them.
async fn a_worker(story: &mut Story) -> Result<u64> {
    let workload = story.reference.hashes(24)?;
    let job = story.submit(&workload).await?;
    let event = story.wait_for(job, EventKind::Contributed).await?;
    let EventBody::Contributed { worker, .. } = event.body else { unreachable!("a contribution was waited for") };
    let mut lost = story.fleet.workers.remove(story.fleet.position(worker).context("an unknown worker")?);
    lost.process.kill();
    let killed = Instant::now();
    while !worked_again(story, job) {
        ensure!(killed.elapsed() < JOB, "nobody works on what worker {} had", lost.id);
        sleep(LOOK).await;
    }
    let took = milliseconds(killed.elapsed());
    ends_well(story, job, &workload).await?;
    story.fleet.start_worker()?;
    Ok(took)
}

/// Whether a worker has contributed to, or proven, a segment that was delivered before.
fn worked_again(story: &Story, job: JobId) -> bool {
    let again = |line: &serde_json::Value| {
        line["job"] == job.to_string()
            && matches!(line["message"].as_str(), Some("contributed" | "proven"))
            && line["attempt"].as_u64() > Some(1)
    };
    let mut logs = story.fleet.workers.iter().map(|worker| worker.process.log());
    logs.any(|log| log.lines().filter_map(|line| serde_json::from_str(line).ok()).any(|line| again(&line)))
}

/// The only coordinator, which is started again at once: from then until it commits something.
async fn the_coordinator(story: &mut Story) -> Result<u64> {
    let workload = story.reference.hashes(24)?;
    let job = story.submit(&workload).await?;
    story.wait_for(job, EventKind::Contributed).await?;
    story.fleet.coordinators.remove(0).kill();
    let began_ms = unix_ms();
    story.fleet.start_coordinator()?;
    ends_well(story, job, &workload).await?;
    first_event_after(story, job, began_ms).await
}

/// The one of two coordinators that leads: from its end until the other commits something.
async fn the_leading_coordinator(story: &mut Story) -> Result<u64> {
    story.fleet.start_coordinator()?;
    let workload = story.reference.hashes(24)?;
    let job = story.submit(&workload).await?;
    story.wait_for(job, EventKind::Contributed).await?;
    let leader = story.fleet.bus.leader().await?.context("nobody leads")?;
    let named = format!("starts as coordinator {leader}");
    let index = story.fleet.coordinators.iter().position(|process| process.log().contains(&named));
    story.fleet.coordinators.remove(index.context("an unknown coordinator leads")?).kill();
    let killed_ms = unix_ms();
    ends_well(story, job, &workload).await?;
    first_event_after(story, job, killed_ms).await
}

/// A NATS server that leads something: the longest time in which nothing was committed afterwards. Returns what it led.
async fn a_server(story: &mut Story, run: usize) -> Result<(String, u64)> {
    let prefix = story.fleet.bus.prefix().clone();
    let streams = [
        prefix.bucket_stream(BucketKind::Jobs),
        prefix.stream(StreamKind::Report),
        prefix.bucket_stream(BucketKind::Leader),
        prefix.stream(StreamKind::Assign),
        prefix.stream(StreamKind::Events),
    ];
    story.fleet.nats.settle()?;
    // The cluster's own leader comes first, then those of streams in turn.
    let led = run.checked_sub(1).map(|run| streams[run % streams.len()].clone());
    let workload = story.reference.hashes(48)?;
    let job = story.submit(&workload).await?;
    story.wait_for(job, EventKind::Contributed).await?;
    let nats = &mut story.fleet.nats;
    let deadline = Instant::now() + JOB;
    // Between two leaders there is none for a moment, and a server may be slow to say.
    let victim = loop {
        let leader = match &led {
            None => nats.meta_leader(),
            Some(stream) => nats.leader_of(stream),
        };
        if let Some(victim) = leader {
            break victim;
        }
        ensure!(Instant::now() < deadline, "no leader of {led:?}");
        sleep(LOOK).await;
    };
    nats.servers[victim].kill();
    let killed_ms = unix_ms();
    ends_well(story, job, &workload).await?;
    story.fleet.nats.servers[victim].restart()?;
    story.fleet.nats.settle()?;
    let mut moments = vec![killed_ms];
    moments.extend(after(story, job, killed_ms).await?);
    let stall = moments.windows(2).map(|pair| pair[1] - pair[0]).max().context("nothing happened afterwards")?;
    Ok((led.unwrap_or_else(|| "meta leader".to_owned()), stall))
}

async fn ends_well(story: &Story, job: JobId, workload: &Workload) -> Result<()> {
    let record = story.ends_well(job, workload).await?;
    story.is_clean(&[&record]).await
}

/// When the job's events from then on were published: by whom leads, as soon as what they say is committed.
async fn after(story: &Story, job: JobId, since_ms: u64) -> Result<Vec<u64>> {
    let mut events = story.fleet.bus.events(job);
    let mut moments = Vec::new();
    loop {
        let event = events.next().await?;
        moments.extend(Some(event.at_ms).filter(|at_ms| *at_ms >= since_ms));
        if event.kind().is_terminal() {
            return Ok(moments);
        }
    }
}

async fn first_event_after(story: &Story, job: JobId, since_ms: u64) -> Result<u64> {
    let first = after(story, job, since_ms).await?.into_iter().next();
    Ok(first.context("nothing was committed afterwards")? - since_ms)
}

fn milliseconds(time: Duration) -> u64 {
    u64::try_from(time.as_millis()).unwrap_or(u64::MAX)
}

/// Prints the times, and writes them where that is asked for.
fn report(times: &mut Times) -> Result<()> {
    for (what, all) in times.iter_mut() {
        all.sort_unstable();
        let (median, most) = (all[all.len() / 2], all[all.len() - 1]);
        eprintln!("{what:<50} median {median:>6} ms, most {most:>6} ms of {} times: {all:?}", all.len());
    }
    if let Ok(file) = std::env::var("ZISK_RECOVERY_JSON") {
        std::fs::write(&file, serde_json::to_vec_pretty(times)?).with_context(|| file)?;
    }
    Ok(())
}
