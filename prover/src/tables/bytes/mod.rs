//! Fixed table of all pairs of bytes: answers look-ups of 16-bit numbers, of pairs of bytes and of their bitwise and.

mod air;
mod columns;
mod trace;

#[cfg(test)]
mod tests;

pub use air::Bytes;
pub use columns::{BytesColumns, BytesFixed};
pub use trace::{LOG_HEIGHT, multiplicity_cell, preprocessed};
