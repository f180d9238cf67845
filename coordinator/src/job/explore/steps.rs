//! The state machine's steps with every rule that a single step must keep. Records, reports and assignments are numbered,
//! and each pair of record and input is applied once: the cluster around it has many more states than the job.

use std::collections::HashMap;
use std::hash::Hash;
use std::rc::Rc;

use zisk_common::messages::{
    Assignment, DroppedReports, EventBody, Failure, FailureKind, JobRecord, JobState, Progress, Report, SegmentRecord, encode,
};
use zisk_common::subjects::{EventKind, RequestKind};

use crate::job::fixtures::{AnyBytes, World, is_false_last};
use crate::job::*;

/// When everything happens but what happens after the deadline.
pub const NOW_MS: u64 = 2_000;
const TOO_LATE_MS: u64 = 1_000_000;

/// An input, with reports and epochs by number.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum News {
    InputReceived,
    InputRefused,
    Admitted,
    Report(u16),
    /// A final proof that does not verify, by the aggregator or another.
    Disproved(u16, bool),
    Elected(u8),
    LeaseLost,
    Cancel,
    Overdue,
    Cleaned,
    Resumed,
}

/// What a step came to.
pub struct Step {
    /// It was news, and good news.
    pub applied: bool,
    /// The record's number.
    pub after: u32,
    pub commands: Vec<Command>,
    pub segment: Option<u32>,
}

/// Things by number, each once.
struct Numbered<K, T> {
    known: HashMap<K, u32>,
    things: Vec<T>,
}

impl<K: Hash + Eq, T> Numbered<K, T> {
    fn new() -> Self {
        Self { known: HashMap::new(), things: Vec::new() }
    }

    fn number(&mut self, key: K, thing: T) -> u32 {
        *self.known.entry(key).or_insert_with(|| {
            self.things.push(thing);
            self.things.len() as u32 - 1
        })
    }
}

/// A defect put in on purpose: it may change what a step has done, and what a record is said to owe.
#[derive(Clone, Copy)]
pub struct Defect {
    /// Gets the record before, the input, the record after and the commands.
    pub in_step: fn(&JobRecord, &Input, &mut JobRecord, &mut Vec<Command>),
    /// Whether this owed command is left out.
    pub forgets: fn(&Command) -> bool,
}

/// None.
pub const SOUND: Defect = Defect { in_step: |_, _, _, _| {}, forgets: |_| false };

/// The state machine.
pub struct Steps {
    pub world: Rc<World>,
    defect: Defect,
    records: Numbered<Vec<u8>, JobRecord>,
    reports: Vec<Report>,
    assignments: Numbered<String, Assignment>,
    taken: HashMap<(u32, News), Rc<Step>>,
}

impl Steps {
    pub fn new(goal: RequestKind, defect: Defect) -> Self {
        Self {
            world: Rc::new(World::new(goal)),
            defect,
            records: Numbered::new(),
            reports: Vec::new(),
            assignments: Numbered::new(),
            taken: HashMap::new(),
        }
    }

    pub fn record(&self, number: u32) -> &JobRecord {
        &self.records.things[number as usize]
    }

    pub fn number_record(&mut self, mut record: JobRecord) -> u32 {
        forget_statistics(&mut record);
        let mut key = encode(&record).unwrap().to_vec();
        for segment in &record.segments {
            key.extend(encode(segment).unwrap());
        }
        self.records.number(key, record)
    }

    pub fn report(&self, number: u16) -> &Report {
        &self.reports[usize::from(number)]
    }

    pub fn number_report(&mut self, report: Report) -> u16 {
        let number = self.reports.iter().position(|known| *known == report).unwrap_or_else(|| {
            self.reports.push(report);
            self.reports.len() - 1
        });
        number as u16
    }

    pub fn assignment(&self, number: u16) -> &Assignment {
        &self.assignments.things[usize::from(number)]
    }

    pub fn number_assignment(&mut self, assignment: &Assignment) -> u16 {
        let number = self.assignments.number(assignment.message_id(), assignment.clone());
        number as u16
    }

    pub fn records(&self) -> usize {
        self.records.things.len()
    }

    pub fn owed(&self, record: u32) -> Vec<Command> {
        let mut owed = outstanding(self.record(record), NOW_MS);
        owed.retain(|command| !(self.defect.forgets)(command));
        owed
    }

    fn input(&self, news: News) -> (Input, u64) {
        let input = match news {
            News::InputReceived => Input::InputReceived(Some(World::input())),
            News::InputRefused => Input::InputRefused(Failure::new(FailureKind::IncompleteInput, "a chunk is missing")),
            News::Admitted => Input::Admitted,
            News::Report(number) => Input::Report(self.report(number).clone()),
            News::Disproved(number, by_aggregator) => {
                let Report::Final(report) = self.report(number).clone() else { unreachable!("of final proofs only") };
                Input::Disproved { report, reason: "it proves nothing".to_owned(), by_aggregator }
            }
            News::Elected(epoch) => Input::Elected { worker: self.world.worker, epoch: epoch.into() },
            News::LeaseLost => Input::LeaseLost,
            News::Cancel => Input::Cancel { message: "by its client".to_owned() },
            News::Overdue => return (Input::Tick, TOO_LATE_MS),
            News::Cleaned => Input::Cleaned,
            News::Resumed => Input::Resumed,
        };
        (input, NOW_MS)
    }

    fn apply(&self, record: &JobRecord, news: News) -> (JobRecord, Transition) {
        let (input, at_ms) = self.input(news);
        let mut after = record.clone();
        let mut transition = apply(&mut after, input.clone(), at_ms, &AnyBytes);
        (self.defect.in_step)(record, &input, &mut after, &mut transition.commands);
        forget_statistics(&mut after);
        for command in &mut transition.commands {
            if let Command::Publish(event) = command {
                event.progress.repeated = 0;
            }
        }
        (after, transition)
    }

    /// Applies `news` to a record.
    ///
    /// # Errors
    /// The rule that was broken.
    pub fn take(&mut self, record: u32, news: News) -> Result<Rc<Step>, String> {
        if let Some(step) = self.taken.get(&(record, news)) {
            return Ok(step.clone());
        }
        let before = self.record(record);
        let (after, transition) = self.apply(before, news);
        if self.apply(before, news) != (after.clone(), transition.clone()) {
            return Err("the same step twice gave two results".to_owned());
        }
        check_step(before, news, &self.input(news).0, &after, &transition)?;
        if matches!(news, News::Report(_)) && transition.verdict.is_news() {
            let (again, repeated) = self.apply(&after, news);
            if again != after || !repeated.commands.is_empty() {
                return Err(format!("a duplicate counted: {:?}", repeated.verdict));
            }
        }
        let changed = transition.verdict.is_news();
        let after = self.number_record(after);
        let owed = self.owed(after);
        if changed && let Some(lost) = transition.commands.iter().find(|command| is_needed(command) && !owed.contains(command)) {
            return Err(format!("a coordinator that died would not know that it owes {lost:?}"));
        }
        let Transition { verdict, commands, segment } = transition;
        let step = Rc::new(Step {
            applied: verdict == Verdict::Applied,
            after,
            commands: if changed { commands } else { Vec::new() },
            segment,
        });
        self.taken.insert((record, news), step.clone());
        Ok(step)
    }

    /// Whatever comes after a job's end changes nothing: every record that has ended, with every input there is.
    ///
    /// # Errors
    /// The rule that was broken.
    pub fn check_ended(&self) -> Result<(), String> {
        let ended = self.records.things.iter().filter(|record| record.state.is_terminal());
        let mut all: Vec<News> = (0..self.reports.len()).map(|number| News::Report(number as u16)).collect();
        all.extend([News::InputReceived, News::InputRefused]);
        all.extend([News::Admitted, News::Elected(9), News::LeaseLost, News::Cancel, News::Overdue, News::Resumed]);
        for record in ended {
            for &news in &all {
                let (after, transition) = self.apply(record, news);
                check_step(record, news, &self.input(news).0, &after, &transition)?;
            }
        }
        Ok(())
    }
}

/// What no rule depends on, and would make every duplicate a new state.
fn forget_statistics(record: &mut JobRecord) {
    record.dropped = DroppedReports::default();
    record.progress.repeated = 0;
    record.incidents.clear();
    for segment in &mut record.segments {
        segment.repeated.clear();
    }
}

/// Whether something would be missing if this were never done. Events that show progress are made up for by the next one,
/// an aggregator is asked for by the look at leases.
fn is_needed(command: &Command) -> bool {
    match command {
        Command::Assign(Assignment::Aggregate(_)) => false,
        Command::Publish(event) => event.kind() == EventKind::Proof || event.kind().is_terminal(),
        _ => true,
    }
}

fn check_step(before: &JobRecord, news: News, input: &Input, after: &JobRecord, transition: &Transition) -> Result<(), String> {
    let rule = |holds: bool, text: &str| if holds { Ok(()) } else { Err(format!("{text}: {news:?}, {:?}", transition.verdict)) };
    let is_work = |command: &Command| matches!(command, Command::Assign(_) | Command::Challenge(_));
    let ends = transition.commands.iter().filter(|command| matches!(command, Command::Publish(it) if it.kind().is_terminal()));
    if !transition.verdict.is_news() {
        rule(before == after && transition.commands.is_empty(), "what does not count changes nothing")?;
    }
    if before.state.is_terminal() {
        let kept = JobRecord { cleaned: after.cleaned, ..before.clone() } == *after;
        rule(kept && transition.commands.is_empty(), "a terminal state is never left")?;
        return Ok(());
    }
    if after.is_waiting() || after.waits_for_input() {
        rule(!transition.commands.iter().any(is_work), "no work for a job whose turn has not come")?;
    }
    rule(ends.count() == usize::from(after.state.is_terminal()), "a job's end is told once")?;
    if before.waits_for_input() && matches!(input, Input::InputReceived(_)) {
        rule(after.is_waiting(), "a job whose input came waits for its turn")?;
    }
    let came = before.waits_for_input() && matches!(input, Input::InputReceived(_));
    rule(came || before.request.input == after.request.input, "an input comes once, and stays")?;
    if let Input::InputReceived(input) = input {
        rule(!came || after.request.input == *input, "an input comes once, and stays")?;
    }
    if after.state.is_terminal() {
        rule(!transition.commands.iter().any(is_work), "no work for a job that has ended")?;
        rule((after.state == JobState::Completed) == after.failure.is_none(), "a failure has a cause, a success none")?;
    }
    for (n, (old, new)) in before.segments.iter().zip(&after.segments).enumerate() {
        if before.round == after.round && replaced(&old.node_in(before.round), &new.node_in(before.round)) {
            let word = match input {
                Input::Report(Report::Rejected(it)) => {
                    it.n as usize == n && Some(it.node) == old.node && it.epoch >= before.epoch
                }
                _ => false,
            };
            rule(word && new.node.is_none(), "a segment proof goes away by the newest aggregator's word alone")?;
        }
        rule(!replaced(&old.segment, &new.segment), "a segment is cut once")?;
        if replaced(&old.contribution, &new.contribution) {
            let rival = old.rivals.iter().any(|rival| Some(&rival.contribution) == new.contribution.as_ref());
            let heard = match input {
                Input::Report(Report::Contribution(it)) => {
                    it.n as usize == n && Some(&it.contribution) == new.contribution.as_ref()
                }
                Input::Report(Report::Rejected(it)) => it.n as usize == n,
                _ => false,
            };
            let kept = new.rivals.iter().any(|rival| Some(&rival.contribution) == old.contribution.as_ref());
            rule(heard && rival && kept, "a contribution gives way to a rival alone, and both are kept")?;
            rule(before.challenge.is_none() || after.round == before.round + 1, "with it the challenge goes")?;
        }
    }
    rule(before.segments.len() <= after.segments.len(), "a segment is never forgotten")?;
    rule(!replaced(&before.execution, &after.execution), "an execution is committed once")?;
    rule(before.round <= after.round && after.round <= MAX_ROUNDS, "rounds are few")?;
    rule(before.round < after.round || !replaced(&before.challenge, &after.challenge), "a round has one challenge")?;
    rule(!replaced(&before.keys, &after.keys), "keys are committed once")?;
    if before.progress == counted(before) || news == News::Resumed {
        rule(after.progress == counted(after), "counters are what the segments say")?;
    }
    if after.challenge.is_some() {
        let contributed = after.segments.iter().filter(|segment| segment.contribution.is_some()).count();
        let whole = after.progress.segments.is_some_and(|n| n as usize == contributed);
        rule(whole && contributed == after.segments.len(), "a challenge needs every contribution")?;
    }
    if after.state == JobState::Completed {
        let earned = match (after.goal, input) {
            (RequestKind::Setup, _) => after.keys.is_some(),
            (RequestKind::Execute, _) => after.execution.is_some(),
            (RequestKind::Prove, Input::Report(Report::Final(it))) => {
                let verified = !is_false_last(&Report::Final(it.clone()));
                verified
                    && it.epoch >= before.epoch
                    && after.proof == Some(it.proof)
                    && after.segments.iter().all(|it| it.commits > 0)
            }
            _ => false,
        };
        rule(earned, "a proof is the newest aggregator's, over all segments")?;
    }
    Ok(())
}

/// A result that is gone, or another.
fn replaced<T: PartialEq>(old: &Option<T>, new: &Option<T>) -> bool {
    old.is_some() && old != new
}

fn counted(record: &JobRecord) -> Progress {
    let count = |has: &dyn Fn(&SegmentRecord) -> bool| record.segments.iter().filter(|segment| has(segment)).count() as u32;
    Progress {
        planned: count(&|segment| segment.segment.is_some()),
        contributed: count(&|segment| segment.contribution.is_some()),
        proven: count(&|segment| segment.node_in(record.round).is_some()),
        ..record.progress
    }
}

/// The number of a proof's event: which proof of which segment.
pub fn proof_of(command: &Command) -> Option<u32> {
    match command {
        Command::Publish(event) => match event.body {
            EventBody::Proof { n, commit, .. } => Some(proof_number(n, commit)),
            _ => None,
        },
        _ => None,
    }
}

/// A number for each committed proof of each segment.
pub fn proof_number(n: u32, commit: u32) -> u32 {
    assert!(n < 4 && commit < 16, "more proofs than a state has bits");
    n * 16 + commit
}
