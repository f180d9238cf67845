//! A Prometheus that scrapes a cluster, with the alerts that are shipped.

use std::path::{Path, PathBuf};
use std::process::Command;
use std::time::{Duration, SystemTime, UNIX_EPOCH};

use anyhow::{Context, Result, ensure};
use serde_json::Value;

use crate::process::Process;
use crate::{free_port, scrape};

/// How long it may take to start, and to answer.
const PATIENCE: Duration = Duration::from_secs(120);

/// A running Prometheus; it ends when it is dropped.
pub struct Prometheus {
    port: u16,
    _process: Process,
}

/// One line of a graph: its labels, and points of time (seconds since 1970) and value; what is no number is left out.
#[derive(Debug, Clone)]
pub struct Series {
    /// Labels.
    pub labels: Vec<(String, String)>,
    /// Points.
    pub points: Vec<(f64, f64)>,
}

impl Prometheus {
    /// Starts one that scrapes these ports once a second, with its data and log in `directory`.
    ///
    /// # Errors
    /// When there is none, or it does not start.
    pub fn start(directory: &Path, coordinators: &[u16], workers: &[u16]) -> Result<Self> {
        let targets = |ports: &[u16]| ports.iter().map(|port| format!("\"127.0.0.1:{port}\"")).collect::<Vec<_>>().join(", ");
        // As compose/prometheus/prometheus.yml, but for where everything is and how often it is asked.
        let config = format!(
            "global: {{scrape_interval: 1s, evaluation_interval: 1s}}\n\
             rule_files: [\"{}\"]\n\
             scrape_configs:\n\
             - job_name: zisk-coordinator\n  static_configs: [{{targets: [{}]}}]\n\
             - job_name: zisk-worker\n  static_configs: [{{targets: [{}]}}]\n",
            shipped("prometheus/alerts.yml").display(),
            targets(coordinators),
            targets(workers)
        );
        let file = directory.join("prometheus.yml");
        std::fs::write(&file, config)?;
        let port = free_port()?;
        let mut command = Command::new(program("prometheus")?);
        command
            .arg(format!("--config.file={}", file.display()))
            .arg(format!("--storage.tsdb.path={}", directory.join("prometheus").display()))
            .arg(format!("--web.listen-address=127.0.0.1:{port}"))
            .current_dir(directory);
        let mut process = Process::start("prometheus", &command, &directory.join("prometheus.log"))?;
        process.wait_for_log("Server is ready to receive web requests", PATIENCE)?;
        Ok(Self { port, _process: process })
    }

    /// What an expression is now.
    ///
    /// # Errors
    /// When it is none.
    pub fn query(&self, expression: &str) -> Result<Vec<Series>> {
        series(&self.ask(&format!("query?query={}", encoded(expression)))?, "value")
    }

    /// What an expression was between two times, in seconds since 1970.
    ///
    /// # Errors
    /// When it is none.
    pub fn range(&self, expression: &str, from: f64, to: f64, step: f64) -> Result<Vec<Series>> {
        series(&self.ask(&format!("query_range?query={}&start={from}&end={to}&step={step}", encoded(expression)))?, "values")
    }

    /// The alerts as it knows them: `name`, `query`, `health`, `lastError`, `state`.
    ///
    /// # Errors
    /// When it does not answer.
    pub fn alerts(&self) -> Result<Vec<Value>> {
        let data = self.ask("rules?type=alert")?;
        let groups = data["groups"].as_array().context("no groups")?;
        Ok(groups.iter().filter_map(|group| group["rules"].as_array()).flatten().cloned().collect())
    }

    fn ask(&self, what: &str) -> Result<Value> {
        let (status, text) = scrape::get(self.port, &format!("/api/v1/{what}"), PATIENCE)?;
        let answer: Value = serde_json::from_str(&text).with_context(|| text.clone())?;
        ensure!(status == 200, "{}", answer["error"]);
        Ok(answer["data"].clone())
    }
}

/// Seconds since 1970.
pub fn now() -> f64 {
    SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default().as_secs_f64()
}

/// A file of the compose stack.
pub fn shipped(name: &str) -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("../compose").join(name)
}

/// `prometheus` or `promtool`, as scripts/install-prometheus.sh left it, else the PATH's.
///
/// # Errors
/// When it is not there.
pub fn program(name: &str) -> Result<PathBuf> {
    let ours = Path::new(env!("CARGO_MANIFEST_DIR")).join("../.tools").join(name);
    if ours.exists() {
        return Ok(ours);
    }
    let path = std::env::var_os("PATH").context("PATH is not set")?;
    let found = std::env::split_paths(&path).map(|directory| directory.join(name)).find(|candidate| candidate.is_file());
    found.with_context(|| format!("no {name}: run scripts/install-prometheus.sh"))
}

fn series(data: &Value, points: &str) -> Result<Vec<Series>> {
    let found = data["result"].as_array().context("no result")?;
    let point = |point: &Value| {
        let value: f64 = point[1].as_str()?.parse().ok()?;
        value.is_finite().then_some((point[0].as_f64()?, value))
    };
    let read = |one: &Value| {
        let labels = one["metric"].as_object().into_iter().flatten();
        let labels = labels.map(|(label, value)| (label.clone(), value.as_str().unwrap_or_default().to_owned())).collect();
        let points = match &one[points] {
            Value::Array(all) if points == "values" => all.iter().filter_map(point).collect(),
            one => point(one).into_iter().collect(),
        };
        Series { labels, points }
    };
    Ok(found.iter().map(read).collect())
}

fn encoded(text: &str) -> String {
    let byte = |byte: u8| match byte {
        b'a'..=b'z' | b'A'..=b'Z' | b'0'..=b'9' => char::from(byte).to_string(),
        other => format!("%{other:02X}"),
    };
    text.bytes().map(byte).collect()
}
