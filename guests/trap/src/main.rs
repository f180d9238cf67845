//! Does one thing that the machine must refuse: the job fails and there is no proof.
//!
//! Input: one chunk of one byte, the key of the `match` below. Exit code 2 for any other key; 3 if the machine let it pass.
#![no_std]
#![no_main]

use core::arch::asm;
use runtime as _;
use ziskos::io;

ziskos::entrypoint!(main);

fn main() -> i32 {
    let &[key] = io::read_slice() else {
        return UNKNOWN_KEY;
    };
    // SAFETY: none of these is sound; the machine ends the program at the instruction itself.
    unsafe {
        match key {
            // Accesses outside the map.
            b'l' => asm!("ld {0}, 0({0})", inout(reg) 0x4000_0000_u64 => _),
            b's' => asm!("sd {0}, 0({0})", in(reg) 0x4000_0000_u64),
            // Address 2^32 + RAM: a machine that drops the upper half would let it pass.
            b'h' => asm!("ld {0}, 0({0})", inout(reg) 0x1_a050_0000_u64 => _),
            b'n' => asm!("ld {0}, 0({0})", inout(reg) 0_u64 => _),
            // Stores where only loads are allowed: code, input.
            b'r' => asm!("sw {0}, 0({1})", in(reg) 0, in(reg) 0x9000_0000_u64),
            b'w' => asm!("sb {0}, 0({1})", in(reg) 1, in(reg) 0x1000_0010_u64),
            // Instructions: undefined, breakpoint, floating point, unknown CSR, precompile we do not have (arith256).
            b'u' => asm!("unimp"),
            b'b' => asm!("ebreak"),
            b'f' => asm!(".insn 4, 0x02007053"), // fadd.d f0, f0, f0
            b'c' => asm!("csrr {0}, cycle", out(reg) _),
            b'p' => asm!("csrs 0x801, {0}", in(reg) 0xa050_0000_u64),
            // Environment call other than exit.
            b'e' => asm!("ecall", in("a7") 64, inout("a0") 1 => _),
            // Jumps to where no instruction is: RAM, nothing.
            b'j' => asm!("jalr {0}", in(reg) 0xa050_0000_u64, lateout("ra") _),
            b'z' => asm!("jalr {0}", in(reg) 0_u64, lateout("ra") _),
            // Never ends: the step limit must.
            b'x' => asm!("1: j 1b"),
            // Endless recursion: the stack runs out of RAM at its lower end.
            b'o' => return overflow(key as u64) as i32,
            _ => return UNKNOWN_KEY,
        }
    }
    LET_PASS
}

const UNKNOWN_KEY: i32 = 2;
const LET_PASS: i32 = 3;

#[inline(never)]
fn overflow(depth: u64) -> u64 {
    if depth == u64::MAX {
        return 0;
    }
    let frame = core::hint::black_box([depth; 512]);
    overflow(depth + 1) + frame[depth as usize % 512]
}
