use zisk_common::ids::{JobId, WorkerId};
use zisk_common::messages::*;
use zisk_common::subjects::{EventKind, Phase, RequestKind};

use super::fixtures::*;
use super::*;

fn events(commands: &[Command]) -> Vec<EventKind> {
    let kind = |command: &Command| match command {
        Command::Publish(event) => Some(event.kind()),
        _ => None,
    };
    commands.iter().filter_map(kind).collect()
}

fn assigned(commands: &[Command]) -> Vec<(String, u32, u32)> {
    let assignment = |command: &Command| match command {
        Command::Assign(it) => Some((it.kind().to_string(), it.n(), it.attempt())),
        _ => None,
    };
    commands.iter().filter_map(assignment).collect()
}

fn proving(segments: u32) -> World {
    let mut world = World::new(RequestKind::Prove);
    let run = world.honest_run(segments, 1);
    for input in run.into_iter().take(2 + 2 * segments as usize) {
        assert_eq!(world.apply(input), Verdict::Applied);
    }
    assert_eq!(world.record.state, JobState::Proving);
    world
}

#[test]
fn an_honest_run_completes() {
    let mut world = World::new(RequestKind::Prove);
    assert_eq!(events(&world.commands), [EventKind::Admitted]);
    assert_eq!(assigned(&world.commands), [("plan".to_owned(), 0, 1)]);
    let mut seen = Vec::new();
    let mut segments = Vec::new();
    for input in world.honest_run(2, 7) {
        assert_eq!(world.apply(input), Verdict::Applied);
        seen.extend(events(&world.commands));
        segments.extend(assigned(&world.commands));
    }
    use EventKind::*;
    let expected = [Executing, Planned, Planned, Executed, Contributed, Contributed, Challenged, Proof, Proof, Completed];
    assert_eq!(seen, expected);
    assert_eq!(segments, [("segment".to_owned(), 0, 1), ("segment".to_owned(), 1, 1)]);
    assert_eq!(world.record.state, JobState::Completed);
    assert_eq!(world.commands.last(), Some(&Command::CleanUp));
    assert_eq!(world.record.epoch, 7);
    assert_eq!(world.apply(Input::Cleaned), Verdict::Applied);
    assert_eq!(outstanding(&world.record, 0), []);
}

#[test]
fn setup_and_execute_end_without_a_proof() {
    let mut world = World::new(RequestKind::Setup);
    let setup = world.setup();
    assert_eq!(world.report(setup), Verdict::Applied);
    assert_eq!((world.record.state, world.record.proof), (JobState::Completed, None));

    let mut world = World::new(RequestKind::Execute);
    let (setup, executed) = (world.setup(), world.executed(0, 3));
    world.report(setup);
    assert_eq!(world.report(executed), Verdict::Applied);
    assert_eq!(world.record.state, JobState::Completed);
    assert_eq!(world.record.execution.as_ref().unwrap().exit_code, 3);
}

#[test]
fn a_guest_that_exits_with_an_error_is_not_proven() {
    let mut world = World::new(RequestKind::Prove);
    let (planned, executed) = (world.planned(0), world.executed(1, 3));
    world.report(planned);
    world.report(executed);
    let failure = world.record.failure.clone().unwrap();
    assert_eq!((failure.kind, failure.message.as_str()), (FailureKind::Execution, "guest exited with code 3"));
    assert!(world.commands.iter().any(|command| matches!(command, Command::Cancel(_))));
    assert_eq!(events(&world.commands), [EventKind::Executed, EventKind::Failed]);
}

#[test]
fn requests_out_of_range_fail_at_once_and_say_why() {
    let mut request = World::new(RequestKind::Prove).record.request;
    request.params.log_segment_steps = Some(99);
    let record = accept(RequestKind::Prove, request, 0, &DEFAULTS, 5);
    assert_eq!(record.state, JobState::Failed);
    // No worker has heard of it.
    assert!(!accepted(&record, None).iter().any(|command| matches!(command, Command::Cancel(_))));
    assert_eq!(events(&accepted(&record, None)), [EventKind::Failed]);
    assert!(record.failure.unwrap().message.contains("log_segment_steps"));
}

#[test]
fn a_job_that_waits_owes_nothing_until_its_turn_comes() {
    let mut world = World::waiting(RequestKind::Prove);
    assert_eq!(events(&world.commands), [EventKind::Accepted]);
    assert_eq!(outstanding(&world.record, 0), []);
    assert_eq!(world.apply(Input::Admitted), Verdict::Applied);
    assert_eq!(assigned(&world.commands), [("plan".to_owned(), 0, 1)]);
    assert_eq!(assigned(&outstanding(&world.record, 0)), [("plan".to_owned(), 0, 1)]);
    assert_eq!(world.apply(Input::Admitted), Verdict::Idle);

    let mut world = World::waiting(RequestKind::Prove);
    world.at_ms = 1_000 + 100_000;
    assert_eq!(world.apply(Input::Tick), Verdict::Applied);
    let failure = world.record.failure.clone().unwrap();
    assert_eq!(failure.kind, FailureKind::Timeout);
    assert!(failure.message.contains("not begun within its 100 s"), "{failure}");
    assert_eq!(world.apply(Input::Admitted), Verdict::Idle, "its turn comes too late");

    let mut world = World::waiting(RequestKind::Prove);
    world.apply(Input::Cancel { message: "by its client".to_owned() });
    assert_eq!((world.record.state, events(&world.commands)), (JobState::Cancelled, vec![EventKind::Cancelled]));
}

#[test]
fn a_segment_whose_report_was_lost_is_cut_again() {
    let mut world = World::new(RequestKind::Prove);
    let (first, executed) = (world.planned(0), world.executed(2, 0));
    world.report(first.clone());
    world.report(executed.clone());
    assert!(assigned(&outstanding(&world.record, 0)).contains(&("plan".to_owned(), 0, 1)));
    // A failure of that attempt counts, too.
    let failed = world.failed(FailureKind::Internal, Phase::Executed, None, 1);
    assert_eq!(world.report(failed), Verdict::Applied);
    assert_eq!(assigned(&world.commands), [("plan".to_owned(), 0, 2)]);

    let second = world.planned(1);
    assert_eq!(world.report(first), Verdict::Dropped(Reason::Duplicate));
    assert_eq!(world.report(second), Verdict::Applied);
    assert_eq!(world.report(executed), Verdict::Dropped(Reason::Duplicate));
    assert!(!assigned(&outstanding(&world.record, 0)).iter().any(|(kind, ..)| kind == "plan"));
}

#[test]
fn segment_records_that_nobody_remembers_are_made_again_and_the_job_goes_on() {
    let mut world = proving(3);
    let (challenge, proof) = (world.record.challenge.clone(), world.proof(0, &World::honest_challenge(3)));
    world.report(proof);
    // Read back from a bucket that is empty.
    world.record.segments.clear();
    assert_eq!(world.apply(Input::Resumed), Verdict::Applied);
    assert_eq!((world.record.progress.planned, world.record.progress.contributed, world.record.progress.proven), (0, 0, 0));
    assert_eq!(assigned(&outstanding(&world.record, 0)), [("plan".to_owned(), 0, 1)]);
    for input in world.honest_run(3, 1) {
        world.apply(input);
    }
    assert_eq!((world.record.state, world.record.challenge.clone()), (JobState::Completed, challenge));
}

#[test]
fn results_are_committed_once() {
    let mut world = proving(2);
    let challenge = World::honest_challenge(2);
    let (again, proof) = (world.contribution(0, &honest_contribution(0)), world.proof(0, &challenge));
    assert_eq!(world.report(again), Verdict::Dropped(Reason::Duplicate));
    assert_eq!(world.report(proof.clone()), Verdict::Applied);
    assert_eq!(world.report(proof), Verdict::Dropped(Reason::Duplicate));
    assert_eq!(world.record.dropped, DroppedReports { duplicate: 2, ..DroppedReports::default() });
    // Delivered twice, not computed twice.
    assert_eq!(world.record.progress.repeated, 0);
    assert_eq!(world.record.progress.proven, 1);
}

#[test]
fn a_malformed_contribution_costs_an_attempt() {
    let mut world = World::new(RequestKind::Prove);
    let (planned, bad) = (world.planned(0), world.contribution(0, b"malformed"));
    world.report(planned);
    assert!(matches!(world.report(bad), Verdict::Incident(_)));
    assert_eq!(assigned(&world.commands), [("segment".to_owned(), 0, 2)]);
}

#[test]
fn three_failed_attempts_end_the_job() {
    let mut world = proving(1);
    for attempt in 1..=2 {
        let failed = world.failed(FailureKind::Internal, Phase::Proof, Some(0), attempt);
        assert_eq!(world.report(failed.clone()), Verdict::Applied);
        assert_eq!(assigned(&world.commands), [("segment".to_owned(), 0, attempt + 1)]);
        // The same failure delivered again is not another one.
        assert_eq!(world.report(failed), Verdict::Dropped(Reason::Stale));
    }
    let failed = world.failed(FailureKind::Internal, Phase::Proof, Some(0), 3);
    world.report(failed);
    let failure = world.record.failure.clone().unwrap();
    assert_eq!((failure.kind, failure.segment), (FailureKind::Internal, Some(0)));
    assert!(failure.message.contains("3 times"), "{failure}");
    assert!(world.commands.iter().any(|command| matches!(command, Command::Dead(_))));
}

#[test]
fn a_trap_ends_the_job_at_once() {
    let mut world = World::new(RequestKind::Prove);
    let failed = world.failed(FailureKind::Execution, Phase::Executed, None, 1);
    world.report(failed);
    assert_eq!(world.record.failure.as_ref().unwrap().kind, FailureKind::Execution);
}

#[test]
fn contributions_without_a_challenge_end_the_job() {
    let mut world = World::new(RequestKind::Prove);
    for report in [world.planned(0), world.executed(1, 0), world.contribution(0, b"unchained")] {
        world.report(report);
    }
    assert!(world.record.failure.unwrap().message.contains("segments do not chain"));
}

#[test]
fn a_stale_aggregator_is_refused() {
    let mut world = proving(1);
    let proof = world.proof(0, &World::honest_challenge(1));
    world.report(proof);
    assert_eq!(world.apply(Input::Elected { worker: world.worker, epoch: 5 }), Verdict::Applied);
    assert_eq!(world.apply(Input::LeaseLost), Verdict::Applied);
    assert_eq!(assigned(&world.commands), [("aggregate".to_owned(), 0, 1)]);
    assert_eq!(world.apply(Input::Elected { worker: world.worker, epoch: 9 }), Verdict::Applied);
    let (stale, newest) = (world.last(5), world.last(9));
    assert!(matches!(world.report(stale), Verdict::Refused(..)));
    assert_eq!(world.report(newest), Verdict::Applied);
    assert_eq!(world.record.state, JobState::Completed);
}

#[test]
fn a_fold_is_committed_once_and_told_again() {
    let mut world = proving(3);
    for n in 0..3 {
        let proof = world.proof(n, &World::honest_challenge(3));
        world.report(proof);
    }
    let fold = world.folded(1, 5);
    assert_eq!(world.report(Report::Folded(fold.clone())), Verdict::Applied);
    assert_eq!((world.record.progress.folded, events(&world.commands)), (1, vec![EventKind::Folded]));
    assert_eq!(world.record.segments[1].fold_in(0).unwrap().node, fold.node);
    // Its event may have been lost: it is told again, and nothing else happens. Another's fold of the same is as good.
    let another = Folded { worker: world.liar, ..fold.clone() };
    for again in [fold.clone(), another] {
        assert_eq!(world.report(Report::Folded(again)), Verdict::Dropped(Reason::Duplicate));
        let [Command::Publish(Event { body: EventBody::Folded { worker, .. }, .. })] = world.commands[..] else { panic!() };
        assert_eq!(worker, world.worker);
    }
    assert_eq!(world.record.progress.folded, 1);
    // What is of no use any more, and what cannot be.
    for stale in [Folded { epoch: 4, ..fold.clone() }, Folded { round: 1, ..fold.clone() }] {
        assert_eq!(world.report(Report::Folded(stale)), Verdict::Dropped(Reason::Stale));
    }
    let foreign = ObjectRef { key: ObjectKey { scope: ObjectScope::Node(JobId::random()), ..fold.node.unwrap().key }, size: 1 };
    for wrong in [Folded { n: 0, ..fold.clone() }, Folded { n: 3, ..fold.clone() }, Folded { n: 2, node: Some(foreign), ..fold }]
    {
        assert!(matches!(world.report(Report::Folded(wrong)), Verdict::Refused(Reason::Invalid, _)));
    }
    assert_eq!((world.record.progress.folded, world.record.incidents.len()), (1, 0));
    // A coordinator that reads the record back counts the same.
    world.record.progress.folded = 0;
    world.apply(Input::Resumed);
    assert_eq!(world.record.progress.folded, 1);
}

#[test]
fn a_refused_fold_is_replaced_and_its_worker_named() {
    let mut world = proving(2);
    for n in 0..2 {
        let proof = world.proof(n, &World::honest_challenge(2));
        world.report(proof);
    }
    let right = world.folded(1, 5);
    let object = right.node.map(|node| ObjectRef { size: 2, ..node });
    world.report(Report::Folded(Folded { worker: world.liar, node: object, ..right.clone() }));
    let refused = Some(RefusedFold { worker: world.liar, reason: "nonsense".to_owned() });
    let report = Report::Folded(Folded { refused, ..right.clone() });
    assert!(matches!(world.report(report.clone()), Verdict::Incident(_)));
    assert_eq!(events(&world.commands), [EventKind::Folded]);
    let fold = world.record.segments[1].fold_in(0).unwrap();
    assert_eq!((fold.worker, fold.node, world.record.progress.folded), (world.worker, right.node, 1));
    world.report(report);
    let [incident] = &world.record.incidents[..] else { panic!("{:?}", world.record.incidents) };
    assert_eq!((incident.worker, incident.segment), (Some(world.liar), Some(1)));
    assert!(incident.message.contains("nonsense"), "{}", incident.message);
}

#[test]
fn aggregators_that_fail_are_counted_by_epoch() {
    let mut world = proving(1);
    let proof = world.proof(0, &World::honest_challenge(1));
    world.report(proof);
    // The same words every time: a failure is its epoch's.
    let failed = |world: &World, epoch| {
        let Report::Failed(mut failed) = world.failed(FailureKind::Internal, Phase::Folded, None, epoch) else { panic!() };
        failed.failure.message = "fold refused".to_owned();
        Report::Failed(failed)
    };
    for epoch in [5, 9] {
        let report = failed(&world, epoch);
        assert_eq!(world.report(report.clone()), Verdict::Applied);
        assert_eq!(assigned(&world.commands).len(), 1);
        assert_eq!(world.report(report), Verdict::Dropped(Reason::Duplicate));
    }
    let last = failed(&world, 12);
    assert_eq!(world.report(last), Verdict::Applied);
    let failure = world.record.failure.unwrap();
    assert_eq!(failure.message, "aggregation failed 3 times, at last: fold refused");
}

#[test]
fn a_job_that_loses_its_aggregators_ends() {
    let mut world = proving(1);
    let proof = world.proof(0, &World::honest_challenge(1));
    world.report(proof);
    // Nobody has stood yet: that is no loss.
    assert_eq!(world.apply(Input::LeaseLost), Verdict::Applied);
    for epoch in 1..=MAX_AGGREGATORS as u64 {
        assert_eq!(world.record.state, JobState::Folding);
        world.apply(Input::Elected { worker: world.worker, epoch });
        world.apply(Input::LeaseLost);
        // Asked for again: the same loss.
        world.apply(Input::LeaseLost);
    }
    let failure = world.record.failure.unwrap();
    assert!(failure.message.contains("epoch 10 was lost"), "{failure}");
}

#[test]
fn a_proof_under_another_challenge_is_proven_again() {
    let mut world = proving(1);
    let wrong = world.proof(0, b"another");
    assert!(matches!(world.report(wrong), Verdict::Incident(_)));
    assert_eq!(assigned(&world.commands), [("segment".to_owned(), 0, 2)]);
}

#[test]
fn time_and_cancellation_end_a_job() {
    let mut world = proving(1);
    assert_eq!(world.apply(Input::Tick), Verdict::Idle);
    world.at_ms = 1_000 + 100_000;
    assert_eq!(world.apply(Input::Tick), Verdict::Applied);
    let failure = world.record.failure.clone().unwrap();
    assert_eq!(failure.kind, FailureKind::Timeout);
    assert!(failure.message.contains("contributed 1, proven 0 of 1"), "{failure}");
    assert_eq!(world.apply(Input::Cancel { message: "late".to_owned() }), Verdict::Idle);

    let mut world = proving(1);
    world.apply(Input::Cancel { message: "by its client".to_owned() });
    assert_eq!(world.record.state, JobState::Cancelled);
    assert_eq!(events(&world.commands), [EventKind::Cancelled]);
}

#[test]
fn segments_known_before_the_keys_are_assigned_with_them() {
    let mut world = World::new(RequestKind::Prove);
    let before = world.record.clone();
    for n in 0..2 {
        let planned = world.planned(n);
        world.report(planned);
    }
    // Killed between the two writes: the segments are there, the keys are not.
    world.record = JobRecord { segments: std::mem::take(&mut world.record.segments), ..before };
    world.apply(Input::Resumed);
    assert_eq!(assigned(&outstanding(&world.record, 9)), [("plan".to_owned(), 0, 1)]);
    let executed = world.executed(2, 0);
    assert_eq!(world.report(executed), Verdict::Applied);
    assert_eq!(assigned(&world.commands), [("segment".to_owned(), 0, 1), ("segment".to_owned(), 1, 1)]);
    let again = world.planned(0);
    assert_eq!(world.report(again), Verdict::Dropped(Reason::Duplicate));
}

#[test]
fn a_restarted_coordinator_owes_what_is_not_done() {
    let mut world = proving(3);
    let proof = world.proof(1, &World::honest_challenge(3));
    world.report(proof);
    let owed = outstanding(&world.record, 9);
    let segment = |n| ("segment".to_owned(), n, 1);
    assert_eq!(assigned(&owed), [segment(0), segment(2)]);
    assert_eq!(events(&owed), [EventKind::Proof]);
    assert!(owed.iter().any(|command| matches!(command, Command::Challenge(_))));
}

#[test]
fn what_is_computed_again_is_counted_once_and_given_back_work_is_not() {
    let mut world = proving(2);
    let challenge = World::honest_challenge(2);
    let by = |world: &World, attempt| {
        let Report::Contribution(it) = world.contribution(0, &honest_contribution(0)) else { panic!() };
        Report::Contribution(Contribution { attempt, ..it })
    };
    // Its holder was lost after its contribution, and another computed it again; each report came twice.
    for _ in 0..2 {
        let again = by(&world, 2);
        assert_eq!(world.report(again), Verdict::Dropped(Reason::Duplicate));
    }
    assert_eq!(world.record.progress.repeated, 1);
    let first = world.proof(0, &challenge);
    assert_eq!(world.report(first), Verdict::Applied);
    let Report::Proof(proof) = world.proof(0, &challenge) else { panic!() };
    let second = Report::Proof(Proof { attempt: 2, ..proof });
    assert_eq!(world.report(second), Verdict::Dropped(Reason::Duplicate));
    assert_eq!(world.record.progress.repeated, 2);

    // The other was left to an idle worker by the one that contributed it.
    let given_back = GivenBack { v: Version::default(), job: world.record.job, n: 1, worker: world.worker, attempt: 1 };
    assert_eq!(world.report(Report::GivenBack(given_back)), Verdict::Applied);
    let Report::Contribution(it) = world.contribution(1, &honest_contribution(1)) else { panic!() };
    world.report(Report::Contribution(Contribution { attempt: 2, ..it }));
    let other = world.proof(1, &challenge);
    assert_eq!(world.report(other), Verdict::Applied);
    assert_eq!(world.record.progress.repeated, 2);
    let last = world.last(3);
    world.report(last);
    let Some(Command::Publish(end)) = world.commands.iter().rev().find(|it| matches!(it, Command::Publish(_))) else { panic!() };
    assert_eq!((end.kind(), end.progress.repeated), (EventKind::Completed, 2));
}

#[test]
fn a_job_gets_as_many_attempts_as_the_coordinator_says() {
    for max_attempts in [1, 5] {
        let mut world = proving(1);
        world.record.max_attempts = max_attempts;
        for attempt in 1..=max_attempts {
            assert_eq!(world.record.state, JobState::Proving);
            if let Some(Command::Assign(next)) = world.commands.iter().find(|it| matches!(it, Command::Assign(_))) {
                let pause = [0, 0, 1, 4, 4][attempt as usize - 1];
                assert_eq!(next.pause(), std::time::Duration::from_secs(pause));
            }
            let failed = world.failed(FailureKind::Internal, Phase::Proof, Some(0), attempt);
            world.report(failed);
        }
        assert_eq!(world.record.state, JobState::Failed);
    }
}

/// A proof by this worker in this attempt.
fn proof_by(world: &World, worker: WorkerId, attempt: u32, bad: bool) -> Report {
    let challenge = World::honest_challenge(world.record.progress.segments.unwrap());
    let report = if bad { world.bad_proof(0, &challenge) } else { world.proof(0, &challenge) };
    let Report::Proof(proof) = report else { panic!() };
    Report::Proof(Proof { worker, attempt, ..proof })
}

#[test]
fn a_rejected_proof_goes_away_and_names_its_prover() {
    let mut world = proving(1);
    let liar = WorkerId::random();
    let bad = proof_by(&world, liar, 1, true);
    assert_eq!(world.report(bad.clone()), Verdict::Applied);
    assert_eq!(world.record.state, JobState::Folding);
    let rejected = world.rejected(&world.record, 0, 5).unwrap();
    let Verdict::Incident(text) = world.report(rejected.clone()) else { panic!("no incident") };
    assert!(text.contains(&liar.to_string()) && text.contains("constraints"), "{text}");
    assert_eq!((world.record.state, world.record.progress.proven), (JobState::Proving, 0));
    let state = &world.record.segments[0];
    assert_eq!((state.failures[0].worker, state.rejected[0].prover, &state.avoid[..]), (Some(liar), liar, &[liar][..]));
    assert_eq!(events(&world.commands), [EventKind::Rejected]);
    let Some(Command::Assign(Assignment::Segment(again))) = world.commands.last() else { panic!("not assigned") };
    assert_eq!((again.attempt, &again.avoid[..]), (2, &[liar][..]));
    assert_eq!(world.record.progress.repeated, 1);

    // The same words again, and the same proof again, change nothing.
    assert_eq!(world.report(rejected), Verdict::Dropped(Reason::Stale));
    assert_eq!(world.report(bad), Verdict::Dropped(Reason::Stale));
    let right = proof_by(&world, world.worker, 2, false);
    assert_eq!(world.report(right), Verdict::Applied);
    assert_eq!(outstanding(&world.record, 0).len(), 2, "challenge and proof's event");
    let last = world.last(5);
    assert_eq!(world.report(last), Verdict::Applied);
    assert_eq!(world.record.state, JobState::Completed);
}

#[test]
fn an_aggregator_that_rejects_too_much_is_replaced() {
    let mut world = proving(1);
    let [first, second] = [WorkerId::random(), WorkerId::random()];
    let proof = proof_by(&world, first, 1, true);
    world.report(proof);
    let rejected = world.rejected(&world.record, 0, 5).unwrap();
    world.report(rejected);
    let proof = proof_by(&world, second, 2, false);
    world.report(proof);
    let rejected = world.rejected(&world.record, 0, 5).unwrap();
    let Verdict::Incident(text) = world.report(rejected) else { panic!("no incident") };
    assert!(text.contains(&format!("aggregator {} of epoch 5 is replaced", world.worker)), "{text}");
    // The proof stands, the epoch is over, another worker is to aggregate.
    assert_eq!(world.record.state, JobState::Folding);
    assert!(world.commands.contains(&Command::Depose { job: world.record.job, epoch: 5 }));
    let Some(Command::Assign(Assignment::Aggregate(fold))) = world.commands.last() else { panic!("no fold") };
    assert_eq!(fold.avoid, [world.worker]);
    let (late, more) = (world.last(5), world.rejected(&world.record, 0, 5).unwrap());
    assert!(matches!(world.report(late), Verdict::Refused(Reason::Stale, _)));
    assert!(matches!(world.report(more), Verdict::Refused(Reason::Stale, _)));
    let last = world.last(9);
    assert_eq!(world.report(last), Verdict::Applied);
}

#[test]
fn a_proof_that_two_workers_make_alike_was_rejected_wrongly() {
    let mut world = proving(1);
    let [first, second] = [WorkerId::random(), WorkerId::random()];
    let proof = proof_by(&world, first, 1, false);
    world.report(proof);
    let rejected = world.rejected(&world.record, 0, 5).unwrap();
    world.report(rejected);
    assert_eq!(world.record.segments[0].failures.len(), 1);
    let proof = proof_by(&world, second, 2, false);
    assert_eq!(world.report(proof), Verdict::Applied);
    assert!(world.record.segments[0].failures.is_empty() && world.record.segments[0].avoid.is_empty());
    assert!(world.commands.contains(&Command::Depose { job: world.record.job, epoch: 5 }));
    assert_eq!(world.record.fold_failures[0].failure.worker, Some(world.worker));
}
