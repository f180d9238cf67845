//! A job's way from request to proof.

use anyhow::{Context, Result};
use base64::Engine;
use base64::engine::general_purpose::STANDARD;
use futures::future::join_all;
use serde_json::{Value, json};
use tokio::time::timeout;
use zisk_common::errors::ErrorCode;
use zisk_common::ids::{Digest, JobId};
use zisk_common::messages::JobState;
use zisk_common::subjects::EventKind;
use zisk_tests::api::Caller;
use zisk_tests::cli::zisk;
use zisk_tests::story::{JOB, LOG_STEPS, Story};

use super::{id, inline, refused};

#[tokio::test(flavor = "multi_thread")]
async fn a_job_goes_its_way_by_raw_json() -> Result<()> {
    let story = Story::start(1).await?;
    let caller = Caller::connect(&story.fleet.nats.url()).await?;
    let workload = story.reference.hashes(3)?;
    let request = json!({
        "program": inline(&workload.elf),
        "input": inline(&workload.input),
        "params": { "log_segment_steps": 14, "priority": 7 },
        "client": "a stranger",
        "metadata": { "order": "17", "": "x" },
        "idempotency_key": "first",
    });
    let empty_key = refused(&caller, "prove", &request).await?;
    assert_eq!((empty_key.code, empty_key.field.as_deref()), (ErrorCode::NotAllowed, Some("metadata.")));
    let mut request = request;
    request["metadata"] = json!({ "order": "17" });
    let answer = caller.expect("prove", &request).await?;
    assert_eq!((&answer["state"], &answer["position"]), (&"queued".into(), &Value::Null));
    let job = id(&answer)?;
    assert_eq!(job, JobId::of_key("a stranger", "first"));
    let record = story.ends_well(job, &workload).await?;
    assert_eq!((record.request.params.priority, record.request.client.as_str()), (Some(7), "a stranger"));

    // Once more is the same job, whatever has become of it; another request is none.
    let again = caller.expect("prove", &request).await?;
    assert_eq!((id(&again)?, &again["state"]), (job, &"completed".into()));
    for (field, value) in
        [("input", Value::Null), ("metadata", Value::Null), ("params", json!({ "priority": 1 })), ("program", inline(b"other"))]
    {
        let mut other = request.clone();
        other[field] = value;
        let error = refused(&caller, "prove", &other).await?;
        assert_eq!((error.code, error.field.as_deref(), error.job), (ErrorCode::KeyReused, Some("idempotency_key"), Some(job)));
        assert!(error.message.contains(field), "{}", error.message);
    }
    assert_eq!(
        refused(
            &caller,
            "execute",
            &json!({ "program": inline(&workload.elf), "client": "a stranger", "idempotency_key": "first" })
        )
        .await?
        .code,
        ErrorCode::KeyReused
    );

    // What it ended with, and the proof, which verifies.
    let program = Digest::of(&workload.elf).to_string();
    let status = caller.expect("status", &json!({ "job": job })).await?;
    assert_eq!(
        (&status["state"], &status["program"], &status["kind"]),
        (&"completed".into(), &program.as_str().into(), &"prove".into())
    );
    let result = caller.expect("result", &json!({ "job": job })).await?;
    assert_eq!(result["metadata"]["order"], "17");
    let proof = STANDARD.decode(result["proof"]["inline"].as_str().context("no proof")?)?;
    let outputs: Vec<u32> = serde_json::from_value(result["outputs"].clone())?;
    story.reference.verify(&workload.elf, &proof, &outputs)?;
    let by_key = caller.expect("result", &json!({ "job": job, "inline": false })).await?;
    assert_eq!((&by_key["proof"]["inline"], &by_key["proof"]["key"]), (&Value::Null, &result["proof"]["key"]));
    let key = json!({ "key": result["proof"]["key"] });
    let verified = caller.expect("verify", &json!({ "proof": key, "program": program })).await?;
    assert_eq!(
        (&verified["valid"], &verified["kind"], &verified["outputs"]),
        (&true.into(), &"recursive".into(), &result["outputs"])
    );
    let verifying_key = story.fleet.objects.get(record.keys.context("no keys")?.verifying).await?;
    let other_way = json!({ "proof": inline(&proof), "verifying_key": inline(&verifying_key) });
    assert_eq!(caller.expect("verify", &other_way).await?["valid"], true);

    // What is not valid is no answer.
    let mut forged = proof.clone();
    let middle = forged.len() / 2;
    forged[middle] ^= 1;
    let error = refused(&caller, "verify", &json!({ "proof": inline(&forged), "program": program })).await?;
    assert_eq!((error.code, error.field.as_deref()), (ErrorCode::ProofInvalid, Some("proof")));
    let error = refused(&caller, "verify", &json!({ "proof": key, "verifying_key": inline(b"x") })).await?;
    assert_eq!((error.code, error.field.as_deref()), (ErrorCode::NotAllowed, Some("verifying_key")));
    // More than are verified one after another are told so.
    let many = join_all((0..24).map(|_| caller.ask("verify", &other_way))).await;
    let mut done = 0;
    for one in many {
        match one? {
            Ok(answer) => done += usize::from(answer["valid"] == true),
            Err(error) => assert_eq!(error.code, ErrorCode::TooManyRequests),
        }
    }
    assert!((1..24).contains(&done), "{done} of 24 verified");

    // The same by the command line, and what a watcher sees.
    let shown = zisk(&story.fleet, &["status", &job.to_string(), "--json"]).await?.json()?;
    assert_eq!(shown, status);
    for kind in [EventKind::Accepted, EventKind::Completed] {
        let mut events = story.fleet.bus.events(job);
        let event = loop {
            let event = timeout(JOB, events.next()).await??;
            assert!(event.metadata.is_empty() || event.kind() == EventKind::Accepted || event.kind().is_terminal());
            if event.kind() == kind {
                break event;
            }
        };
        assert_eq!(event.metadata, record.request.metadata, "{kind}");
    }
    std::fs::write(story.fleet.directory().join("guest.elf"), workload.elf.as_slice())?;
    let executed =
        zisk(&story.fleet, &["execute", "--program", "guest.elf", "--metadata", "a=b=c", "--metadata", "d=", "--json"]).await?;
    // Without its input the guest exits with 2: what it gave, and then the error.
    let printed: Vec<Value> = executed.stdout.lines().map(serde_json::from_str).collect::<Result<_, _>>()?;
    assert_eq!((printed.len(), &printed[1]["code"]), (2, &"ZISK-2002".into()), "{executed:?}");
    let by_line = printed[0]["job"].as_str().context("no job")?;
    let shown = zisk(&story.fleet, &["status", by_line, "--json"]).await?.json()?;
    assert_eq!(shown["metadata"], json!({ "a": "b=c", "d": "" }));

    // The other kinds, with what is stored by now.
    let url = format!("file://{}/objects/{}", story.fleet.directory().display(), record.request.input.unwrap().key);
    let stored = json!({ "program": { "key": format!("program/{program}") }, "input": { "url": url } });
    let executed = id(&caller.expect("execute", &stored).await?)?;
    story.ends(executed).await?;
    let run = caller.expect("result", &json!({ "job": executed })).await?;
    assert_eq!((&run["outputs"], &run["proof"], &run["exit_code"]), (&result["outputs"], &Value::Null, &0.into()));
    let set_up = id(&caller.expect("setup", &json!({ "program": program })).await?)?;
    let set_up = story.ends(set_up).await?;
    assert_eq!(set_up.state, JobState::Completed);

    // A bundle does not fit a message: it is where its key says.
    let bundle = json!({ "program": program, "input": inline(&workload.input), "params": { "proof": "bundle", "log_segment_steps": LOG_STEPS } });
    let bundle = id(&caller.expect("prove", &bundle).await?)?;
    let bundle = story.ends_well(bundle, &workload).await?;
    let large = caller.expect("result", &json!({ "job": bundle.job })).await?;
    assert_eq!((&large["proof"]["inline"], &large["proof"]["bytes"]), (&Value::Null, &bundle.proof.unwrap().size.into()));

    // Page by page.
    let mut listed = Vec::new();
    let mut after = Value::Null;
    loop {
        let page = caller.expect("jobs", &json!({ "limit": 1, "after": after })).await?;
        listed.extend(page["jobs"].as_array().context("no jobs")?.iter().map(|job| job["job"].clone()));
        after = page["next"].clone();
        if after.is_null() {
            break;
        }
    }
    assert_eq!(listed.len(), 5, "{listed:?}");
    assert_eq!(caller.expect("jobs", &json!({})).await?["jobs"].as_array().map(Vec::len), Some(5));
    let failed = caller.expect("status", &json!({ "job": by_line })).await?;
    assert_eq!(failed["state"], "completed", "execute tells of an exit code: {failed}");
    story.is_clean(&[&record, &set_up, &bundle]).await
}
