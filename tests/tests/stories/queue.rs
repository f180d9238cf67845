//! Jobs that wait for their turn: in which order they are begun, what is refused, and how those end that are not begun at
//! all. `ZISK_QUEUE_JOBS` sets how many small jobs there are where there are many.

use std::collections::HashMap;
use std::time::Duration;

use anyhow::{Context, Result, bail, ensure};
use tokio::time::{Instant, sleep};
use zisk_client::{Cancellation, ClientError, JobOptions};
use zisk_common::ids::JobId;
use zisk_common::messages::{FailureKind, JobRecord, JobState, ProofKind};
use zisk_common::subjects::{BucketKind, EventKind, StreamKind};
use zisk_tests::guests::Workload;
use zisk_tests::story::{JOB, LOG_STEPS, Story};

/// What takes a second or so, on a machine that is busy with other tests.
const SOON: Duration = Duration::from_secs(60);

/// A cluster without workers, whose coordinator has these settings.
async fn start(settings: &[(&'static str, u64)]) -> Result<Story> {
    let mut story = Story::start(0).await?;
    restart(&mut story, settings)?;
    Ok(story)
}

/// Kills the coordinator and starts another, with these settings.
fn restart(story: &mut Story, settings: &[(&'static str, u64)]) -> Result<()> {
    story.fleet.coordinators.clear();
    story.fleet.coordinator_environment = settings.iter().map(|(key, value)| (*key, value.to_string())).collect();
    story.fleet.start_coordinator()
}

fn options(workload: &Workload) -> JobOptions {
    JobOptions {
        log_segment_steps: Some(LOG_STEPS),
        proof: Some(ProofKind::Bundle),
        max_steps: workload.max_steps,
        ..JobOptions::default()
    }
}

async fn submit(story: &Story, workload: &Workload, client: &str, priority: Option<u8>) -> Result<JobId> {
    let options = JobOptions { client: Some(client.to_owned()), priority, ..options(workload) };
    Ok(story.fleet.client.prove(&workload.elf, &workload.input, &options).await?)
}

/// Waits until so many jobs wait, and returns them in order.
async fn waiting(story: &Story, expected: usize) -> Result<Vec<JobId>> {
    let deadline = Instant::now() + JOB;
    loop {
        let order = story.fleet.client.queue().await?.waiting;
        if order.len() == expected {
            return Ok(order);
        }
        ensure!(Instant::now() < deadline, "{} jobs wait, not {expected}", order.len());
        sleep(Duration::from_millis(100)).await;
    }
}

/// How many messages were ever stored.
async fn stored(story: &Story, stream: String) -> Result<u64> {
    Ok(story.fleet.bus.jetstream().get_stream(stream).await?.cached_info().state.last_sequence)
}

async fn assigned(story: &Story) -> Result<u64> {
    stored(story, story.fleet.bus.prefix().stream(StreamKind::Assign)).await
}

/// How often a job's record was written, all jobs together.
async fn commits(story: &Story) -> Result<u64> {
    stored(story, format!("KV_{}", story.fleet.bus.prefix().bucket(BucketKind::Jobs))).await
}

#[tokio::test(flavor = "multi_thread")]
async fn many_small_jobs_and_a_large_one_are_begun_by_priority_and_in_turn() -> Result<()> {
    let many: usize = std::env::var("ZISK_QUEUE_JOBS").ok().and_then(|text| text.parse().ok()).unwrap_or(36);
    let running = 3;
    let mut story = start(&[("ZISK_COORDINATOR_QUEUE_RUNNING_JOBS", running as u64)]).await?;
    let (small, large) = (story.reference.hashes(1)?, story.reference.hashes(10)?);
    let mut jobs: HashMap<JobId, (&str, &Workload)> = HashMap::new();
    // Alice has two thirds of them, and is first.
    for _ in 0..many * 2 / 3 {
        jobs.insert(submit(&story, &small, "alice", None).await?, ("alice", &small));
    }
    jobs.insert(submit(&story, &large, "carol", None).await?, ("carol", &large));
    for _ in 0..many / 3 {
        jobs.insert(submit(&story, &small, "bob", None).await?, ("bob", &small));
    }
    for _ in 0..2 {
        jobs.insert(submit(&story, &small, "dave", Some(9)).await?, ("dave", &small));
    }
    let last = submit(&story, &small, "erin", Some(0)).await?;
    jobs.insert(last, ("erin", &small));
    let order = waiting(&story, jobs.len() - running).await?;
    let clients: Vec<&str> = order.iter().map(|job| jobs[job].0).collect();
    // Alice's first run already.
    assert_eq!(clients[..4], ["dave", "dave", "carol", "bob"], "{clients:?}");
    assert_eq!(order.last(), Some(&last));
    assert_eq!(assigned(&story).await?, running as u64, "what waits owes nothing on the bus");

    story.fleet.start_worker()?;
    let mut records: Vec<JobRecord> = Vec::new();
    for (job, (_, workload)) in &jobs {
        let record = match story.ends_well(*job, workload).await {
            // There may be more of them than one patience is for.
            Err(_) if !story.fleet.client.status(*job).await?.state.is_terminal() => story.ends_well(*job, workload).await?,
            other => other?,
        };
        records.push(record);
    }
    // As they were begun: as the order said.
    records.sort_by_key(|record| record.timings.admitted_ms);
    let begun: Vec<&str> = records.iter().map(|record| record.request.client.as_str()).collect();
    let place = |client: &str| begun.iter().rposition(|it| *it == client).unwrap();
    assert!(place("dave") < running + 2, "{begun:?}");
    assert!(place("carol") < running + 2 + 6, "{begun:?}");
    let alice_after_bob = begun[place("bob")..].iter().filter(|client| **client == "alice").count();
    assert!(alice_after_bob >= many / 6, "they take turns, and alice has twice as many: {begun:?}");
    assert_eq!(records.last().map(|record| record.job), Some(last), "{begun:?}");
    waiting(&story, 0).await?;
    story.is_clean(&records.iter().collect::<Vec<_>>()).await?;
    story.work()?.check_done_once()
}

#[tokio::test(flavor = "multi_thread")]
async fn a_coordinator_that_is_killed_goes_on_with_those_that_wait() -> Result<()> {
    const JOBS: usize = 200;
    let settings = [("ZISK_COORDINATOR_QUEUE_RUNNING_JOBS", 2)];
    let mut story = start(&settings).await?;
    let workload = story.reference.hashes(1)?;
    let mut jobs = Vec::new();
    for n in 0..JOBS {
        jobs.push(submit(&story, &workload, "one", Some(n as u8 % 10)).await?);
    }
    let order = waiting(&story, JOBS - 2).await?;
    let before = (assigned(&story).await?, commits(&story).await?);
    // One write for each that came, and one for each that was begun.
    assert_eq!(before, (2, JOBS as u64 + 2));
    restart(&mut story, &settings)?;
    ensure!(story.fleet.coordinators[0].wait_for_log("resuming unfinished jobs", SOON)?.contains("\"waiting\":198"));
    // The first gives up its place: the next is begun at once, and nothing else is written.
    let first = jobs.iter().find(|job| !order.contains(job)).copied().context("one runs")?;
    let cancelled = story.fleet.client.cancel(first).await?;
    assert_eq!(cancelled, Cancellation::Cancelled { before: false });
    assert_eq!(waiting(&story, JOBS - 3).await?, order[1..]);
    story.wait_for(order[0], EventKind::Admitted).await?;
    // Its end, its clean-up, and the next one's turn.
    let deadline = Instant::now() + SOON;
    while commits(&story).await? < before.1 + 3 {
        ensure!(Instant::now() < deadline, "it is not cleaned up");
        sleep(Duration::from_millis(100)).await;
    }
    sleep(Duration::from_secs(3)).await;
    assert_eq!(assigned(&story).await?, 3);
    assert_eq!(commits(&story).await?, before.1 + 3);
    Ok(())
}

#[tokio::test(flavor = "multi_thread")]
async fn what_exceeds_a_limit_is_refused_and_leaves_those_that_wait_alone() -> Result<()> {
    let running = ("ZISK_COORDINATOR_QUEUE_RUNNING_JOBS", 1);
    let mut story = start(&[running, ("ZISK_COORDINATOR_QUEUE_MAX_JOBS", 2)]).await?;
    let workload = story.reference.hashes(1)?;
    let mut jobs = Vec::new();
    for _ in 0..3 {
        jobs.push(submit(&story, &workload, "a", None).await?);
    }
    let order = waiting(&story, 2).await?;
    let refused = async |story: &Story, words: &[&str]| -> Result<JobRecord> {
        let job = submit(story, &workload, "b", Some(9)).await?;
        let Err(error) = story.fleet.client.wait(job, |_| {}).await else { bail!("job {job} was not refused") };
        ensure!(error.exit_code() == 11, "exit code {}: {error}", error.exit_code());
        for word in words {
            ensure!(error.to_string().contains(word), "{word:?} is not in it: {error}");
        }
        let record = story.ends(job).await?;
        ensure!(record.failure.as_ref().is_some_and(|failure| failure.kind == FailureKind::Busy), "{record:?}");
        Ok(record)
    };
    let by_jobs = refused(&story, &["2 jobs wait, as many as [queue] max_jobs allows", "submit it again"]).await?;
    assert_eq!(waiting(&story, 2).await?, order);
    assert_eq!(assigned(&story).await?, 1);

    // One leaves: there is room for one.
    story.fleet.client.cancel(jobs[2]).await?;
    waiting(&story, 1).await?;
    let more = submit(&story, &workload, "b", None).await?;
    assert_eq!(waiting(&story, 2).await?[0], more);

    // The limit on bytes holds for what comes; what waits already stays.
    restart(&mut story, &[running, ("ZISK_COORDINATOR_QUEUE_MAX_BYTES", 1000)])?;
    let by_bytes = refused(&story, &["[queue] max_bytes is 1000", "nothing was begun"]).await?;
    assert_eq!(waiting(&story, 2).await?[0], more);

    let mut records = vec![by_jobs, by_bytes];
    story.fleet.start_worker()?;
    for job in [jobs[0], jobs[1], more] {
        records.push(story.ends_well(job, &workload).await?);
    }
    records.push(story.ends(jobs[2]).await?);
    story.is_clean(&records.iter().collect::<Vec<_>>()).await
}

#[tokio::test(flavor = "multi_thread")]
async fn a_deadline_passes_while_the_job_waits() -> Result<()> {
    let story = start(&[("ZISK_COORDINATOR_QUEUE_RUNNING_JOBS", 1)]).await?;
    let workload = story.reference.hashes(1)?;
    let running = story.submit(&workload).await?;
    let late = story.fleet.submit(&workload, LOG_STEPS, Some(Duration::from_secs(1))).await?;
    let next = story.submit(&workload).await?;
    let record = story.ends(late).await?;
    let failure = record.failure.clone().context("no cause")?;
    assert_eq!(failure.kind, FailureKind::Timeout);
    assert!(failure.message.contains("not begun within its 1 s"), "{failure}");
    assert_eq!((record.timings.admitted_ms, assigned(&story).await?), (0, 1));
    // A worker that comes too late for it does the others.
    let mut story = story;
    story.fleet.start_worker()?;
    let others = [story.ends_well(running, &workload).await?, story.ends_well(next, &workload).await?];
    story.is_clean(&[&record, &others[0], &others[1]]).await
}

#[tokio::test(flavor = "multi_thread")]
async fn a_job_is_cancelled_in_every_state_and_a_second_time_changes_nothing() -> Result<()> {
    let settings = [("ZISK_COORDINATOR_QUEUE_RUNNING_JOBS", 1)];
    let mut story = start(&settings).await?;
    let workload = story.reference.hashes(8)?;
    let now = Cancellation::Cancelled { before: false };
    let mut records = Vec::new();
    let again = async |story: &Story, job: JobId| -> Result<JobRecord> {
        let record = story.ends(job).await?;
        ensure!(record.state == JobState::Cancelled, "{}", record.state);
        let again = story.fleet.client.cancel(job).await?;
        ensure!(again == Cancellation::Cancelled { before: true }, "{again:?}");
        Ok(record)
    };

    // Before its request is taken: no coordinator runs.
    story.fleet.coordinators.clear();
    let job = story.submit(&workload).await?;
    match story.fleet.client.cancel(job).await {
        Err(ClientError::NotConfirmed { .. }) => {}
        other => bail!("confirmed by nobody: {other:?}"),
    }
    restart(&mut story, &settings)?;
    let record = again(&story, job).await?;
    assert_eq!(record.timings.admitted_ms, 0);
    records.push(record);
    let unknown = story.fleet.client.cancel(JobId::random()).await;
    assert!(matches!(unknown, Err(ClientError::UnknownJob(_))), "{unknown:?}");

    // While it waits, and when its turn has come but no worker.
    let (begun, waits) = (story.submit(&workload).await?, story.submit(&workload).await?);
    story.wait_for(begun, EventKind::Admitted).await?;
    story.wait_for(waits, EventKind::Accepted).await?;
    for job in [waits, begun] {
        assert_eq!(story.fleet.client.cancel(job).await?, now);
        records.push(again(&story, job).await?);
    }
    assert_eq!(assigned(&story).await?, 1);

    // In each phase of its work.
    story.fleet.start_worker()?;
    for phase in [EventKind::Executing, EventKind::Planned, EventKind::Contributed, EventKind::Challenged, EventKind::Proof] {
        let job = story.submit(&workload).await?;
        story.wait_for(job, phase).await?;
        let cancelled = story.fleet.client.cancel(job).await?;
        ensure!(cancelled == now, "{phase}: {cancelled:?}");
        records.push(again(&story, job).await?);
        // The worker has nothing of it any more.
        let deadline = Instant::now() + SOON;
        loop {
            let workers = story.fleet.client.workers().await?;
            let busy: Vec<_> =
                workers.iter().map(|worker| &worker.load).filter(|load| load.units_busy + load.assignments > 0).collect();
            if busy.is_empty() {
                break;
            }
            if Instant::now() > deadline {
                story.keep_logs();
                bail!("{phase}: still at work: {busy:?}");
            }
            sleep(Duration::from_millis(50)).await;
        }
    }

    // After its end.
    let job = story.submit(&workload).await?;
    let record = story.ends_well(job, &workload).await?;
    for _ in 0..2 {
        assert_eq!(story.fleet.client.cancel(job).await?, Cancellation::EndedBefore(JobState::Completed));
    }
    records.push(record);
    story.is_clean(&records.iter().collect::<Vec<_>>()).await
}
