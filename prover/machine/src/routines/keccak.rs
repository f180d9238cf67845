//! Keccak-f[1600] (FIPS 202) in rows: one round as a subroutine, which the driver calls 24 times, each time with its
//! round constant.

use super::{ARG0, return_to_caller};
use crate::assembler::{Assembler, Table};
use crate::memory_map::SINK;
use crate::program::Op;

const STATE: u8 = ARG0;
/// Registers for lanes: 25 lanes of the next state and the last theta word are alive at once.
const LANES: std::ops::RangeInclusive<u8> = 33..=58;
const ROUND_LINK: u8 = 59;
const TEMP: u8 = 60;

/// Rotations of rho, indexed by x + 5 y.
const ROTATIONS: [i64; 25] = [0, 1, 62, 28, 27, 36, 44, 6, 55, 20, 3, 10, 43, 25, 39, 41, 45, 15, 21, 8, 18, 2, 61, 56, 14];

const ROUND_CONSTANTS: [u64; 24] = [
    0x0000_0000_0000_0001,
    0x0000_0000_0000_8082,
    0x8000_0000_0000_808a,
    0x8000_0000_8000_8000,
    0x0000_0000_0000_808b,
    0x0000_0000_8000_0001,
    0x8000_0000_8000_8081,
    0x8000_0000_0000_8009,
    0x0000_0000_0000_008a,
    0x0000_0000_0000_0088,
    0x0000_0000_8000_8009,
    0x0000_0000_8000_000a,
    0x0000_0000_8000_808b,
    0x8000_0000_0000_008b,
    0x8000_0000_0000_8089,
    0x8000_0000_0000_8003,
    0x8000_0000_0000_8002,
    0x8000_0000_0000_0080,
    0x0000_0000_0000_800a,
    0x8000_0000_8000_000a,
    0x8000_0000_8000_8081,
    0x8000_0000_0000_8080,
    0x0000_0000_8000_0001,
    0x8000_0000_8000_8008,
];

pub(super) fn permutation(table: &mut Table) -> u32 {
    let round = round(table);
    let mut asm = Assembler::new(table);
    for constant in ROUND_CONSTANTS {
        // A call: `Return` that keeps its link.
        asm.imm(Op::Return, ROUND_LINK, 0, i64::from(round));
        // Iota. Only bit 63 is set above bit 31.
        let (lane, value) = (*LANES.start(), *LANES.start() + 1);
        asm.imm(Op::Add, value, 0, (constant >> 63) as i64);
        asm.imm(Op::Sll, value, value, 63);
        asm.imm(Op::Or, value, value, (constant & 0xffff_ffff) as i64);
        asm.load(Op::Ld, lane, STATE, 0);
        asm.reg(Op::Xor, lane, lane, value);
        asm.store(Op::Sd, STATE, lane, 0);
    }
    return_to_caller(&mut asm);
    asm.finish()
}

/// Theta, rho, pi and chi on the state in memory.
fn round(table: &mut Table) -> u32 {
    let mut asm = Assembler::new(table);
    let mut free: Vec<u8> = LANES.rev().collect();
    let take = |free: &mut Vec<u8>| free.pop().unwrap_or(SINK);
    let address = |x: usize, y: usize| 8 * (x + 5 * y) as i32;

    // Parity of each column.
    let parity: [u8; 5] = std::array::from_fn(|_| take(&mut free));
    for (x, &c) in parity.iter().enumerate() {
        asm.load(Op::Ld, c, STATE, address(x, 0));
        for y in 1..5 {
            asm.load(Op::Ld, TEMP, STATE, address(x, y));
            asm.reg(Op::Xor, c, c, TEMP);
        }
    }
    // What theta adds to each column.
    let added: [u8; 5] = std::array::from_fn(|_| take(&mut free));
    for (x, &d) in added.iter().enumerate() {
        let next = parity[(x + 1) % 5];
        asm.imm(Op::Sll, d, next, 1);
        asm.imm(Op::Srl, TEMP, next, 63);
        asm.reg(Op::Or, d, d, TEMP);
        asm.reg(Op::Xor, d, d, parity[(x + 4) % 5]);
    }
    free.extend(parity);
    // Rho and pi: the lane at (x, y) goes to (y, 2x + 3y).
    let mut lanes = [[0; 5]; 5];
    for (x, &d) in added.iter().enumerate() {
        for y in 0..5 {
            let lane = take(&mut free);
            asm.load(Op::Ld, lane, STATE, address(x, y));
            asm.reg(Op::Xor, lane, lane, d);
            let rotation = ROTATIONS[x + 5 * y];
            if rotation != 0 {
                asm.imm(Op::Sll, TEMP, lane, rotation);
                asm.imm(Op::Srl, lane, lane, 64 - rotation);
                asm.reg(Op::Or, lane, lane, TEMP);
            }
            lanes[y][(2 * x + 3 * y) % 5] = lane;
        }
        free.push(d);
    }
    // Chi.
    for y in 0..5 {
        for x in 0..5 {
            asm.imm(Op::Xor, TEMP, lanes[(x + 1) % 5][y], -1);
            asm.reg(Op::And, TEMP, TEMP, lanes[(x + 2) % 5][y]);
            asm.reg(Op::Xor, TEMP, TEMP, lanes[x][y]);
            asm.store(Op::Sd, STATE, TEMP, address(x, y));
        }
    }
    asm.imm(Op::Return, SINK, ROUND_LINK, 0);
    asm.finish()
}
