//! Why a program cannot go on: there is no proof of it.

use crate::executable::Executable;
use crate::memory_map::REGISTERS;
use crate::program::{NoRow, Op, Src2};
use crate::routines::LINK;

/// A program stopped where it cannot go on.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("trap at pc {pc:#x}{}: {cause}", instruction.map_or(String::new(), |word| format!(" (instruction {word:#010x})")))]
pub struct Trap {
    /// Address of the guest instruction.
    pub pc: u32,
    /// Its bytes, where it has any.
    pub instruction: Option<u32>,
    /// What went wrong.
    pub cause: Cause,
}

/// What went wrong at a trap.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[allow(missing_docs, reason = "the messages say what the fields are")]
pub enum Cause {
    #[error("unknown instruction {0:#x}; expected RV64IMAC or a ziskos call")]
    UnknownInstruction(u32),
    #[error("floating-point instruction {0:#x}; build the guest for riscv64imac, which has none")]
    FloatingPoint(u32),
    #[error("ziskos precompile {name} (CSR {csr:#x}) is not supported")]
    Precompile { csr: u16, name: String },
    #[error(
        "load of {bytes} bytes at {address:#x}, which is outside the input area [0x10000000, 0x30000000), the program's \
         constants in ROM and RAM [0xa0000000, 0xc0000000)"
    )]
    Load { address: u64, bytes: u32 },
    #[error("store of {bytes} bytes at {address:#x}, which is outside RAM [0xa0000000, 0xc0000000)")]
    Store { address: u64, bytes: u32 },
    #[error("jump to {target:#x}, where the program has no code")]
    NoCode { target: u64 },
    #[error("{0}")]
    Check(String),
    #[error("the limit of {0} steps is reached and the program has not ended")]
    StepLimit(u64),
}

/// How a row failed, before it is told in terms of the guest.
#[derive(Clone, Copy, Debug)]
pub(crate) enum Failure {
    Load {
        address: u64,
    },
    Store {
        address: u64,
    },
    /// The row went to a pc without a row.
    Jump {
        target: u64,
    },
}

/// Tells what happened at row `index`; `peek` reads memory words.
pub(crate) fn explain(
    executable: &Executable,
    index: u32,
    failure: Failure,
    registers: &[u64; REGISTERS],
    peek: impl Fn(u32) -> u64,
) -> Trap {
    let program = executable.program();
    // No row when already the entry has none.
    let row = program.rows.get(index as usize);
    let mut pc = guest_pc(executable, index, registers[LINK as usize]).or(row.map(|row| row.pc)).unwrap_or(program.entry);
    let bytes = row.map_or(0, |row| row.op.width());
    let cause = match failure {
        Failure::Load { address } => Cause::Load { address, bytes },
        Failure::Store { address } => Cause::Store { address, bytes },
        Failure::Jump { target } => match u32::try_from(target).ok().and_then(|pc| program.no_rows.get_key_value(&pc)) {
            None => Cause::NoCode { target },
            Some((&target, reason)) => {
                // Guest instructions without a row are themselves where the trap is; checks belong to who failed them.
                if target % 2 == 0 {
                    pc = target;
                }
                match reason {
                    NoRow::Unknown(word) => Cause::UnknownInstruction(*word),
                    NoRow::FloatingPoint(word) => Cause::FloatingPoint(*word),
                    NoRow::Precompile { csr, name } => Cause::Precompile { csr: *csr, name: name.clone() },
                    NoRow::Check(text) => Cause::Check(text.clone()),
                }
            }
        },
    };
    let half = |pc: u32| (peek(pc) >> (pc % 8 * 8)) as u16;
    let instruction = pc.is_multiple_of(2).then(|| match half(pc) {
        low if low & 3 == 3 => u32::from(half(pc.wrapping_add(2))) << 16 | u32::from(low),
        low => low.into(),
    });
    Trap { pc, instruction, cause }
}

/// The guest instruction that a row works for: that one from which the row is reached. For a routine this is ambiguous;
/// then it is the one that set the link.
pub(crate) fn guest_pc(executable: &Executable, index: u32, link: u64) -> Option<u32> {
    let rows = &executable.program().rows;
    let pc = rows.get(index as usize)?.pc;
    if pc % 2 == 0 {
        return Some(pc);
    }
    let mut before = vec![Vec::new(); rows.len()];
    for (index, instruction) in (0..).zip(&executable.instructions) {
        for next in [instruction.next, instruction.alt] {
            if let Some(before) = before.get_mut(next as usize) {
                before.push(index);
            }
        }
    }
    let sources = |start: u32| {
        let mut seen = vec![false; rows.len()];
        let mut found = Vec::new();
        let mut todo = vec![start];
        while let Some(index) = todo.pop() {
            if std::mem::replace(&mut seen[index as usize], true) {
                continue;
            }
            match rows[index as usize].pc {
                pc if pc % 2 == 0 => found.push(pc),
                _ => todo.extend(&before[index as usize]),
            }
        }
        found
    };
    if let [pc] = sources(index)[..] {
        return Some(pc);
    }
    let sets_link =
        |row: &&crate::program::Row| row.op == Op::Add && row.rd == LINK && row.rs1 == 0 && row.src2 == Src2::Imm(link as i64);
    let caller = rows.iter().find(sets_link)?;
    if caller.pc % 2 == 0 {
        return Some(caller.pc);
    }
    sources(executable.row_at(caller.pc)?).first().copied()
}
