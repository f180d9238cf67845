//! A bus that somebody altered by hand: streams, consumers and buckets are brought back to their settings or made again, and what
//! cannot be is said. No job is lost over it, and none waits in silence.

use std::time::Duration;

use anyhow::{Context, Result, ensure};
use async_nats::jetstream::consumer::{AckPolicy, pull};
use async_nats::jetstream::stream::{self, RetentionPolicy};
use serde_json::{Value, json};
use tokio::time::{Instant, sleep};
use zisk_common::bus::Bus;
use zisk_common::messages::{FailureKind, JobState};
use zisk_common::subjects::{AssignmentKind, BucketKind, ConsumerKind, EventKind, StreamKind};
use zisk_tests::cli::zisk;
use zisk_tests::fleet::{Fleet, Settings};
use zisk_tests::guests::Reference;
use zisk_tests::scrape;
use zisk_tests::story::{GRACE, JOB, PATIENCE, Story};

/// Waits until something holds.
async fn until(what: &str, mut holds: impl AsyncFnMut() -> Result<bool>) -> Result<()> {
    let deadline = Instant::now() + JOB;
    while !holds().await? {
        ensure!(Instant::now() < deadline, "not within {JOB:?}: {what}");
        sleep(Duration::from_millis(50)).await;
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
    // How much inputs may take is set a moment later than the rest.
    let inputs = prefix.stream(StreamKind::Input);
    until("inputs are bounded", async || Ok(bus.jetstream().get_stream(&inputs).await?.cached_info().config.max_bytes > 0))
        .await?;
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
    for kind in [AssignmentKind::Plan, AssignmentKind::Segment, AssignmentKind::Aggregate] {
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

    until("not ready, for that reason", async || {
        let (status, reason) = scrape::page(&story.fleet.coordinators[0], "/ready")?;
        Ok(status == 503 && reason.contains(&name) && reason.contains("retention"))
    })
    .await?;
    ensure!(story.coordinator_said(&[&name, "cannot be brought back", "retention"]), "nothing is said");
    ensure!(scrape::metric(&story.fleet.coordinators[0], "zisk_bus_stuck")?.context("no metric")? >= 1.0, "nothing is counted");
    // Written a moment later.
    until("shown with the queues", async || {
        let shown = zisk(&story.fleet, &["queues", "--json"]).await?.json()?;
        Ok(shown["stuck"][&name].as_str().is_some_and(|what| what.contains("retention")))
    })
    .await?;
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

#[tokio::test(flavor = "multi_thread")]
async fn buckets_that_are_deleted_in_the_middle_of_a_job_lose_no_job() -> Result<()> {
    let mut story = Story::start(0).await?;
    story.fleet.coordinators.clear();
    story.fleet.coordinator_environment = vec![("ZISK_COORDINATOR_QUEUE_RUNNING_JOBS", "1".to_owned())];
    story.fleet.start_coordinator()?;
    for _ in 0..2 {
        story.fleet.start_worker()?;
    }
    let bus = story.fleet.bus.clone();
    let workload = story.reference.hashes(6)?;
    let rounds: [&[BucketKind]; 5] = [
        &[BucketKind::Jobs],
        &[BucketKind::Segments],
        &[BucketKind::Jobs, BucketKind::Segments],
        &[BucketKind::Queue, BucketKind::Programs, BucketKind::Workers, BucketKind::Elections, BucketKind::Cluster],
        &[BucketKind::Leader],
    ];
    for kinds in rounds {
        let running = story.submit(&workload).await?;
        let waiting = story.submit(&workload).await?;
        story.wait_for(waiting, EventKind::Accepted).await?;
        story.wait_for(running, EventKind::Contributed).await?;
        for &kind in kinds {
            bus.jetstream().delete_key_value(bus.prefix().bucket(kind)).await?;
        }
        let mut records = Vec::new();
        for job in [running, waiting] {
            records.push(story.ends_well(job, &workload).await.with_context(|| format!("{kinds:?}"))?);
        }
        for &kind in kinds {
            let name = bus.prefix().bucket(kind);
            until(&name, async || Ok(bus.jetstream().get_key_value(&name).await.is_ok())).await?;
            // Somebody else may make it again before the coordinator looks.
            let said = || kind == BucketKind::Leader || story.coordinator_said(&[&name, "was deleted", "made again"]);
            until(&format!("somebody says that {name} was deleted"), async || Ok(said())).await?;
        }
        story.is_clean(&records.iter().collect::<Vec<_>>()).await.with_context(|| format!("{kinds:?}"))?;
    }
    let workers: Vec<_> = story.fleet.workers.iter().map(|worker| worker.id).collect();
    for id in workers {
        let bus = bus.clone();
        until("the workers are listed again", async || Ok(bus.workers().await?.get(id).await?.is_some())).await?;
    }
    Ok(())
}

#[tokio::test(flavor = "multi_thread")]
async fn messages_that_are_purged_in_the_middle_of_a_job_are_made_up_for() -> Result<()> {
    let story = Story::start(2).await?;
    let bus = story.fleet.bus.clone();
    let workload = story.reference.hashes(8)?;
    let all = [StreamKind::Report, StreamKind::Assign, StreamKind::Broadcast, StreamKind::Events];
    // Of contributions alone the assignments are held, and none will be given out again; of proofs nothing is left.
    for (reached, phase, purged) in [(EventKind::Executed, "contribution", &all[..1]), (EventKind::Challenged, "proof", &all[..])]
    {
        let job = story.submit(&workload).await?;
        story.wait_for(job, reached).await?;
        // While the coordinator says nothing, reports pile up: those of work that is done, and that nobody holds any more.
        let coordinator = &story.fleet.coordinators[0];
        coordinator.freeze();
        until("reports of work that is done", async || Ok(reports(&bus, phase).await? >= 3)).await?;
        for &kind in purged {
            bus.purge(kind, ">").await?;
        }
        coordinator.thaw();
        let record = zisk_tests::oracles::end_of(&bus, job, 2 * JOB).await.with_context(|| format!("purged at {phase}"))?;
        zisk_tests::oracles::check_outcome(&story.fleet.objects, &story.reference, &workload, &record).await?;
        story.is_clean(&[&record]).await?;
    }
    let workers: String = story.fleet.workers.iter().map(|worker| worker.process.log()).collect();
    ensure!(workers.contains("its contribution was reported and is not there"), "no contribution was missed");
    ensure!(story.coordinator_said(&["putting owed commands on the bus again"]), "nothing was owed");
    Ok(())
}

/// How many reports of this phase wait to be read. The first may be on its way to the coordinator.
async fn reports(bus: &Bus, phase: &str) -> Result<usize> {
    let stream = bus.jetstream().get_stream(bus.prefix().stream(StreamKind::Report)).await?;
    let subjects = stream.info_with_subjects(format!("{}.report.*.{phase}.>", bus.prefix())).await?;
    Ok(futures::StreamExt::count(subjects).await)
}

#[tokio::test(flavor = "multi_thread")]
async fn a_job_whose_objects_are_deleted_ends_with_that_cause() -> Result<()> {
    let settings = Settings { ack_wait: PATIENCE, lease: PATIENCE, directory_store: false, ..Settings::default() };
    let mut story = Story { fleet: Fleet::start(settings).await?, reference: Reference::default() };
    let bus = story.fleet.bus.clone();
    let workload = story.reference.hashes(3)?;
    let job = story.submit(&workload).await?;
    story.wait_for(job, EventKind::Admitted).await?;
    let name = bus.prefix().objects_bucket();
    bus.jetstream().delete_object_store(&name).await?;
    until("it is made again", async || Ok(altered(&story, "object_bucket", &name, "deleted")? >= Some(1.0))).await?;
    story.fleet.start_worker()?;
    let failed = story.ends(job).await?;
    let failure = failed.failure.clone().context("it did not fail")?;
    ensure!((failed.state, failure.kind) == (JobState::Failed, FailureKind::Internal), "{failure:?}");
    ensure!(failure.message.contains(&format!("object program/{}", failed.request.program)), "{failure}");
    ensure!(failure.message.contains("is not in the store"), "{failure}");
    ensure!(bus.dead_letter(&job.to_string()).await?.is_some(), "no dead letter");

    // Submitted again, it is uploaded again.
    let record = story.ends_well(story.submit(&workload).await?, &workload).await?;
    zisk_tests::oracles::check_nothing_left(&bus, None, GRACE).await?;
    zisk_tests::oracles::check_unchanged(&bus, &failed).await?;
    zisk_tests::oracles::check_unchanged(&bus, &record).await
}
