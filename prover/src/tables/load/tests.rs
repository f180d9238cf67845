use std::mem::offset_of;

use p3_field::{Field, PrimeCharacteristicRing};
use zisk_machine::memory_map::REGISTER_WORD;
use zisk_machine::program::{Op, Row, Src2};
use zisk_machine::trace::{MemoryAccess, Step};

use super::super::attack::{EDGES, attack_instruction};
use super::{Load, LoadColumns, fill};
use crate::tables::adapter::{F, SLOT_A, SLOT_B, SLOT_MEMORY, code};
use crate::tables::address::testing::{Random, attack_padding, attack_pairs, check_degrees, check_effects, refused};

const OPS: [Op; 7] = [Op::Lb, Op::Lbu, Op::Lh, Op::Lhu, Op::Lw, Op::Lwu, Op::Ld];

fn size(op: Op) -> u64 {
    match op {
        Op::Lb | Op::Lbu => 1,
        Op::Lh | Op::Lhu => 2,
        Op::Lw | Op::Lwu => 4,
        _ => 8,
    }
}

/// What the operation makes of the bytes from the address on.
fn value(op: Op, word: u64, address: u64) -> u64 {
    let bytes = &word.to_le_bytes()[address as usize % 8..];
    match op {
        Op::Lb => bytes[0] as i8 as u64,
        Op::Lbu => bytes[0].into(),
        Op::Lh => i16::from_le_bytes([bytes[0], bytes[1]]) as u64,
        Op::Lhu => u16::from_le_bytes([bytes[0], bytes[1]]).into(),
        Op::Lw => i32::from_le_bytes(bytes[..4].try_into().unwrap()) as u64,
        Op::Lwu => u32::from_le_bytes(bytes[..4].try_into().unwrap()).into(),
        _ => word,
    }
}

/// A load from `address` (rs1 plus `offset`), misaligned if it is.
fn load(index: u32, op: Op, address: u64, offset: i64, word: u64) -> (Step, Row) {
    let row = Row {
        pc: 0x9000_0000 + 2 * index,
        op,
        rd: 5,
        rs1: 6,
        src2: Src2::Imm(offset),
        offset: 0,
        next_pc: 0x9000_0004 + 2 * index,
        alt_pc: 0x2_0001 + 2 * index,
        advice: None,
    };
    let clk = 20_000 + index;
    let step = Step {
        clk,
        row: index,
        next_pc: row.next_pc,
        b: address.wrapping_sub(offset as u64),
        c: offset as u64,
        ts_b: 4 * clk - 70_000,
        ..Step::default()
    };
    let aligned = address.is_multiple_of(size(op));
    (if aligned { straight(&step, &row, word) } else { detour(&step, &row) }, row)
}

/// The step, as if aligned.
fn straight(step: &Step, row: &Row, word: u64) -> Step {
    let address = step.b.wrapping_add(step.c);
    let word_number = (address >> 3) as u32;
    let memory = MemoryAccess { word: word_number, before: word, after: word, prev_ts: 4 * step.clk - 65_536 };
    let a = if address % 8 + size(row.op) <= 8 { value(row.op, word, address) } else { word };
    Step {
        next_pc: row.next_pc,
        misaligned: false,
        memory,
        a,
        prev_a: 0x1111_2222_3333_4444,
        ts_a: 4 * step.clk - 66_000,
        ..*step
    }
}

/// The step, as if misaligned.
fn detour(step: &Step, row: &Row) -> Step {
    Step {
        clk: step.clk,
        row: step.row,
        next_pc: row.alt_pc,
        b: step.b,
        c: step.c,
        ts_b: step.ts_b,
        misaligned: true,
        ..Step::default()
    }
}

/// Each operation at each offset, with words and addresses at the edges.
fn loads() -> Vec<(Step, Row)> {
    let mut loads = Vec::new();
    let pages =
        [0, 0x1000_0000, 0x8fff_fff8, 0xa000_0000, 0xa041_0008, 0xbfff_fff8, 0xc000_0000, 0xffff_fff8, 0xfff8, 0x1_0000, 0x8000];
    let offsets = [0, -8, 3, 2047, -2048, 0x1_0000, -(1 << 32), (1 << 32) - 1];
    let words = EDGES.into_iter().chain([0x8081_8283_8485_8687, 0x7f80_ff7f_8000_7fff]);
    for (i, word) in words.enumerate() {
        for op in OPS {
            for low in 0..8 {
                let n = loads.len();
                let address = pages[(i + n / 8) % pages.len()] + low;
                loads.push(load(n as u32, op, address, offsets[n % offsets.len()], word));
            }
        }
    }
    loads
}

fn column(offset: usize) -> usize {
    offset / size_of::<F>()
}

#[test]
fn no_cell_is_free() {
    let loads = loads();
    attack_instruction(&Load, &loads, fill, &[]);
    // An aligned load may take the detour.
    let detours: Vec<_> = loads.iter().filter(|(_, row)| size(row.op) > 1).map(|(step, row)| (detour(step, row), *row)).collect();
    let detours: Vec<_> = detours.into_iter().enumerate().map(|(i, (step, row))| (Step { row: i as u32, ..step }, row)).collect();
    attack_instruction(&Load, &detours, fill, &[]);
}

#[test]
fn no_two_cells_are_free_together() {
    for (step, row) in loads().iter().step_by(67) {
        attack_pairs(&Load, step, row, fill);
    }
    let flags = [
        offset_of!(LoadColumns<F>, is_byte),
        offset_of!(LoadColumns<F>, is_half),
        offset_of!(LoadColumns<F>, is_word),
        offset_of!(LoadColumns<F>, is_double),
    ];
    attack_padding::<LoadColumns<F>>(&Load, &flags.map(column));
}

#[test]
fn loads_do_what_the_contract_says() {
    let mut random = Random(2);
    let mut all = loads();
    for i in 0..3000 {
        let (op, address, offset) = (OPS[random.below(7) as usize], random.value() as u32, random.value() as i32);
        all.push(load(i, op, address.into(), offset.into(), random.value()));
    }
    for (step, row) in all {
        let address = step.b.wrapping_add(step.c);
        let read = (REGISTER_WORD + 6, SLOT_B, step.ts_b, step.b, step.b);
        if address.is_multiple_of(size(row.op)) {
            let word = (address / 8) as u32;
            let memory = (word, SLOT_MEMORY, 4 * step.clk - 65_536, step.memory.before, step.memory.before);
            let a = value(row.op, step.memory.before, address);
            let write = (REGISTER_WORD + 5, SLOT_A, step.ts_a, 0x1111_2222_3333_4444, a);
            check_effects(&Load, &step, &row, fill, &[read, memory, write]);
        } else {
            assert_eq!(step.next_pc, row.alt_pc);
            check_effects(&Load, &step, &row, fill, &[read]);
        }
    }
}

#[test]
fn wrong_results_are_refused() {
    for (step, row) in loads().iter().filter(|(step, _)| !step.misaligned) {
        let word = step.memory.before;
        let wrong = (0..64)
            .map(|bit| step.a ^ 1 << bit)
            .chain(OPS.into_iter().flat_map(|op| (0..8).step_by(size(op) as usize).map(move |at| value(op, word, at))))
            .chain([u64::from(step.a as u32), step.a as u32 as i32 as u64, u64::from(step.a as u16), step.a as u16 as i16 as u64])
            .chain([step.a | 0xffff_0000, step.a | 0xff00, step.a.wrapping_add(1), word, 0, u64::MAX]);
        for a in wrong.filter(|&a| a != step.a) {
            let wrong = Step { a, ..*step };
            assert!(refused(&Load, &wrong, row, fill), "{wrong:?} of {row:?}");
            // Sign and selected part kept as they were, or the sign turned round.
            for flip in [false, true] {
                let forged = |columns: &mut LoadColumns<F>, wrong: &Step, row: &Row| {
                    fill(columns, step, row);
                    columns.a = crate::tables::adapter::limbs(wrong.a);
                    if flip {
                        columns.sign = F::ONE - columns.sign;
                    }
                };
                assert!(refused(&Load, &wrong, row, forged), "{wrong:?} of {row:?}");
                let forged = |columns: &mut LoadColumns<F>, wrong: &Step, row: &Row| {
                    fill(columns, wrong, row);
                    let part = &mut columns.common;
                    (part.part, part.other) = if flip { (part.other, part.part) } else { (columns.a[0], F::ZERO) };
                };
                assert!(refused(&Load, &wrong, row, forged), "{wrong:?} of {row:?}");
            }
        }
    }
}

#[test]
fn wrong_addresses_are_refused() {
    for (step, row) in loads() {
        // Any address but the true one, on the straight way and on the detour.
        let address = step.b.wrapping_add(step.c);
        for bit in 0..32 {
            let other = step.b ^ 1 << bit;
            let forged = |columns: &mut LoadColumns<F>, forged: &Step, row: &Row| {
                fill(columns, forged, row);
                columns.common.b = crate::tables::adapter::limbs(step.b);
            };
            assert!(refused(&Load, &Step { b: other, ..step }, &row, forged), "{step:?}");
            let unaligned = other.wrapping_add(step.c) % size(row.op) != 0;
            if unaligned {
                let straight = straight(&Step { b: other, ..step }, &row, 7);
                assert!(refused(&Load, &straight, &row, fill), "{straight:?} of {row:?}");
            }
        }
        if !address.is_multiple_of(size(row.op)) {
            assert!(refused(&Load, &straight(&step, &row, step.a), &row, fill), "{step:?}");
        }
        if size(row.op) == 1 {
            assert!(refused(&Load, &detour(&step, &row), &row, fill), "bytes are never misaligned");
        }
    }
}

#[test]
fn registers_cannot_be_reached() {
    for op in OPS {
        for register in [0, 10, 63_u64] {
            for address in [(1 << 32) + 8 * register, 8 * register + (1 << 48), (8 * register).wrapping_sub(1 << 32)] {
                for offset in [0, 8, -8, 1 - (1 << 32), (1 << 32) - 8] {
                    let (step, row) = load(0, op, address, offset, 1);
                    if step.misaligned {
                        continue;
                    }
                    assert!(refused(&Load, &step, &row, fill), "{step:?}");
                    // All ways to write 2^29 + register or register as a word, with parts that are too large or not.
                    for high in [0, 1 << 16, 0xffff, 0xfffe, (1 << 31) - (1 << 24)] {
                        for high_byte in [0, 255, 256, 511, 512] {
                            for line in [0, 31, 32, 63, 255] {
                                let forged = |columns: &mut LoadColumns<F>, step: &Step, row: &Row| {
                                    fill(columns, step, row);
                                    let common = &mut columns.common;
                                    let line = F::from_u64(line + register);
                                    (common.high, common.high_byte, common.line) = (F::new(high), F::from_u64(high_byte), line);
                                };
                                assert!(refused(&Load, &step, &row, forged), "{step:?}: {high} {high_byte} {line}");
                            }
                        }
                    }
                }
            }
        }
    }
}

#[test]
fn degrees_are_low() {
    check_degrees(&Load);
}

/// What the other byte would have to be, for `part` to be the byte at the address.
fn made_up(step: &Step, part: F) -> F {
    let address = step.b.wrapping_add(step.c);
    let limb = F::from_u16((step.memory.before >> ((address >> 1 & 3) * 16)) as u16);
    if address & 1 == 0 { (limb - part) * F::from_u32(256).inverse() } else { limb - part * F::from_u32(256) }
}

#[test]
fn wrong_bytes_are_refused() {
    for (step, row) in loads().iter().filter(|(_, row)| size(row.op) == 1) {
        for byte in (0..=255).filter(|&byte| byte != step.a as u8) {
            let a = if row.op == Op::Lb { byte as i8 as u64 } else { byte.into() };
            let forged = |columns: &mut LoadColumns<F>, wrong: &Step, row: &Row| {
                fill(columns, wrong, row);
                columns.common.part = F::from_u8(byte);
                columns.common.other = made_up(step, columns.common.part);
            };
            assert!(refused(&Load, &Step { a, ..*step }, row, forged), "{step:?} of {row:?}: {byte}");
        }
    }
}

#[test]
fn no_size_passes_for_another() {
    for (step, row) in loads().iter().step_by(3) {
        for op in OPS.into_iter().filter(|&op| size(op) != size(row.op)) {
            // Done as `op`, under the number of the row's own operation.
            let gap = F::from_u32(code(row.op, true)) - F::from_u32(code(op, true));
            let forged = |columns: &mut LoadColumns<F>, step: &Step, row: &Row| {
                fill(columns, step, &Row { op, ..*row });
                columns.unsigned += gap.halve();
            };
            let pretended = straight(step, &Row { op, ..*row }, step.memory.before);
            assert!(refused(&Load, &pretended, row, forged), "{op:?} for {row:?}");
            assert!(refused(&Load, &detour(step, row), row, forged), "{op:?} for {row:?}");
        }
    }
}

#[test]
fn a_detour_is_taken_or_not() {
    for (step, row) in loads() {
        // So early that the gap of an access that is not there is small too.
        let mut step = Step { clk: 100, ts_b: 0, ts_a: 0, ..step };
        step.memory.prev_ts = 0;
        for misaligned in [F::TWO, F::NEG_ONE, F::ONE.halve(), F::from_u32(3)] {
            let forged = |columns: &mut LoadColumns<F>, step: &Step, row: &Row| {
                fill(columns, step, row);
                let common = &mut columns.common;
                common.misaligned = misaligned;
                let next = common.fetch.next_pc;
                common.goto = std::array::from_fn(|i| next[i] + misaligned * (common.alt_pc[i] - next[i]));
            };
            assert!(refused(&Load, &step, &row, forged), "{misaligned}");
            assert!(refused(&Load, &detour(&step, &row), &row, forged), "{misaligned}");
        }
    }
}

#[test]
fn a_doubleword_has_no_unsigned_load() {
    for (step, row) in loads().iter().filter(|(_, row)| row.op == Op::Ld) {
        let forged = |columns: &mut LoadColumns<F>, step: &Step, row: &Row| {
            fill(columns, step, row);
            columns.unsigned = F::ONE;
        };
        assert!(refused(&Load, step, row, forged), "{step:?} of {row:?}");
    }
}
