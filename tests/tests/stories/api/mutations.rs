//! A thousand requests that were valid before something in them was changed at random: each is accepted, or refused by a code, and
//! what was accepted comes to an end. `ZISK_TEST_SEED` repeats a run, `ZISK_MUTATIONS` sets how many there are.

use std::collections::{BTreeMap, BTreeSet};

use anyhow::{Result, ensure};
use base64::Engine;
use base64::engine::general_purpose::STANDARD;
use futures::{StreamExt, stream};
use serde_json::{Map, Value, json};
use zisk_common::errors::{ErrorCode, ErrorObject};
use zisk_common::ids::{Digest, JobId};
use zisk_tests::api::{Caller, outcome};
use zisk_tests::chance::Chance;
use zisk_tests::story::Story;

/// Requests under way at once: fewer than a coordinator takes.
const AT_ONCE: usize = 16;

/// A valid request, as it stood.
struct Sample {
    endpoint: &'static str,
    body: Value,
}

/// Values that somebody else's program might send.
fn odd(chance: &mut Chance) -> Value {
    let all = [
        Value::Null,
        true.into(),
        0.into(),
        (-1).into(),
        1.5.into(),
        u64::MAX.into(),
        i64::MIN.into(),
        "".into(),
        "0".into(),
        "x".repeat(300).into(),
        "\u{0}\u{1f600}".into(),
        json!([]),
        json!([[1], {}]),
        json!({}),
        json!({ "key": "x", "inline": "AA==" }),
    ];
    chance.pick(&all).cloned().unwrap_or_default()
}

/// Changes one thing somewhere in an object.
fn alter(chance: &mut Chance, fields: &mut Map<String, Value>) {
    let names: Vec<String> = fields.keys().cloned().collect();
    let Some(name) = chance.pick(&names).cloned() else { return };
    if let Some(Value::Object(inner)) = fields.get_mut(&name)
        && chance.below(2) == 0
    {
        return alter(chance, inner);
    }
    match chance.below(5) {
        0 => {
            fields.remove(&name);
        }
        1 => {
            fields.insert(name, odd(chance));
        }
        2 => {
            let value = fields.remove(&name).unwrap();
            fields.insert(format!("{name}x"), value);
        }
        3 => {
            let value = odd(chance);
            fields.insert(["v", "params", "job", "idempotency_key"][chance.below(4)].to_owned(), value);
        }
        _ => {
            if let Some(Value::String(text)) = fields.get_mut(&name)
                && !text.is_empty()
            {
                let mut letters: Vec<char> = text.chars().collect();
                let at = chance.below(letters.len());
                letters[at] = char::from(32 + chance.below(95) as u8);
                *text = letters.into_iter().collect();
            }
        }
    }
}

/// Changes some bytes.
fn damage(chance: &mut Chance, bytes: &mut Vec<u8>) {
    for _ in 0..=chance.below(3) {
        let at = chance.below(bytes.len().max(1));
        match chance.below(4) {
            0 => bytes.truncate(at),
            1 => bytes.insert(at.min(bytes.len()), chance.below(256) as u8),
            2 if at < bytes.len() => drop(bytes.remove(at)),
            _ if at < bytes.len() => bytes[at] = chance.below(256) as u8,
            _ => {}
        }
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_thousand_mutations_are_accepted_or_refused_by_a_code() -> Result<()> {
    let count: usize = std::env::var("ZISK_MUTATIONS").ok().and_then(|text| text.parse().ok()).unwrap_or(1000);
    let mut chance = Chance::of_this_run();
    let mut story = Story::start(1).await?;
    let caller = Caller::connect(&story.fleet.nats.url()).await?;
    let workload = story.reference.workload("hello", b"you")?;
    let (known, unknown) = (story.fleet.client.register(&workload.elf).await?, Digest::of(b"unknown"));
    // With a key, so that most of those that are accepted are one job.
    let asked = |program: Digest| {
        json!({
            "v": 1,
            "program": program,
            "input": { "inline": STANDARD.encode(&workload.input) },
            "params": { "max_steps": 100_000, "priority": 3, "timeout_seconds": 60, "log_segment_steps": 12 },
            "client": "mutations",
            "metadata": { "a": "1", "b": "2" },
            "idempotency_key": "one",
        })
    };
    let first = caller.expect("execute", &asked(known)).await?;
    let set_up = json!({ "program": { "key": format!("program/{known}") }, "idempotency_key": "two" });
    let samples = [
        Sample { endpoint: "execute", body: asked(known) },
        Sample { endpoint: "prove", body: asked(unknown) },
        Sample { endpoint: "execute", body: json!({ "program": { "inline": STANDARD.encode([0x7f; 200]) } }) },
        Sample { endpoint: "setup", body: set_up },
        Sample { endpoint: "status", body: json!({ "job": first["job"] }) },
        Sample { endpoint: "result", body: json!({ "job": first["job"], "inline": false }) },
        Sample { endpoint: "input", body: json!({ "job": first["job"], "n": 0, "chunk": "AAAA" }) },
        Sample { endpoint: "cancel", body: json!({ "job": JobId::random() }) },
        Sample { endpoint: "jobs", body: json!({ "limit": 3, "after": JobId::random() }) },
        Sample { endpoint: "verify", body: json!({ "proof": { "inline": "AAAA" }, "program": unknown }) },
    ];
    let mut mutations = Vec::with_capacity(count);
    for n in 0..count {
        let sample = &samples[n % samples.len()];
        let (is_json, by_bytes) = (chance.below(2) == 0, chance.below(2) == 0);
        let mut body = sample.body.clone();
        if !by_bytes && let Value::Object(fields) = &mut body {
            for _ in 0..=chance.below(2) {
                alter(&mut chance, fields);
            }
        }
        let (mut bytes, header) = match is_json {
            true => (serde_json::to_vec(&body)?, "application/json"),
            false => (rmp_serde::to_vec_named(&body)?, "application/msgpack"),
        };
        if by_bytes {
            damage(&mut chance, &mut bytes);
        }
        // Now and then it is for the coordinator to find out.
        let header = if chance.below(8) == 0 { None } else { Some(header) };
        mutations.push((sample.endpoint, header, bytes));
    }
    let answers: Vec<Result<(usize, Result<Value, ErrorObject>)>> = stream::iter(mutations.iter().enumerate())
        .map(|(n, (endpoint, header, bytes))| {
            let caller = caller.clone();
            async move {
                let headers: Vec<(&str, &str)> = header.iter().map(|header| ("Content-Type", *header)).collect();
                let message = caller.send(endpoint, &headers, bytes.clone()).await?;
                Ok((n, outcome(&message)?))
            }
        })
        .buffer_unordered(AT_ONCE)
        .collect()
        .await;
    let mut by_code: BTreeMap<String, usize> = BTreeMap::new();
    let mut jobs: BTreeSet<JobId> = BTreeSet::new();
    for answer in answers {
        let (n, answer) = answer?;
        let (endpoint, header, bytes) = &mutations[n];
        let shown = || format!("mutation {n}, api.{endpoint} as {header:?}: {}", String::from_utf8_lossy(bytes).escape_debug());
        let code = match answer {
            Ok(answer) => {
                if ["prove", "execute", "setup"].contains(endpoint) {
                    let job = answer["job"].as_str().and_then(|job| job.parse().ok());
                    jobs.insert(job.ok_or_else(|| anyhow::anyhow!("{}: {answer}", shown()))?);
                }
                "accepted".to_owned()
            }
            Err(error) => {
                let code = error.code;
                // The request's own fault, or that of a job it names.
                ensure!(
                    code.status() < 500 && code != ErrorCode::TooManyRequests || code == ErrorCode::JobTimeout,
                    "{}: {error:?}",
                    shown()
                );
                code.to_string()
            }
        };
        *by_code.entry(code).or_default() += 1;
    }
    eprintln!("{} jobs; {by_code:?}", jobs.len());
    for code in
        [ErrorCode::Unreadable, ErrorCode::UnknownField, ErrorCode::WrongType, ErrorCode::NotAllowed, ErrorCode::ProgramNotFound]
    {
        assert!(count < 1000 || by_code.contains_key(&code.to_string()), "none met {code}: the mutations are no good");
    }
    assert!(by_code.contains_key("accepted"), "none was accepted");
    // No job is stuck.
    for job in jobs {
        story.ends(job).await?;
    }
    let coordinator = &mut story.fleet.coordinators[0];
    ensure!(coordinator.is_running() && !coordinator.log().contains("panicked"), "{}", coordinator.log_end());
    story.is_clean(&[]).await
}
