//! Builds small ELFs, runs them, and checks everything about the segments that plain integers can check.
#![allow(dead_code, reason = "each test file uses a part")]

use std::collections::BTreeMap;
use std::ops::ControlFlow;
use std::sync::Arc;

use zisk_machine::balance::global_bus_balances;
use zisk_machine::executable::Executable;
use zisk_machine::executor::{Execution, ExecutionError, Executor};
use zisk_machine::memory_map::REGISTER_WORD;
use zisk_machine::program::{Class, Op, Program, Src2};
use zisk_machine::replay::replay;
use zisk_machine::segment::Segment;
use zisk_machine::trace::SegmentTrace;

pub const CODE: u32 = 0x8000_0000;

/// An ELF of one segment of code and constants, entered at its start.
pub fn elf(code: &[u8], compressed: bool) -> Vec<u8> {
    elf_with(compressed, &[(CODE, code, 5)])
}

/// An ELF of several segments (address, bytes, flags).
pub fn elf_with(compressed: bool, segments: &[(u32, &[u8], u32)]) -> Vec<u8> {
    let mut file = Vec::new();
    file.extend(b"\x7fELF\x02\x01\x01\0\0\0\0\0\0\0\0\0");
    file.extend(2u16.to_le_bytes());
    file.extend(243u16.to_le_bytes());
    file.extend(1u32.to_le_bytes());
    file.extend(u64::from(segments[0].0).to_le_bytes());
    file.extend(64u64.to_le_bytes());
    file.extend(0u64.to_le_bytes());
    file.extend(u32::from(compressed).to_le_bytes());
    for half in [64, 56, segments.len() as u16, 0, 0, 0] {
        file.extend(half.to_le_bytes());
    }
    let mut offset = 64 + 56 * segments.len() as u64;
    for (address, bytes, flags) in segments {
        file.extend(1u32.to_le_bytes());
        file.extend(flags.to_le_bytes());
        let (address, size) = (u64::from(*address), bytes.len() as u64);
        for value in [offset, address, address, size, size, 8] {
            file.extend(value.to_le_bytes());
        }
        offset += size;
    }
    for (_, bytes, _) in segments {
        file.extend(*bytes);
    }
    file
}

pub fn executable(elf: &[u8]) -> Executable {
    let program = Program::from_elf(elf).expect("a valid ELF");
    Executable::new(Arc::new(program)).expect("a well-formed program")
}

/// Runs with segments, replays each, checks each trace and all of them together.
pub fn run(executable: &Executable, input: &[u8], k: u32) -> Result<(Execution, Vec<(Segment, SegmentTrace)>), ExecutionError> {
    let executor = Executor::new(executable).max_steps(100_000_000);
    let mut segments = Vec::new();
    let execution = executor.execute_segments(input, k, |segment| {
        segments.push(segment);
        ControlFlow::Continue(())
    })?;
    let plain = executor.execute(input).expect("no trap without segments either");
    assert_eq!(Execution { segments: execution.segments, ..plain }, execution);
    assert_eq!(execution.segments as usize, segments.len());
    let segments: Vec<_> = segments
        .into_iter()
        .map(|segment| {
            let trace = replay(executable, &segment, k).expect("replays");
            check_trace(executable.program(), &segment, &trace);
            (segment, trace)
        })
        .collect();
    global_bus_balances(executable.program(), &segments).expect("balances");
    Ok((execution, segments))
}

/// Final values of the 32 guest registers, and of all memory words that are not zero.
pub fn final_state(segments: &[(Segment, SegmentTrace)]) -> ([u64; 32], BTreeMap<u32, u64>) {
    let mut registers = [0; 32];
    let mut memory = BTreeMap::new();
    for entry in segments.iter().flat_map(|(segment, _)| &segment.ledger) {
        match entry.word.checked_sub(REGISTER_WORD) {
            Some(register) if register < 32 => registers[register as usize] = entry.last,
            Some(_) => {}
            None if entry.last != 0 => drop(memory.insert(entry.word, entry.last)),
            None => {}
        }
    }
    (registers, memory)
}

/// What the local buses of a segment enforce: each access finds the value and time of the access before, at an earlier
/// time.
pub fn check_trace(program: &Program, segment: &Segment, trace: &SegmentTrace) {
    let mut steps: Vec<_> = trace.steps.iter().flatten().collect();
    steps.sort_by_key(|step| step.clk);
    assert_eq!(steps.len(), segment.steps as usize);
    let mut last: BTreeMap<u32, (u32, u64)> = trace.touched.iter().map(|word| (word.word, (0, word.before))).collect();
    let mut access = |word: u32, ts: u32, prev_ts: u32, before: u64, after: u64| {
        let known = last.get_mut(&word).expect("a touched word");
        assert_eq!(*known, (prev_ts, before), "word {word:#x} at {ts}");
        assert!(prev_ts < ts);
        *known = (ts, after);
    };
    let mut pc = segment.start.pc;
    for (clk, step) in (1..).zip(steps) {
        assert_eq!(step.clk, clk);
        let row = &program.rows[step.row as usize];
        assert_eq!(row.pc, pc);
        pc = step.next_pc;
        let register = |index: u8| REGISTER_WORD + u32::from(index);
        access(register(row.rs1), 4 * clk, step.ts_b, step.b, step.b);
        match row.src2 {
            Src2::Reg(rs2) => access(register(rs2), 4 * clk + 1, step.ts_c, step.c, step.c),
            Src2::Imm(value) => assert_eq!((step.c, step.ts_c), (value as u64, 0)),
        }
        let class = row.op.class();
        let memory = matches!(class, Class::Load | Class::Store) && !step.misaligned;
        if memory {
            access(step.memory.word, 4 * clk + 2, step.memory.prev_ts, step.memory.before, step.memory.after);
            assert!(class == Class::Store || step.memory.before == step.memory.after);
        } else {
            assert_eq!(step.memory, Default::default());
        }
        if row.rd != 0 && !step.misaligned {
            access(register(row.rd), 4 * clk + 3, step.ts_a, step.prev_a, step.a);
        } else {
            assert_eq!((step.a, step.prev_a, step.ts_a), (0, 0, 0));
        }
        let jumps = matches!(row.op, Op::Jalr | Op::Return);
        assert!(jumps || pc == row.next_pc || pc == row.alt_pc);
    }
    assert_eq!(pc, segment.end.pc);
    for word in &trace.touched {
        assert_eq!(last[&word.word], (word.last_ts, word.after));
    }
}
