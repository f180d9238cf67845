//! What the run was: for people, and as JSON.

use std::collections::{BTreeMap, HashMap};
use std::fmt;
use std::time::Duration;

use serde_json::{Value, json};
use zisk_common::ids::{JobId, WorkerId};
use zisk_common::messages::{Event, EventBody};
use zisk_common::subjects::EventKind;
use zisk_tests::oracles::{self, Work};

use crate::fault::Fault;
use crate::inject::{Happened, Hit};
use crate::jobs::Flow;

/// The run's figures.
pub struct Report {
    pub seed: u64,
    pub length: Duration,
    pub servers: usize,
    accepted: usize,
    not_accepted: u32,
    ends: BTreeMap<String, u32>,
    lost: usize,
    /// By kind: how often, and how long each job it hit took to get on.
    faults: BTreeMap<Fault, (u32, Vec<u64>)>,
    /// Planned, but there was nothing that they could hit.
    missed: usize,
    work: Work,
    problems: Vec<String>,
}

/// Times, in milliseconds.
struct Times {
    p50: u64,
    p99: u64,
    most: u64,
    jobs: usize,
}

impl Report {
    pub fn new(
        (seed, length, servers): (u64, Duration, usize),
        flow: &Flow,
        happened: &[Happened],
        missed: usize,
        events: &[Event],
        work: Work,
        problems: Vec<String>,
    ) -> Self {
        let jobs = flow.jobs();
        let mut ends: BTreeMap<String, u32> = BTreeMap::new();
        for end in jobs.values().filter_map(|job| job.end.as_ref()) {
            let end = match &end.failure {
                None => end.state.to_string(),
                Some(failure) => format!("{}: {}", end.state, failure.kind),
            };
            *ends.entry(end).or_default() += 1;
        }
        let lost = jobs.values().filter(|job| job.end.is_none()).count();
        let faults = recovery(happened, events);
        let (accepted, not_accepted) = (jobs.len(), flow.refused());
        Self { seed, length, servers, accepted, not_accepted, ends, lost, faults, missed, work, problems }
    }

    /// Whether nothing is lost and nothing wrong.
    pub fn is_well(&self) -> bool {
        self.problems.is_empty() && self.lost == 0
    }

    fn injected(&self) -> u32 {
        self.faults.values().map(|(count, _)| count).sum()
    }

    fn recovery(&self) -> Option<Times> {
        let all: Vec<u64> = self.faults.values().flat_map(|(_, times)| times).copied().collect();
        Times::of(&all)
    }

    /// The same as JSON.
    pub fn json(&self) -> Value {
        let [contributions, proofs, plans, aggregations] = self.work.repeated();
        let faults: BTreeMap<String, Value> = self
            .faults
            .iter()
            .map(|(fault, (count, times))| {
                (fault.to_string(), json!({ "count": count, "recovery_ms": Times::of(times).map(|times| times.json()) }))
            })
            .collect();
        json!({
            "seed": self.seed,
            "seconds": self.length.as_secs(),
            "servers": self.servers,
            "jobs": { "accepted": self.accepted, "not_accepted": self.not_accepted, "ended": self.ends, "lost": self.lost },
            "faults": { "injected": self.injected(), "kinds": self.faults.len(), "missed": self.missed, "by_kind": faults },
            "recovery_ms": self.recovery().map(|times| times.json()),
            "repeated": {
                "contributions": [contributions, self.work.contributions.len()],
                "proofs": [proofs, self.work.proofs.len()],
                "plans": [plans, self.work.plans.len()],
                "aggregations": [aggregations, self.work.aggregations.len()],
            },
            "problems": self.problems,
        })
    }
}

impl fmt::Display for Report {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let minutes = self.length.as_secs_f64() / 60.0;
        writeln!(f, "seed                            {}, {minutes:.1} minutes, {} NATS server(s)", self.seed, self.servers)?;
        writeln!(f, "jobs accepted                   {} ({} requests not acknowledged)", self.accepted, self.not_accepted)?;
        for (end, count) in &self.ends {
            writeln!(f, "  {end:<30}{count}")?;
        }
        writeln!(f, "  {:<30}{}", "lost", self.lost)?;
        let (kinds, missed) = (self.faults.len(), self.missed);
        writeln!(f, "faults                          {} of {kinds} kinds ({missed} found nothing to hit)", self.injected())?;
        for (fault, (count, times)) in &self.faults {
            let times = Times::of(times).map_or_else(String::new, |times| format!("recovery {times}"));
            writeln!(f, "  {:<30}{count:<5}{times}", fault.to_string())?;
        }
        if let Some(times) = self.recovery() {
            writeln!(f, "recovery, all                   {times}")?;
        }
        let [contributions, proofs, plans, aggregations] = self.work.repeated();
        let work = &self.work;
        writeln!(
            f,
            "work repeated                   {contributions} contributions of {}, {proofs} proofs of {}, {plans} plans of {}, \
             {aggregations} aggregations of {}",
            work.contributions.len(),
            work.proofs.len(),
            work.plans.len(),
            work.aggregations.len()
        )?;
        write!(f, "problems                        {}", self.problems.len())?;
        self.problems.iter().try_for_each(|problem| write!(f, "\n  {problem}"))
    }
}

/// By kind: how often it happened, and the time from then to the next progress of each job it hit, in milliseconds.
fn recovery(happened: &[Happened], events: &[Event]) -> BTreeMap<Fault, (u32, Vec<u64>)> {
    let mut by_job: HashMap<JobId, Vec<&Event>> = HashMap::new();
    for event in events {
        by_job.entry(event.job).or_default().push(event);
    }
    let mut faults: BTreeMap<Fault, (u32, Vec<u64>)> = BTreeMap::new();
    for Happened { fault, at_ms, hit } in happened {
        let (count, times) = faults.entry(*fault).or_default();
        *count += 1;
        if !fault.disturbs() {
            continue;
        }
        for (job, events) in &by_job {
            let (before, after): (Vec<&Event>, Vec<&Event>) = events.iter().partition(|event| event.at_ms <= *at_ms);
            // One that waits for its turn is held up by those that run.
            let runs = before.iter().any(|event| event.kind() == EventKind::Admitted);
            let is_hit = match hit {
                Hit::All => true,
                Hit::Worker(worker) => before.iter().any(|event| is_of(event, *worker)),
                Hit::Job(hit) => hit == job,
            };
            if let (true, true, Some(next)) = (runs, is_hit, after.iter().find(|event| oracles::is_progress(event.kind()))) {
                times.push(next.at_ms - at_ms);
            }
        }
    }
    faults
}

fn is_of(event: &Event, by: WorkerId) -> bool {
    match event.body {
        EventBody::Contributed { worker, .. } | EventBody::Proof { worker, .. } | EventBody::Folded { worker, .. } => {
            worker == by
        }
        _ => false,
    }
}

impl Times {
    fn of(times: &[u64]) -> Option<Self> {
        let mut times = times.to_vec();
        times.sort_unstable();
        let most = *times.last()?;
        let at = |percent: usize| times.get(times.len() * percent / 100).copied().unwrap_or(most);
        Some(Self { p50: at(50), p99: at(99), most, jobs: times.len() })
    }

    fn json(&self) -> Value {
        json!({ "p50": self.p50, "p99": self.p99, "max": self.most, "jobs": self.jobs })
    }
}

impl fmt::Display for Times {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self { p50, p99, most, jobs } = self;
        write!(f, "p50 {p50} ms, p99 {p99} ms, max {most} ms ({jobs} jobs)")
    }
}
