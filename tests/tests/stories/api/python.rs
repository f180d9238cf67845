//! docs/api.md and schemas/, each by a client that has nothing else of ours: Python with nats-py.

use std::path::Path;
use std::process::Command;

use anyhow::{Result, ensure};
use zisk_tests::story::Story;

/// The NATS client; what MessagePack and JSON Schema are read with; a model of AsyncAPI 3.
const PACKAGES: [&str; 4] = ["nats-py==2.16.0", "msgpack==1.2.4", "jsonschema==4.26.0", "asyncapi3==0.0.2"];

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
async fn jobs_are_submitted_from_the_documentation_or_the_schemas_alone() -> Result<()> {
    let directory = tempfile::tempdir()?;
    let environment = directory.path().join("python");
    let (made, said) = run(Command::new("python3").arg("-m").arg("venv").arg(&environment))?;
    ensure!(made, "python3 -m venv: {said}");
    let python = environment.join("bin/python");
    let (installed, said) = run(Command::new(&python).args(["-m", "pip", "install", "--quiet", "--no-input"]).args(PACKAGES))?;
    if !installed {
        ensure!(UNREACHABLE.iter().any(|words| said.contains(words)), "pip: {said}");
        eprintln!("SKIPPED: pip cannot reach PyPI, so docs/api.md and schemas/ were not tried from Python: {said}");
        return Ok(());
    }
    let story = Story::start(1).await?;
    let root = Path::new(env!("CARGO_MANIFEST_DIR")).join("..").canonicalize()?;
    let (schemas, elf) = (root.join("schemas"), root.join("guests/elf/sha-hasher.elf"));
    for (script, arguments, end) in
        [("api_client.py", vec![root.clone()], "as documented"), ("schema_client.py", vec![schemas, elf], "as the schemas say")]
    {
        let mut client = Command::new(&python);
        client.arg("-B").arg(root.join("tests/python").join(script)).arg(story.fleet.nats.url()).args(arguments);
        let (done, said) = tokio::task::spawn_blocking(move || run(&mut client)).await??;
        ensure!(done && said.contains(end), "{script}: {said}\n{}", story.fleet.coordinators[0].log_end());
    }
    story.is_clean(&[]).await
}
