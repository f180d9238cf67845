//! Executes a segment again, from its own data alone, and notes everything the tables are filled from.

use crate::executable::Executable;
use crate::memory_map::{INPUT_END, RAM_START, REGISTER_WORD, REGISTERS, ROM_START};
use crate::program::{Class, Op, Row, Src2};
use crate::segment::{MalformedSegment, Segment};
use crate::semantics::{compute, extract, insert, taken};
use crate::trace::{MemoryAccess, SegmentTrace, Step, TouchedWord};

/// Slots of a step's accesses in its four timestamps.
const RS1: u32 = 0;
const RS2: u32 = 1;
const MEMORY: u32 = 2;
const RD: u32 = 3;

/// Why a segment does not fit its program.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum ReplayError {
    /// The segment is malformed in itself.
    #[error(transparent)]
    Malformed(#[from] MalformedSegment),
    /// The program has no row where the segment goes.
    #[error("step {step}: the program has no row at pc {pc:#x}")]
    NoRow {
        /// Step number, from 1.
        step: u32,
        /// The pc.
        pc: u64,
    },
    /// It accesses a word that it does not carry.
    #[error("step {step} accesses address {address:#x}, whose word the segment does not carry")]
    MissingWord {
        /// Step number, from 1.
        step: u32,
        /// The address.
        address: u64,
    },
    /// It stores outside RAM.
    #[error("step {step} stores at address {address:#x}, which is not RAM")]
    ReadOnly {
        /// Step number, from 1.
        step: u32,
        /// The address.
        address: u64,
    },
    /// It carries a word that it does not access.
    #[error("the segment carries memory word {0:#x} and does not access it")]
    UnusedWord(u32),
    /// It carries a word that no access may reach.
    #[error("the segment carries memory word {0:#x}, which is outside the memory map")]
    OutsideMap(u32),
    /// It ends elsewhere.
    #[error("the segment ends at pc {actual:#x}, its end state says {expected:#x}")]
    End {
        /// Where the steps lead.
        actual: u32,
        /// What the segment says.
        expected: u32,
    },
}

/// Executes a segment again.
///
/// # Errors
/// If the segment is malformed or is not one of this program; never panics, whatever the segment.
pub fn replay(executable: &Executable, segment: &Segment, segment_log_steps: u32) -> Result<SegmentTrace, ReplayError> {
    segment.check(segment_log_steps)?;
    let mut trace = SegmentTrace::default();
    if segment.steps == 0 {
        return Ok(trace);
    }
    let rows = &executable.program().rows[..];
    let mut registers = [Register::default(); REGISTERS];
    for (register, &value) in registers.iter_mut().zip(&segment.registers) {
        register.value = value;
    }
    let mut words = Words::new(executable, segment)?;
    let mut pc = segment.start.pc;
    let mut next = executable.row_at(pc);
    for clk in 1..=segment.steps {
        let Some(index) = next else {
            return Err(ReplayError::NoRow { step: clk, pc: pc.into() });
        };
        let row = &rows[index as usize];
        let instruction = &executable.instructions[index as usize];
        let mut step = Step { clk, row: index, next_pc: row.next_pc, ..Step::default() };
        (step.b, step.ts_b) = registers[row.rs1 as usize % REGISTERS].read(4 * clk + RS1);
        (step.c, step.ts_c) = match row.src2 {
            Src2::Reg(rs2) => registers[rs2 as usize % REGISTERS].read(4 * clk + RS2),
            Src2::Imm(value) => (value as u64, 0),
        };
        let mut successor = instruction.next;
        let class = row.op.class();
        let result = match class {
            Class::Load | Class::Store => {
                access(&mut words, row, &mut step).map_err(|address| words.error(row.op, clk, address))?
            }
            Class::Jump => {
                let target = step.b.wrapping_add(step.c);
                let target = if row.op == Op::Jalr { target & !1 } else { target };
                step.next_pc = u32::try_from(target).map_err(|_| ReplayError::NoRow { step: clk, pc: target })?;
                Some(row.next_pc.into())
            }
            Class::Compare if row.rd == 0 => {
                if taken(row.op, step.b, step.c) {
                    step.next_pc = row.alt_pc;
                    successor = instruction.alt;
                }
                None
            }
            _ => Some(compute(row.op, step.b, step.c)),
        };
        if step.misaligned {
            step.next_pc = row.alt_pc;
            successor = instruction.alt;
        }
        if let Some(value) = result {
            let rd = &mut registers[row.rd as usize % REGISTERS];
            step.a = value;
            (step.prev_a, step.ts_a) = rd.read(4 * clk + RD);
            rd.value = value;
        }
        pc = step.next_pc;
        next = match class {
            Class::Jump => executable.row_at(pc),
            _ => (successor < rows.len() as u32).then_some(successor),
        };
        trace.steps[class as usize].push(step);
    }
    if pc != segment.end.pc {
        return Err(ReplayError::End { actual: pc, expected: segment.end.pc });
    }
    trace.touched = words.into_touched()?;
    trace.touched.extend((REGISTER_WORD..).zip(registers).zip(&segment.registers).map(|((word, register), &before)| {
        TouchedWord {
            word,
            // Every segment with steps touches all registers, so the one before did.
            last_tag: segment.index,
            before,
            after: register.value,
            last_ts: register.last_ts,
        }
    }));
    Ok(trace)
}

/// Does a load or store; gives what a load writes to rd. The error is the address of a word that cannot be accessed.
fn access(words: &mut Words<'_>, row: &Row, step: &mut Step) -> Result<Option<u64>, u64> {
    let store = row.op.class() == Class::Store;
    let address = step.b.wrapping_add(if store { i64::from(row.offset) as u64 } else { step.c });
    if address % u64::from(row.op.width()) != 0 {
        step.misaligned = true;
        return Ok(None);
    }
    if store && address < u64::from(RAM_START) {
        return Err(address);
    }
    let word = words.find(address).ok_or(address)?;
    let before = word.value;
    let prev_ts = std::mem::replace(&mut word.last_ts, 4 * step.clk + MEMORY);
    if store {
        word.value = insert(row.op, before, address, step.c);
    }
    step.memory = MemoryAccess { word: (address >> 3) as u32, before, after: word.value, prev_ts };
    Ok((!store).then(|| extract(row.op, before, address)))
}

#[derive(Clone, Copy, Default)]
struct Register {
    value: u64,
    last_ts: u32,
}

impl Register {
    /// Its value and the timestamp of the access before this one.
    fn read(&mut self, ts: u32) -> (u64, u32) {
        (self.value, std::mem::replace(&mut self.last_ts, ts))
    }
}

#[derive(Clone, Copy)]
struct CarriedWord {
    value: u64,
    last_ts: u32,
}

/// The memory words a segment carries, found by a hash table with open addressing.
struct Words<'a> {
    segment: &'a Segment,
    words: Vec<CarriedWord>,
    /// Index in `words` plus one; 0 is empty. At most half full.
    table: Vec<u32>,
    shift: u32,
}

impl<'a> Words<'a> {
    fn new(executable: &Executable, segment: &'a Segment) -> Result<Self, ReplayError> {
        let bits = (2 * segment.words.len()).next_power_of_two().max(2).ilog2();
        let mut table = vec![0; 1 << bits];
        let shift = 32 - bits.min(32);
        let image = &executable.program().image;
        for (index, carried) in segment.words.iter().enumerate() {
            let word = carried.word;
            let constant = || image.binary_search_by_key(&word, |&(word, _)| word).is_ok();
            let mapped = match word.saturating_mul(8) {
                RAM_START..crate::memory_map::RAM_END => true,
                crate::memory_map::INPUT_START..INPUT_END => true,
                ROM_START..RAM_START => constant(),
                _ => false,
            };
            if !mapped {
                return Err(ReplayError::OutsideMap(word));
            }
            let mut at = hash(word, shift);
            while table[at] != 0 {
                at = (at + 1) % table.len();
            }
            table[at] = index as u32 + 1;
        }
        let words = segment.words.iter().map(|word| CarriedWord { value: word.value, last_ts: 0 }).collect();
        Ok(Self { segment, words, table, shift })
    }

    #[inline]
    fn find(&mut self, address: u64) -> Option<&mut CarriedWord> {
        let word = u32::try_from(address >> 3).ok()?;
        let mut at = hash(word, self.shift);
        loop {
            let index = self.table[at].checked_sub(1)? as usize;
            if self.segment.words[index].word == word {
                return self.words.get_mut(index);
            }
            at = (at + 1) % self.table.len();
        }
    }

    fn error(&self, op: Op, step: u32, address: u64) -> ReplayError {
        if op.class() == Class::Store && address < u64::from(RAM_START) {
            return ReplayError::ReadOnly { step, address };
        }
        ReplayError::MissingWord { step, address }
    }

    fn into_touched(self) -> Result<Vec<TouchedWord>, ReplayError> {
        let touched = |(carried, word): (&crate::segment::Word, CarriedWord)| {
            if word.last_ts == 0 {
                return Err(ReplayError::UnusedWord(carried.word));
            }
            let (before, after, last_ts) = (carried.value, word.value, word.last_ts);
            Ok(TouchedWord { word: carried.word, last_tag: carried.last_tag, before, after, last_ts })
        };
        self.segment.words.iter().zip(self.words).map(touched).collect()
    }
}

/// Fibonacci hashing: the top bits of a product with 2^32 divided by the golden ratio.
fn hash(word: u32, shift: u32) -> usize {
    (word.wrapping_mul(0x9e37_79b9) >> shift) as usize
}
