use p3_field::{PrimeCharacteristicRing, PrimeField32};
use zisk_machine::program::Op;

use super::{Shift, ShiftColumns, air, fill};
use crate::stark::table::Columns;
use crate::tables::adapter::{F, limbs};
use crate::tables::attack::{EDGES, attack_instruction, step};
use crate::tables::bitwise::forge::{attack_flags, attack_pairs, filled, numbers, random_values, stands};

const OPS: [Op; 6] = [Op::Sll, Op::Srl, Op::Sra, Op::SllW, Op::SrlW, Op::SraW];

/// One bit at a time.
fn result(op: Op, b: u64, c: u64) -> u64 {
    let word = matches!(op, Op::SllW | Op::SrlW | Op::SraW);
    let width = if word { 32 } else { 64 };
    let amount = c % width;
    let bit = |i: u64| b >> i & 1;
    let mut sum = 0;
    for i in 0..64u64 {
        let i_in = i.min(width - 1);
        let value = match op {
            Op::Sll | Op::SllW => {
                if i_in >= amount {
                    bit(i_in - amount)
                } else {
                    0
                }
            }
            Op::Srl | Op::SrlW => {
                if i_in + amount < width {
                    bit(i_in + amount)
                } else {
                    0
                }
            }
            _ => bit((i_in + amount).min(width - 1)),
        };
        sum |= value << i;
    }
    sum
}

#[test]
fn the_formula_is_that_of_the_contract() {
    assert_eq!(air::INV_64 * F::from_u32(64), F::ONE);
    let mut random = random_values(9);
    for _ in 0..10_000 {
        let (b, c) = (random(), random());
        let (s, w) = (c as u32 % 64, c as u32 % 32);
        assert_eq!(result(Op::Sll, b, c), b << s);
        assert_eq!(result(Op::Srl, b, c), b >> s);
        assert_eq!(result(Op::Sra, b, c), (b as i64 >> s) as u64);
        assert_eq!(result(Op::SllW, b, c), ((b as u32) << w) as i32 as u64);
        assert_eq!(result(Op::SrlW, b, c), (b as u32 >> w) as i32 as u64);
        assert_eq!(result(Op::SraW, b, c), (b as i32 >> w) as u64);
    }
}

#[test]
fn no_cell_is_free() {
    let mut steps = Vec::new();
    let mut random = random_values(1);
    let mut values: Vec<_> = EDGES.iter().flat_map(|&b| EDGES.map(|c| (b, c))).collect();
    // Every amount, with other bits of c set and not.
    values.extend((0..256).map(|n| (random(), n)));
    values.extend((0..100).map(|_| (random(), random())));
    for (b, c) in values {
        let n = steps.len() as u32;
        let op = OPS[random() as usize % 6];
        steps.push(step(n, op, b, c, result(op, b, c), false));
        let c = (c & 0xffff_ffff) | if random().is_multiple_of(2) { 0 } else { 0xffff_ffff_0000_0000 };
        let op = OPS[random() as usize % 6];
        steps.push(step(n + 1, op, b, c, result(op, b, c), true));
    }
    attack_instruction(&Shift, &steps, fill, &[]);
}

#[test]
fn every_operation_by_every_amount() {
    let mut random = random_values(2);
    for op in OPS {
        for c in (0..128).chain([0xffc0, 0xffff, 0xffe0, u64::MAX, 1 << 16]) {
            for b in EDGES.into_iter().chain([random(), random(), random() | 1 << 31 | 1 << 63]) {
                let (s, r) = step(0, op, b, c, result(op, b, c), false);
                assert!(stands(&Shift, &filled(fill, &s, &r)), "{op:?} {b:x} {c}");
            }
        }
    }
}

#[test]
fn a_wrong_result_is_refused() {
    let mut random = random_values(3);
    for op in OPS {
        for _ in 0..2000 {
            let (b, c) = (random(), random() % 64);
            let right = result(op, b, c);
            let mut wrong =
                vec![right ^ 1 << (random() % 64), right.wrapping_add(1), right.wrapping_sub(1), right ^ 1 << 63, random()];
            wrong.extend(OPS.map(|other| result(other, b, c)));
            for a in wrong.into_iter().filter(|&a| a != right) {
                let (s, r) = step(0, op, b, c, a, false);
                let mut row = filled(fill, &s, &r);
                assert!(!stands(&Shift, &row), "{op:?} {b:x} {c} {a:x}");
                // The carries (mod p) with which a would be right, from above and from below; any rest.
                let columns = ShiftColumns::of_mut(&mut row);
                let power = columns.power_less_1 + F::ONE;
                let left = matches!(op, Op::Sll | Op::SllW);
                for j in 0..4 {
                    let (x, y) = (columns.moved[j], columns.common.a[j]);
                    let (x, y) = if left { (x, y) } else { (y, x) };
                    let out = columns.carry[j] * F::from_u32(1 << 16) + y - x * power;
                    if j > 0 { columns.carry[j - 1] = out } else { columns.rest = out }
                }
                columns.rest_up = columns.rest * F::from_u32(256) / power;
                assert!(!stands(&Shift, &row), "{op:?} {b:x} {c} {a:x}");
            }
            // Everything as for another amount, other operands or another operation; then put the true ones back.
            for _ in 0..4 {
                let (other_op, other_b, other_c) = match random() % 3 {
                    0 => (OPS[random() as usize % 6], b, c),
                    1 => (op, [random(), b ^ 1 << 63, b ^ 1 << 31][random() as usize % 3], c),
                    _ => (op, b, random() % 64),
                };
                let a = result(other_op, other_b, other_c);
                if a == right {
                    continue;
                }
                let (s, r) = step(0, other_op, other_b, other_c, a, false);
                let mut row = filled(fill, &s, &r);
                let columns = ShiftColumns::of_mut(&mut row);
                (columns.common.b, columns.common.c.value) = (limbs(b), limbs(c));
                let flags = [
                    &mut columns.is_sll,
                    &mut columns.is_srl,
                    &mut columns.is_sra,
                    &mut columns.is_sll_w,
                    &mut columns.is_srl_w,
                    &mut columns.is_sra_w,
                ];
                for (flag, name) in flags.into_iter().zip(OPS) {
                    *flag = F::from_bool(name == op);
                }
                assert!(!stands(&Shift, &row), "{op:?} {b:x} {c} {a:x}");
            }
        }
    }
}

/// A right shift's result smaller by 1 and its rest larger by the power; and the same with the sign or the fill turned.
#[test]
fn a_rest_that_is_too_large_is_refused() {
    let mut random = random_values(4);
    for op in [Op::Srl, Op::Sra, Op::SrlW, Op::SraW] {
        for _ in 0..2000 {
            let (b, c) = (random(), random() % 64);
            for change in [1, u64::MAX] {
                let a = result(op, b, c).wrapping_add(change);
                let (s, r) = step(0, op, b, c, a, false);
                let mut row = filled(fill, &s, &r);
                let columns = ShiftColumns::of_mut(&mut row);
                let power = u64::from((columns.power_less_1 + F::ONE).as_canonical_u32());
                let rest = u64::from(columns.rest.as_canonical_u32());
                let rest = if change == 1 { F::from_u64(rest) - F::from_u64(power) } else { F::from_u64(rest + power) };
                columns.rest = rest;
                columns.rest_up = rest * F::from_u32(256) / F::from_u64(power);
                let mut carry = rest;
                for j in 0..if matches!(op, Op::SrlW | Op::SraW) { 2 } else { 4 } {
                    let out = columns.common.a[j] * F::from_u64(power) + carry - columns.moved[j];
                    carry = out / F::from_u32(1 << 16);
                    columns.carry[j] = carry;
                }
                assert!(!stands(&Shift, &row), "{op:?} {b:x} {c}");
            }
        }
    }
}

#[test]
fn a_turned_sign_is_refused() {
    let mut random = random_values(5);
    for op in [Op::Sra, Op::SraW] {
        for _ in 0..2000 {
            let (b, c) = (random(), random() % 64);
            // As if the value had the other sign, but for b and its bytes.
            let other = b ^ if op == Op::Sra { 1 << 63 } else { 1 << 31 };
            let a = result(op, other, c);
            let (s, r) = step(0, op, other, c, a, false);
            let mut row = filled(fill, &s, &r);
            let columns = ShiftColumns::of_mut(&mut row);
            columns.common.b = limbs(b);
            assert!(!stands(&Shift, &row));
            // The logical shift instead.
            let a = result(if op == Op::Sra { Op::Srl } else { Op::SrlW }, b, c);
            if a != result(op, b, c) {
                let (s, r) = step(0, op, b, c, a, false);
                let mut row = filled(fill, &s, &r);
                let columns = ShiftColumns::of_mut(&mut row);
                columns.sign = F::ZERO;
                assert!(!stands(&Shift, &row));
            }
        }
    }
}

#[test]
fn two_cells_at_once() {
    let mut random = random_values(6);
    let determined = numbers(|c: &ShiftColumns<F>| {
        let rest = [c.power_less_1, c.ignored_bit, c.rest, c.rest_up, c.signed, c.sign];
        [&c.common.a[..], &c.bits, &c.move_bytes, &c.b_low, &c.moved, &c.carry, &rest].concat()
    });
    let flags = numbers(|c: &ShiftColumns<F>| vec![c.is_sll, c.is_srl, c.is_sra, c.is_sll_w, c.is_srl_w, c.is_sra_w]);
    for op in OPS {
        let (b, c) = (random(), random());
        let (s, r) = step(0, op, b, c, result(op, b, c), false);
        let row = filled(fill, &s, &r);
        attack_pairs(&Shift, &row, &determined);
        attack_flags(&Shift, &row, &flags);
    }
}

/// Amounts put together from something else than bits and one mark: only the one constraint against it notices.
#[test]
fn amounts_of_other_parts_are_refused() {
    // 8 = 4 * 2, which would make the power 31.
    let (s, r) = step(0, Op::Sll, 5, 8, 5 * 31, false);
    let mut bits = filled(fill, &s, &r);
    let columns = ShiftColumns::of_mut(&mut bits);
    columns.move_bytes[0] = F::ZERO;
    columns.bits[2] = F::TWO;
    columns.power_less_1 = F::from_u32(30);
    columns.moved = limbs(5);
    // 24 = 8 + 16, which would move by 1 and by 2 and take the value itself off.
    let (s, r) = step(0, Op::Sll, 1, 24, (1 << 8) + (1 << 16) - 1, false);
    let mut marks = filled(fill, &s, &r);
    let columns = ShiftColumns::of_mut(&mut marks);
    columns.move_bytes = std::array::from_fn(|n| F::from_bool(n < 2));
    columns.moved = columns.common.a;
    for row in [bits, marks] {
        let outcome = crate::stark::check::check_row(&Shift, &[], &row, 1);
        assert_eq!(outcome.broken.len(), 1);
        assert!(outcome.balance.keys().all(|(bus, tuple)| bus.look_up(tuple) != Some(false)));
    }
}
