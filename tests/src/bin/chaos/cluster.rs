//! The cluster: places for workers and coordinators, each with a network of its own, and servers.

use std::time::Duration;

use anyhow::Result;
use tokio::time::Instant;
use zisk_common::ids::WorkerId;
use zisk_tests::fleet::{Fleet, Settings, Worker};
use zisk_tests::{Link, NatsServer, Process, Proxy};

/// Workers at a time.
const WORKERS: usize = 3;
/// Coordinators at a time: one leads, one stands by.
const COORDINATORS: usize = 2;
/// A process that is told to stop must have ended after this: a worker finishes or gives back within 30 s.
const LEAVING: Duration = Duration::from_secs(60);

/// A process's way to each server.
struct Network(Vec<Proxy>);

impl Network {
    async fn to(servers: &[NatsServer]) -> Result<Self> {
        let mut proxies = Vec::new();
        for server in servers {
            proxies.push(Proxy::start(server.url().trim_start_matches("nats://").parse()?).await?);
        }
        Ok(Self(proxies))
    }

    fn url(&self) -> String {
        self.0.iter().map(Proxy::url).collect::<Vec<_>>().join(",")
    }
}

/// Where a worker or a coordinator runs; another takes its place when it is gone.
pub struct Place {
    process: Option<Process>,
    network: Network,
    /// Of the worker that runs here now, or did last; none is a coordinator's place.
    pub worker: Option<WorkerId>,
    /// A fault has it; no other may, until that is over.
    pub hit: bool,
}

impl Place {
    pub const fn process(&self) -> Option<&Process> {
        self.process.as_ref()
    }

    pub fn set_network(&self, link: Link) {
        self.network.0.iter().for_each(|proxy| proxy.set(link));
    }

    pub fn cut_network(&self) {
        self.network.0.iter().for_each(Proxy::cut);
    }
}

/// The cluster; its parts stop in this order when it is dropped.
pub struct Cluster {
    /// Workers first.
    pub places: Vec<Place>,
    leaving: Vec<(Instant, Process)>,
    /// Which servers a fault has.
    pub servers_hit: Vec<bool>,
    /// Servers, a client, the store.
    pub fleet: Fleet,
}

impl Cluster {
    pub async fn start(servers: usize) -> Result<Self> {
        let settings =
            Settings { ack_wait: Duration::from_secs(4), lease: Duration::from_secs(3), servers, ..Settings::default() };
        let mut fleet = Fleet::start(settings).await?;
        // The first made the streams; those of ours have their own networks.
        for mut first in std::mem::take(&mut fleet.coordinators) {
            first.stop()?;
        }
        let mut cluster = Self { places: Vec::new(), leaving: Vec::new(), servers_hit: vec![false; servers], fleet };
        for number in 0..WORKERS + COORDINATORS {
            let worker = (number < WORKERS).then(WorkerId::random);
            let network = Network::to(&cluster.fleet.nats.servers).await?;
            cluster.places.push(Place { process: None, network, worker, hit: false });
            cluster.start_at(number)?;
        }
        Ok(cluster)
    }

    /// Starts a process where none runs.
    pub fn start_at(&mut self, number: usize) -> Result<()> {
        let place = &mut self.places[number];
        let url = place.network.url();
        let process = if place.worker.is_some() {
            let Worker { id, process, .. } = self.fleet.launch_worker(&url, true)?;
            place.worker = Some(id);
            process
        } else {
            self.fleet.launch_coordinator(&url)?
        };
        place.process = Some(process);
        Ok(())
    }

    pub fn kill(&mut self, number: usize) {
        if let Some(mut process) = self.places[number].process.take() {
            process.kill();
        }
    }

    pub fn terminate(&mut self, number: usize) {
        if let Some(process) = self.places[number].process.take() {
            process.terminate();
            self.leaving.push((Instant::now(), process));
        }
    }

    /// Places that no fault has: the workers', or the coordinators'.
    pub fn free(&self, workers: bool) -> Vec<usize> {
        let free = |place: &Place| !place.hit && place.process.is_some() && place.worker.is_some() == workers;
        (0..self.places.len()).filter(|&number| free(&self.places[number])).collect()
    }

    /// Where the coordinator that leads runs, if that is known now.
    pub async fn leader(&self) -> Option<usize> {
        let id = self.fleet.bus.leader().await.ok()??;
        // Those that stand by say it, too, at the end of another sentence.
        let line = format!("\"coordinator {id} leads\"");
        let said = |place: &Place| place.process().is_some_and(|process| process.log().contains(&line));
        self.places.iter().position(|place| place.worker.is_none() && said(place))
    }

    /// Nobody may end unasked, and who is told to end does so in good order. Returns what is wrong.
    pub fn look(&mut self) -> Result<Vec<String>> {
        let mut wrong = Vec::new();
        for number in 0..self.places.len() {
            let place = &mut self.places[number];
            let Some(process) = &mut place.process else { continue };
            if !process.is_running() {
                let status = process.wait(Duration::ZERO);
                wrong.push(format!("{} ended by itself ({status:?}): {}", process.name(), last_line(process)));
                self.start_at(number)?;
            }
        }
        for (since, mut process) in std::mem::take(&mut self.leaving) {
            if process.is_running() {
                if since.elapsed() < LEAVING {
                    self.leaving.push((since, process));
                } else {
                    wrong.push(format!("{} was told to stop and has not: {}", process.name(), last_line(&process)));
                }
                continue;
            }
            let status = process.wait(Duration::ZERO)?;
            if status.code() != Some(0) {
                wrong.push(format!("{} was told to stop and ended with {status}: {}", process.name(), last_line(&process)));
            }
        }
        Ok(wrong)
    }

    /// Whether some that were told to stop have not.
    pub const fn has_leaving(&self) -> bool {
        !self.leaving.is_empty()
    }

    /// The coordinators that run.
    pub fn coordinators(&self) -> Vec<&Process> {
        self.places.iter().filter(|place| place.worker.is_none()).filter_map(Place::process).collect()
    }
}

fn last_line(process: &Process) -> String {
    process.log().lines().last().unwrap_or_default().to_owned()
}
