//! `zisk` on a terminal: bars while a job goes on, and a question when it is interrupted.

use std::process::Command;

use anyhow::{Context, Result, ensure};
use zisk_client::JobId;
use zisk_common::messages::JobState;
use zisk_tests::binary;
use zisk_tests::cli::zisk;
use zisk_tests::fleet::{Fleet, Settings};
use zisk_tests::guests::Reference;

/// Runs a command on a terminal of its own, types ctrl-c once the pattern is seen and the answer when it is asked for; prints
/// what was shown, and ends as the command did.
const ON_A_TERMINAL: &str = r#"
import os, pty, re, sys
pattern, answer, command = sys.argv[1].encode(), sys.argv[2].encode(), sys.argv[3:]
child, terminal = pty.fork()
if child == 0:
    os.execv(command[0], command)
shown, interrupted, answered = b"", False, False
while True:
    try:
        more = os.read(terminal, 4096)
    except OSError: # the terminal's other end is closed
        break
    if not more:
        break
    shown += more
    if not interrupted and re.search(pattern, shown):
        interrupted = True
        os.write(terminal, b"\x03")
    if interrupted and not answered and b"[c/L]" in shown:
        answered = True
        os.write(terminal, answer + b"\n")
sys.stdout.buffer.write(shown)
sys.stdout.flush()
sys.exit(os.waitstatus_to_exitcode(os.waitpid(child, 0)[1]))
"#;

/// What was shown, and the exit code.
async fn on_a_terminal(fleet: &Fleet, pattern: &str, answer: &str, arguments: &[&str]) -> Result<(String, i32)> {
    let mut command = Command::new("python3");
    command.args(["-c", ON_A_TERMINAL, pattern, answer]).arg(binary("zisk")?).args(arguments);
    command.current_dir(fleet.directory()).env("ZISK_NATS_URL", fleet.nats.url()).env("TERM", "xterm");
    let output = tokio::task::spawn_blocking(move || command.output()).await?.context("python3")?;
    let shown = String::from_utf8_lossy(&output.stdout).into_owned();
    Ok((shown, output.status.code().context("killed")?))
}

fn job_of(shown: &str) -> Result<JobId> {
    let id = shown.lines().find_map(|line| line.trim().strip_prefix("job ")).context("no job")?;
    id.trim().parse().map_err(|error| anyhow::anyhow!("{id:?}: {error}"))
}

#[tokio::test]
async fn a_person_sees_bars_and_is_asked_what_ctrl_c_means() -> Result<()> {
    let mut fleet = Fleet::start(Settings { directory_store: false, ..Settings::default() }).await?;
    fleet.start_worker()?;
    let guest = Reference::default().hashes(100)?;
    std::fs::write(fleet.directory().join("guest.elf"), guest.elf.as_slice())?;
    std::fs::write(fleet.directory().join("long.bin"), 2000_u64.to_le_bytes())?;
    std::fs::write(fleet.directory().join("short.bin"), 10_u64.to_le_bytes())?;
    let prove = |input| ["prove", "--program", "guest.elf", "--input", input, "--out", "proof.bin", "--proof", "bundle"];
    let long = [&prove("long.bin")[..], &["--segment-log-steps", "12"]].concat();
    let short = [&prove("short.bin")[..], &["--segment-log-steps", "12"]].concat();

    // Left alone it goes on; the bars were drawn over one another.
    let contributed = r"segments contributed +\[[#.]{20}\] +\d+";
    let (shown, code) = on_a_terminal(&fleet, contributed, "", &long).await?;
    ensure!(code == 130 && shown.contains("goes on") && shown.contains("zisk watch"), "{code}: {shown}");
    ensure!(shown.contains("\x1b[1A"), "drawn below instead of over: {shown:?}");
    let job = job_of(&shown)?;
    assert!(!fleet.client.status(job).await?.state.is_terminal());
    let ended = zisk(&fleet, &["cancel", &job.to_string(), "--json"]).await?;
    assert_eq!(ended.code, 0, "{ended:?}");

    // Told to, it cancels.
    let (shown, code) = on_a_terminal(&fleet, contributed, "c", &long).await?;
    ensure!(code == 130 && shown.contains("is cancelled"), "{code}: {shown}");
    assert_eq!(fleet.client.status(job_of(&shown)?).await?.state, JobState::Cancelled);

    // To its end: a full bar, and the rate.
    let (shown, code) = on_a_terminal(&fleet, "nothing like this", "", &short).await?;
    ensure!(code == 0, "{code}: {shown}");
    let full = shown.lines().any(|line| line.contains("segments proven") && line.contains("[####################]"));
    ensure!(full && shown.contains("/s") && shown.contains("in "), "{shown}");

    // Where nobody can be asked there are plain lines.
    let ended = zisk(&fleet, &short).await?;
    ensure!(ended.code == 0 && ended.stderr.contains("segments proven") && !ended.stderr.contains('['), "{ended:?}");
    Ok(())
}
