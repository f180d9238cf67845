//! The trace of one segment: what `replay` gives to the tables.

use crate::program::CLASSES;

/// A memory access of a step.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct MemoryAccess {
    /// Word number.
    pub word: u32,
    /// The whole word before the access.
    pub before: u64,
    /// The whole word after it (equal for loads).
    pub after: u64,
    /// Timestamp of the access before this one.
    pub prev_ts: u32,
}

/// One step, complete: a table's row is filled from this and the program row alone.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Step {
    /// Step number in the segment, from 1.
    pub clk: u32,
    /// Index into `Program::rows`.
    pub row: u32,
    /// Where the step went.
    pub next_pc: u32,
    /// Value of rs1.
    pub b: u64,
    /// Value of the second operand: register or constant (loads, Jalr: the offset, sign-extended).
    pub c: u64,
    /// Value written to rd; 0 when none is written.
    pub a: u64,
    /// Value of rd before; 0 when rd is not written.
    pub prev_a: u64,
    /// Timestamp of the last access to rs1's register before this one.
    pub ts_b: u32,
    /// The same for rs2; 0 when the operand is a constant.
    pub ts_c: u32,
    /// The same for rd; 0 when none is written.
    pub ts_a: u32,
    /// Load or store that was misaligned and went to `alt_pc`: no memory access, no rd.
    pub misaligned: bool,
    /// The memory access, for loads and stores that were not misaligned.
    pub memory: MemoryAccess,
}

/// A touched word (memory or register) at the end of the segment.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct TouchedWord {
    /// Word number.
    pub word: u32,
    /// Tag of the last earlier segment that touched it; 0 if none.
    pub last_tag: u32,
    /// Value at the start.
    pub before: u64,
    /// Value at the end.
    pub after: u64,
    /// Timestamp of its last access in the segment; 0 if none (a register nobody used).
    pub last_ts: u32,
}

/// Everything the tables of one segment are filled from.
#[derive(Clone, Debug, Default)]
pub struct SegmentTrace {
    /// Steps by the class of their operation (`Class as usize`), each in order of time.
    pub steps: [Vec<Step>; CLASSES],
    /// All touched words, sorted by word; registers last. Empty when the segment has no steps.
    pub touched: Vec<TouchedWord>,
}
