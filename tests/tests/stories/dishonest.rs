//! Workers that report what is not so: never a wrong proof.

use anyhow::{Context, Result, ensure};
use zisk_client::JobOptions;
use zisk_common::ids::{Digest, WorkerId};
use zisk_common::messages::{JobRecord, ProofKind};
use zisk_common::subjects::AssignmentKind;
use zisk_tests::fake::Fake;
use zisk_tests::story::{LOG_STEPS, Story};

/// The record says of this worker what it did.
fn names(record: &JobRecord, who: WorkerId, what: &str) -> Result<()> {
    let named = record.incidents.iter().any(|incident| incident.worker == Some(who) && incident.message.contains(what));
    ensure!(named, "{who} is not named with {what:?}: {:?}", record.incidents);
    Ok(())
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
async fn a_false_contribution_gives_way_to_the_right_one() -> Result<()> {
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
    let record = story.ends_well(job, &workload).await?;
    names(&record, fake.id, "was false")?;
    ensure!(record.round == 1 && record.past_challenges.len() == 1, "round {}", record.round);
    ensure!(story.coordinator_said(&["incident", "differs", &fake.id.to_string()]), "the worker is not named");
    story.is_clean(&[&record]).await
}

#[tokio::test(flavor = "multi_thread")]
async fn a_false_node_is_rejected_and_proven_again() -> Result<()> {
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
    let record = story.ends_well(job, &workload).await?;
    names(&record, fake.id, "segment proof rejected")?;
    ensure!(record.progress.repeated > 0, "{:?}", record.progress);
    ensure!(story.coordinator_said(&["incident", "segment proof rejected", &fake.id.to_string()]), "the worker is not named");
    story.is_clean(&[&record]).await
}

#[tokio::test(flavor = "multi_thread")]
async fn a_false_fold_is_refused_and_done_by_the_aggregator() -> Result<()> {
    let mut story = Story::start(0).await?;
    let mut fake = Fake::start_for(&story, AssignmentKind::Fold).await?;
    let workload = story.reference.hashes(6)?;
    let job = story.fleet.submit_for(&workload, LOG_STEPS, None, ProofKind::Recursive).await?;
    // So that all proofs are there when folding begins, and more can be folded than one worker does at a time.
    let lease = fake.stand(job).await?;
    story.fleet.start_worker()?;
    fake.until_proven(job).await?;
    lease.resign().await;
    let (fold, delivery, _hold) = fake.take_fold().await?;
    // A node of the job, honestly proven: but of the left part alone.
    fake.fold(&fold, fold.left).await?;
    delivery.ack().await?;
    let record = story.ends_well(job, &workload).await?;
    names(&record, fake.id, "fold refused by the aggregator")?;
    ensure!(Some(record.progress.folded + 1) == record.progress.segments, "{:?}", record.progress);
    ensure!(story.coordinator_said(&["incident", "fold refused", &fake.id.to_string()]), "the worker is not named");
    story.is_clean(&[&record]).await
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

#[tokio::test(flavor = "multi_thread")]
async fn a_false_final_proof_is_refused_and_made_by_another() -> Result<()> {
    let mut story = Story::start(0).await?;
    let mut fake = Fake::start(&story).await?;
    let workload = story.reference.hashes(3)?;
    let job = story.submit(&workload).await?;
    let lease = fake.stand(job).await?;
    story.fleet.start_worker()?;
    let (_, delivery, hold) = fake.take().await?;
    drop(hold);
    delivery.nak(None).await?;
    // One that verifies, for another input.
    let other = story.reference.hashes(2)?;
    let proven = story.submit(&other).await?;
    let other = story.ends_well(proven, &other).await?;
    let proof = story.fleet.objects.get(other.proof.context("no proof")?).await?;
    fake.finish(&lease, proof.to_vec()).await?;
    let record = story.ends_well(job, &workload).await?;
    names(&record, fake.id, "its final proof is refused: it proves other public values")?;
    ensure!(story.coordinator_said(&["incident", "final proof is refused", &fake.id.to_string()]), "the worker is not named");
    lease.lost().await;
    story.is_clean(&[&record, &other]).await
}

#[tokio::test(flavor = "multi_thread")]
async fn a_final_proof_of_another_kind_is_refused_and_made_by_another() -> Result<()> {
    let mut story = Story::start(0).await?;
    let mut fake = Fake::start(&story).await?;
    let workload = story.reference.hashes(1)?;
    // Asks for nothing: a recursive proof.
    let options = JobOptions { log_segment_steps: Some(LOG_STEPS), max_steps: workload.max_steps, ..JobOptions::default() };
    let job = story.fleet.client.prove(&workload.elf, &workload.input, &options).await?;
    let lease = fake.stand(job).await?;
    story.fleet.start_worker()?;
    let (_, delivery, hold) = fake.take().await?;
    drop(hold);
    delivery.nak(None).await?;
    // A bundle of the very same: it verifies, with the right outputs.
    let bundle = story.submit(&workload).await?;
    let bundle = story.ends_well(bundle, &workload).await?;
    let proof = story.fleet.objects.get(bundle.proof.context("no proof")?).await?;
    fake.finish(&lease, proof.to_vec()).await?;
    let record = story.ends_well(job, &workload).await?;
    names(&record, fake.id, "its final proof is refused: it is bundle, and the job asks for recursive")?;
    lease.lost().await;
    story.is_clean(&[&record, &bundle]).await
}
