//! What nobody else would notice: streams, consumers and buckets that somebody deleted are made again, and objects that came
//! after their job's clean-up are deleted.

use std::time::Duration;

use tokio::time::{Instant, MissedTickBehavior};
use tokio_util::sync::CancellationToken;
use zisk_common::bus::Bus;
use zisk_common::objects::Objects;

/// How often to look. What is lost with a stream is put there again by the look at jobs in which nothing moves.
const PERIOD: Duration = Duration::from_secs(5);
/// How often to look for objects: listing a large store costs more.
const SWEEP: Duration = Duration::from_secs(30);

/// Keeps bus and store in order until `stop`.
pub async fn follow(bus: Bus, objects: Objects, stop: CancellationToken) {
    let mut ticks = tokio::time::interval(PERIOD);
    ticks.set_missed_tick_behavior(MissedTickBehavior::Delay);
    let mut swept = Instant::now();
    let keep = async {
        loop {
            ticks.tick().await;
            if let Err(error) = bus.prepare_missing().await {
                tracing::warn!(%error, "the bus is not as it should be; trying again");
            }
            if swept.elapsed() >= SWEEP {
                swept = Instant::now();
                if let Err(error) = sweep(&bus, &objects).await {
                    tracing::debug!(error = format!("{error:#}"), "objects not swept");
                }
            }
        }
    };
    tokio::select! {
        () = stop.cancelled() => {}
        () = keep => {}
    }
}

/// A worker that was paused or cut off stores its node whether or not the job has ended meanwhile.
async fn sweep(bus: &Bus, objects: &Objects) -> anyhow::Result<()> {
    let jobs = bus.jobs().await?;
    for job in objects.jobs().await? {
        if jobs.get(job).await?.is_some_and(|entry| entry.value.cleaned) {
            let deleted = objects.delete_job(job).await?;
            tracing::info!(%job, objects = deleted, "objects that came after the job's end deleted");
        }
    }
    Ok(())
}
