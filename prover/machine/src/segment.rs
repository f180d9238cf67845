//! A segment: what a worker needs, beside the program, to prove a slice of the trace. See docs/machine.md.

use serde::{Deserialize, Serialize};

use crate::memory_map::REGISTERS;

/// Memory word at the start of a segment that touches it.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Word {
    /// Word number (address / 8).
    pub word: u32,
    /// Value before the segment.
    pub value: u64,
    /// Tag of the last earlier segment that touched it; 0 if none did.
    pub last_tag: u32,
}

/// One entry of the ledger.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct LedgerEntry {
    /// Word number; registers from [`crate::memory_map::REGISTER_WORD`].
    pub word: u32,
    /// Value at the start of the job.
    pub initial: u64,
    /// Value at its end.
    pub last: u64,
    /// Tag of the last segment that touched it; 0 if none did.
    pub last_tag: u32,
    /// Whether the word belongs to the program's image.
    pub image: bool,
}

/// State handed from one segment to the next.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct State {
    /// Next instruction; [`crate::memory_map::HALT_PC`] when the program has ended.
    pub pc: u32,
    /// Last word of the ledger slices so far; 0 before the first.
    pub cursor: u32,
    /// Whether the image has been put on the global bus.
    pub image: bool,
}

/// A slice of the trace, provable on its own.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Segment {
    /// Index in the job, from 0. Its tag is `index + 1`.
    pub index: u32,
    /// State before it.
    pub start: State,
    /// State after it.
    pub end: State,
    /// Number of steps; 0 for a segment that only holds a slice of the ledger.
    pub steps: u32,
    /// Registers at the start (REGISTERS of them); empty when `steps` is 0.
    pub registers: Vec<u64>,
    /// Memory words it touches, sorted by word.
    pub words: Vec<Word>,
    /// Its slice of the ledger, sorted by word.
    pub ledger: Vec<LedgerEntry>,
}

impl Segment {
    /// Number of registers a segment with steps carries.
    pub const REGISTERS: usize = REGISTERS;
}
