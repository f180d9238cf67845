//! Logs, metrics, health.

use std::fs::File;
use std::io::{IsTerminal, Write};
use std::net::SocketAddr;
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use chrono::{NaiveDate, Utc};
use metrics::gauge;
use metrics_exporter_prometheus::{PrometheusBuilder, PrometheusHandle};
use thiserror::Error;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::watch;
use tracing_subscriber::filter::{LevelFilter, Targets};
use tracing_subscriber::fmt::MakeWriter;
use tracing_subscriber::fmt::writer::BoxMakeWriter;
use tracing_subscriber::layer::SubscriberExt;
use tracing_subscriber::util::SubscriberInitExt;
use tracing_subscriber::{EnvFilter, Layer};

use crate::config::{LogArgs, LogFormat};
use crate::job_log::JobLog;
use crate::metric_definitions::{self, NATS_CONNECTED};

/// Upper bounds of histograms in seconds: from one exchange with the bus to the proof of a large job.
const SECONDS_BUCKETS: [f64; 14] = [0.001, 0.005, 0.02, 0.1, 0.25, 0.5, 1.0, 2.5, 5.0, 10.0, 30.0, 120.0, 600.0, 3600.0];
/// A request line and headers longer than this are no scraper's.
const MAX_REQUEST: usize = 8 * 1024;
/// How long a scraper may take to send its request.
const REQUEST_TIMEOUT: Duration = Duration::from_secs(5);

/// Why logs or metrics do not work.
#[derive(Debug, Error)]
pub enum TelemetryError {
    /// The filter is not one.
    #[error("log level {value:?}: {reason}; expected error, warn, info, debug, trace or a filter such as info,zisk=debug")]
    Filter {
        /// As configured.
        value: String,
        /// What is wrong.
        reason: String,
    },
    /// There is a subscriber or a recorder already.
    #[error("telemetry is already set up: {0}")]
    AlreadySet(String),
    /// The log file cannot be written.
    #[error("log file {path}: {reason}")]
    LogFile {
        /// As configured.
        path: PathBuf,
        /// Why.
        reason: std::io::Error,
    },
    /// The address is not free.
    #[error("cannot listen on {address}: {reason}")]
    Listen {
        /// As configured.
        address: SocketAddr,
        /// Why.
        reason: std::io::Error,
    },
}

/// Starts logging to the console's `console` stream or to a file; `RUST_LOG` wins over the configured level.
///
/// # Errors
/// [`TelemetryError`] for a bad filter, an unusable file, or a second call.
pub fn init_logs(args: &LogArgs, console: Console) -> Result<(), TelemetryError> {
    let value = std::env::var("RUST_LOG")
        .ok()
        .filter(|value| !value.is_empty())
        // async-nats says "event: connected" on its own; our own lines say it with more.
        .or_else(|| args.level.clone().filter(|level| level != "info"))
        .unwrap_or_else(|| "info,async_nats=warn".to_owned());
    let filter =
        EnvFilter::try_new(&value).map_err(|error| TelemetryError::Filter { value: value.clone(), reason: error.to_string() })?;
    let (writer, colour) = match (&args.file_path, console) {
        (Some(path), _) => (BoxMakeWriter::new(DailyFile::open(path)?), false),
        (None, Console::Stdout) => (BoxMakeWriter::new(std::io::stdout), std::io::stdout().is_terminal()),
        (None, Console::Stderr) => (BoxMakeWriter::new(std::io::stderr), std::io::stderr().is_terminal()),
    };
    let layer = tracing_subscriber::fmt::layer().with_writer(writer).with_ansi(colour);
    let layer = match args.format.unwrap_or_default() {
        LogFormat::Compact => layer.compact().boxed(),
        LogFormat::Pretty => layer.pretty().boxed(),
        LogFormat::Json => layer.json().flatten_event(true).boxed(),
    };
    // Whatever is shown: a failure's report is to say enough.
    let kept = Targets::new().with_default(LevelFilter::INFO).with_target("zisk_worker", LevelFilter::DEBUG);
    tracing_subscriber::registry()
        .with(layer.with_filter(filter))
        .with(JobLog.with_filter(kept))
        .try_init()
        .map_err(|error| TelemetryError::AlreadySet(error.to_string()))
}

/// Which of the console's streams takes the log when no file does.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Console {
    /// Services: the log is what they print.
    Stdout,
    /// Commands: stdout is for data.
    Stderr,
}

/// Appends to `<path>.<date>`; begins a new file when the (UTC) date changes.
#[derive(Clone)]
struct DailyFile {
    path: PathBuf,
    current: Arc<Mutex<(NaiveDate, File)>>,
}

impl DailyFile {
    fn open(path: &Path) -> Result<Self, TelemetryError> {
        let today = Utc::now().date_naive();
        let file = open_dated(path, today).map_err(|reason| TelemetryError::LogFile { path: path.to_owned(), reason })?;
        Ok(Self { path: path.to_owned(), current: Arc::new(Mutex::new((today, file))) })
    }
}

fn open_dated(path: &Path, date: NaiveDate) -> std::io::Result<File> {
    let mut name = path.as_os_str().to_owned();
    name.push(format!(".{date}"));
    File::options().create(true).append(true).open(PathBuf::from(name))
}

impl Write for DailyFile {
    fn write(&mut self, line: &[u8]) -> std::io::Result<usize> {
        let mut current = self.current.lock().unwrap_or_else(PoisonError::into_inner);
        let today = Utc::now().date_naive();
        if current.0 != today {
            *current = (today, open_dated(&self.path, today)?);
        }
        current.1.write(line)
    }

    fn flush(&mut self) -> std::io::Result<()> {
        self.current.lock().unwrap_or_else(PoisonError::into_inner).1.flush()
    }
}

impl<'a> MakeWriter<'a> for DailyFile {
    type Writer = Self;

    fn make_writer(&'a self) -> Self {
        self.clone()
    }
}

/// Collects everything the `metrics` macros record; the handle renders it as Prometheus text.
///
/// # Errors
/// [`TelemetryError::AlreadySet`] on a second call.
pub fn init_metrics() -> Result<PrometheusHandle, TelemetryError> {
    let handle = PrometheusBuilder::new()
        .set_buckets(&SECONDS_BUCKETS)
        .and_then(PrometheusBuilder::install_recorder)
        .map_err(|error| TelemetryError::AlreadySet(error.to_string()))?;
    metric_definitions::describe();
    gauge!(NATS_CONNECTED).set(0);
    process().describe();
    Ok(handle)
}

/// What is shown of this process.
fn process() -> metrics_process::Collector {
    metrics_process::Collector::default()
}

/// Pages beside those that every process has.
pub trait Pages: Send + Sync {
    /// The page at this path, with its query; none when there is none.
    fn page(&self, target: &str) -> Option<Page>;
}

/// An answer to a browser.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Page {
    /// As in the header.
    pub content_type: &'static str,
    /// The content.
    pub body: String,
}

/// Of what these pages are: nothing comes from elsewhere, and nothing goes there.
const POLICY: &str =
    "default-src 'none'; script-src 'unsafe-inline'; style-src 'unsafe-inline'; img-src data:; connect-src 'self'";

/// Serves `/health` (200, empty), `/ready` (200, or 503 with the reason why not; 404 where there is no such thing) and, given metrics, `/metrics` (Prometheus text; else 404) until the future is dropped; returns the address, for
/// port 0 picks a free one.
///
/// # Errors
/// [`TelemetryError::Listen`] when the address is taken.
pub async fn serve(
    address: SocketAddr,
    metrics: Option<PrometheusHandle>,
    not_ready: Option<watch::Receiver<Option<String>>>,
    pages: Option<Arc<dyn Pages>>,
) -> Result<(SocketAddr, impl Future<Output = ()> + Send), TelemetryError> {
    let fail = |reason| TelemetryError::Listen { address, reason };
    let listener = TcpListener::bind(address).await.map_err(fail)?;
    let bound = listener.local_addr().map_err(fail)?;
    let served = async move {
        let mut upkeep = tokio::time::interval(Duration::from_secs(5));
        loop {
            tokio::select! {
                // Without it histograms keep every sample until the next scrape.
                _ = upkeep.tick() => {
                    if let Some(metrics) = &metrics {
                        metrics.run_upkeep();
                    }
                }
                accepted = listener.accept() => match accepted {
                    Ok((stream, _)) => {
                        let (metrics, not_ready, pages) = (metrics.clone(), not_ready.clone(), pages.clone());
                        tokio::spawn(async move {
                            let answered = answer(stream, metrics.as_ref(), not_ready.as_ref(), pages.as_deref());
                            if let Ok(Err(error)) = tokio::time::timeout(REQUEST_TIMEOUT, answered).await {
                                tracing::debug!(%error, "scrape failed");
                            }
                        });
                    }
                    // Out of file descriptors: the next attempt must not spin.
                    Err(error) => {
                        tracing::warn!(%error, "accept failed");
                        tokio::time::sleep(Duration::from_millis(500)).await;
                    }
                },
            }
        }
    };
    Ok((bound, served))
}

async fn answer(
    mut stream: TcpStream,
    metrics: Option<&PrometheusHandle>,
    not_ready: Option<&watch::Receiver<Option<String>>>,
    pages: Option<&dyn Pages>,
) -> std::io::Result<()> {
    let mut request = Vec::new();
    while !request.windows(4).any(|end| end == b"\r\n\r\n") {
        if request.len() > MAX_REQUEST || stream.read_buf(&mut request).await? == 0 {
            return Ok(());
        }
    }
    let line = String::from_utf8_lossy(request.split(|&byte| byte == b'\r').next().unwrap_or_default()).into_owned();
    let mut words = line.split(' ');
    let path = |word: &str| word.split('?').next().unwrap_or(word).to_owned();
    let (method, target) = (words.next(), words.next());
    let page = pages.zip(target).and_then(|(pages, target)| pages.page(target));
    let content_type = page.as_ref().map_or("text/plain; version=0.0.4; charset=utf-8", |page| page.content_type);
    let (status, body) = match (method, target.map(path).as_deref(), metrics) {
        (Some("GET" | "HEAD"), Some("/health"), _) => ("200 OK", String::new()),
        (Some("GET" | "HEAD"), Some("/ready"), _) => match not_ready.map(|reason| reason.borrow().clone()) {
            Some(None) => ("200 OK", "ready\n".to_owned()),
            Some(Some(reason)) => ("503 Service Unavailable", format!("{reason}\n")),
            None => ("404 Not Found", "there are /health and /metrics\n".to_owned()),
        },
        (Some("GET" | "HEAD"), Some("/metrics"), Some(metrics)) => {
            process().collect();
            ("200 OK", metrics.render())
        }
        (Some("GET" | "HEAD"), Some("/metrics"), None) => ("404 Not Found", "metrics are switched off\n".to_owned()),
        (Some("GET" | "HEAD"), ..) if page.is_some() => ("200 OK", page.map(|page| page.body).unwrap_or_default()),
        (Some("GET" | "HEAD"), ..) => ("404 Not Found", "there are /health, /ready and /metrics\n".to_owned()),
        _ => ("405 Method Not Allowed", "GET and HEAD only\n".to_owned()),
    };
    let head = format!(
        "HTTP/1.1 {status}\r\nContent-Type: {content_type}\r\nContent-Length: {}\r\nContent-Security-Policy: {POLICY}\r\n\
         X-Content-Type-Options: nosniff\r\nCache-Control: no-store\r\nConnection: close\r\n\r\n",
        body.len()
    );
    stream.write_all(head.as_bytes()).await?;
    if !line.starts_with("HEAD") {
        stream.write_all(body.as_bytes()).await?;
    }
    stream.shutdown().await
}

#[cfg(test)]
mod tests {
    use super::*;

    async fn get(address: SocketAddr, request: &str) -> String {
        let mut stream = TcpStream::connect(address).await.unwrap();
        stream.write_all(request.as_bytes()).await.unwrap();
        let mut answer = String::new();
        stream.read_to_string(&mut answer).await.unwrap();
        answer
    }

    #[tokio::test]
    async fn health_and_metrics_are_served() {
        let recorder = PrometheusBuilder::new().build_recorder();
        let handle = recorder.handle();
        let ready = watch::Sender::new(None);
        metrics::with_local_recorder(&recorder, || metrics::counter!("zisk_test_total").increment(3));
        let (address, served) = serve(([127, 0, 0, 1], 0).into(), Some(handle), Some(ready.subscribe()), None).await.unwrap();
        tokio::spawn(served);
        let health = get(address, "GET /health HTTP/1.1\r\nHost: x\r\n\r\n").await;
        assert!(health.starts_with("HTTP/1.1 200") && health.ends_with("\r\n\r\n"), "{health}");
        let metrics = get(address, "GET /metrics?x HTTP/1.1\r\n\r\n").await;
        assert!(metrics.contains("zisk_test_total 3"), "{metrics}");
        assert!(get(address, "GET /ready HTTP/1.1\r\n\r\n").await.starts_with("HTTP/1.1 200"));
        ready.send_replace(Some("it is away".to_owned()));
        let answer = get(address, "GET /ready HTTP/1.1\r\n\r\n").await;
        assert!(answer.starts_with("HTTP/1.1 503") && answer.ends_with("it is away\n"), "{answer}");
        assert!(get(address, "GET / HTTP/1.1\r\n\r\n").await.starts_with("HTTP/1.1 404"));
        let (without, served) = serve(([127, 0, 0, 1], 0).into(), None, None, None).await.unwrap();
        tokio::spawn(served);
        assert!(get(without, "GET /metrics HTTP/1.1\r\n\r\n").await.starts_with("HTTP/1.1 404"));
        assert!(get(without, "GET /health HTTP/1.1\r\n\r\n").await.starts_with("HTTP/1.1 200"));
        assert!(get(address, "POST /health HTTP/1.1\r\n\r\n").await.starts_with("HTTP/1.1 405"));
    }

    #[test]
    fn the_log_file_carries_the_date() {
        let path = std::env::temp_dir().join(format!("zisk-log-{}", std::process::id()));
        let mut file = DailyFile::open(&path).unwrap();
        file.write_all(b"line\n").unwrap();
        let dated = PathBuf::from(format!("{}.{}", path.display(), Utc::now().date_naive()));
        assert_eq!(std::fs::read_to_string(&dated).unwrap(), "line\n");
        std::fs::remove_file(dated).unwrap();
    }
}
