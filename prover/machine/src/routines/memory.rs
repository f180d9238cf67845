//! memcpy (and memmove), memset and memcmp of ziskos: words where the addresses allow it.
//!
//! Loops end when a pointer equals its end or a count is zero, never on less-than: a size that runs around the address
//! space must run into unmapped memory, not end early.

use super::{ARG0, ARG1, ARG2, INNER, RESULT0, return_to_caller};
use crate::assembler::{Assembler, Table};
use crate::program::{Op, Src2};

const TO: u8 = ARG0;
const FROM: u8 = ARG1;
const COUNT: u8 = ARG2;
const VALUE: u8 = INNER;
const OTHER: u8 = INNER + 1;
const END: u8 = INNER + 2;
const DISTANCE: u8 = INNER + 3;
const SHIFT_DOWN: u8 = INNER + 4;
const SHIFT_UP: u8 = INNER + 5;
const SOURCE: u8 = INNER + 6;
const BYTES: u8 = INNER + 7;
const ZERO: Src2 = Src2::Reg(0);

/// memmove: forwards, unless the destination begins inside the source.
pub(super) fn copy(table: &mut Table) -> u32 {
    let mut asm = Assembler::new(table);
    let asm_ref = &mut asm;
    let done = asm_ref.label();
    let backward = asm_ref.label();
    asm.branch(Op::Beq, COUNT, ZERO, done);
    asm.reg(Op::Sub, DISTANCE, TO, FROM);
    asm.branch(Op::Beq, DISTANCE, ZERO, done);
    // As unsigned numbers: FROM < TO < FROM + COUNT.
    asm.branch(Op::Bltu, DISTANCE, Src2::Reg(COUNT), backward);

    // Forwards: bytes until the destination is aligned.
    let (aligned, tail) = (asm.label(), asm.label());
    asm.imm(Op::And, DISTANCE, DISTANCE, 7);
    let head = asm.here();
    asm.imm(Op::And, BYTES, TO, 7);
    asm.branch(Op::Beq, BYTES, ZERO, aligned);
    copy_byte(&mut asm);
    asm.branch(Op::Bne, COUNT, ZERO, head);
    asm.goto(done);

    // Then words.
    asm.bind(aligned);
    asm.imm(Op::And, BYTES, COUNT, -8);
    asm.branch(Op::Beq, BYTES, ZERO, tail);
    asm.imm(Op::And, COUNT, COUNT, 7);
    asm.reg(Op::Add, END, TO, BYTES);
    let shifted = asm.label();
    asm.branch(Op::Bne, DISTANCE, ZERO, shifted);
    let word = asm.here();
    asm.load(Op::Ld, VALUE, FROM, 0);
    asm.store(Op::Sd, TO, VALUE, 0);
    asm.imm(Op::Add, FROM, FROM, 8);
    asm.imm(Op::Add, TO, TO, 8);
    asm.branch(Op::Bne, TO, Src2::Reg(END), word);
    asm.goto(tail);

    // Words put together of two source words. Both hold bytes to be copied, so no word is read that need not exist.
    // When the areas overlap, a word is stored only below the source words still to be read.
    asm.bind(shifted);
    asm.imm(Op::And, SOURCE, FROM, -8);
    asm.imm(Op::And, SHIFT_DOWN, FROM, 7);
    asm.imm(Op::Sll, SHIFT_DOWN, SHIFT_DOWN, 3);
    asm.reg(Op::Sub, SHIFT_UP, 0, SHIFT_DOWN);
    asm.reg(Op::Add, FROM, FROM, BYTES);
    asm.load(Op::Ld, VALUE, SOURCE, 0);
    let word = asm.here();
    asm.reg(Op::Srl, VALUE, VALUE, SHIFT_DOWN);
    asm.load(Op::Ld, OTHER, SOURCE, 8);
    asm.reg(Op::Sll, BYTES, OTHER, SHIFT_UP);
    asm.reg(Op::Or, VALUE, VALUE, BYTES);
    asm.store(Op::Sd, TO, VALUE, 0);
    asm.imm(Op::Add, VALUE, OTHER, 0);
    asm.imm(Op::Add, SOURCE, SOURCE, 8);
    asm.imm(Op::Add, TO, TO, 8);
    asm.branch(Op::Bne, TO, Src2::Reg(END), word);

    // Then what is left.
    asm.bind(tail);
    asm.branch(Op::Beq, COUNT, ZERO, done);
    copy_byte(&mut asm);
    asm.goto(tail);

    asm.bind(done);
    return_to_caller(&mut asm);

    copy_backward(&mut asm, backward, done);
    asm.finish()
}

fn copy_byte(asm: &mut Assembler<'_>) {
    asm.load(Op::Lbu, VALUE, FROM, 0);
    asm.store(Op::Sb, TO, VALUE, 0);
    asm.imm(Op::Add, FROM, FROM, 1);
    asm.imm(Op::Add, TO, TO, 1);
    asm.imm(Op::Add, COUNT, COUNT, -1);
}

/// From the end down: words if source and destination are equally aligned, else bytes.
fn copy_backward(asm: &mut Assembler<'_>, backward: crate::assembler::Label, done: crate::assembler::Label) {
    let (aligned, bytes) = (asm.label(), asm.label());
    asm.bind(backward);
    asm.reg(Op::Add, TO, TO, COUNT);
    asm.reg(Op::Add, FROM, FROM, COUNT);
    asm.imm(Op::And, DISTANCE, DISTANCE, 7);
    asm.branch(Op::Bne, DISTANCE, ZERO, bytes);
    let head = asm.here();
    asm.imm(Op::And, BYTES, TO, 7);
    asm.branch(Op::Beq, BYTES, ZERO, aligned);
    copy_byte_backward(asm);
    asm.branch(Op::Bne, COUNT, ZERO, head);
    asm.goto(done);

    asm.bind(aligned);
    asm.imm(Op::And, BYTES, COUNT, -8);
    asm.imm(Op::And, COUNT, COUNT, 7);
    asm.reg(Op::Sub, END, TO, BYTES);
    let word = asm.here();
    asm.branch(Op::Beq, TO, Src2::Reg(END), bytes);
    asm.load(Op::Ld, VALUE, FROM, -8);
    asm.store(Op::Sd, TO, VALUE, -8);
    asm.imm(Op::Add, FROM, FROM, -8);
    asm.imm(Op::Add, TO, TO, -8);
    asm.goto(word);

    asm.bind(bytes);
    asm.branch(Op::Beq, COUNT, ZERO, done);
    copy_byte_backward(asm);
    asm.goto(bytes);
}

fn copy_byte_backward(asm: &mut Assembler<'_>) {
    asm.load(Op::Lbu, VALUE, FROM, -1);
    asm.store(Op::Sb, TO, VALUE, -1);
    asm.imm(Op::Add, FROM, FROM, -1);
    asm.imm(Op::Add, TO, TO, -1);
    asm.imm(Op::Add, COUNT, COUNT, -1);
}

pub(super) fn fill(table: &mut Table) -> u32 {
    const FILL: u8 = ARG1;
    let mut asm = Assembler::new(table);
    let (aligned, tail, done) = (asm.label(), asm.label(), asm.label());
    // The byte, eight times.
    asm.imm(Op::And, FILL, FILL, 0xff);
    for shift in [8, 16, 32] {
        asm.imm(Op::Sll, VALUE, FILL, shift);
        asm.reg(Op::Or, FILL, FILL, VALUE);
    }
    let head = asm.here();
    asm.branch(Op::Beq, COUNT, ZERO, done);
    asm.imm(Op::And, BYTES, TO, 7);
    asm.branch(Op::Beq, BYTES, ZERO, aligned);
    asm.store(Op::Sb, TO, FILL, 0);
    asm.imm(Op::Add, TO, TO, 1);
    asm.imm(Op::Add, COUNT, COUNT, -1);
    asm.goto(head);

    asm.bind(aligned);
    asm.imm(Op::And, BYTES, COUNT, -8);
    asm.branch(Op::Beq, BYTES, ZERO, tail);
    asm.imm(Op::And, COUNT, COUNT, 7);
    asm.reg(Op::Add, END, TO, BYTES);
    let word = asm.here();
    asm.store(Op::Sd, TO, FILL, 0);
    asm.imm(Op::Add, TO, TO, 8);
    asm.branch(Op::Bne, TO, Src2::Reg(END), word);

    asm.bind(tail);
    asm.branch(Op::Beq, COUNT, ZERO, done);
    asm.store(Op::Sb, TO, FILL, 0);
    asm.imm(Op::Add, TO, TO, 1);
    asm.imm(Op::Add, COUNT, COUNT, -1);
    asm.goto(tail);

    asm.bind(done);
    return_to_caller(&mut asm);
    asm.finish()
}

pub(super) fn compare(table: &mut Table) -> u32 {
    const A: u8 = ARG0;
    const B: u8 = ARG1;
    let mut asm = Assembler::new(table);
    let (words, bytes, differ, done) = (asm.label(), asm.label(), asm.label(), asm.label());
    let compare_byte = |asm: &mut Assembler<'_>| {
        asm.branch(Op::Beq, COUNT, ZERO, done);
        asm.load(Op::Lbu, VALUE, A, 0);
        asm.load(Op::Lbu, OTHER, B, 0);
        asm.branch(Op::Bne, VALUE, Src2::Reg(OTHER), differ);
        asm.imm(Op::Add, A, A, 1);
        asm.imm(Op::Add, B, B, 1);
        asm.imm(Op::Add, COUNT, COUNT, -1);
    };
    asm.imm(Op::Add, RESULT0, 0, 0);
    asm.reg(Op::Sub, DISTANCE, A, B);
    asm.imm(Op::And, DISTANCE, DISTANCE, 7);
    asm.branch(Op::Bne, DISTANCE, ZERO, bytes);
    let head = asm.here();
    asm.imm(Op::And, BYTES, A, 7);
    asm.branch(Op::Beq, BYTES, ZERO, words);
    compare_byte(&mut asm);
    asm.goto(head);

    // Equal words are skipped; in the first pair that is not equal, the bytes find out which.
    asm.bind(words);
    asm.branch(Op::Bltu, COUNT, Src2::Imm(8), bytes);
    asm.load(Op::Ld, VALUE, A, 0);
    asm.load(Op::Ld, OTHER, B, 0);
    asm.branch(Op::Bne, VALUE, Src2::Reg(OTHER), bytes);
    asm.imm(Op::Add, A, A, 8);
    asm.imm(Op::Add, B, B, 8);
    asm.imm(Op::Add, COUNT, COUNT, -8);
    asm.goto(words);

    asm.bind(bytes);
    compare_byte(&mut asm);
    asm.goto(bytes);

    asm.bind(differ);
    asm.reg(Op::Sub, RESULT0, VALUE, OTHER);
    asm.bind(done);
    return_to_caller(&mut asm);
    asm.finish()
}
