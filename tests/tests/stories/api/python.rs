//! docs/api.md, by a client that has nothing of ours: Python with nats-py.

use std::path::Path;
use std::process::Command;

use anyhow::{Result, ensure};
use zisk_tests::story::Story;

/// What pip says when there is no index to be reached.
const UNREACHABLE: [&str; 5] = [
    "NewConnectionError",
    "Temporary failure",
    "timed out",
    "Max retries exceeded",
    "No matching distribution found for nats-py",
];

/// Runs a command to its end; whether it ended well, and what it printed.
fn run(command: &mut Command) -> Result<(bool, String)> {
    let output = command.output()?;
    let printed = [output.stdout, output.stderr].concat();
    Ok((output.status.success(), String::from_utf8_lossy(&printed).into_owned()))
}

#[tokio::test(flavor = "multi_thread")]
async fn a_job_is_submitted_from_the_documentation_alone() -> Result<()> {
    let directory = tempfile::tempdir()?;
    let environment = directory.path().join("python");
    let (made, said) = run(Command::new("python3").arg("-m").arg("venv").arg(&environment))?;
    ensure!(made, "python3 -m venv: {said}");
    let python = environment.join("bin/python");
    let (installed, said) =
        run(Command::new(&python).args(["-m", "pip", "install", "--quiet", "--no-input", "nats-py==2.16.0"]))?;
    if !installed {
        ensure!(UNREACHABLE.iter().any(|words| said.contains(words)), "pip: {said}");
        eprintln!("SKIPPED: pip cannot reach PyPI for nats-py, so docs/api.md was not tried from Python: {said}");
        return Ok(());
    }
    let story = Story::start(1).await?;
    let root = Path::new(env!("CARGO_MANIFEST_DIR")).join("..").canonicalize()?;
    let script = root.join("tests/python/api_client.py");
    let mut client = Command::new(&python);
    client.arg(script).arg(story.fleet.nats.url()).arg(&root);
    let (done, said) = tokio::task::spawn_blocking(move || run(&mut client)).await??;
    ensure!(done && said.contains("as documented"), "{said}\n{}", story.fleet.coordinators[0].log_end());
    story.is_clean(&[]).await
}
