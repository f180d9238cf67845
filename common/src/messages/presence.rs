//! Who is there, and which programs are known.

use super::bytes::ByteBuf;
use serde::{Deserialize, Serialize};

use super::codec::Version;
use super::object::ObjectRef;
use crate::ids::{JobId, ProgramId, WorkerId};

/// A worker, in the bucket `workers` under its id; rewritten while it lives, expires when it does not.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(test, derive(schemars::JsonSchema))]
pub struct WorkerPresence {
    /// Schema version.
    pub v: Version,
    /// The worker.
    pub worker: WorkerId,
    /// Where it runs.
    pub host: String,
    /// Its compute units.
    pub capacity: u32,
    /// What it runs.
    pub versions: Versions,
    /// What it does.
    pub state: WorkerState,
    /// Why it has failed, if it has.
    #[serde(default)]
    pub reason: Option<String>,
    /// How busy it is.
    pub load: Load,
    /// When it started, in milliseconds since the Unix epoch.
    pub started_ms: u64,
    /// When it wrote this.
    pub seen_ms: u64,
}

/// Versions of a worker's parts.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(test, derive(schemars::JsonSchema))]
#[serde(default)]
pub struct Versions {
    /// The release.
    pub release: String,
    /// The proving backend, with its version.
    pub backend: String,
    /// Another version of the backend that an assignment here asked for: the worker did not take it.
    pub asked: Option<String>,
}

/// What a worker does.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[cfg_attr(test, derive(schemars::JsonSchema))]
#[serde(rename_all = "snake_case")]
pub enum WorkerState {
    /// Free units only.
    Idle,
    /// At least one unit busy.
    Busy,
    /// Finishing what it holds, pulling nothing.
    Draining,
    /// It does not pass its own tests, and takes nothing until it does.
    Failed,
}

impl WorkerState {
    /// All states.
    pub const ALL: &[Self] = &[Self::Idle, Self::Busy, Self::Draining, Self::Failed];

    /// The state as it stands in messages and metrics.
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Idle => "idle",
            Self::Busy => "busy",
            Self::Draining => "draining",
            Self::Failed => "failed",
        }
    }
}

/// How busy a worker is.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(test, derive(schemars::JsonSchema))]
#[serde(default)]
pub struct Load {
    /// Units computing now.
    pub units_busy: u32,
    /// Assignments held, those that wait for a challenge included.
    pub assignments: u32,
    /// Contributions kept in memory until their challenge.
    pub waiting: u32,
    /// Jobs it aggregates.
    pub aggregating: Vec<JobId>,
}

/// The objects that setup derives from a program.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[cfg_attr(test, derive(schemars::JsonSchema))]
pub struct ProgramKeys {
    /// The proving key.
    pub proving: ObjectRef,
    /// The verifying key.
    pub verifying: ObjectRef,
}

/// A program's keys, in the bucket `programs` under the program id.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(test, derive(schemars::JsonSchema))]
pub struct ProgramEntry {
    /// Schema version.
    pub v: Version,
    /// The program.
    pub program: ProgramId,
    /// The backend whose keys these are, with its version: keys of another are derived anew.
    pub backend: String,
    /// Its keys.
    pub keys: ProgramKeys,
    /// The verifying key's digest as the prover encodes it; binds the challenge.
    pub verifying_key: ByteBuf,
    /// Who derived them.
    pub worker: WorkerId,
    /// How long it took.
    pub milliseconds: u64,
}
