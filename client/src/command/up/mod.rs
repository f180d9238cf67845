//! `zisk up`: a whole cluster on this machine, in the foreground. Whatever of it ends by itself is started again, as an
//! operator's service manager would.

mod child;

use std::net::{Ipv4Addr, TcpListener};
use std::path::{Path, PathBuf};
use std::time::Duration;

use serde_json::json;
use tokio::signal::unix::{Signal, SignalKind, signal};
use tokio::time::{Instant, sleep};
use zisk_client::{ClientError, RemoteClient};
use zisk_common::config::BusArgs;
use zisk_common::ids::WorkerId;

use crate::End;
use crate::args::{Args, Up};
use child::Child;

/// How long everything may take to be there: a first start creates streams and buckets, each synced to disk.
const READY_WITHIN: Duration = Duration::from_secs(60);
/// Between two looks at the children.
const LOOK: Duration = Duration::from_millis(200);
/// How long workers may finish or give back what they hold; their own limit is 30 s.
const LEAVE_WITHIN: Duration = Duration::from_secs(40);

/// Starts the cluster, says how to use it, and keeps it running until a signal comes.
pub async fn run(args: &Args, up: &Up) -> Result<End, ClientError> {
    let mut signals = Signals::new()?;
    let mut cluster = Cluster::start(up)?;
    let ready = tokio::select! {
        ready = cluster.ready() => ready,
        () = signals.next() => Ok(()),
    };
    if let Err(error) = ready {
        cluster.stop(&mut signals).await;
        return Err(error);
    }
    cluster.announce(args.json);
    tokio::select! {
        () = cluster.keep() => {}
        () = signals.next() => eprintln!("stopping; once more to stop at once"),
    }
    cluster.stop(&mut signals).await;
    Ok(End::Done)
}

/// The signals that end it.
struct Signals {
    interrupt: Signal,
    terminate: Signal,
}

impl Signals {
    fn new() -> Result<Self, ClientError> {
        let listen = |kind| signal(kind).map_err(|error| cannot_start("zisk up", &error, "This is a defect: please report it."));
        Ok(Self { interrupt: listen(SignalKind::interrupt())?, terminate: listen(SignalKind::terminate())? })
    }

    async fn next(&mut self) {
        tokio::select! {
            _ = self.interrupt.recv() => {}
            _ = self.terminate.recv() => {}
        }
    }
}

/// Everything that runs, NATS first.
struct Cluster {
    directory: PathBuf,
    nats_url: String,
    metrics_port: u16,
    workers: Vec<WorkerId>,
    children: Vec<Child>,
}

impl Cluster {
    fn start(up: &Up) -> Result<Self, ClientError> {
        let directory = match &up.directory {
            Some(directory) => directory.clone(),
            None => PathBuf::from(std::env::var_os("HOME").unwrap_or_else(|| ".".into())).join(".zisk"),
        };
        let fail = |reason| ClientError::File { action: "write", path: directory.display().to_string(), reason };
        std::fs::create_dir_all(directory.join("logs")).map_err(fail)?;
        let directory = directory.canonicalize().map_err(fail)?;
        let port = self::port(up.port, "--port")?;
        let metrics_port = self::port(up.metrics_port, "--metrics-port")?;
        let (nats, coordinator, worker) = (nats_server(up)?, beside_us("zisk-coordinator")?, beside_us("zisk-worker")?);
        let config = directory.join("nats.conf");
        // Synced, so that what was accepted outlives a power cut, too.
        let store = directory.join("nats");
        let text = format!(
            "listen: \"127.0.0.1:{port}\"\njetstream {{ store_dir: {:?}, sync_interval: always }}\n",
            store.display().to_string()
        );
        std::fs::write(&config, text).map_err(|reason| ClientError::File {
            action: "write",
            path: config.display().to_string(),
            reason,
        })?;

        let nats_url = format!("nats://127.0.0.1:{port}");
        let mut cluster = Self { directory, nats_url, metrics_port, workers: Vec::new(), children: Vec::new() };
        cluster.add("nats-server", &nats, vec!["-c".to_owned(), config.display().to_string()])?;
        let metrics = ["--metrics-port".to_owned(), metrics_port.to_string()];
        cluster.add_ours("coordinator", &coordinator, metrics.into())?;
        for n in 1..=up.workers {
            // Told to it, so that it is known among those of an earlier run, which are listed until their lease ends.
            let id = WorkerId::random();
            let identity = ["--worker-id".to_owned(), id.to_string(), "--compute-capacity".to_owned(), up.units.to_string()];
            cluster.add_ours(&format!("worker-{n}"), &worker, identity.into())?;
            cluster.workers.push(id);
        }
        Ok(cluster)
    }

    fn add_ours(&mut self, name: &str, program: &Path, arguments: Vec<String>) -> Result<(), ClientError> {
        // A file of this machine's may be about another cluster.
        let mut all = ["--config", "none", "--nats-url", &self.nats_url].map(str::to_owned).to_vec();
        all.extend(arguments);
        self.add(name, program, all)
    }

    fn add(&mut self, name: &str, program: &Path, arguments: Vec<String>) -> Result<(), ClientError> {
        let log = self.directory.join("logs").join(format!("{name}.log"));
        self.children.push(Child::start(name, program, arguments, log)?);
        Ok(())
    }

    /// Waits until all workers are registered.
    async fn ready(&mut self) -> Result<(), ClientError> {
        let deadline = Instant::now() + READY_WITHIN;
        let bus = BusArgs {
            nats_url: Some(self.nats_url.clone()),
            connect_seconds: Some(READY_WITHIN.as_secs()),
            ..BusArgs::default()
        };
        let workers = &self.workers;
        let registered = async {
            let client = RemoteClient::connect(&bus).await?;
            loop {
                let present = client.workers().await?;
                if workers.iter().all(|id| present.iter().any(|worker| worker.worker == *id)) {
                    return Ok(());
                }
                sleep(LOOK).await;
            }
        };
        let mut ended = None;
        let children = &mut self.children;
        let result = tokio::select! {
            result = tokio::time::timeout_at(deadline, registered) => result,
            child = first_that_ends(children) => { ended = Some(child); Ok(Ok(())) }
        };
        if let Some(index) = ended {
            let child = &self.children[index];
            return Err(cannot_start(child.name(), &format!("it ended: {}", child.log_end()), &see(child)));
        }
        result.unwrap_or_else(|_| {
            let reason = format!("not all workers registered within {} s", READY_WITHIN.as_secs());
            Err(cannot_start("the cluster", &reason, &format!("The logs are in {}.", self.directory.join("logs").display())))
        })
    }

    /// How to use it: what a script needs on stdout, what a person reads on stderr.
    fn announce(&self, as_json: bool) {
        let logs = self.directory.join("logs");
        if as_json {
            let pids: serde_json::Map<_, _> =
                self.children.iter().map(|child| (child.name().to_owned(), json!(child.id()))).collect();
            println!("{}", json!({ "nats_url": self.nats_url, "metrics_port": self.metrics_port, "logs": logs, "pids": pids }));
            return;
        }
        println!("export ZISK_NATS_URL={}", self.nats_url);
        let (workers, port) = (self.workers.len(), self.metrics_port);
        eprintln!("cluster with {workers} workers; see it live at http://127.0.0.1:{port}/ui, metrics at /metrics");
        eprintln!("jobs and keys are kept in {}, logs in {}", self.directory.display(), logs.display());
        eprintln!("Ctrl-C stops it; jobs that are not done go on at the next start");
    }

    /// Starts again whatever ends.
    async fn keep(&mut self) {
        loop {
            let index = first_that_ends(&mut self.children).await;
            let child = &mut self.children[index];
            eprintln!("{} ended ({}); starting it again", child.name(), child.log_end());
            sleep(child.pause()).await;
            if let Err(error) = child.restart() {
                eprintln!("{error}");
            }
        }
    }

    /// Workers and coordinator leave while NATS is there to hear it. A second signal ends all at once.
    async fn stop(&mut self, signals: &mut Signals) {
        let (nats, ours) = self.children.split_at_mut(1);
        let orderly = async {
            for group in [ours, nats] {
                group.iter().for_each(Child::terminate);
                let deadline = Instant::now() + LEAVE_WITHIN;
                while group.iter_mut().any(Child::is_running) && Instant::now() < deadline {
                    sleep(Duration::from_millis(20)).await;
                }
            }
        };
        tokio::select! {
            () = orderly => {}
            () = signals.next() => {}
        }
        // What is left is killed when dropped.
        self.children.clear();
    }
}

/// The index of the first child that is not running.
async fn first_that_ends(children: &mut [Child]) -> usize {
    loop {
        if let Some(index) = children.iter_mut().position(|child| !child.is_running()) {
            return index;
        }
        sleep(LOOK).await;
    }
}

fn see(child: &Child) -> String {
    format!("Its log is {}.", child.log().display())
}

fn cannot_start(what: &str, reason: &dyn std::fmt::Display, advice: &str) -> ClientError {
    ClientError::Start { what: what.to_owned(), reason: reason.to_string(), advice: advice.to_owned() }
}

/// A port that is free now: the one asked for, or any for 0.
fn port(asked: u16, flag: &str) -> Result<u16, ClientError> {
    let free = |port| TcpListener::bind((Ipv4Addr::LOCALHOST, port))?.local_addr().map(|address| address.port());
    free(asked).map_err(|error| {
        let advice = format!("Stop what listens there, name another port with {flag}, or a free one with {flag} 0.");
        cannot_start(&format!("anything on port {asked}"), &error, &advice)
    })
}

/// One of our own binaries, built and installed together with this one.
fn beside_us(name: &str) -> Result<PathBuf, ClientError> {
    let beside = std::env::current_exe().ok().and_then(|us| Some(us.parent()?.join(name)));
    beside.filter(|path| path.is_file()).or_else(|| on_path(name)).ok_or_else(|| {
        cannot_start(name, &"it is neither beside this program nor on PATH", "Build or install all binaries of the release.")
    })
}

fn nats_server(up: &Up) -> Result<PathBuf, ClientError> {
    if let Some(path) = &up.nats_server {
        return Ok(path.clone());
    }
    // Where scripts/install-nats.sh puts it.
    let here = Path::new(".tools/nats-server");
    here.is_file().then(|| here.to_owned()).or_else(|| on_path("nats-server")).ok_or_else(|| {
        let advice = "Install it (scripts/install-nats.sh puts one into .tools/), or name it with --nats-server.";
        cannot_start("nats-server", &"it is neither in .tools/ nor on PATH", advice)
    })
}

fn on_path(name: &str) -> Option<PathBuf> {
    std::env::split_paths(&std::env::var_os("PATH")?).map(|directory| directory.join(name)).find(|path| path.is_file())
}
