//! The program table: what setup makes of an ELF. See docs/machine.md.

use std::collections::BTreeMap;

use serde::{Deserialize, Serialize};

use crate::elf::{self, ElfError};
use crate::translate::translate;

/// Operation of a row. The discriminant is the number in the program table (doubled, plus one for a constant operand).
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[repr(u8)]
#[allow(missing_docs, reason = "the names are RISC-V's; docs/machine.md has the table")]
pub enum Op {
    Add,
    Sub,
    AddW,
    SubW,
    Advice,
    And,
    Or,
    Xor,
    Sll,
    Srl,
    Sra,
    SllW,
    SrlW,
    SraW,
    Slt,
    Sltu,
    Beq,
    Bne,
    Blt,
    Bge,
    Bltu,
    Bgeu,
    Jalr,
    Return,
    Lb,
    Lbu,
    Lh,
    Lhu,
    Lw,
    Lwu,
    Ld,
    Sb,
    Sh,
    Sw,
    Sd,
    Mul,
    Mulhu,
}

/// The table that proves an operation.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
#[allow(missing_docs)]
pub enum Class {
    Add,
    Bitwise,
    Shift,
    Compare,
    Jump,
    Load,
    Store,
    Mul,
}

/// Number of [`Class`]es.
pub const CLASSES: usize = 8;

impl Op {
    /// The table that proves this operation.
    pub const fn class(self) -> Class {
        use Op::*;
        match self {
            Add | Sub | AddW | SubW | Advice => Class::Add,
            And | Or | Xor => Class::Bitwise,
            Sll | Srl | Sra | SllW | SrlW | SraW => Class::Shift,
            Slt | Sltu | Beq | Bne | Blt | Bge | Bltu | Bgeu => Class::Compare,
            Jalr | Return => Class::Jump,
            Lb | Lbu | Lh | Lhu | Lw | Lwu | Ld => Class::Load,
            Sb | Sh | Sw | Sd => Class::Store,
            Mul | Mulhu => Class::Mul,
        }
    }

    /// Bytes that a load or store moves; 0 for all others.
    pub const fn width(self) -> u32 {
        use Op::*;
        match self {
            Lb | Lbu | Sb => 1,
            Lh | Lhu | Sh => 2,
            Lw | Lwu | Sw => 4,
            Ld | Sd => 8,
            _ => 0,
        }
    }
}

/// Second operand.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Serialize, Deserialize)]
pub enum Src2 {
    /// A register, 0..=63.
    Reg(u8),
    /// A constant in [-2^32, 2^32).
    Imm(i64),
}

/// How the executor chooses the value of an `Advice`.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Serialize, Deserialize)]
pub enum Advice {
    /// Unsigned quotient rs1 / rs2; 0 when rs2 is 0.
    QuotientU,
}

/// One row of the program table.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Serialize, Deserialize)]
pub struct Row {
    /// Where this row is; unique; even for guest instructions, odd for all else.
    pub pc: u32,
    /// What it does.
    pub op: Op,
    /// Destination 1..=63; 0 for rows that write no register (branches, stores).
    pub rd: u8,
    /// First operand, 0..=63.
    pub rs1: u8,
    /// Second operand. Stores have `Reg` here (the value) and their offset in `offset`;
    /// loads, Jalr and Return have `Imm` here (the offset).
    pub src2: Src2,
    /// Address offset of a store; 0 for all other rows.
    pub offset: i32,
    /// Next pc when the row does not jump; the link value of Jalr and Return.
    pub next_pc: u32,
    /// Branch target, or where a misaligned load or store is done; 0 when unused.
    pub alt_pc: u32,
    /// The executor's choice for an `Advice`; not part of the table.
    pub advice: Option<Advice>,
}

/// Why a guest pc has no row.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub enum NoRow {
    /// Not an instruction of RV64IMAC. Holds the instruction word.
    Unknown(u32),
    /// An instruction of F or D. Holds the instruction word.
    FloatingPoint(u32),
    /// A ziskos call that is not supported: CSR number and name where known.
    Precompile {
        /** CSR number. */
        csr: u16,
        /** Its name in ziskos, or "". */
        name: String,
    },
    /// A check inside a routine failed: what it means for the guest (for example an ecall that is not exit).
    Check(String),
}

/// What setup makes of an ELF: rows, image, entry.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Program {
    /// blake3 of the ELF's bytes.
    pub id: [u8; 32],
    /// First pc.
    pub entry: u32,
    /// The table, sorted by pc.
    pub rows: Vec<Row>,
    /// Initial memory: (word, value), sorted by word; all words covered by the ELF's loadable segments.
    pub image: Vec<(u32, u64)>,
    /// Why pcs without a row have none, for error messages.
    pub no_rows: BTreeMap<u32, NoRow>,
}

impl Program {
    /// Loads an ELF and translates its code.
    ///
    /// # Errors
    /// Says what is wrong with the ELF. Instructions that cannot be translated are no error: they trap when reached.
    pub fn from_elf(file: &[u8]) -> Result<Self, ElfError> {
        let image = elf::load(file)?;
        let (rows, no_rows) = translate(&image);
        Ok(Self { id: *blake3::hash(file).as_bytes(), entry: image.entry, rows, image: image.words, no_rows })
    }
}
