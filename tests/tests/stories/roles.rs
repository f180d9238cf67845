//! compose/nats/roles.conf: with it a job is proven, and no role may do more than is its own.

use std::sync::{Arc, Mutex};
use std::time::Duration;

use anyhow::{Context, Result, ensure};
use async_nats::{Client, ConnectOptions, Event};
use base64::Engine;
use base64::engine::general_purpose::STANDARD;
use serde_json::json;
use tokio::time::{Instant, sleep};
use zisk_common::ids::Digest;
use zisk_tests::guests::Reference;
use zisk_tests::{NatsServer, Program, cli, nats_server};

/// Generous: on a busy machine.
const SOON: Duration = Duration::from_secs(60);

/// The shipped roles, whose passwords are their names.
pub fn shipped_roles() -> String {
    let roles = include_str!("../../../compose/nats/roles.conf");
    let password = |text: String, role: &&str| text.replace(&format!("$ZISK_NATS_{}_PASSWORD", role.to_uppercase()), role);
    ["coordinator", "worker", "client"].iter().fold(roles.to_owned(), password)
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
    let start = |name: &str, role: &str, arguments: &[&str]| {
        let program = arguments.iter().fold(Program::new(name, here), |program, argument| program.arg(*argument));
        program.env("ZISK_NATS_URL", url(&nats, role)).start(name)
    };
    let mut coordinator = start("zisk-coordinator", "coordinator", &["--metrics-port", "0"])?;
    coordinator.wait_for_log("coordinator ready: it leads", SOON)?;
    let mut worker = start("zisk-worker", "worker", &["--compute-capacity", "1"])?;
    worker.wait_for_log("ready for assignments", SOON)?;
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
    for command in [&["jobs"][..], &["workers"], &["programs"], &["queues"], &["dead", "list"], &["status", job], &["watch", job]]
    {
        run(command, 0)?;
    }
    run(&["result", job, "--out", "again.bin"], 0)?;
    // It has ended otherwise, which somebody must have read.
    run(&["cancel", job], 12)?;
    // By the service, too: an answer, an error, and what tools ask.
    let login = ConnectOptions::new().user_and_password("client".to_owned(), "client".to_owned());
    let client = login.custom_inbox_prefix("_INBOX.client").connect(nats.url()).await?;
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
    let allowed = ["publish zisk.v1.report.job.contribution.0", "publish $KV.ZISK_V1_WORKERS.me", "subscribe _INBOX.worker.>"];
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
        "publish zisk.v1.report.job.final.0",
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
async fn a_coordinator_may_not_work_or_delete_streams() -> Result<()> {
    let denied = [
        "publish zisk.v1.report.job.proof.0",
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
