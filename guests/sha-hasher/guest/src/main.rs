//! n chained SHA-256 hashes in plain software.
//!
//! Input: one chunk of 8 bytes, n (u64, little-endian). h(0) is 32 zero bytes, h(i + 1) = SHA-256(h(i)).
//! Public outputs: words 0 to 7 are the bytes of h(n), four to a word, little-endian; words 8 and 9 are n, low and high.
//! Exit code 0; 2 if the chunk is not 8 bytes long.
#![no_std]
#![no_main]

use sha2::{Digest, Sha256};
use ziskos::io;

ziskos::entrypoint!(main);

fn main() -> i32 {
    let Ok(count) = io::read_slice().try_into().map(u64::from_le_bytes) else {
        return BAD_INPUT;
    };
    let mut hash = [0u8; 32];
    for _ in 0..count {
        hash = Sha256::digest(hash).into();
    }
    io::commit_slice(&hash);
    io::commit_slice(&count.to_le_bytes());
    0
}

const BAD_INPUT: i32 = 2;

// Links the panic handler.
use runtime as _;
