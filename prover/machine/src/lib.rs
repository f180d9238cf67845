//! The machine that is proven: ELF loader, decoder, executor, segments and their traces (docs/machine.md).
#![forbid(unsafe_code)]

mod assembler;
pub mod balance;
pub mod decode;
pub mod elf;
pub mod executable;
pub mod executor;
pub mod input;
mod memory;
pub mod memory_map;
pub mod program;
pub mod replay;
mod routines;
pub mod segment;
mod semantics;
pub mod trace;
mod translate;
pub mod trap;
mod ziskos_calls;
