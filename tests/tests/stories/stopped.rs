//! The whole stack is told to stop at once, as `docker compose stop` or the end of a machine does it: NATS is gone before the
//! others have given anything back. Each ends by itself, with exit code 0, and what is started again goes on.

use std::time::Duration;

use anyhow::{Context, Result, ensure};
use zisk_common::subjects::EventKind;
use zisk_tests::Process;
use zisk_tests::story::Story;

/// The `shutdown_timeout_seconds` of coordinators and workers.
const SHUTDOWN: Duration = Duration::from_secs(30);

/// All get SIGTERM, and only then are waited for.
fn stop_all(processes: &mut [Process]) -> Result<()> {
    processes.iter().for_each(Process::terminate);
    for process in processes {
        let status = process.wait(SHUTDOWN)?;
        ensure!(status.success(), "{status}:\n{}", process.log_end());
    }
    Ok(())
}

#[tokio::test(flavor = "multi_thread")]
async fn the_whole_stack_stops_at_once_and_goes_on_where_it_was() -> Result<()> {
    let mut story = Story::start(2).await?;
    story.fleet.start_coordinator()?;
    let workload = story.reference.hashes(12)?;
    for moment in [EventKind::Executing, EventKind::Contributed, EventKind::Proof] {
        let job = story.submit(&workload).await?;
        story.wait_for(job, moment).await?;
        story.fleet.nats.servers[0].stop()?;
        let workers = story.fleet.workers.drain(..).map(|worker| worker.process);
        let mut all: Vec<Process> = story.fleet.coordinators.drain(..).chain(workers).collect();
        stop_all(&mut all).with_context(|| format!("stopped at {moment}"))?;

        story.fleet.nats.servers[0].restart()?;
        for _ in 0..2 {
            story.fleet.start_coordinator()?;
            story.fleet.start_worker()?;
        }
        let record = story.ends_well(job, &workload).await.with_context(|| format!("stopped at {moment}"))?;
        story.is_clean(&[&record]).await?;
    }
    Ok(())
}

#[tokio::test(flavor = "multi_thread")]
async fn what_waits_for_nats_stops_too() -> Result<()> {
    let mut story = Story::start(0).await?;
    story.fleet.nats.servers[0].kill();
    let url = story.fleet.nats.url();
    let mut waiting = vec![story.fleet.launch_coordinator(&url)?, story.fleet.launch_worker(&url, false)?.process];
    for process in &mut waiting {
        process.wait_for_log("trying again", SHUTDOWN)?;
    }
    stop_all(&mut waiting)?;
    stop_all(&mut story.fleet.coordinators)
}
