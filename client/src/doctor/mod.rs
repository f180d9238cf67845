//! `zisk doctor`: is everything there that a job needs, and what is to be done where it is not. Looks only: nothing is made or
//! mended, no job is created.

mod bus;
mod reach;
mod work;

use std::time::Duration;

use zisk_common::bus::{Bus, BusConfig};
use zisk_common::config::BusArgs;
use zisk_common::objects::StoreUrl;
use zisk_common::survey::Standing;

use crate::ClientError;

/// How long a call may take where nothing is configured: a cluster that elects a leader takes longer, and is not well meanwhile.
const PATIENCE: Duration = Duration::from_secs(3);

/// How a check went.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Verdict {
    /// As it should be.
    Ok,
    /// It works, or will, and somebody should look.
    Warning,
    /// Jobs cannot end before this is mended.
    Failed,
}

impl Verdict {
    /// The word for it.
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Ok => "ok",
            Self::Warning => "warning",
            Self::Failed => "failed",
        }
    }
}

/// What is checked, in this order.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Part {
    /// A NATS server answers and lets us in.
    Nats,
    /// It is new enough.
    Server,
    /// It has JetStream for us, with room.
    JetStream,
    /// Streams, consumers and buckets are there, with our settings.
    Streams,
    /// This user may do what a client does.
    Permissions,
    /// The object store works, and is the cluster's.
    Objects,
    /// The clocks agree.
    Clock,
    /// A coordinator leads.
    Coordinator,
    /// Workers are there and can work.
    Workers,
    /// Nothing has failed for good.
    Dead,
    /// What waits is being worked on.
    Queue,
}

impl Part {
    /// All parts, in order.
    pub const ALL: &[Self] = &[
        Self::Nats,
        Self::Server,
        Self::JetStream,
        Self::Streams,
        Self::Permissions,
        Self::Objects,
        Self::Clock,
        Self::Coordinator,
        Self::Workers,
        Self::Dead,
        Self::Queue,
    ];

    /// Its name.
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Nats => "nats",
            Self::Server => "server",
            Self::JetStream => "jetstream",
            Self::Streams => "streams",
            Self::Permissions => "permissions",
            Self::Objects => "objects",
            Self::Clock => "clock",
            Self::Coordinator => "coordinator",
            Self::Workers => "workers",
            Self::Dead => "dead",
            Self::Queue => "queue",
        }
    }
}

/// What one look found.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Check {
    /// What was looked at.
    pub part: Part,
    /// How it is.
    pub verdict: Verdict,
    /// What was found.
    pub found: String,
    /// What to do, where something is to be done.
    pub advice: Option<String>,
}

impl Check {
    fn ok(part: Part, found: impl Into<String>) -> Self {
        Self { part, verdict: Verdict::Ok, found: found.into(), advice: None }
    }

    fn warning(part: Part, found: impl Into<String>, advice: impl Into<String>) -> Self {
        Self { part, verdict: Verdict::Warning, found: found.into(), advice: Some(advice.into()) }
    }

    fn failed(part: Part, found: impl Into<String>, advice: impl Into<String>) -> Self {
        Self { part, verdict: Verdict::Failed, found: found.into(), advice: Some(advice.into()) }
    }
}

/// All that was found. One part may have several checks.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Report {
    /// In order.
    pub checks: Vec<Check>,
}

impl Report {
    /// The worst of all verdicts.
    pub fn verdict(&self) -> Verdict {
        self.checks.iter().map(|check| check.verdict).max().unwrap_or(Verdict::Ok)
    }

    /// What could not be looked at because of what failed before.
    pub fn not_looked_at(&self) -> Vec<Part> {
        let looked_at = |part: &Part| self.checks.iter().any(|check| check.part == *part);
        Part::ALL.iter().copied().filter(|part| !looked_at(part)).collect()
    }

    /// The exit code of `zisk doctor`: 0 unless something failed; then 6 without a usable NATS, 7 without a coordinator, else 1.
    pub fn exit_code(&self) -> u8 {
        let failed = |part| self.checks.iter().any(|check| check.part == part && check.verdict == Verdict::Failed);
        match self.verdict() {
            Verdict::Ok | Verdict::Warning => 0,
            Verdict::Failed if failed(Part::Nats) || failed(Part::Server) || failed(Part::JetStream) => 6,
            Verdict::Failed if failed(Part::Coordinator) => 7,
            Verdict::Failed => 1,
        }
    }
}

/// Looks at everything, as far as it gets.
///
/// # Errors
/// [`ClientError::Config`] when the settings themselves are unusable.
pub async fn examine(args: &BusArgs) -> Result<Report, ClientError> {
    let store = args.store()?;
    let config = args.bus("zisk doctor")?;
    let connect_wait = args.connect_seconds.map_or(PATIENCE, Duration::from_secs);
    let config = BusConfig { retry: PATIENCE, connect_wait, ..config };
    let mut report = Report::default();
    let reached = reach::servers(&config, &mut report).await;
    let bus = match Bus::connect(config).await {
        Ok(bus) => bus,
        Err(error) => {
            report.checks.extend(reach::refused(&error, &reached));
            return Ok(report);
        }
    };
    report.checks.extend(reach::connected(&bus, &reached));
    report.checks.push(bus::jetstream(&bus).await);
    let survey = bus.survey(store == StoreUrl::JetStream).await;
    if survey.iter().all(|(_, standing)| *standing == Standing::Missing) {
        report.checks.extend(bus::nothing(&bus));
        return Ok(report);
    }
    report.checks.push(bus::streams(&bus, &survey).await);
    report.checks.push(bus::permissions(&bus).await);
    report.checks.push(bus::objects(&bus, &store).await);
    let workers = bus.workers_seen().await;
    let leader = bus.leader().await;
    report.checks.push(work::clock(&bus, workers.as_deref().unwrap_or_default()).await);
    report.checks.push(work::coordinator(&bus, &leader).await);
    report.checks.push(work::workers(&workers));
    report.checks.push(work::dead(&bus).await);
    let leads = matches!(leader, Ok(Some(_)));
    report.checks.push(work::queue(&bus, leads, workers.is_ok_and(|workers| !workers.is_empty())).await);
    Ok(report)
}
