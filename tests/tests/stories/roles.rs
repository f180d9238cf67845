//! compose/nats/roles.conf: with it a job is proven, and no role may do more than is its own, also not by having it answered elsewhere.

use std::collections::BTreeSet;
use std::sync::{Arc, Mutex};
use std::time::Duration;

use anyhow::{Context, Result, ensure};
use async_nats::header::NATS_ROLLUP;
use async_nats::{Client, ConnectOptions, Event, HeaderMap, jetstream};
use base64::Engine;
use base64::engine::general_purpose::STANDARD;
use futures::{FutureExt, StreamExt};
use serde_json::{Value, json};
use tokio::time::{Instant, sleep, timeout};
use zisk_common::errors::ErrorCode;
use zisk_common::ids::{Digest, WorkerId};
use zisk_tests::api::Caller;
use zisk_tests::guests::Reference;
use zisk_tests::story::JOB;
use zisk_tests::{NatsServer, Process, Program, cli, nats_server};

/// Generous: on a busy machine.
const SOON: Duration = Duration::from_secs(60);

/// The shipped roles, whose passwords are their names.
pub fn shipped_roles() -> String {
    let roles = include_str!("../../../compose/nats/roles.conf");
    let password = |text: String, role: &&str| text.replace(&format!("$ZISK_NATS_{}_PASSWORD", role.to_uppercase()), role);
    ["coordinator", "worker", "client", "caller"].iter().fold(roles.to_owned(), password)
}

/// The account of a role.
fn account_of(roles: &str, role: &str) -> String {
    let name = format!("  ZISK_{} {{", role.to_uppercase());
    let (_, rest) = roles.split_once(&name).expect("the role has an account");
    let (account, _) = rest.split_once("\n  }").expect("the account ends");
    format!("{name}{account}\n  }}\n")
}

/// A role's account for a user of another name, made as the file says; its password is the name.
fn copied(roles: &str, role: &str, name: &str) -> String {
    account_of(roles, role)
        .replace(&format!("ZISK_{}", role.to_uppercase()), &name.to_uppercase())
        .replace(&format!("user: {role}, password: {role}"), &format!("user: {name}, password: {name}"))
        .replace(&format!("_INBOX.{role}.>"), &format!("_INBOX.{name}.>"))
}

/// These accounts beside the shipped ones.
fn with_accounts(accounts: &str) -> String {
    let roles = shipped_roles();
    let all = roles.trim_end().strip_suffix('}').expect("accounts are the last thing in the file");
    format!("{all}{accounts}}}\n")
}

/// Starts a coordinator, or a worker, as this user.
fn start(nats: &NatsServer, program: &str, user: &str) -> Result<Process> {
    let ([flag, value], ready) = match program {
        "zisk-coordinator" => (["--metrics-port", "0"], "coordinator ready: it leads"),
        _ => (["--compute-capacity", "1"], "ready for assignments"),
    };
    let program = Program::new(program, nats.directory()).arg(flag).arg(value);
    let mut process = program.env("ZISK_NATS_URL", url(nats, user)).start(user)?;
    process.wait_for_log(ready, SOON)?;
    Ok(process)
}

fn server() -> Result<NatsServer> {
    NatsServer::start_with(&nats_server()?, &shipped_roles())
}

fn url(nats: &NatsServer, role: &str) -> String {
    nats.url().replace("//", &format!("//{role}:{role}@"))
}

#[tokio::test(flavor = "multi_thread")]
async fn a_job_is_proven_with_the_least_that_each_role_needs() -> Result<()> {
    let nats = server()?;
    let here = nats.directory();
    let (mut coordinator, mut worker) =
        (start(&nats, "zisk-coordinator", "coordinator")?, start(&nats, "zisk-worker", "worker")?);
    let workload = Reference::default().hashes(3)?;
    std::fs::write(here.join("guest.elf"), workload.elf.as_slice())?;
    std::fs::write(here.join("input.bin"), &workload.input)?;
    let run = |arguments: &[&str], code: i32| -> Result<String> {
        let ended = cli::run(Program::new("zisk", here).env("ZISK_NATS_URL", url(&nats, "client")), arguments)?;
        ensure!(ended.code == code, "zisk {arguments:?}: {ended:?}");
        Ok(ended.stdout)
    };
    let prove = ["prove", "--program", "guest.elf", "--input", "input.bin", "--segment-log-steps", "12", "--out", "proof.bin"];
    let proven = run(&[&prove[..], &["--json"]].concat(), 0)?;
    let proven: serde_json::Value = serde_json::from_str(&proven)?;
    let job = proven["job"].as_str().context("no job")?;
    run(&["verify", "proof.bin", "--program", "guest.elf"], 0)?;
    for command in [
        &["jobs"][..],
        &["workers"],
        &["programs"],
        &["queues"],
        &["dead", "list"],
        &["status", job],
        &["watch", job],
        &["doctor"],
    ] {
        run(command, 0)?;
    }
    run(&["result", job, "--out", "again.bin"], 0)?;
    // It has ended otherwise, which somebody must have read.
    run(&["cancel", job], 12)?;
    // By the service, too: an answer, an error, and what tools ask.
    let caller = Caller::connect_as(&nats.url(), "client").await?;
    let client = caller.client();
    let elf = workload.elf.as_slice();
    let executed = json!({ "program": Digest::of(elf), "input": { "inline": STANDARD.encode(&workload.input) } });
    for (subject, request, said) in [
        ("zisk.v1.api.status", json!({ "job": job }), "completed"),
        ("zisk.v1.api.execute", executed, "queued"),
        ("zisk.v1.api.status", json!({ "job": "x" }), "ZISK-1006"),
        ("$SRV.INFO.zisk", json!({}), "zisk.v1.api.prove"),
    ] {
        let answer = client.request(subject, request.to_string().into()).await?;
        let answer = String::from_utf8_lossy(&answer.payload).into_owned();
        ensure!(answer.contains(said), "{subject}: {answer}");
    }
    ensure!(worker.stop()?.success() && coordinator.stop()?.success());
    for process in [&coordinator, &worker] {
        ensure!(!process.log().contains("denied by the NATS server"), "{}: {}", process.name(), process.log());
    }
    Ok(())
}

/// A user of the server, and what it was denied.
struct User {
    client: Client,
    denied: Arc<Mutex<Vec<String>>>,
}

impl User {
    async fn connect(nats: &NatsServer, role: &str) -> Result<Self> {
        let denied: Arc<Mutex<Vec<String>>> = Arc::default();
        let heard = Arc::clone(&denied);
        let options = ConnectOptions::new().user_and_password(role.to_owned(), role.to_owned()).event_callback(move |event| {
            if let Event::ServerError(error) = event {
                heard.lock().unwrap().push(error.to_string());
            }
            async {}
        });
        Ok(Self { client: options.connect(nats.url()).await?, denied })
    }

    /// Publishes, or subscribes; whether that was denied.
    async fn is_denied(&self, act: &str, subject: &str) -> Result<bool> {
        self.denied.lock().unwrap().clear();
        let subscribed = match act {
            "publish" => {
                self.client.publish(subject.to_owned(), "{}".into()).await?;
                None
            }
            _ => Some(self.client.subscribe(subject.to_owned()).await?),
        };
        // What the server denies comes before the answer to this.
        self.client.flush().await?;
        // Always denied, so that what comes before it has come.
        self.client.publish("nobody.may.do.this", "".into()).await?;
        let deadline = Instant::now() + SOON;
        let last = |denied: &[String]| denied.iter().any(|what| what.contains("nobody.may.do.this"));
        while !last(&self.denied.lock().unwrap()) {
            ensure!(Instant::now() < deadline, "the server says nothing");
            sleep(Duration::from_millis(5)).await;
        }
        drop(subscribed);
        Ok(self.denied.lock().unwrap().iter().any(|what| what.contains(&format!("\"{subject}\""))))
    }
}

/// That all of these are denied, and none of those.
async fn check(role: &str, denied: &[&str], allowed: &[&str]) -> Result<()> {
    let nats = server()?;
    let user = User::connect(&nats, role).await?;
    for (what, expected) in denied.iter().map(|what| (what, true)).chain(allowed.iter().map(|what| (what, false))) {
        let (act, subject) = what.split_once(' ').context("no subject")?;
        ensure!(
            user.is_denied(act, subject).await? == expected,
            "{role}: {what} is {}",
            if expected { "allowed" } else { "denied" }
        );
    }
    Ok(())
}

#[tokio::test]
async fn a_worker_may_not_act_as_coordinator_or_client() -> Result<()> {
    let denied = [
        "publish $KV.ZISK_V1_JOBS.00000000-0000-4000-8000-000000000000",
        "publish $KV.ZISK_V1_LEADER.leader",
        "publish $KV.ZISK_V1_QUEUE.order",
        "publish $KV.ZISK_V1_CLUSTER.mark",
        "publish $KV.ZISK_V1_SEGMENTS.job.0",
        "publish zisk.v1.request.prove",
        "publish zisk.v1.assign.segment.job.0",
        "publish zisk.v1.challenge.job",
        "publish zisk.v1.cancel.job",
        "publish zisk.v1.input.job.0",
        "publish zisk.v1.input.job.close",
        "publish zisk.v1.event.job.completed",
        "publish zisk.v1.dead.job.plan.0",
        "publish $JS.API.STREAM.CREATE.ZISK_V1_ASSIGN",
        "publish $JS.API.STREAM.UPDATE.ZISK_V1_ASSIGN",
        "publish $JS.API.STREAM.DELETE.ZISK_V1_ASSIGN",
        "publish $JS.API.STREAM.PURGE.ZISK_V1_ASSIGN",
        "publish $JS.API.STREAM.MSG.DELETE.ZISK_V1_REPORT",
        "publish $JS.API.CONSUMER.CREATE.ZISK_V1_ASSIGN.mine",
        "publish $JS.API.CONSUMER.DELETE.ZISK_V1_ASSIGN.segment",
        "publish $JS.API.CONSUMER.MSG.NEXT.ZISK_V1_REQUESTS.coordinator",
        "publish $JS.API.CONSUMER.MSG.NEXT.ZISK_V1_REPORT.coordinator",
        "publish $JS.ACK.ZISK_V1_REPORT.coordinator.1.1.1.1.0",
        "publish $JS.API.DIRECT.GET.ZISK_V1_REPORT",
        "subscribe zisk.v1.report.>",
        "publish zisk.v1.api.prove",
        "subscribe zisk.v1.api.prove",
        "subscribe zisk.v1.request.>",
        "subscribe _INBOX.>",
        "subscribe _INBOX.coordinator.>",
        "subscribe _INBOX.client.>",
    ];
    let allowed = ["publish zisk.v1.report.job.contribution.0.me", "publish $KV.ZISK_V1_WORKERS.me", "subscribe _INBOX.worker.>"];
    check("worker", &denied, &allowed).await
}

#[tokio::test]
async fn a_client_may_only_ask_and_look() -> Result<()> {
    let denied = [
        "publish $KV.ZISK_V1_JOBS.00000000-0000-4000-8000-000000000000",
        "publish $KV.ZISK_V1_WORKERS.someone",
        "publish $KV.ZISK_V1_PROGRAMS.program",
        "publish $KV.ZISK_V1_ELECTIONS.job",
        "publish $KV.ZISK_V1_LEADER.leader",
        "publish zisk.v1.report.job.final.0.me",
        "publish zisk.v1.assign.segment.job.0",
        "publish zisk.v1.challenge.job",
        "publish zisk.v1.event.job.completed",
        "publish $JS.API.STREAM.PURGE.ZISK_V1_INPUT",
        "publish $JS.API.DIRECT.GET.ZISK_V1_INPUT",
        "publish $JS.API.STREAM.CREATE.MINE",
        "publish $JS.API.STREAM.DELETE.ZISK_V1_REQUESTS",
        "publish $JS.API.STREAM.PURGE.ZISK_V1_REQUESTS",
        "publish $JS.API.STREAM.PURGE.OBJ_ZISK_V1_OBJECTS",
        "publish $JS.API.CONSUMER.CREATE.OBJ_ZISK_V1_OBJECTS.mine",
        "publish $JS.API.CONSUMER.MSG.NEXT.ZISK_V1_ASSIGN.segment",
        "publish $JS.API.CONSUMER.MSG.NEXT.ZISK_V1_REQUESTS.coordinator",
        "publish $JS.API.DIRECT.GET.ZISK_V1_REQUESTS",
        "publish $JS.API.STREAM.MSG.GET.ZISK_V1_REQUESTS",
        "subscribe zisk.v1.api.prove",
        "subscribe zisk.v1.request.>",
        "subscribe zisk.v1.assign.>",
        "subscribe zisk.v1.input.>",
        "subscribe _INBOX.>",
        "subscribe _INBOX.worker.>",
    ];
    let allowed = [
        "publish zisk.v1.request.prove",
        "publish zisk.v1.api.prove",
        "publish zisk.v1.cancel.job",
        "publish zisk.v1.input.job.0",
        "publish zisk.v1.input.job.close",
        "subscribe _INBOX.client.>",
    ];
    check("client", &denied, &allowed).await
}

#[tokio::test]
async fn a_caller_may_only_call() -> Result<()> {
    let denied = [
        // What would tell of others' jobs, or act on them.
        "publish zisk.v1.api.jobs",
        "publish zisk.v1.request.prove",
        "publish zisk.v1.cancel.job",
        "publish zisk.v1.input.job.0",
        "publish zisk.v1.input.job.close",
        "subscribe zisk.v1.event.>",
        "subscribe zisk.v1.api.prove",
        "subscribe zisk.v1.>",
        "publish $JS.API.INFO",
        "publish $JS.API.STREAM.NAMES",
        "publish $JS.API.STREAM.INFO.ZISK_V1_EVENTS",
        "publish $JS.API.DIRECT.GET.OBJ_ZISK_V1_OBJECTS",
        "publish $JS.API.DIRECT.GET.KV_ZISK_V1_JOBS",
        "publish $JS.API.DIRECT.GET.ZISK_V1_EVENTS",
        "publish $JS.API.CONSUMER.CREATE.ZISK_V1_EVENTS.mine",
        "publish $O.ZISK_V1_OBJECTS.C.x",
        "publish $O.ZISK_V1_OBJECTS.M.x",
        "publish $KV.ZISK_V1_JOBS.00000000-0000-4000-8000-000000000000",
        "publish $SRV.PING",
        "publish $SRV.STATS.zisk",
        "subscribe $SRV.>",
        "subscribe _INBOX.>",
        "subscribe _INBOX.client.>",
    ];
    let allowed = ["publish zisk.v1.api.prove", "publish zisk.v1.api.status", "subscribe _INBOX.caller.>"];
    check("caller", &denied, &allowed).await
}

#[tokio::test]
async fn a_coordinator_may_not_work_or_delete_streams() -> Result<()> {
    let denied = [
        "publish zisk.v1.report.job.proof.0.me",
        "publish $JS.API.STREAM.DELETE.ZISK_V1_REQUESTS",
        "publish $JS.API.CONSUMER.DELETE.ZISK_V1_ASSIGN.segment",
        "publish $JS.API.CONSUMER.MSG.NEXT.ZISK_V1_ASSIGN.segment",
        "publish other.application",
        "subscribe _INBOX.>",
        "subscribe _INBOX.client.>",
    ];
    let allowed = [
        "publish zisk.v1.assign.segment.job.0",
        "publish zisk.v1.request.prove",
        "subscribe zisk.v1.api.prove",
        "subscribe $SRV.INFO",
        "subscribe _INBOX.coordinator.>",
    ];
    check("coordinator", &denied, &allowed).await
}

/// Waits until a job is completed, by asking.
async fn completed(caller: &Caller, job: &Value) -> Result<()> {
    let deadline = Instant::now() + JOB;
    loop {
        let status = caller.expect("status", &json!({ "job": job })).await?;
        if status["state"] == "completed" {
            return Ok(());
        }
        ensure!(Instant::now() < deadline, "{status}");
        sleep(Duration::from_millis(100)).await;
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn callers_have_jobs_proven_and_see_no_others() -> Result<()> {
    // Two that do not trust each other, made as the file says.
    let roles = shipped_roles();
    let accounts = copied(&roles, "caller", "alice") + &copied(&roles, "caller", "bob");
    let nats = NatsServer::start_with(&nats_server()?, &with_accounts(&accounts))?;
    let (mut coordinator, mut worker) =
        (start(&nats, "zisk-coordinator", "coordinator")?, start(&nats, "zisk-worker", "worker")?);
    let (alice, bob) = (Caller::connect_as(&nats.url(), "alice").await?, Caller::connect_as(&nats.url(), "bob").await?);
    let workload = Reference::default().hashes(3)?;
    let (elf, input) = (STANDARD.encode(workload.elf.as_slice()), STANDARD.encode(&workload.input));
    let asked = json!({ "program": { "inline": elf }, "input": { "stream": true }, "params": { "log_segment_steps": 12 } });
    let job = alice.expect("prove", &asked).await?["job"].clone();
    alice.expect("input", &json!({ "job": job, "n": 0, "chunk": input })).await?;
    alice.expect("input", &json!({ "job": job, "close": { "chunks": 1, "bytes": workload.input.len() } })).await?;
    completed(&alice, &job).await?;
    let proof = alice.expect("result", &json!({ "job": job })).await?["proof"]["inline"].clone();
    let verified = alice.expect("verify", &json!({ "proof": { "inline": proof }, "program": { "inline": elf } })).await?;
    ensure!(verified["valid"] == true, "{verified}");
    // Bob is not told that there is a job, and finds none by guessing.
    let guessed = bob.ask("status", &json!({ "job": "00000000-0000-4000-8000-000000000000" })).await?;
    ensure!(guessed.as_ref().is_err_and(|error| error.code == ErrorCode::JobNotFound), "{guessed:?}");
    let mut heard = bob.client().subscribe("_INBOX.bob.>").await?;
    for subject in ["zisk.v1.api.jobs", "$JS.API.STREAM.INFO.ZISK_V1_EVENTS", "$JS.API.DIRECT.GET.KV_ZISK_V1_JOBS.$KV.>"] {
        bob.client().publish_with_reply(subject, "_INBOX.bob.told", "{}".into()).await?;
    }
    // Answered after those before it.
    ensure!(bob.ask("status", &json!({ "job": "x" })).await?.is_err());
    while let Some(told) = heard.next().now_or_never().flatten() {
        ensure!(told.subject.as_str() != "_INBOX.bob.told", "{told:?}");
    }
    ensure!(worker.stop()?.success() && coordinator.stop()?.success());
    Ok(())
}

#[tokio::test(flavor = "multi_thread")]
async fn a_worker_with_a_user_of_its_own_reports_in_its_own_name() -> Result<()> {
    let (own, other) = (WorkerId::random(), WorkerId::random());
    let account = copied(&shipped_roles(), "worker", "host-a")
        .replace("zisk.v1.report.*.*.*.*", &format!("zisk.v1.report.*.*.*.{own}"))
        .replace("$KV.ZISK_V1_WORKERS.*", &format!("$KV.ZISK_V1_WORKERS.{own}"));
    let nats = NatsServer::start_with(&nats_server()?, &with_accounts(&account))?;
    let mut coordinator = start(&nats, "zisk-coordinator", "coordinator")?;
    let program = Program::new("zisk-worker", nats.directory()).env("ZISK_WORKER_ID", own.to_string());
    let mut worker = program.env("ZISK_NATS_URL", url(&nats, "host-a")).start("host-a")?;
    let caller = Caller::connect_as(&nats.url(), "caller").await?;
    let workload = Reference::default().hashes(3)?;
    let asked = json!({
        "program": { "inline": STANDARD.encode(workload.elf.as_slice()) }, "input": { "inline": STANDARD.encode(&workload.input) }
    });
    let job = caller.expect("prove", &asked).await?["job"].clone();
    completed(&caller, &job).await?;
    ensure!(!worker.log().contains("denied by the NATS server"), "{}", worker.log());
    let user = User::connect(&nats, "host-a").await?;
    for (subject, denied) in [
        (format!("zisk.v1.report.job.proof.0.{own}"), false),
        (format!("zisk.v1.report.job.proof.0.{other}"), true),
        (format!("$KV.ZISK_V1_WORKERS.{other}"), true),
    ] {
        ensure!(user.is_denied("publish", &subject).await? == denied, "{subject}: not denied {denied}");
    }
    // Nor by an answer.
    let report = format!("zisk.v1.report.{}.failed.0.{other}", job.as_str().context("no id")?);
    ensure!(!Deputies::new(&nats).await?.wrote("host-a", READ_EVENTS, &report, "ZISK_V1_REPORT").await?, "reported for {other}");
    ensure!(worker.stop()?.success() && coordinator.stop()?.success());
    Ok(())
}

#[tokio::test(flavor = "multi_thread")]
async fn a_worker_deletes_no_keys_of_others() -> Result<()> {
    let nats = server()?;
    let _coordinator = start(&nats, "zisk-coordinator", "coordinator")?;
    let owner = jetstream::new(Caller::connect_as(&nats.url(), "coordinator").await?.client().clone());
    let worker = jetstream::new(Caller::connect_as(&nats.url(), "worker").await?.client().clone());
    for (key, its_own) in [
        ("$KV.ZISK_V1_SEGMENTS.job.0", "$KV.ZISK_V1_SEGMENTS.job.0.begun"),
        ("$KV.ZISK_V1_WORKERS.other", "$KV.ZISK_V1_WORKERS.me"),
        ("$KV.ZISK_V1_ELECTIONS.job", "$KV.ZISK_V1_ELECTIONS.mine"),
        ("$KV.ZISK_V1_PROGRAMS.program", "$KV.ZISK_V1_PROGRAMS.mine"),
    ] {
        let stored = owner.publish(key, "theirs".into()).await?.await?;
        worker.publish(its_own, "mine".into()).await?.await?;
        let mut rollup = HeaderMap::new();
        rollup.insert(NATS_ROLLUP, "all");
        let refused = worker.publish_with_headers(its_own, rollup, "".into()).await?.await;
        ensure!(refused.is_err(), "{its_own}: {refused:?}");
        let kept = owner.get_stream(&stored.stream).await?.direct_get(stored.sequence).await?;
        ensure!(kept.subject.as_str() == key, "{key}: {kept:?}");
    }
    Ok(())
}

/// Has the newest event of that subject sent to wherever the answer is asked for.
const READ_EVENTS: &str = "$JS.API.DIRECT.GET.ZISK_V1_EVENTS.zisk.v1.event.00000000-0000-4000-8000-000000000000.accepted";

/// An event that only coordinators publish.
const FORGED_EVENT: &str = "zisk.v1.event.00000000-0000-4000-8000-000000000000.completed";

/// Who has others send what may not be sent by oneself: a request is answered wherever it says.
struct Deputies<'a> {
    nats: &'a NatsServer,
    owner: jetstream::Context,
}

impl<'a> Deputies<'a> {
    /// By the owner of the streams, with an event to be read.
    async fn new(nats: &'a NatsServer) -> Result<Self> {
        let owner = jetstream::new(Caller::connect_as(&nats.url(), "coordinator").await?.client().clone());
        owner.publish("zisk.v1.event.00000000-0000-4000-8000-000000000000.accepted", "forged".into()).await?.await?;
        Ok(Self { nats, owner })
    }

    /// The sequences of a stream's first and last message: other ones when something was written, or purged.
    async fn state(&self, stream: &str) -> Result<(u64, u64)> {
        let state = self.owner.get_stream(stream).await?.cached_info().state.clone();
        Ok((state.first_sequence, state.last_sequence))
    }

    /// Whether a request of this user changed this stream by its answer.
    async fn wrote(&self, user: &str, request: &str, reply: &str, stream: &str) -> Result<bool> {
        let before = self.state(stream).await?;
        let client = Caller::connect_as(&self.nats.url(), user).await?.client().clone();
        // Some answers are errors: of those that are none the first is as good as any.
        let body = r#"{"job":"00000000-0000-4000-8000-000000000000"}"#;
        let body = if request.contains(".GET.") || request.starts_with("$SRV") { "" } else { body };
        for _ in 0..3 {
            client.publish_with_reply(request.to_owned(), reply.to_owned(), body.into()).await?;
        }
        // The same again to an inbox: whoever answers does so in order.
        let _ = timeout(SOON, client.request(request.to_owned(), body.into())).await?;
        for _ in 0..10 {
            if self.state(stream).await? != before {
                return Ok(true);
            }
            sleep(Duration::from_millis(50)).await;
        }
        Ok(false)
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn no_answer_goes_where_the_one_who_asks_may_not_publish() -> Result<()> {
    let nats = server()?;
    let _coordinator = start(&nats, "zisk-coordinator", "coordinator")?;
    let deputies = Deputies::new(&nats).await?;
    let (records, events) = ("KV_ZISK_V1_JOBS", "ZISK_V1_EVENTS");
    // In an account with the streams it works, whatever the user may publish: this test would see it.
    ensure!(deputies.wrote("coordinator", READ_EVENTS, "$KV.ZISK_V1_JOBS.forged", records).await?, "nothing was to be seen");
    for user in ["worker", "client"] {
        for (request, reply, stream) in [
            // What it wrote itself, as a record, and as an order to the server.
            (READ_EVENTS, "$KV.ZISK_V1_JOBS.forged", records),
            (READ_EVENTS, "$JS.API.STREAM.PURGE.ZISK_V1_EVENTS", events),
            (READ_EVENTS, FORGED_EVENT, events),
            // Information about a stream, and the acknowledgement of a message.
            ("$JS.API.STREAM.INFO.ZISK_V1_EVENTS", "$KV.ZISK_V1_JOBS.forged", records),
            ("$O.ZISK_V1_OBJECTS.C.mine", "$KV.ZISK_V1_JOBS.forged", records),
        ] {
            ensure!(!deputies.wrote(user, request, reply, stream).await?, "{user}: {request} answered to {reply}");
        }
    }
    for (user, request, reply, stream) in [
        ("client", "zisk.v1.api.status", FORGED_EVENT, events),
        ("client", "$SRV.PING", FORGED_EVENT, events),
        ("caller", "zisk.v1.api.status", FORGED_EVENT, events),
        ("caller", "zisk.v1.api.status", "$KV.ZISK_V1_JOBS.forged", records),
    ] {
        ensure!(!deputies.wrote(user, request, reply, stream).await?, "{user}: {request} answered to {reply}");
    }
    Ok(())
}

#[tokio::test(flavor = "multi_thread")]
async fn no_answer_of_the_service_is_a_message_to_the_cluster() -> Result<()> {
    // Without roles: everybody in one account.
    let nats = NatsServer::start()?;
    let _coordinator = start(&nats, "zisk-coordinator", "anybody")?;
    let deputies = Deputies::new(&nats).await?;
    for (reply, stream) in [(FORGED_EVENT, "ZISK_V1_EVENTS"), ("$KV.ZISK_V1_JOBS.forged", "KV_ZISK_V1_JOBS")] {
        ensure!(!deputies.wrote("anybody", "zisk.v1.api.status", reply, stream).await?, "answered to {reply}");
    }
    Ok(())
}

#[test]
fn accounts_import_what_their_users_may_ask_for_and_nothing_else() -> Result<()> {
    let roles = shipped_roles();
    for role in ["worker", "client", "caller"] {
        let account = account_of(&roles, role);
        let quoted = |text: &str| -> BTreeSet<String> {
            let words =
                text.lines().filter(|line| !line.trim().starts_with('#')).flat_map(|line| line.split('"').skip(1).step_by(2));
            words.filter(|word| !word.starts_with("_INBOX.")).map(str::to_owned).collect()
        };
        let between = |from: &str, to: &str| -> Result<BTreeSet<String>> {
            let (_, rest) = account.split_once(from).with_context(|| format!("{role}: no {from}"))?;
            Ok(quoted(rest.split_once(to).with_context(|| format!("{role}: no {to}"))?.0))
        };
        let imports = |kind: &str| -> String {
            let (_, imports) = account.split_once("imports: [").unwrap_or_default();
            imports.lines().filter(|line| line.contains(kind)).collect::<Vec<_>>().join("\n")
        };
        assert_eq!(between("publish { allow: [", "] }")?, quoted(&imports("{ service:")), "{role} publishes");
        assert_eq!(between("subscribe { allow: [", "] }")?, quoted(&imports("{ stream:")), "{role} subscribes");
    }
    Ok(())
}
