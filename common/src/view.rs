//! Jobs as programs are shown them: the same JSON from `zisk --json` and from the service on NATS, with stable names.

use std::collections::BTreeMap;

use serde_json::{Value, json};

use crate::messages::{Failure, JobRecord, QueueOrder};

/// Where a job stands.
pub fn job(job: &JobRecord, queue: &QueueOrder) -> Value {
    json!({
        "job": job.job,
        "kind": job.goal,
        "state": job.state,
        "position": queue.position(job.job).filter(|_| job.is_waiting()),
        "priority": job.priority(),
        "client": job.request.client,
        "metadata": job.request.metadata,
        "program": job.request.program,
        "segments": job.progress.segments,
        "planned": job.progress.planned,
        "contributed": job.progress.contributed,
        "proven": job.progress.proven,
        "folded": job.progress.folded,
        "steps": job.progress.steps,
        "repeated": job.progress.repeated,
        "dropped": job.dropped.by_reason().into_iter().collect::<BTreeMap<_, _>>(),
        "incidents": job.incidents.iter().map(failure).collect::<Vec<_>>(),
        "accepted_ms": job.timings.accepted_ms,
        "admitted_ms": job.timings.admitted_ms,
        "ended_ms": job.timings.ended_ms,
        "failure": job.failure.as_ref().map(|failure| json!({
            "code": failure.kind.code(),
            "kind": failure.kind.as_str(),
            "message": failure.message,
        })),
    })
}

/// What a job that ended well ended with; the proof is to be added.
pub fn result(job: &JobRecord) -> Value {
    let run = job.execution.as_ref();
    json!({
        "job": job.job,
        "kind": job.goal,
        "program": job.request.program,
        "client": job.request.client,
        "metadata": job.request.metadata,
        "outputs": run.map(|run| output_words(&run.outputs)),
        "exit_code": run.map(|run| run.exit_code),
        "steps": run.map(|run| run.steps),
        "segments": run.map(|run| run.segments),
        "uart": run.map(|run| String::from_utf8_lossy(&run.uart)),
        "milliseconds": job.timings.ended_ms.saturating_sub(job.timings.accepted_ms),
        "proof": null,
    })
}

/// A failure of one attempt.
pub fn failure(failure: &Failure) -> Value {
    json!({
        "kind": failure.kind.as_str(),
        "message": failure.message,
        "worker": failure.worker,
        "phase": failure.phase,
        "segment": failure.segment,
    })
}

/// Public outputs as words: 32 bits each, little-endian, as the guest wrote them.
pub fn output_words(outputs: &[u8]) -> Vec<u32> {
    outputs.chunks_exact(4).map(|word| u32::from_le_bytes([word[0], word[1], word[2], word[3]])).collect()
}
