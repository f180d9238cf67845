//! The admin pages: `/health` for probes, `/metrics` for Prometheus.

use std::io;
use std::net::SocketAddr;

use axum::Router;
use axum::http::{StatusCode, header};
use axum::response::IntoResponse;
use axum::routing::get;
use metrics_exporter_prometheus::PrometheusHandle;
use thiserror::Error;
use tokio::net::TcpListener;
use tokio_util::sync::CancellationToken;

/// The admin port cannot be used.
#[derive(Debug, Error)]
pub enum AdminError {
    /// Another process listens there.
    #[error(
        "{address}: Address already in use. Another process listens on the metrics port; \
         choose a free one with --metrics-port"
    )]
    InUse {
        /// Host and port that were asked for.
        address: String,
    },
    /// Any other reason.
    #[error("cannot listen on {address} ([metrics] host and port, --metrics-port)")]
    Listen {
        /// Host and port that were asked for.
        address: String,
        /// What the system says.
        #[source]
        source: io::Error,
    },
}

/// The admin pages, bound to their port but not yet served.
#[derive(Debug)]
pub struct Admin {
    listener: TcpListener,
    metrics: Option<PrometheusHandle>,
}

impl Admin {
    /// Binds the port, so that a port in use ends the process before it touches the bus. Without `metrics`
    /// only `/health` is served.
    ///
    /// # Errors
    /// [`AdminError`] when the port cannot be used.
    pub async fn bind(
        host: &str,
        port: u16,
        metrics: Option<PrometheusHandle>,
    ) -> Result<Self, AdminError> {
        let address = format!("{host}:{port}");
        let listener =
            TcpListener::bind((host, port))
                .await
                .map_err(|source| match source.kind() {
                    io::ErrorKind::AddrInUse => AdminError::InUse {
                        address: address.clone(),
                    },
                    _ => AdminError::Listen {
                        address: address.clone(),
                        source,
                    },
                })?;
        Ok(Self { listener, metrics })
    }

    /// Where it listens; with port 0 the system chose one.
    ///
    /// # Errors
    /// The system's, when it does not know.
    pub fn address(&self) -> io::Result<SocketAddr> {
        self.listener.local_addr()
    }

    /// Serves until `stop`.
    ///
    /// # Errors
    /// The system's, when accepting connections fails for good.
    pub async fn serve(self, stop: CancellationToken) -> io::Result<()> {
        let mut pages = Router::new().route("/health", get(StatusCode::OK));
        if let Some(metrics) = self.metrics {
            let page = move || {
                let text = metrics.render();
                async move {
                    ([(header::CONTENT_TYPE, "text/plain; version=0.0.4")], text).into_response()
                }
            };
            pages = pages.route("/metrics", get(page));
        }
        axum::serve(self.listener, pages)
            .with_graceful_shutdown(stop.cancelled_owned())
            .await
    }
}
