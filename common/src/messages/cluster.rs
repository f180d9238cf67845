//! What all processes of a cluster must have in common beside the bus.

use std::collections::BTreeMap;

use serde::{Deserialize, Serialize};

use super::codec::Version;
use super::object::ObjectKey;

/// What the leading coordinator put in the object store, in the bucket `cluster` under `store`: who does not find it has
/// another store than the coordinator.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(test, derive(schemars::JsonSchema))]
pub struct StoreMark {
    /// Schema version.
    pub v: Version,
    /// The object.
    pub object: ObjectKey,
}

impl StoreMark {
    /// Its key.
    pub const KEY: &str = "store";
}

/// What of the bus is not as it should be and cannot be brought back, in the bucket `cluster` under `condition`: written by the
/// leading coordinator when it changes, for people to see.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(test, derive(schemars::JsonSchema))]
pub struct BusCondition {
    /// Schema version.
    pub v: Version,
    /// By name: what is wrong.
    pub stuck: BTreeMap<String, String>,
}

impl BusCondition {
    /// Its key.
    pub const KEY: &str = "condition";
}
