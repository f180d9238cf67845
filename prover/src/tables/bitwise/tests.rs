use p3_field::PrimeCharacteristicRing;
use zisk_machine::program::Op;

use super::{Bitwise, BitwiseColumns, bytes, fill};
use crate::stark::table::Columns;
use crate::tables::adapter::{F, limbs};
use crate::tables::attack::{EDGES, attack_instruction, step};
use crate::tables::bitwise::forge::{attack_flags, attack_pairs, filled, numbers, random_values, stands};

const OPS: [Op; 3] = [Op::And, Op::Or, Op::Xor];

/// Bit by bit.
fn result(op: Op, b: u64, c: u64) -> u64 {
    (0..64).fold(0, |sum, i| {
        let bits = (b >> i & 1) + (c >> i & 1);
        let bit = match op {
            Op::And => bits == 2,
            Op::Or => bits != 0,
            _ => bits == 1,
        };
        sum | u64::from(bit) << i
    })
}

#[test]
fn inverse() {
    assert_eq!(bytes::INV_256 * F::from_u32(256), F::ONE);
}

#[test]
fn no_cell_is_free() {
    let mut steps = Vec::new();
    let mut random = random_values(1);
    let mut values: Vec<_> = EDGES.iter().flat_map(|&b| EDGES.map(|c| (b, c))).collect();
    values.extend((0..100).map(|_| (random(), random())));
    for (b, c) in values {
        let n = steps.len() as u32;
        let op = OPS[random() as usize % 3];
        steps.push(step(n, op, b, c, result(op, b, c), false));
        let c = (c & 0xffff_ffff) | if random().is_multiple_of(2) { 0 } else { 0xffff_ffff_0000_0000 };
        steps.push(step(n + 1, op, b, c, result(op, b, c), true));
    }
    attack_instruction(&Bitwise, &steps, fill, &[]);
}

#[test]
fn a_wrong_result_is_refused() {
    let mut random = random_values(2);
    for op in OPS {
        for _ in 0..2000 {
            let (b, c) = (random(), random());
            let right = result(op, b, c);
            let (s, r) = step(0, op, b, c, right, false);
            assert!(stands(&Bitwise, &filled(fill, &s, &r)));
            let wrong = [right ^ 1 << (random() % 64), right.wrapping_add(1), b & c, b | c, b ^ c, random()];
            for a in wrong.into_iter().filter(|&a| a != right) {
                let (s, r) = step(0, op, b, c, a, false);
                let mut row = filled(fill, &s, &r);
                assert!(!stands(&Bitwise, &row), "{op:?} {b:x} {c:x} {a:x}");
                // Bytes of b & c such that a would be right.
                let columns = BitwiseColumns::of_mut(&mut row);
                let (b, c) = (limbs(b), limbs(c));
                for j in 0..4 {
                    let a = columns.common.a[j];
                    let and = match op {
                        Op::And => a,
                        Op::Or => b[j] + c[j] - a,
                        _ => (b[j] + c[j] - a).halve(),
                    };
                    columns.and[2 * j + 1] = (and - columns.and[2 * j]) * bytes::INV_256;
                }
                assert!(!stands(&Bitwise, &row), "{op:?} {b:?} {c:?} {a:x}");
            }
        }
    }
}

#[test]
fn two_cells_at_once() {
    let mut random = random_values(3);
    let determined = numbers(|c: &BitwiseColumns<F>| [&c.common.a[..], &c.b_low, &c.c_low, &c.and].concat());
    let flags = numbers(|c: &BitwiseColumns<F>| vec![c.is_and, c.is_or, c.is_xor]);
    for op in OPS {
        let (b, c) = (random(), random());
        let (s, r) = step(0, op, b, c, result(op, b, c), false);
        let row = filled(fill, &s, &r);
        attack_pairs(&Bitwise, &row, &determined);
        attack_flags(&Bitwise, &row, &flags);
    }
}
