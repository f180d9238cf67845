//! `zisk bench`: many jobs, measured from outside as a user would, and by the cluster's own clock.

use std::sync::Arc;
use std::time::{Duration, Instant};

use tokio::task::JoinSet;
use zisk_client::{ClientError, JobOptions, RemoteClient};
use zisk_common::messages::Timings;

use super::Loaded;
use super::local::{check, checking_key, proven};
use super::remote::{options, public_values};
use crate::End;
use crate::args::{Args, Bench, Kind};
use crate::show::bench::{Report, Sample};

/// Runs the jobs and prints what was measured. A job that fails is counted and does not end the measurement.
pub async fn run(args: &Args, bench: &Bench) -> Result<End, ClientError> {
    let loaded = Arc::new(Loaded::read(&bench.run)?);
    let verifying_key = Arc::new(checking_key(&loaded.elf)?);
    let baseline = if bench.baseline { Some(baseline(bench, &loaded)?) } else { None };
    let options =
        JobOptions { log_segment_steps: bench.segment_log_steps, proof: bench.proof.map(Kind::there), ..options(&bench.run) };
    let client = Arc::new(RemoteClient::connect(&args.bus).await?);

    let began = Instant::now();
    let mut running = JoinSet::new();
    let mut report = Report { baseline, concurrency: bench.concurrency, ..Report::default() };
    let mut submitted = 0;
    loop {
        while submitted < bench.jobs && running.len() < bench.concurrency as usize {
            submitted += 1;
            let (client, loaded, options, key) = (client.clone(), loaded.clone(), options.clone(), verifying_key.clone());
            running.spawn(async move { one(&client, &loaded, &options, &key).await });
        }
        let ended = tokio::select! {
            ended = running.join_next() => ended,
            Ok(()) = tokio::signal::ctrl_c() => return Ok(End::Interrupted),
        };
        match ended {
            None => break,
            Some(Ok(Ok(sample))) => report.samples.push(sample),
            Some(Ok(Err(error @ (ClientError::Failed { .. } | ClientError::Proof { .. })))) => {
                report.failures.push(error.to_string());
            }
            Some(Ok(Err(error))) => return Err(error),
            Some(Err(panic)) => report.failures.push(panic.to_string()),
        }
        if !args.json {
            eprintln!("{:>7.1} s  {} of {} jobs", began.elapsed().as_secs_f64(), report.ended(), bench.jobs);
        }
    }
    report.seconds = began.elapsed().as_secs_f64();
    report.print(args.json);
    match report.failures.first() {
        Some(cause) => Err(ClientError::Bench { failed: report.failures.len(), jobs: bench.jobs, cause: cause.clone() }),
        None => Ok(End::Done),
    }
}

/// One job, from its submission to its proof's arrival; the proof is verified after the clock has stopped.
async fn one(client: &RemoteClient, loaded: &Loaded, options: &JobOptions, verifying_key: &[u8]) -> Result<Sample, ClientError> {
    let began = Instant::now();
    let job = client.prove(&loaded.elf, &loaded.input, options).await?;
    let done = client.wait(job, |_| {}).await?;
    let latency = began.elapsed();
    check(verifying_key, &done.proof, &public_values(&done.summary))?;
    let timings = client.status(job).await?.timings;
    Ok(Sample { latency: latency.as_secs_f64(), steps: done.summary.steps, phases: phases(&timings, latency) })
}

/// Seconds of each phase, in the order of [`crate::show::bench::PHASES`].
fn phases(timings: &Timings, latency: Duration) -> [f64; 6] {
    let between = |from: u64, to: u64| to.saturating_sub(from) as f64 / 1000.0;
    let cluster = between(timings.accepted_ms, timings.ended_ms);
    [
        between(timings.accepted_ms, timings.admitted_ms),
        between(timings.admitted_ms, timings.started_ms),
        between(timings.started_ms, timings.challenged_ms),
        between(timings.challenged_ms, timings.proven_ms),
        between(timings.proven_ms, timings.ended_ms),
        // Upload, acceptance and download, with the clocks of both sides never compared.
        (latency.as_secs_f64() - cluster).max(0.0),
    ]
}

/// The same proof in this process, in seconds.
fn baseline(bench: &Bench, loaded: &Loaded) -> Result<f64, ClientError> {
    let began = Instant::now();
    proven(loaded, bench.segment_log_steps, bench.run.max_steps, bench.proof, &mut |_| {})?;
    Ok(began.elapsed().as_secs_f64())
}
