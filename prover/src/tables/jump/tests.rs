use std::mem::offset_of;

use p3_field::PrimeCharacteristicRing;
use zisk_machine::memory_map::REGISTER_WORD;
use zisk_machine::program::{Op, Row, Src2};
use zisk_machine::trace::Step;

use super::super::attack::{EDGES, attack_instruction};
use super::{Jump, JumpColumns, fill};
use crate::tables::adapter::{F, SLOT_A, SLOT_B};
use crate::tables::address::testing::{Random, attack_padding, attack_pairs, check_degrees, check_effects, refused};

/// A jump from rs1 = `b` by `offset`, wherever that leads.
fn jump(index: u32, op: Op, b: u64, offset: i64) -> (Step, Row) {
    let sum = i128::from(b) + i128::from(offset);
    let target = sum.rem_euclid(1 << 64) as u32;
    let row = Row {
        pc: 0x9000_0000 + 2 * index,
        op,
        rd: 1,
        rs1: 6,
        src2: Src2::Imm(offset),
        offset: 0,
        next_pc: 0x9001_fffe + 2 * index,
        alt_pc: 0,
        advice: None,
    };
    let clk = 20_000 + index;
    let step = Step {
        clk,
        row: index,
        next_pc: if op == Op::Jalr { target / 2 * 2 } else { target },
        b,
        c: offset as u64,
        a: row.next_pc.into(),
        prev_a: 0x1111_2222_3333_4444,
        ts_b: 4 * clk - 70_000,
        ts_a: 4 * clk - 66_000,
        ..Step::default()
    };
    (step, row)
}

/// Jumps to targets below 2^32 and how they come about.
fn jumps() -> Vec<(Step, Row)> {
    let mut jumps = Vec::new();
    for target in
        [0, 1, 3, 0xffff, 0x1_0000, 0x1_0001, 0x7fff_ffff, 0x9000_0001, 0x9000_0004, 0xffff_0000, 0xffff_fffe, 0xffff_ffff_u64]
    {
        for offset in [0, 1, -1, 2047, -2048, 0xffff, 0x1_0000, -0x1_0000, 0x8000_0000, -(1 << 32), (1 << 32) - 1] {
            for op in [Op::Jalr, Op::Return] {
                jumps.push(jump(jumps.len() as u32, op, target.wrapping_sub(offset as u64), offset));
            }
        }
    }
    jumps
}

#[test]
fn no_cell_is_free() {
    attack_instruction(&Jump, &jumps(), fill, &[]);
    for (step, row) in jumps().iter().step_by(17) {
        attack_pairs(&Jump, step, row, fill);
    }
    attack_padding::<JumpColumns<F>>(
        &Jump,
        &[offset_of!(JumpColumns<F>, is_jalr) / 4, offset_of!(JumpColumns<F>, is_return) / 4],
    );
}

#[test]
fn jumps_do_what_the_contract_says() {
    let mut random = Random(1);
    let random_jumps = (0..2000).map(|i| {
        let offset = random.value() as u32 as i32;
        let target = random.value() as u32;
        jump(i, if i % 2 == 0 { Op::Jalr } else { Op::Return }, u64::from(target).wrapping_sub(offset as u64), offset.into())
    });
    for (step, row) in jumps().into_iter().chain(random_jumps.collect::<Vec<_>>()) {
        let accesses = [
            (REGISTER_WORD + 6, SLOT_B, step.ts_b, step.b, step.b),
            (REGISTER_WORD + 1, SLOT_A, step.ts_a, step.prev_a, row.next_pc.into()),
        ];
        check_effects(&Jump, &step, &row, fill, &accesses);
    }
}

#[test]
fn rd_may_be_rs1() {
    let (mut step, mut row) = jump(0, Op::Jalr, 0x9000_1000, -4);
    (row.rd, step.prev_a, step.ts_a) = (row.rs1, step.b, 4 * step.clk);
    let outcome_word = REGISTER_WORD + 6;
    // The link's access takes what the read has left; only the first value found and the link remain on the bus.
    let mut cells = vec![F::default(); size_of::<JumpColumns<F>>() / 4];
    fill(crate::stark::table::Columns::of_mut(&mut cells), &step, &row);
    let outcome = crate::stark::check::check_row(&Jump, &[], &cells, 1);
    assert!(outcome.broken.is_empty());
    let memory: Vec<_> =
        outcome.balance.keys().filter(|(_, tuple)| tuple[0] == outcome_word).map(|(_, tuple)| tuple[1]).collect();
    assert_eq!(memory, [step.ts_b, 4 * step.clk + SLOT_A]);
}

#[test]
fn wrong_targets_are_refused() {
    for (step, row) in jumps() {
        let wrong = (0..32).map(|bit| step.next_pc ^ 1 << bit).chain([
            step.next_pc.wrapping_add(2),
            step.next_pc.wrapping_sub(2),
            step.next_pc.wrapping_add(0x1_0000),
            step.next_pc.wrapping_sub(0x1_0000),
        ]);
        for next_pc in wrong {
            // `cleared` as an honest prover could have it, or making up for the whole difference.
            let target = step.b.wrapping_add(step.c) as u32;
            let difference = F::from_u32(target & 0xffff) - F::from_u32(next_pc & 0xffff);
            for cleared in [F::ZERO, F::ONE, difference] {
                let forged = |columns: &mut JumpColumns<F>, step: &Step, row: &Row| {
                    fill(columns, step, row);
                    columns.cleared = cleared;
                };
                assert!(refused(&Jump, &Step { next_pc, ..step }, &row, forged), "{step:?} to {next_pc:#x}");
            }
        }
    }
}

#[test]
fn targets_above_32_bits_are_refused() {
    for op in [Op::Jalr, Op::Return] {
        for sum in EDGES.into_iter().filter(|&x| x >> 32 != 0) {
            for offset in [0, 4, -4, -(1 << 32), (1 << 32) - 1] {
                let (step, row) = jump(0, op, sum.wrapping_sub(offset as u64), offset);
                assert!(refused(&Jump, &step, &row, fill), "{step:?}");
                // Limbs of more than 16 bits, or a carry kept back.
                for (low, high) in [(0, 1 << 16), (1 << 16, 0xffff), (1 << 16, 0), (0, 0x1_ffff)] {
                    let forged = |columns: &mut JumpColumns<F>, step: &Step, row: &Row| {
                        fill(columns, step, row);
                        columns.goto = [F::new(low), F::new(high)];
                    };
                    assert!(refused(&Jump, &step, &row, forged), "{step:?}");
                }
            }
        }
    }
}

#[test]
fn degrees_are_low() {
    check_degrees(&Jump);
}
