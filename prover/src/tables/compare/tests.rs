use std::cmp::Ordering;

use p3_field::PrimeCharacteristicRing;
use zisk_machine::program::{Op, Row};
use zisk_machine::trace::Step;

use super::{Compare, CompareColumns, fill};
use crate::stark::table::{Bus, Columns};
use crate::tables::adapter::{F, halves};
use crate::tables::attack::{self, EDGES, attack_instruction};
use crate::tables::bitwise::forge::{attack_flags, attack_pairs, filled, numbers, random_values, stands};

const OPS: [Op; 8] = [Op::Slt, Op::Sltu, Op::Beq, Op::Bne, Op::Blt, Op::Bge, Op::Bltu, Op::Bgeu];

/// From the operands' decimal forms' point of view: as 128-bit integers.
fn result(op: Op, b: u64, c: u64) -> bool {
    let order = match op {
        Op::Slt | Op::Blt | Op::Bge => i128::from(b as i64).cmp(&i128::from(c as i64)),
        _ => i128::from(b).cmp(&i128::from(c)),
    };
    match op {
        Op::Beq => order == Ordering::Equal,
        Op::Bne => order != Ordering::Equal,
        Op::Bge | Op::Bgeu => order != Ordering::Less,
        _ => order == Ordering::Less,
    }
}

fn step(index: u32, op: Op, b: u64, c: u64, outcome: bool, imm: bool) -> (Step, Row) {
    let (mut step, mut row) = attack::step(index, op, b, c, u64::from(outcome), imm);
    if !matches!(op, Op::Slt | Op::Sltu) {
        row.rd = 0;
        row.alt_pc = 0x8765_4320;
        (step.a, step.prev_a, step.ts_a) = (0, 0, 0);
        if outcome {
            step.next_pc = row.alt_pc;
        }
    }
    (step, row)
}

fn operands(random: &mut impl FnMut() -> u64) -> (u64, u64) {
    let b = random();
    // Often equal in some limbs, or everywhere.
    let c = match random() % 4 {
        0 => b,
        1 => b ^ random() >> (random() % 64),
        2 => b ^ 1 << (random() % 64),
        _ => random(),
    };
    (b, c)
}

#[test]
fn no_cell_is_free() {
    let mut steps = Vec::new();
    let mut random = random_values(1);
    let mut values: Vec<_> = EDGES.iter().flat_map(|&b| EDGES.map(|c| (b, c))).collect();
    values.extend((0..300).map(|_| operands(&mut random)));
    for (b, c) in values {
        let n = steps.len() as u32;
        let op = OPS[random() as usize % 8];
        steps.push(step(n, op, b, c, result(op, b, c), false));
        let c = (c & 0xffff_ffff) | if random().is_multiple_of(2) { 0 } else { 0xffff_ffff_0000_0000 };
        steps.push(step(n + 1, op, b, c, result(op, b, c), true));
    }
    attack_instruction(&Compare, &steps, fill, &[]);
}

#[test]
fn a_wrong_result_is_refused() {
    let mut random = random_values(2);
    for op in OPS {
        for _ in 0..2000 {
            let (b, c) = operands(&mut random);
            let right = result(op, b, c);
            let (s, r) = step(0, op, b, c, right, false);
            let honest = filled(fill, &s, &r);
            assert!(stands(&Compare, &honest), "{op:?} {b:x} {c:x}");
            // Everything as if other operands had been compared, for which the outcome is the opposite: but b and c themselves.
            for (x, y) in [(c, b), (b, b), (b, b ^ 1), (b, b.wrapping_add(1)), (b ^ 1 << 63, c), (b, c ^ 1 << 63), (0, 1), (1, 0)]
            {
                if result(op, x, y) == right {
                    continue;
                }
                let (s, r) = step(0, op, x, y, !right, false);
                let mut forged = filled(fill, &s, &r);
                let columns = CompareColumns::of_mut(&mut forged);
                (columns.b, columns.c.value) = (crate::tables::adapter::limbs(b), crate::tables::adapter::limbs(c));
                assert!(!stands(&Compare, &forged), "{op:?} {b:x} {c:x}");
            }
            // Every combination of mark, bit, gap and signs.
            let mut forged = honest.clone();
            for mark in 0..5 {
                for bits in 0..8 {
                    let columns = CompareColumns::of_mut(&mut forged);
                    columns.differs = std::array::from_fn(|j| F::from_bool(j == mark));
                    let less = F::from_u32(bits & 1);
                    columns.less = less;
                    columns.b_sign = F::from_u32(bits >> 1 & 1);
                    columns.c_sign = F::from_u32(bits >> 2 & 1);
                    columns.gap = F::ZERO;
                    if mark < 4 {
                        let mut difference = columns.c.value[mark] - columns.b[mark];
                        if mark == 3 {
                            difference += (columns.b_sign - columns.c_sign) * F::from_u32(1 << 16);
                        }
                        columns.gap = (less.double() - F::ONE) * difference - F::ONE;
                    }
                    if !matches!(op, Op::Slt | Op::Sltu) {
                        columns.goto = halves(if right { r.next_pc } else { r.alt_pc });
                        assert!(!stands(&Compare, &forged), "{op:?} {b:x} {c:x}");
                    } else if less != F::from_bool(right) {
                        assert!(!stands(&Compare, &forged), "{op:?} {b:x} {c:x}");
                    }
                }
            }
        }
    }
}

#[test]
fn branches_write_nothing_and_all_go_where_they_should() {
    let mut random = random_values(3);
    for op in OPS {
        for _ in 0..500 {
            let (b, c) = operands(&mut random);
            let outcome = result(op, b, c);
            let (s, r) = step(0, op, b, c, outcome, false);
            let row = filled(fill, &s, &r);
            let balance = crate::stark::check::check_row(&Compare, &[], &row, 1).balance;
            let writes = matches!(op, Op::Slt | Op::Sltu);
            assert_eq!(balance.keys().filter(|(bus, _)| *bus == Bus::Memory).count(), if writes { 6 } else { 4 });
            let goto = if outcome && !writes { r.alt_pc } else { r.next_pc };
            let next = (Bus::State, vec![s.clk + 1, goto & 0xffff, goto >> 16]);
            assert_eq!(balance.get(&next), Some(&F::ONE));
            if writes {
                let word = zisk_machine::memory_map::REGISTER_WORD + u32::from(r.rd);
                let written = (Bus::Memory, vec![word, 4 * s.clk + 3, u32::from(outcome), 0, 0, 0]);
                assert_eq!(balance.get(&written), Some(&F::ONE));
            }
        }
    }
}

#[test]
fn two_cells_at_once() {
    let mut random = random_values(4);
    let determined = numbers(|c: &CompareColumns<F>| [&c.goto[..], &c.differs, &[c.less, c.gap, c.b_sign, c.c_sign]].concat());
    let flags =
        numbers(|c: &CompareColumns<F>| vec![c.is_slt, c.is_sltu, c.is_beq, c.is_bne, c.is_blt, c.is_bge, c.is_bltu, c.is_bgeu]);
    for op in OPS {
        for _ in 0..4 {
            let (b, c) = operands(&mut random);
            let (s, r) = step(0, op, b, c, result(op, b, c), false);
            let row = filled(fill, &s, &r);
            attack_pairs(&Compare, &row, &determined);
            attack_flags(&Compare, &row, &flags);
        }
    }
}
