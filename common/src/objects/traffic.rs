//! Counts what goes to the object store and comes from it.

use metrics::counter;

use crate::messages::ObjectScope;
use crate::metric_definitions::{OBJECT_BYTES, OBJECT_ERRORS, OBJECTS};

/// Which way.
#[derive(Debug, Clone, Copy)]
pub(super) enum Direction {
    Written,
    Read,
}

/// Counts an object.
pub(super) fn count(direction: Direction, scope: ObjectScope, bytes: u64) {
    let direction = match direction {
        Direction::Written => "written",
        Direction::Read => "read",
    };
    counter!(OBJECTS, "direction" => direction, "what" => scope.kind()).increment(1);
    counter!(OBJECT_BYTES, "direction" => direction, "what" => scope.kind()).increment(bytes);
}

/// Counts an attempt in vain.
pub(super) fn count_error(kind: &'static str) {
    counter!(OBJECT_ERRORS, "kind" => kind).increment(1);
}
