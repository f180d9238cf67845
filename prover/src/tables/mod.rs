//! The tables of a segment (docs/machine.md), one folder each: `columns.rs`, `air.rs` (constraints), `trace.rs` (filling rows).

pub mod adapter;
pub mod add;
pub mod instruction;

#[cfg(test)]
mod attack;
