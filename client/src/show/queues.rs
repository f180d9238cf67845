//! Queues of work, and programs.

use serde_json::{Value, json};
use zisk_common::messages::{BusCondition, ProgramEntry};
use zisk_common::streams::QueueDepth;
use zisk_common::subjects::ConsumerKind;

/// What a consumer's queue holds, in the words of docs/cluster.md.
fn name(kind: ConsumerKind) -> String {
    match kind {
        ConsumerKind::Requests => "requests".to_owned(),
        ConsumerKind::Assign(class) => format!("assign.{}", class.as_str()),
        ConsumerKind::Reports => "reports".to_owned(),
    }
}

/// The queues; `waiting` jobs have nothing on the bus yet, `dead` have failed for good, and `condition` is the bus's.
pub fn queues(depths: &[(ConsumerKind, QueueDepth)], waiting: usize, dead: usize, condition: &BusCondition, as_json: bool) {
    if as_json {
        let queues: serde_json::Map<String, Value> = depths
            .iter()
            .map(|(kind, depth)| {
                let depth = json!({ "pending": depth.pending, "held": depth.in_flight, "redelivered": depth.redelivered });
                (name(*kind), depth)
            })
            .collect();
        println!("{}", json!({ "queues": queues, "waiting_jobs": waiting, "dead_letters": dead, "stuck": condition.stuck }));
        return;
    }
    println!("{:16}  {:>8}  {:>8}  {:>11}", "queue", "pending", "held", "redelivered");
    for (kind, depth) in depths {
        println!("{:16}  {:>8}  {:>8}  {:>11}", name(*kind), depth.pending, depth.in_flight, depth.redelivered);
    }
    println!("jobs that wait for their turn: {waiting}; dead letters: {dead}");
    for (name, what) in &condition.stuck {
        println!("{name} is not as it should be: {what}; back up what you need and delete it, and it is made again");
    }
}

/// Programs whose keys are derived.
pub fn programs(programs: &[ProgramEntry], as_json: bool) {
    if as_json {
        let values = programs.iter().map(|entry| {
            json!({
                "program": entry.program.to_string(),
                "backend": entry.backend,
                "proving_key_bytes": entry.keys.proving.size,
                "verifying_key_bytes": entry.keys.verifying.size,
                "setup_ms": entry.milliseconds,
                "worker": entry.worker.to_string(),
            })
        });
        println!("{}", Value::Array(values.collect()));
        return;
    }
    println!("{:64}  {:>11}  {:>8}  prover", "program", "proving key", "setup");
    for entry in programs {
        let (program, bytes, milliseconds) = (entry.program, entry.keys.proving.size, entry.milliseconds);
        println!("{program}  {bytes:>11}  {milliseconds:>5} ms  {}", entry.backend);
    }
}
