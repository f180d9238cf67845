//! Workers that report what is not so: never a wrong proof.
#![allow(clippy::unwrap_used)] // a failed step is a failed test

use anyhow::{Context, Result, ensure};
use zisk_common::ids::{Digest, JobId, WorkerId};
use zisk_common::messages::{JobRecord, JobState};
use zisk_tests::fake::Fake;
use zisk_tests::guests::Workload;
use zisk_tests::oracles;
use zisk_tests::story::Story;

/// Never a wrong proof: the job completes with a right one, or fails and names who did it.
async fn is_right_or_names(story: &Story, job: JobId, workload: &Workload, who: WorkerId) -> Result<JobRecord> {
    let record = story.ends(job).await?;
    match record.state {
        JobState::Completed => oracles::check_proof(&story.fleet.objects, &story.reference, workload, &record).await?,
        _ => {
            let failure = record.failure.as_ref().context("no cause")?;
            let named = failure.worker == Some(who) || failure.message.contains(&who.to_string());
            ensure!(named, "the job failed and does not name {who}, who did it: {failure:?}");
        }
    }
    story.is_clean(&[&record]).await?;
    Ok(record)
}

#[tokio::test(flavor = "multi_thread")]
async fn a_contribution_that_is_none_costs_one_attempt() -> Result<()> {
    let mut story = Story::start(0).await?;
    let mut fake = Fake::start(&story).await?;
    story.fleet.start_worker()?;
    let workload = story.reference.hashes(3)?;
    let job = story.submit(&workload).await?;
    let (segment, delivery, _hold) = fake.take().await?;
    fake.contribute(&segment, b"no contribution".to_vec()).await?;
    delivery.ack().await?;
    let record = story.ends_well(job, &workload).await?;
    ensure!(story.coordinator_said(&["incident", &fake.id.to_string()]), "the worker is not named");
    story.is_clean(&[&record]).await
}

#[tokio::test(flavor = "multi_thread")]
#[ignore = "open: no wrong proof, but the job fails after three aggregations and names the aggregator"]
async fn a_false_contribution_never_makes_a_wrong_proof() -> Result<()> {
    let mut story = Story::start(0).await?;
    let mut fake = Fake::start(&story).await?;
    story.fleet.start_worker()?;
    let workload = story.reference.hashes(3)?;
    let job = story.submit(&workload).await?;
    let (segment, delivery, hold) = fake.take().await?;
    let mut contribution = fake.contribution(&segment).await?;
    // Somewhere in the commitment: the form stays right.
    let at = contribution.len() / 2;
    contribution[at] ^= 1;
    fake.contribute(&segment, contribution).await?;
    // The segment itself goes to an honest worker.
    drop(hold);
    delivery.nak(None).await?;
    is_right_or_names(&story, job, &workload, fake.id).await?;
    Ok(())
}

#[tokio::test(flavor = "multi_thread")]
#[ignore = "open: no wrong proof, but the job fails after three aggregations and names the aggregator"]
async fn a_false_node_never_makes_a_wrong_proof() -> Result<()> {
    let mut story = Story::start(0).await?;
    let mut fake = Fake::start(&story).await?;
    story.fleet.start_worker()?;
    let workload = story.reference.hashes(3)?;
    let job = story.submit(&workload).await?;
    let (segment, delivery, _hold) = fake.take().await?;
    fake.contribute(&segment, fake.contribution(&segment).await?).await?;
    let challenge = fake.challenge(job).await?;
    fake.prove(&segment, b"no node".to_vec(), Digest::of(&challenge.challenge)).await?;
    delivery.ack().await?;
    is_right_or_names(&story, job, &workload, fake.id).await?;
    Ok(())
}

#[tokio::test(flavor = "multi_thread")]
async fn a_proof_under_another_challenge_costs_one_attempt() -> Result<()> {
    let mut story = Story::start(0).await?;
    let mut fake = Fake::start(&story).await?;
    story.fleet.start_worker()?;
    let workload = story.reference.hashes(3)?;
    let job = story.submit(&workload).await?;
    let (segment, delivery, _hold) = fake.take().await?;
    fake.contribute(&segment, fake.contribution(&segment).await?).await?;
    fake.challenge(job).await?;
    fake.prove(&segment, b"a node of another challenge".to_vec(), Digest::of(b"another")).await?;
    delivery.ack().await?;
    let record = story.ends_well(job, &workload).await?;
    ensure!(story.coordinator_said(&["incident", "another challenge", &fake.id.to_string()]), "the worker is not named");
    story.is_clean(&[&record]).await
}
