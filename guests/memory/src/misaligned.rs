//! Loads and stores of every width at every offset.

use crate::{Digest, Random};
use core::arch::asm;

macro_rules! load {
    ($instruction:literal, $address:expr, $digest:ident) => {
        let value: u64;
        // SAFETY: the caller keeps the address inside its buffer.
        unsafe {
            asm!(
                concat!($instruction, " {0}, 0({1})"),
                out(reg) value, in(reg) $address, options(readonly, nostack)
            );
        }
        $digest.add(value);
    };
}

macro_rules! store {
    ($instruction:literal, $address:expr, $value:expr) => {
        // SAFETY: the caller keeps the address inside its buffer.
        unsafe { asm!(concat!($instruction, " {0}, 0({1})"), in(reg) $value, in(reg) $address, options(nostack)) }
    };
}

#[repr(align(16))]
struct Buffer([u8; 32]);

pub fn misaligned(random: &mut Random, digest: &mut Digest) {
    let mut buffer = Buffer(random.bytes());
    for offset in 0..16 {
        let address = buffer.0[offset..].as_mut_ptr();
        load!("lb", address, digest);
        load!("lbu", address, digest);
        load!("lh", address, digest);
        load!("lhu", address, digest);
        load!("lw", address, digest);
        load!("lwu", address, digest);
        load!("ld", address, digest);
        store!("sd", address, random.next());
        store!("sw", address, random.next());
        store!("sh", address, random.next());
        store!("sb", address, random.next());
    }
    digest.add_bytes(&buffer.0);
}
