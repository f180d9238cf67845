//! Work that is meant for others: of what this worker did of it before, something was refused.

use std::time::Duration;

use tracing::{debug, info};
use zisk_common::bus::Bus;
use zisk_common::ids::WorkerId;
use zisk_common::messages::{Assignment, WorkerPresence, WorkerState};

/// How long others have to take it before it may come here again.
pub const FOR_OTHERS: Duration = Duration::from_secs(1);

/// Whether the assignment is to be left to others: it names this worker, and there are others.
pub async fn is_for_others(bus: &Bus, worker: WorkerId, prover: &str, assignment: &Assignment) -> bool {
    let avoid = assignment.avoid();
    if !avoid.contains(&worker) {
        return false;
    }
    let workers = async { bus.workers().await?.values().await };
    let others = match workers.await {
        Ok(workers) => workers.iter().any(|worker| may_take(worker, prover) && !avoid.contains(&worker.worker)),
        Err(error) => {
            debug!(%error, "workers not read");
            true
        }
    };
    let (job, kind, n) = (assignment.job(), assignment.kind(), assignment.n());
    if others {
        info!(%job, %kind, n, "a result of this worker for it was refused before: left to others");
    } else {
        info!(%job, %kind, n, "a result of this worker for it was refused before, but there is nobody else");
    }
    others
}

fn may_take(worker: &WorkerPresence, prover: &str) -> bool {
    worker.state != WorkerState::Draining && worker.versions.backend == prover
}
