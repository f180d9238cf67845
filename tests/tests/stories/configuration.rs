//! The binaries as an operator starts them: where each setting comes from, what is refused, the pages, the log.

use std::net::TcpListener;
use std::path::Path;
use std::time::{Duration, Instant};

use anyhow::{Result, ensure};
use serde_json::Value;
use zisk_tests::{NatsServer, Process, Program, free_port, scrape};

/// Generous: on a busy machine.
const SOON: Duration = Duration::from_secs(60);

/// What a binary prints, or the error it ends with.
fn output(program: &Program) -> Result<Result<String, String>> {
    let output = program.command()?.output()?;
    let [printed, said] = [output.stdout, output.stderr].map(|bytes| String::from_utf8_lossy(&bytes).into_owned());
    Ok(if output.status.success() { Ok(printed) } else { Err(said) })
}

/// Waits until a page answers with this status; returns its text.
fn answers(port: u16, path: &str, status: u16) -> Result<String> {
    let deadline = Instant::now() + SOON;
    loop {
        match scrape::get(port, path, SOON) {
            Ok((found, body)) if found == status => return Ok(body),
            other => ensure!(Instant::now() < deadline, "{path} does not answer {status}: {other:?}"),
        }
        std::thread::sleep(Duration::from_millis(50));
    }
}

fn on_port(name: &str, nats: &NatsServer, port: u16) -> Program {
    Program::new(name, nats.directory()).env("ZISK_NATS_URL", nats.url()).arg("--metrics-port").arg(port.to_string())
}

#[test]
fn print_config_tells_where_each_setting_comes_from_and_no_secret() -> Result<()> {
    let directory = tempfile::tempdir()?;
    let here = directory.path();
    std::fs::write(here.join("mine.toml"), "[server]\nleader_lease_seconds = 7\n[queue]\nmax_jobs = 5\nrunning_jobs = 5\n")?;
    let program = Program::new("zisk-coordinator", here)
        .env("ZISK_COORDINATOR_CONFIG", "mine.toml")
        .env("ZISK_COORDINATOR_QUEUE_MAX_JOBS", "6")
        .env("ZISK_COORDINATOR_QUEUE_RUNNING_JOBS", "6")
        .env("ZISK_NATS_PASSWORD", "hidden")
        .env("ZISK_NATS_USER", "me")
        .env("RUST_LOG", "")
        .arg("--nats-url")
        .arg("nats://you:hidden@a:1")
        .arg("--queue-max-jobs")
        .arg("7")
        .arg("--print-config");
    let printed = output(&program)?.unwrap();
    let line =
        |setting: &str| printed.lines().find(|line| line.starts_with(setting)).unwrap_or_else(|| panic!("{setting}: {printed}"));
    for (setting, source) in [
        ("max_jobs = 7", "flag --queue-max-jobs"),
        ("running_jobs = 6", "environment ZISK_COORDINATOR_QUEUE_RUNNING_JOBS"),
        ("leader_lease_seconds = 7", "file mine.toml"),
        ("shutdown_timeout_seconds = 30", "default"),
        ("url = \"nats://you:***@a:1\"", "flag --nats-url"),
        ("password = \"***\"", "environment ZISK_NATS_PASSWORD"),
        ("# credentials =", "none"),
    ] {
        ensure!(line(setting).ends_with(&format!("# {source}")), "{setting}: {printed}");
    }
    ensure!(!printed.contains("hidden"), "{printed}");
    // What is printed is a file that says the same.
    std::fs::write(here.join("printed.toml"), &printed)?;
    let again = Program::new("zisk-coordinator", here).arg("--config").arg("printed.toml").arg("--print-config");
    let again = output(&again)?.unwrap();
    let values = |text: &str| text.lines().map(|line| line.split(" #").next().unwrap().trim_end().to_owned()).collect::<Vec<_>>();
    assert_eq!(values(&again), values(&printed));
    Ok(())
}

#[test]
fn a_file_is_found_where_it_is_looked_for() -> Result<()> {
    let directory = tempfile::tempdir()?;
    let (here, user) = (directory.path().join("here"), directory.path().join("user"));
    std::fs::create_dir_all(&here)?;
    std::fs::create_dir_all(user.join("zisk"))?;
    std::fs::write(user.join("zisk/worker.toml"), "[worker.compute_capacity]\ncompute_units = 3\n")?;
    // An empty variable says nothing.
    let program =
        Program::new("zisk-worker", &here).env("ZISK_WORKER_CONFIG", "").env("XDG_CONFIG_HOME", user.display().to_string());
    let print = |program: &Program| output(&program.clone().arg("--print-config")).map(|printed| printed.unwrap());
    ensure!(print(&program)?.contains("compute_units = 3"), "the user's file");
    std::fs::write(here.join("worker.toml"), "[worker.compute_capacity]\ncompute_units = 4\n")?;
    ensure!(print(&program)?.contains("compute_units = 4"), "the file in the working directory");
    ensure!(print(&program.arg("--config").arg("none"))?.contains("compute_units = 10"), "no file");
    Ok(())
}

#[test]
fn what_is_wrong_in_a_configuration_ends_the_process_with_its_name() -> Result<()> {
    let directory = tempfile::tempdir()?;
    let here = directory.path();
    let write = |text: &str| std::fs::write(here.join("bad.toml"), text);
    for name in ["zisk-coordinator", "zisk-worker"] {
        let refused = |said: &[&str]| -> Result<()> {
            let error = output(&Program::new(name, here).arg("--config").arg("bad.toml"))?.expect_err(name);
            ensure!(said.iter().all(|said| error.contains(said)), "{name}: {error}");
            Ok(())
        };
        write("[metrics]\nprot = 1\n")?;
        refused(&["metrics.prot", "bad.toml", "the nearest is metrics.port"])?;
        write("[metrix]\nport = 1\n")?;
        refused(&["metrix", "bad.toml", "the nearest is metrics"])?;
        write("[metrics]\nport = 65536\n")?;
        refused(&["metrics.port is 65536", "bad.toml", "0 (a free one) to 65535"])?;
        write("[metrics\n")?;
        refused(&["bad.toml", "line 1"])?;
        std::fs::remove_file(here.join("bad.toml"))?;
        refused(&["bad.toml", "No such file"])?;
    }
    Ok(())
}

#[test]
fn the_guides_flags_for_grpc_are_taken_and_explained() -> Result<()> {
    let nats = NatsServer::start()?;
    let port = free_port()?;
    let arguments = ["--api-port", "8000", "--cluster-port", "60000", "--log-level", "debug"];
    let program = arguments.iter().fold(on_port("zisk-coordinator", &nats, port), |program, argument| program.arg(*argument));
    let mut coordinator = program.start("coordinator")?;
    coordinator.wait_for_log("server.port (flag --api-port) has no effect: clients reach the cluster through NATS", SOON)?;
    coordinator
        .wait_for_log("coordinator.port (flag --cluster-port) has no effect: workers reach the cluster through NATS", SOON)?;
    let program = Program::new("zisk-worker", nats.directory())
        .arg("--coordinator-url")
        .arg(nats.url())
        .arg("--compute-capacity")
        .arg("32");
    let mut worker = program.start("worker")?;
    let line = worker.wait_for_log("registered as worker", SOON)?;
    ensure!(line.contains("(capacity 32)"), "{line}");
    // The coordinator's side of it, in the guide's words.
    let line = coordinator.wait_for_log("worker registered: ", SOON)?;
    ensure!(line.contains("capacity=32"), "{line}");
    let refused = Program::new("zisk-worker", nats.directory()).arg("--gpu");
    let error = output(&refused)?.expect_err("a GPU");
    ensure!(error.contains("--gpu is refused: this build proves on CPUs only"), "{error}");
    ensure!(worker.stop()?.success() && coordinator.stop()?.success());
    Ok(())
}

#[test]
fn health_is_empty_also_without_metrics_and_a_port_in_use_is_named() -> Result<()> {
    let nats = NatsServer::start()?;
    let port = free_port()?;
    let mut coordinator = on_port("zisk-coordinator", &nats, port).arg("--metrics-enabled").arg("false").start("coordinator")?;
    assert_eq!(answers(port, "/health", 200)?, "");
    answers(port, "/metrics", 404)?;
    let taken = TcpListener::bind("0.0.0.0:0")?;
    for name in ["zisk-coordinator", "zisk-worker"] {
        let error = output(&on_port(name, &nats, taken.local_addr()?.port()))?.expect_err(name);
        ensure!(error.contains("Address already in use") && error.contains("--metrics-port"), "{error}");
    }
    ensure!(coordinator.stop()?.success());
    Ok(())
}

#[test]
fn nobody_is_ready_before_nats_streams_and_store_answer() -> Result<()> {
    let mut nats = NatsServer::start()?;
    nats.stop()?;
    let (leads, stands_by, works) = (free_port()?, free_port()?, free_port()?);
    let mut coordinator = on_port("zisk-coordinator", &nats, leads).start("coordinator")?;
    let mut worker = on_port("zisk-worker", &nats, works).start("worker")?;
    for port in [leads, works] {
        assert_eq!(answers(port, "/health", 200)?, "");
        assert_eq!(answers(port, "/ready", 503)?, "not connected to NATS\n");
    }
    nats.restart()?;
    for port in [leads, works] {
        answers(port, "/ready", 200)?;
    }
    // What a ready coordinator has made.
    coordinator.wait_for_log("coordinator ready: it leads", SOON)?;
    let mut standby = on_port("zisk-coordinator", &nats, stands_by).start("standby")?;
    answers(stands_by, "/ready", 200)?;
    standby.wait_for_log("it stands by", SOON)?;
    // Without NATS nobody is.
    nats.stop()?;
    answers(leads, "/ready", 503)?;
    answers(stands_by, "/ready", 503)?;
    nats.restart()?;
    answers(leads, "/ready", 200)?;
    for process in [&mut worker, &mut standby, &mut coordinator] {
        ensure!(process.stop()?.success(), "{}", process.log_end());
    }
    Ok(())
}

#[test]
fn the_log_is_pretty_json_or_compact_in_a_dated_file_and_rust_log_wins() -> Result<()> {
    let nats = NatsServer::start()?;
    let started = |label: &str, more: &[&str], filter: &str| -> Result<Process> {
        let program = more.iter().fold(on_port("zisk-coordinator", &nats, 0), |program, argument| program.arg(*argument));
        program.env("RUST_LOG", filter).start(label)
    };
    let ready = "coordinator ready";
    let mut pretty = started("pretty", &[], "")?;
    pretty.wait_for_log(ready, SOON)?;
    ensure!(pretty.log().lines().any(|line| line.trim_start().starts_with("at ")), "{}", pretty.log());
    ensure!(pretty.stop()?.success());
    let mut compact = started("compact", &["--log-format", "compact"], "")?;
    let line = compact.wait_for_log(ready, SOON)?;
    ensure!(line.contains(" INFO ") && line.contains("zisk_coordinator"), "{line}");
    ensure!(compact.stop()?.success());
    let mut json = started("json", &["--log-format", "json"], "")?;
    let line: Value = serde_json::from_str(&json.wait_for_log(ready, SOON)?)?;
    assert_eq!(line["level"], "INFO");
    ensure!(json.stop()?.success());
    // RUST_LOG says what is logged, whatever the flag does.
    let file = nats.directory().join("own.log");
    let mut filed = started("filed", &["--log-level", "error", "--log-file", file.to_str().unwrap()], "info")?;
    let deadline = Instant::now() + SOON;
    while !dated(&file)?.contains(ready) {
        ensure!(Instant::now() < deadline, "nothing in {}", file.display());
        std::thread::sleep(Duration::from_millis(50));
    }
    ensure!(filed.stop()?.success() && filed.log().is_empty(), "{}", filed.log());
    let port = free_port()?;
    let silent = on_port("zisk-coordinator", &nats, port).arg("--log-level").arg("error").env("RUST_LOG", "");
    let mut silent = silent.start("silent")?;
    // It has done what the others have said something about, and knows by now what a signal means.
    answers(port, "/ready", 200)?;
    ensure!(silent.stop()?.success() && silent.log().is_empty(), "{}", silent.log());
    Ok(())
}

/// What is in the files `<path>.<date>`.
fn dated(path: &Path) -> Result<String> {
    let mut text = String::new();
    for entry in std::fs::read_dir(path.parent().unwrap())? {
        let entry = entry?.path();
        let name = format!("{}.", path.file_name().unwrap().to_str().unwrap());
        if entry.file_name().unwrap().to_str().is_some_and(|found| found.starts_with(&name)) {
            text += &std::fs::read_to_string(entry)?;
        }
    }
    Ok(text)
}
