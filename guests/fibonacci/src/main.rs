//! The n-th Fibonacci number modulo 2^64, F(0) = 0, F(1) = 1.
//!
//! Input: one chunk, n as `ziskos::io::read::<u64>` takes it (bincode's variable-length integer: one byte below 251).
//! Public outputs: (n, F(n)) as `ziskos::io::commit` writes it (two such integers, four bytes to a word, little-endian).
//! Exit code 0.
#![no_std]
#![no_main]

use runtime as _;
use ziskos::io;

ziskos::entrypoint!(main);

fn main() {
    let n: u64 = io::read();
    let (mut current, mut next) = (0u64, 1u64);
    for _ in 0..n {
        (current, next) = (next, current.wrapping_add(next));
    }
    io::commit(&(n, current));
}
