//! A child process with its log, in a process group of its own.

use std::fs::File;
use std::io::{Read, Seek, SeekFrom};
use std::net::TcpListener;
use std::os::unix::process::CommandExt;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, ExitStatus, Stdio};
use std::time::{Duration, Instant};

use anyhow::{Context, Result, bail};
use rustix::process::{Pid, Signal, kill_process_group};

/// How long a process may take to stop after SIGTERM.
const STOP_TIMEOUT: Duration = Duration::from_secs(60);
/// How much of a log is shown when a test fails.
const SHOWN_LOG: u64 = 6_000;

/// A running child; killed with its whole group when dropped.
#[derive(Debug)]
pub struct Process {
    name: String,
    log: PathBuf,
    child: Child,
}

impl Process {
    /// Starts `command` with stdout and stderr appended to `log`.
    ///
    /// Call it from the test's own thread: where `setpriv` exists the child dies with the thread that started it, so that
    /// nothing is left even when the test is killed.
    ///
    /// # Errors
    /// When the log cannot be written or the program cannot be started.
    pub fn start(name: &str, command: &Command, log: &Path) -> Result<Self> {
        Self::start_apart(name, command, log, log)
    }

    /// As [`Process::start`], with stdout in a file of its own; the log is stderr's.
    ///
    /// # Errors
    /// As [`Process::start`].
    pub fn start_apart(name: &str, command: &Command, stdout: &Path, log: &Path) -> Result<Self> {
        let appended =
            |path: &Path| File::options().create(true).append(true).open(path).with_context(|| format!("log {}", path.display()));
        let mut command = dying_with_us(command);
        let child = command
            .process_group(0)
            .stdin(Stdio::null())
            .stdout(appended(stdout)?)
            .stderr(appended(log)?)
            .spawn()
            .with_context(|| format!("cannot start {name}: {command:?}"))?;
        Ok(Self { name: name.to_owned(), log: log.to_owned(), child })
    }

    /// What it is called in logs.
    pub fn name(&self) -> &str {
        &self.name
    }

    /// The process id.
    pub fn id(&self) -> u32 {
        self.child.id()
    }

    /// Whether it still runs.
    pub fn is_running(&mut self) -> bool {
        matches!(self.child.try_wait(), Ok(None))
    }

    /// Everything it has logged.
    pub fn log(&self) -> String {
        std::fs::read(&self.log).map(|bytes| String::from_utf8_lossy(&bytes).into_owned()).unwrap_or_default()
    }

    /// Waits until its log contains `text`; returns the line.
    ///
    /// # Errors
    /// When it ends first or `timeout` passes; with the end of the log.
    pub fn wait_for_log(&mut self, text: &str, timeout: Duration) -> Result<String> {
        let deadline = Instant::now() + timeout;
        loop {
            if let Some(line) = self.log().lines().find(|line| line.contains(text)) {
                return Ok(line.to_owned());
            }
            if !self.is_running() {
                bail!("{} ended before it logged {text:?}:\n{}", self.name, self.log_end());
            }
            if Instant::now() >= deadline {
                bail!("{} did not log {text:?} within {timeout:?}:\n{}", self.name, self.log_end());
            }
            std::thread::sleep(Duration::from_millis(20));
        }
    }

    /// Waits until it ends by itself.
    ///
    /// # Errors
    /// When `timeout` passes; it is then killed.
    pub fn wait(&mut self, timeout: Duration) -> Result<ExitStatus> {
        let deadline = Instant::now() + timeout;
        loop {
            if let Some(status) = self.child.try_wait()? {
                return Ok(status);
            }
            if Instant::now() >= deadline {
                self.kill();
                bail!("{} did not end within {timeout:?}:\n{}", self.name, self.log_end());
            }
            std::thread::sleep(Duration::from_millis(10));
        }
    }

    /// kill -9, its children included.
    pub fn kill(&mut self) {
        // Once it was waited for, its number may belong to someone else.
        if self.is_running() {
            self.signal(Signal::KILL);
            let _ = self.child.wait(); // it was running: there is something to wait for
        }
    }

    /// SIGSTOP: it stays, and says nothing.
    pub fn freeze(&self) {
        self.signal(Signal::STOP);
    }

    /// SIGCONT after [`Process::freeze`].
    pub fn thaw(&self) {
        self.signal(Signal::CONT);
    }

    /// SIGTERM, without waiting.
    pub fn terminate(&self) {
        self.signal(Signal::TERM);
    }

    /// SIGTERM, and waits until it has ended.
    ///
    /// # Errors
    /// When it does not end in time; it is then killed.
    pub fn stop(&mut self) -> Result<ExitStatus> {
        self.terminate();
        self.wait(STOP_TIMEOUT)
    }

    fn signal(&self, signal: Signal) {
        if let Some(pid) = i32::try_from(self.child.id()).ok().and_then(Pid::from_raw) {
            let _ = kill_process_group(pid, signal); // it may have ended meanwhile
        }
    }

    /// The end of its log, for a failure's message.
    pub fn log_end(&self) -> String {
        let read = || -> std::io::Result<String> {
            let mut file = File::open(&self.log)?;
            let length = file.metadata()?.len();
            file.seek(SeekFrom::Start(length.saturating_sub(SHOWN_LOG)))?;
            let mut end = Vec::new();
            file.read_to_end(&mut end)?;
            Ok(String::from_utf8_lossy(&end).into_owned())
        };
        read().unwrap_or_else(|error| format!("(no log: {error})"))
    }
}

impl Drop for Process {
    fn drop(&mut self) {
        if self.is_running() {
            self.kill();
        }
        if std::thread::panicking() {
            eprintln!("---- end of the log of {} ({}) ----\n{}", self.name, self.log.display(), self.log_end());
        }
    }
}

/// The same command, run so that the kernel kills it when the thread that started it ends.
fn dying_with_us(command: &Command) -> Command {
    let setpriv = Path::new("/usr/bin/setpriv");
    let mut wrapped = if setpriv.exists() {
        let mut wrapped = Command::new(setpriv);
        wrapped.args(["--pdeathsig", "KILL", "--"]).arg(command.get_program());
        wrapped
    } else {
        Command::new(command.get_program())
    };
    wrapped.args(command.get_args());
    for (key, value) in command.get_envs() {
        match value {
            Some(value) => wrapped.env(key, value),
            None => wrapped.env_remove(key),
        };
    }
    if let Some(directory) = command.get_current_dir() {
        wrapped.current_dir(directory);
    }
    wrapped
}

/// A binary of this workspace, built beside the running test.
///
/// # Errors
/// When it is not built; with the command that builds it.
pub fn binary(name: &str) -> Result<PathBuf> {
    let mut directory = std::env::current_exe()?;
    directory.pop();
    if directory.ends_with("deps") {
        directory.pop();
    }
    let path = directory.join(name);
    if !path.is_file() {
        bail!("{} is not built: run `cargo build --release --workspace` first", path.display());
    }
    Ok(path)
}

/// One of our binaries, configured for a bus; each call of [`Program::start`] starts one more.
#[derive(Debug, Clone)]
pub struct Program {
    name: String,
    arguments: Vec<String>,
    environment: Vec<(String, String)>,
    directory: PathBuf,
}

impl Program {
    /// A binary with its working directory and log in `directory`, and nothing of the caller's ZISK_ settings or the machine's configuration files.
    pub fn new(name: &str, directory: &Path) -> Self {
        Self { name: name.to_owned(), arguments: Vec::new(), environment: Vec::new(), directory: directory.to_owned() }
    }

    /// Adds an argument.
    #[must_use]
    pub fn arg(mut self, argument: impl Into<String>) -> Self {
        self.arguments.push(argument.into());
        self
    }

    /// Adds an environment variable.
    #[must_use]
    pub fn env(mut self, key: &str, value: impl Into<String>) -> Self {
        self.environment.push((key.to_owned(), value.into()));
        self
    }

    /// The command line, for a caller that wants its output.
    ///
    /// # Errors
    /// When the binary is not built.
    pub fn command(&self) -> Result<Command> {
        let mut command = Command::new(binary(&self.name)?);
        for (key, _) in std::env::vars().filter(|(key, _)| key.starts_with("ZISK_")) {
            command.env_remove(key);
        }
        // Nor what the machine's configuration files say.
        command.env("ZISK_COORDINATOR_CONFIG", "none").env("ZISK_WORKER_CONFIG", "none");
        command.args(&self.arguments).envs(self.environment.iter().map(|(key, value)| (key, value))).current_dir(&self.directory);
        Ok(command)
    }

    /// Starts it, logging to `<directory>/<label>.log`.
    ///
    /// # Errors
    /// When the binary is not built or does not start.
    pub fn start(&self, label: &str) -> Result<Process> {
        Process::start(label, &self.command()?, &self.directory.join(format!("{label}.log")))
    }
}

/// A port nobody listens on now. Another process can take it before it is used: prefer port 0 where the program reports
/// what it got.
///
/// # Errors
/// When there is none.
pub fn free_port() -> Result<u16> {
    Ok(free_ports(1)?[0])
}

/// As [`free_port`], several different ones.
///
/// # Errors
/// As [`free_port`].
pub fn free_ports(count: usize) -> Result<Vec<u16>> {
    // All are held until the last is known.
    let listeners = (0..count).map(|_| TcpListener::bind(("127.0.0.1", 0))).collect::<std::io::Result<Vec<_>>>()?;
    listeners.iter().map(|listener| Ok(listener.local_addr()?.port())).collect()
}
