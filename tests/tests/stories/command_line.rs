//! What a person types: a cluster on one machine, and every command that looks at it.

use std::path::Path;
use std::time::Duration;

use anyhow::{Context, Result, ensure};
use rustix::process::{Pid, Signal, kill_process};
use serde_json::Value;
use zisk_tests::guests::Reference;
use zisk_tests::{Process, Program};

/// How long `zisk up` may take on a busy machine.
const READY: Duration = Duration::from_secs(60);
const STOPPED: Duration = Duration::from_secs(45);

/// Runs `zisk`; its output must be one JSON value, and its exit code this.
fn zisk(directory: &Path, url: &str, code: i32, arguments: &[&str]) -> Result<Value> {
    let printed = run(directory, url, code, arguments)?;
    serde_json::from_str(&printed).with_context(|| format!("zisk {arguments:?} printed no JSON: {printed}"))
}

fn run(directory: &Path, url: &str, code: i32, arguments: &[&str]) -> Result<String> {
    let ended = zisk_tests::cli::run(Program::new("zisk", directory).env("ZISK_NATS_URL", url), arguments)?;
    ensure!(ended.code == code, "zisk {arguments:?}: {ended:?}");
    Ok(ended.stdout)
}

fn signal(pid: &Value, signal: Signal) -> Result<()> {
    let pid = pid.as_i64().and_then(|pid| Pid::from_raw(i32::try_from(pid).ok()?)).context("no pid")?;
    Ok(kill_process(pid, signal)?)
}

/// A cluster by `zisk up`: its process, and what it said of itself.
fn up(directory: &Path) -> Result<(Process, Value)> {
    let nats = zisk_tests::nats_server()?.display().to_string();
    let mut program = Program::new("zisk", directory);
    for argument in ["up", "--json", "--workers", "1", "--port", "0", "--metrics-port", "0", "--directory", "state"] {
        program = program.arg(argument);
    }
    let (out, log) = (directory.join("up.out"), directory.join("up.log"));
    let _ = std::fs::remove_file(&out);
    let mut process = Process::start_apart("zisk up", &program.arg("--nats-server").arg(nats).command()?, &out, &log)?;
    let deadline = std::time::Instant::now() + READY;
    loop {
        if let Ok(said) = serde_json::from_slice(&std::fs::read(&out)?) {
            return Ok((process, said));
        }
        ensure!(process.is_running() && std::time::Instant::now() < deadline, "not up:\n{}", process.log_end());
        std::thread::sleep(Duration::from_millis(50));
    }
}

#[test]
fn a_cluster_on_one_machine_is_started_used_and_stopped() -> Result<()> {
    let directory = tempfile::tempdir()?;
    let here = directory.path();
    let workload = Reference::default().hashes(3)?;
    std::fs::write(here.join("guest.elf"), workload.elf.as_slice())?;
    std::fs::write(here.join("input.bin"), &workload.input)?;

    let (mut cluster, said) = up(here)?;
    let url = said["nats_url"].as_str().context("no URL")?.to_owned();
    let job = prove(here, &url, "proof.bin")?;

    // Each view of it, and its result, which is the same.
    let program = zisk(here, &url, 0, &["register", "--program", "guest.elf", "--json"])?["program"].clone();
    let programs = zisk(here, &url, 0, &["programs", "--json"])?;
    assert_eq!(programs[0]["program"], program);
    assert_eq!(zisk(here, &url, 0, &["setup", "--program", "guest.elf", "--json"])?["program"], program);
    zisk(here, &url, 0, &["result", &job, "--out", "again.bin", "--json"])?;
    assert_eq!(std::fs::read(here.join("proof.bin"))?, std::fs::read(here.join("again.bin"))?);
    let events = run(here, &url, 0, &["watch", &job, "--json"])?;
    let events: Vec<Value> = events.lines().map(serde_json::from_str).collect::<Result<_, _>>()?;
    let kinds: Vec<&str> = events.iter().filter_map(|event| event["event"].as_str()).collect();
    assert_eq!((kinds.first(), kinds.last()), (Some(&"accepted"), Some(&"completed")), "{kinds:?}");
    assert_eq!(
        kinds.iter().filter(|kind| **kind == "proof").count() as u64,
        events.last().unwrap()["segments"].as_u64().unwrap()
    );
    let queues = zisk(here, &url, 0, &["queues", "--json"])?;
    assert_eq!((&queues["waiting_jobs"], &queues["queues"]["assign.segment"]["pending"]), (&0.into(), &0.into()), "{queues}");
    assert!(run(here, &url, 0, &["completion", "bash"])?.contains("_zisk"));
    let unknown = "00000000-0000-4000-8000-000000000000";
    assert!(zisk(here, &url, 1, &["result", unknown, "--json"])?["error"].as_str().unwrap().contains("zisk jobs"));

    let measure = ["bench", "--program", "guest.elf", "--input", "input.bin", "--jobs", "3", "--concurrency", "2"];
    let measured = zisk(here, &url, 0, &[&measure[..], &["--segment-log-steps", "12", "--proof", "bundle", "--json"]].concat())?;
    assert_eq!((&measured["jobs"], &measured["failed"]), (&3.into(), &0.into()), "{measured}");
    assert!(measured["proven_khz"].as_f64().unwrap() > 0.0 && measured["latency_seconds"]["p50"].as_f64().unwrap() > 0.0);

    // A port that is taken is named with the flag that changes it.
    let taken = url.rsplit(':').next().unwrap();
    let error = zisk(here, &url, 1, &["up", "--port", taken, "--directory", "other", "--json"])?["error"].to_string();
    assert!(error.contains(taken) && error.contains("--port"), "{error}");

    // A worker that is lost is replaced; all goes on.
    signal(&said["pids"]["worker-1"], Signal::KILL)?;
    cluster.wait_for_log("worker-1 ended", READY)?;
    prove(here, &url, "after.bin")?;
    signal(&cluster.id().into(), Signal::TERM)?;
    assert!(cluster.wait(STOPPED)?.success());
    ensure!(std::net::TcpListener::bind(url.trim_start_matches("nats://")).is_ok(), "NATS is still there");

    // Started again, it knows its jobs.
    let (mut cluster, said) = up(here)?;
    let url = said["nats_url"].as_str().context("no URL")?;
    assert_eq!(zisk(here, url, 0, &["status", &job, "--json"])?["state"], "completed");
    signal(&cluster.id().into(), Signal::INT)?;
    assert!(cluster.wait(STOPPED)?.success());
    Ok(())
}

/// Proves, verifies, and returns the job's id.
fn prove(here: &Path, url: &str, out: &str) -> Result<String> {
    let what = ["prove", "--program", "guest.elf", "--input", "input.bin", "--segment-log-steps", "12", "--out", out, "--json"];
    let proven = zisk(here, url, 0, &what)?;
    let verified = zisk(here, url, 0, &["verify", out, "--program", "guest.elf", "--json"])?;
    assert_eq!(proven["outputs"], verified["outputs"]);
    assert_eq!(verified["kind"], "recursive", "what one gets who asks for nothing");
    // Without the program.
    zisk(here, url, 0, &["key", "--program", "guest.elf", "--out", "guest.key", "--json"])?;
    let by_key = zisk(here, url, 0, &["verify", out, "--verifying-key", "guest.key", "--json"])?;
    assert_eq!(by_key["outputs"], verified["outputs"]);
    Ok(proven["job"].as_str().context("no job")?.to_owned())
}

#[test]
fn who_reads_only_the_first_line_sees_no_panic() -> Result<()> {
    let zisk = zisk_tests::binary("zisk")?;
    let line = format!("{{ sleep 3; {} completion zsh; }} | true; echo ${{PIPESTATUS[0]}}", zisk.display());
    let ended = std::process::Command::new("bash").args(["-c", &line]).output()?;
    ensure!(ended.stderr.is_empty(), "{}", String::from_utf8_lossy(&ended.stderr));
    ensure!(ended.stdout == b"141\n", "{ended:?}");
    Ok(())
}
