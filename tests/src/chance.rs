//! Random choices, the same for the same seed.

use std::time::Duration;

use zisk_common::messages::unix_ms;

/// splitmix64
#[derive(Clone, Debug)]
pub struct Chance(u64);

impl Chance {
    /// From a seed.
    pub const fn new(seed: u64) -> Self {
        Self(seed)
    }

    /// From `ZISK_TEST_SEED`, else a seed of its own choosing; printed, to repeat the run.
    pub fn of_this_run() -> Self {
        let seed = std::env::var("ZISK_TEST_SEED").ok().and_then(|text| text.parse().ok()).unwrap_or_else(unix_ms);
        eprintln!("ZISK_TEST_SEED={seed}");
        Self(seed)
    }

    /// A number below `bound`, which is at least 1.
    pub fn below(&mut self, bound: usize) -> usize {
        self.0 = self.0.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let mut z = self.0;
        z = (z ^ (z >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        z = (z ^ (z >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        ((z ^ (z >> 31)) % bound.max(1) as u64) as usize
    }

    /// A time between the two.
    pub fn between(&mut self, least: Duration, most: Duration) -> Duration {
        let width = most.saturating_sub(least).as_millis();
        least + Duration::from_millis(self.below(usize::try_from(width).unwrap_or(usize::MAX).max(1)) as u64)
    }

    /// One of them.
    pub fn pick<'a, T>(&mut self, choices: &'a [T]) -> Option<&'a T> {
        if choices.is_empty() { None } else { choices.get(self.below(choices.len())) }
    }
}
