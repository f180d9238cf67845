//! The global bus in plain integers: what tests of this crate and of the tables compare against.

use std::collections::HashMap;

use crate::memory_map::{EXIT_CODE_REGISTER, HALT_PC, OUTPUT_START, OUTPUT_WORDS, RAM_END, RAM_START, REGISTER_WORD, REGISTERS};
use crate::program::Program;
use crate::segment::{Segment, State};
use crate::trace::SegmentTrace;

/// Checks that the segments of a whole job, in order and with their traces, fit together: states chain, every memory word
/// and register given by one segment is taken by one later, and the ledger is complete, sorted and truthful.
///
/// # Errors
/// Says what does not fit.
pub fn global_bus_balances(program: &Program, segments: &[(Segment, SegmentTrace)]) -> Result<(), String> {
    let image: HashMap<u32, u64> = program.image.iter().copied().collect();
    let mut bus = HashMap::<(u32, u32, u64), i64>::new();
    let mut state = State { pc: program.entry, cursor: 0, image: false };
    let mut in_ledger = std::collections::BTreeSet::new();
    for (index, (segment, trace)) in segments.iter().enumerate() {
        let fail = |what: String| Err(format!("segment {index}: {what}"));
        if segment.index as usize != index {
            return fail(format!("its index is {}", segment.index));
        }
        if segment.start != state {
            return fail(format!("it starts in {:?}, the one before ended in {state:?}", segment.start));
        }
        state = segment.end;
        for touched in &trace.touched {
            if touched.last_tag >= segment.tag() {
                return fail(format!("word {:#x} was last touched by {}", touched.word, touched.last_tag));
            }
            *bus.entry((touched.word, touched.last_tag, touched.before)).or_default() -= 1;
            *bus.entry((touched.word, segment.tag(), touched.after)).or_default() += 1;
        }
        for entry in &segment.ledger {
            if in_ledger.last().is_some_and(|last| *last >= entry.word) {
                return fail(format!("the ledger is not sorted at word {:#x}", entry.word));
            }
            in_ledger.insert(entry.word);
            let zero = (RAM_START / 8..RAM_END / 8).contains(&entry.word) || entry.word >= REGISTER_WORD;
            let initial = image.get(&entry.word).copied().or(zero.then_some(0)).unwrap_or(entry.initial);
            if entry.initial != initial || entry.image != image.contains_key(&entry.word) {
                return fail(format!("the ledger's {entry:?} does not start at {initial:#x}"));
            }
            *bus.entry((entry.word, 0, entry.initial)).or_default() += 1;
            *bus.entry((entry.word, entry.last_tag, entry.last)).or_default() -= 1;
        }
    }
    if state.pc != HALT_PC || !state.image {
        return Err(format!("the job ends in {state:?}"));
    }
    let registers = REGISTER_WORD..REGISTER_WORD + REGISTERS as u32;
    let outputs = (OUTPUT_START / 8..).take(OUTPUT_WORDS);
    let exit_code = REGISTER_WORD + u32::from(EXIT_CODE_REGISTER);
    let required = image.keys().copied().chain(outputs).chain(registers).chain([exit_code]);
    if let Some(word) = required.into_iter().find(|word| !in_ledger.contains(word)) {
        return Err(format!("the ledger lacks word {word:#x}"));
    }
    match bus.into_iter().find(|(_, count)| *count != 0) {
        Some(((word, tag, value), count)) => {
            Err(format!("word {word:#x} with tag {tag} and value {value:#x} is on the bus {count} times"))
        }
        None => Ok(()),
    }
}
