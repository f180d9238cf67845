//! The same clients for code that is not asynchronous. Not to be used inside an async runtime: it would wait for itself.
//!
//! ```no_run
//! # fn example() -> Result<(), Box<dyn std::error::Error>> {
//! use zisk_client::{JobOptions, blocking};
//!
//! let client = blocking::ProverClient::remote("nats://127.0.0.1:4222")?;
//! let elf = std::fs::read("guest.elf")?;
//! let job = client.prove(&elf, b"input", &JobOptions::default())?;
//! for event in client.watch(job)? {
//!     println!("{}", event?.kind());
//! }
//! let done = client.download(job)?;
//! println!("{:?}", client.verify(&elf, &done.proof)?.outputs);
//! # Ok(())
//! # }
//! ```

use std::time::Duration;

use tokio::runtime::{Builder, Runtime};
use zisk_common::ids::{JobId, ProgramId};
use zisk_common::messages::Event;
use zisk_protocol::PublicValues;

use crate::progress::Progress;
use crate::{Cancellation, ClientError, Completed, JobOptions, LocalClient, Prover, RemoteClient};

/// Where proofs are made.
pub struct ProverClient;

impl ProverClient {
    /// As [`crate::ProverClient::remote`].
    ///
    /// # Errors
    /// As there.
    pub fn remote(url: &str) -> Result<Client<RemoteClient>, ClientError> {
        let runtime = runtime()?;
        let prover = runtime.block_on(crate::ProverClient::remote(url))?;
        Ok(Client { prover, runtime })
    }

    /// As [`crate::ProverClient::local`].
    ///
    /// # Errors
    /// When no thread can be started.
    pub fn local() -> Result<Client<LocalClient>, ClientError> {
        Ok(Client { prover: crate::ProverClient::local(), runtime: runtime()? })
    }
}

/// One thread, which keeps the connection alive between calls.
fn runtime() -> Result<Runtime, ClientError> {
    let start = |reason| ClientError::File { action: "start", path: "the runtime".to_owned(), reason };
    Builder::new_multi_thread().worker_threads(1).thread_name("zisk-client").enable_all().build().map_err(start)
}

/// A client whose calls return when they are done.
pub struct Client<P> {
    prover: P,
    runtime: Runtime,
}

impl<P: Prover> Client<P> {
    /// As [`Prover::upload`].
    ///
    /// # Errors
    /// As there.
    pub fn upload(&self, elf: &[u8]) -> Result<ProgramId, ClientError> {
        self.runtime.block_on(self.prover.upload(elf))
    }

    /// As [`Prover::setup`].
    ///
    /// # Errors
    /// As there.
    pub fn setup(&self, elf: &[u8]) -> Result<JobId, ClientError> {
        self.runtime.block_on(self.prover.setup(elf))
    }

    /// As [`Prover::execute`].
    ///
    /// # Errors
    /// As there.
    pub fn execute(&self, elf: &[u8], input: &[u8], options: &JobOptions) -> Result<JobId, ClientError> {
        self.runtime.block_on(self.prover.execute(elf, input, options))
    }

    /// As [`Prover::prove`].
    ///
    /// # Errors
    /// As there.
    pub fn prove(&self, elf: &[u8], input: &[u8], options: &JobOptions) -> Result<JobId, ClientError> {
        self.runtime.block_on(self.prover.prove(elf, input, options))
    }

    /// As [`Prover::execute_streamed`].
    ///
    /// # Errors
    /// As there.
    pub fn execute_streamed(&self, elf: &[u8], options: &JobOptions) -> Result<InputStream<'_>, ClientError> {
        let input = self.runtime.block_on(self.prover.execute_streamed(elf, options))?;
        Ok(InputStream { input, runtime: &self.runtime })
    }

    /// As [`Prover::prove_streamed`].
    ///
    /// # Errors
    /// As there.
    pub fn prove_streamed(&self, elf: &[u8], options: &JobOptions) -> Result<InputStream<'_>, ClientError> {
        let input = self.runtime.block_on(self.prover.prove_streamed(elf, options))?;
        Ok(InputStream { input, runtime: &self.runtime })
    }

    /// As [`Prover::wait`].
    ///
    /// # Errors
    /// As there.
    pub fn wait(&self, job: JobId, progress: impl FnMut(Progress) + Send) -> Result<Completed, ClientError> {
        self.runtime.block_on(self.prover.wait(job, progress))
    }

    /// As [`Prover::wait_within`].
    ///
    /// # Errors
    /// As there.
    pub fn wait_within(
        &self,
        job: JobId,
        limit: Duration,
        progress: impl FnMut(Progress) + Send,
    ) -> Result<Completed, ClientError> {
        self.runtime.block_on(self.prover.wait_within(job, limit, progress))
    }

    /// As [`Prover::watch`]; ends with the job.
    ///
    /// # Errors
    /// As there.
    pub fn watch(&self, job: JobId) -> Result<Watch<'_>, ClientError> {
        Ok(Watch { watch: self.runtime.block_on(self.prover.watch(job))?, runtime: &self.runtime })
    }

    /// As [`Prover::download`].
    ///
    /// # Errors
    /// As there.
    pub fn download(&self, job: JobId) -> Result<Completed, ClientError> {
        self.runtime.block_on(self.prover.download(job))
    }

    /// As [`Prover::cancel`].
    ///
    /// # Errors
    /// As there.
    pub fn cancel(&self, job: JobId) -> Result<Cancellation, ClientError> {
        self.runtime.block_on(self.prover.cancel(job))
    }

    /// As [`Prover::verify`].
    ///
    /// # Errors
    /// As there.
    pub fn verify(&self, elf: &[u8], proof: &[u8]) -> Result<PublicValues, ClientError> {
        self.prover.verify(elf, proof)
    }
}

/// The input of a job that waits for it; see [`crate::InputStream`].
pub struct InputStream<'a> {
    input: crate::InputStream,
    runtime: &'a Runtime,
}

impl InputStream<'_> {
    /// The job.
    pub const fn job(&self) -> JobId {
        self.input.job()
    }

    /// As [`crate::InputStream::push`].
    ///
    /// # Errors
    /// As there.
    pub fn push(&mut self, bytes: &[u8]) -> Result<(), ClientError> {
        self.runtime.block_on(self.input.push(bytes))
    }

    /// As [`crate::InputStream::close`].
    ///
    /// # Errors
    /// As there.
    pub fn close(&mut self) -> Result<JobId, ClientError> {
        self.runtime.block_on(self.input.close())
    }
}

/// A job's events, each when it is there.
pub struct Watch<'a> {
    watch: crate::Watch,
    runtime: &'a Runtime,
}

impl Iterator for Watch<'_> {
    type Item = Result<Event, ClientError>;

    fn next(&mut self) -> Option<Self::Item> {
        self.runtime.block_on(self.watch.next()).transpose()
    }
}
