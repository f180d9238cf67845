//! What the commands print on stdout, for people or as JSON with stable keys.

pub mod bench;
pub mod dead;
pub mod doctor;
pub mod events;
pub mod progress;
pub mod queues;

use std::path::{Path, PathBuf};

use serde_json::{Value, json};
use zisk_client::Cancellation;
use zisk_client::local::PhaseSeconds;
use zisk_common::ids::{JobId, ProgramId};
use zisk_common::messages::{JobRecord, JobState, QueueOrder, WorkerPresence};
use zisk_common::view::JobStatus;
use zisk_protocol::PublicValues;
use zisk_prover::backend::ProofKind;

/// A finished run, proven or not.
pub struct Ran {
    pub job: Option<JobId>,
    pub public: PublicValues,
    pub steps: u64,
    pub segments: u32,
    pub uart: String,
    /// Wall time of the command, up to the proof's arrival.
    pub seconds: f64,
    /// From acceptance to completion, as the coordinator counts.
    pub cluster_seconds: Option<f64>,
    pub phases: Option<PhaseSeconds>,
    /// Where the proof is, and its size.
    pub proof: Option<(PathBuf, usize)>,
}

impl Ran {
    pub fn print(&self, as_json: bool) {
        if as_json {
            let mut value = json!({
                "outputs": self.public.outputs,
                "exit_code": self.public.exit_code,
                "steps": self.steps,
                "segments": self.segments,
                "uart": self.uart,
                "seconds": self.seconds,
            });
            if let Value::Object(object) = &mut value {
                let optional = [
                    ("job", self.job.map(|job| json!(job.to_string()))),
                    ("cluster_seconds", self.cluster_seconds.map(|seconds| json!(seconds))),
                    ("phases", self.phases.map(|phases| json!(phases))),
                    ("out", self.proof.as_ref().map(|(path, _)| json!(path))),
                    ("proof_bytes", self.proof.as_ref().map(|(_, bytes)| json!(bytes))),
                ];
                object.extend(optional.into_iter().filter_map(|(key, value)| Some((key.to_owned(), value?))));
            }
            println!("{value}");
            return;
        }
        if let Some(job) = self.job {
            println!("job        {job}");
        }
        print_public(&self.public);
        println!("steps      {}", self.steps);
        if self.segments > 0 {
            println!("segments   {}", self.segments);
        }
        println!("time       {:.1} s", self.seconds);
        if let Some((path, bytes)) = &self.proof {
            println!("proof      {} ({bytes} bytes, verified)", path.display());
        }
        if !self.uart.is_empty() {
            println!("printed\n{}", self.uart.trim_end());
        }
    }
}

/// A verified proof.
pub struct Verified {
    pub kind: ProofKind,
    pub public: PublicValues,
    pub proof_bytes: usize,
    pub seconds: f64,
}

impl Verified {
    pub fn print(&self, as_json: bool) {
        if as_json {
            let value = json!({
                "valid": true,
                "kind": self.kind.as_str(),
                "outputs": self.public.outputs,
                "exit_code": self.public.exit_code,
                "proof_bytes": self.proof_bytes,
                "verify_ms": self.seconds * 1000.0,
            });
            println!("{value}");
            return;
        }
        println!("valid      {}, {} bytes, verified in {:.0} ms", self.kind.as_str(), self.proof_bytes, self.seconds * 1000.0);
        print_public(&self.public);
    }
}

/// Outputs as the guest wrote them: words in hexadecimal, eight a line, without the zeros at the end.
fn print_public(public: &PublicValues) {
    let used = public.outputs.iter().rposition(|&word| word != 0).map_or(0, |last| last + 1);
    for (line, words) in public.outputs[..used].chunks(8).enumerate() {
        let words: Vec<String> = words.iter().map(|word| format!("{word:08x}")).collect();
        println!("{}{}", if line == 0 { "outputs    " } else { "           " }, words.join(" "));
    }
    if used == 0 {
        println!("outputs    none");
    }
    println!("exit code  {}", public.exit_code);
}

/// Where a job that waits stands, or that its turn has come.
fn standing(job: &JobRecord, queue: &QueueOrder) -> Option<String> {
    if job.waits_for_input() {
        return Some("its input is being streamed".to_owned());
    }
    if job.state != JobState::Queued {
        return None;
    }
    Some(match queue.position(job.job) {
        Some(position) if job.is_waiting() => format!("position {position} of {}", queue.waiting.len()),
        // Accepted or begun a moment ago: the order is written once a second.
        None if job.is_waiting() => "waits for its turn".to_owned(),
        _ => "next for a free worker".to_owned(),
    })
}

pub fn status(job: &JobRecord, queue: &QueueOrder, as_json: bool) {
    if as_json {
        println!("{}", json!(JobStatus::new(job, queue)));
        return;
    }
    let counts = job.progress;
    let of = |done: u32| match counts.segments {
        Some(total) => format!("{done}/{total}"),
        None => done.to_string(),
    };
    println!("job          {}", job.job);
    println!("state        {} ({})", job.state, job.goal);
    if let Some(standing) = standing(job, queue) {
        println!("queue        {standing}, priority {}", job.priority());
    }
    println!("program      {}", job.request.program);
    for (key, value) in &job.request.metadata {
        println!("metadata     {}={}", key.escape_debug(), value.escape_debug());
    }
    println!("steps        {}", counts.steps);
    println!("cut          {}", of(counts.planned));
    println!("contributed  {}", of(counts.contributed));
    println!("proven       {}", of(counts.proven));
    println!("folded       {}", counts.folded);
    if counts.repeated > 0 {
        println!("repeated     {} contributions and proofs, because of faults", counts.repeated);
    }
    let dropped: Vec<String> =
        job.dropped.by_reason().iter().filter(|(_, n)| *n > 0).map(|(reason, n)| format!("{n} {reason}")).collect();
    for incident in &job.incidents {
        let worker = incident.worker.map_or_else(|| "unknown".to_owned(), |worker| worker.to_string());
        println!("incident     worker {worker}: {}", incident.message);
    }
    if !dropped.is_empty() {
        println!("dropped      reports: {}", dropped.join(", "));
    }
    if let Some(failure) = &job.failure {
        println!("cause        {failure}");
    }
}

pub fn jobs(jobs: &[JobRecord], queue: &QueueOrder, as_json: bool) {
    if as_json {
        println!("{}", Value::Array(jobs.iter().map(|job| json!(JobStatus::new(job, queue))).collect()));
        return;
    }
    println!("{:36}  {:8}  {:17}  {:>9}  cause", "job", "kind", "state", "proven");
    for job in jobs {
        let total = job.progress.segments.map_or_else(|| "?".to_owned(), |total| total.to_string());
        let cause = job.failure.as_ref().map(ToString::to_string).or_else(|| standing(job, queue)).unwrap_or_default();
        let proven = format!("{}/{total}", job.progress.proven);
        println!("{}  {:8}  {:17}  {proven:>9}  {cause}", job.job, job.goal.as_str(), job.state.as_str());
    }
}

pub fn workers(workers: &[WorkerPresence], as_json: bool) {
    if as_json {
        let values = workers.iter().map(|worker| {
            json!({
                "worker": worker.worker.to_string(),
                "host": worker.host,
                "capacity": worker.capacity,
                "state": worker.state.as_str(),
                "reason": worker.reason,
                "busy": worker.load.units_busy,
                "assignments": worker.load.assignments,
                "waiting": worker.load.waiting,
                "release": worker.versions.release,
                "backend": worker.versions.backend,
                "asked": worker.versions.asked,
            })
        });
        println!("{}", Value::Array(values.collect()));
        return;
    }
    println!("{:36}  {:16}  {:>8}  {:8}  {:>4}  {:>4}", "worker", "host", "capacity", "state", "busy", "held");
    for worker in workers {
        let load = &worker.load;
        let host: String = worker.host.chars().take(16).collect();
        let (capacity, state) = (worker.capacity, worker.state.as_str());
        println!("{}  {host:16}  {capacity:>8}  {state:8}  {:>4}  {:>4}", worker.worker, load.units_busy, load.assignments);
        if let Some(reason) = &worker.reason {
            println!("  gets no work: {reason}");
        }
        if let Some(asked) = &worker.versions.asked {
            let own = &worker.versions.backend;
            println!("  gets no work: its prover is {own}, the coordinator's {asked}; run the same release on both");
        }
    }
}

pub fn cancelled(job: JobId, cancellation: Cancellation, as_json: bool) {
    let (cancelled, state) = match cancellation {
        Cancellation::Cancelled { .. } => (true, JobState::Cancelled),
        Cancellation::EndedBefore(state) => (false, state),
    };
    if as_json {
        println!("{}", json!({ "job": job.to_string(), "cancelled": cancelled, "state": state.as_str() }));
        return;
    }
    match cancellation {
        Cancellation::Cancelled { before: false } => println!("job {job} is cancelled"),
        Cancellation::Cancelled { before: true } => println!("job {job} had been cancelled already"),
        Cancellation::EndedBefore(state) => println!("job {job} had ended already: {state}"),
    }
}

pub fn registered(program: ProgramId, as_json: bool) {
    match as_json {
        true => println!("{}", json!({ "program": program.to_string() })),
        false => println!("{program}"),
    }
}

pub fn key(program: ProgramId, out: &Path, bytes: usize, as_json: bool) {
    if as_json {
        println!("{}", json!({ "program": program.to_string(), "verifying_key": out, "bytes": bytes }));
        return;
    }
    println!("program    {program}");
    println!("key        {} ({bytes} bytes)", out.display());
}

pub fn set_up(job: JobId, program: ProgramId, milliseconds: u64, as_json: bool) {
    if as_json {
        println!("{}", json!({ "job": job.to_string(), "program": program.to_string(), "milliseconds": milliseconds }));
        return;
    }
    println!("job        {job}");
    println!("program    {program}");
    println!("time       {:.1} s", milliseconds as f64 / 1000.0);
}
