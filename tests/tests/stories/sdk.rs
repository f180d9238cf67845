//! The SDK: the same calls with the same results on a cluster and in this process, asynchronous and blocking; and a host program.

use std::time::Duration;

use anyhow::{Context, Result, ensure};
use futures::TryStreamExt;
use zisk_client::{
    Cancellation, ClientError, Event, FailureKind, JobId, JobOptions, LocalClient, ProofKind, Prover, ProverClient, blocking,
};
use zisk_common::messages::JobState;
use zisk_tests::Program;
use zisk_tests::cli::run;
use zisk_tests::fleet::{Fleet, Settings};
use zisk_tests::guests::{Reference, RunEnd, Workload};

/// Short segments, and a proof that takes little to make.
fn options() -> JobOptions {
    JobOptions { log_segment_steps: Some(12), proof: Some(ProofKind::Bundle), ..JobOptions::default() }
}

fn kinds(events: &[Event]) -> Vec<&'static str> {
    events.iter().map(|event| event.kind().as_str()).collect()
}

/// Everything that a host program does, wherever it is done.
async fn story(client: &impl Prover, reference: &Reference) -> Result<()> {
    let workload = reference.hashes(3)?;
    let RunEnd::Outputs(outputs) = &workload.end else { anyhow::bail!("{workload:?}") };

    let program = client.upload(&workload.elf).await?;
    assert_eq!(program, client.upload(&workload.elf).await?);
    let job = client.setup(&workload.elf).await?;
    assert!(client.wait(job, |_| {}).await?.proof.is_empty());
    let job = client.execute(&workload.elf, &workload.input, &JobOptions::default()).await?;
    let executed = client.wait(job, |_| {}).await?;
    assert_eq!(zisk_client::output_words(&executed.summary.outputs), *outputs);

    // A proof, watched while it is made and again when it is there.
    let job = client.prove(&workload.elf, &workload.input, &options()).await?;
    let watch = client.watch(job).await?;
    let mut progress = Vec::new();
    let done = client.wait(job, |step| progress.push(step)).await?;
    let live: Vec<Event> = watch.into_stream().try_collect().await?;
    let late: Vec<Event> = client.watch(job).await?.into_stream().try_collect().await?;
    assert_eq!(live, late);
    assert_eq!((kinds(&late).first(), kinds(&late).last()), (Some(&"accepted"), Some(&"completed")));
    let segments = late.last().unwrap().progress.segments.unwrap();
    assert!(segments >= 2 && kinds(&late).iter().filter(|kind| **kind == "proof").count() as u32 == segments, "{late:?}");
    assert!(progress.iter().any(|step| step.total == Some(segments) && step.done == segments), "{progress:?}");
    assert_eq!(client.download(job).await?.proof, done.proof);

    // The same in parts, none of which is an input.
    let mut input = client.prove_streamed(&workload.elf, &options()).await?;
    for part in workload.input.chunks(3) {
        input.push(part).await?;
    }
    let streamed = input.close().await?;
    let again = client.wait(streamed, |_| {}).await?;
    assert_eq!(client.verify(&workload.elf, &again.proof)?.outputs, *outputs);
    let events: Vec<Event> = client.watch(streamed).await?.into_stream().try_collect().await?;
    assert_eq!(kinds(&events)[..3], ["accepted", "waiting_for_input", "input_received"]);
    // Nobody ends it: its time does.
    let hurried = JobOptions { timeout: Some(Duration::from_secs(1)), ..options() };
    let open = client.execute_streamed(&workload.elf, &hurried).await?;
    let failed = client.wait(open.job(), |_| {}).await;
    ensure!(matches!(&failed, Err(ClientError::Failed { failure, .. }) if failure.kind == FailureKind::Timeout), "{failed:?}");

    // Verified here; a bit of it changed is seen.
    let proven = client.verify(&workload.elf, &done.proof)?;
    assert_eq!((&proven.outputs, proven.exit_code), (outputs, 0));
    let mut altered = done.proof.clone();
    let middle = altered.len() / 2;
    altered[middle] ^= 1;
    let refused = client.verify(&workload.elf, &altered);
    assert!(matches!(refused, Err(ClientError::Proof { .. })), "{refused:?}");

    // What ended stays so; what there is none of is said.
    assert_eq!(client.cancel(job).await?, Cancellation::EndedBefore(JobState::Completed));
    let unknown = client.watch(JobId::random()).await.err().context("a job that there is none of is watched")?;
    assert!(matches!(unknown, ClientError::UnknownJob(_)), "{unknown}");

    // Typed failures.
    for (workload, kind) in [
        (reference.garbage(), FailureKind::Input),
        (reference.workload("trap", &[0])?, FailureKind::Execution),
        (reference.workload("exit-one", &[])?, FailureKind::Execution),
    ] {
        let job = client.prove(&workload.elf, &workload.input, &options()).await?;
        let failed = client.wait(job, |_| {}).await;
        ensure!(
            matches!(&failed, Err(ClientError::Failed { failure, .. }) if failure.kind == kind),
            "{}: {kind:?} was expected: {failed:?}",
            workload.name
        );
    }

    // Nobody waits longer than they want to; the job goes on, and is ended.
    let job = client.prove(&workload.elf, &4000_u64.to_le_bytes(), &options()).await?;
    let waited = client.wait_within(job, Duration::from_millis(1), |_| {}).await;
    assert!(matches!(waited, Err(ClientError::Timeout { .. })), "{waited:?}");
    assert!(matches!(client.download(job).await, Err(ClientError::NotEnded { .. } | ClientError::UnknownJob(_))));
    assert_eq!(client.cancel(job).await?, Cancellation::Cancelled { before: false });
    assert_eq!(client.cancel(job).await?, Cancellation::Cancelled { before: true });
    let failed = client.wait(job, |_| {}).await;
    ensure!(matches!(&failed, Err(ClientError::Failed { failure, .. }) if failure.kind == FailureKind::Cancelled), "{failed:?}");
    // Its own limit ends it, too.
    let hurried = JobOptions { timeout: Some(Duration::from_secs(1)), ..options() };
    let job = client.prove(&workload.elf, &4000_u64.to_le_bytes(), &hurried).await?;
    let failed = client.wait(job, |_| {}).await;
    ensure!(matches!(&failed, Err(ClientError::Failed { failure, .. }) if failure.kind == FailureKind::Timeout), "{failed:?}");
    Ok(())
}

#[tokio::test]
async fn a_cluster_does_what_the_sdk_says() -> Result<()> {
    let mut fleet = Fleet::start(Settings { directory_store: false, ..Settings::default() }).await?;
    fleet.start_worker()?;
    story(fleet.client.as_ref(), &Reference::default()).await?;

    // The example, as it is built and shipped: it checks outputs and proof itself.
    let url = fleet.nats.url();
    let directory = fleet.directory().to_owned();
    let ended =
        tokio::task::spawn_blocking(move || run(Program::new("prove-remote", &directory), &[url.as_str(), "5"])).await??;
    ensure!(ended.code == 0 && ended.stdout.contains("SHA-256 applied 5 times"), "{ended:?}");
    Ok(())
}

#[tokio::test]
async fn this_process_does_the_same_without_a_cluster() -> Result<()> {
    story(&ProverClient::local(), &Reference::default()).await
}

#[test]
fn the_blocking_client_does_it_too() -> Result<()> {
    let reference = Reference::default();
    let local = blocking::ProverClient::local()?;
    blocking_story(&local, &reference.hashes(2)?)
}

fn blocking_story(client: &blocking::Client<LocalClient>, workload: &Workload) -> Result<()> {
    let RunEnd::Outputs(outputs) = &workload.end else { anyhow::bail!("{workload:?}") };
    let job = client.prove(&workload.elf, &workload.input, &options())?;
    let events = client.watch(job)?.collect::<Result<Vec<_>, _>>()?;
    assert_eq!(kinds(&events).last(), Some(&"completed"));
    let done = client.wait_within(job, Duration::from_secs(60), |_| {})?;
    assert_eq!(client.verify(&workload.elf, &done.proof)?.outputs, *outputs);
    assert_eq!(client.download(job)?.proof, done.proof);
    assert_eq!(client.cancel(job)?, Cancellation::EndedBefore(JobState::Completed));
    let mut input = client.execute_streamed(&workload.elf, &options())?;
    input.push(&workload.input)?;
    let done = client.wait(input.close()?, |_| {})?;
    assert_eq!(zisk_client::output_words(&done.summary.outputs), *outputs);
    Ok(())
}
