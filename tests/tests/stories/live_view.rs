//! The live view in a real browser, while a real job goes through.

use anyhow::{Context, Result, ensure};
use serde_json::{Value, json};
use zisk_common::ids::JobId;
use zisk_common::messages::{Event, EventBody, Progress, ProofKind, Version, unix_ms};
use zisk_tests::browser::Browser;
use zisk_tests::scrape;
use zisk_tests::story::{LOG_STEPS, Story};

#[tokio::test(flavor = "multi_thread")]
async fn a_job_is_seen_going_through() -> Result<()> {
    let story = Story::start(1).await?;
    let page = format!("http://127.0.0.1:{}/ui", scrape::port(&story.fleet.coordinators[0])?);
    let mut browser = Browser::start()?;
    browser.open(&page, 1200)?;
    browser.until("document.getElementById('summary').textContent.includes('1 workers')")?;
    browser.until("document.getElementById('summary').textContent.includes('leads')")?;
    browser.eval("window.states = []; setInterval(() => { for (const e of document.querySelectorAll('.state')) states.push(e.textContent) }, 50)")?;
    // From here on the page is not loaded again.
    let workload = story.reference.hashes(6)?;
    let job = story.fleet.submit_for(&workload, LOG_STEPS, None, ProofKind::Recursive).await?;
    browser.until("states.some(state => ['executing', 'contributing', 'proving', 'folding'].includes(state))")?;
    let record = story.ends_well(job, &workload).await?;
    browser.until("document.querySelector('.state.completed') !== null")?;
    // Who did what: each segment's contribution and proof, each fold.
    browser.eval(&format!("document.querySelector('[data-job=\"{job}\"]').click()"))?;
    let segments = record.progress.segments.context("no segments")?;
    for (kind, pieces) in [("contribution", segments), ("proof", segments), ("fold", segments - 1)] {
        browser.until(&format!("document.querySelectorAll('#gantt rect.{kind}').length === {pieces}"))?;
    }
    // A program that fails is shown with its cause.
    let trap = story.reference.workload("trap", b"l")?;
    let failing = story.submit(&trap).await?;
    browser.until(&format!(
        "document.querySelector('[data-job=\"{failing}\"] .why.bad')?.textContent.includes('execution failure') === true"
    ))?;
    if let Ok(path) = std::env::var("ZISK_LIVE_VIEW_PICTURE") {
        std::fs::write(path, browser.picture()?)?;
    }
    // A phone: nothing is wider than it.
    browser.open(&format!("{page}#{job}"), 390)?;
    browser.until("document.querySelectorAll('#gantt rect').length > 0")?;
    let width = browser.eval("document.documentElement.scrollWidth")?;
    ensure!(width.as_u64().is_some_and(|width| width <= 390), "the page is {width} wide");
    Ok(())
}

#[tokio::test(flavor = "multi_thread")]
async fn it_holds_a_thousand_jobs_and_takes_nothing_for_markup() -> Result<()> {
    let story = Story::start(0).await?;
    let bus = &story.fleet.bus;
    for n in 0..1000u32 {
        let progress = Progress { segments: Some(1000), contributed: n, ..Progress::default() };
        let body = EventBody::Challenged { round: 0 };
        let (v, job, metadata) = (Version::default(), JobId::random(), Default::default());
        bus.publish_event(&Event { v, job, at_ms: unix_ms(), progress, body, metadata }).await?;
    }
    let job = JobId::random();
    let failure = json!({ "kind": "input", "message": "<img src=x onerror=\"window.taken = true\">", "worker": null, "phase": null, "segment": null });
    let event = json!({ "v": 1, "job": job, "at_ms": unix_ms(), "progress": {}, "body": { "failed": { "failure": failure } } });
    bus.publish_event(&serde_json::from_value(event)?).await?;
    let page = format!("http://127.0.0.1:{}/ui", scrape::port(&story.fleet.coordinators[0])?);
    let mut browser = Browser::start()?;
    browser.open(&page, 1200)?;
    browser.until("document.getElementById('jobs').innerText.includes('<img')")?;
    browser.until("jobs.size === 1000")?;
    browser.eval("for (let i = 0; i < 10; i++) document.getElementById('more').click()")?;
    browser.until("document.querySelectorAll('.job').length === 1000")?;
    ensure!(browser.eval("window.taken === undefined && document.querySelector('img') === null")? == Value::Bool(true));
    Ok(())
}
