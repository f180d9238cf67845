//! Routines in hidden rows that guest instructions call: registers are passed in hidden registers, `LINK` holds where to
//! return to. Routines do not call each other with `LINK`.

mod division;
mod keccak;
mod memory;
mod misaligned;
mod sha256;

use crate::assembler::{Assembler, Table};
use crate::memory_map::SINK;
use crate::program::Op;

/// First argument of routines: an address or the dividend.
pub(crate) const ARG0: u8 = 32;
/// Second argument.
pub(crate) const ARG1: u8 = 33;
/// Third argument.
pub(crate) const ARG2: u8 = 34;
/// First result: the value loaded, the quotient, the order of two memory areas.
pub(crate) const RESULT0: u8 = 35;
/// Second result: the remainder.
pub(crate) const RESULT1: u8 = 36;
/// For rows of one guest instruction that call no routine.
pub(crate) const TEMP0: u8 = 37;
/// The same.
pub(crate) const TEMP1: u8 = 38;
/// For the inside of routines, which may use every hidden register up to `LINK`.
const INNER: u8 = 39;
/// Where a routine returns to.
pub(crate) const LINK: u8 = 61;
/// Address of the reservation that LR made and SC needs; 0 when there is none (no memory is there).
pub(crate) const RESERVATION: u8 = 62;

/// A routine.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub(crate) enum Routine {
    /// RESULT0 = the load `Op` at ARG0, byte by byte.
    Load(Op),
    /// The store `Op` of ARG1 at ARG0, byte by byte.
    Store(Op),
    /// RESULT0, RESULT1 = quotient and remainder of ARG0 and ARG1, unsigned.
    DivideUnsigned,
    /// The same, signed.
    DivideSigned,
    /// Copies ARG2 bytes from ARG1 to ARG0, which may overlap.
    CopyMemory,
    /// Sets ARG2 bytes at ARG0 to the low byte of ARG1.
    FillMemory,
    /// RESULT0 = difference of the first unequal bytes of ARG2 bytes at ARG0 and ARG1, or 0.
    CompareMemory,
    /// Keccak-f[1600] on the 25 words at ARG0.
    KeccakF,
    /// SHA-256 compression of the 64 bytes at ARG1 into the eight 32-bit words at ARG0.
    Sha256F,
}

impl Routine {
    pub(crate) fn build(self, table: &mut Table) -> u32 {
        match self {
            Self::Load(op) => misaligned::load(table, op),
            Self::Store(op) => misaligned::store(table, op),
            Self::DivideUnsigned => division::unsigned(table),
            Self::DivideSigned => division::signed(table),
            Self::CopyMemory => memory::copy(table),
            Self::FillMemory => memory::fill(table),
            Self::CompareMemory => memory::compare(table),
            Self::KeccakF => keccak::permutation(table),
            Self::Sha256F => sha256::compression(table),
        }
    }
}

/// Returns from a routine.
fn return_to_caller(asm: &mut Assembler<'_>) {
    asm.imm(Op::Return, SINK, LINK, 0);
}
