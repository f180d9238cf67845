//! What must hold after the run: every oracle, on every job.

use std::collections::HashMap;
use std::time::Duration;

use anyhow::{Context, Result, bail, ensure};
use zisk_common::ids::JobId;
use zisk_common::messages::{Event, FailureKind, JobRecord, JobState};
use zisk_tests::guests::Reference;
use zisk_tests::oracles;

use crate::cluster::Cluster;
use crate::jobs::{Flow, Job};

/// What is left of jobs must be gone after this: workers look every 30 s whether theirs have ended.
const GRACE: Duration = Duration::from_secs(90);

/// Waits until nothing is left of the jobs; with what is.
pub async fn leftovers(cluster: &Cluster) -> Vec<String> {
    let mut problems = Vec::new();
    let store = cluster.fleet.directory().join("objects");
    if let Err(error) = oracles::check_nothing_left(&cluster.fleet.bus, Some(&store), GRACE).await {
        problems.push(format!("{error:#}"));
    }
    if let Err(error) = oracles::check_gauges(&cluster.coordinators(), GRACE).await {
        problems.push(format!("{error:#}"));
    }
    problems
}

/// Everything that does not hold of the jobs; by all events there are.
pub async fn jobs(cluster: &Cluster, flow: &Flow, events: &[Event], reference: &Reference) -> Vec<String> {
    let mut problems = Vec::new();
    let mut by_job: HashMap<JobId, Vec<Event>> = HashMap::new();
    for event in events {
        by_job.entry(event.job).or_default().push(event.clone());
    }
    let records = match records(cluster).await {
        Ok(records) => records,
        Err(error) => {
            problems.push(format!("the jobs' records cannot be read: {error:#}"));
            return problems;
        }
    };
    for (id, job) in flow.jobs().iter() {
        if !records.contains_key(id) {
            problems.push(format!("LOST: job {id} ({}) was accepted and has no record", job.workload.name));
        } else if job.end.is_none() {
            problems.push(format!("LOST: job {id} ({}) has not ended", job.workload.name));
        }
    }
    // Those whose requests were stored and never acknowledged, too.
    for (id, record) in &records {
        let events = by_job.get(id).map(Vec::as_slice).unwrap_or_default();
        if let Err(error) = oracles::check_events(record, events) {
            problems.push(format!("job {id}: {error:#}"));
        }
    }
    let ended: Vec<(JobId, Job)> =
        flow.jobs().iter().filter(|(_, job)| job.end.is_some()).map(|(id, job)| (*id, job.clone())).collect();
    for (id, job) in ended {
        if let Some(now) = records.get(&id)
            && let Err(error) = check(&job, now, cluster, reference).await
        {
            problems.push(format!("job {id} ({}): {error:#}", job.workload.name));
        }
    }
    problems
}

/// The end is what it was, and one that this job may have.
async fn check(job: &Job, now: &JobRecord, cluster: &Cluster, reference: &Reference) -> Result<()> {
    let end = job.end.as_ref().context("it has not ended")?;
    oracles::check_same_end(end, now)?;
    match (end.state, end.failure.as_ref().map(|failure| failure.kind)) {
        (JobState::Cancelled, _) => {
            ensure!(job.cancelled, "nobody asked for its cancellation");
            Ok(())
        }
        (JobState::Failed, Some(FailureKind::Timeout)) => {
            ensure!(job.hurried, "it had time enough: {:?}", end.failure);
            Ok(())
        }
        _ => oracles::check_outcome(&cluster.fleet.objects, reference, &job.workload, end).await,
    }
}

async fn records(cluster: &Cluster) -> Result<HashMap<JobId, JobRecord>> {
    let mut records = HashMap::new();
    for (key, entry) in cluster.fleet.bus.jobs().await?.entries().await? {
        let Ok(id) = key.parse::<JobId>() else { bail!("{key:?} is no job's key") };
        records.insert(id, entry.value);
    }
    Ok(records)
}
