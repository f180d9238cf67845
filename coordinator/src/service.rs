//! The coordinator as a process: configuration, admin pages, connection, signals.

use std::net::{SocketAddr, ToSocketAddrs};
use std::sync::Arc;
use std::time::Duration;

use anyhow::Context;
use tokio::signal::unix::{SignalKind, signal};
use tokio_util::sync::CancellationToken;
use zisk_common::bus::{Bus, BusConfig, ConnectError};
use zisk_common::objects::{Objects, StoreUrl};
use zisk_common::telemetry::{self, Console};

use crate::bus::Coordinator;
use crate::config::{Config, Flags, Metrics};
use crate::job::ZiskProtocol;
use crate::metric_definitions;

/// How long one attempt to reach NATS or to prepare it lasts; each ends with a line in the log.
const ATTEMPT: Duration = Duration::from_secs(5);
/// Pause between two attempts.
const PAUSE: Duration = Duration::from_secs(1);

/// Runs a coordinator until SIGTERM or SIGINT.
///
/// # Errors
/// What to tell the user before exiting with a failure.
pub fn run(flags: &Flags) -> anyhow::Result<()> {
    let config = Config::load(flags, std::env::vars())?;
    telemetry::init_logs(&config.log_args(flags), Console::Stdout)?;
    let bus_args = config.bus_args(flags);
    let mut bus_config = bus_args.bus(&config.service.name)?;
    bus_config.connect_wait = ATTEMPT;
    let store = bus_args.store()?;
    let runtime = tokio::runtime::Builder::new_multi_thread().enable_all().build()?;
    runtime.block_on(serve(&config, bus_config, store))
}

async fn serve(config: &Config, bus_config: BusConfig, store: StoreUrl) -> anyhow::Result<()> {
    let stop = stop_on_signal()?;
    // The port first: one in use ends the process before it touches the bus.
    let admin = admin_pages(&config.metrics).await?;
    tracing::info!(
        name = config.service.name,
        environment = ?config.service.environment,
        admin = %admin,
        nats = bus_config.url,
        prefix = %bus_config.prefix,
        %store,
        "zisk-coordinator {} starts", env!("CARGO_PKG_VERSION")
    );
    let Some(bus) = until_stopped(&stop, connect(&bus_config)).await.transpose()? else {
        return Ok(());
    };
    let Some((coordinator, bus)) = until_stopped(&stop, prepare(bus, &store, config)).await else {
        return Ok(());
    };
    tracing::info!("coordinator ready");
    let mut working = tokio::spawn(coordinator.run(stop.clone()));
    tokio::select! {
        ended = &mut working => ended.context("the coordinator's loop failed")?,
        () = stop.cancelled() => {
            let seconds = config.server.shutdown_timeout_seconds;
            tracing::info!(seconds, "stopping: finishing what is in hand");
            tokio::time::timeout(Duration::from_secs(seconds), working)
                .await
                .with_context(|| {
                    let connected = if bus.is_connected() { "" } else { "; NATS is away" };
                    format!("not done within shutdown_timeout_seconds = {seconds}{connected}; nothing is lost")
                })?
                .context("the coordinator's loop failed")?;
        }
    }
    tracing::info!("stopped");
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

/// Serves `/health`, and `/metrics` unless they are switched off; returns where.
async fn admin_pages(metrics: &Metrics) -> anyhow::Result<SocketAddr> {
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
    let (bound, served) = telemetry::serve(address, handle)
        .await
        .context("choose another port with --metrics-port, ZISK_COORDINATOR_METRICS_PORT or [metrics] port")?;
    tokio::spawn(served);
    Ok(bound)
}

/// Connects, for as long as it takes while nothing answers; what waiting does not mend is an error.
async fn connect(config: &BusConfig) -> anyhow::Result<Bus> {
    loop {
        match Bus::connect(config.clone()).await {
            Ok(bus) => return Ok(bus),
            Err(error @ ConnectError::Unreachable { .. }) => {
                tracing::warn!("{error}; trying again");
            }
            Err(error) => return Err(error.into()),
        }
        tokio::time::sleep(PAUSE).await;
    }
}

/// Brings streams and buckets to their settings and opens everything, for as long as it takes.
async fn prepare(bus: Bus, store: &StoreUrl, config: &Config) -> (Coordinator, Bus) {
    loop {
        let prepared = async {
            bus.prepare().await?;
            let objects = Objects::open(store, &bus).await?;
            let protocol = Arc::new(ZiskProtocol);
            Ok::<_, anyhow::Error>(Coordinator::new(bus.clone(), objects, protocol, config.job_defaults()).await?)
        };
        match prepared.await {
            Ok(coordinator) => return (coordinator, bus),
            Err(error) => tracing::warn!("cannot work yet: {error:#}; trying again"),
        }
        tokio::time::sleep(PAUSE).await;
    }
}
