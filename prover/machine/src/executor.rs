//! Runs a program on an input and cuts the trace into segments while it runs.

use std::ops::ControlFlow;
use std::sync::atomic::{AtomicBool, Ordering};

use crate::executable::Executable;
use crate::input::{InputImage, MAX_INPUT_BYTES};
use crate::memory::Memory;
use crate::memory_map::{EXIT_CODE_REGISTER, HALT_PC, OUTPUT_COUNT, OUTPUT_START, REGISTER_WORD, REGISTERS, UART};
use crate::program::Op;
use crate::segment::{LedgerEntry, Segment, State};
use crate::semantics::{compute, taken};
use crate::trap::{Cause, Failure, Trap, explain};

/// Most bytes of UART text that are kept.
pub const MAX_UART_BYTES: usize = 64 << 10;
/// Sizes of segments: timestamps (four a step) must stay well below the field's characteristic.
pub const SEGMENT_LOG_STEPS: std::ops::RangeInclusive<u32> = 4..=26;
/// Steps between looks at the cancel flag; a few milliseconds.
const STEPS_BETWEEN_CANCEL_CHECKS: u64 = 1 << 20;

/// Runs a program.
#[derive(Clone, Copy, Debug)]
pub struct Executor<'a> {
    executable: &'a Executable,
    max_steps: u64,
    cancel: Option<&'a AtomicBool>,
}

/// What came of a run that ended by itself.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Execution {
    /// Public outputs.
    pub outputs: [u32; OUTPUT_COUNT],
    /// a0 at the end. Not zero means that the guest calls itself failed; it is for the caller to judge.
    pub exit_code: u64,
    /// Rows executed.
    pub steps: u64,
    /// Number of segments; 0 if none were made.
    pub segments: u32,
    /// What the guest wrote to the UART, up to [`MAX_UART_BYTES`]; what is not UTF-8 is replaced.
    pub uart: String,
}

/// Why a run did not end by itself.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum ExecutionError {
    /// The program cannot go on.
    #[error(transparent)]
    Trap(#[from] Trap),
    /// The input does not fit.
    #[error("the input has {size} bytes; the input area holds {MAX_INPUT_BYTES}")]
    InputTooLarge {
        /// Its size.
        size: usize,
    },
    /// The segment size is not supported.
    #[error("segments of 2^{0} steps are not supported; allowed are 2^4 to 2^26")]
    SegmentSize(u32),
    /// The cancel flag was set.
    #[error("the execution was cancelled")]
    Cancelled,
    /// The receiver of segments asked to stop.
    #[error("the receiver of segments stopped the execution")]
    Stopped,
}

impl<'a> Executor<'a> {
    /// An executor without limits.
    pub fn new(executable: &'a Executable) -> Self {
        Self { executable, max_steps: u64::MAX, cancel: None }
    }

    /// Traps when the program has not ended after this many steps.
    pub fn max_steps(self, max_steps: u64) -> Self {
        Self { max_steps, ..self }
    }

    /// Stops soon after the flag is set.
    pub fn cancel(self, flag: &'a AtomicBool) -> Self {
        Self { cancel: Some(flag), ..self }
    }

    /// Runs without making segments.
    ///
    /// # Errors
    /// If the program traps, the input is too large, or the run is cancelled.
    pub fn execute(&self, input: &[u8]) -> Result<Execution, ExecutionError> {
        let mut run = self.start(input, false)?;
        while run.pc() != HALT_PC {
            self.advance(&mut run, u64::MAX)?;
        }
        Ok(run.finish(0))
    }

    /// Runs and gives each segment to `sink` as soon as it is cut, then those that only hold parts of the ledger.
    ///
    /// # Errors
    /// As [`Self::execute`]; or if the segment size is not supported, or `sink` breaks.
    pub fn execute_segments(
        &self,
        input: &[u8],
        segment_log_steps: u32,
        mut sink: impl FnMut(Segment) -> ControlFlow<()>,
    ) -> Result<Execution, ExecutionError> {
        if !SEGMENT_LOG_STEPS.contains(&segment_log_steps) {
            return Err(ExecutionError::SegmentSize(segment_log_steps));
        }
        let capacity = 1 << segment_log_steps;
        let mut run = self.start(input, true)?;
        let mut give = |segment| match sink(segment) {
            ControlFlow::Continue(()) => Ok(()),
            ControlFlow::Break(()) => Err(ExecutionError::Stopped),
        };
        let mut index = 0;
        loop {
            let (start, registers, steps) = (run.pc(), run.registers.to_vec(), run.steps);
            self.advance(&mut run, capacity)?;
            let state = |pc| State { pc, cursor: 0, image: false };
            let mut segment = Segment {
                index,
                start: state(start),
                end: state(run.pc()),
                steps: (run.steps - steps) as u32,
                registers,
                words: run.memory.next_segment(),
                ledger: Vec::new(),
            };
            index += 1;
            if run.pc() != HALT_PC {
                give(segment)?;
                continue;
            }
            let entries = run.ledger(index).count();
            if entries <= capacity as usize {
                segment.ledger = run.ledger(index).collect();
                segment.end.image = true;
                segment.end.cursor = segment.ledger.last().map_or(0, |entry| entry.word);
                give(segment)?;
                return Ok(run.finish(index));
            }
            let mut state = segment.end;
            give(segment)?;
            let tag = index;
            let mut ledger = run.ledger(tag);
            loop {
                let slice: Vec<_> = ledger.by_ref().take(capacity as usize).collect();
                let Some(last) = slice.last() else { break };
                let end = State { cursor: last.word, image: true, ..state };
                let (registers, words) = (Vec::new(), Vec::new());
                give(Segment { index, start: state, end, steps: 0, registers, words, ledger: slice })?;
                state = end;
                index += 1;
            }
            drop(ledger);
            return Ok(run.finish(index));
        }
    }

    fn start<'r>(&'r self, input: &'r [u8], record: bool) -> Result<Run<'r>, ExecutionError> {
        let image = InputImage::new(input).ok_or(ExecutionError::InputTooLarge { size: input.len() })?;
        Ok(Run {
            executable: self.executable,
            registers: [0; REGISTERS],
            memory: Memory::new(self.executable.program(), image, record),
            next: self.executable.entry,
            steps: 0,
            uart: Vec::new(),
        })
    }

    /// Runs until the program ends, but at most `steps`.
    fn advance(&self, run: &mut Run<'_>, steps: u64) -> Result<(), ExecutionError> {
        let end = run.steps.saturating_add(steps);
        while run.steps < end && run.pc() != HALT_PC {
            if self.cancel.is_some_and(|flag| flag.load(Ordering::Relaxed)) {
                return Err(ExecutionError::Cancelled);
            }
            if run.steps >= self.max_steps {
                let pc = run.pc();
                return Err(Trap { pc, instruction: None, cause: Cause::StepLimit(self.max_steps) }.into());
            }
            let budget = (end.min(self.max_steps) - run.steps).min(STEPS_BETWEEN_CANCEL_CHECKS);
            run.run(budget)?;
        }
        Ok(())
    }
}

/// A run in progress.
struct Run<'a> {
    executable: &'a Executable,
    registers: [u64; REGISTERS],
    memory: Memory<'a>,
    /// Index of the next row; beyond the rows for pcs without one.
    next: u32,
    steps: u64,
    uart: Vec<u8>,
}

impl Run<'_> {
    fn pc(&self) -> u32 {
        self.executable.target(self.next)
    }

    /// Executes at most `budget` rows; fewer only if the program ends.
    fn run(&mut self, budget: u64) -> Result<(), Trap> {
        let instructions = &self.executable.instructions[..];
        let mut registers = self.registers;
        let mut next = self.next;
        let mut current = next;
        let mut left = budget;
        let failure = loop {
            if left == 0 {
                break None;
            }
            let Some(instruction) = instructions.get(next as usize) else {
                let target = self.executable.target(next);
                break (target != HALT_PC).then_some(Failure::Jump { target: target.into() });
            };
            current = next;
            left -= 1;
            let register = |index: u8| registers[index as usize % REGISTERS];
            let b = register(instruction.rs1);
            let c = register(instruction.rs2).wrapping_add(instruction.constant);
            let op = instruction.op;
            let value = match op {
                Op::Beq | Op::Bne | Op::Blt | Op::Bge | Op::Bltu | Op::Bgeu => {
                    next = if taken(op, b, c) { instruction.alt } else { instruction.next };
                    continue;
                }
                Op::Lb | Op::Lbu | Op::Lh | Op::Lhu | Op::Lw | Op::Lwu | Op::Ld => {
                    let address = b.wrapping_add(c);
                    if address % u64::from(op.width()) != 0 {
                        next = instruction.alt;
                        continue;
                    }
                    match self.memory.load(op, address) {
                        Ok(value) => value,
                        Err(_) => break Some(Failure::Load { address }),
                    }
                }
                Op::Sb | Op::Sh | Op::Sw | Op::Sd => {
                    let address = b.wrapping_add(i64::from(instruction.offset) as u64);
                    if address % u64::from(op.width()) != 0 {
                        next = instruction.alt;
                        continue;
                    }
                    if self.memory.store(op, address, c).is_err() {
                        break Some(Failure::Store { address });
                    }
                    if op == Op::Sb && address == u64::from(UART) && self.uart.len() < MAX_UART_BYTES {
                        self.uart.push(c as u8);
                    }
                    next = instruction.next;
                    continue;
                }
                Op::Jalr | Op::Return => {
                    let target = b.wrapping_add(c);
                    let target = if op == Op::Jalr { target & !1 } else { target };
                    let Some(index) = u32::try_from(target).ok().and_then(|pc| self.executable.row_at(pc)) else {
                        break Some(Failure::Jump { target });
                    };
                    registers[instruction.rd as usize % REGISTERS] = (instruction.offset as u32).into();
                    next = index;
                    continue;
                }
                op => compute(op, b, c),
            };
            registers[instruction.rd as usize % REGISTERS] = value;
            next = instruction.next;
        };
        self.registers = registers;
        self.next = next;
        self.steps += budget - left;
        match failure {
            None => Ok(()),
            Some(failure) => Err(explain(self.executable, current, failure, &registers, |address| self.memory.peek(address))),
        }
    }

    /// The whole ledger; `tag` is that of the last segment with steps.
    fn ledger(&self, tag: u32) -> impl Iterator<Item = LedgerEntry> {
        let registers = (REGISTER_WORD..).zip(self.registers);
        let registers = registers.map(move |(word, last)| LedgerEntry { word, initial: 0, last, last_tag: tag, image: false });
        self.memory.ledger().chain(registers)
    }

    fn finish(self, segments: u32) -> Execution {
        let outputs = std::array::from_fn(|index| {
            let address = OUTPUT_START + 4 * index as u32;
            (self.memory.peek(address) >> (address % 8 * 8)) as u32
        });
        Execution {
            outputs,
            exit_code: self.registers[EXIT_CODE_REGISTER as usize],
            steps: self.steps,
            segments,
            uart: String::from_utf8_lossy(&self.uart).into_owned(),
        }
    }
}
