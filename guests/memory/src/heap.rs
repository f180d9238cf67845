//! The heap: a vector that grows and is sorted, a map of strings.

use crate::{Digest, Random};
use alloc::collections::BTreeMap;
use alloc::format;
use alloc::string::String;
use alloc::vec::Vec;

pub fn sort(random: &mut Random, digest: &mut Digest) {
    let mut values = Vec::new();
    for _ in 0..500 {
        values.push(random.next() % 1000);
    }
    values.sort();
    values.dedup();
    digest.add(values.len() as u64);
    for value in values {
        digest.add(value);
    }
}

pub fn map(random: &mut Random, digest: &mut Digest) {
    let mut counts: BTreeMap<String, u64> = BTreeMap::new();
    for _ in 0..200 {
        *counts
            .entry(format!("{:x}", random.next() % 300))
            .or_default() += 1;
    }
    for (key, count) in &counts {
        digest.add_bytes(key.as_bytes());
        digest.add(*count);
    }
}
