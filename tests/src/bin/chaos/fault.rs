//! What can go wrong: every kind of fault, by name.

use std::fmt;
use std::time::Duration;

/// Whom a fault of a process or of a network hits. Who that is, is seen when it happens.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Role {
    /// Any worker.
    Worker,
    /// A worker that holds a job's lease.
    Aggregator,
    /// The coordinator that leads.
    Leader,
    /// A coordinator that stands by.
    Standby,
    /// Any nats-server.
    Server,
    /// The nats-server that leads the stream of reports, where there are several.
    ServerLeader,
}

/// What is done to a process.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Harm {
    /// SIGKILL; another comes a while later.
    Kill,
    /// SIGTERM; another comes a while later.
    Terminate,
    /// SIGSTOP, and SIGCONT a while later.
    Freeze,
}

/// What is done to all connections of a process.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Trouble {
    /// They are closed once.
    Cut,
    /// They are closed, and new ones refused for a while.
    Refuse,
    /// Nothing passes for a while.
    Silence,
    /// Everything is late for a while.
    Delay,
    /// Little passes for a while.
    Throttle,
}

/// A kind of fault.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Fault {
    /// A process.
    Process(Harm, Role),
    /// A process's network.
    Network(Trouble, Role),
    /// A durable consumer is deleted.
    DeleteConsumer,
    /// A stream of assignments, reports or broadcasts is deleted.
    DeleteStream,
    /// One is purged.
    PurgeStream,
    /// A bucket of leases, segments, presence or order is deleted.
    DeleteBucket,
    /// A byte of a segment or proof in the store is changed.
    DamageObject,
    /// A segment or proof in the store is deleted.
    DeleteObject,
    /// The latest reports come once more, the newest first.
    RepeatReports,
    /// Reports of jobs that have ended come once more.
    LateReports,
    /// A worker reports a contribution that is none.
    FalseContribution,
    /// A worker reports a contribution that differs from the committed one.
    RivalContribution,
    /// A worker reports a proof under another challenge.
    FalseProof,
    /// A worker reports a proof that is none.
    FalseNode,
    /// A job is cancelled.
    Cancel,
    /// A job comes that has little time.
    Deadline,
    /// All cores are busy with something else.
    BusyCores,
}

/// What a fault takes away: of each only so much at a time, or nothing would proceed.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Class {
    Workers,
    Coordinators,
    Servers,
    Bus,
    Cores,
    Jobs,
}

impl Class {
    /// How many faults of it may be under way at a time; none: any number.
    pub const fn limit(self) -> Option<usize> {
        match self {
            // Of three.
            Self::Workers => Some(2),
            // Of two.
            Self::Coordinators => Some(1),
            Self::Servers | Self::Bus | Self::Cores => Some(1),
            Self::Jobs => None,
        }
    }
}

impl Fault {
    /// All kinds that can be had with so many servers.
    pub fn all(servers: usize) -> Vec<Self> {
        let mut all = Vec::new();
        let mut roles = vec![Role::Worker, Role::Aggregator, Role::Leader, Role::Standby, Role::Server];
        if servers > 1 {
            roles.push(Role::ServerLeader);
        }
        for role in roles {
            all.extend([Harm::Kill, Harm::Terminate, Harm::Freeze].map(|harm| Self::Process(harm, role)));
        }
        for role in [Role::Worker, Role::Leader] {
            let troubles = [Trouble::Cut, Trouble::Refuse, Trouble::Silence, Trouble::Delay, Trouble::Throttle];
            all.extend(troubles.map(|trouble| Self::Network(trouble, role)));
        }
        all.extend([
            Self::DeleteConsumer,
            Self::DeleteStream,
            Self::PurgeStream,
            Self::DeleteBucket,
            Self::DamageObject,
            Self::DeleteObject,
            Self::RepeatReports,
            Self::LateReports,
            Self::FalseContribution,
            Self::RivalContribution,
            Self::FalseProof,
            Self::FalseNode,
            Self::Cancel,
            Self::Deadline,
            Self::BusyCores,
        ]);
        all
    }

    /// What it takes away.
    pub const fn class(self) -> Class {
        match self {
            Self::Process(_, role) | Self::Network(_, role) => match role {
                Role::Worker | Role::Aggregator => Class::Workers,
                Role::Leader | Role::Standby => Class::Coordinators,
                Role::Server | Role::ServerLeader => Class::Servers,
            },
            Self::DeleteConsumer | Self::DeleteStream | Self::PurgeStream | Self::DeleteBucket => Class::Bus,
            Self::BusyCores => Class::Cores,
            _ => Class::Jobs,
        }
    }

    /// How long it lasts, at least and at most: until a killed process is started again, a frozen one thawed, a network clear.
    pub const fn length(self) -> (Duration, Duration) {
        let (least, most) = match self {
            Self::Process(Harm::Freeze, Role::Server | Role::ServerLeader) => (500, 6_000),
            // Shorter and longer than leases and acknowledgements wait.
            Self::Process(Harm::Freeze, _) => (1_000, 9_000),
            Self::Process(..) => (200, 3_000),
            Self::Network(Trouble::Cut, _) => (0, 0),
            Self::Network(..) => (1_000, 9_000),
            Self::Deadline => (1_000, 4_000),
            Self::BusyCores => (3_000, 8_000),
            _ => (0, 0),
        };
        (Duration::from_millis(least), Duration::from_millis(most))
    }

    /// Whether what it hits must recover from it.
    pub const fn disturbs(self) -> bool {
        !matches!(self, Self::Cancel | Self::Deadline | Self::RepeatReports | Self::LateReports)
    }
}

impl fmt::Display for Fault {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let name = match self {
            Self::Process(harm, role) => return write!(f, "{harm} {role}"),
            Self::Network(trouble, role) => return write!(f, "{trouble} {role}"),
            Self::DeleteConsumer => "delete consumer",
            Self::DeleteStream => "delete stream",
            Self::PurgeStream => "purge stream",
            Self::DeleteBucket => "delete bucket",
            Self::DamageObject => "damage object",
            Self::DeleteObject => "delete object",
            Self::RepeatReports => "repeat reports",
            Self::LateReports => "late reports",
            Self::FalseContribution => "contribution that is none",
            Self::RivalContribution => "rival contribution",
            Self::FalseProof => "proof of another challenge",
            Self::FalseNode => "proof that is none",
            Self::Cancel => "cancel job",
            Self::Deadline => "deadline of job",
            Self::BusyCores => "busy cores",
        };
        f.write_str(name)
    }
}

impl fmt::Display for Role {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Worker => "worker",
            Self::Aggregator => "aggregator",
            Self::Leader => "leading coordinator",
            Self::Standby => "standby coordinator",
            Self::Server => "server",
            Self::ServerLeader => "leading server",
        })
    }
}

impl fmt::Display for Harm {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Kill => "kill",
            Self::Terminate => "terminate",
            Self::Freeze => "freeze",
        })
    }
}

impl fmt::Display for Trouble {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Cut => "cut off",
            Self::Refuse => "refuse",
            Self::Silence => "silence",
            Self::Delay => "delay",
            Self::Throttle => "throttle",
        })
    }
}
