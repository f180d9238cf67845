//! Shows how the queues and streams stand.

use std::collections::HashMap;
use std::time::Duration;

use metrics::{counter, gauge};
use tokio_util::sync::CancellationToken;
use zisk_common::bus::Bus;
use zisk_common::streams::{QueueDepth, Stored};
use zisk_common::subjects::{ConsumerKind, StreamKind};

use crate::metric_definitions::{
    DEAD_LETTERS, JETSTREAM_BYTES, JETSTREAM_LIMIT, QUEUE_DELIVERIES, QUEUE_DEPTH, QUEUE_MESSAGES, QUEUE_RECEIVERS, STREAM_BYTES,
    STREAM_COPIES, STREAM_MESSAGES, STREAM_OLDEST,
};

/// How often they are asked for.
const PERIOD: Duration = Duration::from_secs(5);

/// Shows them until `stop`.
pub(super) async fn follow(bus: Bus, stop: CancellationToken) {
    let mut seen = HashMap::new();
    let mut ticks = tokio::time::interval(PERIOD);
    ticks.set_missed_tick_behavior(tokio::time::MissedTickBehavior::Delay);
    let follow = async {
        loop {
            ticks.tick().await;
            for &kind in ConsumerKind::ALL {
                match bus.queue_depth(kind).await {
                    Ok(depth) => {
                        show_queue(&bus, kind, depth);
                        let before = seen.insert(kind, depth.deliveries);
                        count_deliveries(&bus, kind, before, depth.deliveries);
                    }
                    Err(error) => tracing::debug!(%error, "queue depth not read"),
                }
            }
            for &kind in StreamKind::ALL {
                match bus.stored(kind).await {
                    Ok(stored) => show_stream(&bus, kind, Some(stored)),
                    Err(error) => tracing::debug!(%error, "stream not read"),
                }
            }
            match bus.storage().await {
                Ok((bytes, limit)) => show_storage(bytes, limit),
                Err(error) => tracing::debug!(%error, "storage not read"),
            }
        }
    };
    stop.run_until_cancelled(follow).await;
    // From now on another's to show.
    let empty = QueueDepth { pending: 0, in_flight: 0, redelivered: 0, receivers: 0, deliveries: 0 };
    ConsumerKind::ALL.iter().for_each(|&kind| show_queue(&bus, kind, empty));
    StreamKind::ALL.iter().for_each(|&kind| show_stream(&bus, kind, None));
    show_storage(0, None);
}

fn show_queue(bus: &Bus, kind: ConsumerKind, depth: QueueDepth) {
    let (stream, consumer) = (bus.prefix().stream(kind.stream()), kind.durable_name());
    // Doubles hold counts exactly up to 2^53.
    gauge!(QUEUE_DEPTH, "stream" => stream.clone(), "consumer" => consumer).set((depth.pending + depth.in_flight) as f64);
    for (state, messages) in [("pending", depth.pending), ("unacknowledged", depth.in_flight), ("redelivered", depth.redelivered)]
    {
        gauge!(QUEUE_MESSAGES, "stream" => stream.clone(), "consumer" => consumer, "state" => state).set(messages as f64);
    }
    gauge!(QUEUE_RECEIVERS, "stream" => stream, "consumer" => consumer).set(depth.receivers as f64);
}

/// Counts what was delivered while this coordinator led. A consumer that was made again counts from 0.
fn count_deliveries(bus: &Bus, kind: ConsumerKind, before: Option<u64>, now: u64) {
    let new = match before {
        None => 0,
        Some(before) if before <= now => now - before,
        Some(_) => now,
    };
    let stream = bus.prefix().stream(kind.stream());
    counter!(QUEUE_DELIVERIES, "stream" => stream, "consumer" => kind.durable_name()).increment(new);
}

fn show_stream(bus: &Bus, kind: StreamKind, stored: Option<Stored>) {
    let stream = bus.prefix().stream(kind);
    let (messages, bytes) = stored.map_or((0, 0), |stored| (stored.messages, stored.bytes));
    gauge!(STREAM_MESSAGES, "stream" => stream.clone()).set(messages as f64);
    gauge!(STREAM_BYTES, "stream" => stream.clone()).set(bytes as f64);
    gauge!(STREAM_OLDEST, "stream" => stream.clone()).set(stored.and_then(|stored| stored.oldest).unwrap_or_default());
    let (copies, current) = stored.map_or((0, 0), |stored| (stored.copies, stored.current));
    gauge!(STREAM_COPIES, "stream" => stream.clone(), "state" => "wanted").set(copies as f64);
    gauge!(STREAM_COPIES, "stream" => stream, "state" => "current").set(current as f64);
    if kind == StreamKind::Dead {
        gauge!(DEAD_LETTERS).set(messages as f64);
    }
}

fn show_storage(bytes: u64, limit: Option<u64>) {
    gauge!(JETSTREAM_BYTES).set(bytes as f64);
    gauge!(JETSTREAM_LIMIT).set(limit.unwrap_or(0) as f64);
}
