//! A part of the cluster: a process with a log.

use std::fs::File;
use std::io::IsTerminal;
use std::os::unix::process::CommandExt;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};
use std::time::{Duration, Instant};

use rustix::process::{Pid, Signal, kill_process};
use zisk_client::ClientError;

use super::cannot_start;

/// What ran for so long is started again at once.
const STEADY: Duration = Duration::from_secs(60);
/// Longest pause before another start.
const LONGEST_PAUSE: Duration = Duration::from_secs(30);

/// One process; killed when dropped.
pub struct Child {
    name: String,
    program: PathBuf,
    arguments: Vec<String>,
    log: PathBuf,
    process: std::process::Child,
    started: Instant,
    /// Starts in quick succession.
    quick: u32,
}

impl Child {
    pub fn start(name: &str, program: &Path, arguments: Vec<String>, log: PathBuf) -> Result<Self, ClientError> {
        let process = spawn(name, program, &arguments, &log)?;
        let (name, program) = (name.to_owned(), program.to_owned());
        Ok(Self { name, program, arguments, log, process, started: Instant::now(), quick: 0 })
    }

    pub fn restart(&mut self) -> Result<(), ClientError> {
        self.quick = if self.started.elapsed() >= STEADY { 0 } else { self.quick + 1 };
        self.started = Instant::now();
        self.process = spawn(&self.name, &self.program, &self.arguments, &self.log)?;
        Ok(())
    }

    /// Before it is started again: longer each time when it does not stay.
    pub fn pause(&self) -> Duration {
        match self.started.elapsed() >= STEADY {
            true => Duration::ZERO,
            false => (Duration::from_secs(1) * 2u32.saturating_pow(self.quick.min(5))).min(LONGEST_PAUSE),
        }
    }

    pub fn name(&self) -> &str {
        &self.name
    }

    pub fn id(&self) -> u32 {
        self.process.id()
    }

    pub fn log(&self) -> &Path {
        &self.log
    }

    /// The last line it wrote.
    pub fn log_end(&self) -> String {
        let log = std::fs::read(&self.log).unwrap_or_default();
        let text = String::from_utf8_lossy(&log[log.len().saturating_sub(4096)..]).into_owned();
        text.lines().rev().find(|line| !line.trim().is_empty()).unwrap_or("it wrote nothing").trim().to_owned()
    }

    pub fn is_running(&mut self) -> bool {
        matches!(self.process.try_wait(), Ok(None))
    }

    /// SIGTERM.
    pub fn terminate(&self) {
        if let Some(pid) = i32::try_from(self.process.id()).ok().and_then(Pid::from_raw) {
            // It may have ended already.
            let _ = kill_process(pid, Signal::TERM);
        }
    }
}

impl Drop for Child {
    fn drop(&mut self) {
        if self.is_running() {
            let _ = self.process.kill();
            let _ = self.process.wait();
        }
    }
}

fn spawn(name: &str, program: &Path, arguments: &[String], log: &Path) -> Result<std::process::Child, ClientError> {
    let fail = |reason| ClientError::File { action: "write", path: log.display().to_string(), reason };
    let out = File::options().create(true).append(true).open(log).map_err(fail)?;
    let err = out.try_clone().map_err(fail)?;
    let mut command = Command::new(program);
    if std::io::stdin().is_terminal() {
        // Ctrl-C is to reach only us, who stop the parts in order. Elsewhere who kills our group means all of us.
        command.process_group(0);
    }
    command
        .args(arguments)
        .stdin(Stdio::null())
        .stdout(out)
        .stderr(err)
        .spawn()
        .map_err(|error| cannot_start(name, &error, &format!("The program is {}.", program.display())))
}
