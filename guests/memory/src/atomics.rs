//! Atomic operations: AMO instructions and LR/SC loops where the target has them.

use crate::{Digest, Random};
use core::hint::black_box;
use core::sync::atomic::{AtomicI32, AtomicI64, AtomicU32, AtomicU64, Ordering::SeqCst};

macro_rules! every_operation {
    ($type:ty, $value:ty, $random:ident, $digest:ident) => {
        let cell = <$type>::new($random.next() as $value);
        let cell = black_box(&cell);
        for _ in 0..20 {
            $digest.add(cell.fetch_add($random.next() as $value, SeqCst) as u64);
            $digest.add(cell.fetch_max($random.next() as $value, SeqCst) as u64);
            $digest.add(cell.fetch_and($random.next() as $value, SeqCst) as u64);
            $digest.add(cell.fetch_or($random.next() as $value, SeqCst) as u64);
            $digest.add(cell.fetch_min($random.next() as $value, SeqCst) as u64);
            $digest.add(cell.fetch_xor($random.next() as $value, SeqCst) as u64);
            $digest.add(cell.swap($random.next() as $value, SeqCst) as u64);
            let expected = cell.load(SeqCst) ^ ($random.next() & 1) as $value;
            let outcome = cell.compare_exchange(expected, $random.next() as $value, SeqCst, SeqCst);
            $digest.add(outcome.is_ok().into());
            $digest.add(cell.load(SeqCst) as u64);
        }
    };
}

pub fn atomics(random: &mut Random, digest: &mut Digest) {
    every_operation!(AtomicU64, u64, random, digest);
    every_operation!(AtomicI64, i64, random, digest);
    every_operation!(AtomicU32, u32, random, digest);
    every_operation!(AtomicI32, i32, random, digest);
}
