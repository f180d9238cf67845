//! Dead letters.

use serde_json::{Value, json};
use zisk_common::ids::JobId;
use zisk_common::messages::{Dead, DeadLetter};
use zisk_common::view::Incident;

fn letter_json(letter: &DeadLetter) -> Value {
    match &letter.dead {
        Dead::Job(dead) => json!({
            "id": letter.id(),
            "at_ms": letter.at_ms,
            "what": "job",
            "job": dead.job.to_string(),
            "kind": dead.goal.as_str(),
            "client": dead.request.client,
            "program": dead.request.program.to_string(),
            "input": dead.request.input.map(|input| input.key.to_string()),
            "attempt": dead.attempt,
            "failure": Incident::from(&dead.failure),
            "attempts": dead.attempts.iter().map(Incident::from).collect::<Vec<_>>(),
            "log": dead.failure.log,
        }),
        Dead::Unreadable(message) => json!({
            "id": letter.id(),
            "at_ms": letter.at_ms,
            "what": "unreadable",
            "job": message.job.map(|job| job.to_string()),
            "subject": message.subject,
            "stream": message.stream,
            "sequence": message.sequence,
            "reason": message.reason,
            "content_type": message.content_type,
            "bytes": message.bytes,
            "payload_hex": hex(&message.payload),
        }),
    }
}

pub fn list(letters: &[DeadLetter], as_json: bool) {
    if as_json {
        println!("{}", Value::Array(letters.iter().map(letter_json).collect()));
        return;
    }
    println!("{:36}  {:20}  {:12}  {:>7}  {:>7}  cause", "id", "when", "phase", "segment", "attempt");
    for letter in letters {
        let (id, when) = (letter.id(), time(letter.at_ms));
        match &letter.dead {
            Dead::Job(dead) => {
                let phase = dead.failure.phase.map_or("-", |phase| phase.as_str());
                let segment = dead.failure.segment.map_or_else(|| "-".to_owned(), |n| n.to_string());
                println!("{id:36}  {when:20}  {phase:12}  {segment:>7}  {:>7}  {}", dead.attempt, dead.failure.message);
            }
            Dead::Unreadable(message) => {
                println!("{id:36}  {when:20}  {:12}  {:>7}  {:>7}  {}", "unreadable", "-", "-", message.reason);
            }
        }
    }
}

pub fn letter(letter: &DeadLetter, as_json: bool) {
    if as_json {
        println!("{}", letter_json(letter));
        return;
    }
    println!("id         {}", letter.id());
    println!("when       {}", time(letter.at_ms));
    match &letter.dead {
        Dead::Job(dead) => {
            println!("job        {} ({})", dead.job, dead.goal);
            println!("client     {}", dead.request.client);
            println!("program    {}", dead.request.program);
            if let Some(input) = dead.request.input {
                println!("input      {} ({} bytes)", input.key.digest, input.size);
            }
            if let Some(phase) = dead.failure.phase {
                println!("phase      {phase}");
            }
            if let Some(segment) = dead.failure.segment {
                println!("segment    {segment}");
            }
            if let Some(worker) = dead.failure.worker {
                println!("worker     {worker}");
            }
            println!("attempt    {}", dead.attempt);
            println!("cause      {}", dead.failure);
            for failure in &dead.attempts {
                let worker = failure.worker.map_or_else(|| "coordinator".to_owned(), |worker| worker.to_string());
                println!("failed     {worker}: {}", failure.message);
            }
            for line in &dead.failure.log {
                println!("log        {line}");
            }
        }
        Dead::Unreadable(message) => {
            println!("subject    {}", message.subject);
            println!("message    {} of stream {}", message.sequence, message.stream);
            if let Some(job) = message.job {
                println!("job        {job}");
            }
            if let Some(content_type) = &message.content_type {
                println!("type       {content_type}");
            }
            println!("cause      {}", message.reason);
            println!("bytes      {}", message.bytes);
            let shown: String = String::from_utf8_lossy(&message.payload).escape_debug().take(400).collect();
            println!("begins     {shown}");
        }
    }
}

pub fn requeued(id: &str, job: JobId, as_json: bool) {
    if as_json {
        println!("{}", json!({ "requeued": id, "job": job.to_string() }));
    } else {
        println!("job        {job}");
        eprintln!("job {id} is submitted again as {job}; its dead letter is gone");
    }
}

pub fn dropped(count: u64, as_json: bool) {
    if as_json {
        println!("{}", json!({ "dropped": count }));
    } else {
        println!("{count} dropped");
    }
}

fn hex(bytes: &[u8]) -> String {
    bytes.iter().map(|byte| format!("{byte:02x}")).collect()
}

/// UTC, to the second.
fn time(at_ms: u64) -> String {
    let at = i64::try_from(at_ms).ok().and_then(chrono::DateTime::from_timestamp_millis);
    at.map_or_else(|| at_ms.to_string(), |at| at.format("%Y-%m-%dT%H:%M:%SZ").to_string())
}
