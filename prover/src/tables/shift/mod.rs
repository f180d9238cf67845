//! Sll, Srl, Sra and their 32-bit forms.

mod air;
mod columns;
#[cfg(test)]
mod tests;
mod trace;

pub use air::Shift;
pub use columns::ShiftColumns;
pub use trace::fill;
