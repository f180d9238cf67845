//! The mark in the object store: put there by the leading coordinator and named in the bucket `cluster`, so that a process whose
//! store is another one finds that out before it loses work over it.

use thiserror::Error;
use uuid::Uuid;

use crate::buckets::BucketError;
use crate::bus::Bus;
use crate::messages::{ObjectKey, ObjectScope, StoreMark, Version};
use crate::objects::{ObjectError, Objects, ProbeError};
use crate::subjects::BucketKind;

/// Why a store is not known to be the cluster's.
#[derive(Debug, Error)]
pub enum MarkError {
    /// It is not.
    #[error(
        "the object store is another one than the coordinator's: {0}, which the coordinator put into its own, is not there; give \
         both the same --object-store (ZISK_OBJECT_STORE)"
    )]
    OtherStore(ObjectKey),
    /// The store cannot be used.
    #[error(transparent)]
    Probe(#[from] ProbeError),
    /// The mark cannot be written.
    #[error(transparent)]
    Object(#[from] ObjectError),
    /// The bus does not say.
    #[error(transparent)]
    Bucket(#[from] BucketError),
}

impl Bus {
    /// The mark that the cluster's store carries; none before the first coordinator has led.
    ///
    /// # Errors
    /// [`BucketError`], never a conflict.
    pub async fn store_mark(&self) -> Result<Option<ObjectKey>, BucketError> {
        let bucket = self.bucket::<StoreMark>(BucketKind::Cluster).await?;
        Ok(bucket.get(StoreMark::KEY).await?.map(|entry| entry.value.object))
    }

    /// Checks that a store carries the cluster's mark, which is returned; none is there before the first coordinator has led.
    ///
    /// # Errors
    /// [`MarkError`].
    pub async fn check_mark(&self, objects: &Objects) -> Result<Option<ObjectKey>, MarkError> {
        let Some(mark) = self.store_mark().await? else { return Ok(None) };
        if !objects.has(mark).await? {
            return Err(MarkError::OtherStore(mark));
        }
        Ok(Some(mark))
    }

    /// Makes this store the cluster's: marks it unless it carries the mark. For the leading coordinator. Returns whether there
    /// was another mark before.
    ///
    /// # Errors
    /// [`MarkError`], never that the store is another one.
    pub async fn mark_store(&self, objects: &Objects) -> Result<bool, MarkError> {
        let former = self.store_mark().await?;
        if let Some(mark) = former
            && objects.has(mark).await?
        {
            return Ok(false);
        }
        let object = objects.put(ObjectScope::Mark, Uuid::new_v4().to_string().into()).await?;
        let mark = StoreMark { v: Version::default(), object: object.key };
        let bucket = self.bucket::<StoreMark>(BucketKind::Cluster).await.map_err(BucketError::from)?;
        bucket.put(StoreMark::KEY, &mark).await?;
        Ok(former.is_some())
    }
}
