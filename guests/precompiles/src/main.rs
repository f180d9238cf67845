//! Keccak-256 and SHA-256 through ziskos's CSR calls 0x800 and 0x805.
//!
//! Input: one chunk of at least one byte, the data. Public outputs: words 0 to 7 Keccak-256 of the data, 8 to 15 SHA-256 of
//! the data (read by the call where it lies, in the input), 16 to 23 SHA-256 of the data without its first byte (copied to
//! be aligned). Four bytes to a word, little-endian. Exit code 0.
#![no_std]
#![no_main]

use runtime as _;
use ziskos::{io, zisklib};

ziskos::entrypoint!(main);

fn main() {
    let data = io::read_slice();
    io::commit_slice(&zisklib::keccak256(data));
    io::commit_slice(&zisklib::sha256(data));
    io::commit_slice(&zisklib::sha256(&data[1..]));
}
