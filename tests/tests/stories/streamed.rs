//! Streamed inputs: a job that waits for its input has nothing else, loses nothing by a coordinator's death, and ends with a cause
//! when what was streamed is no input.

use std::collections::BTreeMap;
use std::io::Write;
use std::process::Stdio;
use std::time::Duration;

use anyhow::{Context, Result, ensure};
use async_nats::jetstream;
use base64::Engine;
use base64::engine::general_purpose::STANDARD;
use serde_json::{Value, json};
use tokio::time::{Instant, sleep};
use zisk_client::{Cancellation, ClientError, InputStream, JobOptions};
use zisk_common::errors::ErrorCode;
use zisk_common::ids::{Digest, JobId};
use zisk_common::messages::{FailureKind, JobParams, JobRecord, JobRequest, JobState, ObjectScope, ProofKind, Version};
use zisk_common::subjects::{EventKind, RequestKind, StreamKind};
use zisk_tests::Program;
use zisk_tests::api::Caller;
use zisk_tests::fleet::Settings;
use zisk_tests::guests::Workload;
use zisk_tests::story::{GRACE, JOB, LOG_STEPS, PATIENCE, Story};

/// What any NATS client can do: publish, and see whether it is stored.
async fn raw(story: &Story) -> Result<jetstream::Context> {
    Ok(jetstream::new(async_nats::connect(story.fleet.nats.url()).await?))
}

async fn push(jetstream: &jetstream::Context, job: JobId, what: &str, payload: &[u8]) -> Result<()> {
    jetstream.publish(format!("zisk.v1.input.{job}.{what}"), payload.to_vec().into()).await?.await?;
    Ok(())
}

/// The request of a job that waits for its input, published as it is.
async fn ask(story: &Story, workload: &Workload, timeout_seconds: Option<u64>) -> Result<JobId> {
    let program = story.fleet.client.register(&workload.elf).await?;
    let params = JobParams {
        log_segment_steps: Some(LOG_STEPS),
        proof: Some(ProofKind::Bundle),
        max_steps: workload.max_steps,
        timeout_seconds,
        ..JobParams::default()
    };
    let (v, job, client) = (Version::default(), JobId::random(), "raw".to_owned());
    let request = JobRequest { v, job, program, input: None, input_stream: true, params, client, metadata: Default::default() };
    story.fleet.bus.publish_request(RequestKind::Prove, &request).await?;
    Ok(job)
}

/// Messages in the stream of inputs.
async fn held(story: &Story) -> Result<u64> {
    let name = story.fleet.bus.prefix().stream(StreamKind::Input);
    Ok(story.fleet.bus.jetstream().get_stream(name).await?.cached_info().state.messages)
}

fn digest_of(record: &JobRecord) -> Option<Digest> {
    record.request.input.map(|input| input.key.digest)
}

#[tokio::test(flavor = "multi_thread")]
async fn an_input_streamed_by_any_nats_client_is_proven_like_one_given_at_once() -> Result<()> {
    let story = Story::start(1).await?;
    let workload = story.reference.hashes(3)?;
    let given = story.ends_well(story.submit(&workload).await?, &workload).await?;

    let (raw, job) = (raw(&story).await?, ask(&story, &workload, None).await?);
    story.wait_for(job, EventKind::WaitingForInput).await?;
    let record = story.fleet.client.status(job).await?;
    assert_eq!((record.state, record.timings.admitted_ms), (JobState::WaitingForInput, 0));
    // In any order, and one twice: the first counts.
    push(&raw, job, "1", &workload.input[3..]).await?;
    push(&raw, job, "0", &workload.input[..3]).await?;
    let again = push(&raw, job, "0", b"something else").await.unwrap_err();
    assert!(format!("{again:#?}").contains("per subject"), "{again:?}");
    assert!(story.fleet.bus.push_input(job, 0, "something else".into()).await?.duplicate);
    push(&raw, job, "close", b"{\"chunks\": 2, \"bytes\": 8}").await?;
    let record = story.ends_well(job, &workload).await?;
    assert_eq!(digest_of(&record), digest_of(&given));
    assert_eq!(record.execution, given.execution);
    assert!(record.timings.input_ms >= record.timings.accepted_ms && record.timings.admitted_ms >= record.timings.input_ms);

    // An empty one is as none.
    let job = ask(&story, &workload, None).await?;
    push(&raw, job, "close", &rmp_serde::to_vec_named(&json!({ "v": 1, "chunks": 0, "bytes": 0 }))?).await?;
    let empty = story.ends(job).await?;
    assert_eq!(empty.request.input, None);
    assert_eq!(empty.failure.as_ref().map(|failure| failure.kind), Some(FailureKind::Execution), "{:?}", empty.failure);
    story.is_clean(&[&given, &record, &empty]).await?;
    assert_eq!(held(&story).await?, 0);
    Ok(())
}

#[tokio::test(flavor = "multi_thread")]
async fn a_coordinator_killed_while_an_input_is_streamed_loses_nothing() -> Result<()> {
    // On the bus, where the input is put together from messages to messages.
    let settings = Settings { ack_wait: PATIENCE, lease: PATIENCE, directory_store: false, ..Settings::default() };
    let mut story = Story::start_with(settings, 0).await?;
    let workload = story.reference.hashes(3)?;
    let (raw, job) = (raw(&story).await?, ask(&story, &workload, None).await?);
    story.wait_for(job, EventKind::WaitingForInput).await?;
    push(&raw, job, "0", &workload.input[..3]).await?;

    // Between two chunks.
    story.fleet.coordinators.clear();
    push(&raw, job, "1", &workload.input[3..]).await?;
    story.fleet.start_coordinator()?;
    assert_eq!(story.fleet.client.status(job).await?.state, JobState::WaitingForInput);

    // Between the end and the queue.
    story.fleet.coordinators.clear();
    push(&raw, job, "close", b"{\"chunks\": 2, \"bytes\": 8}").await?;
    story.fleet.start_coordinator()?;
    story.wait_for(job, EventKind::InputReceived).await?;

    // Before the request was taken all of it is there.
    story.fleet.coordinators.clear();
    let early = ask(&story, &workload, None).await?;
    push(&raw, early, "0", &workload.input).await?;
    push(&raw, early, "close", b"{\"chunks\": 1, \"bytes\": 8}").await?;
    story.fleet.start_coordinator()?;
    story.fleet.start_worker()?;
    for job in [job, early] {
        let record = story.ends_well(job, &workload).await?;
        assert_eq!(digest_of(&record), Some(Digest::of(&workload.input)));
    }
    let deadline = Instant::now() + GRACE;
    while held(&story).await? > 0 {
        ensure!(Instant::now() < deadline, "chunks are left");
        sleep(Duration::from_millis(100)).await;
    }
    Ok(())
}

#[tokio::test(flavor = "multi_thread")]
async fn what_is_no_whole_input_ends_its_job_with_what_is_wrong() -> Result<()> {
    let story = Story::start(0).await?;
    let (raw, workload) = (raw(&story).await?, story.reference.hashes(1)?);
    // What is pushed, the end, and what is said.
    let other = format!("{{\"chunks\": 1, \"bytes\": 1, \"digest\": \"{}\"}}", Digest::of(b"y"));
    let cases: [(&[&str], &str, FailureKind, &str); 7] = [
        (&["0", "2"], "{\"chunks\": 3, \"bytes\": 3}", FailureKind::IncompleteInput, "chunk 1 of 3 is missing"),
        (&["0", "1"], "{\"chunks\": 1, \"bytes\": 1}", FailureKind::IncompleteInput, "chunk 1 is there"),
        (&["0"], "{\"chunks\": 1, \"bytes\": 2}", FailureKind::IncompleteInput, "1 bytes together, and its end says 2"),
        (&["0"], &other, FailureKind::IncompleteInput, "stored with other bytes"),
        (&["0"], "{\"chunk\": 1, \"bytes\": 1}", FailureKind::IncompleteInput, "its end cannot be read"),
        (&[], "{\"chunks\": 100000, \"bytes\": 1}", FailureKind::IncompleteInput, "at most 65536"),
        (&["0"], "{\"chunks\": 1, \"bytes\": 1000000000}", FailureKind::Input, "the machine takes at most"),
    ];
    let mut jobs = Vec::new();
    for (chunks, close, ..) in &cases {
        let job = ask(&story, &workload, None).await?;
        for chunk in *chunks {
            push(&raw, job, chunk, b"x").await?;
        }
        push(&raw, job, "close", close.as_bytes()).await?;
        jobs.push(job);
    }
    let mut records = Vec::new();
    for (job, (_, _, kind, words)) in jobs.iter().zip(&cases) {
        let record = story.ends(*job).await?;
        let failure = record.failure.as_ref().context("no cause")?;
        ensure!(failure.kind == *kind && failure.message.contains(words), "{words}: {failure}");
        records.push(record);
    }
    assert_eq!(FailureKind::IncompleteInput.code(), ErrorCode::InputIncomplete);
    story.is_clean(&records.iter().collect::<Vec<_>>()).await
}

#[tokio::test(flavor = "multi_thread")]
async fn a_job_that_waits_for_its_input_is_cancelled_or_too_late_and_nothing_is_left() -> Result<()> {
    let mut story = Story::start(0).await?;
    story.fleet.coordinators.clear();
    for setting in ["ZISK_COORDINATOR_STORAGE_GRACE_SECONDS", "ZISK_COORDINATOR_STORAGE_SWEEP_SECONDS"] {
        story.fleet.coordinator_environment.push((setting, "1".to_owned()));
    }
    story.fleet.coordinator_environment.push(("ZISK_COORDINATOR_QUEUE_MAX_JOBS", "2".to_owned()));
    story.fleet.start_coordinator()?;
    let (raw, workload) = (raw(&story).await?, story.reference.hashes(1)?);
    let (cancelled, late) = (ask(&story, &workload, None).await?, ask(&story, &workload, Some(15)).await?);
    for job in [cancelled, late] {
        push(&raw, job, "0", b"x").await?;
        story.wait_for(job, EventKind::WaitingForInput).await?;
    }
    // They count among those that wait.
    let refused = story.ends(ask(&story, &workload, None).await?).await?;
    ensure!(refused.failure.as_ref().is_some_and(|failure| failure.kind == FailureKind::Busy), "{refused:?}");

    assert_eq!(story.fleet.client.cancel(cancelled).await?, Cancellation::Cancelled { before: false });
    let record = story.ends(late).await?;
    let failure = record.failure.as_ref().context("no cause")?;
    ensure!(failure.kind == FailureKind::Timeout && failure.message.contains("input was not whole within its 15 s"), "{failure}");
    // What comes after its end, and what is of no job at all.
    push(&raw, cancelled, "1", b"late").await?;
    push(&raw, JobId::random(), "0", b"nobody's").await?;
    let ended = story.ends(cancelled).await?;
    assert_eq!(ended.state, JobState::Cancelled);
    story.is_clean(&[&record, &ended, &refused]).await?;
    assert_eq!(held(&story).await?, 0);
    Ok(())
}

/// The blocks of a large input, none like another.
fn large() -> Vec<u8> {
    (0u32..150_000).flat_map(|i| i.wrapping_mul(2_654_435_761).to_le_bytes()).collect()
}

fn options() -> JobOptions {
    JobOptions { log_segment_steps: Some(LOG_STEPS), proof: Some(ProofKind::Bundle), ..JobOptions::default() }
}

#[tokio::test(flavor = "multi_thread")]
async fn the_sdk_streams_in_parts_and_a_full_stream_refuses() -> Result<()> {
    let mut story = Story::start(1).await?;
    let (client, workload) = (story.fleet.client.clone(), story.reference.hashes(2)?);
    let mut input: InputStream = client.submit_streamed(RequestKind::Prove, &workload.elf, &options()).await?;
    for byte in &workload.input {
        input.push(&[*byte]).await?;
    }
    let job = input.close().await?;
    client.wait(job, |_| {}).await?;
    let first = story.ends_well(job, &workload).await?;

    // Several chunks, of parts that are none of them; the guest wants 8 bytes.
    let bytes = large();
    let mut input = client.submit_streamed(RequestKind::Execute, &workload.elf, &options()).await?;
    for part in bytes.chunks(100_000) {
        input.push(part).await?;
    }
    let record = story.ends(input.close().await?).await?;
    assert_eq!(record.execution.as_ref().map(|run| run.exit_code), Some(2), "{record:?}");
    let stored = story.fleet.objects.get(record.request.input.context("no input")?).await?;
    assert!(stored == bytes, "another input is stored");

    // Dropped before its end the job waits on, until somebody ends it.
    let mut dropped = client.submit_streamed(RequestKind::Execute, &workload.elf, &options()).await?;
    dropped.push(b"x").await?;
    let job = dropped.job();
    drop(dropped);
    story.wait_for(job, EventKind::WaitingForInput).await?;
    assert_eq!(client.cancel(job).await?, Cancellation::Cancelled { before: false });

    // With room for one chunk alone.
    story.fleet.coordinators.clear();
    story.fleet.coordinator_environment.push(("ZISK_COORDINATOR_STORAGE_MAX_INPUT_BYTES", "300000".to_owned()));
    story.fleet.start_coordinator()?;
    let name = story.fleet.bus.prefix().stream(StreamKind::Input);
    let deadline = Instant::now() + JOB;
    while story.fleet.bus.jetstream().get_stream(&name).await?.cached_info().config.max_bytes != 300_000 {
        ensure!(Instant::now() < deadline, "the stream of inputs is not bounded");
        sleep(Duration::from_millis(50)).await;
    }
    let mut refused = client.submit_streamed(RequestKind::Execute, &workload.elf, &options()).await?;
    let error = refused.push(&bytes).await.unwrap_err();
    assert!(matches!(error, ClientError::Full { .. }) && error.exit_code() == 14, "{error}");
    client.cancel(refused.job()).await?;
    let ended = [story.ends(job).await?, story.ends(refused.job()).await?];
    story.is_clean(&[&first, &record, &ended[0], &ended[1]]).await
}

/// Runs `zisk` with something on its stdin.
async fn piped(story: &Story, arguments: &[&str], stdin: Vec<u8>) -> Result<(i32, String, String)> {
    let store = format!("file://{}", story.fleet.directory().join("objects").display());
    let program = Program::new("zisk", story.fleet.directory()).env("ZISK_NATS_URL", story.fleet.nats.url());
    let program = arguments.iter().fold(program.env("ZISK_OBJECT_STORE", store), |program, argument| program.arg(*argument));
    let mut command = program.command()?;
    tokio::task::spawn_blocking(move || {
        let mut child = command.stdin(Stdio::piped()).stdout(Stdio::piped()).stderr(Stdio::piped()).spawn()?;
        let mut pipe = child.stdin.take().context("no stdin")?;
        // Who does not read it to its end is no failure here.
        let _ = pipe.write_all(&stdin);
        drop(pipe);
        let output = child.wait_with_output()?;
        let text = |bytes| String::from_utf8_lossy(bytes).into_owned();
        Ok((output.status.code().context("killed")?, text(&output.stdout), text(&output.stderr)))
    })
    .await?
}

#[tokio::test(flavor = "multi_thread")]
async fn stdin_is_streamed_by_the_command_line() -> Result<()> {
    let story = Story::start(1).await?;
    let workload = story.reference.hashes(2)?;
    std::fs::write(story.fleet.directory().join("guest.elf"), workload.elf.as_slice())?;
    let run = ["--program", "guest.elf", "--input", "-", "--json"];
    let prove = [&["prove", "--out", "proof.bin", "--segment-log-steps", "12", "--proof", "bundle"][..], &run].concat();
    let (code, stdout, stderr) = piped(&story, &prove, workload.input.clone()).await?;
    ensure!(code == 0, "{code}: {stderr}");
    let proven: Value = serde_json::from_str(&stdout)?;
    let record = story.ends_well(proven["job"].as_str().context("no job")?.parse()?, &workload).await?;
    assert!(record.is_streamed());
    let (code, _, stderr) = piped(&story, &["verify", "proof.bin", "--program", "guest.elf"], Vec::new()).await?;
    ensure!(code == 0, "{stderr}");

    // Large, and none that the guest can use; in this process the same.
    let execute = [&["execute"][..], &run].concat();
    let (code, stdout, stderr) = piped(&story, &execute, large()).await?;
    ensure!(code == 4, "{code}: {stdout}{stderr}");
    let (code, stdout, _) = piped(&story, &[&execute[..], &["--local"]].concat(), workload.input.clone()).await?;
    let executed: Value = serde_json::from_str(&stdout)?;
    assert_eq!((code, &executed["outputs"]), (0, &proven["outputs"]));
    assert!(
        story
            .fleet
            .objects
            .list()
            .await?
            .iter()
            .any(|object| { object.key.scope == ObjectScope::Input && object.key.digest == Digest::of(&large()) })
    );
    story.is_clean(&[&record]).await
}

#[tokio::test(flavor = "multi_thread")]
async fn the_service_takes_an_input_in_chunks() -> Result<()> {
    let story = Story::start(1).await?;
    let caller = Caller::connect(&story.fleet.nats.url()).await?;
    let workload = story.reference.hashes(2)?;
    let mut request = json!({
        "program": { "inline": STANDARD.encode(workload.elf.as_slice()) },
        "input": { "stream": true },
        "params": { "log_segment_steps": LOG_STEPS, "proof": "bundle" },
        "idempotency_key": "streamed",
    });
    let answer = caller.expect("prove", &request).await?;
    assert_eq!(answer["state"], "waiting_for_input");
    let job = answer["job"].clone();
    assert_eq!(caller.expect("status", &json!({ "job": job })).await?["state"], "waiting_for_input");
    let chunk = json!({ "job": job, "n": 0, "chunk": STANDARD.encode(&workload.input) });
    let stored = caller.expect("input", &chunk).await?;
    assert_eq!(stored, json!({ "job": job, "n": 0, "bytes": 8, "duplicate": false }));
    assert_eq!(caller.expect("input", &chunk).await?["duplicate"], true);

    let with = |field: &str, value: Value| {
        let mut chunk = chunk.clone();
        chunk[field] = value;
        chunk
    };
    let refusals: BTreeMap<&str, (Value, ErrorCode)> = [
        ("job", (with("job", json!(JobId::random())), ErrorCode::JobNotFound)),
        ("n", (with("n", json!(65_536)), ErrorCode::NotAllowed)),
        ("chunk", (with("chunk", Value::Null), ErrorCode::MissingField)),
        ("close", (with("close", json!({ "chunks": 1, "bytes": 8 })), ErrorCode::NotAllowed)),
        ("close.bytes", (json!({ "job": job, "close": { "chunks": 1 } }), ErrorCode::MissingField)),
    ]
    .into();
    for (field, (body, code)) in refusals {
        let error = caller.ask("input", &body).await?.err().with_context(|| format!("{body} is taken"))?;
        assert_eq!((error.code, error.field.as_deref()), (code, Some(field)), "{body}: {error:?}");
    }
    let error = caller.ask("prove", &json!({ "program": "0".repeat(64), "input": { "stream": false } })).await?.unwrap_err();
    assert_eq!((error.code, error.field.as_deref()), (ErrorCode::NotAllowed, Some("input.stream")));

    let close = json!({ "job": job, "close": { "chunks": 1, "bytes": 8 } });
    let closed = caller.expect("input", &close).await?;
    assert_eq!(closed, json!({ "job": job, "chunks": 1, "bytes": 8, "state": "queued" }));
    let id: JobId = job.as_str().context("no job")?.parse()?;
    let record = story.ends_well(id, &workload).await?;
    let error = caller.ask("input", &chunk).await?.unwrap_err();
    assert_eq!((error.code, error.job), (ErrorCode::NoInputAwaited, Some(id)));
    // The same key is the same job; with its input at once it would be another.
    assert_eq!(caller.expect("prove", &request).await?["job"], job);
    request["input"] = json!({ "inline": STANDARD.encode(&workload.input) });
    assert_eq!(caller.ask("prove", &request).await?.unwrap_err().code, ErrorCode::KeyReused);

    // What is refused when it is put together is told at once.
    let other = caller.expect("execute", &json!({ "program": record.request.program, "input": { "stream": true } })).await?;
    let close = json!({ "job": other["job"], "close": { "chunks": 0, "bytes": 1 } });
    let error = caller.ask("input", &close).await?.unwrap_err();
    assert_eq!(error.code, ErrorCode::InputIncomplete, "{error:?}");
    let refused = story.ends(other["job"].as_str().context("no job")?.parse()?).await?;
    story.is_clean(&[&record, &refused]).await
}
