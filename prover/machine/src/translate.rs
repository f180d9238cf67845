//! Guest instructions to rows of the program table.

use std::collections::BTreeMap;

use crate::assembler::{Draft, Table};
use crate::decode::{AtomicOp, DecodeError, Instruction, MultiplyOp, decode, decode_compressed, is_compressed};
use crate::elf::{Code, Image};
use crate::memory_map::HALT_PC;
use crate::program::{NoRow, Op, Row, Src2};
use crate::routines::{ARG0, ARG1, LINK, RESERVATION, RESULT0, RESULT1, Routine, TEMP0, TEMP1};
use crate::ziskos_calls;

/// Number of the exit call in a7.
const EXIT_CALL: i64 = 93;
const A7: u8 = 17;
/// One past the largest constant a row can hold.
const CONSTANT_END: i64 = 1 << 32;

/// Translates the code of a program: with compressed instructions every halfword, else every word, may be jumped to.
pub(crate) fn translate(image: &Image) -> (Vec<Row>, BTreeMap<u32, NoRow>) {
    let mut table = Table::new();
    let step = if image.compressed { 2 } else { 4 };
    for code in &image.code {
        let start = code.address.next_multiple_of(step);
        let end = code.address + code.bytes.len() as u32;
        for pc in (start..end).step_by(step as usize) {
            let site = Site { code, pc, compressed: image.compressed };
            match site.decode(pc) {
                Ok((instruction, length)) => translate_instruction(&mut table, &site, instruction, pc + length),
                Err(DecodeError::Unknown(word)) => table.no_row(pc, NoRow::Unknown(word)),
                Err(DecodeError::FloatingPoint(word)) => table.no_row(pc, NoRow::FloatingPoint(word)),
            }
        }
    }
    table.finish()
}

/// An instruction in its surroundings: ziskos calls take operands from the instructions that follow.
#[derive(Clone, Copy)]
pub(crate) struct Site<'a> {
    code: &'a Code,
    /// Address of the instruction.
    pub(crate) pc: u32,
    compressed: bool,
}

impl Site<'_> {
    /// The instruction's 32 bits.
    pub(crate) fn word(&self) -> u32 {
        let [low, high] = [self.pc, self.pc + 2].map(|pc| u32::from(self.half(pc).unwrap_or_default()));
        high << 16 | low
    }

    fn half(&self, pc: u32) -> Option<u16> {
        let bytes = self.code.bytes.get(pc.wrapping_sub(self.code.address) as usize..)?;
        bytes.first_chunk().map(|half| u16::from_le_bytes(*half))
    }

    /// The instruction at an address, and its length in bytes.
    pub(crate) fn decode(&self, pc: u32) -> Result<(Instruction, u32), DecodeError> {
        match (self.half(pc), self.half(pc + 2)) {
            (Some(low), _) if self.compressed && is_compressed(low) => Ok((decode_compressed(low)?, 2)),
            (Some(low), Some(high)) => Ok((decode(u32::from(high) << 16 | u32::from(low))?, 4)),
            (low, _) => Err(DecodeError::Unknown(low.unwrap_or_default().into())),
        }
    }
}

fn translate_instruction(table: &mut Table, site: &Site<'_>, instruction: Instruction, next: u32) {
    let pc = site.pc;
    let target = |offset: i64| (i64::from(pc) + offset) as u32;
    match instruction {
        Instruction::Lui { rd, value } => table.guest(pc, &[constant(rd, value)], next),
        Instruction::Auipc { rd, offset } => {
            let value = i64::from(pc) + offset;
            if value < CONSTANT_END {
                table.guest(pc, &[constant(rd, value)], next);
            } else {
                let add = Draft::new(Op::Add, rd, TEMP0, Src2::Imm(offset));
                table.guest(pc, &[constant(TEMP0, i64::from(pc)), add], next);
            }
        }
        Instruction::Jal { rd, offset } => table.guest(pc, &[constant(rd, i64::from(next))], target(offset)),
        Instruction::Jalr { rd, rs1, offset } => {
            table.guest(pc, &[Draft::new(Op::Jalr, rd, rs1, Src2::Imm(offset))], next);
        }
        Instruction::Branch { op, rs1, rs2, offset } => {
            table.guest(pc, &[Draft::branch(op, rs1, Src2::Reg(rs2), target(offset))], next);
        }
        Instruction::Load { op, rd, rs1, offset } => load(table, pc, (op, rd, rs1, offset), next),
        Instruction::Store { op, rs1, rs2, offset } => store(table, pc, (op, rs1, rs2, offset), next),
        // An operation without effect must not depend on anything, or its operands would be looked up for nothing.
        Instruction::Immediate { rd: 0, .. } | Instruction::Register { rd: 0, .. } | Instruction::Fence => {
            table.guest(pc, &[constant(0, 0)], next);
        }
        Instruction::Immediate { op, rd, rs1, value } => {
            table.guest(pc, &[Draft::new(op, rd, rs1, Src2::Imm(value))], next);
        }
        Instruction::Register { op, rd, rs1, rs2 } => {
            table.guest(pc, &[Draft::new(op, rd, rs1, Src2::Reg(rs2))], next);
        }
        Instruction::Multiply { op, rd, rs1, rs2 } => multiply(table, pc, (op, rd, rs1, rs2), next),
        Instruction::LoadReserved { double, rd, rs1 } => {
            let (load, _) = atomic_access(double);
            let check = misaligned_atomic(table);
            table.guest(pc, &[copy(RESERVATION, rs1), Draft::load(load, rd, rs1, 0, check)], next);
        }
        Instruction::StoreConditional { double, rd, rs1, rs2 } => {
            let (load, store) = atomic_access(double);
            let check = misaligned_atomic(table);
            let release = table.chain(&[constant(RESERVATION, 0)], next);
            let fail = table.chain(&[constant(rd, 1)], release);
            let drafts = [
                // Only for its check of the address, which must hold whether or not the store happens.
                Draft::load(load, TEMP0, rs1, 0, check),
                Draft::branch(Op::Bne, RESERVATION, Src2::Reg(rs1), fail),
                Draft::store(store, rs1, rs2, 0, check),
                constant(rd, 0),
            ];
            table.guest(pc, &drafts, release);
        }
        Instruction::Atomic { op, double, rd, rs1, rs2 } => {
            atomic(table, pc, (op, double), (rd, rs1, rs2), next);
        }
        Instruction::Ecall => {
            let check = table.check("an ecall that is not exit (a7 = 93)");
            table.guest(pc, &[Draft::branch(Op::Beq, A7, Src2::Imm(EXIT_CALL), HALT_PC)], check);
        }
        Instruction::Ebreak => table.no_row(pc, NoRow::Check("ebreak".into())),
        Instruction::Csr { op, rd, csr, source } => ziskos_calls::translate(table, site, (op, rd, csr, source), next),
    }
}

/// rd = constant.
pub(crate) fn constant(rd: u8, value: i64) -> Draft {
    Draft::new(Op::Add, rd, 0, Src2::Imm(value))
}

/// rd = rs.
pub(crate) fn copy(rd: u8, rs: u8) -> Draft {
    Draft::new(Op::Add, rd, rs, Src2::Imm(0))
}

fn load(table: &mut Table, pc: u32, (op, rd, rs1, offset): (Op, u8, u8, i32), next: u32) {
    let alt = if op.width() == 1 {
        0
    } else {
        let routine = table.routine(Routine::Load(op));
        let result = table.chain(&[copy(rd, RESULT0)], next);
        let address = Draft::new(Op::Add, ARG0, rs1, Src2::Imm(i64::from(offset)));
        table.chain(&[address, constant(LINK, i64::from(result))], routine)
    };
    table.guest(pc, &[Draft::load(op, rd, rs1, offset, alt)], next);
}

fn store(table: &mut Table, pc: u32, (op, rs1, rs2, offset): (Op, u8, u8, i32), next: u32) {
    let alt = if op.width() == 1 {
        0
    } else {
        let routine = table.routine(Routine::Store(op));
        let address = Draft::new(Op::Add, ARG0, rs1, Src2::Imm(i64::from(offset)));
        table.chain(&[address, copy(ARG1, rs2), constant(LINK, i64::from(next))], routine)
    };
    table.guest(pc, &[Draft::store(op, rs1, rs2, offset, alt)], next);
}

fn multiply(table: &mut Table, pc: u32, (op, rd, rs1, rs2): (MultiplyOp, u8, u8, u8), next: u32) {
    use MultiplyOp::*;
    // What the unsigned product has too much when `factor` is negative: `other`, 2^64 times.
    let excess = |temp: u8, factor: u8, other: u8| {
        [Draft::new(Op::Sra, temp, factor, Src2::Imm(63)), Draft::new(Op::And, temp, temp, Src2::Reg(other))]
    };
    let row = |op, rd, rs1, rs2| Draft::new(op, rd, rs1, Src2::Reg(rs2));
    let (routine, result, word) = match op {
        Mul => return table.guest(pc, &[row(Op::Mul, rd, rs1, rs2)], next),
        Mulhu => return table.guest(pc, &[row(Op::Mulhu, rd, rs1, rs2)], next),
        Mulw => {
            let sign_extend = Draft::new(Op::AddW, rd, TEMP0, Src2::Imm(0));
            return table.guest(pc, &[row(Op::Mul, TEMP0, rs1, rs2), sign_extend], next);
        }
        Mulhsu => {
            let [sign, masked] = excess(TEMP0, rs1, rs2);
            let drafts = [sign, masked, row(Op::Mulhu, TEMP1, rs1, rs2), row(Op::Sub, rd, TEMP1, TEMP0)];
            return table.guest(pc, &drafts, next);
        }
        Mulh => {
            let [sign1, masked1] = excess(TEMP0, rs1, rs2);
            let [sign2, masked2] = excess(TEMP1, rs2, rs1);
            let drafts = [
                sign1,
                masked1,
                sign2,
                masked2,
                row(Op::Add, TEMP0, TEMP0, TEMP1),
                row(Op::Mulhu, TEMP1, rs1, rs2),
                row(Op::Sub, rd, TEMP1, TEMP0),
            ];
            return table.guest(pc, &drafts, next);
        }
        Div => (Routine::DivideSigned, RESULT0, false),
        Rem => (Routine::DivideSigned, RESULT1, false),
        Divu => (Routine::DivideUnsigned, RESULT0, false),
        Remu => (Routine::DivideUnsigned, RESULT1, false),
        Divw => (Routine::DivideSigned, RESULT0, true),
        Remw => (Routine::DivideSigned, RESULT1, true),
        Divuw => (Routine::DivideUnsigned, RESULT0, true),
        Remuw => (Routine::DivideUnsigned, RESULT1, true),
    };
    let extension = match (word, routine) {
        (false, _) => (Op::Add, 0),
        (true, Routine::DivideSigned) => (Op::AddW, 0),
        (true, _) => (Op::And, 0xffff_ffff),
    };
    let argument = |rd, rs| Draft::new(extension.0, rd, rs, Src2::Imm(extension.1));
    let entry = table.routine(routine);
    // Dividing 64-bit numbers gives the right low half also for a divisor of zero and for overflow.
    let truncate = if word { Op::AddW } else { Op::Add };
    let link = table.chain(&[Draft::new(truncate, rd, result, Src2::Imm(0))], next);
    table.guest(pc, &[argument(ARG0, rs1), argument(ARG1, rs2), constant(LINK, i64::from(link))], entry);
}

fn atomic_access(double: bool) -> (Op, Op) {
    if double { (Op::Ld, Op::Sd) } else { (Op::Lw, Op::Sw) }
}

fn misaligned_atomic(table: &mut Table) -> u32 {
    table.check("an atomic access with an address that is not aligned")
}

fn atomic(table: &mut Table, pc: u32, (op, double): (AtomicOp, bool), (rd, rs1, rs2): (u8, u8, u8), next: u32) {
    let (load, store) = atomic_access(double);
    let check = misaligned_atomic(table);
    let load = Draft::load(load, TEMP0, rs1, 0, check);
    let result = copy(rd, TEMP0);
    // The operation on the memory's value, when one row does it.
    let row = |op| Some(Draft::new(op, TEMP1, TEMP0, Src2::Reg(rs2)));
    let combine = match op {
        AtomicOp::Swap => Some(copy(TEMP1, rs2)),
        AtomicOp::Add => row(Op::Add),
        AtomicOp::Xor => row(Op::Xor),
        AtomicOp::And => row(Op::And),
        AtomicOp::Or => row(Op::Or),
        AtomicOp::Min | AtomicOp::Max | AtomicOp::Minu | AtomicOp::Maxu => None,
    };
    let store = Draft::store(store, rs1, TEMP1, 0, check);
    if let Some(combine) = combine {
        return table.guest(pc, &[load, combine, store, result], next);
    }
    let keep = table.chain(&[store, result], next);
    // Both sign-extended from 32 bits, which keeps the unsigned order, too.
    let extend = Draft::new(if double { Op::Add } else { Op::AddW }, TEMP1, rs2, Src2::Imm(0));
    let branch = match op {
        AtomicOp::Min => Draft::branch(Op::Blt, TEMP1, Src2::Reg(TEMP0), keep),
        AtomicOp::Minu => Draft::branch(Op::Bltu, TEMP1, Src2::Reg(TEMP0), keep),
        AtomicOp::Max => Draft::branch(Op::Blt, TEMP0, Src2::Reg(TEMP1), keep),
        _ => Draft::branch(Op::Bltu, TEMP0, Src2::Reg(TEMP1), keep),
    };
    table.guest(pc, &[load, extend, branch, copy(TEMP1, TEMP0)], keep);
}
