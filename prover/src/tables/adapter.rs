//! What all instruction tables share: the step's state, the fetch of its row, reads and writes of registers and memory.

use p3_field::PrimeCharacteristicRing;
use p3_koala_bear::KoalaBear;
use zisk_machine::memory_map::REGISTER_WORD;
use zisk_machine::program::{Op, Row, Src2};
use zisk_machine::trace::Step;

use crate::columns;
use crate::stark::table::{Bus, TableBuilder};

/// Shorthand for the field.
pub type F = KoalaBear;

/// Timestamp slots of a step.
pub const SLOT_B: u32 = 0;
/// Read of rs2.
pub const SLOT_C: u32 = 1;
/// Memory access.
pub const SLOT_MEMORY: u32 = 2;
/// Write of rd.
pub const SLOT_A: u32 = 3;

/// The number of an operation in the program table.
pub const fn code(op: Op, imm: bool) -> u32 {
    2 * op as u32 + imm as u32 + 1
}

/// 16-bit limbs of a value, least significant first.
pub fn limbs(x: u64) -> [F; 4] {
    std::array::from_fn(|i| F::from_u16((x >> (16 * i)) as u16))
}

/// 16-bit halves of a pc.
pub fn halves(pc: u32) -> [F; 2] {
    [F::from_u16(pc as u16), F::from_u16((pc >> 16) as u16)]
}

/// Bytes of a value, least significant first.
pub fn bytes(x: u64) -> [F; 8] {
    x.to_le_bytes().map(F::from_u8)
}

/// Value of a constant operand as (i0, i1, h).
pub fn immediate(imm: i64) -> [F; 3] {
    let l = limbs(imm as u64);
    [l[0], l[1], l[2]]
}

columns! {
    /// A step's state and the parts of its program row that every instruction table needs.
    pub struct Fetch<T> {
        /// Step number in the segment, from 1.
        pub clk: T,
        /// Program counter, halves.
        pub pc: [T; 2],
        /// Successor in the program row, halves.
        pub next_pc: [T; 2],
        /// First operand's register.
        pub rs1: T,
    }
}

impl Fetch<F> {
    /// Fills the columns.
    pub fn fill(&mut self, step: &Step, row: &Row) {
        self.clk = F::from_u32(step.clk);
        self.pc = halves(row.pc);
        self.next_pc = halves(row.next_pc);
        self.rs1 = F::from_u8(row.rs1);
    }
}

/// The rest of a program row; zero expressions for what an operation's rows do not use.
pub struct RowRest<E> {
    /// `code(op, imm)`.
    pub code: E,
    /// Destination.
    pub rd: E,
    /// Second operand's register, 0 when it is a constant.
    pub rs2: E,
    /// The constant or the store's offset as (i0, i1, h).
    pub imm: [E; 3],
    /// The other successor.
    pub alt_pc: [E; 2],
}

/// Tuple of a row on the program bus. The program table sends exactly these fields.
pub fn program_tuple<E: Clone>(pc: &[E; 2], next_pc: &[E; 2], rs1: &E, rest: &RowRest<E>) -> [E; 13] {
    [
        pc[0].clone(),
        pc[1].clone(),
        rest.code.clone(),
        rest.rd.clone(),
        rs1.clone(),
        rest.rs2.clone(),
        rest.imm[0].clone(),
        rest.imm[1].clone(),
        rest.imm[2].clone(),
        next_pc[0].clone(),
        next_pc[1].clone(),
        rest.alt_pc[0].clone(),
        rest.alt_pc[1].clone(),
    ]
}

/// A program row as field elements, in the order of [`program_tuple`]: the preprocessed program table.
pub fn program_row(row: &Row) -> [F; 13] {
    let (rs2, imm) = match row.src2 {
        Src2::Reg(r) => (r, i64::from(row.offset)),
        Src2::Imm(imm) => (0, imm),
    };
    let rest = RowRest {
        code: F::from_u32(code(row.op, matches!(row.src2, Src2::Imm(_)))),
        rd: F::from_u8(row.rd),
        rs2: F::from_u8(rs2),
        imm: immediate(imm),
        alt_pc: halves(row.alt_pc),
    };
    program_tuple(&halves(row.pc), &halves(row.next_pc), &F::from_u8(row.rs1), &rest)
}

/// Takes the step's state off the state bus, looks its row up, and puts the next state on the bus.
/// `real` is 1 on rows that are steps and 0 on padding.
pub fn fetch<B: TableBuilder>(b: &mut B, real: &B::Expr, fetch: &Fetch<B::Expr>, rest: &RowRest<B::Expr>, goto: [B::Expr; 2]) {
    let Fetch { clk, pc, next_pc, rs1 } = fetch;
    b.receive(Bus::State, real.clone(), &[clk.clone(), pc[0].clone(), pc[1].clone()]);
    let [lo, hi] = goto;
    b.send(Bus::State, real.clone(), &[clk.clone() + F::ONE, lo, hi]);
    b.receive(Bus::Program, real.clone(), &program_tuple(pc, next_pc, rs1, rest));
}

columns! {
    /// When a word was accessed before.
    pub struct Access<T> {
        /// Timestamp of the access before this one.
        pub prev_ts: T,
        /// High byte of (this timestamp - prev_ts - 1); the low 16 bits are looked up as an expression.
        pub gap_hi: T,
    }
}

impl Access<F> {
    /// Fills the columns for an access at step `clk`, `slot`.
    pub fn fill(&mut self, clk: u32, slot: u32, prev_ts: u32) {
        self.prev_ts = F::from_u32(prev_ts);
        self.gap_hi = F::from_u32((4 * clk + slot - prev_ts - 1) >> 16);
    }
}

/// Timestamp of a slot of this step.
pub fn timestamp<B: TableBuilder>(clk: &B::Expr, slot: u32) -> B::Expr {
    clk.clone() * F::from_u32(4) + F::from_u32(slot)
}

/// Word number of a register.
pub fn register<B: TableBuilder>(register: &B::Expr) -> B::Expr {
    register.clone() + F::from_u32(REGISTER_WORD)
}

/// An access to `word` at step `clk`, `slot`, where `used` (degree 1) is 1: `before` must be the value of the last access, `after`
/// is what the next one finds. Time must have passed: the gap is below 2^24. The caller looks up `gap_hi` as a byte ([`gap_bytes`]).
#[allow(clippy::too_many_arguments, reason = "an access has this many parts")]
pub fn access<B: TableBuilder>(
    b: &mut B,
    used: &B::Expr,
    word: B::Expr,
    clk: &B::Expr,
    slot: u32,
    columns: &Access<B::Expr>,
    before: &[B::Expr; 4],
    after: &[B::Expr; 4],
) {
    let ts = timestamp::<B>(clk, slot);
    let tuple = |ts: B::Expr, v: &[B::Expr; 4]| [word.clone(), ts, v[0].clone(), v[1].clone(), v[2].clone(), v[3].clone()];
    b.receive(Bus::Memory, used.clone(), &tuple(columns.prev_ts.clone(), before));
    b.send(Bus::Memory, used.clone(), &tuple(ts.clone(), after));
    let gap_lo = ts - columns.prev_ts.clone() - F::ONE - columns.gap_hi.clone() * F::from_u32(1 << 16);
    b.send(Bus::Range16, used.clone(), &[gap_lo]);
}

/// Looks up two high bytes of gaps.
pub fn gap_bytes<B: TableBuilder>(b: &mut B, real: &B::Expr, x: &B::Expr, y: &B::Expr) {
    b.send(Bus::Bytes, real.clone(), &[x.clone(), y.clone()]);
}

/// Columns of an access that does not happen are zero, so that no cell is free.
pub fn zero_unless_used<B: TableBuilder>(b: &mut B, used: &B::Expr, columns: &Access<B::Expr>) {
    let unused = B::Expr::ONE - used.clone();
    b.assert_zero(unused.clone() * columns.prev_ts.clone());
    b.assert_zero(unused * columns.gap_hi.clone());
}

columns! {
    /// Second operand: a register or a constant.
    pub struct Operand<T> {
        /// 1: the constant.
        pub is_imm: T,
        /// Register; 0 when constant.
        pub rs2: T,
        /// The constant (i0, i1, h); zero when register.
        pub imm: [T; 3],
        /// Its value.
        pub value: [T; 4],
        /// The read; zero when constant.
        pub access: Access<T>,
    }
}

impl Operand<F> {
    /// Fills the columns.
    pub fn fill(&mut self, step: &Step, row: &Row) {
        self.value = limbs(step.c);
        match row.src2 {
            Src2::Imm(imm) => {
                self.is_imm = F::ONE;
                self.imm = immediate(imm);
            }
            Src2::Reg(rs2) => {
                self.rs2 = F::from_u8(rs2);
                self.access.fill(step.clk, SLOT_C, step.ts_c);
            }
        }
    }
}

/// The second operand has the value of the register it names or of the constant. `real` must have degree 1.
pub fn operand<B: TableBuilder>(b: &mut B, real: &B::Expr, clk: &B::Expr, operand: &Operand<B::Expr>) {
    let Operand { is_imm, rs2, imm, value, access: columns } = operand;
    b.assert_bool(is_imm.clone());
    // Padding rows have no constant: then `used` below is 0 on them.
    b.assert_zero((B::Expr::ONE - real.clone()) * is_imm.clone());
    let used = real.clone() - is_imm.clone();
    // The constant's limbs are 0 in rows with a register, which the program table holds; stores do not use this gadget.
    b.assert_zero(is_imm.clone() * rs2.clone());
    for (v, i) in value.iter().zip([&imm[0], &imm[1], &imm[2], &imm[2]]) {
        b.assert_zero(is_imm.clone() * (v.clone() - i.clone()));
    }
    zero_unless_used(b, &used, columns);
    access(b, &used, register::<B>(rs2), clk, SLOT_C, columns, value, value);
}

columns! {
    /// Columns of an instruction `rd = rs1 op (rs2 or constant)`.
    pub struct ThreeOperands<T> {
        /// State and row.
        pub fetch: Fetch<T>,
        /// Value of rs1.
        pub b: [T; 4],
        /// Read of rs1.
        pub access_b: Access<T>,
        /// Second operand.
        pub c: Operand<T>,
        /// Destination.
        pub rd: T,
        /// Value written.
        pub a: [T; 4],
        /// Value of rd before.
        pub prev_a: [T; 4],
        /// Write of rd.
        pub access_a: Access<T>,
    }
}

impl ThreeOperands<F> {
    /// Fills the columns, `a` included.
    pub fn fill(&mut self, step: &Step, row: &Row) {
        self.fetch.fill(step, row);
        self.b = limbs(step.b);
        self.access_b.fill(step.clk, SLOT_B, step.ts_b);
        self.c.fill(step, row);
        self.rd = F::from_u8(row.rd);
        self.a = limbs(step.a);
        self.prev_a = limbs(step.prev_a);
        self.access_a.fill(step.clk, SLOT_A, step.ts_a);
    }
}

/// Fetch, operands and result of an instruction that goes on at `next_pc`. The table constrains `a` to be the result and its
/// limbs to be 16 bits. `number` is the operation's number for a register operand ([`code`]`(op, false)`), 0 on padding.
pub fn three_operands<B: TableBuilder>(b: &mut B, real: &B::Expr, number: B::Expr, row: &ThreeOperands<B::Expr>) {
    let clk = &row.fetch.clk;
    let rest = RowRest {
        code: number + row.c.is_imm.clone(),
        rd: row.rd.clone(),
        rs2: row.c.rs2.clone(),
        imm: row.c.imm.clone(),
        alt_pc: [B::Expr::ZERO, B::Expr::ZERO],
    };
    fetch(b, real, &row.fetch, &rest, row.fetch.next_pc.clone());
    access(b, real, register::<B>(&row.fetch.rs1), clk, SLOT_B, &row.access_b, &row.b, &row.b);
    operand(b, real, clk, &row.c);
    access(b, real, register::<B>(&row.rd), clk, SLOT_A, &row.access_a, &row.prev_a, &row.a);
    gap_bytes(b, real, &row.access_b.gap_hi, &row.c.access.gap_hi);
    gap_bytes(b, real, &row.access_a.gap_hi, &B::Expr::ZERO);
}

/// Flags are boolean and at most one is 1; returns their sum, which is 1 on real rows and 0 on padding.
pub fn one_flag<B: TableBuilder>(b: &mut B, flags: &[&B::Expr]) -> B::Expr {
    let mut sum = B::Expr::ZERO;
    for &flag in flags {
        b.assert_bool(flag.clone());
        sum += flag.clone();
    }
    b.assert_bool(sum.clone());
    sum
}

/// `value` (16 bits, looked up elsewhere) has top bit `bit` where `used`: the bit is boolean and the rest, shifted up by one, still has
/// 16 bits.
pub fn top_bit<B: TableBuilder>(b: &mut B, used: &B::Expr, value: &B::Expr, bit: &B::Expr) {
    b.assert_bool(bit.clone());
    let rest = value.clone() - bit.clone() * F::from_u32(1 << 15);
    b.send(Bus::Range16, used.clone(), &[rest * F::TWO]);
}

/// High part of (word - previous - 1).
pub fn gap_hi(previous: u32, word: u32) -> F {
    F::from_u32(word.saturating_sub(previous + 1) >> 16)
}

/// `previous < word` where `used`, for numbers below 2^29 + 64: (word - previous - 1) has 30 bits, and the field's modulus is far enough
/// above 2^30 + 2^29 that a negative difference has not.
pub fn increasing<B: TableBuilder>(b: &mut B, used: &B::Expr, previous: &B::Expr, word: &B::Expr, gap_hi: &B::Expr) {
    let gap_lo = word.clone() - previous.clone() - F::ONE - gap_hi.clone() * F::from_u32(1 << 16);
    b.send(Bus::Range16, used.clone(), &[gap_lo]);
    b.send(Bus::Range16, used.clone(), &[gap_hi.clone()]);
    b.send(Bus::Range16, used.clone(), &[gap_hi.clone() * F::from_u32(4)]);
}
