//! What people see of the jobs: built from their events alone, so that any coordinator can show it, one that stands by included.
//!
//! Pure: events in, JSON out. It holds the newest [`MAX_JOBS`] jobs, each with a bounded timeline.

use std::collections::{BTreeMap, HashMap};

use serde::Serialize;
use serde_json::{Value, json};
use zisk_common::ids::{JobId, WorkerId};
use zisk_common::messages::{Event, EventBody, JobState, Progress};

/// Jobs that are shown; the oldest ones go first.
const MAX_JOBS: usize = 1000;
/// Pieces of work shown of one job: every contribution, proof and fold of one of a thousand segments.
const MAX_TIMELINE: usize = 4096;
/// Incidents of one job.
const MAX_TROUBLE: usize = 64;

/// A piece of work: who did it, when.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct Work {
    /// `contribution`, `proof` or `fold`.
    kind: &'static str,
    /// Of which segment; of a fold, where its right node begins.
    n: u32,
    worker: WorkerId,
    /// In milliseconds since the Unix epoch.
    from_ms: u64,
    to_ms: u64,
}

#[derive(Debug)]
struct Job {
    /// When it last changed, as a count of changes.
    version: u64,
    state: JobState,
    progress: Progress,
    accepted_ms: u64,
    admitted_ms: u64,
    changed_ms: u64,
    ended_ms: Option<u64>,
    position: Option<u32>,
    round: u32,
    failure: Option<String>,
    proof_bytes: Option<u64>,
    timeline: Vec<Work>,
    /// What went wrong on the way.
    trouble: Vec<String>,
}

/// All jobs, as their events tell.
#[derive(Debug, Default)]
pub struct Live {
    version: u64,
    jobs: HashMap<JobId, Job>,
    /// By age: acceptance, then the order in which they were heard of.
    ages: BTreeMap<(u64, u64), JobId>,
}

impl Live {
    /// Takes an event in.
    pub fn apply(&mut self, event: Event) {
        self.version += 1;
        let (id, at_ms) = (event.job, event.at_ms);
        if !self.jobs.contains_key(&id) {
            self.ages.insert((at_ms, self.version), id);
            if self.ages.len() > MAX_JOBS
                && let Some((_, oldest)) = self.ages.pop_first()
            {
                self.jobs.remove(&oldest);
                if oldest == id {
                    return;
                }
            }
        }
        let job = self.jobs.entry(id).or_insert_with(|| Job::new(at_ms));
        job.version = self.version;
        job.changed_ms = job.changed_ms.max(at_ms);
        job.progress = event.progress;
        job.take(event.body, at_ms);
    }

    /// The jobs that changed after this version, newest first, and the version that this is.
    pub fn changed_since(&self, version: u64) -> Value {
        let newer =
            self.ages.values().rev().filter_map(|id| self.jobs.get_key_value(id)).filter(|(_, job)| job.version > version);
        json!({ "version": self.version, "jobs": newer.map(|(id, job)| job.summary(*id)).collect::<Vec<_>>() })
    }

    /// One job with its timeline.
    pub fn job(&self, id: JobId) -> Option<Value> {
        let job = self.jobs.get(&id)?;
        Some(json!({ "job": job.summary(id), "timeline": job.timeline, "trouble": job.trouble }))
    }
}

impl Job {
    fn new(accepted_ms: u64) -> Self {
        Self {
            version: 0,
            state: JobState::Queued,
            progress: Progress::default(),
            accepted_ms,
            admitted_ms: 0,
            changed_ms: 0,
            ended_ms: None,
            position: None,
            round: 0,
            failure: None,
            proof_bytes: None,
            timeline: Vec::new(),
            trouble: Vec::new(),
        }
    }

    fn take(&mut self, body: EventBody, at_ms: u64) {
        if let Some(end) = body.end() {
            self.state = end;
            self.ended_ms = Some(at_ms);
            self.position = None;
        }
        match body {
            EventBody::Accepted { position, .. } => {
                self.accepted_ms = at_ms;
                self.position = position;
            }
            EventBody::WaitingForInput {} => self.state = JobState::WaitingForInput,
            EventBody::InputReceived { .. } => self.state = JobState::Queued,
            EventBody::Admitted {} => {
                self.admitted_ms = at_ms;
                self.position = None;
            }
            EventBody::Executing {} => self.state = JobState::Executing,
            EventBody::Planned { .. } => {}
            EventBody::Executed { .. } => self.state = JobState::Contributing,
            EventBody::Challenged { round } => {
                self.state = JobState::Proving;
                self.round = round;
            }
            EventBody::Contributed { n, worker, milliseconds } => self.work("contribution", n, worker, at_ms, milliseconds),
            EventBody::Proof { n, worker, milliseconds, .. } => {
                self.work("proof", n, worker, at_ms, milliseconds);
                if self.progress.segments == Some(self.progress.proven) {
                    self.state = JobState::Folding;
                }
            }
            EventBody::Folded { n, worker, milliseconds, .. } => self.work("fold", n, worker, at_ms, milliseconds),
            EventBody::Replaced { n, worker, replaced } => {
                self.trouble(format!("segment {n}: the contribution of {replaced} was false, that of {worker} took its place"));
            }
            EventBody::Rejected { n, worker, reason, .. } => {
                self.state = JobState::Proving;
                self.trouble(format!("segment {n}: the proof of {worker} was rejected: {reason}"));
            }
            EventBody::Completed { proof, .. } => self.proof_bytes = proof.map(|proof| proof.size),
            EventBody::Failed { failure } => self.failure = Some(failure.to_string()),
            EventBody::Cancelled { failure } => self.failure = Some(failure.message),
        }
    }

    fn work(&mut self, kind: &'static str, n: u32, worker: WorkerId, to_ms: u64, milliseconds: u64) {
        if self.timeline.len() < MAX_TIMELINE {
            self.timeline.push(Work { kind, n, worker, from_ms: to_ms.saturating_sub(milliseconds), to_ms });
        }
    }

    fn trouble(&mut self, what: String) {
        if self.trouble.len() < MAX_TROUBLE {
            self.trouble.push(what);
        }
    }

    fn summary(&self, id: JobId) -> Value {
        json!({
            "id": id,
            "state": self.state,
            "position": self.position,
            "progress": self.progress,
            "accepted_ms": self.accepted_ms,
            "admitted_ms": self.admitted_ms,
            "changed_ms": self.changed_ms,
            "ended_ms": self.ended_ms,
            "round": self.round,
            "failure": self.failure,
            "proof_bytes": self.proof_bytes,
        })
    }
}

#[cfg(test)]
mod tests {
    use zisk_common::messages::{ExecutionSummary, Failure, FailureKind, Version};

    use super::*;

    fn event(job: JobId, at_ms: u64, progress: Progress, body: EventBody) -> Event {
        Event { v: Version::default(), job, at_ms, progress, body, metadata: Default::default() }
    }

    fn accepted() -> EventBody {
        serde_json::from_value(json!({ "accepted": { "position": 2 } })).unwrap()
    }

    #[test]
    fn a_job_is_shown_from_its_events() {
        let (mut live, job, worker) = (Live::default(), JobId::random(), WorkerId::random());
        let none = Progress::default();
        live.apply(event(job, 1000, none, accepted()));
        let shown = live.changed_since(0);
        assert_eq!((&shown["jobs"][0]["state"], &shown["jobs"][0]["position"]), (&json!("queued"), &json!(2)));
        let seen = shown["version"].as_u64().unwrap();
        assert_eq!(live.changed_since(seen)["jobs"], json!([]), "only what is news");
        live.apply(event(job, 1500, none, EventBody::Admitted {}));
        live.apply(event(job, 1600, none, EventBody::Executed { summary: ExecutionSummary::default() }));
        let one = Progress { segments: Some(1), contributed: 1, ..none };
        live.apply(event(job, 3000, one, EventBody::Contributed { n: 0, worker, milliseconds: 700 }));
        assert_eq!(live.changed_since(seen)["jobs"][0]["state"], "contributing");
        live.apply(event(job, 3001, one, EventBody::Challenged { round: 0 }));
        assert_eq!(live.changed_since(seen)["jobs"][0]["state"], "proving");
        live.apply(event(job, 9000, one, EventBody::Completed { proof: None, summary: None, milliseconds: 8000 }));
        let shown = live.job(job).unwrap();
        assert_eq!(shown["job"]["ended_ms"], 9000);
        let work = json!({ "kind": "contribution", "n": 0, "worker": worker, "from_ms": 2300, "to_ms": 3000 });
        assert_eq!(shown["timeline"], json!([work]));
        assert_eq!(live.job(JobId::random()), None);
    }

    #[test]
    fn failures_say_why() {
        let (mut live, job) = (Live::default(), JobId::random());
        let failure = Failure::new(FailureKind::Internal, "no luck");
        live.apply(event(job, 1, Progress::default(), EventBody::Failed { failure }));
        assert_eq!(live.job(job).unwrap()["job"]["failure"], "internal failure: no luck");
    }

    #[test]
    fn the_oldest_jobs_go() {
        let mut live = Live::default();
        let first = JobId::random();
        live.apply(event(first, 0, Progress::default(), accepted()));
        for at in 1..=MAX_JOBS as u64 {
            live.apply(event(JobId::random(), at, Progress::default(), accepted()));
        }
        assert_eq!(live.job(first), None);
        assert_eq!(live.changed_since(0)["jobs"].as_array().unwrap().len(), MAX_JOBS);
        // And one older than all that are shown does not come in.
        let before = JobId::random();
        live.apply(event(before, 0, Progress::default(), accepted()));
        assert_eq!((live.job(before), live.jobs.len(), live.ages.len()), (None, MAX_JOBS, MAX_JOBS));
    }
}
