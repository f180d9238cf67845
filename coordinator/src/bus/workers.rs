//! Who is there: workers that appear and disappear.

use std::collections::HashMap;
use std::time::Duration;

use metrics::gauge;
use tokio::sync::watch;
use tokio_util::sync::CancellationToken;
use zisk_common::bus::Bus;
use zisk_common::ids::WorkerId;
use zisk_common::messages::WorkerPresence;

use crate::metric_definitions::{COMPUTE_UNITS, WORKERS_CONNECTED};

/// Expired entries vanish without a message, so the bucket is read, not watched.
const PERIOD: Duration = Duration::from_secs(1);

/// Logs workers that come and go, and counts them and their units, until `stop`. Those whose prover is not of version `prover` get no work.
pub async fn follow(bus: Bus, prover: &'static str, units: watch::Sender<u32>, stop: CancellationToken) {
    let mut known = HashMap::new();
    let mut ticks = tokio::time::interval(PERIOD);
    ticks.set_missed_tick_behavior(tokio::time::MissedTickBehavior::Delay);
    loop {
        tokio::select! {
            () = stop.cancelled() => return,
            _ = ticks.tick() => {}
        }
        let entries = async { bus.workers().await?.entries().await };
        match entries.await {
            Ok(entries) => {
                let present = entries.into_iter().map(|(_, entry)| (entry.value.worker, entry.value));
                units.send_replace(compare(&mut known, present.collect(), prover));
            }
            Err(error) => tracing::debug!(%error, "workers not read"),
        }
    }
}

/// Whether contributions of this worker are ours to judge.
fn fits(worker: &WorkerPresence, prover: &str) -> bool {
    worker.versions.backend == prover
}

/// Returns the compute units that get work.
fn compare(known: &mut HashMap<WorkerId, WorkerPresence>, present: HashMap<WorkerId, WorkerPresence>, prover: &str) -> u32 {
    for (id, worker) in &present {
        if !known.contains_key(id) {
            let (host, backend) = (&worker.host, &worker.versions.backend);
            tracing::info!(host, backend, "worker registered: {id} capacity={}", worker.capacity);
            if !fits(worker, prover) {
                tracing::error!(
                    host,
                    "worker {id} gets no work: its prover is {backend}, this coordinator's is {prover}; run the same release on both"
                );
            }
        }
    }
    for (id, worker) in known.iter() {
        if !present.contains_key(id) {
            tracing::info!(host = worker.host, "worker gone: {id}");
        }
    }
    let units: u32 = present.values().filter(|worker| fits(worker, prover)).map(|worker| worker.capacity).sum();
    gauge!(WORKERS_CONNECTED).set(u32::try_from(present.len()).unwrap_or(u32::MAX));
    gauge!(COMPUTE_UNITS).set(units);
    *known = present;
    units
}
