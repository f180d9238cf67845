//! Shows a connection to NATS: whether it is up, how often it was made, what went over it.

use std::sync::atomic::Ordering::Relaxed;
use std::time::Duration;

use metrics::{counter, gauge};

use crate::bus::Bus;
use crate::metric_definitions::{NATS_BYTES, NATS_CONNECTED, NATS_CONNECTS, NATS_MESSAGES};

/// How often.
const PERIOD: Duration = Duration::from_secs(1);

/// Does so for as long as it is run.
pub async fn follow(bus: Bus) {
    let statistics = bus.client().statistics();
    let mut ticks = tokio::time::interval(PERIOD);
    ticks.set_missed_tick_behavior(tokio::time::MissedTickBehavior::Delay);
    loop {
        ticks.tick().await;
        gauge!(NATS_CONNECTED).set(u32::from(bus.is_connected()));
        counter!(NATS_CONNECTS).absolute(statistics.connects.load(Relaxed));
        counter!(NATS_BYTES, "direction" => "sent").absolute(statistics.out_bytes.load(Relaxed));
        counter!(NATS_BYTES, "direction" => "received").absolute(statistics.in_bytes.load(Relaxed));
        counter!(NATS_MESSAGES, "direction" => "sent").absolute(statistics.out_messages.load(Relaxed));
        counter!(NATS_MESSAGES, "direction" => "received").absolute(statistics.in_messages.load(Relaxed));
    }
}
