//! The `zisk-worker` binary.
#![forbid(unsafe_code)]

use std::net::SocketAddr;

use anyhow::Context as _;
use clap::Parser;
use tokio::signal::unix::{SignalKind, signal};
use tokio_util::sync::CancellationToken;
use zisk_common::telemetry::{self, Console};
use zisk_worker::config::{Config, Flags};
use zisk_worker::metric_definitions;

#[tokio::main]
async fn main() -> anyhow::Result<()> {
    let config = Flags::parse().config(std::env::vars())?;
    telemetry::init_logs(&config.logging, Console::Stdout)?;
    serve_metrics(&config).await?;
    zisk_worker::run(config, zisk_recursion::builtin::built_in(), stop_signal()?).await?;
    Ok(())
}

/// Opens `/health` and `/metrics`, if a port is configured.
async fn serve_metrics(config: &Config) -> anyhow::Result<()> {
    let Some(port) = config.metrics.port else { return Ok(()) };
    let host = config.metrics.host.parse().context("[metrics] host is not an IP address")?;
    let handle = telemetry::init_metrics()?;
    metric_definitions::describe();
    let (address, serve) = telemetry::serve(SocketAddr::new(host, port), Some(handle), None)
        .await
        .context("choose another port with --metrics-port")?;
    tracing::info!(%address, "serving /health and /metrics");
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
