//! Jalr and Return: jumps to an address in a register.

mod air;
mod columns;
mod trace;

#[cfg(test)]
mod tests;

pub use air::Jump;
pub use columns::JumpColumns;
pub use trace::fill;
