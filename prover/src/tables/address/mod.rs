//! rs1 + constant as a 32-bit address, and what loads and stores share: the address, the word behind it, the part of the word that
//! is meant, and the detour when the address is not naturally aligned.

use p3_field::PrimeCharacteristicRing;
use zisk_machine::program::Row;
use zisk_machine::trace::Step;

use crate::columns;
use crate::stark::table::{Bus, TableBuilder};
use crate::tables::adapter::{
    Access, F, Fetch, RowRest, SLOT_B, SLOT_MEMORY, access, fetch, gap_bytes, halves, immediate, limbs, register,
    zero_unless_used,
};

#[cfg(test)]
pub mod testing;

/// value + constant, modulo 2^64, is `low + 2^16 high`: its two upper limbs are 0.
///
/// `value` and the constant have 16-bit limbs. So each carry below is (a number in [0, 2^17) minus a limb) / 2^16: if the limbs `low`
/// and `high` have 16 bits too, there is one way to make it 0 or 1. Without a bound on `high`, the second carry still
/// says that `high` is an integer in [-2^16, 2^17): stores make use of that.
pub fn sum_is<B: TableBuilder>(b: &mut B, value: &[B::Expr; 4], imm: &[B::Expr; 3], low: B::Expr, high: B::Expr) {
    let sum = [low, high, B::Expr::ZERO, B::Expr::ZERO];
    let mut carry = B::Expr::ZERO;
    for ((v, i), s) in value.iter().zip([&imm[0], &imm[1], &imm[2], &imm[2]]).zip(sum) {
        carry = (v.clone() + i.clone() + carry - s) * F::ONE.div_2exp_u64(16);
        b.assert_bool(carry.clone());
    }
}

columns! {
    /// What loads and stores share.
    pub struct MemoryStep<T> {
        /// State and row.
        pub fetch: Fetch<T>,
        /// Value of rs1.
        pub b: [T; 4],
        /// Read of rs1.
        pub access_b: Access<T>,
        /// The offset, a constant (i0, i1, h).
        pub imm: [T; 3],
        /// Where the misaligned case is done, halves.
        pub alt_pc: [T; 2],
        /// Where the step goes: `next_pc` or `alt_pc`.
        pub goto: [T; 2],
        /// 1: nothing happens, go to `alt_pc`.
        pub misaligned: T,
        /// Bits 0, 1, 2 of the address.
        pub offset: [T; 3],
        /// Bits 3 to 7 of the address.
        pub line: T,
        /// Bits 8 to 15 of the address.
        pub high_byte: T,
        /// Bits 16 to 31 of the address.
        pub high: T,
        /// The word at the address before the step; 0 when misaligned.
        pub before: [T; 4],
        /// Access to the word; 0 when misaligned.
        pub access_memory: Access<T>,
        /// For bytes the byte at the address, else the limb at the address; 0 when misaligned.
        pub part: T,
        /// For bytes the other byte of the limb, else 0.
        pub other: T,
    }
}

impl MemoryStep<F> {
    /// Fills the columns; `byte` says whether the operation is one on bytes.
    pub fn fill(&mut self, step: &Step, row: &Row, offset: i64, byte: bool) {
        self.fetch.fill(step, row);
        self.b = limbs(step.b);
        self.access_b.fill(step.clk, SLOT_B, step.ts_b);
        self.imm = immediate(offset);
        self.alt_pc = halves(row.alt_pc);
        self.goto = halves(step.next_pc);
        let address = step.b.wrapping_add_signed(offset) as u32;
        self.offset = std::array::from_fn(|i| F::from_u32(address >> i & 1));
        self.line = F::from_u32(address >> 3 & 31);
        self.high_byte = F::from_u32(address >> 8 & 0xff);
        self.high = F::from_u32(address >> 16);
        if step.misaligned {
            self.misaligned = F::ONE;
            return;
        }
        self.before = limbs(step.memory.before);
        self.access_memory.fill(step.clk, SLOT_MEMORY, step.memory.prev_ts);
        let limb = (step.memory.before >> ((address >> 1 & 3) * 16)) as u16;
        if byte {
            let [low, high] = limb.to_le_bytes();
            let (part, other) = if address & 1 == 0 { (low, high) } else { (high, low) };
            (self.part, self.other) = (F::from_u8(part), F::from_u8(other));
        } else {
            self.part = F::from_u16(limb);
        }
    }
}

/// What an operation's rows say beside what [`MemoryStep`] holds.
pub struct Operation<E> {
    /// Number in the program table.
    pub code: E,
    /// Destination.
    pub rd: E,
    /// Register with the value to store.
    pub rs2: E,
    /// 1 for operations on bytes; never together with `misaligned`.
    pub is_byte: E,
    /// Where these are not 0, bits 0, 1, 2 of the address must be. Degree at most 2; bit 0 at least for all but bytes, unless
    /// misaligned.
    pub aligned: [E; 3],
    /// A third high byte of a gap to look up, beside those of rs1 and memory.
    pub gap_hi: E,
}

/// Fetch, address, the access to its word (found: `row.before`, left: `after`), and where to go on. `real` is 1 on steps, `used` on
/// those that access memory: `real - misaligned`, of degree 1.
///
/// The address is held to be below 2^32 also where it is misaligned: the detour would find no memory behind it either.
pub fn memory_step<B: TableBuilder>(
    b: &mut B,
    real: &B::Expr,
    used: &B::Expr,
    operation: Operation<B::Expr>,
    row: &MemoryStep<B::Expr>,
    after: &[B::Expr; 4],
) {
    let MemoryStep { fetch: state, offset, line, high_byte, high, before, part, other, .. } = row;
    let Operation { code, rd, rs2, is_byte, aligned, gap_hi } = operation;
    let clk = &state.clk;

    // The prover may take the detour as it likes (it does the same byte by byte), but must take it if not aligned.
    for ((goto, next), alt) in row.goto.iter().zip(&state.next_pc).zip(&row.alt_pc) {
        b.assert_eq(goto.clone(), next.clone() + row.misaligned.clone() * (alt.clone() - next.clone()));
    }
    let rest = RowRest { code, rd, rs2, imm: row.imm.clone(), alt_pc: row.alt_pc.clone() };
    fetch(b, real, state, &rest, row.goto.clone());
    access(b, real, register::<B>(&state.rs1), clk, SLOT_B, &row.access_b, &row.b, &row.b);

    // The address: 8 line + offset is a byte because line < 32 (both `line` and `8 line` are bytes) and the bits are bits.
    // `high` is bounded by the caller.
    for (bit, aligned) in offset.iter().zip(aligned) {
        b.assert_bool(bit.clone());
        b.assert_zero(aligned * bit.clone());
    }
    b.send(Bus::Bytes, real.clone(), &[line.clone(), line.clone() * F::from_u32(8)]);
    gap_bytes(b, real, &row.access_b.gap_hi, &row.access_memory.gap_hi);
    gap_bytes(b, real, high_byte, &gap_hi);
    let low = offset[0].clone()
        + offset[1].clone() * F::TWO
        + offset[2].clone() * F::from_u32(4)
        + line.clone() * F::from_u32(8)
        + high_byte.clone() * F::from_u32(1 << 8);
    sum_is(b, &row.b, &row.imm, low, high.clone());

    // The word.
    let word = line.clone() + high_byte.clone() * F::from_u32(1 << 5) + high.clone() * F::from_u32(1 << 13);
    zero_unless_used(b, used, &row.access_memory);
    for limb in before {
        b.assert_zero((B::Expr::ONE - used.clone()) * limb.clone());
    }
    access(b, used, word, clk, SLOT_MEMORY, &row.access_memory, before, after);

    // The limb at the address is part + 256 other, or 256 part + other for the upper byte. For all but bytes `other` is 0 and so is bit 0,
    // unless misaligned: then the limb is 0 and so is `part`.
    let limb = limb_selectors::<B>(offset).into_iter().zip(before).map(|(s, limb)| s * limb.clone()).sum::<B::Expr>();
    let swapped = offset[0].clone() * (part.clone() - other.clone()) * F::from_u32(255);
    b.assert_eq(limb, part.clone() + other.clone() * F::from_u32(256) + swapped);
    b.assert_zero((B::Expr::ONE - is_byte.clone()) * other.clone());
    b.send(Bus::Bytes, is_byte, &[part.clone(), other.clone()]);
}

/// For each limb of the word: 1 if bits 1 and 2 of the address name it, else 0.
pub fn limb_selectors<B: TableBuilder>(offset: &[B::Expr; 3]) -> [B::Expr; 4] {
    let [_, x, y] = offset;
    let both = x.clone() * y.clone();
    [B::Expr::ONE - x.clone() - y.clone() + both.clone(), x.clone() - both.clone(), y.clone() - both.clone(), both]
}
