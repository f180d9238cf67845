use std::mem::offset_of;

use p3_field::{Field, PrimeCharacteristicRing};
use zisk_machine::memory_map::REGISTER_WORD;
use zisk_machine::program::{Op, Row, Src2};
use zisk_machine::trace::{MemoryAccess, Step};

use super::super::attack::{EDGES, attack_instruction};
use super::{Store, StoreColumns, fill};
use crate::tables::adapter::{F, SLOT_B, SLOT_C, SLOT_MEMORY, code, limbs};
use crate::tables::address::testing::{Random, attack_padding, attack_pairs, check_degrees, check_effects, refused};

const OPS: [Op; 4] = [Op::Sb, Op::Sh, Op::Sw, Op::Sd];

fn size(op: Op) -> u64 {
    match op {
        Op::Sb => 1,
        Op::Sh => 2,
        Op::Sw => 4,
        _ => 8,
    }
}

/// The word after the store.
fn stored(op: Op, word: u64, value: u64, address: u64) -> u64 {
    let (mut bytes, at, size) = (word.to_le_bytes(), address as usize % 8, size(op) as usize);
    bytes[at..at + size].copy_from_slice(&value.to_le_bytes()[..size]);
    u64::from_le_bytes(bytes)
}

/// A store of `value` to `address` (rs1 plus `offset`), misaligned if it is.
fn store(index: u32, op: Op, address: u64, offset: i32, value: u64, word: u64) -> (Step, Row) {
    let row = Row {
        pc: 0x9000_0000 + 2 * index,
        op,
        rd: 0,
        rs1: 6,
        src2: Src2::Reg(7),
        offset,
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
        c: value,
        ts_b: 4 * clk - 70_000,
        ts_c: 4 * clk - 3,
        ..Step::default()
    };
    (if address.is_multiple_of(size(op)) { straight(&step, &row, word) } else { detour(&step, &row) }, row)
}

/// The step, as if aligned.
fn straight(step: &Step, row: &Row, word: u64) -> Step {
    let address = step.b.wrapping_add_signed(row.offset.into());
    let after = if address % 8 + size(row.op) <= 8 { stored(row.op, word, step.c, address) } else { step.c };
    let memory = MemoryAccess { word: (address >> 3) as u32, before: word, after, prev_ts: 4 * step.clk - 65_536 };
    Step { next_pc: row.next_pc, misaligned: false, memory, ..*step }
}

/// The step, as if misaligned.
fn detour(step: &Step, row: &Row) -> Step {
    Step { next_pc: row.alt_pc, misaligned: true, memory: MemoryAccess::default(), ..*step }
}

/// Each operation at each offset, with values, words and addresses at the edges.
fn stores() -> Vec<(Step, Row)> {
    let mut stores = Vec::new();
    let pages = [0xa000_0000, 0xa041_0008, 0xbfff_fff8, 0xa000_fff8, 0xa001_0000, 0xb000_8000, 0xafff_7ff8];
    let offsets = [0, -8, 3, 2047, -2048];
    let words = EDGES.into_iter().chain([0x8081_8283_8485_8687, 0x7f80_ff7f_8000_7fff]);
    for (i, word) in words.enumerate() {
        for value in [0xfedc_ba98_7654_3210, EDGES[(i + 5) % EDGES.len()], word] {
            for op in OPS {
                for low in 0..8 {
                    let n = stores.len();
                    let address = pages[(i + n / 8) % pages.len()] + low;
                    stores.push(store(n as u32, op, address, offsets[n % offsets.len()], value, word));
                }
            }
        }
    }
    stores
}

#[test]
fn no_cell_is_free() {
    let stores = stores();
    attack_instruction(&Store, &stores, fill, &[]);
    // An aligned store may take the detour.
    let detours: Vec<_> =
        stores.iter().filter(|(_, row)| size(row.op) > 1).map(|(step, row)| (detour(step, row), *row)).collect();
    let detours: Vec<_> = detours.into_iter().enumerate().map(|(i, (step, row))| (Step { row: i as u32, ..step }, row)).collect();
    attack_instruction(&Store, &detours, fill, &[]);
}

#[test]
fn no_two_cells_are_free_together() {
    for (step, row) in stores().iter().step_by(119) {
        attack_pairs(&Store, step, row, fill);
    }
    let flags = [
        offset_of!(StoreColumns<F>, is_byte),
        offset_of!(StoreColumns<F>, is_half),
        offset_of!(StoreColumns<F>, is_word),
        offset_of!(StoreColumns<F>, is_double),
        offset_of!(StoreColumns<F>, common.misaligned),
    ];
    attack_padding::<StoreColumns<F>>(&Store, &flags.map(|offset| offset / size_of::<F>()));
}

#[test]
fn stores_do_what_the_contract_says() {
    let mut random = Random(3);
    let mut all = stores();
    for i in 0..3000 {
        let (op, address, offset) = (OPS[random.below(4) as usize], 0xa000_0000 + random.below(1 << 29), random.value() as i32);
        all.push(store(i, op, address, offset, random.value(), random.value()));
    }
    for (step, row) in all {
        let address = step.b.wrapping_add_signed(row.offset.into());
        let reads =
            [(REGISTER_WORD + 6, SLOT_B, step.ts_b, step.b, step.b), (REGISTER_WORD + 7, SLOT_C, step.ts_c, step.c, step.c)];
        if address.is_multiple_of(size(row.op)) {
            let before = step.memory.before;
            let after = stored(row.op, before, step.c, address);
            let memory = ((address / 8) as u32, SLOT_MEMORY, 4 * step.clk - 65_536, before, after);
            check_effects(&Store, &step, &row, fill, &[reads[0], reads[1], memory]);
        } else {
            assert_eq!(step.next_pc, row.alt_pc);
            check_effects(&Store, &step, &row, fill, &reads);
        }
    }
}

#[test]
fn wrong_words_are_refused() {
    for (step, row) in stores().iter().filter(|(step, _)| !step.misaligned) {
        let MemoryAccess { before, after, .. } = step.memory;
        let wrong = (0..64)
            .map(|bit| after ^ 1 << bit)
            .chain(OPS.into_iter().flat_map(|op| (0..8).step_by(size(op) as usize).map(move |at| stored(op, before, step.c, at))))
            .chain([before, step.c, 0, u64::MAX, after.wrapping_add(1), after.wrapping_sub(0x100), after.wrapping_add(0x1_0000)]);
        for wrong in wrong.filter(|&wrong| wrong != after) {
            let mut forged_step = *step;
            forged_step.memory.after = wrong;
            assert!(refused(&Store, &forged_step, row, fill), "{forged_step:?} of {row:?}");
            // The change kept as it was; or the second byte of the value dropped or not.
            for dropped in [0, step.c as u16 >> 8, step.c as u16 & 0xff] {
                for honest_change in [false, true] {
                    let forged = |columns: &mut StoreColumns<F>, wrong: &Step, row: &Row| {
                        fill(columns, if honest_change { step } else { wrong }, row);
                        columns.after = limbs(wrong.memory.after);
                        columns.dropped = F::from_u16(dropped);
                    };
                    assert!(refused(&Store, &forged_step, row, forged), "{forged_step:?} of {row:?}");
                }
            }
        }
    }
}

#[test]
fn wrong_addresses_are_refused() {
    for (step, row) in stores() {
        let address = step.b.wrapping_add_signed(row.offset.into());
        for bit in 0..32 {
            let other = step.b ^ 1 << bit;
            let forged = |columns: &mut StoreColumns<F>, forged: &Step, row: &Row| {
                fill(columns, forged, row);
                columns.common.b = limbs(step.b);
            };
            assert!(refused(&Store, &Step { b: other, ..step }, &row, forged), "{step:?}");
        }
        if !address.is_multiple_of(size(row.op)) {
            assert!(refused(&Store, &straight(&step, &row, step.c), &row, fill), "{step:?}");
        }
    }
}

#[test]
fn a_byte_is_never_misaligned() {
    for (step, row) in stores().into_iter().filter(|(_, row)| row.op == Op::Sb) {
        for which in [F::ZERO, F::ONE, F::TWO, F::NEG_ONE] {
            // The only numbers a detour can have are those of the other operations: the program has no such row.
            let forged = |columns: &mut StoreColumns<F>, step: &Step, row: &Row| {
                fill(columns, step, row);
                columns.which = which;
            };
            let mut cells = F::zero_vec(size_of::<StoreColumns<F>>() / size_of::<F>());
            forged(crate::stark::table::Columns::of_mut(&mut cells), &detour(&step, &row), &row);
            let outcome = crate::stark::check::check_row(&Store, &[], &cells, 1);
            let honest = code(Op::Sb, false);
            let asks = |(bus, tuple): &(crate::stark::table::Bus, Vec<u32>)| {
                *bus == crate::stark::table::Bus::Program && tuple[2] == honest
            };
            assert!(!outcome.broken.is_empty() || !outcome.balance.keys().any(asks));
        }
    }
}

#[test]
fn only_ram_can_be_written() {
    let outside = [
        0,
        8,
        0x1000_0000,
        0x2fff_fff8,
        0x8000_0000,
        0x9000_0000,
        0x9fff_fff8,
        0xc000_0000,
        0xc000_fff8,
        0xe000_0000,
        0xffff_fff8,
        1 << 32,
        (1 << 32) + 80,
        0x1_a000_0000,
        0x1_0000_a000_0000,
        0xffff_ffff_a000_0000,
        0x8000_0000_a000_0000,
        0xffff_ffff_ffff_fff8,
    ];
    for op in OPS {
        for address in outside {
            for offset in [0, 8, -8, i32::MAX - 7, i32::MIN] {
                let (step, row) = store(0, op, address, offset, 1, 2);
                assert!(refused(&Store, &step, &row, fill), "{address:#x}");
                assert!(op == Op::Sb || refused(&Store, &detour(&step, &row), &row, fill), "{address:#x}, detour");
                // Parts of the address that are too large, or that make up for another.
                for high in [0x9fff, 0xa000, 0xbfff, 0xc000, 0xffff, 0x1_0000, 0x1_a000] {
                    for (high_byte, line) in [(0, 0), (256, 0), (255, 32), (511, 31), (255, 31), (248, 255), (0x10_0000, 0)] {
                        let forged = |columns: &mut StoreColumns<F>, step: &Step, row: &Row| {
                            fill(columns, step, row);
                            let common = &mut columns.common;
                            (common.high, common.high_byte, common.line) = (F::new(high), F::new(high_byte), F::new(line));
                        };
                        assert!(refused(&Store, &step, &row, forged), "{address:#x}: {high:#x} {high_byte:#x} {line:#x}");
                    }
                }
            }
        }
        for address in [0xa000_0000, 0xbfff_fff8] {
            let (step, row) = store(0, op, address, 0, 1, 2);
            assert!(!refused(&Store, &step, &row, fill), "{address:#x}");
        }
    }
}

#[test]
fn degrees_are_low() {
    check_degrees(&Store);
}

#[test]
fn wrong_bytes_are_refused() {
    let stores = stores();
    for (step, row) in stores.iter().filter(|(_, row)| row.op == Op::Sb) {
        let address = step.b.wrapping_add_signed(row.offset.into());
        let MemoryAccess { before, after, .. } = step.memory;
        let (shift, upper) = ((address >> 1 & 3) * 16, address & 1 == 1);
        let limb = F::from_u16((before >> shift) as u16);
        let inverse = F::from_u32(256).inverse();
        for byte in (0..=255_u8).filter(|&byte| byte != step.c as u8) {
            let mut wrong = *step;
            wrong.memory.after = stored(Op::Sb, before, byte.into(), address);
            // Another byte than the value's, as if it were its low byte.
            let forged_value = |columns: &mut StoreColumns<F>, wrong: &Step, row: &Row| {
                fill(columns, wrong, row);
                columns.dropped = (columns.c[0] - F::from_u8(byte)) * inverse;
            };
            assert!(refused(&Store, &wrong, row, forged_value), "{wrong:?} of {row:?}: {byte}");
            // The right byte, but as if another one had been there before: its difference goes into the other byte.
            let old = F::from_u8(byte);
            let other = if upper { limb - old * F::from_u32(256) } else { (limb - old) * inverse };
            let forged_part = |columns: &mut StoreColumns<F>, step: &Step, row: &Row| {
                fill(columns, step, row);
                (columns.common.part, columns.common.other) = (old, other);
                let scale = if upper { F::from_u32(256) } else { F::ONE };
                columns.change = (F::from_u8(step.c as u8) - old) * scale;
                let j = (address >> 1 & 3) as usize;
                columns.after[j] = columns.common.before[j] + columns.change;
            };
            let honest = (before >> (8 * (address & 7))) as u8;
            assert!(
                byte == honest || refused(&Store, step, row, forged_part),
                "{step:?} of {row:?}: {byte} instead of {honest}, {after:#x}"
            );
        }
    }
}

#[test]
fn no_operation_passes_for_another() {
    for (step, row) in stores().iter().step_by(3) {
        for op in OPS.into_iter().filter(|&op| op != row.op) {
            // Done as `op`, under the number of the row's own operation.
            let gap = F::from_u32(code(row.op, false)) - F::from_u32(code(op, false));
            let forged = |columns: &mut StoreColumns<F>, step: &Step, row: &Row| {
                fill(columns, step, &Row { op, ..*row });
                columns.which += gap.halve();
            };
            let pretended = straight(step, &Row { op, ..*row }, step.memory.before);
            assert!(refused(&Store, &pretended, row, forged), "{op:?} for {row:?}");
        }
    }
}

#[test]
fn a_detour_is_taken_or_not() {
    for (step, row) in stores() {
        // So early that the gap of an access that is not there is small too.
        let mut step = Step { clk: 100, ts_b: 0, ts_c: 0, ..step };
        step.memory.prev_ts = 0;
        for misaligned in [F::TWO, F::NEG_ONE, F::ONE.halve(), F::from_u32(3)] {
            let forged = |columns: &mut StoreColumns<F>, step: &Step, row: &Row| {
                fill(columns, step, row);
                let common = &mut columns.common;
                common.misaligned = misaligned;
                let next = common.fetch.next_pc;
                common.goto = std::array::from_fn(|i| next[i] + misaligned * (common.alt_pc[i] - next[i]));
            };
            assert!(refused(&Store, &step, &row, forged), "{misaligned}");
            assert!(refused(&Store, &detour(&step, &row), &row, forged), "{misaligned}");
        }
    }
}
