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

/// Goal, segments, faults: what every run explores.
const SMALL: [(RequestKind, u32, u8); 5] = [
    (RequestKind::Setup, 0, 4),
    (RequestKind::Execute, 0, 4),
    (RequestKind::Prove, 1, 2),
    (RequestKind::Prove, 2, 1),
    (RequestKind::Prove, 3, 1),
];

/// With `ZISK_EXPLORE_ALL=1` as well.
const LARGE: [(RequestKind, u32, u8); 2] = [(RequestKind::Prove, 1, 3), (RequestKind::Prove, 2, 2)];

#[test]
fn every_job_ends_whatever_happens() {
    let all = std::env::var_os("ZISK_EXPLORE_ALL").is_some_and(|value| value == "1");
    let jobs = SMALL.iter().chain(LARGE.iter().filter(|_| all));
    for &(goal, segments, faults) in jobs {
        let name = format!("{goal}, {segments} segments, {faults} faults");
        match explore(goal, segments, faults, SOUND) {
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
        let Err(broken) = explore(RequestKind::Prove, 1, 2, defect) else { panic!("defect {number} was not found: {rule}") };
        assert!(broken.rule.contains(rule), "defect {number}: {broken}");
    }
}
