//! Who works, and what waits.

use zisk_common::bus::{Bus, BusError};
use zisk_common::ids::CoordinatorId;
use zisk_common::messages::WorkerState;
use zisk_common::subjects::{AssignmentKind, ConsumerKind};
use zisk_common::survey::Seen;

use super::{Check, Part};

/// Clocks that differ by more are worth a warning. Milliseconds.
const CLOCK_LIMIT: u64 = 1000;

/// This machine's clock against the server's, and the workers' against it.
pub(super) async fn clock(bus: &Bus, workers: &[Seen]) -> Check {
    match bus.clock_offset().await {
        Ok((offset, error)) => judge_clocks(offset, error, workers),
        Err(error) => Check::warning(Part::Clock, format!("cannot be compared: {}", error.reason), "See streams."),
    }
}

fn judge_clocks(offset: i64, error: u64, workers: &[Seen]) -> Check {
    let mut wrong = Vec::new();
    // What the way may account for is not the clock's.
    if offset.unsigned_abs() > CLOCK_LIMIT + error {
        wrong.push(format!("this machine's clock is {} the NATS server's", away(-offset)));
    }
    let mut worst = 0;
    for Seen { presence, stored } in workers {
        let ahead = i64::try_from(presence.seen_ms).unwrap_or(i64::MAX).saturating_sub(stored.timestamp_millis());
        worst = worst.max(ahead.unsigned_abs());
        if ahead.unsigned_abs() > CLOCK_LIMIT {
            wrong.push(format!("that of worker {} on {} is {} it", presence.worker, presence.host, away(ahead)));
        }
    }
    if !wrong.is_empty() {
        let advice =
            "Set the clock and keep it set (chrony, systemd-timesyncd): deadlines, retention and all times shown go by it.";
        return Check::warning(Part::Clock, wrong.join("; "), advice);
    }
    let mut found = format!("{} ms from the NATS server's (± {error})", offset.unsigned_abs());
    if !workers.is_empty() {
        found.push_str(&format!(", workers' at most {worst} ms"));
    }
    Check::ok(Part::Clock, found)
}

fn away(ahead_ms: i64) -> String {
    let seconds = ahead_ms.unsigned_abs() as f64 / 1000.0;
    let side = if ahead_ms > 0 { "ahead of" } else { "behind" };
    format!("{seconds:.1} s {side}")
}

/// Whether one leads.
pub(super) async fn coordinator(bus: &Bus, leader: &Result<Option<CoordinatorId>, BusError>) -> Check {
    match leader {
        Ok(Some(id)) => Check::ok(Part::Coordinator, format!("{id} leads")),
        Ok(None) => Check::failed(
            Part::Coordinator,
            format!("none leads the cluster {}: jobs are stored and wait", bus.prefix()),
            "Start zisk-coordinator with the same --nats-url and --prefix; if it runs, its log says why it does not lead.",
        ),
        Err(error) => Check::failed(Part::Coordinator, error.to_string(), "See streams and permissions."),
    }
}

/// Who can work.
pub(super) fn workers(workers: &Result<Vec<Seen>, BusError>) -> Check {
    let workers = match workers {
        Ok(workers) => workers,
        Err(error) => return Check::failed(Part::Workers, error.to_string(), "See streams and permissions."),
    };
    if workers.is_empty() {
        let advice = "Start zisk-worker with the same --nats-url, --prefix and --object-store.";
        return Check::failed(Part::Workers, "there is none: jobs wait", advice);
    }
    let (mut units, mut idle, mut able) = (0, 0, 0);
    let mut wrong = Vec::new();
    for Seen { presence, .. } in workers {
        let (id, host) = (presence.worker, &presence.host);
        let version = &presence.versions.backend;
        match presence.state {
            WorkerState::Failed => {
                let reason = presence.reason.as_deref().unwrap_or("it does not say why");
                wrong.push(format!("{id} on {host} gets no work: {reason}"));
            }
            WorkerState::Draining => wrong.push(format!("{id} on {host} is stopping")),
            WorkerState::Idle | WorkerState::Busy => match &presence.versions.asked {
                Some(asked) => wrong.push(format!("{id} on {host} gets no work: its prover is {version}, {asked} is asked for")),
                None => {
                    able += 1;
                    units += presence.capacity;
                    idle += presence.capacity.saturating_sub(presence.load.units_busy);
                    if version != zisk_protocol::VERSION {
                        let own = zisk_protocol::VERSION;
                        wrong.push(format!("{id} on {host} proves by {version}, this zisk verifies {own}"));
                    }
                }
            },
        }
    }
    let mut releases: Vec<&str> = workers.iter().map(|seen| seen.presence.versions.release.as_str()).collect();
    releases.sort_unstable();
    releases.dedup();
    let found =
        format!("{able} of {} can work, {units} units, {idle} of them idle; release {}", workers.len(), releases.join(", "));
    let advice = "Mend the reasons given (each is in that worker's log, too); run the same release everywhere.";
    match (able, wrong.is_empty()) {
        (_, true) => Check::ok(Part::Workers, found),
        (0, _) => Check::failed(Part::Workers, format!("{found}; {}", wrong.join("; ")), advice),
        _ => Check::warning(Part::Workers, format!("{found}; {}", wrong.join("; ")), advice),
    }
}

/// What failed for good.
pub(super) async fn dead(bus: &Bus) -> Check {
    match bus.dead_letters().await {
        Ok(letters) if letters.is_empty() => Check::ok(Part::Dead, "no dead letters"),
        Ok(letters) => Check::warning(
            Part::Dead,
            format!("{} dead letters", letters.len()),
            "See them with `zisk dead list` and `zisk dead show ID`; then requeue or drop them.",
        ),
        Err(error) => Check::warning(Part::Dead, error.to_string(), "See streams and permissions."),
    }
}

/// What waits, and whether anybody works on it.
pub(super) async fn queue(bus: &Bus, leads: bool, works: bool) -> Check {
    let mut depths = Vec::new();
    for &kind in ConsumerKind::ALL {
        match bus.queue_depth(kind).await {
            Ok(depth) => depths.push((kind, depth)),
            Err(error) => return Check::warning(Part::Queue, error.to_string(), "See streams and permissions."),
        }
    }
    let jobs = match bus.queue_order().await {
        Ok(order) => order.waiting.len(),
        Err(error) => return Check::warning(Part::Queue, error.to_string(), "See streams and permissions."),
    };
    let pending = |kind| depths.iter().filter(|(of, _)| *of == kind).map(|(_, depth)| depth.pending).sum::<u64>();
    let assigned: u64 = AssignmentKind::ALL.iter().map(|&kind| pending(ConsumerKind::Assign(kind))).sum();
    let requests = pending(ConsumerKind::Requests);
    let held: u64 = depths.iter().map(|(_, depth)| depth.in_flight).sum();
    let found = format!(
        "{requests} requests and {} reports to be taken, {jobs} jobs wait for their turn, {assigned} assignments for a worker, {held} \
         messages in hand",
        pending(ConsumerKind::Reports)
    );
    if (requests > 0 && !leads) || (assigned > 0 && !works) {
        return Check::warning(Part::Queue, found, "Nobody works on it: see coordinator and workers.");
    }
    Check::ok(Part::Queue, found)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::doctor::Verdict;

    #[test]
    fn a_clock_that_is_wrong_is_told_from_a_way_that_is_long() {
        assert_eq!(judge_clocks(-900, 0, &[]).verdict, Verdict::Ok);
        assert_eq!(judge_clocks(1400, 500, &[]).verdict, Verdict::Ok);
        let behind = judge_clocks(61_000, 1, &[]);
        assert_eq!(behind.verdict, Verdict::Warning);
        assert!(behind.found.contains("61.0 s behind the NATS server's"), "{}", behind.found);
        assert!(judge_clocks(-2_500, 1, &[]).found.contains("2.5 s ahead of"));
    }
}
