//! What all processes of a cluster must have in common beside the bus.

use serde::{Deserialize, Serialize};

use super::codec::Version;
use super::object::ObjectKey;

/// What the leading coordinator put in the object store, in the bucket `cluster` under [`StoreMark::KEY`]: who does not find it
/// has another store than the coordinator.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
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
