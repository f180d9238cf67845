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
//! println!("{} steps, {} bytes of proof", done.summary.steps, done.proof.len());
//! # Ok(())
//! # }
//! ```
#![forbid(unsafe_code)]

mod dead;
pub mod doctor;
mod error;
pub mod local;
mod programs;
pub mod progress;
mod remote;
mod watch;

pub use error::ClientError;
pub use remote::{Cancellation, Completed, JobOptions, RemoteClient};
pub use watch::Watch;

/// Public outputs as words: 32 bits each, little-endian, as the guest wrote them.
pub fn output_words(outputs: &[u8]) -> Vec<u32> {
    outputs.chunks_exact(4).map(|word| u32::from_le_bytes([word[0], word[1], word[2], word[3]])).collect()
}

/// Where proofs are made.
pub struct ProverClient;

impl ProverClient {
    /// A client of the cluster behind this NATS server, with the default prefix and object store.
    ///
    /// # Errors
    /// [`ClientError`] that says what to do.
    pub async fn remote(url: &str) -> Result<RemoteClient, ClientError> {
        let bus = zisk_common::config::BusArgs { nats_url: Some(url.to_owned()), ..Default::default() };
        RemoteClient::connect(&bus).await
    }
}
