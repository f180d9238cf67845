//! What a worker does next: which segments to pull, prove, put aside, drop from memory and give back.
//!
//! Pure: it holds keys, stages and sizes, never bytes or connections, so that every rule has a test. The rules:
//!
//! - A worker pulls only what it can start now, plus [`Limits::prefetch`]. Contributed segments that wait for their
//!   challenge do not count: a job with more segments than the cluster has slots must not deadlock.
//! - Older jobs first; within a job, proofs before contributions, then the lowest index.
//! - Stage-1 data is kept within a budget. What does not fit is dropped, youngest job and highest index first, and
//!   recomputed when its turn comes.
//! - While other workers are idle, segments that are runnable here but not begun are given back, each at most once
//!   in its life, so that two workers can never hand one segment to and fro.

use std::collections::{BTreeMap, BTreeSet};

/// One segment of one job. Ordered by job age first, so that iteration is oldest first.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Key {
    /// Age of the job: the lower, the older.
    pub job: u64,
    /// Segment index.
    pub index: u32,
}

/// How much a worker may do at once.
#[derive(Clone, Copy, Debug)]
pub struct Limits {
    /// Segments computed at the same time.
    pub slots: usize,
    /// Segments fetched ahead, so that a slot does not wait for the network.
    pub prefetch: usize,
    /// Memory for stage-1 data of segments that wait for their challenge, bytes.
    pub aside_bytes: usize,
}

/// Where a held segment stands.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Stage {
    /// Its bytes are on their way.
    Fetching,
    /// Its bytes are here; nothing computed yet.
    Fetched,
    /// Stage 1 runs.
    Contributing,
    /// Contribution posted; stage-1 data kept (bytes of memory).
    Kept(usize),
    /// Contribution posted; nothing kept.
    Dropped,
    /// Dropped, and its bytes are on their way again.
    Refetching,
    /// Stage 2 runs (after stage 1, where that was not kept).
    Proving,
}

/// What to compute.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Work {
    /// Stage 1.
    Contribute(Key),
    /// Stage 2 from kept data.
    Prove(Key),
    /// Both stages in one go: the challenge is known already.
    ContributeAndProve(Key),
    /// Get the bytes of a dropped segment again; then both stages.
    Refetch(Key),
}

#[derive(Debug)]
struct Held {
    stage: Stage,
    /// Delivered for the first time: may be given back.
    first_delivery: bool,
}

/// The segments a worker holds.
#[derive(Debug)]
pub struct Schedule {
    limits: Limits,
    held: BTreeMap<Key, Held>,
    /// Jobs whose challenge is known.
    challenged: BTreeSet<u64>,
}

impl Schedule {
    /// An empty schedule.
    pub fn new(limits: Limits) -> Self {
        assert!(limits.slots > 0, "a worker needs a slot");
        Self { limits, held: BTreeMap::new(), challenged: BTreeSet::new() }
    }

    /// An assignment arrived. `false` when the segment is held already.
    pub fn add(&mut self, key: Key, first_delivery: bool) -> bool {
        if self.held.contains_key(&key) {
            return false;
        }
        self.held.insert(key, Held { stage: Stage::Fetching, first_delivery });
        true
    }

    /// The segment's bytes are here. Returns what to compute at once, in the slot that fetched a dropped segment again.
    pub fn fetched(&mut self, key: Key) -> Option<Work> {
        let held = self.held.get_mut(&key)?;
        if held.stage == Stage::Refetching {
            held.stage = Stage::Proving;
            return Some(Work::ContributeAndProve(key));
        }
        held.stage = Stage::Fetched;
        None
    }

    /// Stage 1 is done and took `bytes` of memory. Returns the segments whose data must be dropped now.
    pub fn contributed(&mut self, key: Key, bytes: usize) -> Vec<Key> {
        self.set(key, Stage::Kept(bytes));
        let mut kept: usize = self.held.values().map(Held::kept).sum();
        let mut drop = Vec::new();
        for (&candidate, held) in self.held.iter_mut().rev() {
            if kept <= self.limits.aside_bytes {
                break;
            }
            // With its challenge known it is proven next: dropping it would only repeat work.
            if self.challenged.contains(&candidate.job) {
                continue;
            }
            if let Stage::Kept(bytes) = held.stage {
                held.stage = Stage::Dropped;
                kept -= bytes;
                drop.push(candidate);
            }
        }
        drop
    }

    /// The job's challenge is known.
    pub fn challenge(&mut self, job: u64) {
        self.challenged.insert(job);
    }

    /// The segment is proven, given back or failed.
    pub fn remove(&mut self, key: Key) {
        self.held.remove(&key);
        self.forget_job(key.job);
    }

    /// The job is over: returns its segments that are not being computed; they are no longer held. The others keep
    /// their slot until they are [removed](Self::remove): a computation cannot be stopped.
    pub fn remove_job(&mut self, job: u64) -> Vec<Key> {
        self.remove_where(|key| key.job == job)
    }

    /// How many segments to pull now.
    pub fn wanted(&self) -> usize {
        (self.limits.slots + self.limits.prefetch).saturating_sub(self.backlog())
    }

    /// Whether a slot has nothing to do: only then is a new job begun.
    pub fn has_free_slot(&self) -> bool {
        self.backlog() < self.limits.slots
    }

    /// Segments that take a slot or wait for one.
    fn backlog(&self) -> usize {
        self.held.iter().filter(|(key, held)| held.running() || self.runnable(key, held)).count()
    }

    /// The next thing to compute, if a slot is free; its stage changes accordingly.
    pub fn next_work(&mut self) -> Option<Work> {
        if self.running() >= self.limits.slots {
            return None;
        }
        let key = self
            .held
            .iter()
            .filter_map(|(key, held)| Some((key.job, self.rank(key, held)?, key.index)))
            .min()
            .map(|(job, _, index)| Key { job, index })?;
        let challenged = self.challenged.contains(&key.job);
        let held = self.held.get_mut(&key)?;
        let (stage, work) = match held.stage {
            Stage::Kept(_) => (Stage::Proving, Work::Prove(key)),
            Stage::Dropped => (Stage::Refetching, Work::Refetch(key)),
            Stage::Fetched if challenged => (Stage::Proving, Work::ContributeAndProve(key)),
            Stage::Fetched => (Stage::Contributing, Work::Contribute(key)),
            Stage::Fetching | Stage::Refetching | Stage::Contributing | Stage::Proving => return None,
        };
        held.stage = stage;
        Some(work)
    }

    /// How many segments wait for a slot here beyond those that are free.
    pub fn spare(&self) -> usize {
        let waiting = self.held.iter().filter(|(key, held)| self.runnable(key, held)).count();
        waiting.saturating_sub(self.limits.slots.saturating_sub(self.running()))
    }

    /// Segments to give back while `idle` other workers wait for work: those that would have to wait for a slot here.
    /// Highest index of the youngest job first; those that lose no work before those that do.
    /// The caller must have no pull of its own open, or it may get back what it gave.
    pub fn give_back(&mut self, idle: usize) -> Vec<Key> {
        let mut candidates: Vec<(bool, Key)> = self
            .held
            .iter()
            .filter(|(key, held)| held.first_delivery && self.runnable(key, held))
            .map(|(key, held)| (matches!(held.stage, Stage::Kept(_)), *key))
            .collect();
        candidates.sort_by_key(|&(kept, key)| (kept, std::cmp::Reverse(key)));
        candidates.truncate(self.spare().min(idle));
        let given: Vec<Key> = candidates.into_iter().map(|(_, key)| key).collect();
        for key in &given {
            self.remove(*key);
        }
        given
    }

    /// All segments that are not being computed: a worker that leaves gives them back. They are no longer held.
    pub fn leave(&mut self) -> Vec<Key> {
        self.remove_where(|_| true)
    }

    /// The job's segments that are contributed and wait for its challenge.
    pub fn waiting(&self, job: u64) -> Vec<Key> {
        let all = self.held.range(Key { job, index: 0 }..=Key { job, index: u32::MAX });
        let waiting = all.filter(|(_, held)| matches!(held.stage, Stage::Kept(_) | Stage::Dropped));
        waiting.map(|(key, _)| *key).filter(|key| !self.challenged.contains(&key.job)).collect()
    }

    /// Whether the segment is held.
    pub fn holds(&self, key: Key) -> bool {
        self.held.contains_key(&key)
    }

    /// Segments held.
    pub fn len(&self) -> usize {
        self.held.len()
    }

    /// Whether nothing is held.
    pub fn is_empty(&self) -> bool {
        self.held.is_empty()
    }

    /// Segments computed right now.
    pub fn running(&self) -> usize {
        self.held.values().filter(|held| held.running()).count()
    }

    fn remove_where(&mut self, unwanted: impl Fn(&Key) -> bool) -> Vec<Key> {
        let idle = self.held.iter().filter(|(key, held)| unwanted(key) && !held.running());
        let keys: Vec<Key> = idle.map(|(key, _)| *key).collect();
        for key in &keys {
            self.remove(*key);
        }
        keys
    }

    fn set(&mut self, key: Key, stage: Stage) {
        if let Some(held) = self.held.get_mut(&key) {
            held.stage = stage;
        }
    }

    fn forget_job(&mut self, job: u64) {
        let first = Key { job, index: 0 };
        let last = Key { job, index: u32::MAX };
        if self.held.range(first..=last).next().is_none() {
            self.challenged.remove(&job);
        }
    }

    /// Waits for a slot (or for its bytes, after which it will).
    fn runnable(&self, key: &Key, held: &Held) -> bool {
        match held.stage {
            Stage::Fetching | Stage::Fetched => true,
            Stage::Kept(_) | Stage::Dropped => self.challenged.contains(&key.job),
            Stage::Refetching | Stage::Contributing | Stage::Proving => false,
        }
    }

    /// Order within a job; `None` when it cannot start now.
    fn rank(&self, key: &Key, held: &Held) -> Option<u8> {
        let challenged = self.challenged.contains(&key.job);
        match held.stage {
            Stage::Kept(_) if challenged => Some(0),
            Stage::Fetched if challenged => Some(1),
            Stage::Dropped if challenged => Some(2),
            Stage::Fetched => Some(3),
            _ => None,
        }
    }
}

impl Held {
    fn running(&self) -> bool {
        matches!(self.stage, Stage::Refetching | Stage::Contributing | Stage::Proving)
    }

    fn kept(&self) -> usize {
        match self.stage {
            Stage::Kept(bytes) => bytes,
            _ => 0,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn key(job: u64, index: u32) -> Key {
        Key { job, index }
    }

    fn schedule(slots: usize, prefetch: usize, aside_bytes: usize) -> Schedule {
        Schedule::new(Limits { slots, prefetch, aside_bytes })
    }

    /// Adds a segment and brings it to `Fetched`.
    fn fetched(schedule: &mut Schedule, key: Key) {
        assert!(schedule.add(key, true));
        assert_eq!(schedule.fetched(key), None);
    }

    /// Adds a segment and brings it to `Kept` or `Dropped`.
    fn contributed(schedule: &mut Schedule, key: Key, bytes: usize) -> Vec<Key> {
        fetched(schedule, key);
        assert_eq!(schedule.next_work(), Some(Work::Contribute(key)));
        schedule.contributed(key, bytes)
    }

    #[test]
    fn pulls_as_much_as_it_can_start_and_one_ahead() {
        let mut s = schedule(2, 1, 100);
        assert_eq!(s.wanted(), 3);
        s.add(key(1, 0), true);
        assert_eq!(s.wanted(), 2);
        fetched(&mut s, key(1, 1));
        fetched(&mut s, key(1, 2));
        assert_eq!(s.wanted(), 0);
        assert!(!s.has_free_slot());
    }

    #[test]
    fn waiting_for_the_challenge_takes_no_slot() {
        let mut s = schedule(1, 0, 100);
        for index in 0..1000 {
            assert_eq!(s.wanted(), 1, "segment {index}");
            contributed(&mut s, key(1, index), 1);
        }
        assert_eq!(s.len(), 1000);
        s.challenge(1);
        assert_eq!(s.wanted(), 0);
    }

    #[test]
    fn data_over_the_budget_is_dropped_from_the_end() {
        let mut s = schedule(1, 0, 25);
        assert!(contributed(&mut s, key(1, 0), 10).is_empty());
        assert!(contributed(&mut s, key(2, 0), 10).is_empty());
        assert_eq!(contributed(&mut s, key(1, 1), 10), [key(2, 0)]);
        assert_eq!(contributed(&mut s, key(1, 2), 10), [key(1, 2)]);
    }

    #[test]
    fn data_that_is_proven_next_is_not_dropped() {
        let mut s = schedule(1, 0, 15);
        contributed(&mut s, key(2, 0), 10);
        s.challenge(2);
        fetched(&mut s, key(1, 0));
        assert_eq!(s.next_work(), Some(Work::Contribute(key(1, 0))));
        assert_eq!(s.contributed(key(1, 0), 10), [key(1, 0)]);
    }

    #[test]
    fn proves_the_oldest_job_first_then_the_lowest_index() {
        let mut s = schedule(1, 0, 100);
        contributed(&mut s, key(1, 1), 1);
        contributed(&mut s, key(1, 0), 1);
        contributed(&mut s, key(2, 0), 1);
        s.challenge(1);
        s.challenge(2);
        fetched(&mut s, key(0, 7));
        assert_eq!(s.next_work(), Some(Work::Contribute(key(0, 7))));
        assert_eq!(s.next_work(), None, "one slot");
        s.remove(key(0, 7));
        assert_eq!(s.next_work(), Some(Work::Prove(key(1, 0))));
        s.remove(key(1, 0));
        assert_eq!(s.next_work(), Some(Work::Prove(key(1, 1))));
        s.remove(key(1, 1));
        assert_eq!(s.next_work(), Some(Work::Prove(key(2, 0))));
    }

    #[test]
    fn those_that_wait_for_the_challenge_are_known() {
        let mut s = schedule(1, 1, 15);
        contributed(&mut s, key(1, 0), 10);
        contributed(&mut s, key(1, 1), 10);
        contributed(&mut s, key(2, 0), 10);
        fetched(&mut s, key(1, 2));
        assert_eq!(s.waiting(1), [key(1, 0), key(1, 1)], "kept or dropped");
        s.challenge(1);
        assert!(s.waiting(1).is_empty());
        assert_eq!(s.waiting(2), [key(2, 0)]);
    }

    #[test]
    fn a_dropped_segment_is_fetched_again_in_its_slot() {
        let mut s = schedule(1, 0, 0);
        assert_eq!(contributed(&mut s, key(1, 0), 10), [key(1, 0)]);
        assert_eq!(s.next_work(), None);
        s.challenge(1);
        assert_eq!(s.next_work(), Some(Work::Refetch(key(1, 0))));
        assert_eq!(s.next_work(), None);
        assert_eq!(s.fetched(key(1, 0)), Some(Work::ContributeAndProve(key(1, 0))));
        assert_eq!(s.running(), 1);
    }

    #[test]
    fn a_late_segment_goes_through_both_stages_at_once() {
        let mut s = schedule(1, 0, 0);
        s.challenge(1);
        fetched(&mut s, key(1, 3));
        assert_eq!(s.next_work(), Some(Work::ContributeAndProve(key(1, 3))));
    }

    #[test]
    fn gives_back_only_what_would_wait_and_only_to_idle_workers() {
        let mut s = schedule(1, 0, 25);
        for index in 0..4 {
            contributed(&mut s, key(1, index), 10);
        }
        assert!(s.give_back(5).is_empty(), "no challenge yet: nothing to do for others");
        s.challenge(1);
        assert_eq!(s.next_work(), Some(Work::Prove(key(1, 0))));
        assert!(s.give_back(0).is_empty());
        // 2 and 3 were dropped, 1 has its data: the dropped ones go first.
        assert_eq!(s.give_back(1), [key(1, 3)]);
        assert_eq!(s.give_back(5), [key(1, 2), key(1, 1)]);
        assert!(s.give_back(5).is_empty());
        assert!(s.holds(key(1, 0)));
    }

    #[test]
    fn keeps_what_a_free_slot_takes() {
        let mut s = schedule(2, 0, 100);
        fetched(&mut s, key(1, 0));
        fetched(&mut s, key(1, 1));
        fetched(&mut s, key(1, 2));
        assert_eq!(s.give_back(9), [key(1, 2)]);
    }

    #[test]
    fn a_segment_is_given_back_once_in_its_life() {
        let mut s = schedule(1, 1, 100);
        fetched(&mut s, key(1, 0));
        assert!(s.add(key(1, 1), false));
        s.fetched(key(1, 1));
        s.next_work();
        assert!(s.give_back(3).is_empty());
    }

    #[test]
    fn a_second_message_for_a_held_segment_is_refused() {
        let mut s = schedule(1, 1, 100);
        assert!(s.add(key(1, 0), true));
        assert!(!s.add(key(1, 0), false));
    }

    #[test]
    fn a_leaving_worker_keeps_only_what_runs() {
        let mut s = schedule(1, 1, 100);
        contributed(&mut s, key(1, 0), 1);
        fetched(&mut s, key(1, 1));
        s.next_work();
        fetched(&mut s, key(1, 2));
        assert_eq!(s.leave(), [key(1, 0), key(1, 2)]);
        assert_eq!(s.len(), 1);
    }

    #[test]
    fn a_cancelled_job_keeps_only_the_slots_it_computes_in() {
        let mut s = schedule(1, 1, 100);
        contributed(&mut s, key(1, 0), 1);
        fetched(&mut s, key(1, 1));
        fetched(&mut s, key(1, 2));
        fetched(&mut s, key(2, 0));
        s.next_work();
        assert_eq!(s.remove_job(1), [key(1, 0), key(1, 2)]);
        assert_eq!(s.next_work(), None);
        s.remove(key(1, 1));
        assert_eq!(s.next_work(), Some(Work::Contribute(key(2, 0))));
    }
}
