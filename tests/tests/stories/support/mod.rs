//! What the stories about jobs have in common.

use std::time::Duration;

use anyhow::{Context, Result, bail, ensure};
use tokio::time::{Instant, sleep, timeout};
use zisk_common::bus::Bus;
use zisk_common::ids::JobId;
use zisk_common::messages::{Event, JobRecord, SegmentRecord};
use zisk_common::subjects::{BucketKind, StreamKind};

/// What takes milliseconds, on a machine that is busy with other tests.
pub const SOON: Duration = Duration::from_secs(60);

/// Waits for the job's terminal event; returns all events.
pub async fn until_the_end(bus: &Bus, job: JobId, limit: Duration) -> Result<Vec<Event>> {
    let mut events = bus.events(job);
    let mut seen: Vec<Event> = Vec::new();
    let deadline = Instant::now() + limit;
    loop {
        let Ok(event) = tokio::time::timeout_at(deadline, events.next()).await else {
            let kinds: Vec<String> = seen.iter().map(|event| event.kind().to_string()).collect();
            bail!("job {job} has not ended after {limit:?}; events: {kinds:?}");
        };
        seen.push(event?);
        if seen.last().is_some_and(|event| event.kind().is_terminal()) {
            return Ok(seen);
        }
    }
}

/// Waits until a job that has ended has left nothing behind but its record, and only one terminal event.
pub async fn expect_clean(bus: &Bus, job: JobId) -> Result<JobRecord> {
    let jobs = bus.jobs().await?;
    let deadline = Instant::now() + SOON;
    let record = loop {
        let record = jobs.get(job).await?.context("no record")?.value;
        if record.cleaned {
            break record;
        }
        ensure!(Instant::now() < deadline, "job {job} is not cleaned up");
        sleep(Duration::from_millis(50)).await;
    };
    let segments = bus.bucket::<SegmentRecord>(BucketKind::Segments).await?;
    // Who was late may have written after the clean-up: that is swept, and a lease expires.
    let deadline = Instant::now() + SOON;
    loop {
        let records = segments.keys().await?.iter().any(|key| key.starts_with(&job.to_string()));
        let lease = bus.holder(job).await?.is_some();
        if !records && !lease {
            break;
        }
        ensure!(Instant::now() < deadline, "left of job {job}: segment records {records}, a lease {lease}");
        sleep(Duration::from_millis(50)).await;
    }
    let mut terminal = 0;
    let mut events = bus.events(job);
    // The first takes its time; of a second one nothing may come after it.
    let mut patience = SOON;
    while let Ok(event) = timeout(patience, events.next()).await {
        if event?.kind().is_terminal() {
            terminal += 1;
            patience = Duration::from_millis(500);
        }
    }
    ensure!(terminal == 1, "{terminal} terminal events");
    Ok(record)
}

/// Waits until no request, assignment or report is left on the bus.
pub async fn expect_empty_queues(bus: &Bus) -> Result<()> {
    let deadline = Instant::now() + SOON;
    for kind in [StreamKind::Requests, StreamKind::Assign, StreamKind::Report] {
        loop {
            let name = bus.prefix().stream(kind);
            let messages = bus.jetstream().get_stream(&name).await.map(|stream| stream.cached_info().state.messages);
            if matches!(messages, Ok(0)) {
                break;
            }
            ensure!(Instant::now() < deadline, "messages left in {name}: {messages:?}");
            sleep(Duration::from_millis(50)).await;
        }
    }
    Ok(())
}
