//! Writes 0xdead_beef to public output word 0, then ends with exit code 1. Reads no input.
#![no_std]
#![no_main]

use runtime as _;
use ziskos::io;

ziskos::entrypoint!(main);

fn main() -> i32 {
    io::commit_slice(&0xdead_beef_u32.to_le_bytes());
    1
}
