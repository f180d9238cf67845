//! Storing what comes in parts and is never all in memory.

use std::error::Error;

use bytes::{Bytes, BytesMut};
use futures::stream::BoxStream;
use futures::{StreamExt, TryStreamExt};
use object_store::path::Path;
use object_store::{ObjectStoreExt, Result};

use super::{ObjectError, Objects, Place, path_of};
use crate::messages::ObjectRef;

/// S3 takes no part of less than 5 MiB but the last.
const UPLOADED_AT_ONCE: usize = 8 << 20;

/// An object's bytes, in order.
pub type Parts = BoxStream<'static, std::result::Result<Bytes, Box<dyn Error + Send + Sync>>>;

impl Objects {
    /// As [`Objects::put`], for an object that is read in parts, each time anew that storing it is tried. That they are what `object`
    /// says is the caller's word, and looked at by whoever reads it.
    ///
    /// # Errors
    /// [`ObjectError`] when the parts cannot be read, or not be stored.
    pub async fn put_parts(&self, object: ObjectRef, parts: impl Fn() -> Parts) -> std::result::Result<(), ObjectError> {
        if self.renew(object).await? {
            return Ok(());
        }
        let path = path_of(object.key);
        self.attempts(object.key, || self.upload(&path, parts())).await
    }

    async fn upload(&self, path: &Path, parts: Parts) -> Result<()> {
        let mut parts = parts.map_err(|source| object_store::Error::Generic { store: "parts", source }).boxed();
        if let Place::JetStream(store) = &self.place {
            return store.put_parts(path, parts).await;
        }
        let mut upload = self.store.put_multipart(path).await?;
        let stored = async {
            let mut gathered = BytesMut::new();
            while let Some(part) = parts.try_next().await? {
                gathered.extend_from_slice(&part);
                if gathered.len() >= UPLOADED_AT_ONCE {
                    upload.put_part(gathered.split().freeze().into()).await?;
                }
            }
            if !gathered.is_empty() {
                upload.put_part(gathered.freeze().into()).await?;
            }
            upload.complete().await
        };
        if let Err(error) = stored.await {
            if let Err(error) = upload.abort().await {
                tracing::debug!(%path, %error, "an upload that was given up left something behind");
            }
            return Err(error);
        }
        Ok(())
    }
}
