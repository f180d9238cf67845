//! Inputs that are streamed: a job's request says that its input follows, the input comes in chunks on `input.<job>.<n>`, and
//! `input.<job>.close` says how many there are. docs/cluster.md, "Streamed inputs".

use std::collections::BTreeSet;
use std::time::Duration;

use async_nats::HeaderMap;
use async_nats::jetstream::stream::DirectGetErrorKind;
use bytes::Bytes;
use futures::{StreamExt, TryStreamExt, stream};

use crate::bus::{Bus, BusError, chain};
use crate::ids::{Digest, Hashing, JobId};
use crate::messages::{CONTENT_TYPE, CodecError, InputClose, encode};
use crate::objects::Parts;
use crate::publish::Stored;
use crate::streams::retried;
use crate::subjects::{StreamKind, Subject};

/// Bytes of a chunk as this release makes them: far below the server's default limit on a message.
pub const CHUNK_BYTES: usize = 256 * 1024;
/// Most chunks of one input.
pub const MAX_CHUNKS: u32 = 1 << 16;

/// Chunks read before they are needed.
const AHEAD: usize = 8;
/// Content type of a chunk.
const RAW: &str = "application/octet-stream";

impl Bus {
    /// Stores a chunk of a job's input. The first of each number counts: pushed again it is a duplicate, whatever it holds.
    ///
    /// # Errors
    /// As [`Bus::publish`]; one that says `full` when the stream takes no more.
    pub async fn push_input(&self, job: JobId, n: u32, chunk: Bytes) -> Result<Stored, BusError> {
        let mut headers = HeaderMap::new();
        headers.insert(CONTENT_TYPE, RAW);
        self.publish_with(headers, self.prefix().input_chunk(job, n), &format!("input.{job}.{n}"), chunk).await
    }

    /// Says that a job's input is whole.
    ///
    /// # Errors
    /// As [`Bus::publish`].
    pub async fn close_input(&self, job: JobId, close: &InputClose) -> Result<Stored, BusError> {
        self.publish(self.prefix().input_close(job), &format!("input.{job}.close"), encode(close)?).await
    }

    /// The end of a job's input, if it was announced: what it says, or that it cannot be read.
    ///
    /// # Errors
    /// [`BusError`] when the server does not answer.
    pub async fn input_close(&self, job: JobId) -> Result<Option<Result<InputClose, CodecError>>, BusError> {
        let found = self.read_last(&self.prefix().stream(StreamKind::Input), &self.prefix().input_close(job)).await?;
        Ok(found.map(|message| InputClose::read(&message.payload)))
    }

    /// The numbers of the chunks that are there, by the word of the stream's leader.
    ///
    /// # Errors
    /// [`BusError`] when the server does not answer.
    pub async fn input_chunks(&self, job: JobId) -> Result<BTreeSet<u32>, BusError> {
        let prefix = self.prefix();
        let listed = self.subjects(&prefix.stream(StreamKind::Input), &prefix.input_of(job)).await?;
        let number = |subject: &String| match prefix.parse(subject) {
            Ok(Subject::InputChunk { n, .. }) => Some(n),
            _ => None,
        };
        Ok(listed.keys().filter_map(number).collect())
    }

    /// One chunk. The server that answers may lag behind the stream's leader.
    ///
    /// # Errors
    /// [`BusError`] when it is not there, or no server answers.
    pub async fn input_chunk(&self, job: JobId, n: u32) -> Result<Bytes, BusError> {
        let name = self.prefix().stream(StreamKind::Input);
        let (subject, action) = (self.prefix().input_chunk(job, n), format!("reading chunk {n} of the input of job {job}"));
        let opened = self.jetstream().get_stream_no_info(&name).await;
        let stream = opened.map_err(|error| BusError::transient(&action, chain(&error)))?;
        let read = retried(self, &action, || async {
            match stream.direct_get_last_for_subject(subject.as_str()).await {
                Ok(message) => Ok(Some(message.payload)),
                Err(error) if error.kind() == DirectGetErrorKind::NotFound => Ok(None),
                Err(error) => Err(error),
            }
        });
        read.await?.ok_or_else(|| BusError::transient(&action, "it is not there"))
    }

    /// Chunks 0 to `chunks - 1`, in order, some of them read ahead.
    pub fn input_parts(&self, job: JobId, chunks: u32) -> Parts {
        let bus = self.clone();
        let read = move |n| {
            let bus = bus.clone();
            async move { bus.input_chunk(job, n).await.map_err(Into::into) }
        };
        stream::iter(0..chunks).map(read).buffered(AHEAD).boxed()
    }

    /// The digest and the size of chunks 0 to `chunks - 1` together.
    ///
    /// # Errors
    /// As [`Bus::input_chunk`].
    pub async fn input_digest(&self, job: JobId, chunks: u32) -> Result<(Digest, u64), BusError> {
        let (mut hashing, mut size) = (Hashing::default(), 0);
        let mut parts = stream::iter(0..chunks).map(|n| self.input_chunk(job, n)).buffered(AHEAD);
        while let Some(part) = parts.try_next().await? {
            hashing.update(&part);
            size += part.len() as u64;
        }
        Ok((hashing.digest(), size))
    }

    /// When the newest message of a job's input came, by the server's clock and as of now; none when there is none.
    ///
    /// # Errors
    /// [`BusError`] when the server does not answer.
    pub async fn input_age(&self, job: JobId) -> Result<Option<Duration>, BusError> {
        let stream = self.prefix().stream(StreamKind::Input);
        let now = self.server_time(&stream).await?;
        let newest = self.read_last(&stream, &self.prefix().input_of(job)).await?;
        Ok(newest.map(|message| (now - message.time).to_std().unwrap_or_default()))
    }

    /// The jobs that have something in the stream of inputs.
    ///
    /// # Errors
    /// [`BusError`] when the server does not answer.
    pub async fn streamed_jobs(&self) -> Result<BTreeSet<JobId>, BusError> {
        let listed = self.subjects(&self.prefix().stream(StreamKind::Input), ">").await?;
        let job = |subject: &String| match self.prefix().parse(subject) {
            Ok(Subject::InputChunk { job, .. } | Subject::InputClose(job)) => Some(job),
            _ => None,
        };
        Ok(listed.keys().filter_map(job).collect())
    }

    /// Removes all chunks of a job's input, and its end.
    ///
    /// # Errors
    /// As [`Bus::purge`].
    pub async fn purge_input(&self, job: JobId) -> Result<u64, BusError> {
        self.purge(StreamKind::Input, &self.prefix().input_of(job)).await
    }
}
