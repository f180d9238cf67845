//! RISC-V instruction words to guest instructions: RV64IMAC, with compressed instructions expanded.

use crate::program::Op;

/// A decoded guest instruction. `op` fields hold the operation of the row that does the work.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Instruction {
    /// LUI; `value` is what lands in `rd`.
    #[allow(missing_docs, reason = "field names are those of the RISC-V manual, here and below")]
    Lui { rd: u8, value: i64 },
    /// AUIPC; `offset` is relative to the instruction.
    #[allow(missing_docs)]
    Auipc { rd: u8, offset: i64 },
    /// JAL.
    #[allow(missing_docs)]
    Jal { rd: u8, offset: i64 },
    /// JALR.
    #[allow(missing_docs)]
    Jalr { rd: u8, rs1: u8, offset: i64 },
    /// BEQ to BGEU.
    #[allow(missing_docs)]
    Branch { op: Op, rs1: u8, rs2: u8, offset: i64 },
    /// LB to LD.
    #[allow(missing_docs)]
    Load { op: Op, rd: u8, rs1: u8, offset: i32 },
    /// SB to SD.
    #[allow(missing_docs)]
    Store { op: Op, rs1: u8, rs2: u8, offset: i32 },
    /// Register with constant: ADDI to SRAIW.
    #[allow(missing_docs)]
    Immediate { op: Op, rd: u8, rs1: u8, value: i64 },
    /// Register with register: ADD to SRAW.
    #[allow(missing_docs)]
    Register { op: Op, rd: u8, rs1: u8, rs2: u8 },
    /// The M extension.
    #[allow(missing_docs)]
    Multiply { op: MultiplyOp, rd: u8, rs1: u8, rs2: u8 },
    /// LR.W and LR.D (`double`).
    #[allow(missing_docs)]
    LoadReserved { double: bool, rd: u8, rs1: u8 },
    /// SC.W and SC.D.
    #[allow(missing_docs)]
    StoreConditional { double: bool, rd: u8, rs1: u8, rs2: u8 },
    /// AMOSWAP to AMOMAXU.
    #[allow(missing_docs)]
    Atomic { op: AtomicOp, double: bool, rd: u8, rs1: u8, rs2: u8 },
    /// FENCE, FENCE.I.
    Fence,
    /// ECALL.
    Ecall,
    /// EBREAK.
    Ebreak,
    /// CSRRW to CSRRCI.
    #[allow(missing_docs)]
    Csr { op: CsrOp, rd: u8, csr: u16, source: CsrSource },
}

/// Operations of the M extension.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[allow(missing_docs)]
pub enum MultiplyOp {
    Mul,
    Mulh,
    Mulhsu,
    Mulhu,
    Mulw,
    Div,
    Divu,
    Rem,
    Remu,
    Divw,
    Divuw,
    Remw,
    Remuw,
}

/// Operations of AMO instructions.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[allow(missing_docs)]
pub enum AtomicOp {
    Swap,
    Add,
    Xor,
    And,
    Or,
    Min,
    Max,
    Minu,
    Maxu,
}

/// What a CSR instruction does to the CSR.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[allow(missing_docs)]
pub enum CsrOp {
    Write,
    Set,
    Clear,
}

/// Operand of a CSR instruction.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum CsrSource {
    /// A register.
    Register(u8),
    /// Five bits.
    Immediate(u8),
}

/// Why a word is not an instruction of RV64IMAC. Holds the word (16 bits of it when compressed).
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum DecodeError {
    /// No instruction of any extension that is known here.
    Unknown(u32),
    /// An instruction of F or D, compressed or not, or an access to a floating-point CSR.
    FloatingPoint(u32),
}

/// Whether the instruction that starts with this halfword is compressed (16 bits).
pub const fn is_compressed(first_halfword: u16) -> bool {
    first_halfword & 3 != 3
}

/// Decodes a 32-bit instruction.
pub fn decode(word: u32) -> Result<Instruction, DecodeError> {
    use Instruction::*;
    use Op::*;
    let unknown = Err(DecodeError::Unknown(word));
    let float = Err(DecodeError::FloatingPoint(word));
    let rd = bits(word, 7, 5) as u8;
    let rs1 = bits(word, 15, 5) as u8;
    let rs2 = bits(word, 20, 5) as u8;
    let funct3 = bits(word, 12, 3);
    let funct7 = bits(word, 25, 7);
    let i_type = word as i32 >> 20;
    Ok(match word & 0x7f {
        0x37 => Lui { rd, value: (word & 0xffff_f000) as i32 as i64 },
        0x17 => Auipc { rd, offset: (word & 0xffff_f000) as i32 as i64 },
        0x6f => Jal { rd, offset: jal_offset(word) },
        0x67 if funct3 == 0 => Instruction::Jalr { rd, rs1, offset: i64::from(i_type) },
        0x63 => {
            let op = match funct3 {
                0 => Beq,
                1 => Bne,
                4 => Blt,
                5 => Bge,
                6 => Bltu,
                7 => Bgeu,
                _ => return unknown,
            };
            Branch { op, rs1, rs2, offset: branch_offset(word) }
        }
        0x03 => {
            let op = match funct3 {
                0 => Lb,
                1 => Lh,
                2 => Lw,
                3 => Ld,
                4 => Lbu,
                5 => Lhu,
                6 => Lwu,
                _ => return unknown,
            };
            Load { op, rd, rs1, offset: i_type }
        }
        0x23 => {
            let op = match funct3 {
                0 => Sb,
                1 => Sh,
                2 => Sw,
                3 => Sd,
                _ => return unknown,
            };
            let offset = (word as i32 >> 25) << 5 | i32::from(rd);
            Store { op, rs1, rs2, offset }
        }
        0x13 => {
            let value = i64::from(i_type);
            let shift = value & 0x3f;
            let (op, value) = match (funct3, funct7 >> 1) {
                (0, _) => (Add, value),
                (1, 0) => (Sll, shift),
                (2, _) => (Slt, value),
                (3, _) => (Sltu, value),
                (4, _) => (Xor, value),
                (5, 0) => (Srl, shift),
                (5, 0x10) => (Sra, shift),
                (6, _) => (Or, value),
                (7, _) => (And, value),
                _ => return unknown,
            };
            Immediate { op, rd, rs1, value }
        }
        0x1b => {
            let shift = i64::from(rs2);
            let (op, value) = match (funct3, funct7) {
                (0, _) => (AddW, i64::from(i_type)),
                (1, 0) => (SllW, shift),
                (5, 0) => (SrlW, shift),
                (5, 0x20) => (SraW, shift),
                _ => return unknown,
            };
            Immediate { op, rd, rs1, value }
        }
        0x33 if funct7 == 1 => {
            use MultiplyOp::*;
            let op = [Mul, Mulh, Mulhsu, Mulhu, Div, Divu, Rem, Remu][funct3 as usize];
            Multiply { op, rd, rs1, rs2 }
        }
        0x33 => {
            let op = match (funct3, funct7) {
                (0, 0) => Add,
                (0, 0x20) => Sub,
                (1, 0) => Sll,
                (2, 0) => Slt,
                (3, 0) => Sltu,
                (4, 0) => Xor,
                (5, 0) => Srl,
                (5, 0x20) => Sra,
                (6, 0) => Or,
                (7, 0) => And,
                _ => return unknown,
            };
            Register { op, rd, rs1, rs2 }
        }
        0x3b if funct7 == 1 => {
            use MultiplyOp::*;
            let op = match funct3 {
                0 => Mulw,
                4 => Divw,
                5 => Divuw,
                6 => Remw,
                7 => Remuw,
                _ => return unknown,
            };
            Multiply { op, rd, rs1, rs2 }
        }
        0x3b => {
            let op = match (funct3, funct7) {
                (0, 0) => AddW,
                (0, 0x20) => SubW,
                (1, 0) => SllW,
                (5, 0) => SrlW,
                (5, 0x20) => SraW,
                _ => return unknown,
            };
            Register { op, rd, rs1, rs2 }
        }
        0x2f => {
            let double = match funct3 {
                2 => false,
                3 => true,
                _ => return unknown,
            };
            use AtomicOp::*;
            let op = match funct7 >> 2 {
                0x02 if rs2 == 0 => return Ok(LoadReserved { double, rd, rs1 }),
                0x03 => {
                    return Ok(StoreConditional { double, rd, rs1, rs2 });
                }
                0x00 => AtomicOp::Add,
                0x01 => Swap,
                0x04 => AtomicOp::Xor,
                0x08 => AtomicOp::Or,
                0x0c => AtomicOp::And,
                0x10 => Min,
                0x14 => Max,
                0x18 => Minu,
                0x1c => Maxu,
                _ => return unknown,
            };
            Atomic { op, double, rd, rs1, rs2 }
        }
        // FENCE (reserved fields are to be ignored) and FENCE.I.
        0x0f if funct3 <= 1 => Fence,
        0x73 if word == 0x0000_0073 => Ecall,
        0x73 if word == 0x0010_0073 => Ebreak,
        0x73 => {
            let csr = bits(word, 20, 12) as u16;
            let op = match funct3 & 3 {
                1 => CsrOp::Write,
                2 => CsrOp::Set,
                3 => CsrOp::Clear,
                _ => return unknown,
            };
            if (1..=3).contains(&csr) {
                return float;
            }
            let source = if funct3 & 4 == 0 { CsrSource::Register(rs1) } else { CsrSource::Immediate(rs1) };
            Csr { op, rd, csr, source }
        }
        // LOAD-FP and STORE-FP of F and D; fused multiply-adds; OP-FP.
        0x07 | 0x27 if funct3 == 2 || funct3 == 3 => return float,
        0x43 | 0x47 | 0x4b | 0x4f | 0x53 => return float,
        _ => return unknown,
    })
}

/// Decodes a 16-bit instruction to what it stands for.
pub fn decode_compressed(half: u16) -> Result<Instruction, DecodeError> {
    use Instruction::*;
    use Op::*;
    let w = u32::from(half);
    let unknown = Err(DecodeError::Unknown(w));
    let float = Err(DecodeError::FloatingPoint(w));
    let rd = bits(w, 7, 5) as u8;
    let rs2 = bits(w, 2, 5) as u8;
    // Three-bit register fields name x8..x15.
    let rs1_short = bits(w, 7, 3) as u8 + 8;
    let rs2_short = bits(w, 2, 3) as u8 + 8;
    let imm6 = sign_extend(bits(w, 12, 1) << 5 | bits(w, 2, 5), 6);
    let shift = (bits(w, 12, 1) << 5 | bits(w, 2, 5)) as i64;
    let word_offset = (bits(w, 5, 1) << 6 | bits(w, 10, 3) << 3 | bits(w, 6, 1) << 2) as i32;
    let double_offset = (bits(w, 5, 2) << 6 | bits(w, 10, 3) << 3) as i32;
    const SP: u8 = 2;
    Ok(match (half & 3, half >> 13) {
        (0, 0) => {
            let value = bits(w, 7, 4) << 6 | bits(w, 11, 2) << 4 | bits(w, 5, 1) << 3 | bits(w, 6, 1) << 2;
            if value == 0 {
                return unknown;
            }
            Immediate { op: Add, rd: rs2_short, rs1: SP, value: i64::from(value) }
        }
        (0, 1) | (0, 5) | (2, 1) | (2, 5) => return float,
        (0, 2) => Load { op: Lw, rd: rs2_short, rs1: rs1_short, offset: word_offset },
        (0, 3) => Load { op: Ld, rd: rs2_short, rs1: rs1_short, offset: double_offset },
        (0, 6) => Store { op: Sw, rs1: rs1_short, rs2: rs2_short, offset: word_offset },
        (0, 7) => Store { op: Sd, rs1: rs1_short, rs2: rs2_short, offset: double_offset },
        (1, 0) => Immediate { op: Add, rd, rs1: rd, value: imm6 },
        (1, 1) if rd != 0 => Immediate { op: AddW, rd, rs1: rd, value: imm6 },
        (1, 2) => Immediate { op: Add, rd, rs1: 0, value: imm6 },
        (1, 3) if imm6 == 0 => return unknown,
        (1, 3) if rd == SP => {
            let value = bits(w, 12, 1) << 9 | bits(w, 3, 2) << 7 | bits(w, 5, 1) << 6 | bits(w, 2, 1) << 5 | bits(w, 6, 1) << 4;
            Immediate { op: Add, rd: SP, rs1: SP, value: sign_extend(value, 10) }
        }
        (1, 3) => Lui { rd, value: imm6 << 12 },
        (1, 4) => {
            let (rd, rs1, rs2) = (rs1_short, rs1_short, rs2_short);
            match (bits(w, 10, 2), bits(w, 12, 1), bits(w, 5, 2)) {
                (0, _, _) => Immediate { op: Srl, rd, rs1, value: shift },
                (1, _, _) => Immediate { op: Sra, rd, rs1, value: shift },
                (2, _, _) => Immediate { op: And, rd, rs1, value: imm6 },
                (3, 0, 0) => Register { op: Sub, rd, rs1, rs2 },
                (3, 0, 1) => Register { op: Xor, rd, rs1, rs2 },
                (3, 0, 2) => Register { op: Or, rd, rs1, rs2 },
                (3, 0, 3) => Register { op: And, rd, rs1, rs2 },
                (3, 1, 0) => Register { op: SubW, rd, rs1, rs2 },
                (3, 1, 1) => Register { op: AddW, rd, rs1, rs2 },
                _ => return unknown,
            }
        }
        (1, 5) => {
            let offset = bits(w, 12, 1) << 11
                | bits(w, 8, 1) << 10
                | bits(w, 9, 2) << 8
                | bits(w, 6, 1) << 7
                | bits(w, 7, 1) << 6
                | bits(w, 2, 1) << 5
                | bits(w, 11, 1) << 4
                | bits(w, 3, 3) << 1;
            Jal { rd: 0, offset: sign_extend(offset, 12) }
        }
        (1, 6) | (1, 7) => {
            let offset = bits(w, 12, 1) << 8 | bits(w, 5, 2) << 6 | bits(w, 2, 1) << 5 | bits(w, 10, 2) << 3 | bits(w, 3, 2) << 1;
            let op = if half >> 13 == 6 { Beq } else { Bne };
            Branch { op, rs1: rs1_short, rs2: 0, offset: sign_extend(offset, 9) }
        }
        (2, 0) => Immediate { op: Sll, rd, rs1: rd, value: shift },
        (2, 2) if rd != 0 => {
            let offset = bits(w, 2, 2) << 6 | bits(w, 12, 1) << 5 | bits(w, 4, 3) << 2;
            Load { op: Lw, rd, rs1: SP, offset: offset as i32 }
        }
        (2, 3) if rd != 0 => {
            let offset = bits(w, 2, 3) << 6 | bits(w, 12, 1) << 5 | bits(w, 5, 2) << 3;
            Load { op: Ld, rd, rs1: SP, offset: offset as i32 }
        }
        (2, 4) => match (bits(w, 12, 1), rd, rs2) {
            (0, 0, 0) => return unknown,
            (0, rs1, 0) => Instruction::Jalr { rd: 0, rs1, offset: 0 },
            (0, rd, rs2) => Register { op: Add, rd, rs1: 0, rs2 },
            (_, 0, 0) => Ebreak,
            (_, rs1, 0) => Instruction::Jalr { rd: 1, rs1, offset: 0 },
            (_, rd, rs2) => Register { op: Add, rd, rs1: rd, rs2 },
        },
        (2, 6) => {
            let offset = bits(w, 7, 2) << 6 | bits(w, 9, 4) << 2;
            Store { op: Sw, rs1: SP, rs2, offset: offset as i32 }
        }
        (2, 7) => {
            let offset = bits(w, 7, 3) << 6 | bits(w, 10, 3) << 3;
            Store { op: Sd, rs1: SP, rs2, offset: offset as i32 }
        }
        _ => return unknown,
    })
}

const fn bits(word: u32, from: u32, count: u32) -> u32 {
    word >> from & ((1 << count) - 1)
}

const fn sign_extend(value: u32, bits: u32) -> i64 {
    ((value << (32 - bits)) as i32 >> (32 - bits)) as i64
}

const fn jal_offset(word: u32) -> i64 {
    let offset = bits(word, 31, 1) << 20 | bits(word, 12, 8) << 12 | bits(word, 20, 1) << 11 | bits(word, 21, 10) << 1;
    sign_extend(offset, 21)
}

const fn branch_offset(word: u32) -> i64 {
    let offset = bits(word, 31, 1) << 12 | bits(word, 7, 1) << 11 | bits(word, 25, 6) << 5 | bits(word, 8, 4) << 1;
    sign_extend(offset, 13)
}
