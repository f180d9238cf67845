//! The service as tools see it, with several coordinators, with none that leads, and with a full queue.

use std::time::Duration;

use anyhow::{Context, Result, ensure};
use futures::StreamExt;
use serde_json::{Value, json};
use tokio::time::{Instant, sleep, timeout};
use zisk_common::errors::ErrorCode;
use zisk_common::ids::JobId;
use zisk_common::messages::JobState;
use zisk_tests::api::Caller;
use zisk_tests::story::Story;

use super::{SOON, id, inline, refused, traces};

#[tokio::test(flavor = "multi_thread")]
async fn every_coordinator_answers_and_tools_see_the_service() -> Result<()> {
    let mut story = Story::start(1).await?;
    story.fleet.start_coordinator()?;
    let caller = Caller::connect(&story.fleet.nats.url()).await?;
    assert_eq!(refused(&caller, "status", &json!({ "job": JobId::random() })).await?.code, ErrorCode::JobNotFound);
    let all = async |verb: &str, expected: usize| -> Result<Vec<Value>> {
        let inbox = caller.client().new_inbox();
        let mut answers = caller.client().subscribe(inbox.clone()).await?;
        caller.client().publish_with_reply(format!("$SRV.{verb}.zisk"), inbox, "".into()).await?;
        let mut found = Vec::new();
        while found.len() < expected {
            let answer = timeout(SOON, answers.next()).await?.context("no answer")?;
            found.push(serde_json::from_slice(&answer.payload)?);
        }
        Ok(found)
    };
    let pings = all("PING", 2).await?;
    assert_ne!(pings[0]["id"], pings[1]["id"]);
    for info in all("INFO", 2).await? {
        let mut subjects: Vec<&str> =
            info["endpoints"].as_array().unwrap().iter().filter_map(|it| it["subject"].as_str()).collect();
        subjects.sort_unstable();
        let names = ["cancel", "execute", "input", "jobs", "prove", "result", "setup", "status", "verify"];
        assert_eq!(subjects, names.map(|name| format!("zisk.v1.api.{name}")));
        assert_eq!(info["metadata"]["prefix"], "zisk.v1");
    }
    let stats = all("STATS", 2).await?;
    let of = |field: &str| -> u64 {
        let endpoints = stats.iter().flat_map(|it| it["endpoints"].as_array().unwrap());
        endpoints.filter(|it| it["name"] == "status").map(|it| it[field].as_u64().unwrap()).sum()
    };
    assert_eq!((of("num_requests"), of("num_errors")), (1, 1), "{stats:?}");
    let last = stats.iter().flat_map(|it| it["endpoints"].as_array().unwrap()).find(|it| it["num_errors"] == 1).unwrap();
    assert_eq!(last["last_error"], "404:ZISK-1012: job not found");

    // While nobody leads, those that stand by answer; the job is done by whoever leads next.
    story.fleet.coordinators[0].kill();
    let workload = story.reference.workload("hello", b"you")?;
    let request = json!({ "program": inline(&workload.elf), "input": inline(&workload.input), "idempotency_key": "x" });
    // The server may not have noticed yet that the one is gone, and give it the request; by its key it is one job, asked twice.
    let answer = match timeout(SOON / 6, caller.expect("execute", &request)).await {
        Ok(answer) => answer?,
        Err(_) => caller.expect("execute", &request).await?,
    };
    assert!(["submitted", "queued"].contains(&answer["state"].as_str().unwrap()), "{answer}");
    let record = story.ends(id(&answer)?).await?;
    assert_eq!(record.state, JobState::Completed);
    assert_eq!(caller.expect("execute", &request).await?["state"], "completed");
    // None is left, and none answers.
    story.fleet.coordinators[1].stop()?;
    assert!(caller.send("jobs", &[], Vec::new()).await.is_err());
    Ok(())
}

#[tokio::test(flavor = "multi_thread")]
async fn what_waits_has_a_place_is_cancelled_and_a_full_queue_takes_no_more() -> Result<()> {
    let mut story = Story::start(0).await?;
    story.fleet.coordinators.clear();
    story.fleet.coordinator_environment =
        vec![("ZISK_COORDINATOR_QUEUE_RUNNING_JOBS", "1".to_owned()), ("ZISK_COORDINATOR_QUEUE_MAX_JOBS", "2".to_owned())];
    story.fleet.start_coordinator()?;
    let caller = Caller::connect(&story.fleet.nats.url()).await?;
    let workload = story.reference.workload("hello", b"you")?;
    let request = json!({ "program": inline(&workload.elf) });
    let mut answers = Vec::new();
    for _ in 0..3 {
        answers.push(caller.expect("prove", &request).await?);
    }
    let positions: Vec<&Value> = answers.iter().map(|answer| &answer["position"]).collect();
    assert_eq!(positions, [&Value::Null, &1.into(), &2.into()]);
    // The order is written once a second.
    let deadline = Instant::now() + SOON;
    while story.fleet.client.queue().await?.waiting.len() < 2 {
        ensure!(Instant::now() < deadline, "the order is not written");
        sleep(Duration::from_millis(50)).await;
    }
    let before = traces(&story).await?;
    let full = refused(&caller, "prove", &request).await?;
    assert_eq!(full.code, ErrorCode::QueueFull);
    assert!(full.message.contains("[queue] max_jobs"), "{}", full.message);
    assert_eq!(traces(&story).await?, before);

    let job = id(&answers[2])?;
    assert_eq!(caller.expect("status", &json!({ "job": job })).await?["position"], 2);
    let error = refused(&caller, "result", &json!({ "job": job })).await?;
    assert_eq!((error.code, error.job), (ErrorCode::NotEnded, Some(job)));
    for _ in 0..2 {
        let answer = caller.expect("cancel", &json!({ "job": job })).await?;
        assert_eq!(answer, json!({ "job": job, "cancelled": true, "state": "cancelled" }));
    }
    let error = refused(&caller, "result", &json!({ "job": job })).await?;
    assert_eq!((error.code, error.job), (ErrorCode::JobCancelled, Some(job)));
    let status = caller.expect("status", &json!({ "job": job })).await?;
    assert_eq!(status["failure"]["code"], "ZISK-2004");
    Ok(())
}
