//! Loads and stores byte by byte. Equal to the access they stand for at every address, aligned or not, so that it does
//! not matter if a prover goes here without need.

use super::{ARG0, ARG1, INNER, RESULT0, return_to_caller};
use crate::assembler::{Assembler, Table};
use crate::program::Op;

pub(super) fn load(table: &mut Table, op: Op) -> u32 {
    let bytes = op.width() as i32;
    let signed = matches!(op, Op::Lh | Op::Lw);
    let mut asm = Assembler::new(table);
    asm.load(if signed { Op::Lb } else { Op::Lbu }, RESULT0, ARG0, bytes - 1);
    for offset in (0..bytes - 1).rev() {
        asm.imm(Op::Sll, RESULT0, RESULT0, 8);
        asm.load(Op::Lbu, INNER, ARG0, offset);
        asm.reg(Op::Or, RESULT0, RESULT0, INNER);
    }
    return_to_caller(&mut asm);
    asm.finish()
}

pub(super) fn store(table: &mut Table, op: Op) -> u32 {
    let mut asm = Assembler::new(table);
    for offset in 0..op.width() as i32 {
        if offset != 0 {
            asm.imm(Op::Srl, ARG1, ARG1, 8);
        }
        asm.store(Op::Sb, ARG0, ARG1, offset);
    }
    return_to_caller(&mut asm);
    asm.finish()
}
