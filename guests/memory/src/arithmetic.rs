//! Multiplication and division, edge cases included, as instructions and as 128-bit arithmetic.

use crate::{Digest, Random};
use core::arch::asm;

/// Operands at the edges, and random ones.
fn operands(random: &mut Random) -> [u64; 10] {
    let (one, half) = (random.next(), random.next() >> 32);
    let minimum_word = i32::MIN as i64 as u64;
    [
        0,
        1,
        2,
        u64::MAX,
        i64::MAX as u64,
        i64::MIN as u64,
        minimum_word,
        0x7fff_ffff,
        one,
        half,
    ]
}

macro_rules! every_pair {
    ($random:ident, $digest:ident, $($instruction:literal),*) => {
        let operands = operands($random);
        for left in operands {
            for right in operands {
                $({
                    let result: u64;
                    // SAFETY: an instruction on registers.
                    unsafe {
                        asm!(
                            concat!($instruction, " {0}, {1}, {2}"),
                            out(reg) result, in(reg) left, in(reg) right,
                            options(pure, nomem, nostack)
                        );
                    }
                    $digest.add(result);
                })*
            }
        }
    };
}

pub fn divide(random: &mut Random, digest: &mut Digest) {
    every_pair!(random, digest, "div", "divu", "rem", "remu", "divw", "divuw", "remw", "remuw");
}

pub fn multiply(random: &mut Random, digest: &mut Digest) {
    every_pair!(random, digest, "mul", "mulh", "mulhsu", "mulhu", "mulw");
}

pub fn wide(random: &mut Random, digest: &mut Digest) {
    let mut value = u128::from(random.next()) << 64 | u128::from(random.next());
    for _ in 0..30 {
        let factor = u128::from(random.next());
        let divisor = u128::from(random.next()) << random.below(60) | 1;
        let product = value.wrapping_mul(factor).wrapping_add(divisor);
        value = product / divisor ^ (product % divisor) << 7;
        digest.add(value as u64);
        digest.add((value >> 64) as u64);
        digest.add((value as i128 / -(divisor as i128)) as u64);
    }
}
