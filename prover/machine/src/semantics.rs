//! What each operation computes; used by the executor and by replay.

use crate::program::Op;

/// Result of an operation that is no branch, jump, load or store. An `Advice` gives the unsigned quotient.
#[inline(always)]
pub(crate) fn compute(op: Op, b: u64, c: u64) -> u64 {
    let word = |value: u32| value as i32 as i64 as u64;
    match op {
        Op::Add => b.wrapping_add(c),
        Op::Sub => b.wrapping_sub(c),
        Op::AddW => word((b as u32).wrapping_add(c as u32)),
        Op::SubW => word((b as u32).wrapping_sub(c as u32)),
        Op::Advice => b.checked_div(c).unwrap_or(0),
        Op::And => b & c,
        Op::Or => b | c,
        Op::Xor => b ^ c,
        Op::Sll => b << (c & 63),
        Op::Srl => b >> (c & 63),
        Op::Sra => (b as i64 >> (c & 63)) as u64,
        Op::SllW => word((b as u32) << (c & 31)),
        Op::SrlW => word(b as u32 >> (c & 31)),
        Op::SraW => (b as i32 >> (c & 31)) as i64 as u64,
        Op::Slt => u64::from((b as i64) < c as i64),
        Op::Sltu => u64::from(b < c),
        Op::Mul => b.wrapping_mul(c),
        Op::Mulhu => ((u128::from(b) * u128::from(c)) >> 64) as u64,
        _ => 0,
    }
}

/// Whether a branch is taken.
#[inline(always)]
pub(crate) fn taken(op: Op, b: u64, c: u64) -> bool {
    match op {
        Op::Beq => b == c,
        Op::Bne => b != c,
        Op::Blt => (b as i64) < c as i64,
        Op::Bge => b as i64 >= c as i64,
        Op::Bltu => b < c,
        Op::Bgeu => b >= c,
        _ => false,
    }
}

/// What a load makes of the word that holds its bytes.
#[inline(always)]
pub(crate) fn extract(op: Op, word: u64, address: u64) -> u64 {
    let value = word >> (address % 8 * 8);
    match op {
        Op::Lb => value as i8 as i64 as u64,
        Op::Lbu => u64::from(value as u8),
        Op::Lh => value as i16 as i64 as u64,
        Op::Lhu => u64::from(value as u16),
        Op::Lw => value as i32 as i64 as u64,
        Op::Lwu => u64::from(value as u32),
        _ => value,
    }
}

/// The word after a store of `value` to some of its bytes.
#[inline(always)]
pub(crate) fn insert(op: Op, word: u64, address: u64, value: u64) -> u64 {
    let mask = match op {
        Op::Sb => 0xff,
        Op::Sh => 0xffff,
        Op::Sw => 0xffff_ffff,
        _ => u64::MAX,
    };
    let shift = address % 8 * 8;
    word & !(mask << shift) | (value & mask) << shift
}
