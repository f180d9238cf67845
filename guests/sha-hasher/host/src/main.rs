//! The smoke test of a cluster: proves a chain of SHA-256 hashes on it, and takes nobody's word for the result.
//!
//!     cargo run --release --bin prove-remote [NATS-URL [HASHES]]
#![forbid(unsafe_code)]

use std::error::Error;
use std::process::ExitCode;

use sha2::{Digest, Sha256};
use zisk_client::{JobOptions, blocking};

const GUEST: &[u8] = include_bytes!("../../../elf/sha-hasher.elf");
const DEFAULT_URL: &str = "nats://127.0.0.1:4222";
const DEFAULT_HASHES: u64 = 100;

fn main() -> ExitCode {
    match prove() {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            eprintln!("error: {error}");
            ExitCode::FAILURE
        }
    }
}

fn prove() -> Result<(), Box<dyn Error>> {
    let mut arguments = std::env::args().skip(1);
    let url = arguments.next().or_else(|| std::env::var("ZISK_NATS_URL").ok()).unwrap_or_else(|| DEFAULT_URL.to_owned());
    let hashes: u64 = match arguments.next() {
        Some(text) => text.parse().map_err(|_| format!("{text:?} is no number of hashes"))?,
        None => DEFAULT_HASHES,
    };

    let client = blocking::ProverClient::remote(&url)?;
    let job = client.prove(GUEST, &hashes.to_le_bytes(), &JobOptions::default())?;
    eprintln!("job {job}: {hashes} hashes at {url}");
    for event in client.watch(job)? {
        eprintln!("  {}", event?.kind());
    }
    let done = client.download(job)?;

    // Verified here, from the program that this file was built with.
    let proven = client.verify(GUEST, &done.proof)?;
    let expected = outputs(hashes);
    if proven.exit_code != 0 || !proven.outputs.starts_with(&expected) {
        return Err(format!("the proof says {:08x?}, {expected:08x?} was expected", &proven.outputs[..expected.len()]).into());
    }
    println!("proven: SHA-256 applied {hashes} times, {} steps in {} segments", done.summary.steps, done.summary.segments);
    println!("verified: {} bytes of proof, outputs {}", done.proof.len(), words(&expected));
    Ok(())
}

/// What the guest is to write: the last hash and the number of hashes, as little-endian words.
fn outputs(hashes: u64) -> Vec<u32> {
    let hash = (0..hashes).fold([0; 32], |hash: [u8; 32], _| Sha256::digest(hash).into());
    let bytes: Vec<u8> = hash.into_iter().chain(hashes.to_le_bytes()).collect();
    bytes.chunks_exact(4).map(|word| u32::from_le_bytes([word[0], word[1], word[2], word[3]])).collect()
}

fn words(words: &[u32]) -> String {
    words.iter().map(|word| format!("{word:08x}")).collect::<Vec<_>>().join(" ")
}
