use p3_field::{Field, PrimeCharacteristicRing};
use zisk_machine::program::Op;

use super::{Mul, MulColumns, fill};
use crate::stark::table::Columns;
use crate::tables::adapter::F;
use crate::tables::attack::{EDGES, attack_instruction, step};
use crate::tables::bitwise::forge::{attack_flags, attack_pairs, filled, numbers, random_values, stands};

const OPS: [Op; 2] = [Op::Mul, Op::Mulhu];

fn result(op: Op, b: u64, c: u64) -> u64 {
    let product = u128::from(b) * u128::from(c);
    if op == Op::Mul { product as u64 } else { (product >> 64) as u64 }
}

#[test]
fn no_cell_is_free() {
    let mut steps = Vec::new();
    let mut random = random_values(1);
    let mut values: Vec<_> = EDGES.iter().flat_map(|&b| EDGES.map(|c| (b, c))).collect();
    values.extend((0..100).map(|_| (random(), random())));
    for (b, c) in values {
        let n = steps.len() as u32;
        let op = OPS[random() as usize % 2];
        steps.push(step(n, op, b, c, result(op, b, c), false));
        let c = (c & 0xffff_ffff) | if random().is_multiple_of(2) { 0 } else { 0xffff_ffff_0000_0000 };
        steps.push(step(n + 1, op, b, c, result(op, b, c), true));
    }
    attack_instruction(&Mul, &steps, fill, &[]);
}

#[test]
fn a_wrong_result_is_refused() {
    let mut random = random_values(2);
    for op in OPS {
        for _ in 0..2000 {
            let (b, c) = (random(), random());
            let right = result(op, b, c);
            let (s, r) = step(0, op, b, c, right, false);
            assert!(stands(&Mul, &filled(fill, &s, &r)), "{op:?} {b:x} {c:x}");
            let wrong =
                [right ^ 1 << (random() % 64), right.wrapping_add(1), result(Op::Mul, b, c), result(Op::Mulhu, b, c), random()];
            for a in wrong.into_iter().filter(|&a| a != right) {
                let (s, r) = step(0, op, b, c, a, false);
                let mut row = filled(fill, &s, &r);
                assert!(!stands(&Mul, &row));
                if op == Op::Mul {
                    let columns = MulColumns::of_mut(&mut row);
                    columns.low = columns.common.a;
                    assert!(!stands(&Mul, &row));
                }
            }
        }
    }
}

/// A limb may be wrong by k if its carry is wrong by -k / 2^16 = 32512 k mod p, and all that follows is adapted: all equations
/// and the 16 bits of every cell can hold then, only the sum of the carries is too large.
#[test]
fn a_wrong_carry_is_refused() {
    let mut random = random_values(3);
    let mut only_by_the_sum = 0;
    for _ in 0..20_000 {
        let (b, c) = (random(), random());
        let (s, r) = step(0, Op::Mulhu, b, c, result(Op::Mulhu, b, c), false);
        let mut row = filled(fill, &s, &r);
        let columns = MulColumns::of_mut(&mut row);
        let t = random() as usize % 7;
        let k = F::from_u64(1 + random() % 2);
        let limb = |columns: &mut MulColumns<F>, t: usize, d: F| {
            let x = if t < 4 { &mut columns.low[t] } else { &mut columns.common.a[t - 4] };
            *x += d;
        };
        limb(columns, t, k);
        let mut d = k * F::from_u32(32512);
        columns.carry[t] += d;
        // The carry that comes in is larger by d: so is the next limb, or (mod 2^16) the limb after that, ...
        for t in t + 1..8 {
            let at = if t < 4 { columns.low[t] } else { columns.common.a[t - 4] };
            let sum = u64::from(p3_field::PrimeField32::as_canonical_u32(&(at + d)));
            limb(columns, t, F::from_u64(sum & 0xffff) - at);
            if t < 7 {
                d = F::from_u64(sum >> 16);
                columns.carry[t] += d;
            }
        }
        assert!(!stands(&Mul, &row));
        let outcome = crate::stark::check::check_row(&Mul, &[], &row, 1);
        let refused = outcome.balance.keys().filter(|(bus, tuple)| bus.look_up(tuple) == Some(false)).count();
        only_by_the_sum += usize::from(outcome.broken.is_empty() && refused == 1);
    }
    assert!(only_by_the_sum > 0);
}

#[test]
fn two_cells_at_once() {
    assert_eq!(-F::from_u32(1 << 16).inverse(), F::from_u32(32512));
    let mut random = random_values(4);
    let determined = numbers(|c: &MulColumns<F>| [&c.common.a[..], &c.b_low, &c.c_low, &c.low, &c.carry].concat());
    let flags = numbers(|c: &MulColumns<F>| vec![c.is_mul, c.is_mulhu]);
    for op in OPS {
        for (b, c) in [(random(), random()), (u64::MAX, u64::MAX), (0, random())] {
            let (s, r) = step(0, op, b, c, result(op, b, c), false);
            let row = filled(fill, &s, &r);
            attack_pairs(&Mul, &row, &determined);
            attack_flags(&Mul, &row, &flags);
        }
    }
}
