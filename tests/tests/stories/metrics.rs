//! What the pages of a working cluster show is what docs/metrics.md says, and no more.

use std::collections::{BTreeMap, BTreeSet};
use std::time::Duration;

use anyhow::{Context, Result, ensure};
use zisk_tests::story::Story;
use zisk_tests::{free_port, scrape};

/// A metric as documented or shown: kind, and labels.
type Shown = BTreeMap<String, (String, BTreeSet<String>)>;

/// The table below a heading of docs/metrics.md.
fn documented(binary: &str) -> Result<Shown> {
    let text = include_str!("../../../docs/metrics.md");
    let (_, section) = text.split_once(&format!("## {binary}\n")).with_context(|| format!("no section {binary}"))?;
    let section = section.split("\n## ").next().unwrap();
    let quoted = |cell: &str| cell.split('`').skip(1).step_by(2).map(str::to_owned).collect::<BTreeSet<_>>();
    let lines = section.lines().filter(|line| line.starts_with("| `"));
    Ok(lines
        .map(|line| {
            let cells: Vec<&str> = line.split(" | ").collect();
            (quoted(cells[0]).pop_first().unwrap(), (cells[1].to_owned(), quoted(cells[2])))
        })
        .collect())
}

/// What a page shows. The exporter turns a histogram into series with `le` and two more names.
fn shown(page: &str) -> Result<Shown> {
    let mut found = Shown::new();
    for line in page.lines() {
        if let Some(kind) = line.strip_prefix("# TYPE ") {
            let (name, kind) = kind.split_once(' ').with_context(|| line.to_owned())?;
            found.insert(name.to_owned(), (kind.to_owned(), BTreeSet::new()));
        } else if let Some((series, labels)) = line.split_once('{')
            && !line.starts_with('#')
        {
            let name = ["_bucket", "_sum", "_count"].iter().find_map(|end| series.strip_suffix(end)).unwrap_or(series);
            let labels = labels.split('}').next().unwrap().split(',').map(|label| label.split('=').next().unwrap().to_owned());
            let known = found.get_mut(name).with_context(|| format!("{name} has no type"))?;
            known.1.extend(labels.filter(|label| label != "le"));
        }
    }
    Ok(found)
}

/// That each metric shown is documented, as it is, and that these are shown.
fn compare(binary: &str, page: &str, expected: &[&str]) -> Result<()> {
    let (mut of_both, shown) = (documented("Both")?, shown(page)?);
    let mut documented = documented(binary)?;
    documented.append(&mut of_both);
    for (name, what) in &shown {
        ensure!(documented.get(name) == Some(what), "{binary} shows {name} {what:?}, documented {:?}", documented.get(name));
    }
    // A counter is there before it counts.
    let counters = documented.iter().filter(|(_, (kind, _))| kind == "counter").map(|(name, _)| name.as_str());
    for name in expected.iter().copied().chain(counters) {
        ensure!(shown.contains_key(name), "{binary} does not show {name}:\n{page}");
    }
    Ok(())
}

#[tokio::test(flavor = "multi_thread")]
async fn what_is_shown_is_what_is_documented() -> Result<()> {
    let mut story = Story::start(0).await?;
    let port = free_port()?;
    story.fleet.worker_environment = vec![("ZISK_WORKER_METRICS_PORT", port.to_string())];
    story.fleet.start_worker()?;
    let workload = story.reference.hashes(3)?;
    let record = story.ends_well(story.submit(&workload).await?, &workload).await?;
    let (status, page) = scrape::page(&story.fleet.coordinators[0], "/metrics")?;
    ensure!(status == 200, "{page}");
    let of_a_job = ["zisk_jobs_total", "zisk_job_duration_seconds", "zisk_phase_duration_seconds", "zisk_queue_depth"];
    let always = ["zisk_coordinator_leader", "zisk_workers", "zisk_compute_units", "zisk_waiting_jobs", "zisk_stream_messages"];
    compare("zisk-coordinator", &page, &[&of_a_job[..], &always].concat())?;
    let (status, page) = scrape::get(port, "/metrics", Duration::from_secs(10))?;
    ensure!(status == 200, "{page}");
    let of_a_job = ["zisk_worker_segments_total", "zisk_worker_steps_proven_total", "zisk_worker_phase_duration_seconds"];
    compare("zisk-worker", &page, &[&of_a_job[..], &["zisk_worker_units_busy", "zisk_worker_assignments"]].concat())?;
    story.is_clean(&[&record]).await
}
