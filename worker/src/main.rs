//! The `zisk-worker` binary.
#![forbid(unsafe_code)]

use std::net::ToSocketAddrs as _;
use std::process::ExitCode;

use anyhow::Context as _;
use tokio::signal::unix::{SignalKind, signal};
use tokio::sync::watch;
use tokio_util::sync::CancellationToken;
use zisk_common::config::Asked;
use zisk_common::telemetry::{self, Console};
use zisk_worker::config::{self, Config};
use zisk_worker::{keys, metric_definitions};

#[tokio::main]
async fn main() -> ExitCode {
    match run().await {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            eprintln!("zisk-worker: {error:#}");
            ExitCode::FAILURE
        }
    }
}

async fn run() -> anyhow::Result<()> {
    let (settings, print) = match keys::program().from_this_process()? {
        Asked::Run(settings) => (settings, false),
        Asked::Print(settings) => (settings, true),
    };
    let (settings, warnings) = config::taken(settings);
    let config = Config::new(&settings)?;
    if print {
        print!("{}", settings.print());
        return Ok(());
    }
    telemetry::init_logs(&config.logging, Console::Stdout)?;
    for warning in warnings {
        tracing::warn!("{warning}");
    }
    let not_ready = watch::Sender::new(Some("not connected to NATS".to_owned()));
    serve_metrics(&config, not_ready.subscribe()).await?;
    zisk_worker::run(config, zisk_recursion::builtin::built_in(), stop_signal()?, not_ready).await?;
    Ok(())
}

/// Opens `/health`, `/ready` and `/metrics`, if a port is configured.
async fn serve_metrics(config: &Config, not_ready: watch::Receiver<Option<String>>) -> anyhow::Result<()> {
    let Some(port) = config.metrics.port else { return Ok(()) };
    let host = &config.metrics.host;
    let address = (host.as_str(), port).to_socket_addrs().ok().and_then(|mut addresses| addresses.next());
    let address = address.with_context(|| format!("metrics.host {host:?} is not an address of this machine"))?;
    let handle = telemetry::init_metrics()?;
    metric_definitions::describe();
    let (address, serve) = telemetry::serve(address, Some(handle), Some(not_ready), None)
        .await
        .context("choose another port with --metrics-port, ZISK_WORKER_METRICS_PORT or [metrics] port")?;
    tracing::info!(admin = %address, "serving /health, /ready and /metrics");
    tokio::spawn(serve);
    Ok(())
}

/// Cancelled by SIGTERM or SIGINT; a second signal ends the process at once.
fn stop_signal() -> anyhow::Result<CancellationToken> {
    let mut terminate = signal(SignalKind::terminate())?;
    let mut interrupt = signal(SignalKind::interrupt())?;
    let stop = CancellationToken::new();
    let stopping = stop.clone();
    tokio::spawn(async move {
        for _ in 0..2 {
            tokio::select! {
                _ = terminate.recv() => {}
                _ = interrupt.recv() => {}
            }
            if stopping.is_cancelled() {
                std::process::exit(1);
            }
            stopping.cancel();
        }
    });
    Ok(stop)
}
