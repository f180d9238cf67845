//! After the end of a job: nothing of it stays on the bus or in the object store but its record, its events, its
//! final proof.

use zisk_common::bus::Bus;
use zisk_common::ids::JobId;
use zisk_common::objects::Objects;
use zisk_common::subjects::StreamKind;

use super::records::Records;

/// Of a job whose turn never came there is nothing but, perhaps, its cancellation.
pub(super) async fn clean_up_unbegun(bus: &Bus, job: JobId) -> anyhow::Result<()> {
    bus.purge(StreamKind::Broadcast, &bus.prefix().cancel(job)).await?;
    Ok(())
}

/// Purges the job's subjects and deletes its segments, nodes and segment records. Can be run again after any failure.
pub(super) async fn clean_up(bus: &Bus, records: &Records, objects: &Objects, job: JobId) -> anyhow::Result<()> {
    let prefix = bus.prefix();
    bus.purge(StreamKind::Assign, &prefix.assignments_of(job)).await?;
    bus.purge(StreamKind::Report, &prefix.reports_of(job)).await?;
    // Who missed them finds the record ended.
    bus.purge(StreamKind::Broadcast, &prefix.challenge(job)).await?;
    bus.purge(StreamKind::Broadcast, &prefix.cancel(job)).await?;
    bus.close_election(job).await?;
    let objects = objects.delete_job(job).await?;
    records.forget_segments(job).await?;
    tracing::debug!(%job, objects, "cleaned up");
    Ok(())
}
