//! And, Or, Xor.

mod air;
pub mod bytes;
mod columns;
#[cfg(test)]
pub mod forge;
#[cfg(test)]
mod tests;
mod trace;

pub use air::Bitwise;
pub use columns::BitwiseColumns;
pub use trace::fill;
