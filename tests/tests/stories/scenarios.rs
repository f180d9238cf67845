//! Failures one at a time: paused aggregators, two coordinators, bad links, late results, operators who
//! delete things. The same oracles after each; `ZISK_SCENARIOS_ALL=1` runs the slow ones, too.

use std::sync::{Arc, Mutex};
use std::time::Duration;

use anyhow::{Context, Result, ensure};
use futures::StreamExt;
use tokio::task::JoinHandle;
use tokio::time::{Instant, sleep};
use zisk_common::ids::{JobId, WorkerId};
use zisk_common::messages::{FailureKind, JobState};
use zisk_common::subjects::{BucketKind, ConsumerKind, EventKind, StreamKind};
use zisk_tests::oracles;
use zisk_tests::scrape;
use zisk_tests::story::{GRACE, JOB, Story};
use zisk_tests::{Link, Process};

fn slow_ones_too() -> bool {
    std::env::var_os("ZISK_SCENARIOS_ALL").is_some()
}

#[tokio::test(flavor = "multi_thread")]
async fn an_aggregator_paused_past_its_lease_does_no_harm() -> Result<()> {
    let story = Story::start(2).await?;
    let workload = story.reference.hashes(8)?;
    let job = story.submit(&workload).await?;
    let paused = story.aggregator(job).await?;
    story.fleet.workers[paused].process.freeze();
    let before = story.fleet.workers[paused].id;
    // The other takes over.
    let deadline = Instant::now() + JOB;
    loop {
        match story.fleet.bus.holder(job).await? {
            Some(holder) if holder.worker != before => break,
            _ if oracles::end_of(&story.fleet.bus, job, Duration::ZERO).await.is_ok() => break,
            _ => ensure!(Instant::now() < deadline, "nobody takes over"),
        }
        sleep(Duration::from_millis(50)).await;
    }
    story.fleet.workers[paused].process.thaw();
    let record = story.ends_well(job, &workload).await?;
    story.is_clean(&[&record]).await?;
    // The paused one is back at work.
    let record = story.ends_well(story.submit(&workload).await?, &workload).await?;
    story.is_clean(&[&record]).await
}

#[tokio::test(flavor = "multi_thread")]
async fn two_coordinators_have_everything_done_once() -> Result<()> {
    let mut story = Story::start(2).await?;
    story.fleet.start_coordinator()?;
    let workload = story.reference.hashes(3)?;
    let mut jobs = Vec::new();
    for _ in 0..4 {
        jobs.push(story.submit(&workload).await?);
    }
    let mut records = Vec::new();
    for job in jobs {
        records.push(story.ends_well(job, &workload).await?);
    }
    story.is_clean(&records.iter().collect::<Vec<_>>()).await?;
    story.work()?.check_done_once()?;
    for record in &records {
        ensure!(record.progress.repeated == 0, "{:?}", record.progress);
    }

    // The one that leads dies: the other goes on with what it had begun.
    let job = story.submit(&workload).await?;
    story.wait_for(job, EventKind::Contributed).await?;
    story.fleet.coordinators.remove(0).kill();
    let killed_ms = zisk_common::messages::unix_ms();
    let record = story.ends_well(job, &workload).await?;
    // Nothing has waited for the look at jobs in which nothing moves; how long the work itself takes is the machine's affair.
    let events = oracles::events(&story.fleet.bus, Some(job)).await?;
    let mut moments = vec![killed_ms];
    moments.extend(events.iter().map(|event| event.at_ms).filter(|at_ms| *at_ms >= killed_ms));
    let longest = moments.windows(2).map(|pair| pair[1].saturating_sub(pair[0])).max().context("nothing came after that")?;
    ensure!(longest < 20_000, "nothing moved for {longest} ms");
    story.is_clean(&[&record]).await?;
    story.work()?.check_done_once()
}

#[tokio::test(flavor = "multi_thread")]
async fn a_coordinator_that_leads_no_more_shows_nothing() -> Result<()> {
    let mut story = Story::start(1).await?;
    story.fleet.start_coordinator()?;
    let (first, second) = story.fleet.coordinators.split_at_mut(1);
    let units = async |coordinator: &Process, expected: f64| -> Result<()> {
        let deadline = Instant::now() + JOB;
        while scrape::metric(coordinator, "zisk_compute_units")? != Some(expected) {
            ensure!(Instant::now() < deadline, "zisk_compute_units is not {expected}");
            sleep(Duration::from_millis(100)).await;
        }
        Ok(())
    };
    units(&first[0], 1.0).await?;
    first[0].freeze();
    second[0].wait_for_log("it leads", JOB)?;
    first[0].thaw();
    first[0].wait_for_log("it stands by", JOB)?;
    units(&first[0], 0.0).await?;
    units(&second[0], 1.0).await?;
    oracles::check_gauges(&[&first[0], &second[0]], GRACE).await
}

#[tokio::test(flavor = "multi_thread")]
async fn a_worker_cut_off_is_replaced_and_comes_back() -> Result<()> {
    let mut story = Story::start(0).await?;
    story.fleet.start_worker_by_proxy()?;
    let workload = story.reference.hashes(6)?;
    let job = story.submit(&workload).await?;
    story.wait_for(job, EventKind::Contributed).await?;
    story.fleet.start_worker()?;
    story.fleet.proxy.set(Link::Silent);
    let record = story.ends_well(job, &workload).await?;
    story.fleet.proxy.set(Link::Clear);
    story.is_clean(&[&record]).await?;

    // Refused connections: it tries again, but does not spin.
    let before = story.fleet.proxy.connections();
    story.fleet.proxy.set(Link::Down);
    sleep(Duration::from_secs(4)).await;
    story.fleet.proxy.set(Link::Clear);
    let tried = story.fleet.proxy.connections() - before;
    ensure!((1..100).contains(&tried), "{tried} attempts to connect in 4 s");
    let other = story.fleet.workers.len() - 1;
    story.fleet.workers[other].process.kill();
    let record = story.ends_well(story.submit(&workload).await?, &workload).await?;
    story.is_clean(&[&record]).await
}

#[tokio::test(flavor = "multi_thread")]
async fn work_that_is_lost_and_done_again_is_counted_and_shown() -> Result<()> {
    let mut story = Story::start(1).await?;
    let workload = story.reference.hashes(6)?;
    let job = story.submit(&workload).await?;
    story.wait_for(job, EventKind::Contributed).await?;
    let lost = story.fleet.workers[0].id;
    story.fleet.workers[0].process.kill();
    story.fleet.start_worker()?;
    let record = story.ends_well(job, &workload).await?;
    ensure!(record.progress.repeated > 0, "{:?}; lost: {lost}", record.progress);
    let end = oracles::events(&story.fleet.bus, Some(job)).await?.pop().context("no event")?;
    ensure!(end.kind().is_terminal() && end.progress.repeated == record.progress.repeated, "{end:?}");
    let shown = zisk_tests::cli::zisk(&story.fleet, &["status", &job.to_string()]).await?;
    ensure!(shown.stdout.contains(&format!("repeated     {} ", record.progress.repeated)), "{shown:?}");
    story.is_clean(&[&record]).await?;
    // Of the next job nothing is lost.
    let record = story.ends_well(story.submit(&workload).await?, &workload).await?;
    ensure!(record.progress.repeated == 0, "{:?}", record.progress);
    story.is_clean(&[&record]).await
}

#[tokio::test(flavor = "multi_thread")]
async fn a_slow_link_costs_time_only() -> Result<()> {
    let mut story = Story::start(0).await?;
    story.fleet.start_worker_by_proxy()?;
    story.fleet.proxy.set(Link::Slow { delay: Duration::from_millis(100), bytes_per_second: 200_000 });
    let workload = story.reference.hashes(2)?;
    let record = story.ends_well(story.submit(&workload).await?, &workload).await?;
    story.is_clean(&[&record]).await?;
    // Slow is not silent: nothing was given to another, or done again.
    story.work()?.check_done_once()
}

#[tokio::test(flavor = "multi_thread")]
async fn reports_that_come_twice_or_out_of_order_or_late_change_nothing() -> Result<()> {
    let story = Story::start(2).await?;
    let (bus, client) = (&story.fleet.bus, story.fleet.bus.client());
    let mut reports = client.subscribe(format!("{}.report.>", bus.prefix())).await?;
    let seen = Arc::new(Mutex::new(Vec::new()));
    let (keep, repeater) = (seen.clone(), client.clone());
    let repeating: JoinHandle<()> = tokio::spawn(async move {
        while let Some(message) = reports.next().await {
            // Those without a message id are our own.
            if message.headers.is_none() {
                continue;
            }
            let mut all: Vec<_> = {
                let mut seen = keep.lock().unwrap();
                seen.push((message.subject, message.payload));
                seen.clone()
            };
            // Everything so far, again, the newest first.
            all.reverse();
            for (subject, payload) in all.into_iter().take(8) {
                repeater.publish(subject, payload).await.unwrap();
            }
        }
    });
    let workload = story.reference.hashes(4)?;
    let job = story.submit(&workload).await?;
    let record = story.ends_well(job, &workload).await?;
    repeating.abort();
    story.work()?.check_done_once()?;
    // Told again is not done again.
    ensure!(record.progress.repeated == 0 && record.dropped.duplicate > 0, "{:?} {:?}", record.progress, record.dropped);
    story.is_clean(&[]).await?;
    // And after the end.
    let late = seen.lock().unwrap().clone();
    ensure!(late.len() > 10, "{} reports", late.len());
    for (subject, payload) in late {
        client.publish(subject, payload).await?;
    }
    client.flush().await?;
    story.is_clean(&[&record]).await?;
    // What belongs to another job, or to none, is no better.
    let nobody = WorkerId::random();
    client
        .publish(bus.prefix().report(JobId::random(), zisk_common::subjects::Phase::Proof, 0, nobody), "garbage".into())
        .await?;
    client.publish(bus.prefix().report(job, zisk_common::subjects::Phase::Final, 0, nobody), "garbage".into()).await?;
    client.flush().await?;
    story.is_clean(&[&record]).await
}

#[tokio::test(flavor = "multi_thread")]
async fn a_deadline_ends_a_running_job() -> Result<()> {
    let story = Story::start(1).await?;
    // Begun within that time on any machine, and done on none.
    let workload = story.reference.hashes(300)?;
    let job = story.fleet.submit(&workload, 11, Some(Duration::from_secs(15))).await?;
    story.wait_for(job, EventKind::Contributed).await?;
    let record = story.ends(job).await?;
    let failure = record.failure.as_ref().context("it completed")?;
    assert_eq!((record.state, failure.kind), (JobState::Failed, FailureKind::Timeout));
    let took = record.timings.ended_ms - record.timings.accepted_ms;
    ensure!((15_000..30_000).contains(&took), "{took} ms");
    story.is_clean(&[&record]).await?;
    // Its worker is free.
    let small = story.reference.hashes(2)?;
    let began = Instant::now();
    let record = story.ends_well(story.submit(&small).await?, &small).await?;
    ensure!(began.elapsed() < Duration::from_secs(60), "{:?}", began.elapsed());
    story.is_clean(&[&record]).await
}

#[tokio::test(flavor = "multi_thread")]
async fn consumers_and_leases_that_are_deleted_are_made_again() -> Result<()> {
    let story = Story::start(2).await?;
    let (bus, workload) = (&story.fleet.bus, story.reference.hashes(6)?);
    let job = story.submit(&workload).await?;
    story.wait_for(job, EventKind::Contributed).await?;
    for &kind in ConsumerKind::ALL {
        bus.jetstream().delete_consumer_from_stream(kind.durable_name(), bus.prefix().stream(kind.stream())).await?;
    }
    let first = story.ends_well(job, &workload).await?;
    for bucket in [BucketKind::Elections, BucketKind::Workers] {
        bus.jetstream().delete_key_value(bus.prefix().bucket(bucket)).await?;
    }
    let second = story.ends_well(story.submit(&workload).await?, &workload).await?;
    // Under way: the aggregator has an epoch of the old bucket.
    let job = story.submit(&workload).await?;
    story.wait_for(job, EventKind::Proof).await?;
    story.aggregator(job).await?;
    bus.jetstream().delete_key_value(bus.prefix().bucket(BucketKind::Elections)).await?;
    let third = story.ends_well(job, &workload).await?;
    story.is_clean(&[&first, &second, &third]).await?;
    let deadline = Instant::now() + GRACE;
    while bus.workers().await?.keys().await?.len() != 2 {
        ensure!(Instant::now() < deadline, "the workers are not listed again");
        sleep(Duration::from_millis(200)).await;
    }
    Ok(())
}

#[tokio::test(flavor = "multi_thread")]
async fn streams_that_are_deleted_are_made_again() -> Result<()> {
    if !slow_ones_too() {
        return Ok(()); // what was in them is missed after 30 s
    }
    let story = Story::start(2).await?;
    let (bus, workload) = (&story.fleet.bus, story.reference.hashes(6)?);
    for kind in [StreamKind::Assign, StreamKind::Report, StreamKind::Broadcast] {
        let job = story.submit(&workload).await?;
        story.wait_for(job, EventKind::Contributed).await?;
        bus.jetstream().delete_stream(bus.prefix().stream(kind)).await?;
        let record = story.ends_well(job, &workload).await.with_context(|| format!("{kind:?}"))?;
        story.is_clean(&[&record]).await?;
    }
    Ok(())
}
