//! A JetStream object-store bucket as an [`ObjectStore`].
//!
//! The bucket has the format every NATS client reads (ADR-20): chunks on `$O.<bucket>.C.<id>`, one description per object
//! on `$O.<bucket>.M.<name>`. Reading and writing chunks is done here rather than by async-nats 0.51, which waits for
//! each chunk's ack before it sends the next and cuts all but the first at 64 KiB.

mod chunks;
mod keeping;

use std::fmt;
use std::ops::Range;
use std::time::Duration;

use async_nats::datetime::DateTime;
use async_nats::jetstream::message::PublishMessage;
use async_nats::jetstream::object_store::{Config, ObjectInfo, ObjectOptions};
use async_nats::jetstream::stream::{DirectGetErrorKind, StorageType, Stream};
use async_trait::async_trait;
use bytes::{Bytes, BytesMut};
use futures::stream::{BoxStream, FuturesOrdered, iter, once};
use futures::{StreamExt, TryStreamExt};
use object_store::path::Path;
use object_store::{
    Attributes, CopyOptions, Error, Extensions, GetOptions, GetResult, GetResultPayload, ListResult, MultipartUpload, ObjectMeta,
    ObjectStore, PutMode, PutMultipartOptions, PutOptions, PutPayload, PutResult, Result,
};
use sha2::{Digest as _, Sha256};

use self::chunks::{CHUNK, Chunks};
use super::error::Incomplete;
use crate::bus::{Bus, BusError};
use crate::streams::retried;

/// Chunks sent before the first ack is awaited.
const IN_FLIGHT: usize = 8;
/// How long one ack may take: a server that syncs every write to a slow disk needs time for half a megabyte.
const ACK_TIMEOUT: Duration = Duration::from_secs(5);
/// Most bytes for which address space is taken on the word of a description.
const FORETOLD: usize = 1 << 30;
const STORE: &str = "jetstream";

/// What was published of an object.
struct Sent {
    chunks: usize,
    size: usize,
    /// As descriptions have it.
    digest: String,
}

/// An object's description as it is stored.
struct Described {
    info: ObjectInfo,
    /// Its place in the stream.
    sequence: u64,
    /// When the server stored it.
    time: DateTime,
}

/// Objects in a bucket on the bus.
#[derive(Clone)]
pub struct JetStreamStore {
    bus: Bus,
    name: String,
    stream: Stream,
}

impl fmt::Debug for JetStreamStore {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "JetStreamStore({})", self.name)
    }
}

impl fmt::Display for JetStreamStore {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "jetstream bucket {}", self.name)
    }
}

impl JetStreamStore {
    /// Opens the bucket of the bus's prefix, creating it when missing.
    ///
    /// # Errors
    /// [`BusError`] when it can be neither opened nor created.
    pub async fn open(bus: &Bus) -> std::result::Result<Self, BusError> {
        let name = bus.prefix().objects_bucket();
        let config =
            Config { bucket: name.clone(), storage: StorageType::File, num_replicas: bus.config().replicas, ..Config::default() };
        let action = format!("opening object bucket {name}");
        let stream = bus.prefix().objects_stream();
        if !bus.has_stream(&stream).await? {
            retried(bus, &action, || bus.making().create_object_store(config.clone())).await?;
        }
        let stream = retried(bus, &action, || bus.jetstream().get_stream(&stream)).await?;
        Ok(Self { bus: bus.clone(), name, stream })
    }

    /// An object's description, with its place in the stream and the server's time of it.
    async fn described(&self, location: &Path) -> Result<Described> {
        let message = match self.stream.direct_get_last_for_subject(self.description_subject(location)).await {
            Ok(message) => message,
            Err(error) if error.kind() == DirectGetErrorKind::NotFound => return Err(not_found(location)),
            Err(error) => return Err(generic(error)),
        };
        let info: ObjectInfo = serde_json::from_slice(&message.payload).map_err(generic)?;
        if info.deleted {
            Err(not_found(location))
        } else {
            Ok(Described { info, sequence: message.sequence, time: message.time })
        }
    }

    fn description_subject(&self, location: &Path) -> String {
        format!("$O.{}.M.{}", self.name, encode_name(location.as_ref()))
    }

    fn chunk_subject(&self, id: &str) -> String {
        format!("$O.{}.C.{id}", self.name)
    }

    /// Publishes all chunks, several in flight; returns how many there are, of how many bytes, and their digest.
    async fn send_chunks(&self, subject: &str, mut parts: BoxStream<'_, Result<Bytes>>) -> Result<Sent> {
        let mut context = self.bus.jetstream().clone();
        context.set_timeout(ACK_TIMEOUT);
        let mut acks = FuturesOrdered::new();
        let (mut sent, mut size, mut hasher) = (0, 0, Sha256::new());
        let mut buffer = Chunks::default();
        loop {
            let part = parts.try_next().await?;
            let is_last = part.is_none();
            buffer.add(part.unwrap_or_default());
            while let Some(chunk) = buffer.next(is_last) {
                size += chunk.len();
                let hashed = chunk.clone();
                let hashing = move || {
                    hasher.update(&hashed);
                    hasher
                };
                hasher = tokio::task::spawn_blocking(hashing).await.map_err(generic)?;
                // With an id, for the server may have stored a chunk whose ack was lost.
                let message = PublishMessage::build().payload(chunk).message_id(format!("{subject}.{sent}"));
                let ack = context.send_publish(subject.to_owned(), message).await.map_err(generic)?;
                acks.push_back(async move { ack.await });
                sent += 1;
                if acks.len() >= IN_FLIGHT {
                    acks.try_next().await.map_err(generic)?;
                }
            }
            if is_last {
                break;
            }
        }
        while acks.try_next().await.map_err(generic)?.is_some() {}
        Ok(Sent { chunks: sent, size, digest: base64_url(&hasher.finalize()) })
    }

    /// Stores an object that comes in parts of any size.
    pub(super) async fn put_parts(&self, location: &Path, parts: BoxStream<'_, Result<Bytes>>) -> Result<()> {
        self.upload(location, parts).await.map(drop)
    }

    /// Stores an object in place of the one that is there; returns its id.
    async fn upload(&self, location: &Path, parts: BoxStream<'_, Result<Bytes>>) -> Result<String> {
        let former = match self.described(location).await {
            Ok(described) => Some(described.info),
            Err(Error::NotFound { .. }) => None,
            Err(error) => return Err(error),
        };
        let id = uuid::Uuid::new_v4().simple().to_string();
        let uploaded = async {
            let Sent { chunks, size, digest } = self.send_chunks(&self.chunk_subject(&id), parts).await?;
            let info = ObjectInfo {
                name: location.to_string(),
                description: None,
                metadata: std::collections::HashMap::new(),
                headers: None,
                options: Some(ObjectOptions { link: None, max_chunk_size: Some(CHUNK) }),
                bucket: self.name.clone(),
                nuid: id.clone(),
                size,
                chunks,
                modified: Some(chrono::Utc::now()),
                digest: Some(format!("SHA-256={digest}")),
                deleted: false,
            };
            self.describe(location, &info, None).await
        }
        .await;
        if let Err(error) = uploaded {
            // Best effort: chunks without a description are seen by no one and stay until swept.
            if self.drop_chunks(&id).await.is_err() {
                tracing::warn!(%location, id, "an aborted upload left chunks behind");
            }
            return Err(error);
        }
        // Best effort, too: the new object is there, and a client may not purge.
        if let Some(former) = former
            && let Err(error) = self.drop_chunks(&former.nuid).await
        {
            tracing::debug!(%location, id = former.nuid, %error, "the chunks of the object that was replaced stay until they are swept");
        }
        Ok(id)
    }

    /// Stores a chunk that belongs to no object, which goes when the coordinator sweeps.
    ///
    /// # Errors
    /// When there is no room, or the server does not answer.
    pub(super) async fn try_upload(&self) -> Result<()> {
        let id = uuid::Uuid::new_v4().simple().to_string();
        let part = iter([Ok(Bytes::from_static(b"tried"))]).boxed();
        self.send_chunks(&self.chunk_subject(&id), part).await.map(drop)
    }

    /// Replaces an object's description: whatever it was, or only that of this sequence.
    async fn describe(&self, location: &Path, info: &ObjectInfo, replaced: Option<u64>) -> Result<()> {
        let payload = serde_json::to_vec(info).map_err(generic)?;
        let mut message = PublishMessage::build().payload(payload.into()).header("Nats-Rollup", "sub");
        if let Some(sequence) = replaced {
            message = message.expected_last_subject_sequence(sequence);
        }
        let mut context = self.bus.jetstream().clone();
        context.set_timeout(ACK_TIMEOUT);
        let ack = context.send_publish(self.description_subject(location), message).await.map_err(generic)?;
        ack.await.map_err(generic)?;
        Ok(())
    }

    async fn drop_chunks(&self, id: &str) -> Result<()> {
        self.stream.purge().filter(self.chunk_subject(id)).await.map_err(generic)?;
        Ok(())
    }

    /// Reads an object whole: its chunks one by one, each found by subject after the one before.
    async fn read(&self, location: &Path, info: &ObjectInfo) -> Result<Bytes> {
        let subject = self.chunk_subject(&info.nuid);
        // Whoever may upload may have written the description.
        let mut buffer = BytesMut::with_capacity(info.size.min(FORETOLD));
        let mut sequence = 1;
        for index in 0..info.chunks {
            let found = self.stream.direct_get_next_for_subject(subject.as_str(), Some(sequence)).await;
            let chunk = match found {
                Ok(chunk) => chunk,
                // Replaced or deleted while it was read, or a replica that lags behind: worth reading again.
                Err(error) if error.kind() == DirectGetErrorKind::NotFound => {
                    tracing::debug!(%location, chunk = index, chunks = info.chunks, "chunk missing");
                    return Err(generic(Incomplete { bytes: buffer.len() as u64, expected: info.size as u64 }));
                }
                Err(error) => return Err(generic(error)),
            };
            sequence = chunk.sequence + 1;
            if info.chunks == 1 {
                buffer.clear();
                return Ok(chunk.payload);
            }
            buffer.extend_from_slice(&chunk.payload);
        }
        Ok(buffer.freeze())
    }

    fn meta(location: Path, info: &ObjectInfo, time: DateTime) -> ObjectMeta {
        ObjectMeta {
            location,
            last_modified: time,
            size: info.size as u64,
            // A new upload is a new id.
            e_tag: Some(info.nuid.clone()),
            version: None,
        }
    }

    /// Deletes an object, its description first. By purging: a marker would need room that a full store does not have, and
    /// would stay for ever.
    async fn delete_one(&self, location: &Path) -> Result<()> {
        loop {
            match self.described(location).await {
                Ok(described) if self.purge_described(location, &described).await? => return Ok(()),
                // Replaced meanwhile.
                Ok(_) => {}
                // Already gone is deleted, as in S3.
                Err(Error::NotFound { .. }) => return Ok(()),
                Err(error) => return Err(error),
            }
        }
    }

    /// Deletes the object if this is still its description.
    async fn purge_described(&self, location: &Path, described: &Described) -> Result<bool> {
        let upto = described.sequence + 1;
        let purge = self.stream.purge().filter(self.description_subject(location)).sequence(upto);
        if purge.await.map_err(generic)?.purged == 0 {
            return Ok(false);
        }
        self.drop_chunks(&described.info.nuid).await?;
        Ok(true)
    }

    async fn list_all(&self, prefix: Option<Path>) -> Result<Vec<ObjectMeta>> {
        let mut metas = Vec::new();
        for Described { info, time, .. } in self.descriptions().await?.into_iter().filter(|described| !described.info.deleted) {
            // No coordinator or worker asks for it, and one name that is none is not to hide the others.
            let Ok(location) = Path::parse(&info.name) else { continue };
            // By whole path segments, and a prefix is not in itself: what the trait asks for.
            let inside =
                prefix.as_ref().is_none_or(|prefix| location.prefix_match(prefix).is_some_and(|mut rest| rest.next().is_some()));
            if inside {
                metas.push(Self::meta(location, &info, time));
            }
        }
        metas.sort_by(|a, b| a.location.cmp(&b.location));
        Ok(metas)
    }
}

#[async_trait]
impl ObjectStore for JetStreamStore {
    async fn put_opts(&self, location: &Path, payload: PutPayload, opts: PutOptions) -> Result<PutResult> {
        if !matches!(opts.mode, PutMode::Overwrite) {
            return Err(not_supported("conditional put"));
        }
        let id = self.upload(location, iter([Ok(payload.into())]).boxed()).await?;
        Ok(PutResult { e_tag: Some(id), version: None, extensions: Extensions::default() })
    }

    async fn put_multipart_opts(&self, _location: &Path, _opts: PutMultipartOptions) -> Result<Box<dyn MultipartUpload>> {
        Err(not_supported("multipart put"))
    }

    async fn get_opts(&self, location: &Path, options: GetOptions) -> Result<GetResult> {
        let Described { info, time, .. } = self.described(location).await?;
        let meta = Self::meta(location.clone(), &info, time);
        options.check_preconditions(&meta)?;
        let range: Range<u64> = match &options.range {
            None => 0..meta.size,
            Some(range) => range.as_range(meta.size).map_err(generic)?,
        };
        // A range is cut from the whole: chunks are found one after the other, and our objects are read whole anyway.
        let bytes = if options.head { Bytes::new() } else { self.read(location, &info).await? };
        if !options.head && bytes.len() as u64 != meta.size {
            return Err(generic(Incomplete { bytes: bytes.len() as u64, expected: meta.size }));
        }
        let slice = match (usize::try_from(range.start), usize::try_from(range.end)) {
            (Ok(start), Ok(end)) if !options.head => bytes.slice(start..end),
            _ => bytes,
        };
        Ok(GetResult {
            payload: GetResultPayload::Stream(once(async move { Ok(slice) }).boxed()),
            meta,
            range,
            attributes: Attributes::default(),
            extensions: Extensions::default(),
        })
    }

    fn delete_stream(&self, locations: BoxStream<'static, Result<Path>>) -> BoxStream<'static, Result<Path>> {
        let store = self.clone();
        locations
            .map(move |location| {
                let store = store.clone();
                async move {
                    let location = location?;
                    store.delete_one(&location).await?;
                    Ok(location)
                }
            })
            .buffered(IN_FLIGHT)
            .boxed()
    }

    fn list(&self, prefix: Option<&Path>) -> BoxStream<'static, Result<ObjectMeta>> {
        let store = self.clone();
        let prefix = prefix.cloned();
        once(async move { store.list_all(prefix).await }).map_ok(|metas| iter(metas.into_iter().map(Ok))).try_flatten().boxed()
    }

    async fn list_with_delimiter(&self, prefix: Option<&Path>) -> Result<ListResult> {
        let mut common_prefixes = std::collections::BTreeSet::new();
        let mut objects = Vec::new();
        let base = prefix.cloned().unwrap_or_default();
        for meta in self.list_all(prefix.cloned()).await? {
            let Some(mut rest) = meta.location.prefix_match(&base) else {
                continue;
            };
            let Some(first) = rest.next() else { continue };
            if rest.next().is_some() {
                common_prefixes.insert(base.clone().join(first));
            } else {
                drop(rest);
                objects.push(meta);
            }
        }
        Ok(ListResult { common_prefixes: common_prefixes.into_iter().collect(), objects, extensions: Extensions::default() })
    }

    async fn copy_opts(&self, from: &Path, to: &Path, options: CopyOptions) -> Result<()> {
        if !matches!(options.mode, object_store::CopyMode::Overwrite) {
            return Err(not_supported("conditional copy"));
        }
        let info = self.described(from).await?.info;
        let bytes = self.read(from, &info).await?;
        self.put_opts(to, bytes.into(), PutOptions::default()).await?;
        Ok(())
    }
}

fn generic(source: impl Into<Box<dyn std::error::Error + Send + Sync>>) -> Error {
    Error::Generic { store: STORE, source: source.into() }
}

fn not_found(location: &Path) -> Error {
    Error::NotFound { path: location.to_string(), source: "no such object in the bucket".into() }
}

fn not_supported(operation: &str) -> Error {
    Error::NotSupported { source: format!("{operation} in a {STORE} bucket").into() }
}

/// An object's name in a subject.
fn encode_name(name: &str) -> String {
    base64_url(name.as_bytes())
}

/// URL-safe base64 with padding (RFC 4648, section 5); twelve lines instead of a dependency.
fn base64_url(bytes: &[u8]) -> String {
    const DIGITS: &[u8; 64] = b"ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789-_";
    let mut text = String::with_capacity(bytes.len().div_ceil(3) * 4);
    for group in bytes.chunks(3) {
        let bits = group.iter().fold(0u32, |bits, &byte| bits << 8 | u32::from(byte)) << (8 * (3 - group.len()));
        for digit in 0..4 {
            let value = (bits >> (18 - 6 * digit)) & 63;
            text.push(if digit <= group.len() { char::from(DIGITS[value as usize]) } else { '=' });
        }
    }
    text
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn base64_as_in_the_rfc() {
        for (plain, coded) in
            [("", ""), ("f", "Zg=="), ("fo", "Zm8="), ("foo", "Zm9v"), ("foob", "Zm9vYg=="), ("fooba", "Zm9vYmE=")]
        {
            assert_eq!(base64_url(plain.as_bytes()), coded);
        }
        assert_eq!(base64_url(&[0xfb, 0xff]), "-_8=");
    }
}
