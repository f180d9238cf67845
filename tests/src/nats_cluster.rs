//! Several nats-servers that replicate, one of which can be lost.

use std::path::Path;
use std::time::{Duration, Instant};

use anyhow::{Result, bail};
use serde_json::Value;

use crate::nats::{NatsServer, nats_server};
use crate::process::free_ports;

/// How long servers may take to agree, with stores to recover, on a busy machine.
const SETTLE_TIMEOUT: Duration = Duration::from_secs(120);
/// The servers' ports among each other must be known before the first starts; another process may be faster to take one.
const ATTEMPTS: usize = 3;
const LOOK: Duration = Duration::from_millis(50);

/// One server by itself, or a cluster of three or five.
#[derive(Debug)]
pub struct NatsCluster {
    /// The servers; each can be killed, frozen and restarted by itself.
    pub servers: Vec<NatsServer>,
}

impl NatsCluster {
    /// Starts so many servers; returns when they have a leader and all follow it.
    ///
    /// # Errors
    /// When they do not start, or do not agree in time; with a log.
    pub fn start(servers: usize) -> Result<Self> {
        if servers <= 1 {
            return Ok(Self { servers: vec![NatsServer::start()?] });
        }
        let mut failures = String::new();
        for _ in 0..ATTEMPTS {
            match Self::try_start(servers) {
                Ok(cluster) => return Ok(cluster),
                Err(error) => failures += &format!("{error:#}\n"),
            }
        }
        bail!("no cluster of {servers} servers:\n{failures}")
    }

    fn try_start(size: usize) -> Result<Self> {
        let (binary, ports) = (nats_server()?, free_ports(size)?);
        let routes: Vec<String> = ports.iter().map(|port| format!("\"nats://127.0.0.1:{port}\"")).collect();
        let routes = routes.join(", ");
        let mut servers = Vec::with_capacity(size);
        for (index, port) in ports.into_iter().enumerate() {
            // Not advertised: clients go where they are told, by a proxy too.
            let extra = format!(
                "server_name: {}\nhttp: \"127.0.0.1:-1\"\n\
                 cluster {{ name: zisk, listen: \"127.0.0.1:{port}\", no_advertise: true, routes: [{routes}] }}",
                name(index)
            );
            servers.push(NatsServer::start_with(&binary, &extra)?);
        }
        let mut cluster = Self { servers };
        cluster.settle()?;
        Ok(cluster)
    }

    /// How many servers there are, those that do not run included.
    pub const fn size(&self) -> usize {
        self.servers.len()
    }

    /// Where to connect: all servers, separated by commas.
    pub fn url(&self) -> String {
        self.servers.iter().map(NatsServer::url).collect::<Vec<_>>().join(",")
    }

    /// The first server's temporary directory: logs of other processes may go there too.
    pub fn directory(&self) -> &Path {
        self.servers[0].directory()
    }

    /// Leaves stores and logs where they are when this is dropped.
    pub fn keep_directory(&self) {
        self.servers.iter().for_each(NatsServer::keep_directory);
    }

    /// Which server leads the cluster: it places streams and consumers.
    pub fn meta_leader(&self) -> Option<usize> {
        self.pages("/jsz").iter().find_map(|page| index_of(&page["meta_cluster"]["leader"]))
    }

    /// Which server leads a stream (a bucket's is `KV_<bucket>`).
    pub fn leader_of(&self, stream: &str) -> Option<usize> {
        let pages = self.pages("/jsz?streams=true");
        pages
            .iter()
            .flat_map(streams)
            .find(|found| found["name"] == stream)
            .and_then(|found| index_of(&found["cluster"]["leader"]))
    }

    /// Waits until every server runs and has what its leaders have, so that any can be lost.
    ///
    /// # Errors
    /// When that takes too long; with what is missing.
    pub fn settle(&mut self) -> Result<()> {
        let deadline = Instant::now() + SETTLE_TIMEOUT;
        if self.size() == 1 {
            return Ok(());
        }
        loop {
            let missing = self.missing();
            if missing.is_empty() {
                return Ok(());
            }
            if Instant::now() >= deadline {
                bail!("the servers have not settled after {SETTLE_TIMEOUT:?}: {}", missing.join("; "));
            }
            std::thread::sleep(LOOK);
        }
    }

    fn missing(&mut self) -> Vec<String> {
        let stopped =
            (0..self.size()).filter(|&index| !self.servers[index].is_running()).map(|index| format!("{} is away", name(index)));
        let stopped: Vec<String> = stopped.collect();
        if !stopped.is_empty() {
            return stopped;
        }
        let pages = self.pages("/jsz?streams=true&consumers=true");
        if pages.len() < self.size() {
            return vec!["a server does not answer".to_owned()];
        }
        let mut missing = Vec::new();
        let followers = self.size() - 1;
        if !pages.iter().any(|page| follows(&page["meta_cluster"], followers)) {
            missing.push("no leader that all follow".to_owned());
        }
        // Each server lists what it has a copy of; only the leader knows how far the others are.
        let all: Vec<&Value> = pages.iter().flat_map(streams).collect();
        for stream in &all {
            let asset = stream["name"].as_str().unwrap_or_default();
            if stream["cluster"]["leader"].as_str().is_none_or(str::is_empty) {
                missing.push(format!("a server knows no leader of {asset}"));
            }
            let led = all.iter().any(|other| other["name"] == stream["name"] && follows(&other["cluster"], copies(stream)));
            if !led {
                missing.push(format!("not everybody follows {asset}"));
            }
            for consumer in stream["consumer_detail"].as_array().into_iter().flatten() {
                if consumer["cluster"]["leader"].as_str().is_none_or(str::is_empty) {
                    missing.push(format!("consumer {} of {asset} has no leader", consumer["name"]));
                }
            }
        }
        missing.sort();
        missing.dedup();
        missing
    }

    /// What the servers that answer say.
    fn pages(&self, page: &str) -> Vec<Value> {
        self.servers.iter().filter_map(|server| server.monitor(page).ok()).collect()
    }
}

fn name(index: usize) -> String {
    format!("n{index}")
}

fn index_of(name: &Value) -> Option<usize> {
    name.as_str()?.strip_prefix('n')?.parse().ok()
}

fn streams(page: &Value) -> impl Iterator<Item = &Value> {
    let accounts = page["account_details"].as_array().into_iter().flatten();
    accounts.flat_map(|account| account["stream_detail"].as_array().into_iter().flatten())
}

/// Copies of a stream beside its leader's.
fn copies(stream: &Value) -> usize {
    stream["cluster"]["replicas"].as_array().map_or(0, Vec::len)
}

/// Whether this is a leader's view, and so many follow it and have all it has.
fn follows(cluster: &Value, followers: usize) -> bool {
    let replicas = cluster["replicas"].as_array().map(Vec::as_slice).unwrap_or_default();
    let current =
        |replica: &&Value| replica["current"] == true && replica["offline"] != true && replica["lag"].as_u64().unwrap_or(0) == 0;
    replicas.len() == followers && replicas.iter().filter(current).count() == followers
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn three_servers_agree_and_outlive_their_leader() {
        let mut cluster = NatsCluster::start(3).unwrap();
        let first = cluster.meta_leader().unwrap();
        cluster.servers[first].kill();
        let deadline = Instant::now() + SETTLE_TIMEOUT;
        while cluster.meta_leader().is_none_or(|leader| leader == first) {
            assert!(Instant::now() < deadline, "no new leader");
            std::thread::sleep(LOOK);
        }
        cluster.servers[first].restart().unwrap();
        cluster.settle().unwrap();
    }
}
