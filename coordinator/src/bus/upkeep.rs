//! What nobody else would notice: streams, consumers and buckets that somebody deleted or altered are repaired, and what came
//! after its job's clean-up is removed.

use std::collections::BTreeSet;
use std::time::Duration;

use tokio::sync::{mpsc, watch};
use tokio::time::{Instant, MissedTickBehavior};
use tokio_util::sync::CancellationToken;
use zisk_common::bus::Bus;
use zisk_common::ids::JobId;
use zisk_common::mark::MarkError;
use zisk_common::messages::SegmentRecord;
use zisk_common::objects::Objects;
use zisk_common::settings::Thing;
use zisk_common::subjects::{BucketKind, StreamKind, Subject};

use super::cleanup::clean_up;
use super::condition::{self, Condition, NotReady};
use super::outbox;
use super::records::Records;

/// How often to look. What is lost with a stream is put there again by the look at jobs in which nothing moves.
const PERIOD: Duration = Duration::from_secs(5);
/// How often to look for objects: listing a large store costs more.
const SWEEP: Duration = Duration::from_secs(30);

/// Keeps bus and store in order until `stop`.
pub async fn follow(
    bus: Bus,
    objects: Objects,
    records: Records,
    full: watch::Receiver<bool>,
    not_ready: NotReady,
    replaced: mpsc::UnboundedSender<Vec<Thing>>,
    stop: CancellationToken,
) {
    condition::begin(&bus, objects.are_on_the_bus());
    let mut condition = Condition::default();
    let mut ticks = tokio::time::interval(PERIOD);
    ticks.set_missed_tick_behavior(MissedTickBehavior::Delay);
    let mut swept = Instant::now();
    let keep = async {
        loop {
            ticks.tick().await;
            let full = *full.borrow();
            match condition.look(&bus, objects.are_on_the_bus(), full, &not_ready).await {
                Ok(others) if others.is_empty() => {}
                Ok(others) => {
                    let _ = replaced.send(others); // fails only when we are shutting down
                }
                Err(error) => {
                    tracing::warn!(%error, "the bus was not compared with its settings; trying again");
                    not_ready.send_replace(Some(format!("the bus does not answer: {error}")));
                }
            }
            if let Err(error) = mark_store(&bus, &objects).await {
                tracing::warn!(%error, "the object store is not marked as the cluster's; trying again");
            }
            if swept.elapsed() >= SWEEP {
                swept = Instant::now();
                if let Err(error) = sweep(&bus, &objects, &records).await {
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

/// Marks the object store as the cluster's, so that who has another one finds out.
pub(crate) async fn mark_store(bus: &Bus, objects: &Objects) -> Result<(), MarkError> {
    if bus.mark_store(objects).await? {
        tracing::warn!(
            "this coordinator's object store did not have the cluster's mark, and has a new one: workers with another store get no \
             work, and what was in it is missed"
        );
    }
    Ok(())
}

/// A worker or a coordinator that was paused or cut off writes what it had in hand, whether or not the job has ended and was
/// cleaned up meanwhile.
async fn sweep(bus: &Bus, objects: &Objects, records: &Records) -> anyhow::Result<()> {
    let mut found: BTreeSet<JobId> = objects.jobs().await?.into_iter().collect();
    let keys = bus.bucket::<SegmentRecord>(BucketKind::Segments).await?.keys().await?;
    found.extend(keys.iter().filter_map(|key| key.split('.').next()?.parse::<JobId>().ok()));
    for kind in [StreamKind::Assign, StreamKind::Broadcast] {
        let subjects = outbox::list(bus, kind, ">").await?;
        found.extend(subjects.keys().filter_map(|subject| match bus.prefix().parse(subject) {
            Ok(Subject::Assign { job, .. } | Subject::Challenge(job) | Subject::Cancel(job)) => Some(job),
            _ => None,
        }));
    }
    let streamed = bus.streamed_jobs().await?;
    found.extend(&streamed);
    let jobs = bus.jobs().await?;
    for job in found {
        if jobs.get(job).await?.is_some_and(|entry| entry.value.cleaned) {
            tracing::info!(%job, "cleaning up what came after the job's end");
            if streamed.contains(&job) {
                bus.purge_input(job).await?;
            }
            clean_up(bus, records, objects, job).await?;
        }
    }
    Ok(())
}
