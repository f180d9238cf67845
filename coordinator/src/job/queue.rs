//! Whose turn it is: which of the jobs that wait are begun, and in what order.
//!
//! Higher priority first; among equals the client that has the fewest jobs running; among those the one that has waited
//! longest since a job of its own was last begun (or, where that is later, since the job came); of its jobs the oldest.
//! Pure, and derived from the job records alone: a coordinator that reads them back goes on with the same order.

use std::cmp::Reverse;
use std::collections::{BTreeMap, BTreeSet, BinaryHeap, HashMap};
use std::fmt;
use std::sync::Arc;

use zisk_common::ids::JobId;
use zisk_common::messages::JobRecord;

/// Jobs that run at once whatever the compute units: a cluster whose workers are about to come has something for them, and
/// the smallest one has a job to prove, one whose program runs, and one that is folded.
const FEWEST_RUNNING: u32 = 4;
/// Jobs beyond one for each compute unit: a job may have a single segment, and passes phases in which it needs no unit.
const BESIDE_UNITS: u32 = 2;

/// How much may run, and how much may wait.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Limits {
    /// Jobs that run at once; none is as many as the cluster's compute units can be kept busy with.
    pub running_jobs: Option<u32>,
    /// Jobs that wait.
    pub max_jobs: u32,
    /// Bytes of their programs and inputs together.
    pub max_bytes: u64,
}

impl Limits {
    /// How many jobs run at once in a cluster of so many compute units.
    pub fn running(&self, units: u32) -> usize {
        let jobs = self.running_jobs.unwrap_or_else(|| units.saturating_add(BESIDE_UNITS).max(FEWEST_RUNNING));
        usize::try_from(jobs).unwrap_or(usize::MAX)
    }
}

/// Why a job may not wait.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Full {
    /// As many wait as may.
    Jobs {
        /// How many.
        waiting: usize,
    },
    /// With this one, too many bytes would wait.
    Bytes {
        /// Bytes that wait.
        waiting: u64,
        /// Bytes of the job.
        job: u64,
        /// Bytes that may wait.
        limit: u64,
    },
}

impl Full {
    /// The limit's name, as a label.
    pub const fn limit(self) -> &'static str {
        match self {
            Self::Jobs { .. } => "jobs",
            Self::Bytes { .. } => "bytes",
        }
    }
}

impl fmt::Display for Full {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Jobs { waiting } => write!(f, "the queue is full: {waiting} jobs wait, as many as [queue] max_jobs allows")?,
            Self::Bytes { waiting, job, limit } => write!(
                f,
                "the queue is full: programs and inputs of {waiting} bytes wait, this job brings {job}, and [queue] max_bytes is \
                 {limit}"
            )?,
        }
        f.write_str("; nothing was begun: submit it again when fewer wait, or have the coordinator's limit raised")
    }
}

/// A job that waits, as it is ordered within its line.
type Place = (u64, JobId);

/// The jobs that wait and those that run.
#[derive(Debug, Clone, Default)]
pub struct Queue {
    jobs: HashMap<JobId, Known>,
    /// By priority, then client: its jobs, oldest first.
    lines: BTreeMap<Reverse<u8>, BTreeMap<Arc<str>, BTreeSet<Place>>>,
    clients: HashMap<Arc<str>, Client>,
    waiting: usize,
    bytes: u64,
    /// Jobs whose inputs are being streamed.
    streaming: usize,
}

#[derive(Debug, Clone)]
struct Known {
    client: Arc<str>,
    standing: Standing,
}

#[derive(Debug, Clone, Copy)]
enum Standing {
    /// Its input is being streamed: it has no place yet.
    Streams,
    /// With its priority, since when, and its size.
    Waits(u8, u64, u64),
    Runs,
}

/// A client with jobs that wait or run. One that has none is forgotten: when it comes back, its new job is younger than
/// whatever was begun for it.
#[derive(Debug, Clone, Copy, Default)]
struct Client {
    jobs: usize,
    running: usize,
    /// When a job of its was last begun.
    served_ms: u64,
}

/// A client's claim to the next turn; the least comes first.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
struct Claim {
    running: usize,
    since_ms: u64,
    first: Place,
}

impl Client {
    fn claim(&self, first: Place) -> Claim {
        Claim { running: self.running, since_ms: self.served_ms.max(first.0), first }
    }
}

impl Queue {
    /// Takes note of how a job stands now.
    pub fn note(&mut self, record: &JobRecord) {
        self.forget(record.job);
        let name: Arc<str> = record.request.client.as_str().into();
        if record.state.is_terminal() {
            // Known by its other jobs, or it needs no memory.
            if let Some(client) = self.clients.get_mut(&name) {
                client.served_ms = client.served_ms.max(record.timings.admitted_ms);
            }
            return;
        }
        let client = self.clients.entry(name.clone()).or_default();
        client.jobs += 1;
        client.served_ms = client.served_ms.max(record.timings.admitted_ms);
        let standing = if record.waits_for_input() {
            self.streaming += 1;
            Standing::Streams
        } else if record.is_waiting() {
            let (priority, since_ms) = (record.priority(), record.timings.queued_ms());
            let line = self.lines.entry(Reverse(priority)).or_default().entry(name.clone()).or_default();
            line.insert((since_ms, record.job));
            self.waiting += 1;
            self.bytes = self.bytes.saturating_add(record.bytes);
            Standing::Waits(priority, since_ms, record.bytes)
        } else {
            client.running += 1;
            Standing::Runs
        };
        self.jobs.insert(record.job, Known { client: name, standing });
    }

    /// Forgets a job.
    pub fn forget(&mut self, job: JobId) {
        let Some(Known { client: name, standing }) = self.jobs.remove(&job) else { return };
        if let Some(client) = self.clients.get_mut(&name) {
            client.jobs -= 1;
            client.running -= usize::from(matches!(standing, Standing::Runs));
            if client.jobs == 0 {
                self.clients.remove(&name);
            }
        }
        self.streaming -= usize::from(matches!(standing, Standing::Streams));
        let Standing::Waits(priority, since_ms, bytes) = standing else { return };
        self.waiting -= 1;
        self.bytes = self.bytes.saturating_sub(bytes);
        let Some(lines) = self.lines.get_mut(&Reverse(priority)) else { return };
        if let Some(line) = lines.get_mut(&name) {
            line.remove(&(since_ms, job));
            if line.is_empty() {
                lines.remove(&name);
            }
        }
        if lines.is_empty() {
            self.lines.remove(&Reverse(priority));
        }
    }

    /// The job to be begun now, if there is room for one among the `limit` that may run.
    pub fn next(&self, limit: usize) -> Option<JobId> {
        if self.room(limit) == 0 {
            return None;
        }
        let (_, lines) = self.lines.first_key_value()?;
        let claims = lines.iter().filter_map(|(name, line)| Some(self.client(name).claim(*line.first()?)));
        claims.min().map(|claim| claim.first.1)
    }

    /// All jobs that wait, in the order in which they are begun if none comes and none ends meanwhile.
    pub fn order(&self) -> Vec<JobId> {
        let mut order = Vec::with_capacity(self.waiting);
        let mut clients = self.clients.clone();
        // Later than anything there is, and each turn later than the one before.
        let mut now_ms = u64::MAX - self.waiting as u64;
        for lines in self.lines.values() {
            let claim = |clients: &HashMap<Arc<str>, Client>, name: &Arc<str>, first: Place| {
                Reverse(clients.get(name).copied().unwrap_or_default().claim(first))
            };
            let mut rests: HashMap<&Arc<str>, _> = HashMap::new();
            let mut heap = BinaryHeap::new();
            for (name, line) in lines {
                let mut rest = line.iter().copied();
                if let Some(first) = rest.next() {
                    heap.push((claim(&clients, name, first), name));
                    rests.insert(name, rest);
                }
            }
            while let Some((Reverse(Claim { first, .. }), name)) = heap.pop() {
                order.push(first.1);
                now_ms += 1;
                if let Some(client) = clients.get_mut(name) {
                    client.running += 1;
                    client.served_ms = now_ms;
                }
                if let Some(next) = rests.get_mut(name).and_then(Iterator::next) {
                    heap.push((claim(&clients, name, next), name));
                }
            }
        }
        order
    }

    /// Whether one more job of so many bytes may wait, or need not. One whose input is to be streamed waits for that at least, and is
    /// counted with those that wait for their turn, for it will be one of them.
    ///
    /// # Errors
    /// Which limit it would exceed.
    pub fn admits(&self, bytes: u64, streams: bool, limits: &Limits, running: usize) -> Result<(), Full> {
        if !streams && self.waiting == 0 && self.room(running) > 0 {
            return Ok(());
        }
        let waiting = self.waiting + self.streaming;
        if waiting >= usize::try_from(limits.max_jobs).unwrap_or(usize::MAX) {
            return Err(Full::Jobs { waiting });
        }
        if self.bytes.saturating_add(bytes) > limits.max_bytes {
            return Err(Full::Bytes { waiting: self.bytes, job: bytes, limit: limits.max_bytes });
        }
        Ok(())
    }

    /// How many more may be begun when `limit` may run.
    pub fn room(&self, limit: usize) -> usize {
        limit.saturating_sub(self.jobs.len() - self.waiting - self.streaming)
    }

    /// Whether this job waits.
    pub fn is_waiting(&self, job: JobId) -> bool {
        self.jobs.get(&job).is_some_and(|known| matches!(known.standing, Standing::Waits(..)))
    }

    /// How many jobs wait.
    pub const fn waiting(&self) -> usize {
        self.waiting
    }

    /// The bytes of their programs and inputs.
    pub const fn bytes(&self) -> u64 {
        self.bytes
    }

    /// When the one that has waited longest began to.
    pub fn oldest_ms(&self) -> Option<u64> {
        let firsts = self.lines.values().flat_map(BTreeMap::values).filter_map(BTreeSet::first);
        firsts.map(|(since_ms, _)| *since_ms).min()
    }

    fn client(&self, name: &str) -> Client {
        self.clients.get(name).copied().unwrap_or_default()
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;
    use zisk_common::messages::JobState;
    use zisk_common::subjects::RequestKind;

    use super::*;
    use crate::job::fixtures::World;

    const LIMITS: Limits = Limits { running_jobs: None, max_jobs: 3, max_bytes: 100 };

    fn job(client: &str, priority: u8, accepted_ms: u64) -> JobRecord {
        let mut record = World::waiting(RequestKind::Prove).record;
        record.request.client = client.to_owned();
        record.request.params.priority = Some(priority);
        record.timings.accepted_ms = accepted_ms;
        record.bytes = 10;
        record
    }

    fn begun(mut record: JobRecord, at_ms: u64) -> JobRecord {
        record.timings.admitted_ms = at_ms;
        record
    }

    fn queue<'a>(records: impl IntoIterator<Item = &'a JobRecord>) -> Queue {
        let mut queue = Queue::default();
        records.into_iter().for_each(|record| queue.note(record));
        queue
    }

    #[test]
    fn priority_then_the_clients_in_turn_then_age() {
        let (a1, a2, a3, b1, b2) = (job("a", 5, 1), job("a", 5, 2), job("a", 5, 3), job("b", 5, 4), job("b", 5, 5));
        let (urgent, later) = (job("a", 9, 6), job("b", 0, 0));
        let all = [&later, &b2, &a3, &b1, &a2, &urgent, &a1];
        // After its urgent job a has one running: b is first, and they take turns.
        let expected = [&urgent, &b1, &a1, &b2, &a2, &a3, &later].map(|record| record.job);
        assert_eq!(queue(all).order(), expected);
    }

    #[test]
    fn a_client_whose_jobs_run_waits_for_the_others() {
        let (a, b) = (job("a", 5, 1), job("b", 5, 9));
        let running = begun(job("a", 5, 0), 2);
        assert_eq!(queue([&a, &b, &running]).order(), [b.job, a.job]);
        // It has ended, but was begun after b's came.
        let ended = JobRecord { state: JobState::Completed, ..begun(running.clone(), 10) };
        assert_eq!(queue([&a, &b, &ended]).order(), [b.job, a.job]);
        let ended = JobRecord { state: JobState::Completed, ..running };
        assert_eq!(queue([&a, &b, &ended]).order(), [a.job, b.job]);
    }

    #[test]
    fn clients_that_come_new_each_time_do_not_keep_an_old_one_waiting() {
        let waiting = job("old", 5, 10);
        let served = begun(job("old", 5, 0), 12);
        let mut queue = queue([&waiting, &JobRecord { state: JobState::Completed, ..served }]);
        for (n, at_ms) in (13..30).enumerate() {
            queue.note(&job(&format!("new {n}"), 5, at_ms));
        }
        assert_eq!(queue.next(1), Some(waiting.job));
    }

    #[test]
    fn as_many_run_as_there_are_units_and_a_few() {
        assert_eq!([0, 1, 2, 3, 10, 1000].map(|units| LIMITS.running(units)), [4, 4, 4, 5, 12, 1002]);
        assert_eq!(Limits { running_jobs: Some(1), ..LIMITS }.running(1000), 1);
    }

    #[test]
    fn a_job_whose_input_is_streamed_has_no_place_until_it_is_whole() {
        let mut streamed = World::streamed(RequestKind::Prove).record;
        streamed.timings.accepted_ms = 1;
        let later = job("a", 5, 2);
        let mut queue = queue([&streamed, &later]);
        assert_eq!((queue.order(), queue.waiting(), queue.room(1), queue.bytes()), (vec![later.job], 1, 1, 10));
        // Counted where there is a limit, also where it would have its turn at once.
        assert_eq!(Queue::default().admits(10, true, &Limits { max_jobs: 0, ..LIMITS }, 9), Err(Full::Jobs { waiting: 0 }));
        assert_eq!(queue.admits(10, false, &Limits { max_jobs: 2, ..LIMITS }, 1), Err(Full::Jobs { waiting: 2 }));
        // Its place is that of one that came when it was whole.
        streamed.state = JobState::Queued;
        streamed.timings.input_ms = 3;
        queue.note(&streamed);
        assert_eq!(queue.order(), [later.job, streamed.job]);
        queue.forget(streamed.job);
        queue.forget(later.job);
        assert!(queue.jobs.is_empty() && queue.waiting == 0 && queue.streaming == 0);
    }

    #[test]
    fn what_exceeds_a_limit_is_refused_by_its_name() {
        let mut queue = Queue::default();
        assert_eq!(queue.admits(1_000, false, &LIMITS, 1), Ok(()), "it need not wait");
        queue.note(&begun(job("a", 5, 0), 1));
        let bytes = queue.admits(101, false, &LIMITS, 1).unwrap_err();
        assert_eq!((bytes, bytes.limit()), (Full::Bytes { waiting: 0, job: 101, limit: 100 }, "bytes"));
        for at_ms in 0..3 {
            assert_eq!(queue.admits(10, false, &LIMITS, 1), Ok(()));
            queue.note(&job("a", 5, at_ms));
        }
        assert_eq!((queue.waiting(), queue.bytes(), queue.oldest_ms()), (3, 30, Some(0)));
        let full = queue.admits(10, false, &LIMITS, 1).unwrap_err();
        assert!(full.to_string().contains("3 jobs wait, as many as [queue] max_jobs allows"), "{full}");
        assert_eq!(queue.admits(10, false, &LIMITS, 2), Err(full), "those that wait go first");
    }

    proptest! {
        #[test]
        fn the_order_is_what_turns_give_and_each_turn_is_fair(
            jobs in prop::collection::vec((0u8..4, 0u8..3, 0u64..20, any::<bool>()), 0..40),
        ) {
            let client = |n: u8| format!("client {n}");
            let mut records: HashMap<JobId, JobRecord> = HashMap::new();
            for (n, priority, at_ms, runs) in jobs {
                let record = job(&client(n), priority, at_ms);
                let record = if runs { begun(record, at_ms + 1) } else { record };
                records.insert(record.job, record);
            }
            let mut queue = queue(records.values());
            let order = queue.order();
            let (mut turns, mut now_ms) = (Vec::new(), 1_000);
            while let Some(next) = queue.next(usize::MAX) {
                let waiting = |record: &&JobRecord| record.is_waiting();
                let running = |client: &str| {
                    records.values().filter(|it| !it.is_waiting() && it.request.client == client).count()
                };
                let chosen = &records[&next];
                for other in records.values().filter(waiting) {
                    prop_assert!(chosen.priority() >= other.priority());
                    let mine = (running(&chosen.request.client), chosen.priority());
                    if other.priority() == chosen.priority() {
                        prop_assert!(mine.0 <= running(&other.request.client), "fewest running first");
                        if other.request.client == chosen.request.client {
                            prop_assert!(chosen.timings.accepted_ms <= other.timings.accepted_ms, "oldest first");
                        }
                    }
                }
                turns.push(next);
                now_ms += 1;
                let record = begun(chosen.clone(), now_ms);
                queue.note(&record);
                records.insert(next, record);
            }
            prop_assert_eq!(order, turns);
            prop_assert_eq!((queue.waiting(), queue.bytes(), queue.oldest_ms()), (0, 0, None));
            // Whoever is forgotten again leaves nothing behind.
            records.keys().for_each(|job| queue.forget(*job));
            prop_assert!(queue.jobs.is_empty() && queue.clients.is_empty() && queue.lines.is_empty());
        }

        #[test]
        fn nobody_waits_for_ever_behind_equals(others in prop::collection::vec(0u8..5, 60), running in 1usize..4) {
            // Each time another's job comes and one ends, the longest running first.
            let mut records: HashMap<JobId, JobRecord> = (0..60).map(|_| job("mine", 5, 0)).map(|it| (it.job, it)).collect();
            let mut queue = queue(records.values());
            let mut under_way = std::collections::VecDeque::new();
            let mut turns = 0;
            for (at_ms, other) in (1..).zip(others) {
                let other = job(&format!("other {other}"), 5, at_ms);
                queue.note(&other);
                records.insert(other.job, other);
                while let Some(next) = queue.next(running) {
                    let record = begun(records[&next].clone(), at_ms);
                    turns += usize::from(record.request.client == "mine");
                    queue.note(&record);
                    under_way.push_back(record);
                }
                if let Some(ended) = under_way.pop_front() {
                    queue.note(&JobRecord { state: JobState::Completed, ..ended });
                }
            }
            // One turn in six is due to each of six clients.
            prop_assert!(turns + running >= 60 / 6, "{turns} turns");
        }
    }
}
