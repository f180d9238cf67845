//! Programs that the cluster knows, and how much waits in its queues.

use zisk_common::ids::ProgramId;
use zisk_common::messages::{BusCondition, ObjectScope, ProgramEntry};
use zisk_common::streams::QueueDepth;
use zisk_common::subjects::{BucketKind, ConsumerKind};

use crate::{ClientError, RemoteClient};

impl RemoteClient {
    /// Uploads a program, unless it is there; its id is the blake3 digest of its bytes. No keys are derived yet: that is a
    /// setup job's work, or the first proof's.
    ///
    /// # Errors
    /// [`ClientError::Object`] when it cannot be stored.
    pub async fn register(&self, elf: &[u8]) -> Result<ProgramId, ClientError> {
        Ok(self.objects.put(ObjectScope::Program, elf.to_vec().into()).await?.key.digest)
    }

    /// The ELF of a program that was registered or proven before.
    ///
    /// # Errors
    /// [`ClientError::Object`] when it is not there.
    pub async fn program(&self, id: ProgramId) -> Result<Vec<u8>, ClientError> {
        Ok(self.objects.program(id).await?.to_vec())
    }

    /// The programs whose keys are derived, by id.
    ///
    /// # Errors
    /// [`ClientError`] when the server does not answer.
    pub async fn programs(&self) -> Result<Vec<ProgramEntry>, ClientError> {
        let mut programs = self.bus.programs().await?.values().await?;
        programs.sort_by_key(|entry| entry.program);
        Ok(programs)
    }

    /// What of the bus is not as it should be and cannot be brought back, as the leading coordinator last saw it.
    ///
    /// # Errors
    /// [`ClientError`] when the server does not answer.
    pub async fn condition(&self) -> Result<BusCondition, ClientError> {
        let entry = self.bus.bucket::<BusCondition>(BucketKind::Cluster).await?.get(BusCondition::KEY).await?;
        Ok(entry.map(|entry| entry.value).unwrap_or_default())
    }

    /// What waits and what is held in each queue of work.
    ///
    /// # Errors
    /// [`ClientError`] when the server does not answer.
    pub async fn queues(&self) -> Result<Vec<(ConsumerKind, QueueDepth)>, ClientError> {
        let mut depths = Vec::new();
        for &kind in ConsumerKind::ALL {
            depths.push((kind, self.bus.queue_depth(kind).await?));
        }
        Ok(depths)
    }
}
