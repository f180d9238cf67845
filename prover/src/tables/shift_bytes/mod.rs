//! Fixed table of all bytes shifted left by 0 to 7 bits.

mod air;
mod columns;
mod trace;

#[cfg(test)]
mod tests;

pub use air::ShiftBytes;
pub use columns::{ShiftBytesColumns, ShiftBytesFixed};
pub use trace::{LOG_HEIGHT, multiplicity_cell, preprocessed};
