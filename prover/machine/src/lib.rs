//! The machine that is proven: ELF loader, decoder, executor, segments and their traces (docs/machine.md).
#![forbid(unsafe_code)]

pub mod memory_map;
pub mod program;
pub mod segment;
pub mod trace;
