//! Sb, Sh, Sw, Sd, into RAM only.

mod air;
mod columns;
mod trace;

#[cfg(test)]
mod tests;

pub use air::Store;
pub use columns::StoreColumns;
pub use trace::fill;
