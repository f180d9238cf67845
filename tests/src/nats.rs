//! A nats-server with JetStream on a free port and a store of its own.

use std::fs;
use std::net::TcpStream;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::{Duration, Instant};

use anyhow::{Context, Result, bail};
use tempfile::TempDir;

use crate::process::Process;
use crate::scrape;

/// How long a server may take to start, with a store to recover, on a busy machine.
const START_TIMEOUT: Duration = Duration::from_secs(60);

/// A running server; stopped and removed when dropped, its store and log kept when the test panics or has asked for that.
#[derive(Debug)]
pub struct NatsServer {
    binary: PathBuf,
    directory: Option<TempDir>,
    extra: String,
    max_file_store: Option<u64>,
    /// 0 until the first start has found a free one.
    port: u16,
    /// Of its monitoring pages, where the configuration asks for them.
    monitoring: Option<u16>,
    process: Option<Process>,
    /// Store and logs stay when this is dropped.
    kept: AtomicBool,
}

impl NatsServer {
    /// Starts a server.
    ///
    /// # Errors
    /// When there is none, or it does not start; with its log.
    pub fn start() -> Result<Self> {
        Self::start_with(&nats_server()?, "")
    }

    /// Starts the server of this exact version, fetched by `scripts/install-nats.sh --version`.
    ///
    /// # Errors
    /// When it was not fetched, or does not start.
    pub fn start_version(version: &str) -> Result<Self> {
        let binary = tools().join(format!("nats-server-{version}"));
        if !binary.exists() {
            bail!("{} is missing: run scripts/install-nats.sh --version {version}", binary.display());
        }
        Self::start_with(&binary, "")
    }

    /// Starts a server that has no JetStream.
    ///
    /// # Errors
    /// As [`NatsServer::start`].
    pub fn start_without_jetstream() -> Result<Self> {
        Self::start_with(&nats_server()?, "jetstream: false")
    }

    /// Starts this binary with `extra` lines of configuration; a `jetstream` block there replaces ours.
    ///
    /// # Errors
    /// When it does not start; with its log.
    pub fn start_with(binary: &Path, extra: &str) -> Result<Self> {
        let directory = tempfile::Builder::new().prefix("zisk-nats-").tempdir()?;
        let (binary, extra) = (binary.to_owned(), extra.to_owned());
        let mut server = Self {
            binary,
            directory: Some(directory),
            extra,
            max_file_store: None,
            port: 0,
            monitoring: None,
            process: None,
            kept: AtomicBool::new(false),
        };
        server.restart()?;
        Ok(server)
    }

    /// From its next start on JetStream stores so many bytes at most.
    pub fn limit_store(&mut self, bytes: u64) {
        self.max_file_store = Some(bytes);
    }

    /// Where to connect.
    pub fn url(&self) -> String {
        format!("nats://127.0.0.1:{}", self.port)
    }

    /// Its temporary directory: logs of other processes may go there too.
    pub fn directory(&self) -> &Path {
        self.directory.as_ref().map_or(Path::new("/"), TempDir::path)
    }

    /// Leaves store and logs where they are when this is dropped.
    pub fn keep_directory(&self) {
        self.kept.store(true, Ordering::Relaxed);
    }

    /// Whether it runs, frozen or not.
    pub fn is_running(&mut self) -> bool {
        self.process.as_mut().is_some_and(Process::is_running)
    }

    /// A monitoring page (`/jsz`, `/healthz`), where the configuration has `http: "127.0.0.1:-1"`.
    ///
    /// # Errors
    /// When it does not run, or does not answer within some seconds, or not with JSON.
    pub fn monitor(&self, page: &str) -> Result<serde_json::Value> {
        let port = self.monitoring.filter(|_| self.process.is_some()).context("no monitoring port")?;
        let (_, body) = scrape::get(port, page, Duration::from_secs(5))?;
        Ok(serde_json::from_str(&body)?)
    }

    /// kill -9.
    pub fn kill(&mut self) {
        if let Some(mut process) = self.process.take() {
            process.kill();
        }
    }

    /// Stops it in good order.
    ///
    /// # Errors
    /// When it does not stop; it is then killed.
    pub fn stop(&mut self) -> Result<()> {
        match self.process.take() {
            Some(mut process) => process.stop().map(|_| ()),
            None => Ok(()),
        }
    }

    /// SIGSTOP: connections stay open and nothing answers.
    pub fn freeze(&self) {
        if let Some(process) = &self.process {
            process.freeze();
        }
    }

    /// Ends [`NatsServer::freeze`].
    pub fn thaw(&self) {
        if let Some(process) = &self.process {
            process.thaw();
        }
    }

    /// Starts it again, on the same store and port; kills it first if it runs.
    ///
    /// # Errors
    /// When it does not start; with its log.
    pub fn restart(&mut self) -> Result<()> {
        self.kill();
        let directory = self.directory().to_owned();
        let config = directory.join("nats.conf");
        fs::write(&config, self.config(&directory))?;
        let mut command = Command::new(&self.binary);
        command.arg("-c").arg(&config);
        let mut process = Process::start("nats-server", &command, &directory.join("nats-server.log"))?;
        let deadline = Instant::now() + START_TIMEOUT;
        self.monitoring = None;
        loop {
            // Written whole, when it listens.
            let ports = read_ports(&directory, &self.binary, process.id());
            if let Some(port) = ports.as_ref().and_then(|ports| port_of(ports, "nats")) {
                self.port = port;
                self.monitoring = ports.as_ref().and_then(|ports| port_of(ports, "monitoring"));
            }
            if self.port != 0 && ports.is_some() && TcpStream::connect(("127.0.0.1", self.port)).is_ok() {
                self.process = Some(process);
                return Ok(());
            }
            if !process.is_running() || Instant::now() >= deadline {
                bail!("nats-server does not start:\n{}", process.log_end());
            }
            std::thread::sleep(Duration::from_millis(10));
        }
    }

    fn config(&self, directory: &Path) -> String {
        let port = if self.port == 0 { -1 } else { i32::from(self.port) };
        let jetstream = if self.extra.lines().any(|line| line.starts_with("jetstream")) {
            String::new()
        } else {
            let limit = self.max_file_store.map_or_else(String::new, |bytes| format!(", max_file_store: {bytes}"));
            format!("jetstream {{ store_dir: {:?}{limit} }}\n", directory.join("store"))
        };
        format!("host: 127.0.0.1\nport: {port}\nports_file_dir: {directory:?}\n{jetstream}{}\n", self.extra)
    }
}

impl Drop for NatsServer {
    fn drop(&mut self) {
        drop(self.process.take());
        if (std::thread::panicking() || *self.kept.get_mut())
            && let Some(directory) = self.directory.take()
        {
            eprintln!("store and logs kept in {}", directory.keep().display());
        }
    }
}

/// The ports the server has chosen, from the file it writes.
fn read_ports(directory: &Path, binary: &Path, pid: u32) -> Option<serde_json::Value> {
    // The file bears the name the server was started by.
    let name = binary.file_name()?.to_str()?;
    let text = fs::read_to_string(directory.join(format!("{name}_{pid}.ports"))).ok()?;
    serde_json::from_str(&text).ok()
}

fn port_of(ports: &serde_json::Value, what: &str) -> Option<u16> {
    ports[what][0].as_str()?.rsplit(':').next()?.parse().ok()
}

fn tools() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("../.tools")
}

/// `ZISK_NATS_SERVER`, else what scripts/install-nats.sh put into `.tools`, else the PATH's.
pub fn nats_server() -> Result<PathBuf> {
    if let Some(named) = std::env::var_os("ZISK_NATS_SERVER") {
        return Ok(PathBuf::from(named));
    }
    let ours = tools().join("nats-server");
    if ours.exists() {
        return Ok(ours);
    }
    let path = std::env::var_os("PATH").context("PATH is not set")?;
    std::env::split_paths(&path)
        .map(|directory| directory.join("nats-server"))
        .find(|candidate| candidate.is_file())
        .context("no nats-server: run scripts/install-nats.sh, or name one with ZISK_NATS_SERVER")
}
