use p3_field::{PrimeCharacteristicRing, PrimeField32};
use p3_matrix::Matrix;
use p3_matrix::dense::RowMajorMatrix;

use super::{ShiftBytes, multiplicity_cell, preprocessed};
use crate::stark::check::{Balance, check_table};
use crate::stark::table::{Bus, Table};
use crate::tables::adapter::F;
use crate::tables::address::testing::check_degrees;

#[test]
fn rows_answer_exactly_the_valid_tuples() {
    let fixed = preprocessed();
    assert_eq!(
        (fixed.width(), fixed.height()),
        (ShiftBytes.preprocessed_width(), 1 << 11)
    );
    let trace = RowMajorMatrix::new(vec![F::ONE; ShiftBytes.width() << 11], ShiftBytes.width());
    let mut balance = Balance::new();
    check_table(&ShiftBytes, Some(&fixed), &trace, 1, &mut balance).unwrap();
    // 2^11 different tuples, once each, all valid: x and 2^k leave one pair (hi, lo), so there are no more valid ones.
    assert_eq!(balance.len(), 1 << 11);
    for ((bus, tuple), multiplicity) in &balance {
        assert_eq!(
            (bus.look_up(tuple), *multiplicity),
            (Some(true), F::NEG_ONE)
        );
    }
}

#[test]
fn cells_hold_the_count_of_their_tuple() {
    let fixed = preprocessed();
    let mut rows = std::collections::BTreeSet::new();
    for x in 0..256 {
        for k in 0..8 {
            let tuple = vec![x, 1 << k, x << k >> 8, x << k & 0xff];
            let (row, column) = multiplicity_cell(Bus::ShiftByte, &tuple).unwrap();
            assert!(rows.insert(row) && column == 0);
            let answer: Vec<_> = fixed
                .row_slice(row)
                .unwrap()
                .iter()
                .map(|x| x.as_canonical_u32())
                .collect();
            assert_eq!(answer, tuple);
        }
    }
    assert_eq!(rows.len(), 1 << 11);
}

#[test]
fn no_cell_for_other_tuples() {
    let p = F::NEG_ONE.as_canonical_u32();
    for tuple in [
        vec![1, 0, 0, 0],
        vec![1, 3, 0, 3],
        vec![1, 256, 1, 0],
        vec![256, 1, 1, 0],
        vec![2, 1, 0, 3],
        vec![p, 1, 0, p],
        vec![p, p, 0, 1],
        vec![1, 1 << 30, 0, 0],
        vec![1 << 30, 4, 0, 0],
        vec![128, 2, 0, 256],
        vec![1, 1, 0],
    ] {
        assert_eq!(multiplicity_cell(Bus::ShiftByte, &tuple), None, "{tuple:?}");
    }
    assert_eq!(multiplicity_cell(Bus::Bytes, &[1, 1, 0, 1]), None);
}

#[test]
fn degrees_are_low() {
    check_degrees(&ShiftBytes);
}
