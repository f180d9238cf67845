//! A bus that somebody altered by hand: streams, consumers and buckets are brought back to their settings or made again, and what
//! cannot be is said. No job is lost over it, and none waits in silence.
#![allow(clippy::unwrap_used)] // a failed step is a failed test

use std::time::Duration;

use anyhow::{Context, Result, ensure};
use async_nats::jetstream::consumer::{AckPolicy, pull};
use async_nats::jetstream::stream::{self, RetentionPolicy};
use serde_json::{Value, json};
use tokio::time::{Instant, sleep};
use zisk_common::bus::Bus;
use zisk_common::subjects::{AssignmentKind, BucketKind, ConsumerKind, StreamKind};
use zisk_tests::scrape;
use zisk_tests::story::{JOB, Story};

/// Waits until something holds.
async fn until(what: &str, mut holds: impl AsyncFnMut() -> Result<bool>) -> Result<()> {
    let deadline = Instant::now() + JOB;
    while !holds().await? {
        ensure!(Instant::now() < deadline, "not within {JOB:?}: {what}");
        sleep(Duration::from_millis(200)).await;
    }
    Ok(())
}

fn altered(story: &Story, kind: &str, name: &str, change: &str) -> Result<Option<f64>> {
    let metric = format!("zisk_bus_altered_total{{kind=\"{kind}\",name=\"{name}\",change=\"{change}\"}}");
    scrape::metric(&story.fleet.coordinators[0], &metric)
}

/// Changes a stream's settings.
async fn alter(bus: &Bus, name: &str, change: impl FnOnce(&mut stream::Config)) -> Result<()> {
    let mut config = bus.jetstream().get_stream(name).await?.cached_info().config.clone();
    change(&mut config);
    bus.jetstream().update_stream(&config).await?;
    Ok(())
}

/// An administrative call that async-nats does not make for us.
async fn ask(bus: &Bus, what: String, payload: Value) -> Result<Value> {
    let answer: Value = bus.jetstream().request(what, &payload).await?;
    ensure!(answer["error"].is_null(), "{answer}");
    Ok(answer)
}

#[tokio::test(flavor = "multi_thread")]
async fn what_is_altered_by_hand_is_brought_back_and_said() -> Result<()> {
    let mut story = Story::start(0).await?;
    let bus = story.fleet.bus.clone();
    let prefix = bus.prefix().clone();
    let streams: Vec<String> = StreamKind::ALL.iter().map(|&kind| prefix.stream(kind)).collect();
    let buckets: Vec<String> = BucketKind::ALL.iter().map(|&kind| prefix.bucket(kind)).collect();
    let before: Vec<stream::Config> = configs(&bus, &streams, &buckets).await?;

    // Every stream and bucket another way, every consumer, too.
    for (number, name) in streams.iter().enumerate() {
        alter(&bus, name, |config| match number % 3 {
            0 => config.max_messages = 3,
            1 => config.subjects.push(format!("stolen.{number}")),
            _ => (config.max_age, config.duplicate_window) = (Duration::from_secs(60), Duration::from_secs(30)),
        })
        .await?;
    }
    for (number, name) in buckets.iter().enumerate() {
        alter(&bus, &format!("KV_{name}"), |config| match number % 3 {
            0 => config.max_bytes = 10_000,
            1 => (config.max_age, config.duplicate_window) = (Duration::from_secs(7), Duration::from_secs(7)),
            _ => config.max_messages_per_subject = 5,
        })
        .await?;
    }
    for &kind in ConsumerKind::ALL {
        let (stream, durable) = (prefix.stream(kind.stream()), kind.durable_name());
        match kind {
            ConsumerKind::Assign(AssignmentKind::Segment) => {
                let pause = json!({ "pause_until": "2099-01-01T00:00:00Z" });
                ask(&bus, format!("CONSUMER.PAUSE.{stream}.{durable}"), pause).await?;
            }
            ConsumerKind::Reports => {
                // One that cannot be changed in place.
                bus.jetstream().delete_consumer_from_stream(durable, &stream).await?;
                let other = pull::Config {
                    durable_name: Some(durable.to_owned()),
                    ack_policy: AckPolicy::Explicit,
                    max_waiting: 1,
                    max_batch: 1,
                    ..pull::Config::default()
                };
                // Unless the coordinator was there before.
                let _ = bus.jetstream().create_consumer_on_stream(other, stream).await;
            }
            _ => {
                let info = ask(&bus, format!("CONSUMER.INFO.{stream}.{durable}"), json!({})).await?;
                let mut config = info["config"].clone();
                (config["max_deliver"], config["max_ack_pending"]) = (json!(1), json!(1));
                let change = json!({ "stream_name": stream, "config": config, "action": "update" });
                ask(&bus, format!("CONSUMER.CREATE.{stream}.{durable}"), change).await?;
            }
        }
    }

    for name in &streams {
        until(name, async || Ok(altered(&story, "stream", name, "altered")? >= Some(1.0))).await?;
    }
    for name in &buckets {
        until(name, async || Ok(altered(&story, "bucket", name, "altered")? >= Some(1.0))).await?;
    }
    for kind in [AssignmentKind::Plan, AssignmentKind::Segment, AssignmentKind::Fold] {
        let name = format!("{}/{kind}", prefix.stream(StreamKind::Assign));
        until(&name, async || Ok(altered(&story, "consumer", &name, "altered")? >= Some(1.0))).await?;
    }
    let after = configs(&bus, &streams, &buckets).await?;
    for (before, after) in before.iter().zip(&after) {
        ensure!((&before.subjects, before.max_age) == (&after.subjects, after.max_age), "{before:?}\n{after:?}");
        ensure!(before == after, "{before:?}\n{after:?}");
    }
    ensure!(story.coordinator_said(&["was altered", &prefix.stream(StreamKind::Assign)]), "nothing is said");
    let (status, text) = scrape::page(&story.fleet.coordinators[0], "/ready")?;
    ensure!(status == 200, "{text}");

    story.fleet.start_worker()?;
    let workload = story.reference.hashes(3)?;
    let record = story.ends_well(story.submit(&workload).await?, &workload).await?;
    story.is_clean(&[&record]).await
}

async fn configs(bus: &Bus, streams: &[String], buckets: &[String]) -> Result<Vec<stream::Config>> {
    let mut configs = Vec::new();
    for name in streams.iter().cloned().chain(buckets.iter().map(|name| format!("KV_{name}"))) {
        configs.push(bus.jetstream().get_stream(name).await?.cached_info().config.clone());
    }
    Ok(configs)
}

#[tokio::test(flavor = "multi_thread")]
async fn what_cannot_be_brought_back_is_said_until_somebody_mends_it() -> Result<()> {
    let mut story = Story::start(0).await?;
    let bus = story.fleet.bus.clone();
    let name = bus.prefix().stream(StreamKind::Assign);
    let mut other = bus.jetstream().get_stream(&name).await?.cached_info().config.clone();
    other.retention = RetentionPolicy::Limits;
    until("a stream of another kind", async || {
        // The coordinator may be faster.
        let _ = bus.jetstream().delete_stream(&name).await;
        Ok(bus.jetstream().create_stream(other.clone()).await.is_ok())
    })
    .await?;

    until("not ready", async || Ok(scrape::page(&story.fleet.coordinators[0], "/ready")?.0 == 503)).await?;
    let (_, reason) = scrape::page(&story.fleet.coordinators[0], "/ready")?;
    ensure!(reason.contains(&name) && reason.contains("retention"), "{reason}");
    ensure!(story.coordinator_said(&[&name, "cannot be brought back", "retention"]), "nothing is said");
    ensure!(scrape::metric(&story.fleet.coordinators[0], "zisk_bus_stuck")?.context("no metric")? >= 1.0, "nothing is counted");
    let (status, _) = scrape::page(&story.fleet.coordinators[0], "/health")?;
    ensure!(status == 200, "it lives all the same");

    bus.jetstream().delete_stream(&name).await?;
    until("ready", async || Ok(scrape::page(&story.fleet.coordinators[0], "/ready")?.0 == 200)).await?;
    ensure!(altered(&story, "stream", &name, "deleted")? >= Some(1.0), "not counted");
    story.fleet.start_worker()?;
    let workload = story.reference.hashes(3)?;
    let record = story.ends_well(story.submit(&workload).await?, &workload).await?;
    story.is_clean(&[&record]).await
}
