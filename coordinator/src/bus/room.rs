//! Room in JetStream for what the coordinator must write: records, events, its lease. See [`zisk_common::full`].
//!
//! While there is none to spare no upload is taken, few requests are, and no job is begun; those under way end with what they met or go on. Then
//! their objects are deleted, or somebody makes room otherwise, and all goes on by itself.

use std::time::Duration;

use metrics::gauge;
use tokio::sync::watch;
use tokio::time::{Instant, MissedTickBehavior};
use tokio_util::sync::CancellationToken;
use zisk_common::bus::{Bus, BusError};
use zisk_common::full::Reserve;

use crate::metric_definitions::STORAGE_FULL;

/// How often to look.
const PERIOD: Duration = Duration::from_secs(1);
/// How often to try, though nothing shows that there is room: somebody may have raised the limit.
const TRY: Duration = Duration::from_secs(15);

/// How much room is kept, and how much objects may take.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Room {
    /// Bytes that nobody may use but the coordinator in need; 0 is none.
    pub reserve: u64,
    /// Bytes in the bucket of objects; 0 is as much as there is.
    pub objects: u64,
    /// Bytes in the stream of inputs; 0 is as much as there is.
    pub inputs: u64,
}

impl Room {
    /// The reserve on this bus.
    pub fn on(&self, bus: &Bus) -> Reserve {
        Reserve::new(bus, self.reserve)
    }
}

/// Gives up the reserve when it is needed and fills it again when it is not, until `stop`; `full` says which.
pub(super) async fn follow(bus: Bus, room: Room, full: watch::Sender<bool>, stop: CancellationToken) {
    let mut watched = Watched { reserve: room.on(&bus), room, full, used_when_full: 0, tried: Instant::now() };
    let mut ticks = tokio::time::interval(PERIOD);
    ticks.set_missed_tick_behavior(MissedTickBehavior::Delay);
    let mut prepared = false;
    gauge!(STORAGE_FULL).set(0);
    let keep = async {
        loop {
            ticks.tick().await;
            let looked = if prepared { watched.look().await } else { watched.prepare().await };
            match looked {
                Ok(()) => prepared = true,
                Err(error) => tracing::debug!(%error, "room in JetStream not looked at; trying again"),
            }
        }
    };
    tokio::select! {
        () = stop.cancelled() => {}
        () = keep => {}
    }
    gauge!(STORAGE_FULL).set(0);
}

struct Watched {
    reserve: Reserve,
    room: Room,
    full: watch::Sender<bool>,
    /// What was stored when there was no room.
    used_when_full: u64,
    tried: Instant,
}

impl Watched {
    async fn prepare(&mut self) -> Result<(), BusError> {
        match self.reserve.fill().await? {
            true => self.open_uploads().await,
            false => self.has_filled_up().await,
        }
    }

    async fn open_uploads(&self) -> Result<(), BusError> {
        self.reserve.open_objects(self.room.objects).await?;
        self.reserve.open_requests().await?;
        self.reserve.open_inputs(self.room.inputs).await
    }

    async fn look(&mut self) -> Result<(), BusError> {
        if !*self.full.borrow() {
            if !self.reserve.has_room().await? {
                return self.has_filled_up().await;
            }
            // Somebody may have deleted the stream, and another is made without its limit.
            if self.tried.elapsed() >= TRY {
                self.tried = Instant::now();
                self.reserve.open_inputs(self.room.inputs).await?;
            }
            return Ok(());
        }
        // As much as filling asks for.
        let enough = self.reserve.used().await? + 2 * self.reserve.bytes() <= self.used_when_full;
        if !enough && self.tried.elapsed() < TRY {
            return Ok(());
        }
        self.tried = Instant::now();
        if self.reserve.fill().await? {
            self.open_uploads().await?;
            self.full.send_replace(false);
            gauge!(STORAGE_FULL).set(0);
            tracing::info!("JetStream has room again: uploads are taken, jobs are begun");
        }
        Ok(())
    }

    async fn has_filled_up(&mut self) -> Result<(), BusError> {
        // Uploads first, or they would take what is given up.
        self.reserve.close_uploads().await?;
        self.used_when_full = self.reserve.used().await?;
        self.reserve.release().await?;
        self.tried = Instant::now();
        self.full.send_replace(true);
        gauge!(STORAGE_FULL).set(1);
        tracing::error!(
            stored_bytes = self.used_when_full,
            reserve_bytes = self.reserve.bytes(),
            "JetStream is full: no upload is taken and no job begun, jobs under way may fail. The coordinator writes into its reserve. \
             Make room: raise max_file_store of nats-server or the account's limit, delete what is not needed, or keep proofs and \
             inputs for a shorter time ([storage])"
        );
        Ok(())
    }
}
