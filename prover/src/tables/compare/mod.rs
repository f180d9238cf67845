//! Slt, Sltu, and the branches Beq, Bne, Blt, Bge, Bltu, Bgeu.

mod air;
mod columns;
#[cfg(test)]
mod tests;
mod trace;

pub use air::Compare;
pub use columns::CompareColumns;
pub use trace::fill;
