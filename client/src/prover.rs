//! What a cluster and this process can both do.

use std::time::Duration;

use zisk_common::ids::{JobId, ProgramId};
use zisk_common::subjects::RequestKind;
use zisk_protocol::PublicValues;

use crate::progress::Progress;
use crate::{Cancellation, ClientError, Completed, InputStream, JobOptions, LocalClient, RemoteClient, Watch, verify};

/// Proving, wherever it is done: for code that is to work with a [`RemoteClient`] and a [`LocalClient`] alike, and what
/// [`crate::blocking`] is made from.
pub trait Prover: Send + Sync {
    /// Makes a program known; its id is the blake3 digest of its bytes.
    fn upload(&self, elf: &[u8]) -> impl Future<Output = Result<ProgramId, ClientError>> + Send;

    /// Starts a job. It goes on whatever becomes of the future that waits for it.
    fn submit(
        &self,
        kind: RequestKind,
        elf: &[u8],
        input: &[u8],
        options: &JobOptions,
    ) -> impl Future<Output = Result<JobId, ClientError>> + Send;

    /// Starts a job whose input is streamed; see [`InputStream`].
    fn submit_streamed(
        &self,
        kind: RequestKind,
        elf: &[u8],
        options: &JobOptions,
    ) -> impl Future<Output = Result<InputStream, ClientError>> + Send;

    /// Follows a job to its end, and gets its proof.
    fn wait(
        &self,
        job: JobId,
        progress: impl FnMut(Progress) + Send,
    ) -> impl Future<Output = Result<Completed, ClientError>> + Send;

    /// [`Prover::wait`], for no longer than this: then the job goes on without anybody waiting for it.
    fn wait_within(
        &self,
        job: JobId,
        limit: Duration,
        progress: impl FnMut(Progress) + Send,
    ) -> impl Future<Output = Result<Completed, ClientError>> + Send {
        async move {
            let timed_out = |_| ClientError::Timeout { job, seconds: limit.as_secs() };
            tokio::time::timeout(limit, self.wait(job, progress)).await.map_err(timed_out)?
        }
    }

    /// Follows a job's events from the first on, also for who comes late.
    fn watch(&self, job: JobId) -> impl Future<Output = Result<Watch, ClientError>> + Send;

    /// What a job ended with, its proof included.
    fn download(&self, job: JobId) -> impl Future<Output = Result<Completed, ClientError>> + Send;

    /// Ends a job.
    fn cancel(&self, job: JobId) -> impl Future<Output = Result<Cancellation, ClientError>> + Send;

    /// Starts a job that derives a program's keys, so that its first proof need not.
    fn setup(&self, elf: &[u8]) -> impl Future<Output = Result<JobId, ClientError>> + Send {
        async move { self.submit(RequestKind::Setup, elf, &[], &JobOptions::default()).await }
    }

    /// Starts a job that runs a program without a proof.
    fn execute(&self, elf: &[u8], input: &[u8], options: &JobOptions) -> impl Future<Output = Result<JobId, ClientError>> + Send {
        async move { self.submit(RequestKind::Execute, elf, input, options).await }
    }

    /// Starts a job that proves.
    fn prove(&self, elf: &[u8], input: &[u8], options: &JobOptions) -> impl Future<Output = Result<JobId, ClientError>> + Send {
        async move { self.submit(RequestKind::Prove, elf, input, options).await }
    }

    /// Starts a job that runs a program without a proof, on an input that is streamed.
    fn execute_streamed(
        &self,
        elf: &[u8],
        options: &JobOptions,
    ) -> impl Future<Output = Result<InputStream, ClientError>> + Send {
        async move { self.submit_streamed(RequestKind::Execute, elf, options).await }
    }

    /// Starts a job that proves a run on an input that is streamed.
    fn prove_streamed(&self, elf: &[u8], options: &JobOptions) -> impl Future<Output = Result<InputStream, ClientError>> + Send {
        async move { self.submit_streamed(RequestKind::Prove, elf, options).await }
    }

    /// Verifies a proof here, without a cluster; see [`crate::verify`].
    ///
    /// # Errors
    /// As [`crate::verify::proof_of`].
    fn verify(&self, elf: &[u8], proof: &[u8]) -> Result<PublicValues, ClientError> {
        verify::proof_of(elf, proof)
    }
}

impl Prover for RemoteClient {
    async fn upload(&self, elf: &[u8]) -> Result<ProgramId, ClientError> {
        self.register(elf).await
    }

    async fn submit(&self, kind: RequestKind, elf: &[u8], input: &[u8], options: &JobOptions) -> Result<JobId, ClientError> {
        Self::submit(self, kind, elf, input, options).await
    }

    async fn submit_streamed(&self, kind: RequestKind, elf: &[u8], options: &JobOptions) -> Result<InputStream, ClientError> {
        Self::submit_streamed(self, kind, elf, options).await
    }

    async fn wait(&self, job: JobId, progress: impl FnMut(Progress) + Send) -> Result<Completed, ClientError> {
        Self::wait(self, job, progress).await
    }

    async fn watch(&self, job: JobId) -> Result<Watch, ClientError> {
        Self::watch(self, job).await
    }

    async fn download(&self, job: JobId) -> Result<Completed, ClientError> {
        Ok(self.result(job).await?.1)
    }

    async fn cancel(&self, job: JobId) -> Result<Cancellation, ClientError> {
        Self::cancel(self, job).await
    }
}

impl Prover for LocalClient {
    async fn upload(&self, elf: &[u8]) -> Result<ProgramId, ClientError> {
        Ok(zisk_common::ids::Digest::of(elf))
    }

    async fn submit(&self, kind: RequestKind, elf: &[u8], input: &[u8], options: &JobOptions) -> Result<JobId, ClientError> {
        self.start(kind, elf, input, options)
    }

    async fn submit_streamed(&self, kind: RequestKind, elf: &[u8], options: &JobOptions) -> Result<InputStream, ClientError> {
        self.start_streamed(kind, elf, options)
    }

    async fn wait(&self, job: JobId, progress: impl FnMut(Progress) + Send) -> Result<Completed, ClientError> {
        self.end_of(job, progress).await
    }

    async fn watch(&self, job: JobId) -> Result<Watch, ClientError> {
        self.follow(job)
    }

    async fn download(&self, job: JobId) -> Result<Completed, ClientError> {
        self.result_of(job)
    }

    async fn cancel(&self, job: JobId) -> Result<Cancellation, ClientError> {
        self.end(job).await
    }
}
