//! When which fault is to happen: from the seed alone, so that a run can be repeated.

use std::collections::{BTreeMap, VecDeque};
use std::fmt;
use std::time::Duration;

use zisk_tests::chance::Chance;

use crate::fault::{Class, Fault};

/// Between two faults: several are felt at a time, and jobs proceed all the same.
const PAUSE: (Duration, Duration) = (Duration::from_millis(500), Duration::from_millis(5_500));
/// Before the first, while the cluster begins to work.
const BEGIN: Duration = Duration::from_secs(3);
/// A process that was started again needs a while before it is of use.
const RECOVERY: Duration = Duration::from_secs(2);
/// Of three servers two must have everything before another may be lost.
const SERVER_RECOVERY: Duration = Duration::from_secs(12);

/// One fault.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Step {
    /// When, from the beginning of the run.
    pub at: Duration,
    /// What.
    pub fault: Fault,
    /// For how long.
    pub lasts: Duration,
    /// Which of those that it can hit: the rest by their number.
    pub pick: usize,
}

impl fmt::Display for Step {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{:>6.1} s  {}", self.at.as_secs_f64(), self.fault)?;
        if self.lasts.is_zero() { Ok(()) } else { write!(f, " for {:.1} s", self.lasts.as_secs_f64()) }
    }
}

/// All faults of a run of this length.
pub fn plan(seed: u64, length: Duration, servers: usize) -> Vec<Step> {
    let mut chance = Chance::new(seed);
    let kinds = Fault::all(servers);
    let mut bag: VecDeque<Fault> = VecDeque::new();
    let mut under_way: BTreeMap<Class, Vec<Duration>> = BTreeMap::new();
    let mut steps = Vec::new();
    let mut at = BEGIN;
    while at < length {
        // Every kind once before one comes again.
        if bag.len() < kinds.len() {
            bag.extend(shuffled(&kinds, &mut chance));
        }
        let is_free = |fault: &Fault| {
            let ends = under_way.get(&fault.class()).map(Vec::as_slice).unwrap_or_default();
            fault.class().limit().is_none_or(|limit| ends.iter().filter(|end| **end > at).count() < limit)
        };
        // One that must wait goes before all others.
        if let Some(fault) = bag.iter().position(is_free).and_then(|place| bag.remove(place)) {
            let (least, most) = fault.length();
            let step = Step { at, fault, lasts: chance.between(least, most), pick: chance.below(1 << 16) };
            let recovery = if fault.class() == Class::Servers && servers > 1 { SERVER_RECOVERY } else { RECOVERY };
            under_way.entry(fault.class()).or_default().push(at + step.lasts + recovery);
            steps.push(step);
        }
        at += chance.between(PAUSE.0, PAUSE.1);
    }
    steps
}

fn shuffled(kinds: &[Fault], chance: &mut Chance) -> Vec<Fault> {
    let mut kinds = kinds.to_vec();
    for last in (1..kinds.len()).rev() {
        kinds.swap(last, chance.below(last + 1));
    }
    kinds
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeSet;

    use super::*;

    const TEN_MINUTES: Duration = Duration::from_secs(600);

    #[test]
    fn a_seed_always_gives_the_same_faults_and_another_others() {
        assert_eq!(plan(1, TEN_MINUTES, 1), plan(1, TEN_MINUTES, 1));
        assert_ne!(plan(1, TEN_MINUTES, 1), plan(2, TEN_MINUTES, 1));
        // A longer run begins as the shorter one.
        let short = plan(1, TEN_MINUTES / 2, 3);
        assert_eq!(plan(1, TEN_MINUTES, 3)[..short.len()], short);
    }

    #[test]
    fn ten_minutes_have_every_kind_and_more_than_a_hundred_faults() {
        for (seed, servers) in (0..50).zip([1, 3].into_iter().cycle()) {
            let steps = plan(seed, TEN_MINUTES, servers);
            let kinds: BTreeSet<Fault> = steps.iter().map(|step| step.fault).collect();
            assert_eq!(kinds.len(), Fault::all(servers).len(), "seed {seed}");
            assert!(steps.len() > 150, "seed {seed}: {}", steps.len());
        }
    }

    #[test]
    fn of_each_class_no_more_are_hit_than_it_allows() {
        for seed in 0..50 {
            let steps = plan(seed, TEN_MINUTES, 3);
            for step in &steps {
                let class = step.fault.class();
                let same = steps.iter().filter(|other| other.fault.class() == class);
                let hit = same.filter(|other| other.at <= step.at && step.at < other.at + other.lasts).count();
                let at_once = usize::from(step.lasts.is_zero());
                assert!(class.limit().is_none_or(|limit| hit + at_once <= limit), "seed {seed}: {step}");
            }
        }
    }
}
