//! Draws the dashboards of compose/grafana/dashboards as pictures, on the metrics of a cluster that proves while it loses a worker:
//! `scripts/draw-dashboards.sh [FOLDER]`.
//!
//! Grafana itself is not needed: the queries are asked of a real Prometheus, what they answer is drawn by page.html.
#![forbid(unsafe_code)]

use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Duration;

use anyhow::{Context, Result, ensure};
use base64::Engine;
use base64::prelude::BASE64_STANDARD;
use serde_json::{Value, json};
use tokio::task::JoinSet;
use tokio::time::sleep;
use zisk_client::JobOptions;
use zisk_tests::browser::Browser;
use zisk_tests::dashboards::{self, Dashboard};
use zisk_tests::guests::Workload;
use zisk_tests::prometheus::{self, Prometheus};
use zisk_tests::story::{JOB, Story};
use zisk_tests::{free_port, oracles, scrape};

/// Workers, each of one unit.
const WORKERS: usize = 3;
/// Jobs at once.
const CLIENTS: usize = 3;
/// After so long a worker is killed, after as long again another is started, and after as long again pictures are made.
const PART: Duration = Duration::from_secs(65);
/// log2 of a segment's steps.
const LOG_STEPS: u8 = 15;
/// Between two points of a line, in seconds.
const STEP: f64 = 2.0;
/// What `$__rate_interval` is.
const RATE: &str = "10s";

#[tokio::main]
async fn main() -> Result<()> {
    let folder =
        std::env::args().nth(1).map_or_else(|| Path::new(env!("CARGO_MANIFEST_DIR")).join("../docs/images"), PathBuf::from);
    std::fs::create_dir_all(&folder)?;
    let mut story = Story::start(0).await?;
    let mut ports = Vec::new();
    for _ in 0..=WORKERS {
        ports.push(free_port()?);
    }
    for &port in &ports[..WORKERS] {
        start_worker(&mut story, port)?;
    }
    let coordinator = scrape::port(&story.fleet.coordinators[0])?;
    let prometheus = Prometheus::start(story.fleet.directory(), &[coordinator], &ports)?;
    let began = prometheus::now();
    let mut clients = JoinSet::new();
    let sizes = [story.reference.hashes(80)?, story.reference.hashes(25)?, story.reference.workload("trap", b"l")?].map(Arc::new);
    for client in 0..CLIENTS {
        clients.spawn(submit(story.fleet.client.clone(), story.fleet.bus.clone(), sizes.clone(), client));
    }
    sleep(PART).await;
    story.fleet.workers[0].process.kill();
    sleep(PART).await;
    start_worker(&mut story, ports[WORKERS])?;
    sleep(PART).await;
    if let Some(ended) = clients.try_join_next() {
        ended??;
    }
    let to = prometheus::now();
    let mut browser = Browser::start()?;
    for dashboard in dashboards::all()? {
        draw(&mut browser, &prometheus, &dashboard, (began, to), &folder)?;
    }
    Ok(())
}

fn start_worker(story: &mut Story, port: u16) -> Result<()> {
    story.fleet.worker_environment = vec![("ZISK_WORKER_METRICS_PORT", port.to_string())];
    story.fleet.start_worker().map(drop)
}

/// One job after the other, of several sizes.
async fn submit(
    client: Arc<zisk_client::RemoteClient>,
    bus: zisk_common::bus::Bus,
    sizes: [Arc<Workload>; 3],
    number: usize,
) -> Result<()> {
    // Not all at the same moment.
    sleep(Duration::from_secs(7) * u32::try_from(number)?).await;
    for jobs in 0.. {
        // Seldom one that traps.
        let size = if jobs % 5 == 4 { 2 } else { (jobs + number) % 2 };
        let options =
            JobOptions { log_segment_steps: Some(LOG_STEPS), max_steps: sizes[size].max_steps, ..JobOptions::default() };
        let job = client.prove(&sizes[size].elf, &sizes[size].input, &options).await?;
        oracles::end_of(&bus, job, JOB * 3).await?;
    }
    Ok(())
}

/// Asks all queries of a dashboard, and has the browser draw what they answer.
fn draw(
    browser: &mut Browser,
    prometheus: &Prometheus,
    dashboard: &Dashboard,
    (from, to): (f64, f64),
    folder: &Path,
) -> Result<()> {
    let mut panels = serde_json::Map::new();
    for query in dashboard.queries(RATE)? {
        let found = prometheus.range(&query.expression, from, to, STEP).context(query.place)?;
        let lines = found.into_iter().map(|series| {
            let labels: serde_json::Map<String, Value> =
                series.labels.into_iter().map(|(label, value)| (label, value.into())).collect();
            json!({ "legend": query.legend, "labels": labels, "points": series.points })
        });
        let panel = panels.entry(query.panel.to_string()).or_insert_with(|| json!([]));
        panel.as_array_mut().context("no list")?.extend(lines);
    }
    let data = json!({
        "file": dashboard.file, "dashboard": dashboard.json, "panels": panels, "from": from, "to": to, "step": STEP,
    });
    let page = tempfile::Builder::new().suffix(".html").tempfile()?;
    // Within a script, where nothing may look like its end.
    std::fs::write(page.path(), include_str!("page.html").replace("__DATA__", &data.to_string().replace('<', "\\u003c")))?;
    browser.open(&format!("file://{}", page.path().display()), 1200)?;
    browser.until("document.title === 'drawn'")?;
    let height = browser.eval("document.getElementById('board').offsetHeight")?.as_u64().context("no height")?;
    let picture = BASE64_STANDARD.decode(browser.picture_of(1200, height)?)?;
    ensure!(!picture.is_empty(), "{}: no picture", dashboard.file);
    let file = folder.join(format!("{}.png", dashboard.file));
    println!("{}: {} KB", file.display(), picture.len() / 1024);
    Ok(std::fs::write(file, picture)?)
}
