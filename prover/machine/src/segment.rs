//! A segment: what a worker needs, beside the program, to prove a slice of the trace. See docs/machine.md.

use serde::{Deserialize, Serialize};

use crate::memory_map::{REGISTER_WORD, REGISTERS};

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

/// What is structurally wrong with a segment.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error("segment {index} is malformed: {problem}")]
pub struct MalformedSegment {
    /// Index the segment claims.
    pub index: u32,
    /// What is wrong with it.
    pub problem: &'static str,
}

impl Segment {
    /// Number of registers a segment with steps carries.
    pub const REGISTERS: usize = REGISTERS;

    /// Tag of its accesses on the global bus.
    pub const fn tag(&self) -> u32 {
        self.index.wrapping_add(1)
    }

    /// Checks sizes and order, for segments of at most 2^`segment_log_steps` steps. What the steps do is for replay.
    ///
    /// # Errors
    /// Names the first problem.
    pub fn check(&self, segment_log_steps: u32) -> Result<(), MalformedSegment> {
        let capacity = 1usize.checked_shl(segment_log_steps).unwrap_or(usize::MAX);
        let registers = if self.steps == 0 { 0 } else { Self::REGISTERS };
        let cursor = self.ledger.last().map_or(self.start.cursor, |entry| entry.word);
        let sorted = |words: &mut dyn Iterator<Item = u32>| words.is_sorted_by(|a, b| a < b);
        let rules = [
            (self.index < u32::MAX, "its index is too large"),
            (self.steps as usize <= capacity, "it has too many steps"),
            (self.registers.len() == registers, "it has the wrong number of registers"),
            (self.registers.first().is_none_or(|zero| *zero == 0), "its register 0 is not zero"),
            (self.words.len() <= self.steps as usize, "it has more memory words than steps"),
            (sorted(&mut self.words.iter().map(|word| word.word)), "its memory words are not sorted"),
            (self.words.last().is_none_or(|word| word.word < REGISTER_WORD), "a memory word is out of range"),
            (self.words.iter().all(|word| word.last_tag < self.tag()), "a memory word was last touched later"),
            (self.steps > 0 || self.start.pc == self.end.pc, "its pc changes without steps"),
            (self.steps > 0 || !self.ledger.is_empty(), "it is empty"),
            (self.ledger.len() <= capacity, "its slice of the ledger is too long"),
            (sorted(&mut self.ledger.iter().map(|entry| entry.word)), "its slice of the ledger is not sorted"),
            (
                self.ledger.last().is_none_or(|entry| entry.word < REGISTER_WORD + REGISTERS as u32),
                "a word of its ledger is out of range",
            ),
            (
                self.start.cursor == 0 || self.ledger.first().is_none_or(|entry| self.start.cursor < entry.word),
                "its slice of the ledger does not follow on the one before",
            ),
            (self.end.cursor == cursor, "its last ledger word is not the end state's"),
            (self.end.image == (self.start.image || !self.ledger.is_empty()), "the image is not where the ledger begins"),
        ];
        match rules.into_iter().find(|(holds, _)| !holds) {
            Some((_, problem)) => Err(MalformedSegment { index: self.index, problem }),
            None => Ok(()),
        }
    }
}
