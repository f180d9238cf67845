//! Streaming a job's input: for inputs that are not whole when the job is submitted, or too large to be held.

use bytes::{Bytes, BytesMut};
use zisk_common::bus::Bus;
use zisk_common::ids::{Hashing, JobId};
use zisk_common::input::{CHUNK_BYTES, MAX_CHUNKS};
use zisk_common::messages::{InputClose, Version};
use zisk_machine::input::MAX_INPUT_BYTES;

use crate::ClientError;
use crate::in_process::Feed;

/// The input of a job that waits for it.
///
/// The job begins once this is [closed](Self::close). Dropped before that it leaves the job waiting, until the job is cancelled or its
/// time is over: [`JobOptions::timeout`](crate::JobOptions), by default an hour.
pub struct InputStream {
    job: JobId,
    to: To,
    /// Pushed, and less than a chunk.
    rest: BytesMut,
    chunks: u32,
    bytes: u64,
    /// Of what is stored.
    hashing: Hashing,
}

enum To {
    Bus(Bus),
    Here(Feed),
}

impl InputStream {
    pub(crate) fn over(job: JobId, bus: Bus) -> Self {
        Self::new(job, To::Bus(bus))
    }

    pub(crate) fn here(job: JobId, feed: Feed) -> Self {
        Self::new(job, To::Here(feed))
    }

    fn new(job: JobId, to: To) -> Self {
        Self { job, to, rest: BytesMut::new(), chunks: 0, bytes: 0, hashing: Hashing::default() }
    }

    /// The job.
    pub const fn job(&self) -> JobId {
        self.job
    }

    /// The bytes pushed so far.
    pub const fn bytes(&self) -> u64 {
        self.bytes
    }

    /// Appends to the input. Whole chunks (256 KiB, less where the server takes less) are sent at once, each acknowledged before the
    /// next, so that who produces faster than the server stores waits here; what is less is sent with the next, or at the end.
    ///
    /// # Errors
    /// [`ClientError::Full`] when the server has no room for a chunk, [`ClientError::InputTooLarge`]. What was given is kept: to push
    /// nothing tries again.
    pub async fn push(&mut self, bytes: &[u8]) -> Result<(), ClientError> {
        let whole = self.bytes + bytes.len() as u64;
        if whole > MAX_INPUT_BYTES as u64 {
            return Err(ClientError::InputTooLarge { job: self.job, bytes: whole });
        }
        self.bytes = whole;
        self.rest.extend_from_slice(bytes);
        let size = self.chunk_bytes();
        while self.rest.len() >= size {
            self.send(size).await?;
        }
        Ok(())
    }

    /// Ends the input, and lets the job begin when its turn comes.
    ///
    /// # Errors
    /// As [`push`](Self::push); it can be called again.
    pub async fn close(&mut self) -> Result<JobId, ClientError> {
        self.push(&[]).await?;
        if !self.rest.is_empty() {
            self.send(self.rest.len()).await?;
        }
        match &self.to {
            To::Bus(bus) => {
                let digest = Some(self.hashing.digest());
                let close = InputClose { v: Version::default(), chunks: self.chunks, bytes: self.bytes, digest };
                bus.close_input(self.job, &close).await?;
            }
            To::Here(feed) => feed.close(),
        }
        Ok(self.job)
    }

    fn chunk_bytes(&self) -> usize {
        match &self.to {
            To::Bus(bus) => CHUNK_BYTES.min(bus.client().server_info().max_payload / 2).max(1),
            To::Here(_) => CHUNK_BYTES,
        }
    }

    /// Sends so many of the bytes that are left. They go only once they are stored, also when the future is dropped half-way.
    async fn send(&mut self, size: usize) -> Result<(), ClientError> {
        if self.chunks >= MAX_CHUNKS {
            return Err(ClientError::InputTooLarge { job: self.job, bytes: self.bytes });
        }
        let chunk = Bytes::copy_from_slice(&self.rest[..size]);
        match &self.to {
            To::Bus(bus) => drop(bus.push_input(self.job, self.chunks, chunk).await?),
            To::Here(feed) => feed.push(chunk),
        }
        self.hashing.update(&self.rest.split_to(size));
        self.chunks += 1;
        Ok(())
    }
}
