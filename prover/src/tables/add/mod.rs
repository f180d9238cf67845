//! Add, Sub, AddW, SubW, Advice; with constants also moves, constants and unconditional jumps.

mod air;
mod columns;
mod trace;

pub use air::Add;
pub use columns::AddColumns;
pub use trace::fill;
