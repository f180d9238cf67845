//! The SHA-256 compression function (FIPS 180-4) in rows, all 64 rounds in a line.
//!
//! 32-bit words are kept zero-extended in 64-bit registers. A word doubled (itself in both halves) is rotated by a shift;
//! only the low half of such a result means anything, and it is masked once after the additions.

use super::{ARG0, ARG1, return_to_caller};
use crate::assembler::{Assembler, Table};
use crate::program::Op;

const STATE: u8 = ARG0;
const BLOCK: u8 = ARG1;
/// The last 16 words of the message schedule.
const SCHEDULE: u8 = 34;
/// a to h.
const VARIABLES: u8 = 50;
const SUM: u8 = 58;
const TEMP: u8 = 59;
const DOUBLED: u8 = 60;
const MASK: i64 = 0xffff_ffff;

const K: [u32; 64] = [
    0x428a_2f98,
    0x7137_4491,
    0xb5c0_fbcf,
    0xe9b5_dba5,
    0x3956_c25b,
    0x59f1_11f1,
    0x923f_82a4,
    0xab1c_5ed5,
    0xd807_aa98,
    0x1283_5b01,
    0x2431_85be,
    0x550c_7dc3,
    0x72be_5d74,
    0x80de_b1fe,
    0x9bdc_06a7,
    0xc19b_f174,
    0xe49b_69c1,
    0xefbe_4786,
    0x0fc1_9dc6,
    0x240c_a1cc,
    0x2de9_2c6f,
    0x4a74_84aa,
    0x5cb0_a9dc,
    0x76f9_88da,
    0x983e_5152,
    0xa831_c66d,
    0xb003_27c8,
    0xbf59_7fc7,
    0xc6e0_0bf3,
    0xd5a7_9147,
    0x06ca_6351,
    0x1429_2967,
    0x27b7_0a85,
    0x2e1b_2138,
    0x4d2c_6dfc,
    0x5338_0d13,
    0x650a_7354,
    0x766a_0abb,
    0x81c2_c92e,
    0x9272_2c85,
    0xa2bf_e8a1,
    0xa81a_664b,
    0xc24b_8b70,
    0xc76c_51a3,
    0xd192_e819,
    0xd699_0624,
    0xf40e_3585,
    0x106a_a070,
    0x19a4_c116,
    0x1e37_6c08,
    0x2748_774c,
    0x34b0_bcb5,
    0x391c_0cb3,
    0x4ed8_aa4a,
    0x5b9c_ca4f,
    0x682e_6ff3,
    0x748f_82ee,
    0x78a5_636f,
    0x84c8_7814,
    0x8cc7_0208,
    0x90be_fffa,
    0xa450_6ceb,
    0xbef9_a3f7,
    0xc671_78f2,
];

pub(super) fn compression(table: &mut Table) -> u32 {
    let mut asm = Assembler::new(table);
    // The message is big-endian; byte loads also take it from any address.
    for t in 0..16 {
        let word = SCHEDULE + t;
        asm.load(Op::Lbu, word, BLOCK, 4 * i32::from(t));
        for byte in 1..4 {
            asm.imm(Op::Sll, word, word, 8);
            asm.load(Op::Lbu, TEMP, BLOCK, 4 * i32::from(t) + byte);
            asm.reg(Op::Or, word, word, TEMP);
        }
    }
    let mut names: [u8; 8] = std::array::from_fn(|i| VARIABLES + i as u8);
    for (i, name) in names.into_iter().enumerate() {
        asm.load(Op::Lwu, name, STATE, 4 * i as i32);
    }
    for (t, k) in K.into_iter().enumerate() {
        let word = |back: usize| SCHEDULE + ((t + 16 - back) % 16) as u8;
        if t >= 16 {
            // The word of 16 rounds ago becomes the new one.
            small_sigma(&mut asm, word(15), [7, 18], 3);
            asm.reg(Op::Add, word(16), word(16), SUM);
            small_sigma(&mut asm, word(2), [17, 19], 10);
            asm.reg(Op::Add, word(16), word(16), SUM);
            asm.reg(Op::Add, word(16), word(16), word(7));
            asm.imm(Op::And, word(16), word(16), MASK);
        }
        let [a, b, c, d, e, f, g, h] = names;
        big_sigma(&mut asm, e, [6, 11, 25]);
        asm.reg(Op::Add, h, h, SUM);
        asm.reg(Op::Xor, SUM, f, g);
        asm.reg(Op::And, SUM, SUM, e);
        asm.reg(Op::Xor, SUM, SUM, g);
        asm.reg(Op::Add, h, h, SUM);
        asm.imm(Op::Add, h, h, i64::from(k));
        asm.reg(Op::Add, h, h, word(16));
        asm.reg(Op::Add, d, d, h);
        asm.imm(Op::And, d, d, MASK);
        big_sigma(&mut asm, a, [2, 13, 22]);
        asm.reg(Op::Add, h, h, SUM);
        asm.reg(Op::And, SUM, a, b);
        asm.reg(Op::Or, TEMP, a, b);
        asm.reg(Op::And, TEMP, TEMP, c);
        asm.reg(Op::Or, SUM, SUM, TEMP);
        asm.reg(Op::Add, h, h, SUM);
        asm.imm(Op::And, h, h, MASK);
        names.rotate_right(1);
    }
    for (i, name) in names.into_iter().enumerate() {
        asm.load(Op::Lwu, TEMP, STATE, 4 * i as i32);
        asm.reg(Op::Add, TEMP, TEMP, name);
        asm.store(Op::Sw, STATE, TEMP, 4 * i as i32);
    }
    return_to_caller(&mut asm);
    asm.finish()
}

fn double(asm: &mut Assembler<'_>, word: u8) {
    asm.imm(Op::Sll, DOUBLED, word, 32);
    asm.reg(Op::Or, DOUBLED, DOUBLED, word);
}

/// SUM = the xor of three rotations, in its low half.
fn big_sigma(asm: &mut Assembler<'_>, word: u8, [first, second, third]: [i64; 3]) {
    double(asm, word);
    asm.imm(Op::Srl, SUM, DOUBLED, first);
    for rotation in [second, third] {
        asm.imm(Op::Srl, TEMP, DOUBLED, rotation);
        asm.reg(Op::Xor, SUM, SUM, TEMP);
    }
}

/// SUM = the xor of two rotations and a shift, in its low half.
fn small_sigma(asm: &mut Assembler<'_>, word: u8, [first, second]: [i64; 2], shift: i64) {
    double(asm, word);
    asm.imm(Op::Srl, SUM, DOUBLED, first);
    asm.imm(Op::Srl, TEMP, DOUBLED, second);
    asm.reg(Op::Xor, SUM, SUM, TEMP);
    asm.imm(Op::Srl, TEMP, word, shift);
    asm.reg(Op::Xor, SUM, SUM, TEMP);
}
