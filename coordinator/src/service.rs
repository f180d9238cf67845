//! The coordinator as a process: configuration, admin pages, connection, signals.

use std::net::{SocketAddr, ToSocketAddrs};
use std::sync::Arc;
use std::time::Duration;

use anyhow::Context;
use metrics::{counter, gauge};
use tokio::signal::unix::{SignalKind, signal};
use tokio::sync::watch;
use tokio_util::sync::CancellationToken;
use zisk_common::bus::{Bus, BusConfig, ConnectError};
use zisk_common::config::Asked;
use zisk_common::election::{Leadership, Lease, Tenure};
use zisk_common::ids::CoordinatorId;
use zisk_common::keep_alive::{KeepAlive, KeepAliveError};
use zisk_common::objects::{Objects, StoreUrl};
use zisk_common::telemetry::{self, Console, Pages};
use zisk_common::traffic;

use crate::bus::{Coordinator, NotReady, upkeep};
use crate::config::{Config, Metrics};
use crate::job::ZiskProtocol;
use crate::keys;
use crate::leadership;
use crate::metric_definitions::{self, LEADER, LEADERSHIPS};
use crate::ui::Ui;

/// How long one attempt to reach NATS or to prepare it lasts; each ends with a line in the log.
const ATTEMPT: Duration = Duration::from_secs(5);
/// Pause between two attempts.
const PAUSE: Duration = Duration::from_secs(1);
/// For giving back what was pulled once another may lead.
const GIVEN_UP_WITHIN: Duration = Duration::from_secs(2);
/// For deleting the lease.
const RESIGNED_WITHIN: Duration = Duration::from_secs(2);

/// Runs a coordinator until SIGTERM or SIGINT, as its command line says.
///
/// # Errors
/// What to tell the user before exiting with a failure.
pub fn run() -> anyhow::Result<()> {
    let settings = match keys::program().from_this_process()? {
        Asked::Run(settings) => settings,
        Asked::Print(settings) => {
            Config::new(&settings)?;
            print!("{}", settings.print());
            return Ok(());
        }
    };
    let config = Config::new(&settings)?;
    telemetry::init_logs(&config.logging, Console::Stdout)?;
    for warning in settings.without_effect() {
        tracing::warn!("{warning}");
    }
    let bus_args = config.bus_args();
    let mut bus_config = bus_args.bus(&config.service.name)?;
    bus_config.connect_wait = ATTEMPT;
    bus_config.leader_lease = Duration::from_secs(config.server.leader_lease_seconds);
    bus_config.dead_age = Duration::from_secs(config.dead.max_age_days * 24 * 3600);
    bus_config.dead_entries = i64::try_from(config.dead.max_entries)?;
    let store = bus_args.store()?;
    let runtime = tokio::runtime::Builder::new_multi_thread().enable_all().build()?;
    runtime.block_on(serve(&config, bus_config, store))
}

async fn serve(config: &Config, bus_config: BusConfig, store: StoreUrl) -> anyhow::Result<()> {
    let stop = stop_on_signal()?;
    // The port first: one in use ends the process before it touches the bus.
    let not_ready = NotReady::new(Some("not connected to NATS".to_owned()));
    let ui = Arc::new(Ui::default());
    let admin = admin_pages(&config.metrics, not_ready.subscribe(), ui.clone()).await?;
    let id = CoordinatorId::random();
    tracing::info!(
        name = config.service.name,
        environment = ?config.service.environment,
        admin = %admin,
        nats = bus_config.url,
        prefix = %bus_config.prefix,
        %store,
        "zisk-coordinator {} starts as coordinator {id}", env!("CARGO_PKG_VERSION")
    );
    gauge!(LEADER).set(0);
    let Some((bus, keep_alive)) = until_stopped(&stop, connect(&bus_config)).await.transpose()? else {
        return Ok(());
    };
    let api = crate::api::start(&bus, &store, config.queue.max_jobs as usize).await;
    let api = api.map_err(|error| anyhow::anyhow!("the service for requests does not start: {error}"))?;
    tokio::spawn(ui.follow(bus.clone()));
    tokio::spawn(traffic::follow(bus.clone()));
    not_ready.send_replace(Some("it is not known yet who leads".to_owned()));
    let room = config.storage.settings().room;
    while let Some(lease) = until_stopped(&stop, leadership::stand_by(&bus, &keep_alive, id, room, &not_ready)).await {
        not_ready.send_replace(Some("streams, buckets and objects are being prepared".to_owned()));
        gauge!(LEADER).set(1);
        counter!(LEADERSHIPS).increment(1);
        let ended = lead(config, &bus, &store, &lease, &not_ready, &stop).await;
        gauge!(LEADER).set(0);
        not_ready.send_replace(Some("it is not known yet who leads".to_owned()));
        if tokio::time::timeout(RESIGNED_WITHIN, lease.resign()).await.is_err() {
            tracing::debug!("not resigned in time; the lease expires");
        }
        ended?;
    }
    api.stop().await;
    tracing::info!("stopped");
    Ok(())
}

/// Works until `stop`, or until the lease is lost.
async fn lead(
    config: &Config,
    bus: &Bus,
    store: &StoreUrl,
    lease: &Lease<Leadership>,
    not_ready: &NotReady,
    stop: &CancellationToken,
) -> anyhow::Result<()> {
    let prepared = tokio::select! {
        prepared = until_stopped(stop, prepare(bus, lease.tenure(), store, config, not_ready)) => prepared,
        () = lease.lost() => None,
    };
    let Some(coordinator) = prepared else { return Ok(()) };
    tracing::info!("coordinator ready: it leads");
    let end = stop.child_token();
    if let Some(endpoint) = config.traces.endpoint.clone() {
        let (traces, end) = (crate::traces::follow(bus.clone(), endpoint, config.service.name.clone()), end.clone());
        tokio::spawn(async move { until_stopped(&end, traces).await });
    }
    let mut working = tokio::spawn(coordinator.run(end.clone()));
    tokio::select! {
        ended = &mut working => ended.context("the coordinator's loop failed")?,
        () = stop.cancelled() => {
            let seconds = config.server.shutdown_timeout_seconds;
            tracing::info!(seconds, "stopping: finishing what is in hand");
            let unfinished = tokio::select! {
                ended = &mut working => {
                    ended.context("the coordinator's loop failed")?;
                    None
                }
                () = tokio::time::sleep(Duration::from_secs(seconds)) => {
                    Some(format!("not done within shutdown_timeout_seconds = {seconds}"))
                }
                () = bus.gone() => Some("NATS is away".to_owned()),
            };
            if let Some(why) = unfinished {
                working.abort();
                tracing::warn!("{why}: stopping all the same. Nothing is lost, what was in hand comes again");
            }
        }
        () = lease.lost() => {
            tracing::warn!("this coordinator leads no more: it forgets its jobs and stands by");
            end.cancel();
            match tokio::time::timeout(GIVEN_UP_WITHIN, &mut working).await {
                Ok(ended) => ended.context("the coordinator's loop failed")?,
                // NATS is away: what was pulled comes again by itself.
                Err(_) => working.abort(),
            }
        }
    }
    Ok(())
}

fn stop_on_signal() -> anyhow::Result<CancellationToken> {
    let stop = CancellationToken::new();
    let mut terminate = signal(SignalKind::terminate())?;
    let mut interrupt = signal(SignalKind::interrupt())?;
    let told = stop.clone();
    tokio::spawn(async move {
        tokio::select! {
            _ = terminate.recv() => {}
            _ = interrupt.recv() => {}
        }
        told.cancel();
    });
    Ok(stop)
}

async fn until_stopped<T>(stop: &CancellationToken, work: impl Future<Output = T>) -> Option<T> {
    tokio::select! {
        () = stop.cancelled() => None,
        done = work => Some(done),
    }
}

/// Serves `/health`, `/ready`, `/ui`, and `/metrics` unless they are switched off; returns where.
async fn admin_pages(metrics: &Metrics, not_ready: watch::Receiver<Option<String>>, ui: Arc<Ui>) -> anyhow::Result<SocketAddr> {
    let handle = if metrics.enabled {
        let handle = telemetry::init_metrics()?;
        metric_definitions::describe();
        Some(handle)
    } else {
        None
    };
    let asked = (metrics.host.as_str(), metrics.port);
    let address = asked
        .to_socket_addrs()
        .ok()
        .and_then(|mut addresses| addresses.next())
        .with_context(|| format!("metrics.host {:?} is not an address of this machine", metrics.host))?;
    let (bound, served) = telemetry::serve(address, handle, Some(not_ready), Some(ui as Arc<dyn Pages>))
        .await
        .context("choose another port with --metrics-port, ZISK_COORDINATOR_METRICS_PORT or [metrics] port")?;
    tokio::spawn(served);
    Ok(bound)
}

/// Connects, for as long as it takes while nothing answers; what waiting does not mend is an error.
async fn connect(config: &BusConfig) -> anyhow::Result<(Bus, KeepAlive)> {
    loop {
        let connected = async {
            let bus = Bus::connect(config.clone()).await?;
            let keep_alive = KeepAlive::start(&bus).await?;
            Ok::<_, KeepAliveError>((bus, keep_alive))
        };
        match connected.await {
            Ok(connected) => return Ok(connected),
            Err(error @ KeepAliveError::Connect(ConnectError::Unreachable { .. })) => tracing::warn!("{error}; trying again"),
            Err(error) => return Err(error.into()),
        }
        tokio::time::sleep(PAUSE).await;
    }
}

/// Brings streams and buckets to their settings and opens everything, for as long as it takes.
async fn prepare(bus: &Bus, tenure: Tenure, store: &StoreUrl, config: &Config, not_ready: &NotReady) -> Coordinator {
    loop {
        let prepared = async {
            bus.prepare().await?;
            let objects = Objects::own(store, bus).await?;
            upkeep::mark_store(bus, &objects).await?;
            let settings = config.coordinator();
            let (bus, tenure, not_ready) = (bus.clone(), tenure.clone(), not_ready.clone());
            Ok::<_, anyhow::Error>(Coordinator::new(bus, tenure, objects, Arc::new(ZiskProtocol), settings, not_ready).await?)
        };
        match prepared.await {
            Ok(coordinator) => {
                not_ready.send_replace(None);
                return coordinator;
            }
            Err(error) => {
                tracing::warn!("cannot work yet: {error:#}; trying again");
                not_ready.send_replace(Some(format!("{error:#}")));
            }
        }
        tokio::time::sleep(PAUSE).await;
    }
}
