//! The dashboards and alerts that are shipped, on the metrics of a real cluster that a real Prometheus scrapes.

use std::collections::HashSet;
use std::process::Command;
use std::time::Duration;

use anyhow::{Context, Result, ensure};
use serde_json::Value;
use tokio::time::{Instant, sleep};
use zisk_common::ids::{Digest, JobId};
use zisk_common::messages::{Assignment, ObjectKey, ObjectScope, ProofKind};
use zisk_common::subjects::{AssignmentKind, ConsumerKind, EventKind};
use zisk_tests::dashboards::{self, Query};
use zisk_tests::prometheus::{self, Prometheus, program, shipped};
use zisk_tests::story::{JOB, LOG_STEPS, Story};
use zisk_tests::{free_port, scrape};

#[test]
fn prometheus_takes_the_configuration_and_the_alerts_fire_when_they_should() -> Result<()> {
    let tool = program("promtool")?;
    for arguments in
        [["check", "config", "prometheus.yml"], ["check", "rules", "alerts.yml"], ["test", "rules", "alerts_test.yml"]]
    {
        let ended = Command::new(&tool).args(arguments).current_dir(shipped("prometheus")).output()?;
        let said = [ended.stdout, ended.stderr].map(|text| String::from_utf8_lossy(&text).into_owned()).concat();
        ensure!(ended.status.success(), "promtool {}: {said}", arguments.join(" "));
    }
    Ok(())
}

#[test]
fn dashboards_are_whole() -> Result<()> {
    let mut uids = HashSet::new();
    for dashboard in dashboards::all()? {
        let (file, json) = (&dashboard.file, &dashboard.json);
        ensure!(uids.insert(json["uid"].as_str().context("no uid")?.to_owned()), "{file}: its uid is another's");
        ensure!(json["title"].is_string() && json["schemaVersion"].as_u64() >= Some(36), "{file}: title or schema version");
        let (mut ids, mut cells) = (HashSet::new(), HashSet::new());
        for panel in dashboard.panels() {
            let title = panel["title"].as_str().context("no title")?;
            ensure!(ids.insert(panel["id"].as_u64().context("no id")?), "{file}, {title:?}: its id is another's");
            let [x, y, w, h] = ["x", "y", "w", "h"].map(|key| panel["gridPos"][key].as_u64().unwrap());
            ensure!(w > 0 && h > 0 && x + w <= 24, "{file}, {title:?}: beside the grid");
            for cell in (x..x + w).flat_map(|x| (y..y + h).map(move |y| (x, y))) {
                ensure!(cells.insert(cell), "{file}, {title:?}: over another panel");
            }
            if panel["type"] == "text" {
                continue;
            }
            let defaults = &panel["fieldConfig"]["defaults"];
            let described = panel["description"].as_str().is_some_and(|text| text.len() > 5);
            ensure!(described && defaults["unit"].is_string(), "{file}, {title:?}: no description or no unit");
            ensure!(!panel["targets"].as_array().context("no targets")?.is_empty(), "{file}, {title:?}: shows nothing");
            for target in panel["targets"].as_array().unwrap() {
                ensure!(target["datasource"]["uid"] == "${datasource}", "{file}, {title:?}: another datasource");
            }
        }
    }
    Ok(())
}

fn start_worker(story: &mut Story, port: u16) -> Result<()> {
    story.fleet.worker_environment = vec![("ZISK_WORKER_METRICS_PORT", port.to_string())];
    story.fleet.start_worker().map(drop)
}

/// A job whose first segment is damaged for good before the first worker gets it, with all it could be made again from: it ends as a
/// dead letter.
async fn poisoned(story: &mut Story, port: u16) -> Result<JobId> {
    let doomed = story.reference.hashes(2)?;
    let mut puller = story.fleet.bus.puller(ConsumerKind::Assign(AssignmentKind::Segment));
    let taking = tokio::spawn(async move { puller.fetch(1, JOB).await });
    sleep(Duration::from_millis(300)).await;
    start_worker(story, port)?;
    let job = story.submit(&doomed).await?;
    let delivery = taking.await?.pop().context("no segment")?;
    let Assignment::Segment(segment) = Assignment::decode(AssignmentKind::Segment, delivery.payload())? else { panic!() };
    let damaged = story.fleet.objects_of(segment.job).join("segment").join(segment.segment.key.digest.to_string());
    std::fs::write(damaged, b"not what it was")?;
    story.fleet.objects.delete(ObjectKey { scope: ObjectScope::Input, digest: Digest::of(&doomed.input) }).await?;
    delivery.nak(None).await?;
    Ok(job)
}

/// The names of metrics in an expression.
fn metrics(expression: &str) -> HashSet<&str> {
    let words = expression.split(|letter: char| !letter.is_ascii_alphanumeric() && letter != '_');
    words.filter(|word| word.starts_with("zisk_") || word.starts_with("process_") || *word == "up").collect()
}

#[tokio::test(flavor = "multi_thread")]
async fn every_expression_of_every_dashboard_and_alert_has_data() -> Result<()> {
    let mut story = Story::start(0).await?;
    let ports = [free_port()?, free_port()?];
    let coordinator = scrape::port(&story.fleet.coordinators[0])?;
    let prometheus = Prometheus::start(story.fleet.directory(), &[coordinator], &ports)?;
    let began = prometheus::now();
    let up = |count: usize| prometheus.query("up == 1").map(|found| found.len() == count);
    // Nothing is counted before Prometheus has seen it at 0.
    until("the coordinator is scraped", || up(1)).await?;
    let job = poisoned(&mut story, ports[0]).await?;
    story.ends(job).await?;
    start_worker(&mut story, ports[1])?;
    until("all are scraped", || up(3)).await?;
    // Cut, contributed, proven, folded; a worker is lost over the second.
    let workload = story.reference.hashes(4)?;
    for lose in [false, true] {
        let job = story.fleet.submit_for(&workload, LOG_STEPS, None, ProofKind::Recursive).await?;
        if lose {
            story.wait_for(job, EventKind::Contributed).await?;
            story.fleet.workers[1].process.kill();
        }
        story.ends_well(job, &workload).await?;
    }
    until("the dead letter is seen", || Ok(prometheus.query("zisk_dead_letters > 0")?.len() == 1)).await?;

    let mut missing = Vec::new();
    let queries: Vec<Query> =
        dashboards::all()?.iter().map(|dashboard| dashboard.queries("5s")).collect::<Result<Vec<_>>>()?.concat();
    ensure!(queries.len() > 100, "only {} queries: are all dashboards there?", queries.len());
    for Query { place, expression, .. } in queries {
        let found = prometheus.range(&expression, began, prometheus::now(), 1.0);
        let found = found.with_context(|| format!("{place}: {expression}"))?;
        if found.iter().all(|series| series.points.is_empty()) {
            missing.push(format!("{place}: no data: {expression}"));
        }
    }
    let alerts = prometheus.alerts()?;
    ensure!(alerts.len() > 20, "only {} alerts", alerts.len());
    for alert in &alerts {
        let (name, expression) = (alert["name"].as_str().unwrap(), alert["query"].as_str().unwrap());
        ensure!(alert["health"] == "ok", "{name}: {}: {}", alert["health"], alert["lastError"]);
        for metric in metrics(expression) {
            if prometheus.query(&format!("count(last_over_time({metric}[1h]))"))?.is_empty() {
                missing.push(format!("{name}: there is no {metric}"));
            }
        }
    }
    ensure!(missing.is_empty(), "{}", missing.join("\n"));
    // What happened here is what they say.
    let state = |name: &str| -> Result<Value> {
        let alerts = prometheus.alerts()?;
        let alert = alerts.iter().find(|alert| alert["name"] == name).with_context(|| format!("no {name}"))?;
        Ok(alert["state"].clone())
    };
    until("the dead letter is an alert", || Ok(state("ZiskDeadLetters")? != "inactive")).await?;
    ensure!(state("ZiskNoWorkers")? == "inactive", "a worker is left");
    Ok(())
}

async fn until(what: &str, mut holds: impl FnMut() -> Result<bool>) -> Result<()> {
    let deadline = Instant::now() + JOB;
    while !holds()? {
        ensure!(Instant::now() < deadline, "not within {JOB:?}: {what}");
        sleep(Duration::from_millis(200)).await;
    }
    Ok(())
}
