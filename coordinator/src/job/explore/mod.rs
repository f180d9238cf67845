//! The job state machine explored: every order of reports, duplicates, failed attempts, lost workers and aggregators,
//! deadlines, cancellations and coordinators that die at any point, for small jobs.
//!
//! A breadth-first search of our own: a model checker (stateright) brings a web server and its own actors, and checks
//! "always" and "some day", while what matters here is that from every state there is a way to the end without luck.

mod cluster;
mod search;
mod steps;

use zisk_common::messages::{Assignment, JobState, Report};
use zisk_common::subjects::RequestKind;

use self::search::{Explored, explore};
use self::steps::{Defect, SOUND};
use super::{Command, Input};

/// Goal, whether the input is streamed, segments, faults: what every run explores.
const SMALL: [(RequestKind, bool, u32, u8); 7] = [
    (RequestKind::Setup, false, 0, 4),
    (RequestKind::Execute, false, 0, 4),
    (RequestKind::Execute, true, 0, 3),
    (RequestKind::Prove, false, 1, 2),
    (RequestKind::Prove, true, 1, 1),
    (RequestKind::Prove, false, 2, 1),
    (RequestKind::Prove, false, 3, 1),
];

/// With `ZISK_EXPLORE_ALL=1` as well.
const LARGE: [(RequestKind, bool, u32, u8); 2] = [(RequestKind::Prove, false, 1, 3), (RequestKind::Prove, false, 2, 2)];

#[test]
fn every_job_ends_whatever_happens() {
    let all = std::env::var_os("ZISK_EXPLORE_ALL").is_some_and(|value| value == "1");
    let jobs = SMALL.iter().chain(LARGE.iter().filter(|_| all));
    for &(goal, streamed, segments, faults) in jobs {
        let input = if streamed { ", streamed" } else { "" };
        let name = format!("{goal}{input}, {segments} segments, {faults} faults");
        match explore(goal, streamed, segments, faults, SOUND) {
            Ok(Explored { states, moves, records }) => println!("{name}: {states} states, {moves} moves, {records} records"),
            Err(broken) => panic!("{name}: {broken}"),
        }
    }
}

fn is_segment(command: &Command) -> bool {
    matches!(command, Command::Assign(Assignment::Segment(_)))
}

/// Defects, each with the rule that shows it.
const DEFECTS: [(Defect, &str); 12] = [
    (
        Defect {
            in_step: |_, input, after, _| {
                if *input == Input::Admitted {
                    after.timings.admitted_ms = 0;
                }
            },
            ..SOUND
        },
        "no work for a job whose turn has not come",
    ),
    (
        Defect { forgets: |command| matches!(command, Command::Assign(Assignment::Plan(_))), ..SOUND },
        "would not know that it owes",
    ),
    (
        Defect { in_step: |_, _, _, commands| commands.retain(|command| !is_segment(command)), ..SOUND },
        "only a look at jobs in which nothing moves gets it on",
    ),
    (
        Defect { in_step: |_, _, _, commands| commands.retain(|command| !is_segment(command)), forgets: is_segment },
        "nothing moves the job any more",
    ),
    (Defect { forgets: |command| matches!(command, Command::Challenge(_)), ..SOUND }, "would not know that it owes"),
    (
        Defect {
            in_step: |_, input, after, _| {
                if let Input::Report(Report::Contribution(it)) = input
                    && let Some(segment) = after.segments.get_mut(it.n as usize).filter(|it| it.contribution.is_some())
                {
                    segment.contribution = Some(it.contribution.clone());
                }
            },
            ..SOUND
        },
        "a contribution gives way to a rival alone",
    ),
    (
        Defect {
            in_step: |_, input, after, _| {
                if matches!(input, Input::Report(Report::Proof(_))) {
                    after.progress.proven += 1;
                }
            },
            ..SOUND
        },
        "counters are what the segments say",
    ),
    (
        Defect {
            in_step: |_, _, after, commands| {
                if after.state.is_terminal() {
                    commands.push(Command::Assign(super::command::plan(after)));
                }
            },
            ..SOUND
        },
        "no work for a job that has ended",
    ),
    (Defect { forgets: |command| matches!(command, Command::Depose { .. }), ..SOUND }, "would not know that it owes"),
    (
        Defect {
            in_step: |_, input, after, _| {
                if matches!(input, Input::LeaseLost) {
                    after.segments.iter_mut().for_each(|segment| segment.node = None);
                    after.progress.proven = 0;
                }
            },
            ..SOUND
        },
        "by the newest aggregator's word alone",
    ),
    (
        Defect {
            in_step: |before, input, after, _| {
                if *input == Input::Resumed {
                    *after = before.clone();
                }
            },
            ..SOUND
        },
        "counters are what the segments say",
    ),
    (
        Defect {
            in_step: |before, input, after, _| {
                if before.state.is_terminal() && matches!(input, Input::Cancel { .. }) {
                    after.state = JobState::Cancelled;
                }
            },
            ..SOUND
        },
        "changes nothing",
    ),
];

#[test]
fn every_defect_is_found() {
    for (number, (defect, rule)) in DEFECTS.into_iter().enumerate() {
        let Err(broken) = explore(RequestKind::Prove, false, 1, 2, defect) else {
            panic!("defect {number} was not found: {rule}")
        };
        assert!(broken.rule.contains(rule), "defect {number}: {broken}");
    }
}

/// Defects of a job whose input is streamed, each with the rule that shows it.
const STREAMING: [(Defect, &str); 4] = [
    (
        Defect {
            in_step: |before, input, after, commands| {
                if before.waits_for_input() && matches!(input, Input::Tick) {
                    commands.push(Command::Assign(super::command::plan(after)));
                }
            },
            ..SOUND
        },
        "no work for a job that has ended",
    ),
    (
        Defect {
            in_step: |before, input, after, _| {
                if before.waits_for_input() && matches!(input, Input::InputReceived(_)) {
                    after.state = JobState::WaitingForInput;
                }
            },
            ..SOUND
        },
        "a job whose input came waits for its turn",
    ),
    (
        Defect {
            in_step: |before, input, after, _| {
                if matches!(input, Input::InputReceived(_)) && !before.state.is_terminal() {
                    after.request.input = None;
                }
            },
            ..SOUND
        },
        "an input comes once, and stays",
    ),
    (
        Defect {
            in_step: |before, input, after, _| {
                if before.waits_for_input() && matches!(input, Input::Cancel { .. }) {
                    *after = before.clone();
                }
            },
            ..SOUND
        },
        "a job's end is told once",
    ),
];

#[test]
fn every_defect_of_streaming_is_found() {
    for (number, (defect, rule)) in STREAMING.into_iter().enumerate() {
        let Err(broken) = explore(RequestKind::Execute, true, 0, 1, defect) else {
            panic!("defect {number} was not found: {rule}")
        };
        assert!(broken.rule.contains(rule), "defect {number}: {broken}");
    }
}
