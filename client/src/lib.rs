//! Host SDK: jobs on a cluster through NATS, or in this process.
//!
//! ```no_run
//! # async fn example() -> Result<(), Box<dyn std::error::Error>> {
//! use zisk_client::{JobOptions, ProverClient};
//!
//! let client = ProverClient::remote("nats://127.0.0.1:4222").await?;
//! let elf = std::fs::read("guest.elf")?;
//! let job = client.prove(&elf, b"input", &JobOptions::default()).await?;
//! let done = client.wait(job, |progress| eprintln!("{progress:?}")).await?;
//! let proven = zisk_client::verify::proof_of(&elf, &done.proof)?; // here, not by the cluster
//! println!("{} steps, outputs {:?}", done.summary.steps, proven.outputs);
//! # Ok(())
//! # }
//! ```
//!
//! [`ProverClient::local`] makes the same calls in this process, without NATS; [`Prover`] is what both can do. Code that is not
//! asynchronous has [`blocking`]. A job's events are a stream that begins with its first, whenever one comes:
//!
//! ```no_run
//! # async fn example(job: zisk_client::JobId) -> Result<(), Box<dyn std::error::Error>> {
//! # let client = zisk_client::ProverClient::remote("nats://127.0.0.1:4222").await?;
//! let mut watch = client.watch(job).await?; // or watch.into_stream()
//! while let Some(event) = watch.next().await? {
//!     println!("{} {}", event.kind(), event.progress.proven);
//! }
//! # Ok(())
//! # }
//! ```
//!
//! An input that is not whole yet, or too large to be held, is streamed:
//!
//! ```no_run
//! # async fn example(elf: &[u8]) -> Result<(), Box<dyn std::error::Error>> {
//! # use zisk_client::{JobOptions, Prover, ProverClient};
//! # let client = ProverClient::remote("nats://127.0.0.1:4222").await?;
//! let mut input = client.prove_streamed(elf, &JobOptions::default()).await?;
//! for part in ["one part, ", "and another"] {
//!     input.push(part.as_bytes()).await?; // returns when the server has it
//! }
//! let done = client.wait(input.close().await?, |_| {}).await?;
//! # Ok(())
//! # }
//! ```
//!
//! A call that meets a server that is restarted or elects a leader tries again by itself for half a minute; each error is a
//! [`ClientError`], which says what happened and what to do. How long a job may take is [`JobOptions::timeout`]; how long to
//! wait for one, whatever becomes of it, is [`Prover::wait_within`].
#![forbid(unsafe_code)]

pub mod blocking;
mod dead;
pub mod doctor;
mod error;
mod in_process;
mod input;
pub mod local;
mod programs;
pub mod progress;
mod prover;
mod remote;
pub mod verify;
mod watch;

pub use error::ClientError;
pub use in_process::LocalClient;
pub use input::InputStream;
pub use prover::Prover;
pub use remote::{Cancellation, Completed, JobOptions, RemoteClient};
pub use watch::Watch;
pub use zisk_common::config::BusArgs;
pub use zisk_common::ids::{JobId, ProgramId};
pub use zisk_common::messages::{Event, EventBody, ExecutionSummary, Failure, FailureKind, ProofKind};
pub use zisk_common::subjects::RequestKind;
pub use zisk_common::view::output_words;
pub use zisk_protocol::PublicValues;

/// Where proofs are made.
pub struct ProverClient;

impl ProverClient {
    /// A client of the cluster behind this NATS server, with the default prefix and object store; for others see
    /// [`RemoteClient::connect`].
    ///
    /// # Errors
    /// [`ClientError`] that says what to do.
    pub async fn remote(url: &str) -> Result<RemoteClient, ClientError> {
        let bus = BusArgs { nats_url: Some(url.to_owned()), ..Default::default() };
        RemoteClient::connect(&bus).await
    }

    /// A client that proves in this process, without a cluster.
    pub fn local() -> LocalClient {
        LocalClient::default()
    }
}
