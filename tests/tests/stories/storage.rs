//! Objects: missing, truncated, altered; made again where that can be done, and never a wrong proof.

use std::path::{Path, PathBuf};
use std::time::Duration;

use anyhow::{Context, Result, ensure};
use async_nats::jetstream::stream;
use futures::TryStreamExt;
use tokio::time::{Instant, sleep};
use zisk_client::{JobOptions, RemoteClient};
use zisk_common::config::BusArgs;
use zisk_common::ids::{Digest, JobId};
use zisk_common::messages::{
    Dead, DeadJob, DeadLetter, Failure, FailureKind, JobState, ObjectKey, ObjectScope, ProofKind, Version,
};
use zisk_common::objects::{Objects, StoreUrl};
use zisk_common::subjects::EventKind;
use zisk_tests::fake::Fake;
use zisk_tests::fleet::{Fleet, Settings};
use zisk_tests::guests::Reference;
use zisk_tests::story::{JOB, LOG_STEPS, Story};
use zisk_tests::{Link, Program, oracles};

/// What can happen to a file.
const DAMAGES: [&str; 3] = ["altered", "truncated", "missing"];

fn damage(file: &Path, how: &str) -> Result<()> {
    let mut bytes = std::fs::read(file)?;
    let middle = bytes.len() / 2;
    match how {
        "missing" => return Ok(std::fs::remove_file(file)?),
        "truncated" => bytes.truncate(middle),
        _ => bytes[middle] ^= 1,
    }
    Ok(std::fs::write(file, bytes)?)
}

fn file_of(story: &Story, key: ObjectKey) -> PathBuf {
    story.fleet.directory().join("objects").join(key.to_string())
}

/// Whether a worker has logged that it made something again because it was damaged so.
fn made_again(story: &Story, what: &str, how: &str) -> bool {
    let logs: Vec<String> = story.fleet.workers.iter().map(|worker| worker.process.log()).collect();
    logs.iter().flat_map(|log| log.lines()).any(|line| line.contains(&format!("{what} made again")) && line.contains(how))
}

#[tokio::test(flavor = "multi_thread")]
async fn a_damaged_segment_is_cut_again() -> Result<()> {
    let mut story = Story::start(1).await?;
    let workload = story.reference.hashes(4)?;
    let mut records = Vec::new();
    for how in DAMAGES {
        // Held up until the object is damaged.
        let mut fake = Fake::start(&story).await?;
        let job = story.submit(&workload).await?;
        let (assignment, delivery, hold) = fake.take().await?;
        damage(&file_of(&story, assignment.segment.key), how)?;
        drop(hold);
        delivery.nak(None).await?;
        records.push(story.ends_well(job, &workload).await?);
        ensure!(made_again(&story, "segment", how), "{how}: not made again");
    }
    // A job whose input is lost, too, ends with its cause, and no other does.
    story.fleet.start_worker()?;
    let doomed = story.reference.hashes(3)?;
    let mut fake = Fake::start(&story).await?;
    let job = story.submit(&doomed).await?;
    let (assignment, delivery, hold) = fake.take().await?;
    damage(&file_of(&story, assignment.segment.key), "altered")?;
    let input = ObjectKey { scope: ObjectScope::Input, digest: Digest::of(&doomed.input) };
    damage(&file_of(&story, input), "missing")?;
    drop(hold);
    delivery.nak(None).await?;
    let healthy = story.submit(&workload).await?;
    let failed = story.ends(job).await?;
    let failure = failed.failure.clone().context("the job did not fail")?;
    assert_eq!((failed.state, failure.kind, failure.segment), (JobState::Failed, FailureKind::Internal, Some(assignment.n)));
    for words in ["3 times", "damaged: altered", &assignment.segment.key.to_string(), &format!("{input} is not in the store")] {
        ensure!(failure.message.contains(words), "no {words:?}: {failure}");
    }
    records.push(story.ends_well(healthy, &workload).await?);
    records.push(failed);
    // Submitting it again brings the input back.
    records.push(story.ends_well(story.submit(&doomed).await?, &doomed).await?);
    story.is_clean(&records.iter().collect::<Vec<_>>()).await
}

#[tokio::test(flavor = "multi_thread")]
async fn damaged_proofs_of_segments_are_made_again() -> Result<()> {
    let mut story = Story::start(1).await?;
    let workload = story.reference.hashes(5)?;
    let job = story.submit(&workload).await?;
    // The aggregator dies after some proofs, which are all damaged before there is another.
    story.wait_for(job, EventKind::Challenged).await?;
    let mut proofs = story.fleet.bus.events(job);
    for _ in 0..3 {
        while proofs.next().await?.kind() != EventKind::Proof {}
    }
    story.fleet.workers.remove(0).process.kill();
    let files = story.files(job, "node").await?;
    ensure!(files.len() >= 3, "{files:?}");
    for (file, how) in files.iter().zip(DAMAGES.iter().cycle()) {
        damage(file, how)?;
    }
    story.fleet.start_worker()?;
    let record = story.ends_well(job, &workload).await?;
    for how in DAMAGES {
        ensure!(made_again(&story, "proof", how), "{how}: not made again");
    }
    story.is_clean(&[&record]).await
}

#[tokio::test(flavor = "multi_thread")]
async fn damaged_programs_and_inputs_are_repaired_by_submitting_again_and_keys_by_themselves() -> Result<()> {
    let mut story = Story::start(0).await?;
    let workload = story.reference.hashes(2)?;
    let mut records = Vec::new();
    let objects = [
        (ObjectScope::Program, Digest::of(&workload.elf), "altered"),
        (ObjectScope::Input, Digest::of(&workload.input), "truncated"),
    ];
    for (scope, digest, how) in objects {
        let key = ObjectKey { scope, digest };
        let job = story.submit(&workload).await?;
        story.wait_for(job, EventKind::Admitted).await?;
        damage(&file_of(&story, key), how)?;
        if story.fleet.workers.is_empty() {
            story.fleet.start_worker()?;
        }
        let record = story.ends(job).await?;
        let failure = record.failure.clone().context("the job did not fail")?;
        assert_eq!((record.state, failure.kind), (JobState::Failed, FailureKind::Internal));
        ensure!(failure.message.contains(&key.to_string()) && failure.message.contains("damaged"), "{failure}");
        records.push(record);
        records.push(story.ends_well(story.submit(&workload).await?, &workload).await?);
        // Until the next is damaged nobody is to take its job.
        story.fleet.workers.clear();
    }
    // A worker that has not loaded the program yet finds its keys gone.
    let keys: Vec<PathBuf> =
        std::fs::read_dir(story.fleet.directory().join("objects/key"))?.map(|entry| Ok(entry?.path())).collect::<Result<_>>()?;
    assert_eq!(keys.len(), 2, "{keys:?}");
    for (file, how) in keys.iter().zip(DAMAGES) {
        damage(file, how)?;
    }
    story.fleet.start_worker()?;
    records.push(story.ends_well(story.submit(&workload).await?, &workload).await?);
    ensure!(made_again(&story, "keys", ""), "keys not made again");
    story.is_clean(&records.iter().collect::<Vec<_>>()).await?;
    // A damaged proof is not handed out.
    let proof = records.last().and_then(|record| record.proof).context("no proof")?;
    damage(&file_of(&story, proof.key), "truncated")?;
    let error = story.fleet.objects.get(proof).await.unwrap_err();
    ensure!(error.to_string().contains("truncated"), "{error}");
    Ok(())
}

/// A story whose coordinator looks through the store every second and leaves alone what is younger than this.
const GRACE: Duration = Duration::from_secs(4);

async fn start(settings: Settings, kept: &[(&'static str, u64)]) -> Result<Fleet> {
    let swept = [("ZISK_COORDINATOR_STORAGE_GRACE_SECONDS", GRACE.as_secs()), ("ZISK_COORDINATOR_STORAGE_SWEEP_SECONDS", 1)];
    let environment = swept.iter().chain(kept).map(|(key, value)| (*key, value.to_string())).collect();
    let mut fleet = Fleet::start_with(settings, environment, None).await?;
    fleet.start_worker()?;
    Ok(fleet)
}

async fn until(what: &str, mut holds: impl AsyncFnMut() -> Result<bool>) -> Result<()> {
    let deadline = Instant::now() + JOB;
    while !holds().await? {
        ensure!(Instant::now() < deadline, "not within {JOB:?}: {what}");
        sleep(Duration::from_millis(100)).await;
    }
    Ok(())
}

#[tokio::test(flavor = "multi_thread")]
async fn what_died_uploading_is_swept_and_what_is_under_way_is_not() -> Result<()> {
    let fleet = start(Settings { directory_store: false, ..Settings::default() }, &[]).await?;
    let reference = Reference::default();
    let workload = reference.hashes(1)?;
    let bucket = fleet.bus.prefix().objects_bucket();
    let chunks = async || -> Result<usize> {
        let stream = fleet.bus.jetstream().get_stream(format!("OBJ_{bucket}")).await?;
        Ok(stream.info_with_subjects(format!("$O.{bucket}.C.>")).await?.try_collect::<Vec<_>>().await?.len())
    };
    let ended = async |job| -> Result<()> {
        let record = oracles::end_of(&fleet.bus, job, JOB).await?;
        oracles::check_outcome(&fleet.objects, &reference, &workload, &record).await
    };
    ended(fleet.submit(&workload, LOG_STEPS, None).await?).await?;
    oracles::check_nothing_left(&fleet.bus, None, JOB).await?;
    let before = chunks().await?;

    // A client is killed while it uploads 8 MiB at 1 MiB/s; another, as slow, uploads for longer than what died is left alone.
    fleet.proxy.set(Link::Slow { delay: Duration::ZERO, bytes_per_second: 1 << 20 });
    let (program, input) = (fleet.directory().join("program.elf"), fleet.directory().join("input"));
    std::fs::write(&program, workload.elf.as_slice())?;
    std::fs::write(&input, vec![9; 8 << 20])?;
    let [program, input] = [program, input].map(|path| path.display().to_string());
    let mut client = Program::new("zisk", fleet.directory()).env("ZISK_NATS_URL", fleet.proxy.url());
    for argument in ["prove", "--program", &program, "--input", &input, "--out", "/dev/null"] {
        client = client.arg(argument);
    }
    let mut killed = client.start("zisk")?;
    until("chunks of the upload", async || Ok(chunks().await? > before)).await?;
    killed.kill();
    let slow = RemoteClient::connect(&BusArgs { nats_url: Some(fleet.proxy.url()), ..BusArgs::default() }).await?;
    let long_input = [workload.input.clone(), vec![0; 8 << 20]].concat();
    let options = JobOptions { log_segment_steps: Some(LOG_STEPS), proof: Some(ProofKind::Bundle), ..JobOptions::default() };
    let began = Instant::now();
    let job = slow.execute(&workload.elf, &long_input, &options).await?;
    ensure!(began.elapsed() > GRACE, "the upload took only {:?}", began.elapsed());
    let record = oracles::end_of(&fleet.bus, job, JOB).await?;
    ensure!(record.failure.as_ref().is_none_or(|failure| !failure.message.contains("object")), "{record:?}");
    // What is left is the one input that was uploaded.
    until("the chunks of the upload that died are swept", async || Ok(chunks().await? == before + 1)).await?;
    let key = ObjectKey { scope: ObjectScope::Input, digest: Digest::of(&vec![9; 8 << 20]) };
    assert_eq!(fleet.objects.head(key).await?, None);
    ended(fleet.submit(&workload, LOG_STEPS, None).await?).await
}

#[tokio::test(flavor = "multi_thread")]
async fn what_ended_is_kept_for_its_time_and_what_nobody_knows_is_swept() -> Result<()> {
    let kept = [
        ("ZISK_COORDINATOR_STORAGE_PROOF_RETENTION_SECONDS", 5),
        ("ZISK_COORDINATOR_STORAGE_RECORD_RETENTION_SECONDS", 5),
        ("ZISK_COORDINATOR_STORAGE_INPUT_RETENTION_SECONDS", 5),
        ("ZISK_COORDINATOR_STORAGE_PROGRAM_RETENTION_SECONDS", 5),
    ];
    let mut fleet = start(Settings::default(), &kept).await?;
    let reference = Reference::default();
    let [short, long] = [reference.hashes(1)?, reference.hashes(2)?];
    let here = async |fleet: &Fleet, scope, bytes: &[u8]| -> Result<bool> {
        Ok(fleet.objects.head(ObjectKey { scope, digest: Digest::of(bytes) }).await?.is_some())
    };
    let first = fleet.submit(&short, LOG_STEPS, None).await?;
    let for_ever = JobOptions {
        log_segment_steps: Some(LOG_STEPS),
        proof: Some(ProofKind::Bundle),
        keep_proof_seconds: Some(0),
        ..JobOptions::default()
    };
    let second = fleet.client.prove(&long.elf, &long.input, &for_ever).await?;
    let first = oracles::end_of(&fleet.bus, first, JOB).await?;
    oracles::check_outcome(&fleet.objects, &reference, &short, &first).await?;
    let second = oracles::end_of(&fleet.bus, second, JOB).await?;
    oracles::check_outcome(&fleet.objects, &reference, &long, &second).await?;
    // Left by a job that nobody remembers, and by uploads that died.
    let orphan = fleet.objects.put(ObjectScope::Node(JobId::random()), "node".into()).await?;
    let died = fleet.directory().join("objects/input/half#7");
    std::fs::write(&died, b"half")?;

    let jobs = fleet.bus.jobs().await?;
    until("the first job's record and proof are gone", async || {
        let proof = first.proof.context("no proof")?.key;
        Ok(jobs.get(first.job).await?.is_none() && fleet.objects.head(proof).await?.is_none())
    })
    .await?;
    until("the rest is gone, too", async || {
        let inputs =
            here(&fleet, ObjectScope::Input, &short.input).await? || here(&fleet, ObjectScope::Input, &long.input).await?;
        let programs =
            here(&fleet, ObjectScope::Program, &short.elf).await? || !fleet.bus.programs().await?.keys().await?.is_empty();
        let keys = std::fs::read_dir(fleet.directory().join("objects/key")).map_or(0, Iterator::count);
        Ok(!inputs && !programs && keys == 0 && fleet.objects.head(orphan.key).await?.is_none() && !died.exists())
    })
    .await?;
    // What was asked to be kept is.
    oracles::check_unchanged(&fleet.bus, &second).await?;
    oracles::check_proof(&fleet.objects, &reference, &long, &second).await?;

    // What a job that waits will need stays, and so does what a dead letter needs.
    fleet.workers.clear();
    let failure = Failure::new(FailureKind::Internal, "by hand");
    let letter = Dead::Job(DeadJob::new(second.goal, second.request.clone(), failure, 1, Vec::new()));
    fleet.bus.publish_dead(&DeadLetter { v: Version::default(), at_ms: 1, dead: letter }).await?;
    let waits = fleet.submit(&short, LOG_STEPS, None).await?;
    let dead =
        fleet.client.execute(&long.elf, &long.input, &JobOptions { timeout: Some(GRACE), ..JobOptions::default() }).await?;
    oracles::end_of(&fleet.bus, dead, JOB).await?;
    until("the record of the job that came to nothing is gone", async || Ok(jobs.get(dead).await?.is_none())).await?;
    sleep(GRACE).await;
    ensure!(here(&fleet, ObjectScope::Input, &long.input).await?, "the input that a dead letter needs is gone");
    fleet.client.drop_dead_letters().await?;
    until("its input is gone", async || Ok(!here(&fleet, ObjectScope::Input, &long.input).await?)).await?;
    ensure!(here(&fleet, ObjectScope::Input, &short.input).await?, "the input of a job that waits is gone");
    fleet.start_worker()?;
    let record = oracles::end_of(&fleet.bus, waits, JOB).await?;
    oracles::check_outcome(&fleet.objects, &reference, &short, &record).await
}

#[tokio::test(flavor = "multi_thread")]
async fn a_bucket_that_deletes_by_itself_is_refused_and_reset() -> Result<()> {
    let mut fleet = Fleet::start(Settings { directory_store: false, ..Settings::default() }).await?;
    let name = format!("OBJ_{}", fleet.bus.prefix().objects_bucket());
    // One that runs resets it within seconds.
    fleet.coordinators.clear();
    let stream = fleet.bus.jetstream().get_stream(&name).await?;
    let config = stream::Config { max_age: Duration::from_secs(600), ..stream.cached_info().config.clone() };
    fleet.bus.jetstream().update_stream(&config).await?;
    let refused = Objects::open(&StoreUrl::JetStream, &fleet.bus).await.err().context("not refused")?;
    ensure!(refused.to_string().contains("max_age 600s"), "{refused}");
    fleet.start_coordinator()?;
    // It stands by first, until the lease of the other has expired.
    until("the bucket is reset", async || {
        let config = fleet.bus.jetstream().get_stream(&name).await?.cached_info().config.clone();
        Ok(config.max_age.is_zero() && config.discard == stream::DiscardPolicy::New)
    })
    .await?;
    Objects::open(&StoreUrl::JetStream, &fleet.bus).await?;
    Ok(())
}
