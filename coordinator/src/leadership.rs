//! Which of several coordinators works: the one that holds the lease. The others stand by.

use std::time::Duration;

use zisk_common::bus::{Bus, BusError};
use zisk_common::election::{Leadership, Lease};
use zisk_common::ids::CoordinatorId;
use zisk_common::keep_alive::KeepAlive;
use zisk_common::subjects::BucketKind;

use crate::bus::{NotReady, Room};

/// How often one that stands by looks whether the lease is free: expired entries vanish without a message.
const LOOK: Duration = Duration::from_millis(500);

/// How long standing for election may take.
const PATIENCE: Duration = Duration::from_secs(5);

/// Waits, for as long as it takes, until this coordinator leads. One that stands by while another leads is ready: it does what it
/// is for.
pub async fn stand_by(
    bus: &Bus,
    keep_alive: &KeepAlive,
    id: CoordinatorId,
    room: Room,
    not_ready: &NotReady,
) -> Lease<Leadership> {
    let mut others = None;
    let mut prepared = false;
    loop {
        let looked = async {
            if !prepared {
                // Only what this takes, should it be missing: all else is the leader's.
                bus.prepare_missing_bucket(BucketKind::Leader).await?;
                prepared = true;
            }
            let stood = async {
                if let Some(lease) = bus.stand(keep_alive, Leadership, id).await? {
                    return Ok(Some(lease));
                }
                if let Some(leader) = bus.leader().await? {
                    not_ready.send_replace(None);
                    if others.replace(leader) != Some(leader) {
                        tracing::info!("coordinator ready: it stands by, coordinator {leader} leads");
                    }
                }
                Ok::<_, BusError>(None)
            };
            // A bucket that somebody deleted does not answer: it is made again.
            tokio::time::timeout(PATIENCE, stood).await.unwrap_or_else(|_| {
                let reason = format!("no answer within {} s", PATIENCE.as_secs());
                Err(BusError::transient("standing for election", reason))
            })
        };
        match looked.await {
            Ok(Some(lease)) => {
                tracing::info!(epoch = lease.epoch(), "coordinator {id} leads");
                return lease;
            }
            Ok(None) => {}
            Err(error) => {
                tracing::warn!(%error, "cannot stand by yet; trying again");
                not_ready.send_replace(Some(format!("it cannot stand by: {error}")));
                prepared = false;
                // With nobody leading there is nobody else to do it.
                if let Err(error) = give_up_reserve_if_full(bus, room).await {
                    tracing::debug!(%error, "whether there is room is not known");
                }
            }
        }
        tokio::time::sleep(LOOK).await;
    }
}

async fn give_up_reserve_if_full(bus: &Bus, room: Room) -> Result<(), BusError> {
    let reserve = room.on(bus);
    if reserve.has_room().await? {
        return Ok(());
    }
    // Uploads first, or they would take it.
    reserve.close_uploads().await?;
    reserve.release().await
}
