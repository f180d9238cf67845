//! One job on a small cluster: a coordinator, the bus, and workers that do what they please with what they are given.
//!
//! The bus is sets: a message twice at the same time is delivered twice by leaving it in its set. Workers have no state of
//! their own: an assignment in its set is one that waits, is held, or whose holder died. What costs a fault is bounded
//! by a budget, so that the states are finite.

use zisk_common::messages::{Assignment, FailureKind, JobRequest, Proof, Report};
use zisk_common::subjects::{Phase, RequestKind};

use super::steps::{News, Step, Steps, proof_number, proof_of};
use crate::job::fixtures::{DEFAULTS, honest_contribution, is_bad, is_false_last};
use crate::job::*;

/// Where everything stands.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub struct State {
    /// The stored record's number; its segments may be ahead of it.
    pub record: u32,
    /// The coordinator has the job in memory; else it died.
    pub up: bool,
    /// Assignments on the bus, and those that ever were: the server knows message ids for two minutes.
    assigned: Numbers,
    published: Numbers,
    /// Reports on the bus.
    reports: Numbers,
    /// Those that their makers know to have posted and post again by a fault only.
    posted: Numbers,
    /// The round of the challenge that was broadcast, counted from 1; 0 when none was.
    challenge: u32,
    cancel: bool,
    /// The proofs whose events were published.
    proofs: u64,
    /// The job's end was published.
    ended: bool,
    /// The epoch of the aggregator, 0 when there is none, and the newest there was.
    lease: u8,
    epoch: u8,
    /// Faults that may still happen.
    faults: u8,
}

/// What a move is to a job that should get somewhere.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Kind {
    /// It happens if nothing else does.
    Progress,
    /// The comparison with the bus of a job in which nothing has moved for half a minute: a last resort.
    Rescue,
    /// It need not happen.
    Chance,
}

/// A way on from a state.
pub struct Move {
    pub kind: Kind,
    pub what: &'static str,
    /// The report, assignment or epoch it is about.
    pub which: u16,
    pub to: State,
}

/// A job to be explored.
pub struct Cluster {
    pub steps: Steps,
    goal: RequestKind,
    segments: u32,
    moves: Vec<Move>,
}

impl Cluster {
    pub fn new(goal: RequestKind, segments: u32, defect: super::steps::Defect) -> Self {
        Self { steps: Steps::new(goal, defect), goal, segments, moves: Vec::new() }
    }

    /// The states in which a request was just accepted: in memory, and before a coordinator that died.
    pub fn first(&mut self, input_stream: bool, faults: u8) -> Vec<State> {
        let request = JobRequest { input_stream, ..self.steps.world.record.request.clone() };
        let record = accept(self.goal, request, 10, &DEFAULTS, 1_000);
        let record = self.steps.number_record(record);
        let empty = State {
            record,
            up: false,
            assigned: Numbers::NONE,
            published: Numbers::NONE,
            reports: Numbers::NONE,
            posted: Numbers::NONE,
            challenge: 0,
            cancel: false,
            proofs: 0,
            ended: false,
            lease: 0,
            epoch: 0,
            faults,
        };
        vec![empty, State { up: true, ..empty }]
    }

    /// Whether the job is over and nothing is left of it.
    ///
    /// # Errors
    /// The rule that was broken.
    pub fn is_over(&self, state: &State) -> Result<bool, String> {
        if !self.steps.record(state.record).cleaned {
            return Ok(false);
        }
        if !state.ended {
            return Err("the job was cleaned up, but nobody was told how it ended".to_owned());
        }
        let left = state.assigned != Numbers::NONE
            || state.reports != Numbers::NONE
            || state.challenge != 0
            || state.cancel
            || state.lease != 0;
        if left { Err("something of the job is left on the bus".to_owned()) } else { Ok(true) }
    }

    /// Every way on.
    ///
    /// # Errors
    /// The rule that was broken.
    pub fn moves(&mut self, state: &State) -> Result<Vec<Move>, String> {
        self.moves = Vec::new();
        let record = self.steps.record(state.record);
        let (ended, cleaned) = (record.state.is_terminal(), record.cleaned);
        if cleaned {
            return Ok(Vec::new());
        }
        if !state.up {
            self.restart(state)?;
        } else if ended {
            self.clean_up(state)?;
        } else {
            self.coordinate(state)?;
        }
        // Late reports are seen to by `Steps::check_ended`, for every record and not only those they can reach.
        if !ended {
            for number in state.assigned.numbers() {
                self.work(state, number);
            }
            self.aggregate(state);
        }
        Ok(std::mem::take(&mut self.moves))
    }

    fn go(&mut self, kind: Kind, what: &'static str, which: u16, to: State) {
        self.moves.push(Move { kind, what, which, to });
    }

    /// A move that costs a fault.
    fn fault(&mut self, what: &'static str, which: u16, to: State) {
        if let Some(faults) = to.faults.checked_sub(1) {
            self.go(Kind::Chance, what, which, State { faults, ..to });
        }
    }

    /// Puts commands on the bus. Message ids that the server has forgotten let a message in twice.
    fn run(&mut self, state: &mut State, commands: &[Command], forgotten: bool) {
        for command in commands {
            match command {
                Command::Assign(assignment) => {
                    let number = self.steps.number_assignment(assignment);
                    if forgotten || !state.published.has(number) {
                        state.assigned = state.assigned.with(number);
                        state.published = state.published.with(number);
                    }
                }
                Command::Challenge(it) => state.challenge = it.round + 1,
                Command::Cancel(_) => state.cancel = true,
                Command::Publish(event) if event.kind().is_terminal() => state.ended = true,
                Command::Depose { epoch, .. } => {
                    if u64::from(state.lease) == *epoch {
                        state.lease = 0;
                    }
                }
                Command::Publish(_) => state.proofs |= proof_of(command).map_or(0, |n| 1 << n),
                Command::Dead(_) | Command::CleanUp => {}
            }
        }
    }

    /// What a record owes and is not on the bus, as the outbox decides it.
    fn missing(&self, state: &State) -> Vec<Command> {
        let mut owed = self.steps.owed(state.record);
        owed.retain(|command| match command {
            Command::Assign(assignment) => {
                let there = |number| {
                    let other = self.steps.assignment(number);
                    (other.kind(), other.n()) == (assignment.kind(), assignment.n())
                };
                let reported = |number| {
                    let report = self.steps.report(number);
                    let (phase, n) = (report.phase(), report.n());
                    match assignment {
                        Assignment::Plan(_) => n == 0 && matches!(phase, Phase::Setup | Phase::Executed | Phase::Failed),
                        Assignment::Segment(it) => n == it.n && matches!(phase, Phase::Proof | Phase::Failed),
                        Assignment::Fold(_) => unreachable!("the coordinator publishes none"),
                        Assignment::Aggregate(_) => phase == Phase::Final,
                    }
                };
                !state.assigned.numbers().any(there) && !state.reports.numbers().any(reported)
            }
            Command::Challenge(it) => state.challenge != it.round + 1,
            Command::Cancel(_) => !state.cancel,
            Command::Depose { epoch, .. } => u64::from(state.lease) == *epoch,
            Command::Publish(_) => proof_of(command).map_or(!state.ended, |n| state.proofs & 1 << n == 0),
            Command::Dead(_) | Command::CleanUp => false,
        });
        owed
    }

    /// The coordinator applies `news`, and may die on the way.
    fn take(&mut self, state: &State, news: News, kind: Kind, what: &'static str) -> Result<(), String> {
        let step = self.steps.take(state.record, news)?;
        let (which, acked) = match news {
            News::Report(number) | News::Disproved(number, _) => (number, state.reports.without(number)),
            News::Elected(epoch) => (epoch.into(), state.reports),
            _ => (0, state.reports),
        };
        let mut done = State { record: step.after, ..*state };
        self.run(&mut done, &step.commands, false);
        let mut settled = State { reports: acked, ..done };
        let attempt_ended = match news {
            News::Report(number) => match self.steps.report(number) {
                Report::Failed(_) => true,
                Report::Setup(_) | Report::Executed(_) | Report::Proof(_) | Report::Final(_) => !step.applied,
                _ => false,
            },
            News::Disproved(..) => true,
            _ => false,
        };
        if attempt_ended && !self.steps.record(step.after).state.is_terminal() {
            // As the coordinator does it: it looked as if the attempt under way had just ended.
            let missing = self.missing(&settled);
            self.run(&mut settled, &missing, false);
        }
        self.go(kind, what, which, settled);
        if acked != state.reports {
            self.fault("its ack is lost", which, done);
        }
        for sent in 0..step.commands.len() {
            let mut died = State { record: step.after, up: false, ..*state };
            self.run(&mut died, &step.commands[..sent], false);
            self.fault("committed, then died before all commands were run", which, died);
        }
        self.die_between_writes(state, &[&step], which);
        Ok(())
    }

    /// Segments are written before the record that counts them.
    fn die_between_writes(&mut self, state: &State, steps: &[&Step], which: u16) {
        let mut torn = self.steps.record(state.record).clone();
        for step in steps {
            let Some(n) = step.segment.map(|n| n as usize) else { continue };
            let after = self.steps.record(step.after);
            let Some(written) = after.segments.get(n).cloned() else { continue };
            if torn.segments.len() <= n {
                torn.segments.resize_with(n + 1, Default::default);
            }
            torn.segments[n] = written;
        }
        if torn.segments != self.steps.record(state.record).segments {
            let record = self.steps.number_record(torn);
            self.fault("died between segment and job record", which, State { record, up: false, ..*state });
        }
    }

    fn restart(&mut self, state: &State) -> Result<(), String> {
        let step = self.steps.take(state.record, News::Resumed)?;
        let mut resumed = State { record: step.after, ..*state };
        if step.after != state.record {
            self.fault("died over what it read back", 0, resumed);
        }
        self.run(&mut resumed, &step.commands, false);
        let owed = self.missing(&resumed);
        for forgotten in [false, true] {
            let mut up = State { up: true, ..resumed };
            self.run(&mut up, &owed, forgotten);
            let (kind, what) = if forgotten { (Kind::Chance, "restarts after minutes") } else { (Kind::Progress, "restarts") };
            self.go(kind, what, 0, up);
            for sent in 0..owed.len() {
                let mut died = resumed;
                self.run(&mut died, &owed[..sent], forgotten);
                self.fault("died before all that is owed was sent", 0, died);
            }
        }
        Ok(())
    }

    fn coordinate(&mut self, state: &State) -> Result<(), String> {
        self.fault("the coordinator dies", 0, State { up: false, ..*state });
        if self.steps.record(state.record).is_waiting() {
            self.take(state, News::Admitted, Kind::Progress, "is admitted")?;
        }
        if self.steps.record(state.record).waits_for_input() {
            self.take(state, News::InputReceived, Kind::Progress, "has its input")?;
            self.take(state, News::InputRefused, Kind::Chance, "is streamed something else")?;
            self.take(state, News::Admitted, Kind::Chance, "is admitted too soon")?;
        } else {
            // What put the input together looks twice.
            self.take(state, News::InputReceived, Kind::Chance, "has its input again")?;
            self.take(state, News::InputRefused, Kind::Chance, "is streamed something else after all")?;
        }
        let waiting: Vec<u16> = state.reports.numbers().collect();
        for &number in &waiting {
            self.take(state, self.news_of(state, number), Kind::Progress, "takes report")?;
        }
        self.die_over_two(state, &waiting)?;
        let concerns = self.steps.record(state.record).progress.proven > 0;
        let known = self.steps.record(state.record).epoch;
        if concerns && state.lease != 0 && known != u64::from(state.lease) {
            self.take(state, News::Elected(state.lease), Kind::Progress, "sees epoch")?;
        }
        let is_fold = |number| matches!(self.steps.assignment(number), Assignment::Aggregate(_));
        if concerns && state.lease == 0 && !state.assigned.numbers().any(is_fold) {
            self.take(state, News::LeaseLost, Kind::Progress, "misses an aggregator")?;
        }
        self.take(state, News::Cancel, Kind::Chance, "is told to cancel")?;
        self.take(state, News::Overdue, Kind::Chance, "sees the deadline passed")?;
        let owed = self.missing(state);
        if !owed.is_empty() {
            let mut rescued = *state;
            self.run(&mut rescued, &owed, true);
            self.go(Kind::Rescue, "compares with the bus", 0, rescued);
        }
        Ok(())
    }

    /// What a report comes to: final proofs are verified first.
    fn news_of(&self, state: &State, number: u16) -> News {
        match self.steps.report(number) {
            report @ Report::Final(it) if is_false_last(report) => News::Disproved(number, it.epoch == u64::from(state.lease)),
            _ => News::Report(number),
        }
    }

    /// Two reports that share a commit, of which only the segments were written.
    fn die_over_two(&mut self, state: &State, waiting: &[u16]) -> Result<(), String> {
        if state.faults == 0 {
            return Ok(());
        }
        for &one in waiting {
            for &other in waiting.iter().filter(|&&other| other != one) {
                let first = self.steps.take(state.record, self.news_of(state, one))?;
                let second = self.steps.take(first.after, self.news_of(state, other))?;
                if first.segment.is_some() && second.segment.is_some() {
                    self.die_between_writes(state, &[&first, &second], other);
                }
            }
        }
        Ok(())
    }

    fn clean_up(&mut self, state: &State) -> Result<(), String> {
        self.fault("the coordinator dies", 0, State { up: false, ..*state });
        let purged = State { assigned: Numbers::NONE, reports: Numbers::NONE, challenge: 0, cancel: false, lease: 0, ..*state };
        self.fault("dies between clean-up and its record", 0, State { up: false, ..purged });
        let step = self.steps.take(state.record, News::Cleaned)?;
        self.go(Kind::Progress, "cleans up", 0, State { record: step.after, ..purged });
        Ok(())
    }

    /// Puts a report on the bus. Once is progress, again is a fault: the worker died before its ack, or is another.
    fn post(&mut self, state: &State, what: &'static str, report: Report, expected: bool) -> u16 {
        let number = self.steps.number_report(report);
        let to = posted(state, number);
        if expected && !state.posted.has(number) {
            self.go(Kind::Progress, what, number, State { posted: state.posted.with(number), ..to });
        } else if to != *state {
            self.fault(what, number, to);
        }
        number
    }

    /// What the holder of an assignment may do.
    fn work(&mut self, state: &State, number: u16) {
        let given_up = State { assigned: state.assigned.without(number), ..*state };
        match self.steps.assignment(number).clone() {
            Assignment::Plan(plan) => self.plan(state, &given_up, plan.attempt),
            Assignment::Segment(segment) => self.segment(state, &given_up, segment.n, segment.attempt),
            Assignment::Fold(_) => unreachable!("the coordinator publishes none"),
            Assignment::Aggregate(_) => {
                let elected = if state.lease == 0 { elect(&given_up) } else { given_up };
                self.go(Kind::Progress, "stands for election", number, elected);
            }
        }
    }

    fn plan(&mut self, state: &State, given_up: &State, attempt: u32) {
        let world = self.steps.world.clone();
        let mut reports: Vec<Report> = Vec::new();
        let last = match self.goal {
            RequestKind::Setup => world.setup(),
            RequestKind::Execute => world.executed(self.segments, 0),
            RequestKind::Prove => {
                reports.extend((0..self.segments).map(|n| world.planned(n)));
                world.executed(self.segments, 0)
            }
        };
        let failures =
            [(FailureKind::Internal, attempt), (FailureKind::Internal, attempt + 1), (FailureKind::Execution, attempt)]
                .map(|(kind, attempt)| world.failed(kind, Phase::Executed, None, attempt));
        for report in reports {
            let number = self.post(state, "cuts a segment", report, true);
            if !state.posted.has(number) {
                return self.fail(state, given_up, failures);
            }
        }
        let number = self.steps.number_report(last.clone());
        self.go(Kind::Progress, "ends the plan", number, posted(given_up, number));
        self.post(state, "ends the plan and dies before its ack", last, false);
        self.fail(state, given_up, failures);
    }

    fn segment(&mut self, state: &State, given_up: &State, n: u32, attempt: u32) {
        let (record, world) = (self.steps.record(state.record), self.steps.world.clone());
        let challenge = record.challenge.clone().filter(|_| state.challenge == record.round + 1);
        let earlier = record.past_challenges.last().copied();
        if record.segments.get(n as usize).is_some_and(|segment| segment.node_in(record.round).is_some()) {
            self.go(Kind::Progress, "drops a segment that is proven", n as u16, *given_up);
        }
        let failures = [(FailureKind::Internal, attempt), (FailureKind::Internal, attempt + 1)]
            .map(|(kind, attempt)| world.failed(kind, Phase::Proof, Some(n), attempt));
        self.fail(state, given_up, failures);
        self.post(state, "contributes nonsense", with_attempt(world.contribution(n, b"malformed"), attempt), false);
        self.post(state, "contributes falsely", with_attempt(world.false_contribution(n), attempt), false);
        let number = self.post(state, "contributes", world.contribution(n, &honest_contribution(n)), true);
        let Some(challenge) = challenge.filter(|_| state.posted.has(number)) else { return };
        let wrong = self.steps.number_report(with_attempt(world.proof(n, b"another challenge"), attempt));
        self.fault("proves the wrong thing", wrong, posted(given_up, wrong));
        if let (Some(challenge), Report::Proof(proof)) = (earlier, with_attempt(world.proof(n, b""), attempt)) {
            let late = self.steps.number_report(Report::Proof(Proof { challenge, ..proof }));
            self.fault("proves under the challenge before", late, posted(given_up, late));
        }
        let bad = self.steps.number_report(with_attempt(world.bad_proof(n, &challenge), attempt));
        self.fault("proves nonsense", bad, posted(given_up, bad));
        let right = with_attempt(world.proof(n, &challenge), attempt);
        let number = self.post(state, "proves and dies before its ack", right, false);
        let mut proven = posted(given_up, number);
        if proven.lease == 0 {
            proven = elect(&proven);
        }
        self.go(Kind::Progress, "proves", number, proven);
    }

    /// Reports a failure, and may die before giving the assignment up.
    fn fail<const N: usize>(&mut self, state: &State, given_up: &State, failures: [Report; N]) {
        for failure in failures {
            let number = self.steps.number_report(failure);
            self.fault("fails", number, posted(given_up, number));
            self.fault("fails and dies before its ack", number, posted(state, number));
        }
    }

    /// What the aggregator may do, and those before it that do not know that they were replaced.
    fn aggregate(&mut self, state: &State) {
        let record = self.steps.record(state.record).clone();
        let told = |n: u32| record.segments.get(n as usize).filter(|it| state.proofs & 1 << proof_number(n, it.commits) != 0);
        let node_of = |n: u32| told(n).and_then(|it| it.node_in(record.round));
        let is_true = |n: u32| told(n).and_then(|it| it.contribution.as_ref()).is_some_and(|it| *it == honest_contribution(n));
        let is_good = |n: u32| is_true(n) && node_of(n).is_some_and(|node| !is_bad(n, &node));
        let whole = (0..self.segments).all(is_good);
        for epoch in 1..=state.epoch {
            if whole {
                let last = self.steps.world.last(epoch.into());
                self.post(state, "makes the final proof", last, epoch == state.lease);
                let last = self.steps.world.false_last(epoch.into());
                self.post(state, "makes a false final proof", last, false);
            }
        }
        if state.lease == 0 {
            return;
        }
        for n in 0..self.segments {
            if node_of(n).is_none() {
                continue;
            }
            let Some(rejected) = self.steps.world.rejected(&record, n, state.lease.into()) else { continue };
            match is_good(n) {
                false => self.post(state, "rejects a proof", rejected, true),
                true => self.post(state, "rejects a good proof", rejected, false),
            };
        }
        let vacant = State { lease: 0, ..*state };
        self.fault("the aggregator is lost", state.lease.into(), vacant);
        let failed = self.steps.world.failed(FailureKind::Internal, Phase::Folded, None, state.lease.into());
        let number = self.steps.number_report(failed);
        self.fault("the aggregator fails", number, posted(&vacant, number));
    }
}

/// An aggregator by compare-and-swap.
fn elect(state: &State) -> State {
    State { lease: state.epoch + 1, epoch: state.epoch + 1, ..*state }
}

fn posted(state: &State, number: u16) -> State {
    State { reports: state.reports.with(number), ..*state }
}

fn with_attempt(mut report: Report, newest: u32) -> Report {
    match &mut report {
        Report::Contribution(it) => it.attempt = newest,
        Report::Proof(it) => it.attempt = newest,
        _ => {}
    }
    report
}

/// Assignments or reports by number: a small set in the order of its members, 0 for each free place.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
struct Numbers([u16; MOST_NUMBERS]);

/// More than any job explored ever has.
const MOST_NUMBERS: usize = 24;

impl Numbers {
    const NONE: Self = Self([0; MOST_NUMBERS]);

    fn with(mut self, number: u16) -> Self {
        if !self.has(number) {
            assert!(self.0[0] == 0, "more messages than a state has places");
            self.0[0] = number + 1;
            self.0.sort_unstable();
        }
        self
    }

    fn without(mut self, number: u16) -> Self {
        self.0.iter_mut().filter(|place| **place == number + 1).for_each(|place| *place = 0);
        self.0.sort_unstable();
        self
    }

    fn has(self, number: u16) -> bool {
        self.0.contains(&(number + 1))
    }

    fn numbers(self) -> impl Iterator<Item = u16> {
        self.0.into_iter().filter_map(|place| place.checked_sub(1))
    }
}
