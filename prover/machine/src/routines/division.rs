//! Division: the quotient is the prover's to choose and checked by rows. For a divisor that is not zero, a quotient q
//! passes only if q * divisor does not overflow, does not exceed the dividend, and leaves less than the divisor: there is
//! exactly one such q.

use super::{ARG0, ARG1, INNER, RESULT0, RESULT1, return_to_caller};
use crate::assembler::{Assembler, Label, Table};
use crate::program::{Advice, Op, Src2};

const DIVIDEND: u8 = ARG0;
const DIVISOR: u8 = ARG1;
const QUOTIENT: u8 = RESULT0;
const REMAINDER: u8 = RESULT1;

pub(super) fn unsigned(table: &mut Table) -> u32 {
    let mut asm = Assembler::new(table);
    let zero = asm.label();
    asm.branch(Op::Beq, DIVISOR, Src2::Reg(0), zero);
    divide(&mut asm);
    return_to_caller(&mut asm);
    by_zero(&mut asm, zero);
    asm.finish()
}

/// Divides the absolute values, then sets the signs. The most negative dividend is its own absolute value, as an unsigned
/// number; divided by -1 it stays what it is, as it must.
pub(super) fn signed(table: &mut Table) -> u32 {
    const DIVIDEND_SIGN: u8 = INNER + 1;
    const QUOTIENT_SIGN: u8 = INNER + 2;
    let mut asm = Assembler::new(table);
    let zero = asm.label();
    asm.branch(Op::Beq, DIVISOR, Src2::Reg(0), zero);
    asm.imm(Op::Sra, DIVIDEND_SIGN, DIVIDEND, 63);
    negate_if(&mut asm, DIVIDEND, DIVIDEND_SIGN);
    asm.imm(Op::Sra, QUOTIENT_SIGN, DIVISOR, 63);
    negate_if(&mut asm, DIVISOR, QUOTIENT_SIGN);
    asm.reg(Op::Xor, QUOTIENT_SIGN, QUOTIENT_SIGN, DIVIDEND_SIGN);
    divide(&mut asm);
    negate_if(&mut asm, QUOTIENT, QUOTIENT_SIGN);
    negate_if(&mut asm, REMAINDER, DIVIDEND_SIGN);
    return_to_caller(&mut asm);
    by_zero(&mut asm, zero);
    asm.finish()
}

/// Quotient and remainder; the divisor is not zero.
fn divide(asm: &mut Assembler<'_>) {
    const PRODUCT: u8 = INNER;
    const WRONG: &str = "the quotient that was advised is wrong";
    asm.advice(Advice::QuotientU, QUOTIENT, DIVIDEND, DIVISOR);
    asm.reg(Op::Mulhu, PRODUCT, QUOTIENT, DIVISOR);
    asm.refuse_if(Op::Bne, PRODUCT, Src2::Reg(0), WRONG);
    asm.reg(Op::Mul, PRODUCT, QUOTIENT, DIVISOR);
    asm.refuse_if(Op::Bltu, DIVIDEND, Src2::Reg(PRODUCT), WRONG);
    asm.reg(Op::Sub, REMAINDER, DIVIDEND, PRODUCT);
    asm.refuse_if(Op::Bgeu, REMAINDER, Src2::Reg(DIVISOR), WRONG);
}

/// What RISC-V defines for a divisor of zero: all ones, and the dividend.
fn by_zero(asm: &mut Assembler<'_>, zero: Label) {
    asm.bind(zero);
    asm.imm(Op::Add, QUOTIENT, 0, -1);
    asm.imm(Op::Add, REMAINDER, DIVIDEND, 0);
    return_to_caller(asm);
}

/// Negates a register if `sign` is -1; leaves it if `sign` is 0.
fn negate_if(asm: &mut Assembler<'_>, register: u8, sign: u8) {
    asm.reg(Op::Xor, register, register, sign);
    asm.reg(Op::Sub, register, register, sign);
}
