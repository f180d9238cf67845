//! The tables of a segment (docs/machine.md), one folder each: `columns.rs`, `air.rs` (constraints), `trace.rs` (filling rows).

pub mod adapter;
pub mod add;
pub mod address;
pub mod any;
pub mod bitwise;
pub mod bytes;
pub mod compare;
pub mod image;
pub mod instruction;
pub mod jump;
pub mod ledger;
pub mod load;
pub mod lookups;
pub mod mul;
pub mod program;
pub mod shift;
pub mod store;
pub mod touched;

#[cfg(test)]
mod attack;
