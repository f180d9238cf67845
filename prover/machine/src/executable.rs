//! A program made ready to run: successors resolved to indices, pcs found without search.

use std::sync::Arc;

use crate::memory_map::{HALT_PC, REGISTERS};
use crate::program::{Class, Op, Program, Row, Src2};

/// One row, for the interpreter. The second operand is register `rs2` (0 for constants, and register 0 holds 0) plus
/// `constant` (0 for registers).
#[derive(Clone, Copy, Debug)]
pub(crate) struct Instruction {
    pub(crate) constant: u64,
    /// Index of the next row; see [`Executable::target`].
    pub(crate) next: u32,
    /// Index of the branch target, or of the way of a misaligned access.
    pub(crate) alt: u32,
    /// Address offset of stores; the link of jumps.
    pub(crate) offset: i32,
    pub(crate) op: Op,
    /// The sink for rows that write no register.
    pub(crate) rd: u8,
    pub(crate) rs1: u8,
    pub(crate) rs2: u8,
}

/// Why a [`Program`] cannot be run: it did not come from [`Program::from_elf`].
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("program row {row} is malformed: {problem}")]
pub struct MalformedProgram {
    /// Index of the row.
    pub row: usize,
    /// What is wrong with it.
    pub problem: &'static str,
}

/// Pcs per page of the pc index.
const PAGE: usize = 4096;
/// Index of a pc without a row.
const NO_ROW: u32 = u32::MAX;

/// A program with fast look-ups.
#[derive(Debug)]
pub struct Executable {
    program: Arc<Program>,
    pub(crate) instructions: Vec<Instruction>,
    /// Pcs without a row that rows go to; index `rows.len() + i` stands for `exits[i]`.
    exits: Vec<u32>,
    /// Page number of each 4096 pcs in `pages`; page 0 is empty.
    directory: Vec<u32>,
    /// Row index by pc.
    pages: Vec<u32>,
    pub(crate) entry: u32,
}

impl Executable {
    /// Prepares a program.
    ///
    /// # Errors
    /// If rows are not sorted or name registers that do not exist.
    pub fn new(program: Arc<Program>) -> Result<Self, MalformedProgram> {
        let mut this = Self {
            instructions: Vec::with_capacity(program.rows.len()),
            exits: Vec::new(),
            directory: vec![0; 1 << 20],
            pages: vec![NO_ROW; PAGE],
            entry: 0,
            program: Arc::clone(&program),
        };
        let mut last_pc = None;
        for (index, row) in program.rows.iter().enumerate() {
            let refuse = |problem| Err(MalformedProgram { row: index, problem });
            if last_pc >= Some(row.pc) || row.pc == HALT_PC {
                return refuse("its pc is not above that of the row before, or is the pc of a program that has ended");
            }
            last_pc = Some(row.pc);
            if let Some(problem) = malformed(row) {
                return refuse(problem);
            }
            let page = &mut this.directory[row.pc as usize / PAGE];
            if *page == 0 {
                *page = (this.pages.len() / PAGE) as u32;
                this.pages.resize(this.pages.len() + PAGE, NO_ROW);
            }
            this.pages[*page as usize * PAGE + row.pc as usize % PAGE] = index as u32;
        }
        let mut exits = std::collections::HashMap::new();
        for row in &program.rows {
            let (rs2, constant) = match row.src2 {
                Src2::Reg(rs2) => (rs2, 0),
                Src2::Imm(value) => (0, value as u64),
            };
            let rd = if row.rd == 0 { crate::memory_map::SINK } else { row.rd };
            let next = this.resolve(row.next_pc, &mut exits);
            let uses_alt = matches!(row.op.class(), Class::Load | Class::Store)
                || (row.op.class() == Class::Compare && !matches!(row.op, Op::Slt | Op::Sltu));
            let alt = if uses_alt { this.resolve(row.alt_pc, &mut exits) } else { next };
            let Row { op, rs1, offset, next_pc, .. } = *row;
            let offset = if op.class() == Class::Jump { next_pc as i32 } else { offset };
            this.instructions.push(Instruction { constant, next, alt, offset, op, rd, rs1, rs2 });
        }
        this.entry = this.resolve(program.entry, &mut exits);
        Ok(this)
    }

    /// The program.
    pub fn program(&self) -> &Arc<Program> {
        &self.program
    }

    /// Index in [`Program::rows`] of the row at a pc.
    #[inline]
    pub fn row_at(&self, pc: u32) -> Option<u32> {
        let page = self.directory[pc as usize / PAGE] as usize;
        let index = self.pages[page * PAGE + pc as usize % PAGE];
        (index != NO_ROW).then_some(index)
    }

    /// The pc that an index of a successor stands for.
    pub(crate) fn target(&self, index: u32) -> u32 {
        let rows = &self.program.rows;
        match rows.get(index as usize) {
            Some(row) => row.pc,
            None => self.exits[index as usize - rows.len()],
        }
    }

    fn resolve(&mut self, pc: u32, exits: &mut std::collections::HashMap<u32, u32>) -> u32 {
        self.row_at(pc).unwrap_or_else(|| {
            *exits.entry(pc).or_insert_with(|| {
                self.exits.push(pc);
                (self.program.rows.len() + self.exits.len() - 1) as u32
            })
        })
    }
}

fn malformed(row: &Row) -> Option<&'static str> {
    const CONSTANTS: std::ops::Range<i64> = -(1 << 32)..1 << 32;
    let registers = REGISTERS as u8;
    let branch = row.op.class() == Class::Compare && !matches!(row.op, Op::Slt | Op::Sltu);
    let writes = !branch && row.op.class() != Class::Store;
    match row.src2 {
        _ if row.rs1 >= registers || row.rd >= registers => Some("it names a register above 63"),
        _ if writes != (row.rd != 0) => Some("it writes register 0, or names a register that it does not write"),
        Src2::Reg(rs2) if rs2 >= registers => Some("it names a register above 63"),
        Src2::Imm(value) if !CONSTANTS.contains(&value) => Some("its constant is out of range"),
        Src2::Imm(_) if row.op.class() == Class::Store => Some("it stores a constant"),
        Src2::Reg(_) if matches!(row.op.class(), Class::Load | Class::Jump) => Some("its offset is a register"),
        _ => None,
    }
}
