//! Dead letters: what failed for good is set aside with its cause, and can be asked for again.

use std::time::Duration;

use anyhow::{Context, Result, ensure};
use async_nats::HeaderMap;
use serde_json::Value;
use tokio::time::{Instant, sleep};
use zisk_common::ids::{Digest, JobId, WorkerId};
use zisk_common::messages::{
    Assignment, CONTENT_TYPE, Failed, Failure, FailureKind, JSON, JobState, ObjectKey, ObjectScope, Report, Version,
};
use zisk_common::subjects::{AssignmentKind, ConsumerKind, Phase, RequestKind};
use zisk_tests::cli::zisk;
use zisk_tests::fleet::{Fleet, Settings};
use zisk_tests::guests::Reference;
use zisk_tests::oracles;

/// How long a job may take here, whatever happens to it.
const JOB: Duration = Duration::from_secs(300);
/// log2 of a segment's steps.
const LOG_STEPS: u8 = 12;

async fn letters(fleet: &Fleet) -> Result<Vec<Value>> {
    let listed = zisk(fleet, &["dead", "list", "--json"]).await?;
    ensure!(listed.code == 0, "{listed:?}");
    Ok(listed.json()?.as_array().context("no list")?.clone())
}

#[tokio::test(flavor = "multi_thread")]
async fn a_poison_segment_is_set_aside_and_its_job_submitted_again() -> Result<()> {
    let mut fleet = Fleet::start(Settings::default()).await?;
    let reference = Reference::default();
    let (workload, doomed) = (reference.hashes(3)?, reference.hashes(2)?);
    // The first segment is damaged before a worker gets it, and what it could be cut from again is gone.
    let mut puller = fleet.bus.puller(ConsumerKind::Assign(AssignmentKind::Segment));
    let taking = tokio::spawn(async move { puller.fetch(1, JOB).await });
    sleep(Duration::from_millis(300)).await;
    fleet.start_worker()?;
    let poisoned = fleet.submit(&doomed, LOG_STEPS, None).await?;
    let delivery = taking.await?.pop().context("no segment")?;
    let Assignment::Segment(segment) = Assignment::decode(AssignmentKind::Segment, delivery.payload())? else { panic!() };
    let file = fleet.objects_of(poisoned).join("segment").join(segment.segment.key.digest.to_string());
    std::fs::write(&file, b"not what it was")?;
    let input = ObjectKey { scope: ObjectScope::Input, digest: Digest::of(&doomed.input) };
    fleet.objects.delete(input).await?;
    delivery.nak(None).await?;
    let healthy = fleet.submit(&workload, LOG_STEPS, None).await?;
    let failed = oracles::end_of(&fleet.bus, poisoned, JOB).await?;
    let failure = failed.failure.clone().context("it did not fail")?;
    assert_eq!((failed.state, failure.kind), (JobState::Failed, FailureKind::Internal));
    let record = oracles::end_of(&fleet.bus, healthy, JOB).await?;
    oracles::check_outcome(&fleet.objects, &reference, &workload, &record).await?;
    // The guest's own fault is no dead letter.
    let trapped = fleet.submit(&reference.workload("trap", &[0])?, LOG_STEPS, None).await?;
    let record = oracles::end_of(&fleet.bus, trapped, JOB).await?;
    assert_eq!(record.failure.context("it did not fail")?.kind, FailureKind::Execution);

    let worker = fleet.workers[0].id.to_string();
    let id = poisoned.to_string();
    let listed = letters(&fleet).await?;
    assert_eq!(listed.len(), 1, "{listed:?}");
    let letter = &listed[0];
    assert_eq!((&letter["id"], &letter["job"]), (&Value::from(id.as_str()), &Value::from(id.as_str())));
    assert_eq!(letter["failure"]["worker"], worker);
    assert_eq!(letter["failure"]["segment"], segment.n);
    // The delivery that was given back counts, too.
    ensure!(letter["attempt"].as_u64().is_some_and(|attempt| attempt >= 4), "{letter}");
    assert_eq!(letter["attempts"].as_array().context("no attempts")?.len(), 3);
    assert_eq!(letter["client"], failed.request.client);
    let log = letter["log"].to_string();
    ensure!(log.contains("segment failed") && log.contains("damaged"), "{log}");
    let shown = zisk(&fleet, &["dead", "show", &id]).await?;
    ensure!(shown.code == 0 && shown.stdout.contains(&worker) && shown.stdout.contains("segment failed"), "{shown:?}");

    // Not without its input. With it again, under another id; the first one's end stands.
    let gone = zisk(&fleet, &["dead", "requeue", &id]).await?;
    ensure!(gone.code == 3 && gone.stderr.contains(&input.to_string()), "{gone:?}");
    fleet.objects.put(ObjectScope::Input, doomed.input.clone().into()).await?;
    let requeued = zisk(&fleet, &["dead", "requeue", &id, "--json"]).await?;
    ensure!(requeued.code == 0, "{requeued:?}");
    let again: JobId = requeued.json()?["job"].as_str().context("no job")?.parse()?;
    assert_ne!(again, poisoned);
    let record = oracles::end_of(&fleet.bus, again, JOB).await?;
    oracles::check_outcome(&fleet.objects, &reference, &doomed, &record).await?;
    oracles::check_unchanged(&fleet.bus, &failed).await?;
    ensure!(letters(&fleet).await?.is_empty(), "the letter is still there");
    let gone = zisk(&fleet, &["dead", "requeue", &id]).await?;
    ensure!(gone.code == 1 && gone.stderr.contains("zisk dead list"), "{gone:?}");
    Ok(())
}

#[tokio::test(flavor = "multi_thread")]
async fn what_cannot_be_read_is_set_aside() -> Result<()> {
    let mut fleet = Fleet::start(Settings::default()).await?;
    fleet.start_worker()?;
    let (client, prefix) = (fleet.bus.client().clone(), fleet.bus.prefix().clone());
    let (job, worker) = (JobId::random(), WorkerId::random());
    client.publish(prefix.request(RequestKind::Prove), "garbage".into()).await?;
    let mut headers = HeaderMap::new();
    headers.insert(CONTENT_TYPE, JSON);
    let unknown = format!(r#"{{"job":"{job}","programme":1}}"#);
    client.publish_with_headers(prefix.request(RequestKind::Execute), headers, unknown.into()).await?;
    client.publish(prefix.report(job, Phase::Proof, 3, worker), vec![0xc1; 10_000].into()).await?;
    client.publish(prefix.assign(AssignmentKind::Segment, job, 0), "no assignment".into()).await?;
    // What a worker reports in the name of another.
    let failure = Failure { worker: Some(WorkerId::random()), ..Failure::new(FailureKind::Internal, "forged") };
    let forged = Report::Failed(Failed { v: Version::default(), job, attempt: 1, failure });
    client.publish(prefix.report(job, Phase::Failed, 0, worker), forged.encode()?).await?;
    client.flush().await?;
    let deadline = Instant::now() + JOB;
    let listed = loop {
        let listed = letters(&fleet).await?;
        if listed.len() == 5 {
            break listed;
        }
        ensure!(Instant::now() < deadline, "{listed:?}");
        sleep(Duration::from_millis(200)).await;
    };
    let of = |stream: &str| -> Vec<&Value> { listed.iter().filter(|letter| letter["stream"] == stream).collect() };
    assert_eq!((of("requests").len(), of("report").len(), of("assign").len()), (2, 2, 1), "{listed:?}");
    let in_the_name_of = |letter: &&&Value| letter["reason"].to_string().contains("in the name of");
    assert_eq!(of("report").iter().filter(in_the_name_of).count(), 1, "{listed:?}");
    let report = *of("report").iter().find(|letter| !in_the_name_of(letter)).context("no other")?;
    assert_eq!((&report["bytes"], &report["job"]), (&10_000.into(), &Value::from(job.to_string())));
    assert_eq!(report["payload_hex"].as_str().map(str::len), Some(2 * 4096));
    ensure!(of("requests").iter().any(|letter| letter["reason"].to_string().contains("programme")), "{listed:?}");
    // Nothing of it is left in the queues.
    oracles::check_nothing_left(&fleet.bus, None, JOB).await?;

    let id = report["id"].as_str().context("no id")?;
    let refused = zisk(&fleet, &["dead", "requeue", id]).await?;
    ensure!(refused.code == 3 && refused.stderr.contains("could not be read"), "{refused:?}");
    let shown = zisk(&fleet, &["dead", "show", id]).await?;
    ensure!(shown.code == 0 && shown.stdout.contains(&prefix.report(job, Phase::Proof, 3, worker)), "{shown:?}");
    assert_eq!(zisk(&fleet, &["dead", "drop", id]).await?.code, 0);
    assert_eq!(zisk(&fleet, &["dead", "drop", id]).await?.code, 1);
    assert_eq!(zisk(&fleet, &["dead", "drop"]).await?.code, 2);
    let dropped = zisk(&fleet, &["dead", "drop", "--all", "--json"]).await?;
    assert_eq!(dropped.json()?["dropped"], 4);
    ensure!(letters(&fleet).await?.is_empty());
    Ok(())
}
