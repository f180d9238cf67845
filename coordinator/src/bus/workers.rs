//! Who is there: workers that appear and disappear.

use std::collections::HashMap;
use std::time::Duration;

use metrics::gauge;
use tokio::sync::watch;
use tokio_util::sync::CancellationToken;
use zisk_common::bus::Bus;
use zisk_common::ids::WorkerId;
use zisk_common::messages::{WorkerPresence, WorkerState};

use crate::metric_definitions::{COMPUTE_UNITS, WORKERS, WORKERS_CONNECTED};

/// Expired entries vanish without a message, so the bucket is read, not watched.
const PERIOD: Duration = Duration::from_secs(1);

/// Logs workers that come and go, fail and recover, and counts them and their units, until `stop`. Those that have failed, or
/// whose prover is not of version `prover`, get no work.
pub async fn follow(bus: Bus, prover: &'static str, units: watch::Sender<u32>, stop: CancellationToken) {
    let mut known = HashMap::new();
    let mut ticks = tokio::time::interval(PERIOD);
    ticks.set_missed_tick_behavior(tokio::time::MissedTickBehavior::Delay);
    let follow = async {
        loop {
            ticks.tick().await;
            let workers = async { bus.workers().await?.values().await };
            match workers.await {
                Ok(workers) => {
                    let present = workers.into_iter().map(|worker| (worker.worker, worker));
                    units.send_replace(compare(&mut known, present.collect(), prover));
                }
                Err(error) => tracing::debug!(%error, "workers not read"),
            }
        }
    };
    stop.run_until_cancelled(follow).await;
    // From now on another's to show.
    show(&HashMap::new(), 0);
}

fn show(present: &HashMap<WorkerId, WorkerPresence>, units: u32) {
    for state in WorkerState::ALL {
        let count = present.values().filter(|worker| worker.state == *state).count();
        gauge!(WORKERS, "state" => state.as_str()).set(u32::try_from(count).unwrap_or(u32::MAX));
    }
    gauge!(WORKERS_CONNECTED).set(u32::try_from(present.len()).unwrap_or(u32::MAX));
    gauge!(COMPUTE_UNITS).set(units);
}

/// Whether contributions of this worker are ours to judge.
fn fits(worker: &WorkerPresence, prover: &str) -> bool {
    worker.versions.backend == prover
}

/// Says when a worker fails, for which reason, and when it can work again.
fn log_health(before: Option<&WorkerPresence>, now: &WorkerPresence) {
    let (id, host) = (now.worker, &now.host);
    let failed = |worker: &&WorkerPresence| worker.state == WorkerState::Failed;
    match (before.filter(failed), now.state) {
        (Some(before), WorkerState::Failed) if before.reason == now.reason => {}
        (_, WorkerState::Failed) => {
            let reason = now.reason.as_deref().unwrap_or("it does not say why");
            tracing::error!(host, "worker {id} gets no work, it fails its own tests: {reason}");
        }
        (Some(_), _) => tracing::info!(host, "worker {id} can work again"),
        (None, _) => {}
    }
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
        log_health(known.get(id), worker);
    }
    for (id, worker) in known.iter() {
        if !present.contains_key(id) {
            tracing::info!(host = worker.host, "worker gone: {id}");
        }
    }
    let able = present.values().filter(|worker| fits(worker, prover) && worker.state != WorkerState::Failed);
    let units: u32 = able.map(|worker| worker.capacity).sum();
    show(&present, units);
    *known = present;
    units
}

#[cfg(test)]
mod tests {
    use zisk_common::messages::{Load, Version, Versions};

    use super::*;

    #[test]
    fn only_those_that_get_work_count() {
        let worker = |state, backend: &str| WorkerPresence {
            v: Version::default(),
            worker: WorkerId::random(),
            host: String::new(),
            capacity: 10,
            versions: Versions { backend: backend.to_owned(), ..Versions::default() },
            state,
            reason: None,
            load: Load::default(),
            started_ms: 0,
            seen_ms: 0,
        };
        let states = [WorkerState::Idle, WorkerState::Busy, WorkerState::Draining, WorkerState::Failed];
        let mut present: Vec<WorkerPresence> = states.into_iter().map(|state| worker(state, "1")).collect();
        present.push(worker(WorkerState::Idle, "2"));
        let present = present.into_iter().map(|worker| (worker.worker, worker)).collect();
        let mut known = HashMap::new();
        assert_eq!(compare(&mut known, present, "1"), 30);
        assert_eq!(known.len(), 5);
    }
}
