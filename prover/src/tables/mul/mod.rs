//! Mul, Mulhu.

mod air;
mod columns;
#[cfg(test)]
mod tests;
mod trace;

pub use air::Mul;
pub use columns::MulColumns;
pub use trace::fill;
