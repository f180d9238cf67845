//! Lb, Lbu, Lh, Lhu, Lw, Lwu, Ld.

mod air;
mod columns;
mod trace;

#[cfg(test)]
mod tests;

pub use air::Load;
pub use columns::LoadColumns;
pub use trace::fill;
