//! Contributions that differ: which counts, and what becomes of the challenge.

use zisk_common::ids::{Digest, WorkerId};
use zisk_common::messages::*;
use zisk_common::subjects::{EventKind, RequestKind};

use super::fixtures::*;
use super::*;

/// A job whose one contribution is the liar's, with its challenge.
fn deceived() -> World {
    let mut world = World::new(RequestKind::Prove);
    for report in [world.planned(0), world.executed(1, 0), world.false_contribution(0)] {
        assert_eq!(world.report(report), Verdict::Applied);
    }
    assert_eq!(world.record.state, JobState::Proving);
    world
}

fn challenge(world: &World) -> Vec<u8> {
    world.record.challenge.clone().unwrap().into_vec()
}

fn contribution_by(world: &World, worker: WorkerId) -> Report {
    let Report::Contribution(it) = world.contribution(0, &honest_contribution(0)) else { panic!() };
    Report::Contribution(Contribution { worker, attempt: 2, ..it })
}

fn is_named(world: &World, who: WorkerId, what: &str) -> bool {
    world.record.incidents.iter().any(|it| it.worker == Some(who) && it.message.contains(what))
}

#[test]
fn one_that_differs_is_an_incident_that_names_both() {
    let mut world = deceived();
    let rival = contribution_by(&world, world.worker);
    let Verdict::Incident(text) = world.report(rival.clone()) else { panic!("no incident") };
    assert!(text.contains(&world.worker.to_string()) && text.contains(&world.liar.to_string()), "{text}");
    let state = &world.record.segments[0];
    assert_eq!(state.contribution.clone().unwrap().into_vec(), b"false 0");
    assert_eq!(state.rivals[0].contribution.clone().into_vec(), honest_contribution(0));
    assert_eq!(world.record.round, 0);
    // Again, it is no second voice.
    world.report(rival);
    assert_eq!((world.record.segments[0].rivals.len(), world.record.round), (1, 0));
}

#[test]
fn two_workers_outvote_one() {
    // Before the challenge: nothing else is lost.
    let mut world = World::new(RequestKind::Prove);
    for report in [world.planned(0), world.planned(1), world.executed(2, 0), world.false_contribution(0)] {
        world.report(report);
    }
    for worker in [world.worker, WorkerId::random()] {
        let rival = contribution_by(&world, worker);
        world.report(rival);
    }
    assert_eq!(events(&world), [EventKind::Replaced]);
    assert_eq!(world.record.round, 0);
    let state = &world.record.segments[0];
    assert_eq!(state.contribution.clone().unwrap().into_vec(), honest_contribution(0));
    assert!(state.confirmed_by.is_some() && state.avoid == [world.liar]);
    assert!(is_named(&world, world.liar, "was false"));
    // The liar's and the second of the right ones were for nothing.
    assert_eq!(world.record.progress.repeated, 2);
    let other = world.contribution(1, &honest_contribution(1));
    world.report(other);
    assert_eq!(challenge(&world), World::honest_challenge(2));
}

fn events(world: &World) -> Vec<EventKind> {
    let kind = |command: &Command| match command {
        Command::Publish(event) => Some(event.kind()),
        _ => None,
    };
    world.commands.iter().filter_map(kind).collect()
}

#[test]
fn what_is_proven_takes_the_place_of_what_is_not_and_a_new_round_begins() {
    let mut world = deceived();
    let old = challenge(&world);
    let (rival, proof) = (contribution_by(&world, world.worker), world.proof(0, &old));
    world.report(rival);
    assert_eq!(world.report(proof.clone()), Verdict::Applied);
    let rejected = world.rejected(&world.record, 0, 5).unwrap();
    let Report::Rejected(it) = &rejected else { panic!() };
    assert_eq!(it.proves, Some(Digest::of(&honest_contribution(0))));
    assert!(matches!(world.report(rejected), Verdict::Incident(_)));
    assert_eq!((world.record.round, world.record.state, world.record.progress.proven), (1, JobState::Proving, 0));
    assert!(world.record.segments[0].failures.is_empty(), "its prover did nothing wrong");
    assert!(is_named(&world, world.liar, "was false") && !is_named(&world, world.worker, "rejected"));
    assert_eq!(challenge(&world), World::honest_challenge(1));
    let assigned = |command: &&Command| matches!(command, Command::Assign(Assignment::Segment(it)) if it.round == 1);
    assert_eq!(world.commands.iter().filter(assigned).count(), 1);
    // What was proven under the challenge before is late, not wrong; its worker gets the segment again.
    assert_eq!(world.report(proof.clone()), Verdict::Dropped(Reason::Stale), "it was committed");
    let Report::Proof(proof) = proof else { panic!() };
    assert_eq!(world.report(Report::Proof(Proof { attempt: 3, ..proof })), Verdict::Applied);
    assert!(matches!(world.commands.last(), Some(Command::Assign(Assignment::Segment(it))) if it.attempt == 4));
    assert!(world.record.segments[0].failures.is_empty());
    let proof = world.proof(0, &World::honest_challenge(1));
    assert_eq!(world.report(proof), Verdict::Applied);
    let last = world.last(5);
    assert_eq!(world.report(last), Verdict::Applied);
    assert_eq!(world.record.state, JobState::Completed);
}

#[test]
fn a_contributor_that_cannot_prove_what_it_contributed_gives_way() {
    let mut world = deceived();
    let rival = contribution_by(&world, world.worker);
    world.report(rival);
    let Report::Proof(proof) = world.bad_proof(0, &challenge(&world)) else { panic!() };
    world.report(Report::Proof(Proof { worker: world.liar, ..proof }));
    let rejected = world.rejected(&world.record, 0, 5).unwrap();
    world.report(rejected);
    assert_eq!((world.record.round, world.record.segments[0].failures.len()), (1, 1));
    assert_eq!(challenge(&world), World::honest_challenge(1));
}

#[test]
fn a_confirmed_contribution_does_not_give_way_to_one_aggregator() {
    let mut world = World::new(RequestKind::Prove);
    for report in [world.planned(0), world.executed(1, 0), world.contribution(0, &honest_contribution(0))] {
        world.report(report);
    }
    let (confirmed, rival) = (contribution_by(&world, WorkerId::random()), world.false_contribution(0));
    assert_eq!(world.report(confirmed), Verdict::Applied);
    world.report(rival);
    let proof = world.proof(0, &World::honest_challenge(1));
    world.report(proof);
    let Some(Report::Rejected(rejected)) = world.rejected(&world.record, 0, 5) else { panic!() };
    let proves = Some(Digest::of(b"false 0"));
    world.report(Report::Rejected(Rejected { worker: world.liar, proves, ..rejected }));
    assert_eq!((world.record.round, world.record.state), (0, JobState::Proving));
}

#[test]
fn rounds_are_few() {
    let mut world = deceived();
    let bytes = |round: u32| format!("another {round}").into_bytes();
    for round in 0..MAX_ROUNDS {
        assert_eq!(world.record.round, round);
        let Report::Contribution(it) = world.contribution(0, &bytes(round)) else { panic!() };
        world.report(Report::Contribution(Contribution { worker: WorkerId::random(), ..it }));
        let proof = world.proof(0, &challenge(&world));
        world.report(proof);
        // Each by another aggregator, as if all were mad.
        let Some(Report::Rejected(it)) = world.rejected(&world.record, 0, 5 + u64::from(round)) else { panic!() };
        world.report(Report::Rejected(Rejected { proves: Some(Digest::of(&bytes(round))), ..it }));
    }
    let failure = world.record.failure.clone().unwrap();
    assert!(failure.message.contains("replaced in 3 rounds"), "{failure}");
}

#[test]
fn a_round_that_a_coordinator_died_over_begins_when_it_is_read_back() {
    let mut world = deceived();
    let (rival, proof) = (contribution_by(&world, world.worker), world.proof(0, &challenge(&world)));
    world.report(rival);
    world.report(proof);
    let before = world.record.clone();
    let rejected = world.rejected(&world.record, 0, 5).unwrap();
    world.report(rejected);
    let after = world.record.clone();
    // Only the segment was written.
    world.record = JobRecord { segments: world.record.segments.clone(), ..before };
    assert_eq!(world.apply(Input::Resumed), Verdict::Applied);
    assert_eq!((world.record.round, &world.record.challenge), (1, &after.challenge));
    assert_eq!((world.record.state, world.record.progress.proven), (after.state, 0));
}

#[test]
fn contributions_that_do_not_chain_are_settled_by_a_rival_that_does() {
    let mut world = World::new(RequestKind::Prove);
    let unchained = |world: &World| {
        let Report::Contribution(it) = world.contribution(0, b"unchained") else { panic!() };
        Report::Contribution(Contribution { worker: world.liar, ..it })
    };
    let first = unchained(&world);
    for report in [world.planned(0), first, contribution_by(&world, world.worker)] {
        world.report(report);
    }
    let executed = world.executed(1, 0);
    assert_eq!(world.report(executed), Verdict::Applied);
    assert_eq!((world.record.state, world.record.round), (JobState::Proving, 0));
    assert_eq!(challenge(&world), World::honest_challenge(1));
    assert!(is_named(&world, world.liar, "was false"));

    let mut world = World::new(RequestKind::Prove);
    for report in [world.planned(0), world.executed(1, 0), unchained(&world)] {
        world.report(report);
    }
    let failure = world.record.failure.clone().unwrap();
    assert!(failure.message.contains(&world.liar.to_string()) && failure.segment == Some(0), "{failure}");
}
