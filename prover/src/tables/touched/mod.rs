//! The words a segment touches: their values between segments (global bus) and within the segment (memory bus).

mod air;
mod columns;
mod trace;

pub use air::Touched;
pub use columns::TouchedColumns;
pub use trace::trace;
