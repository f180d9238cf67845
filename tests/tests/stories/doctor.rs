//! `zisk doctor`: each thing that can be wrong is named with what to do about it, and looking leaves no trace.

use std::time::Duration;

use anyhow::{Context, Result, ensure};
use serde_json::Value;
use zisk_common::bus::Bus;
use zisk_common::ids::WorkerId;
use zisk_common::messages::{Dead, DeadLetter, Load, Unreadable, Version, Versions, WorkerPresence, WorkerState, unix_ms};
use zisk_common::subjects::{BucketKind, StreamKind};
use zisk_tests::cli::{Ended, run, zisk};
use zisk_tests::fleet::{Fleet, Settings};
use zisk_tests::{NatsServer, Program, free_port, nats_server};

/// Generous: what is waited for happens within seconds.
const SOON: Duration = Duration::from_secs(60);

/// What was found, by name.
struct Found(Value);

impl Found {
    fn of(ended: &Ended, code: i32) -> Result<Self> {
        ensure!(ended.code == code, "exit code {code} was expected: {ended:?}");
        Ok(Self(ended.json()?))
    }

    /// The worst check of a part: its verdict, what was found, what to do.
    fn check(&self, part: &str) -> Result<(&str, &str, &str)> {
        let checks = self.0["checks"].as_array().context("no checks")?.iter().filter(|check| check["check"] == part);
        let worst =
            checks.max_by_key(|check| ["ok", "warning", "failed"].iter().position(|verdict| check["verdict"] == *verdict));
        let worst = worst.with_context(|| format!("no check of {part}: {}", self.0))?;
        Ok((worst["verdict"].as_str().unwrap(), worst["found"].as_str().unwrap(), worst["advice"].as_str().unwrap_or_default()))
    }

    /// This verdict on a part, with these words in what was found, and these in the advice.
    fn expect(&self, part: &str, verdict: &str, found: &str, advice: &str) -> Result<()> {
        let check = self.check(part)?;
        ensure!(check.0 == verdict && check.1.contains(found) && check.2.contains(advice), "{part}: {check:?}");
        ensure!((verdict == "ok") == check.2.is_empty(), "advice exactly where something is to be done: {check:?}");
        Ok(())
    }

    fn not_looked_at(&self) -> Vec<&str> {
        self.0["not_looked_at"].as_array().unwrap().iter().map(|part| part.as_str().unwrap()).collect()
    }
}

fn doctor(server: &NatsServer, url: &str, code: i32) -> Result<Found> {
    Found::of(&run(Program::new("zisk", server.directory()).env("ZISK_NATS_URL", url), &["doctor", "--json"])?, code)
}

async fn fleet_doctor(fleet: &Fleet, code: i32) -> Result<Found> {
    Found::of(&zisk(fleet, &["doctor", "--json"]).await?, code)
}

#[test]
fn a_server_that_cannot_be_used_is_named_with_the_reason() -> Result<()> {
    let nobody = format!("nats://127.0.0.1:{}", free_port()?);
    let directory = tempfile::tempdir()?;
    let ended = run(Program::new("zisk", directory.path()).env("ZISK_NATS_URL", &nobody), &["doctor", "--json"])?;
    let found = Found::of(&ended, 6)?;
    found.expect("nats", "failed", "Connection refused", "zisk up")?;
    assert_eq!(found.not_looked_at().first(), Some(&"server"));
    assert_eq!(found.not_looked_at().last(), Some(&"queue"));
    // The same for people.
    let ended = run(Program::new("zisk", directory.path()).env("ZISK_NATS_URL", &nobody), &["doctor"])?;
    ensure!(ended.code == 6 && ended.stdout.contains("failed   nats") && ended.stdout.contains("what to do:"), "{ended:?}");

    // Something listens there that is no NATS server.
    let silent = std::net::TcpListener::bind("127.0.0.1:0")?;
    let url = format!("nats://{}", silent.local_addr()?);
    let ended = run(Program::new("zisk", directory.path()).env("ZISK_NATS_URL", &url), &["doctor", "--json"])?;
    Found::of(&ended, 6)?.expect("nats", "failed", "something listens", "port of a nats-server")?;

    let old = NatsServer::start_version("2.10.26")?;
    let found = doctor(&old, &old.url(), 6)?;
    found.expect("nats", "ok", &old.url(), "")?;
    found.expect("server", "failed", "2.10.26", "install-nats.sh")?;

    let plain = NatsServer::start_without_jetstream()?;
    doctor(&plain, &plain.url(), 6)?.expect("jetstream", "failed", "there is none", "-js")?;

    // A good one, on which nothing has ever been; one more that is down is worth a warning.
    let new = NatsServer::start()?;
    let found = doctor(&new, &format!("{},{nobody}", new.url()), 7)?;
    found.expect("nats", "warning", "1 of 2 servers", "out of the URL")?;
    found.expect("streams", "warning", "zisk.v1", "--prefix")?;
    found.expect("coordinator", "failed", "none has ever led", "zisk-coordinator")
}

#[test]
fn what_a_user_may_not_do_is_named() -> Result<()> {
    let users = r#"authorization { users = [
        { user: all, password: a }
        { user: reader, password: r, permissions: { publish: { deny: ["zisk.v1.request.prove", "$O.>"] }, subscribe: ">" } }
        { user: nobody, password: n, permissions: { publish: { deny: "$JS.>" } } }
    ] }"#;
    let nats = NatsServer::start_with(&nats_server()?, users)?;
    let as_user = |login: &str| nats.url().replace("//", &format!("//{login}@"));
    let wrong = doctor(&nats, &as_user("all:wrong"), 6)?;
    wrong.expect("nats", "failed", "refuses user \"all\"", "ZISK_NATS_PASSWORD")?;
    ensure!(!wrong.0.to_string().contains("all:wrong"), "the password is given away: {}", wrong.0);

    // Makes the streams.
    let ended = run(Program::new("zisk", nats.directory()).env("ZISK_NATS_URL", as_user("all:a")), &["jobs"])?;
    ensure!(ended.code == 0, "{ended:?}");
    let found = doctor(&nats, &as_user("all:a"), 7)?;
    found.expect("streams", "ok", "as they should be", "")?;
    found.expect("permissions", "ok", "may submit", "")?;

    let found = doctor(&nats, &as_user("reader:r"), 7)?;
    found.expect("permissions", "failed", "submit prove jobs", "Allow user \"reader\"")?;
    ensure!(!found.check("permissions")?.1.contains("execute"), "only what is denied: {}", found.0);
    found.expect("objects", "failed", "nothing may be uploaded", "$O.>")?;
    doctor(&nats, &as_user("nobody:n"), 6)?.expect("jetstream", "failed", "nobody", "$JS.API.>")
}

#[tokio::test]
async fn a_cluster_is_looked_at_without_a_trace() -> Result<()> {
    let mut fleet = Fleet::start(Settings::default()).await?;
    let found = fleet_doctor(&fleet, 1).await?;
    found.expect("coordinator", "ok", "leads", "")?;
    found.expect("workers", "failed", "there is none", "zisk-worker")?;

    fleet.start_worker()?;
    let found = fleet_doctor(&fleet, 0).await?;
    for part in ["nats", "server", "jetstream", "streams", "permissions", "objects", "coordinator", "workers", "dead", "queue"] {
        found.expect(part, "ok", "", "")?;
    }
    found.expect("workers", "ok", "1 of 1 can work, 1 units, 1 of them idle", "")?;
    assert!(found.not_looked_at().is_empty());
    // No job, no request, no object.
    assert!(fleet.client.jobs().await?.is_empty());
    let requests = fleet.bus.jetstream().get_stream(fleet.bus.prefix().stream(StreamKind::Requests)).await?;
    assert_eq!(requests.cached_info().state.last_sequence, 0);
    let left: Vec<_> = std::fs::read_dir(fleet.directory().join("objects"))?.map(|entry| entry.unwrap().file_name()).collect();
    ensure!(!left.iter().any(|name| name == "probe"), "{left:?}");

    // Another store than the coordinator's.
    let other = tempfile::tempdir()?;
    for store in [other.path().display().to_string(), format!("{}/missing", other.path().display())] {
        let ended = zisk(&fleet, &["doctor", "--json", "--object-store", &format!("file://{store}")]).await?;
        Found::of(&ended, 1)?.expect("objects", "failed", &store, "same --object-store")?;
    }
    assert!(!other.path().join("missing").exists(), "looking made a store");
    Ok(())
}

#[tokio::test]
async fn what_is_wrong_in_a_cluster_is_named() -> Result<()> {
    // The presences written here are not renewed, and are to be there when they are looked at.
    let mut fleet = Fleet::start(Settings { lease: Duration::from_secs(20), ..Settings::default() }).await?;
    fleet.start_worker()?;
    present(&fleet, unix_ms(), WorkerState::Failed, Some("its disk is full")).await?;
    present(&fleet, unix_ms() - 90_000, WorkerState::Idle, None).await?;
    letter(&fleet.bus).await?;
    let found = fleet_doctor(&fleet, 0).await?;
    found.expect("workers", "warning", "its disk is full", "Mend")?;
    found.expect("clock", "warning", "behind", "chrony")?;
    found.expect("dead", "warning", "1 dead letters", "zisk dead list")?;

    // Nobody mends what is altered while no coordinator leads.
    fleet.coordinators.clear();
    let deadline = std::time::Instant::now() + SOON;
    while fleet.bus.leader().await?.is_some() {
        ensure!(std::time::Instant::now() < deadline, "the lease does not expire");
        tokio::time::sleep(Duration::from_millis(100)).await;
    }
    let jetstream = fleet.bus.jetstream();
    let name = fleet.bus.prefix().stream(StreamKind::Events);
    let mut config = jetstream.get_stream(&name).await?.cached_info().config.clone();
    config.max_messages = 7;
    jetstream.update_stream(&config).await?;
    jetstream.delete_key_value(fleet.bus.prefix().bucket(BucketKind::Queue)).await?;
    let found = fleet_doctor(&fleet, 7).await?;
    found.expect("coordinator", "failed", "none leads", "zisk-coordinator")?;
    let queue = fleet.bus.prefix().bucket(BucketKind::Queue);
    found.expect("streams", "warning", &format!("missing: {queue}"), "coordinator")?;
    found.expect("streams", "warning", "max_msgs was 7 instead of not set", "coordinator")
}

/// Another worker, by its word.
async fn present(fleet: &Fleet, seen_ms: u64, state: WorkerState, reason: Option<&str>) -> Result<()> {
    let worker = WorkerId::random();
    let versions = Versions { release: "0".to_owned(), backend: zisk_protocol::VERSION.to_owned(), asked: None };
    let presence = WorkerPresence {
        v: Version::default(),
        worker,
        host: "elsewhere".to_owned(),
        capacity: 1,
        versions,
        state,
        reason: reason.map(str::to_owned),
        load: Load::default(),
        started_ms: seen_ms,
        seen_ms,
    };
    fleet.bus.workers().await?.put(worker, &presence).await?;
    Ok(())
}

async fn letter(bus: &Bus) -> Result<()> {
    let unreadable = Unreadable {
        subject: "zisk.v1.request.prove".to_owned(),
        stream: "requests".to_owned(),
        sequence: 1,
        job: None,
        reason: "it is no message".to_owned(),
        content_type: None,
        bytes: 0,
        payload: Default::default(),
    };
    bus.publish_dead(&DeadLetter { v: Version::default(), at_ms: unix_ms(), dead: Dead::Unreadable(unreadable) }).await?;
    Ok(())
}
