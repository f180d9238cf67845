//! Exercises what compiled programs ask of the machine; `guests/vectors.py` does the same independently.
//!
//! Input: one chunk of 8 bytes, a seed (u64, little-endian). Public outputs: word i is the digest of check i, in the order of
//! `CHECKS`. Exit code 0; 2 if the chunk is not 8 bytes long.
#![no_std]
#![no_main]

extern crate alloc;

mod arithmetic;
mod atomics;
mod blocks;
mod heap;
mod misaligned;

use runtime as _;
use ziskos::io;

ziskos::entrypoint!(main);

type Check = fn(&mut Random, &mut Digest);

const CHECKS: [Check; 11] = [
    heap::sort,
    heap::map,
    blocks::copy,
    blocks::fill,
    blocks::compare,
    blocks::calls,
    arithmetic::divide,
    arithmetic::multiply,
    arithmetic::wide,
    atomics::atomics,
    misaligned::misaligned,
];

const BAD_INPUT: i32 = 2;

fn main() -> i32 {
    let Ok(seed) = io::read_slice().try_into().map(u64::from_le_bytes) else {
        return BAD_INPUT;
    };
    for (index, check) in CHECKS.iter().enumerate() {
        let mut random = Random(seed.wrapping_add(index as u64));
        let mut digest = Digest(index as u64);
        check(&mut random, &mut digest);
        io::commit_slice(&digest.word().to_le_bytes());
    }
    0
}

/// A linear congruential generator, the same in vectors.py.
pub struct Random(u64);

impl Random {
    pub fn next(&mut self) -> u64 {
        self.0 = self
            .0
            .wrapping_mul(6_364_136_223_846_793_005)
            .wrapping_add(1_442_695_040_888_963_407);
        self.0 ^ (self.0 >> 32)
    }

    pub fn below(&mut self, bound: usize) -> usize {
        (self.next() % bound as u64) as usize
    }

    pub fn bytes<const N: usize>(&mut self) -> [u8; N] {
        core::array::from_fn(|_| self.next() as u8)
    }
}

/// Folds values into 64 bits, the same in vectors.py.
pub struct Digest(u64);

impl Digest {
    pub fn add(&mut self, value: u64) {
        self.0 = (self.0 ^ value)
            .wrapping_mul(0x0100_0000_01b3)
            .rotate_left(23);
    }

    pub fn add_bytes(&mut self, bytes: &[u8]) {
        for &byte in bytes {
            self.add(byte.into());
        }
    }

    fn word(&self) -> u32 {
        (self.0 ^ (self.0 >> 32)) as u32
    }
}
