//! Much to do: every core busy with something else, and very many jobs. `ZISK_MANY_JOBS` says how many (1000 is the whole story).
#![allow(clippy::unwrap_used)] // a failed step is a failed test

use std::time::Duration;

use anyhow::{Context, Result, ensure};
use tokio::sync::Mutex;
use tokio::time::Instant;
use zisk_client::JobOptions;
use zisk_common::messages::{JobRecord, JobState, ProofKind};
use zisk_tests::Process;
use zisk_tests::busy::BusyCores;
use zisk_tests::oracles;
use zisk_tests::story::{LOG_STEPS, Story};

/// One after the other: each wants the machine for itself.
static ALONE: Mutex<()> = Mutex::const_new(());

#[tokio::test(flavor = "multi_thread")]
async fn nobody_is_taken_for_dead_while_every_core_is_busy() -> Result<()> {
    let _alone = ALONE.lock().await;
    let story = Story::start(2).await?;
    let workload = story.reference.hashes(6)?;
    let busy = BusyCores::start(4);
    let mut jobs = Vec::new();
    for _ in 0..3 {
        jobs.push(story.submit(&workload).await?);
    }
    let mut records = Vec::new();
    for job in jobs {
        records.push(story.ends_well(job, &workload).await?);
    }
    drop(busy);
    story.is_clean(&records.iter().collect::<Vec<_>>()).await?;
    // No lease expired and no assignment went to another: all of it has been done once, by those who began it.
    story.work()?.check_done_once()?;
    ensure!(!story.coordinator_said(&["worker gone"]), "a worker was taken for dead");
    ensure!(!story.coordinator_said(&["leads no more"]), "the coordinator was taken for dead");
    for record in &records {
        ensure!(record.aggregate_assignments == 0, "job {}: its aggregator was taken for dead", record.job);
    }
    Ok(())
}

#[tokio::test(flavor = "multi_thread")]
async fn very_many_jobs_all_end_and_memory_is_bounded() -> Result<()> {
    let _alone = ALONE.lock().await;
    let many: usize = std::env::var("ZISK_MANY_JOBS").ok().and_then(|text| text.parse().ok()).unwrap_or(60);
    let story = Story::start(2).await?;
    let workload = story.reference.hashes(1)?;
    let begun = Instant::now();
    let mut jobs = Vec::new();
    for n in 0..many {
        let options = JobOptions {
            log_segment_steps: Some(LOG_STEPS),
            proof: Some(ProofKind::Bundle),
            max_steps: workload.max_steps,
            client: Some(format!("client {}", n % 3)),
            ..JobOptions::default()
        };
        jobs.push(story.fleet.client.prove(&workload.elf, &workload.input, &options).await?);
    }
    let submitted = begun.elapsed();
    // Generous: about a second of one core each.
    let deadline = Instant::now() + Duration::from_secs(60) + Duration::from_secs(15) * u32::try_from(many)?;
    let mut records: Vec<JobRecord> = Vec::new();
    for job in &jobs {
        let left = deadline.saturating_duration_since(Instant::now());
        let record = oracles::end_of(&story.fleet.bus, *job, left).await?;
        ensure!(record.state == JobState::Completed, "job {job} ended {}: {:?}", record.state, record.failure);
        records.push(record);
    }
    let ended = begun.elapsed();
    story.is_clean(&records.iter().collect::<Vec<_>>()).await?;
    for record in &records {
        oracles::check_outcome(&story.fleet.objects, &story.reference, &workload, record).await?;
    }
    story.work()?.check_done_once()?;
    let (coordinator, worker) = (peak_mebibytes(&story.fleet.coordinators[0])?, peak_mebibytes(&story.fleet.workers[0].process)?);
    eprintln!(
        "{many} jobs: submitted in {submitted:.1?}, ended after {ended:.1?}; at most {coordinator} MiB coordinator, {worker} MiB worker"
    );
    // Whatever their number: a job that has ended is forgotten, one that waits is its record.
    ensure!(coordinator < 200, "the coordinator took {coordinator} MiB");
    ensure!(worker < 1_000, "a worker took {worker} MiB");
    Ok(())
}

/// The most memory the process ever had.
fn peak_mebibytes(process: &Process) -> Result<u64> {
    let status = std::fs::read_to_string(format!("/proc/{}/status", process.id()))?;
    let peak = status.lines().find_map(|line| line.strip_prefix("VmHWM:")).context("no VmHWM")?;
    Ok(peak.trim().trim_end_matches(" kB").trim().parse::<u64>()? / 1024)
}
