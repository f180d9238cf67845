//! Events of a job, one line each.

use serde_json::{Value, json};
use zisk_common::messages::{Event, EventBody, ExecutionSummary, ObjectRef};

/// One event; `began_ms` is the time of the job's first.
pub fn event(event: &Event, began_ms: u64, as_json: bool) {
    if as_json {
        println!("{}", event_json(event));
        return;
    }
    let seconds = event.at_ms.saturating_sub(began_ms) as f64 / 1000.0;
    let line = format!("{seconds:>8.2} s  {:<11}  {}", event.kind().as_str(), text(event));
    println!("{}", line.trim_end());
}

fn text(event: &Event) -> String {
    let counts = event.progress;
    let of = |done: u32| counts.segments.map_or_else(|| done.to_string(), |total| format!("{done}/{total}"));
    match &event.body {
        EventBody::Accepted { position: Some(position) } => format!("position {position}"),
        EventBody::Accepted { position: None } | EventBody::Admitted {} | EventBody::Executing {} => String::new(),
        EventBody::WaitingForInput {} => String::new(),
        EventBody::InputReceived { input } => format!("{} bytes", input.map_or(0, |input| input.size)),
        EventBody::Challenged { round: 0 } => String::new(),
        EventBody::Challenged { round } => format!("again, round {round}: all segments are proven anew"),
        EventBody::Replaced { n, worker, replaced } => {
            format!("segment {n}: the contribution of {replaced} was false, that of {worker} counts")
        }
        EventBody::Rejected { n, worker, aggregator, reason, .. } => {
            format!("segment {n}: the proof of {worker} was rejected by {aggregator}: {reason}")
        }
        EventBody::Planned { n } => format!("segment {n}"),
        EventBody::Executed { summary } => format!("{} steps, {} segments", summary.steps, summary.segments),
        EventBody::Contributed { n, worker, .. } => format!("segment {n} by {worker}, {}", of(counts.contributed)),
        EventBody::Proof { n, worker, .. } => format!("segment {n} by {worker}, {}", of(counts.proven)),
        EventBody::Folded { n, worker, epoch, .. } => format!("fold {n} by {worker}, {} folded, epoch {epoch}", counts.folded),
        EventBody::Completed { milliseconds, proof, .. } => {
            let proof = proof.map_or_else(|| "no proof asked for".to_owned(), |proof| format!("proof of {} bytes", proof.size));
            format!("after {:.1} s, {proof}", *milliseconds as f64 / 1000.0)
        }
        EventBody::Failed { failure } | EventBody::Cancelled { failure } => failure.to_string(),
    }
}

fn event_json(event: &Event) -> Value {
    let counts = event.progress;
    let mut value = json!({
        "job": event.job.to_string(),
        "at_ms": event.at_ms,
        "event": event.kind().as_str(),
        "segments": counts.segments,
        "planned": counts.planned,
        "contributed": counts.contributed,
        "proven": counts.proven,
        "folded": counts.folded,
        "steps": counts.steps,
        "repeated": counts.repeated,
    });
    if !event.metadata.is_empty() {
        value["metadata"] = json!(event.metadata);
    }
    let more = match &event.body {
        EventBody::Accepted { position } => json!({ "position": position }),
        EventBody::WaitingForInput {} | EventBody::Admitted {} | EventBody::Executing {} => json!({}),
        EventBody::InputReceived { input } => json!({ "object": input.as_ref().map(object_json) }),
        EventBody::Challenged { round } => json!({ "round": round }),
        EventBody::Replaced { n, worker, replaced } => {
            json!({ "segment": n, "worker": worker.to_string(), "replaced": replaced.to_string() })
        }
        EventBody::Rejected { n, worker, aggregator, reason, .. } => json!({
            "segment": n,
            "worker": worker.to_string(),
            "aggregator": aggregator.to_string(),
            "reason": reason,
        }),
        EventBody::Planned { n } => json!({ "segment": n }),
        EventBody::Executed { summary } => summary_json(summary),
        EventBody::Contributed { n, worker, .. } => json!({ "segment": n, "worker": worker.to_string() }),
        EventBody::Proof { n, worker, node, .. } => {
            json!({ "segment": n, "worker": worker.to_string(), "object": object_json(node) })
        }
        EventBody::Folded { n, worker, epoch, .. } => json!({ "n": n, "worker": worker.to_string(), "epoch": epoch }),
        EventBody::Completed { proof, milliseconds, .. } => {
            json!({ "milliseconds": milliseconds, "object": proof.as_ref().map(object_json) })
        }
        EventBody::Failed { failure } | EventBody::Cancelled { failure } => json!({
            "failure": { "kind": failure.kind.as_str(), "message": failure.message },
        }),
    };
    if let (Value::Object(value), Value::Object(more)) = (&mut value, more) {
        value.extend(more);
    }
    value
}

fn summary_json(summary: &ExecutionSummary) -> Value {
    let words: Vec<u32> = zisk_client::output_words(&summary.outputs);
    json!({ "exit_code": summary.exit_code, "outputs": words })
}

fn object_json(object: &ObjectRef) -> Value {
    json!({ "key": object.key.to_string(), "bytes": object.size })
}
