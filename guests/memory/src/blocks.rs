//! memcpy, memmove, memset and memcmp, which ziskos turns into CSR calls, at every alignment and with overlap.

use crate::{Digest, Random};

const SIZE: usize = 256;
const LONGEST: usize = 57;

pub fn copy(random: &mut Random, digest: &mut Digest) {
    let mut buffer: [u8; SIZE] = random.bytes();
    let mut other: [u8; SIZE] = random.bytes();
    for _ in 0..150 {
        let (from, to, length) = span(random);
        buffer.copy_within(from..from + length, to);
        let (from, to, length) = span(random);
        other[to..to + length].copy_from_slice(&buffer[from..from + length]);
    }
    digest.add_bytes(&buffer);
    digest.add_bytes(&other);
}

fn span(random: &mut Random) -> (usize, usize, usize) {
    (
        random.below(SIZE - LONGEST),
        random.below(SIZE - LONGEST),
        random.below(LONGEST + 1),
    )
}

pub fn fill(random: &mut Random, digest: &mut Digest) {
    let mut buffer: [u8; SIZE] = random.bytes();
    for round in 0..150 {
        let (at, _, length) = span(random);
        let value = if round % 4 == 0 {
            0
        } else {
            random.next() as u8
        };
        buffer[at..at + length].fill(value);
        digest.add(buffer[at].into());
    }
    digest.add_bytes(&buffer);
}

pub fn compare(random: &mut Random, digest: &mut Digest) {
    let mut buffer: [u8; SIZE] = random.bytes();
    // Long equal runs, and bytes on both sides of 0x80.
    for byte in &mut buffer {
        *byte = if *byte < 8 { *byte ^ 0x83 } else { 0x7f };
    }
    for _ in 0..300 {
        let (left, right, length) = span(random);
        let (left, right) = (&buffer[left..left + length], &buffer[right..right + length]);
        digest.add((left.cmp(right) as i8 + 1) as u64);
        digest.add((left == right).into());
    }
}

/// The calls that ziskos offers to guests as macros; their sizes and values are part of the instruction.
pub fn calls(random: &mut Random, digest: &mut Digest) {
    let source: [u8; 64] = random.bytes();
    let mut target: [u8; 64] = random.bytes();
    ziskos::ziskos_memset!(target, 0x5a, 37);
    digest.add_bytes(&target);
    ziskos::ziskos_memcpy!(target, source, 29);
    digest.add_bytes(&target);
    let length = 20 + random.below(20);
    ziskos::ziskos_memset!(target, 0, length);
    digest.add_bytes(&target);
    ziskos::ziskos_memcpy!(target, source, length);
    digest.add_bytes(&target);
    // Equal up to `length`, then a random difference.
    digest.add((ziskos::ziskos_memcmp!(target, source, 20).signum() + 1) as u64);
    digest.add((ziskos::ziskos_memcmp!(target, source, 64).signum() + 1) as u64);
    let longer = length + 5;
    digest.add((ziskos::ziskos_memcmp!(target, source, longer).signum() + 1) as u64);
}
