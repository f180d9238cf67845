//! Running the state machine's commands: what they put on the bus.

use std::collections::{HashMap, HashSet};

use zisk_common::bus::{Bus, BusError};
use zisk_common::election::Tenure;
use zisk_common::ids::JobId;
use zisk_common::messages::{Assignment, JobRecord};
use zisk_common::subjects::{AssignmentKind, Phase, StreamKind, Subject};

use super::records::subjects;
use crate::job::Command;

/// Puts commands on the bus.
#[derive(Debug, Clone)]
pub struct Outbox {
    bus: Bus,
    /// The prover's version that assignments are for.
    prover: &'static str,
    tenure: Tenure,
}

impl Outbox {
    /// An outbox on this bus.
    pub const fn new(bus: Bus, prover: &'static str, tenure: Tenure) -> Self {
        Self { bus, prover, tenure }
    }

    /// Runs all commands in order. [`Command::CleanUp`] is not run here: it takes time.
    ///
    /// # Errors
    /// [`BusError`] when the bus stays away: the rest is owed.
    pub async fn send(&self, commands: &[Command]) -> Result<(), BusError> {
        for command in commands {
            match self.send_one(command).await {
                // It can never be sent; failing the others with it helps nobody.
                Err(error) if !error.transient => tracing::error!(%error, "command cannot be run"),
                other => other?,
            }
        }
        Ok(())
    }

    async fn send_one(&self, command: &Command) -> Result<(), BusError> {
        self.send_by(&self.bus, command).await.map(drop)
    }

    /// Returns whether the stream had it already, by its message id.
    async fn send_by(&self, bus: &Bus, command: &Command) -> Result<bool, BusError> {
        still_leading(&self.tenure, "running a job's commands")?;
        let stored = match command {
            Command::Assign(assignment) => bus.publish_assignment(assignment, self.prover).await?,
            Command::Challenge(challenge) => bus.broadcast_challenge(challenge).await?,
            Command::Cancel(cancel) => bus.broadcast_cancel(cancel).await?,
            Command::Depose { job, epoch } => {
                bus.depose(*job, *epoch).await?;
                return Ok(false);
            }
            Command::Publish(event) => bus.publish_event(event).await?,
            Command::Dead(letter) => bus.publish_dead(letter).await?,
            Command::CleanUp => return Ok(false),
        };
        Ok(stored.duplicate)
    }

    /// Runs those of the commands a record owes that left no trace on the bus.
    ///
    /// Message ids alone would not do: the server forgets them after two minutes, and an assignment published twice is
    /// work done twice. And it remembers them beyond a purge: what it takes for a duplicate and does not have gets a new one.
    ///
    /// # Errors
    /// As [`Outbox::send`].
    pub async fn send_missing(&self, record: &JobRecord, mut commands: Vec<Command>) -> Result<(), BusError> {
        commands.retain(|command| *command != Command::CleanUp);
        if commands.is_empty() {
            return Ok(());
        }
        let present = Present::read(&self.bus, record.job).await?;
        commands.retain(|command| !present.has(&self.bus, record.job, command));
        if !commands.is_empty() {
            tracing::info!(job = %record.job, commands = commands.len(), "putting owed commands on the bus again");
        }
        let mut duplicates = Vec::new();
        for command in commands {
            match self.send_by(&self.bus, &command).await {
                Err(error) if !error.transient => tracing::error!(%error, "command cannot be run"),
                Err(error) => return Err(error),
                Ok(false) => {}
                Ok(true) => duplicates.push(command),
            }
        }
        if duplicates.is_empty() {
            return Ok(());
        }
        let present = Present::read(&self.bus, record.job).await?;
        let renamed = self.bus.with_new_ids();
        for command in duplicates.iter().filter(|command| !present.has(&self.bus, record.job, command)) {
            self.send_by(&renamed, command).await?;
        }
        Ok(())
    }

    /// Whether an aggregation assignment of the job waits or is held.
    ///
    /// # Errors
    /// [`BusError`] when the server does not answer.
    pub async fn aggregation_is_assigned(&self, job: JobId) -> Result<bool, BusError> {
        let prefix = self.bus.prefix();
        let filter = prefix.assign(AssignmentKind::Aggregate, job, 0).trim_end_matches('0').to_owned() + "*";
        Ok(!list(&self.bus, StreamKind::Assign, &filter).await?.is_empty())
    }
}

/// Refuses to act for a coordinator whose lease is gone: the next leader reads back what the record owes.
///
/// # Errors
/// [`BusError`], transient, so that messages in hand are given back.
pub(super) fn still_leading(tenure: &Tenure, action: &str) -> Result<(), BusError> {
    if tenure.is_lost() {
        return Err(BusError::transient(action, "this coordinator leads no more"));
    }
    Ok(())
}

/// The stream's subjects that match, with their messages.
pub(super) async fn list(bus: &Bus, kind: StreamKind, filter: &str) -> Result<HashMap<String, usize>, BusError> {
    subjects(bus, &bus.prefix().stream(kind), filter).await
}

/// What the bus holds of a job.
struct Present {
    assignments: HashMap<String, usize>,
    /// What was reported, by whomever.
    reports: HashSet<(Phase, u32)>,
    events: HashMap<String, usize>,
    broadcasts: HashMap<String, usize>,
    /// The round of the challenge that was broadcast last.
    round: Option<u32>,
}

impl Present {
    async fn read(bus: &Bus, job: JobId) -> Result<Self, BusError> {
        let prefix = bus.prefix();
        // Assignments before reports: a worker posts its report before it gives the assignment up, so what is in
        // neither was done and read by us, or is lost.
        let assignments = list(bus, StreamKind::Assign, &prefix.assignments_of(job)).await?;
        let reports = list(bus, StreamKind::Report, &prefix.reports_of(job)).await?;
        let reported = |subject: &String| match prefix.parse(subject) {
            Ok(Subject::Report { phase, n, .. }) => Some((phase, n)),
            _ => None,
        };
        let reports = reports.keys().filter_map(reported).collect();
        let events = list(bus, StreamKind::Events, &prefix.events_of(job)).await?;
        let mut broadcasts = list(bus, StreamKind::Broadcast, &prefix.challenge(job)).await?;
        broadcasts.extend(list(bus, StreamKind::Broadcast, &prefix.cancel(job)).await?);
        let round = match broadcasts.contains_key(&prefix.challenge(job)) {
            true => bus.challenge(job).await?.map(|challenge| challenge.round),
            false => None,
        };
        Ok(Self { assignments, reports, events, broadcasts, round })
    }

    fn has(&self, bus: &Bus, job: JobId, command: &Command) -> bool {
        let prefix = bus.prefix();
        match command {
            Command::Assign(assignment) => {
                let reported = |phase, n| self.reports.contains(&(phase, n));
                self.assignments.contains_key(&assignment.subject(prefix))
                    || match assignment {
                        Assignment::Plan(_) => {
                            [Phase::Setup, Phase::Executed, Phase::Failed].into_iter().any(|phase| reported(phase, 0))
                                || self.reports.iter().any(|(phase, _)| *phase == Phase::Planned)
                        }
                        Assignment::Segment(segment) => reported(Phase::Proof, segment.n) || reported(Phase::Failed, segment.n),
                        // The aggregator's to publish.
                        Assignment::Fold(_) => true,
                        Assignment::Aggregate(_) => reported(Phase::Final, 0),
                    }
            }
            Command::Challenge(challenge) => self.round == Some(challenge.round),
            Command::Cancel(_) => self.broadcasts.contains_key(&prefix.cancel(job)),
            Command::Publish(event) => self.events.contains_key(&event.subject(prefix)),
            // Written again it replaces itself; done again it does nothing.
            Command::Dead(_) | Command::Depose { .. } | Command::CleanUp => false,
        }
    }
}
