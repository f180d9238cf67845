//! CSR instructions: `marchid`, and the calls of the published `ziskos` crate (=1.4.0-alpha), whose operands stand in the
//! CSR instruction and in the `add x0, ...` or `addi x0, ...` after it. The numbers are those of `zisk-definitions`.

use crate::assembler::{Draft, Table};
use crate::decode::{CsrOp, CsrSource, Instruction};
use crate::memory_map::ARCH_ID;
use crate::program::{NoRow, Op, Src2};
use crate::routines::{ARG0, ARG1, ARG2, LINK, RESULT0, Routine};
use crate::translate::{Site, constant, copy};

const MARCHID: u16 = 0xf12;
const KECCAKF: u16 = 0x800;
const SHA256F: u16 = 0x805;
const MEMCPY: u16 = 0x813;
const MEMCMP: u16 = 0x814;
const MEMSET: u16 = 0x816;
const PROFILE: u16 = 0x81a;
const FCALL: std::ops::RangeInclusive<u16> = 0x8c0..=0x8df;
const FCALL_PARAMETER: std::ops::RangeInclusive<u16> = 0x8f0..=0x8ff;
const FCALL_RESULT: u16 = 0xffe;
/// The fcall that waits until input has arrived. All of ours is there from the start.
const INPUT_READY: u16 = 23;
/// Marks the memset whose size and value are both constants.
const MEMSET_OF_CONSTANTS: u8 = 2;

/// Names of the calls from 0x800 on.
const NAMES: [&str; 34] = [
    "keccakf",
    "arith256",
    "arith256_mod",
    "secp256k1_add",
    "secp256k1_dbl",
    "sha256f",
    "bn254_curve_add",
    "bn254_curve_dbl",
    "bn254_complex_add",
    "bn254_complex_sub",
    "bn254_complex_mul",
    "arith384_mod",
    "bls12_381_curve_add",
    "bls12_381_curve_dbl",
    "bls12_381_complex_add",
    "bls12_381_complex_sub",
    "bls12_381_complex_mul",
    "add256",
    "poseidon2",
    "memcpy",
    "memcmp",
    "inputcpy (of an fcall's result)",
    "memset",
    "secp256r1_add",
    "secp256r1_dbl",
    "blake2b_round",
    "profile",
    "poseidon1",
    "jump_dest",
    "babyjubjub_add",
    "blake3f",
    "blake2sf",
    "ed25519_add",
    "poseidon2_koalabear",
];

/// Translates a CSR instruction (operation, rd, CSR, source).
pub(crate) fn translate(table: &mut Table, site: &Site<'_>, (op, rd, csr, source): (CsrOp, u8, u16, CsrSource), next: u32) {
    let pc = site.pc;
    let call = match (csr, op, source, rd) {
        (MARCHID, CsrOp::Set | CsrOp::Clear, CsrSource::Register(0) | CsrSource::Immediate(0), _) => {
            return table.guest(pc, &[constant(rd, i64::from(ARCH_ID))], next);
        }
        (KECCAKF, CsrOp::Set, CsrSource::Register(state), 0) => Some((Routine::KeccakF, vec![copy(ARG0, state)], next)),
        (SHA256F, CsrOp::Set, CsrSource::Register(state), 0) => {
            operands(site, next).map(|(block, _, end)| (Routine::Sha256F, vec![copy(ARG0, state), copy(ARG1, block)], end))
        }
        (MEMCPY, CsrOp::Set, CsrSource::Register(from), 0) => operands(site, next)
            .map(|(to, count, end)| (Routine::CopyMemory, vec![copy(ARG0, to), copy(ARG1, from), operand(ARG2, count)], end)),
        (MEMCMP, CsrOp::Set, CsrSource::Register(b), rd) => operands(site, next).map(|(a, count, end)| {
            let end = table.chain(&[copy(rd, RESULT0)], end);
            (Routine::CompareMemory, vec![copy(ARG0, a), copy(ARG1, b), operand(ARG2, count)], end)
        }),
        (MEMSET, CsrOp::Set, CsrSource::Register(to), 0) => {
            operands(site, next).map(|(count, value, end)| (Routine::FillMemory, fill(to, Src2::Reg(count), value), end))
        }
        (MEMSET, CsrOp::Set, CsrSource::Immediate(MEMSET_OF_CONSTANTS), 0) => {
            operands(site, next).and_then(|(to, count, middle)| {
                operands(site, middle).map(|(_, value, end)| (Routine::FillMemory, fill(to, count, value), end))
            })
        }
        // They only matter to calls that are not supported, or to ZisK's statistics.
        (PROFILE, CsrOp::Set, _, 0) => return table.guest(pc, &[constant(0, 0)], next),
        (csr, CsrOp::Set, _, 0) if FCALL_PARAMETER.contains(&csr) => {
            return table.guest(pc, &[constant(0, 0)], next);
        }
        (csr, CsrOp::Write, CsrSource::Immediate(low), 0) if FCALL.contains(&csr) => {
            let function = (csr - FCALL.start()) << 5 | u16::from(low);
            if function == INPUT_READY {
                return table.guest(pc, &[constant(0, 0)], next);
            }
            return table.no_row(pc, NoRow::Precompile { csr, name: format!("fcall {function}") });
        }
        _ => None,
    };
    match call {
        Some((routine, mut drafts, end)) => {
            let entry = table.routine(routine);
            // First, so that calls that differ only in where they return to share the other rows.
            drafts.insert(0, constant(LINK, i64::from(end)));
            table.guest(pc, &drafts, entry);
        }
        None => table.no_row(pc, no_row(csr, site)),
    }
}

/// The operands in `add x0, rs1, rs2` or `addi x0, rs1, imm` at an address, and where the instruction ends.
fn operands(site: &Site<'_>, at: u32) -> Option<(u8, Src2, u32)> {
    match site.decode(at) {
        Ok((Instruction::Register { op: Op::Add, rd: 0, rs1, rs2 }, length)) => Some((rs1, Src2::Reg(rs2), at + length)),
        Ok((Instruction::Immediate { op: Op::Add, rd: 0, rs1, value }, length)) => Some((rs1, Src2::Imm(value), at + length)),
        _ => None,
    }
}

fn operand(argument: u8, value: Src2) -> Draft {
    Draft::new(Op::Add, argument, 0, value)
}

fn fill(to: u8, count: Src2, value: Src2) -> Vec<Draft> {
    // The value first: the table of 256 calls in ziskos's memset shares the rest.
    vec![operand(ARG1, value), copy(ARG0, to), operand(ARG2, count)]
}

fn no_row(csr: u16, site: &Site<'_>) -> NoRow {
    let name = match csr {
        0x800.. if usize::from(csr - 0x800) < NAMES.len() => NAMES[usize::from(csr - 0x800)].into(),
        0x850..=0x8bf => "zkvmcall".into(),
        FCALL_RESULT => "fcall result".into(),
        0x800..=0x8ff => String::new(),
        _ => return NoRow::Unknown(site.word()),
    };
    NoRow::Precompile { csr, name }
}
