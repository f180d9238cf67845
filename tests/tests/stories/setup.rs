//! Workers that cannot work: shown with the reason, given nothing, and back at work when that is mended. No job pays for it.

use std::os::unix::fs::symlink;
use std::time::Duration;

use anyhow::{Context, Result, ensure};
use tokio::time::{Instant, sleep};
use zisk_common::ids::WorkerId;
use zisk_common::messages::{WorkerPresence, WorkerState};
use zisk_common::subjects::EventKind;
use zisk_tests::cli::zisk;
use zisk_tests::scrape;
use zisk_tests::story::{JOB, Story};

/// Waits until the worker is shown in this state; returns what is shown.
async fn shown(story: &Story, worker: WorkerId, state: WorkerState) -> Result<WorkerPresence> {
    let deadline = Instant::now() + JOB;
    loop {
        let known = story.fleet.bus.workers().await?.get(worker).await?.map(|entry| entry.value);
        match known {
            Some(presence) if presence.state == state => return Ok(presence),
            known => ensure!(Instant::now() < deadline, "worker {worker} is not shown as {state:?}: {known:?}"),
        }
        sleep(Duration::from_millis(50)).await;
    }
}

/// Waits until the leading coordinator counts so many workers in this state.
async fn counted(story: &Story, state: &str, expected: f64) -> Result<()> {
    let deadline = Instant::now() + JOB;
    let name = format!("zisk_workers{{state=\"{state}\"}}");
    loop {
        let count = scrape::metric(&story.fleet.coordinators[0], &name)?;
        if count == Some(expected) {
            return Ok(());
        }
        ensure!(Instant::now() < deadline, "{name} is {count:?}, not {expected}");
        sleep(Duration::from_millis(100)).await;
    }
}

/// Starts a worker with this object store.
fn start_worker_with(story: &mut Story, store: &std::path::Path) -> Result<WorkerId> {
    story.fleet.worker_environment = vec![("ZISK_OBJECT_STORE", format!("file://{}", store.display()))];
    let place = story.fleet.start_worker()?;
    story.fleet.worker_environment.clear();
    Ok(story.fleet.workers[place].id)
}

#[tokio::test(flavor = "multi_thread")]
async fn a_worker_with_a_broken_or_another_store_gets_no_work_until_that_is_mended() -> Result<()> {
    let mut story = Story::start(1).await?;
    let directory = story.fleet.directory().to_owned();
    let (broken, other) = (directory.join("broken"), directory.join("other"));
    std::fs::write(&broken, "a file where a directory is to be")?;
    let without = start_worker_with(&mut story, &broken)?;
    let elsewhere = start_worker_with(&mut story, &other)?;

    let reason = shown(&story, without, WorkerState::Failed).await?.reason.context("no reason")?;
    ensure!(reason.contains(&broken.display().to_string()), "{reason}");
    let reason = shown(&story, elsewhere, WorkerState::Failed).await?.reason.context("no reason")?;
    ensure!(reason.contains("another one than the coordinator's") && reason.contains("ZISK_OBJECT_STORE"), "{reason}");
    counted(&story, "failed", 2.0).await?;
    ensure!(
        scrape::metric(&story.fleet.coordinators[0], "zisk_compute_units")? == Some(1.0),
        "units of workers that cannot work"
    );
    for id in [without, elsewhere] {
        ensure!(story.coordinator_said(&["gets no work", &id.to_string()]), "the coordinator does not say so");
    }
    let listed = zisk(&story.fleet, &["workers", "--json"]).await?.json()?;
    let listed: Vec<_> = listed.as_array().context("no list")?.iter().filter(|worker| worker["state"] == "failed").collect();
    ensure!(listed.len() == 2 && listed.iter().all(|worker| worker["reason"].is_string()), "{listed:?}");
    let listed = zisk(&story.fleet, &["workers"]).await?.stdout;
    ensure!(listed.matches("gets no work: ").count() == 2, "{listed}");

    // The others do it.
    let workload = story.reference.hashes(3)?;
    let first = story.ends_well(story.submit(&workload).await?, &workload).await?;
    for id in [without, elsewhere] {
        let log = story.fleet.workers[story.fleet.position(id).unwrap()].process.log();
        ensure!(!log.contains("plan begun") && !log.contains("contributed"), "{log}");
    }

    // Mended, without being started again.
    std::fs::remove_file(&broken)?;
    symlink(directory.join("objects"), &broken)?;
    ensure!(shown(&story, without, WorkerState::Idle).await?.reason.is_none(), "a reason is still shown");
    counted(&story, "failed", 1.0).await?;
    story.fleet.workers.remove(0).process.stop()?;
    let second = story.ends_well(story.submit(&workload).await?, &workload).await?;
    story.is_clean(&[&first, &second]).await
}

#[tokio::test(flavor = "multi_thread")]
async fn a_worker_that_loses_its_store_gives_its_work_back_and_no_attempt_is_counted() -> Result<()> {
    let mut story = Story::start(0).await?;
    let directory = story.fleet.directory().to_owned();
    // The same objects by another way, which can be taken away.
    let (way, away) = (directory.join("way"), directory.join("away"));
    std::fs::create_dir(&way)?;
    for folder in ["program", "key", "input", "proof", "mark", "job"] {
        let folder = (directory.join("objects").join(folder), way.join(folder));
        std::fs::create_dir_all(&folder.0)?;
        symlink(&folder.0, &folder.1)?;
    }
    // The last job's end removes an empty folder, and the link would lead nowhere.
    std::fs::create_dir(directory.join("objects/job/kept"))?;
    let sick = start_worker_with(&mut story, &way)?;
    shown(&story, sick, WorkerState::Idle).await?;
    let workload = story.reference.hashes(6)?;
    let job = story.submit(&workload).await?;
    story.wait_for(job, EventKind::Contributed).await?;
    std::fs::rename(&way, &away)?;
    let reason = shown(&story, sick, WorkerState::Failed).await?.reason.context("no reason")?;
    ensure!(reason.contains("another one than the coordinator's"), "{reason}");

    story.fleet.start_worker()?;
    let first = story.ends_well(job, &workload).await?;
    ensure!(first.plan_failures.is_empty(), "{:?}", first.plan_failures);
    ensure!(!story.coordinator_said(&["attempt failed"]), "a worker that cannot work cost the job an attempt");

    std::fs::rename(&away, &way)?;
    shown(&story, sick, WorkerState::Idle).await?;
    let second = story.ends_well(story.submit(&workload).await?, &workload).await?;
    story.is_clean(&[&first, &second]).await
}
