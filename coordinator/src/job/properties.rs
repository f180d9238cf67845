//! Whatever order reports come in, however often, and wherever the coordinator is killed: one terminal state.

use proptest::prelude::*;
use zisk_common::messages::{Failure, FailureKind, JobRecord, SegmentRecord, decode, encode};
use zisk_common::subjects::{AssignmentKind, EventKind, Phase, RequestKind};

use super::fixtures::*;
use super::*;

/// The record as another process reads it back.
fn restarted(record: &JobRecord) -> JobRecord {
    let mut copy: JobRecord = decode(&encode(record).unwrap()).unwrap();
    let segment = |state: &SegmentRecord| decode(&encode(state).unwrap()).unwrap();
    copy.segments = record.segments.iter().map(segment).collect();
    copy
}

/// Honest reports, wrong reports, elections, time, cancellation: by number.
fn input(world: &World, choice: u8, n: u32, epoch: u64) -> Input {
    let segments = 3;
    let challenge = World::honest_challenge(segments);
    let failed = |kind, phase, segment| world.failed(kind, phase, segment, 1 + (epoch as u32 % 4));
    Input::Report(match choice {
        0 => world.setup(),
        1..=3 => world.planned(n),
        4 | 5 => world.executed(segments, 0),
        6..=9 => world.contribution(n, &honest_contribution(n)),
        10..=13 => world.proof(n, &challenge),
        14 | 15 => world.last(epoch),
        16 => failed(FailureKind::Internal, Phase::Proof, Some(n)),
        17 => failed(FailureKind::Internal, Phase::Executed, None),
        18 => failed(FailureKind::Internal, Phase::Final, None),
        19 => world.contribution(n, b"malformed"),
        20 => world.proof(n, b"another challenge"),
        21 => {
            return Input::Elected { worker: world.worker, epoch };
        }
        22 => return Input::LeaseLost,
        23 => return Input::Tick,
        24 => return Input::Cleaned,
        25 => failed(FailureKind::Execution, Phase::Executed, None),
        26 => return Input::Admitted,
        31 => return Input::InputReceived(Some(World::input())),
        32 => return Input::InputRefused(Failure::new(FailureKind::IncompleteInput, "a chunk is missing")),
        28 => world.bad_proof(n, &challenge),
        30 => world.false_contribution(n),
        29 => match world.rejected(&world.record, n, epoch) {
            Some(rejected) => rejected,
            None => world.last(epoch),
        },
        _ => {
            return Input::Cancel { message: "by its client".to_owned() };
        }
    })
}

/// What must hold in every record.
fn check(record: &JobRecord) {
    let count = |f: fn(&SegmentRecord) -> bool| record.segments.iter().filter(|state| f(state)).count() as u32;
    let progress = record.progress;
    assert_eq!(progress.planned, count(|state| state.segment.is_some()));
    assert_eq!(progress.contributed, count(|state| state.contribution.is_some()));
    let proven = record.segments.iter().filter(|state| state.node_in(record.round).is_some()).count() as u32;
    assert_eq!(progress.proven, proven);
    let outcomes = [record.failure.is_some(), record.proof.is_some()];
    assert_eq!(record.state.is_terminal(), outcomes.contains(&true), "{record:?}");
    assert_ne!(outcomes, [true, true]);
    if progress.proven > 0 {
        assert!(record.challenge.is_some());
    }
    if record.waits_for_input() {
        assert!(record.segments.is_empty() && record.request.input.is_none() && record.timings.admitted_ms == 0, "{record:?}");
        assert!(outstanding(record, 0).is_empty());
    }
    assert!(!(record.request.input_stream && record.request.input.is_some()));
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(2_000))]

    #[test]
    fn one_terminal_state(choices in prop::collection::vec((0u8..25, 0u32..4, 1u64..6), 0..120), rude in 0u8..4) {
        let mut world = World::new(RequestKind::Prove);
        let mut outcome = None;
        let mut terminal_events = 0;
        let mut inputs: Vec<Input> = choices.iter().map(|&(choice, n, epoch)| input(&world, choice, n, epoch)).collect();
        if rude == 0 {
            inputs.push(input(&world, 25, 0, 1));
        } else if rude == 1 {
            inputs.push(input(&world, 27, 0, 1));
        }
        // Whatever happened before: the cluster delivers the rest, and the job ends.
        inputs.extend(world.honest_run(3, 99));
        for input in inputs {
            world.apply(input);
            check(&world.record);
            terminal_events += world.commands.iter().filter(|command| {
                matches!(command, Command::Publish(event) if event.kind().is_terminal())
            }).count();
            let now = world.record.state.is_terminal()
                .then(|| (world.record.state, world.record.failure.clone(), world.record.proof));
            if outcome.is_some() {
                prop_assert_eq!(&outcome, &now);
            }
            outcome = now;
        }
        prop_assert!(outcome.is_some());
        prop_assert_eq!(terminal_events, 1);
    }

    #[test]
    fn a_streamed_input_comes_once_and_its_job_is_as_any_other(
        before in prop::collection::vec((0u8..30, 0u32..4, 1u64..6), 0..20),
        after in prop::collection::vec((0u8..25, 0u32..4, 1u64..6), 0..60),
    ) {
        let mut world = World::streamed(RequestKind::Prove);
        // None that is false, or an honest run need not be the end: in their place what concerns the input.
        let of = |choice: u8| if choice < 28 { choice } else { choice + 3 };
        let mut inputs: Vec<Input> = before.iter().map(|&(choice, n, epoch)| input(&world, of(choice), n, epoch)).collect();
        inputs.push(Input::InputReceived(Some(World::input())));
        inputs.push(Input::Admitted);
        inputs.extend(after.iter().map(|&(choice, n, epoch)| input(&world, choice, n, epoch)));
        inputs.extend(world.honest_run(3, 99));
        let (mut received, mut plans, mut ends) = (0, 0, 0);
        for next in inputs {
            world.apply(next);
            check(&world.record);
            for command in &world.commands {
                match command {
                    Command::Publish(event) if event.kind() == EventKind::InputReceived => received += 1,
                    Command::Publish(event) if event.kind().is_terminal() => ends += 1,
                    Command::Assign(assignment) if assignment.kind() == AssignmentKind::Plan => {
                        plans += 1;
                        prop_assert_eq!(received, 1, "a plan before the input");
                    }
                    _ => {}
                }
            }
        }
        prop_assert!(received <= 1 && world.record.state.is_terminal());
        prop_assert_eq!(ends, 1);
        prop_assert!(received == 1 || plans == 0);
        if received == 1 {
            prop_assert_eq!(world.record.request.input, Some(World::input()));
        }
    }

    #[test]
    fn a_restart_anywhere_changes_nothing(
        choices in prop::collection::vec((0u8..33, 0u32..4, 1u64..6), 0..120),
        streamed in any::<bool>(),
    ) {
        let mut world = if streamed { World::streamed(RequestKind::Prove) } else { World::waiting(RequestKind::Prove) };
        let mut other = World { record: world.record.clone(), commands: world.commands.clone(), ..World::new(RequestKind::Prove) };
        other.at_ms = world.at_ms;
        (other.worker, other.liar) = (world.worker, world.liar);
        for (choice, n, epoch) in choices {
            let next = input(&world, choice, n, epoch);
            other.record = restarted(&other.record);
            prop_assert_eq!(world.apply(next.clone()), other.apply(next));
            prop_assert_eq!(&world.record, &other.record);
            prop_assert_eq!(&world.commands, &other.commands);
            prop_assert_eq!(outstanding(&world.record, 0), outstanding(&restarted(&world.record), 0));
        }
    }

    #[test]
    fn a_job_record_lost_after_its_segments_is_made_up_for(
        choices in prop::collection::vec((0u8..15, 0u32..3, 1u64..6), 0..60),
        lost_every in 1usize..6,
    ) {
        let mut world = World::new(RequestKind::Prove);
        let mut inputs: Vec<Input> = choices.iter().map(|&(choice, n, epoch)| input(&world, choice, n, epoch)).collect();
        inputs.extend(world.honest_run(3, 99));
        for (i, input) in inputs.into_iter().enumerate() {
            let before = world.record.clone();
            world.apply(input.clone());
            if i % lost_every == 0 {
                // Killed between the two writes; the next coordinator reads back and gets the report again.
                let segments = std::mem::take(&mut world.record.segments);
                world.record = JobRecord { segments, ..before };
                world.apply(Input::Resumed);
                check(&world.record);
                world.apply(input);
            }
            check(&world.record);
        }
        prop_assert_eq!(world.record.state, zisk_common::messages::JobState::Completed);
    }

    #[test]
    fn an_honest_run_in_any_causal_order_completes(seeds in prop::collection::vec(any::<u32>(), 64), repeats in 1usize..3) {
        // Each report may come any time after the one it depends on, and more than once.
        let mut world = World::new(RequestKind::Prove);
        let challenge = World::honest_challenge(4);
        let mut pool: Vec<Input> = (0..4).map(|n| world.planned(n)).chain([world.setup(), world.executed(4, 0)])
            .map(Input::Report).collect();
        let mut seeds = seeds.into_iter().cycle();
        let mut broadcast = false;
        while !pool.is_empty() {
            let next = pool.swap_remove(seeds.next().unwrap_or(0) as usize % pool.len());
            for _ in 0..repeats {
                world.apply(next.clone());
                for command in std::mem::take(&mut world.commands) {
                    match command {
                        Command::Assign(it) if it.kind() == zisk_common::subjects::AssignmentKind::Segment => {
                            let contribution = world.contribution(it.n(), &honest_contribution(it.n()));
                            pool.push(Input::Report(contribution));
                        }
                        Command::Challenge(_) => {
                            prop_assert!(!broadcast);
                            broadcast = true;
                            pool.extend((0..4).map(|n| Input::Report(world.proof(n, &challenge))));
                        }
                        Command::Publish(event) if event.progress.proven == 4 => {
                            pool.push(Input::Report(world.last(3)));
                        }
                        _ => {}
                    }
                }
            }
        }
        prop_assert_eq!(world.record.state, zisk_common::messages::JobState::Completed);
    }
}
