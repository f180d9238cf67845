//! What a worker remembers of jobs it may not work on.

use std::collections::{HashMap, VecDeque};

use zisk_common::ids::JobId;

/// Something about the jobs heard of last: bounded, for nothing tells a worker when a job it does not work on ends.
pub(super) struct RecentJobs<T> {
    known: HashMap<JobId, T>,
    order: VecDeque<JobId>,
}

impl<T> Default for RecentJobs<T> {
    fn default() -> Self {
        Self { known: HashMap::new(), order: VecDeque::new() }
    }
}

impl<T> RecentJobs<T> {
    /// More jobs than any cluster runs at once.
    const CAPACITY: usize = 10_000;

    pub(super) fn insert(&mut self, job: JobId, value: T) {
        if self.known.insert(job, value).is_none() {
            self.order.push_back(job);
        }
        while self.order.len() > Self::CAPACITY {
            if let Some(oldest) = self.order.pop_front() {
                self.known.remove(&oldest);
            }
        }
    }

    pub(super) fn get(&self, job: &JobId) -> Option<&T> {
        self.known.get(job)
    }
}
