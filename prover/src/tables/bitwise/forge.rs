//! Attacks on tables whose result and helpers follow from the operands: changes in more than one cell.

use p3_field::{Field, PrimeCharacteristicRing, PrimeField32};
use zisk_machine::program::Row;
use zisk_machine::trace::Step;

use crate::stark::check::check_row;
use crate::stark::table::{Columns, Table};
use crate::tables::adapter::F;
use crate::tables::attack::EDGES;

/// Whether a single row stands by itself: no constraint is broken and every look-up is answered.
pub fn stands(table: &impl Table, row: &[F]) -> bool {
    let outcome = check_row(table, &[], row, 1);
    outcome.broken.is_empty() && outcome.balance.keys().all(|(bus, tuple)| bus.look_up(tuple) != Some(false))
}

/// The row that `fill` makes of a step.
pub fn filled<C: Columns<F>>(fill: impl Fn(&mut C, &Step, &Row), step: &Step, row: &Row) -> Vec<F> {
    let mut values = vec![F::ZERO; C::WIDTH];
    fill(C::of_mut(&mut values), step, row);
    values
}

/// Given the cells that say what the step is and reads, all other cells (`determined`: result and helpers) have one solution:
/// changes any two of them in many ways (by small amounts, by whole bytes and limbs, by fractions of them) and finds no other.
pub fn attack_pairs(table: &impl Table, row: &[F], determined: &[usize]) {
    assert!(stands(table, row), "table {}: honest row", table.name());
    let mut deltas = vec![F::ZERO];
    for x in [1, 2, 256, 1 << 16] {
        let x = F::from_u32(x);
        for y in [x, x.inverse()] {
            deltas.extend([y, -y]);
        }
    }
    let inverse = F::from_u32(1 << 16).inverse();
    deltas.extend([inverse * F::from_u32(2), -inverse * F::from_u32(2), inverse * F::from_u32(3)]);
    for (n, &i) in determined.iter().enumerate() {
        for &j in &determined[..n] {
            for &d in &deltas {
                for &e in &deltas {
                    if d == F::ZERO && e == F::ZERO {
                        continue;
                    }
                    let mut forged = row.to_vec();
                    forged[i] += d;
                    forged[j] += e;
                    assert!(!stands(table, &forged), "table {}: cells {i} by {d} and {j} by {e}", table.name());
                }
            }
        }
    }
}

/// Deterministic random numbers: edge values, small ones, any.
pub fn random_values(seed: u64) -> impl FnMut() -> u64 {
    let mut state = seed;
    let mut next = move || {
        state = state.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let x = (state ^ state >> 30).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        let x = (x ^ x >> 27).wrapping_mul(0x94d0_49bb_1331_11eb);
        x ^ x >> 31
    };
    move || match next() % 4 {
        0 => EDGES[next() as usize % EDGES.len()],
        1 => next() >> (next() % 64),
        _ => next(),
    }
}

/// The numbers of the columns, in the columns' struct.
pub fn numbers<C: Columns<F>>(use_numbers: impl Fn(&C) -> Vec<F>) -> Vec<usize> {
    let row: Vec<F> = (0..C::WIDTH as u32).map(F::from_u32).collect();
    use_numbers(C::of(&row)).into_iter().map(|x| x.as_canonical_u32() as usize).collect()
}

/// No row may have two operations, a half of one, or (on padding) multiplicities without one.
pub fn attack_flags(table: &impl Table, row: &[F], flags: &[usize]) {
    for &i in flags {
        for &j in flags {
            for (x, y) in [(F::ONE, F::ONE), (F::TWO, -F::ONE), (F::TWO.inverse(), F::TWO.inverse()), (F::ZERO, F::ZERO)] {
                let mut forged = row.to_vec();
                forged[i] = x;
                forged[j] = y;
                let expected = check_row(table, &[], row, 1).noticeable();
                if forged != row && stands(table, &forged) {
                    assert_ne!(check_row(table, &[], &forged, 1).noticeable(), expected, "table {}", table.name());
                    // Only another single operation, or none and then nothing is sent.
                    assert_eq!(flags.iter().filter(|&&f| forged[f] == F::ONE).count(), 0, "table {}", table.name());
                    assert!(check_row(table, &[], &forged, 1).balance.is_empty(), "table {}: padding sends", table.name());
                }
            }
        }
    }
}
