//! What is refused: by which code, at which field, and that nothing is made of it.

use anyhow::{Context, Result, ensure};
use serde_json::{Value, json};
use zisk_common::errors::ErrorCode;
use zisk_common::ids::{Digest, JobId};
use zisk_tests::api::{Caller, outcome};
use zisk_tests::story::Story;

use super::{id, inline, traces};

/// Headers, body, code, field.
type Raw<'a> = (&'a [(&'a str, &'a str)], Vec<u8>, ErrorCode, Option<&'a str>);

#[tokio::test(flavor = "multi_thread")]
async fn each_mistake_is_named_by_code_and_field_and_makes_nothing() -> Result<()> {
    let story = Story::start(0).await?;
    let caller = Caller::connect(&story.fleet.nats.url()).await?;
    let workload = story.reference.workload("hello", b"you")?;
    let program = story.fleet.client.register(&workload.elf).await?.to_string();
    let unknown = Digest::of(b"unknown").to_string();
    let job = JobId::random();
    let before = traces(&story).await?;
    let good = json!({ "program": program });
    let with = |field: &str, value: Value| {
        let mut request = good.clone();
        request[field] = value;
        request
    };
    let many: serde_json::Map<String, Value> = (0..33).map(|n| (format!("k{n:02}"), "".into())).collect();
    let cases: Vec<(&str, Value, ErrorCode, Option<&str>, &str)> = vec![
        ("prove", json!([]), ErrorCode::Unreadable, None, "application/json"),
        ("prove", json!({}), ErrorCode::MissingField, Some("program"), "inline"),
        ("prove", json!({ "program": null }), ErrorCode::MissingField, Some("program"), "key"),
        ("prove", with("prioritiy", 1.into()), ErrorCode::UnknownField, Some("prioritiy"), "params"),
        ("prove", with("params", json!({ "prio": 1 })), ErrorCode::UnknownField, Some("params.prio"), "priority"),
        ("prove", with("program", json!({ "uri": "x" })), ErrorCode::UnknownField, Some("program.uri"), "key, url, inline"),
        (
            "prove",
            with("program", json!({ "url": format!("s3://elsewhere/program/{program}") })),
            ErrorCode::NotAllowed,
            Some("program.url"),
            "file:///",
        ),
        ("setup", with("input", inline(b"x")), ErrorCode::UnknownField, Some("input"), "program"),
        ("prove", with("v", 2.into()), ErrorCode::SchemaVersion, Some("v"), "1 to 1"),
        ("prove", json!({ "v": 2, "program": { "shape": "new" } }), ErrorCode::SchemaVersion, Some("v"), "1 to 1"),
        ("prove", with("v", "1".into()), ErrorCode::WrongType, Some("v"), "whole number"),
        ("prove", with("program", 7.into()), ErrorCode::WrongType, Some("program"), "program id"),
        ("prove", with("params", json!([1])), ErrorCode::WrongType, Some("params"), "object"),
        ("prove", with("params", json!({ "priority": "5" })), ErrorCode::WrongType, Some("params.priority"), "0 to 9"),
        ("prove", with("params", json!({ "priority": 5.5 })), ErrorCode::WrongType, Some("params.priority"), "0 to 9"),
        ("prove", with("params", json!({ "priority": 10 })), ErrorCode::NotAllowed, Some("params.priority"), "0 to 9"),
        ("prove", with("params", json!({ "priority": -1 })), ErrorCode::NotAllowed, Some("params.priority"), "0 to 9"),
        (
            "prove",
            with("params", json!({ "log_segment_steps": 21 })),
            ErrorCode::NotAllowed,
            Some("params.log_segment_steps"),
            "10 to 20",
        ),
        (
            "prove",
            with("params", json!({ "log_segment_steps": 300 })),
            ErrorCode::NotAllowed,
            Some("params.log_segment_steps"),
            "10 to 20",
        ),
        ("prove", with("params", json!({ "max_steps": 0 })), ErrorCode::NotAllowed, Some("params.max_steps"), "1 to"),
        ("prove", with("params", json!({ "timeout_seconds": 0 })), ErrorCode::NotAllowed, Some("params.timeout_seconds"), "1 to"),
        (
            "prove",
            with("params", json!({ "timeout_seconds": 604_801 })),
            ErrorCode::NotAllowed,
            Some("params.timeout_seconds"),
            "1 to",
        ),
        (
            "prove",
            with("params", json!({ "proof_retention_seconds": 1u64 << 40 })),
            ErrorCode::NotAllowed,
            Some("params.proof_retention_seconds"),
            "0 to 315360000",
        ),
        ("prove", with("params", json!({ "proof": "groth16" })), ErrorCode::NotAllowed, Some("params.proof"), "recursive"),
        ("prove", with("client", "x".repeat(65).into()), ErrorCode::NotAllowed, Some("client"), "64 bytes"),
        ("prove", with("client", 1.into()), ErrorCode::WrongType, Some("client"), "text"),
        ("prove", with("metadata", "x".into()), ErrorCode::WrongType, Some("metadata"), "object"),
        ("prove", with("metadata", json!({ "n": 1 })), ErrorCode::WrongType, Some("metadata.n"), "text"),
        ("prove", with("metadata", many.into()), ErrorCode::NotAllowed, Some("metadata.k32"), "at most 32 pairs"),
        ("prove", with("metadata", json!({ "k": "x".repeat(513) })), ErrorCode::NotAllowed, Some("metadata.k"), "512 bytes"),
        ("prove", with("idempotency_key", "".into()), ErrorCode::NotAllowed, Some("idempotency_key"), "1 to 128"),
        ("prove", with("program", program.to_uppercase().into()), ErrorCode::NotAllowed, Some("program"), "64 lower-case"),
        (
            "prove",
            with("program", json!({ "key": format!("input/{unknown}") })),
            ErrorCode::NotAllowed,
            Some("program.key"),
            "program/<id>",
        ),
        ("prove", with("program", json!({ "key": "../x" })), ErrorCode::NotAllowed, Some("program.key"), "program/<id>"),
        ("prove", with("program", json!({})), ErrorCode::NotAllowed, Some("program"), "inline"),
        ("prove", with("program", json!({ "key": "x", "inline": "" })), ErrorCode::NotAllowed, Some("program"), "inline"),
        ("prove", with("input", "x".into()), ErrorCode::WrongType, Some("input"), "inline"),
        ("prove", with("input", json!({ "inline": "no base64!" })), ErrorCode::NotAllowed, Some("input.inline"), "padding"),
        ("prove", with("input", json!({ "inline": [1, 2] })), ErrorCode::WrongType, Some("input.inline"), "base64"),
        ("prove", with("program", unknown.clone().into()), ErrorCode::ProgramNotFound, Some("program"), "stored"),
        (
            "execute",
            with("program", json!({ "key": format!("program/{unknown}") })),
            ErrorCode::ProgramNotFound,
            Some("program"),
            "stored",
        ),
        ("setup", with("program", unknown.clone().into()), ErrorCode::ProgramNotFound, Some("program"), "stored"),
        ("prove", with("input", json!({ "key": format!("input/{unknown}") })), ErrorCode::InputNotFound, Some("input"), "stored"),
        ("prove", with("program", inline(b"this is no ELF")), ErrorCode::ProgramUnusable, Some("program.inline"), "RISC-V"),
        ("status", json!({}), ErrorCode::MissingField, Some("job"), "UUID"),
        ("status", json!({ "job": job, "x": 1 }), ErrorCode::UnknownField, Some("x"), "job"),
        ("status", json!({ "job": job }), ErrorCode::JobNotFound, Some("job"), "api.jobs"),
        ("status", json!({ "job": job.to_string().to_uppercase() }), ErrorCode::NotAllowed, Some("job"), "lower-case"),
        ("result", json!({ "job": job }), ErrorCode::JobNotFound, Some("job"), "api.jobs"),
        ("result", json!({ "job": job, "inline": "yes" }), ErrorCode::WrongType, Some("inline"), "true or false"),
        ("cancel", json!({ "job": job }), ErrorCode::JobNotFound, Some("job"), "api.jobs"),
        ("jobs", json!({ "limit": 101 }), ErrorCode::NotAllowed, Some("limit"), "1 to 100"),
        ("jobs", json!({ "after": "x" }), ErrorCode::NotAllowed, Some("after"), "UUID"),
        ("verify", json!({ "program": program }), ErrorCode::MissingField, Some("proof"), "proof/<digest>"),
        ("verify", json!({ "proof": inline(b"x") }), ErrorCode::MissingField, Some("program"), "verifying_key"),
        (
            "verify",
            json!({ "proof": inline(b"x"), "program": program, "verifying_key": inline(b"x") }),
            ErrorCode::NotAllowed,
            Some("verifying_key"),
            "one of the two",
        ),
        ("verify", json!({ "proof": inline(b"x"), "program": unknown }), ErrorCode::ProgramNotFound, Some("program"), "stored"),
        ("verify", json!({ "proof": inline(b"x"), "program": inline(b"x") }), ErrorCode::ProgramUnusable, Some("program"), ""),
        ("verify", json!({ "proof": inline(b"x"), "program": program }), ErrorCode::ProofInvalid, Some("proof"), ""),
        (
            "verify",
            json!({ "proof": { "key": format!("proof/{unknown}") }, "program": program }),
            ErrorCode::ProofNotFound,
            Some("proof"),
            "stored",
        ),
        (
            "verify",
            json!({ "proof": inline(b"x"), "verifying_key": { "key": format!("key/{unknown}") } }),
            ErrorCode::KeyNotFound,
            Some("verifying_key"),
            "stored",
        ),
    ];
    for (endpoint, body, code, field, allowed) in &cases {
        // A list is no MessagePack of its own accord.
        let headers: &[(&str, &str)] = if body.is_array() { &[] } else { &[("Content-Type", "application/json")] };
        let error = match outcome(&caller.send(endpoint, headers, body.to_string().into_bytes()).await?)? {
            Err(error) => error,
            Ok(answer) => anyhow::bail!("api.{endpoint} of {body} is not refused: {answer}"),
        };
        let said = error.allowed.as_deref().unwrap_or_default();
        ensure!((error.code, error.field.as_deref()) == (*code, *field), "api.{endpoint} of {body}: {error:?}");
        ensure!(said.contains(allowed), "api.{endpoint} of {body}: {allowed:?} is not in {error:?}");
        // In MessagePack the same.
        if !body.is_array() {
            let packed = rmp_serde::to_vec_named(body)?;
            let message = caller.send(endpoint, &[("Content-Type", "application/msgpack")], packed).await?;
            assert_eq!(
                outcome(&message)?.err().map(|error| (error.code, error.field)),
                Some((error.code, error.field)),
                "{body}"
            );
        }
    }
    // What is wrong before there are fields, and what only MessagePack can hold within a message.
    let large = rmp_serde::to_vec_named(&(serde_bytes::ByteBuf::from(vec![7; 700 * 1024 + 1]),))?;
    let raw = |fields: &str| fields.replace("PROGRAM", &program).into_bytes();
    let mut too_large = vec![0x82];
    too_large.extend(rmp_serde::to_vec("program")?);
    too_large.extend(rmp_serde::to_vec(&program)?);
    too_large.extend(rmp_serde::to_vec("input")?);
    too_large.push(0x81);
    too_large.extend(rmp_serde::to_vec("inline")?);
    too_large.extend(&large[1..]);
    let json = [("Content-Type", "application/json")];
    let cases: Vec<Raw<'_>> = vec![
        (&[], raw("{\"program\": \"PROGRAM\"} x"), ErrorCode::Unreadable, None),
        (&[], raw("{\"program\": \"PROGRAM\", \"program\": \"PROGRAM\"}"), ErrorCode::Unreadable, None),
        (&[], raw("{'program': 'PROGRAM'}"), ErrorCode::Unreadable, None),
        (&[], vec![0xc1], ErrorCode::Unreadable, None),
        (&[], Vec::new(), ErrorCode::MissingField, Some("program")),
        (&[("Content-Type", "text/html")], raw("{\"program\": \"PROGRAM\"}"), ErrorCode::Unreadable, None),
        (&json, b"17".to_vec(), ErrorCode::WrongType, None),
        (&[], too_large, ErrorCode::InlineTooLarge, Some("input.inline")),
        (
            &[("Nats-Msg-Id", "a")],
            raw("{\"program\": \"PROGRAM\", \"idempotency_key\": \"b\"}"),
            ErrorCode::NotAllowed,
            Some("idempotency_key"),
        ),
    ];
    for (headers, body, code, field) in cases {
        let shown = String::from_utf8_lossy(&body[..body.len().min(80)]).into_owned();
        let error = outcome(&caller.send("prove", headers, body).await?)?.err().with_context(|| format!("{shown} is taken"))?;
        ensure!((error.code, error.field.as_deref()) == (code, field), "{shown}: {error:?}");
    }
    assert_eq!(traces(&story).await?, before, "requests, events, jobs and objects");
    // And what was refused for its smallest fault is taken without it, by the header's key, too.
    let message = caller.send("execute", &[("Nats-Msg-Id", "a")], good.to_string().into_bytes()).await?;
    let answer = outcome(&message)?.map_err(|error| anyhow::anyhow!("{error:?}"))?;
    assert_eq!(id(&answer)?, JobId::of_key("", "a"));
    let packed = rmp_serde::to_vec_named(&with("idempotency_key", "a".into()))?;
    let again = outcome(&caller.send("execute", &[], packed).await?)?.map_err(|error| anyhow::anyhow!("{error:?}"))?;
    assert_eq!(id(&again)?, id(&answer)?);
    Ok(())
}
