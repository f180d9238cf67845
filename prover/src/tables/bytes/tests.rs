use p3_field::{PrimeCharacteristicRing, PrimeField32};
use p3_matrix::Matrix;
use p3_matrix::dense::RowMajorMatrix;

use super::{Bytes, multiplicity_cell, preprocessed};
use crate::stark::check::{Balance, check_table};
use crate::stark::table::{Bus, Table};
use crate::tables::adapter::F;
use crate::tables::address::testing::check_degrees;

#[test]
fn rows_answer_exactly_the_valid_tuples() {
    let fixed = preprocessed();
    assert_eq!((fixed.width(), fixed.height()), (Bytes.preprocessed_width(), 1 << 16));
    let trace = RowMajorMatrix::new(vec![F::ONE; Bytes.width() << 16], Bytes.width());
    let mut balance = Balance::new();
    check_table(&Bytes, Some(&fixed), &trace, 1, &mut balance).unwrap();
    // Each column answers 2^16 different tuples, once, and all are valid: there are no more valid ones than that.
    for bus in [Bus::Range16, Bus::Bytes, Bus::And] {
        assert_eq!(balance.keys().filter(|(b, _)| *b == bus).count(), 1 << 16);
    }
    assert_eq!(balance.len(), 3 << 16);
    for ((bus, tuple), multiplicity) in &balance {
        assert_eq!((bus.look_up(tuple), *multiplicity), (Some(true), F::NEG_ONE));
    }
}

#[test]
fn cells_hold_the_count_of_their_tuple() {
    let fixed = preprocessed();
    let mut cells = std::collections::BTreeSet::new();
    for x in 0..256 {
        for y in 0..256 {
            for (bus, tuple) in [(Bus::Range16, vec![x * 256 + y]), (Bus::Bytes, vec![x, y]), (Bus::And, vec![x, y, x & y])] {
                let (row, column) = multiplicity_cell(bus, &tuple).unwrap();
                assert!(cells.insert((row, column)));
                let mut counts = vec![F::ZERO; Bytes.width()];
                counts[column] = F::from_u32(5);
                let fixed = RowMajorMatrix::new(fixed.row_slice(row).unwrap().to_vec(), fixed.width());
                let mut balance = Balance::new();
                check_table(&Bytes, Some(&fixed), &RowMajorMatrix::new(counts, Bytes.width()), 1, &mut balance).unwrap();
                assert_eq!(balance, Balance::from([((bus, tuple), -F::from_u32(5))]));
            }
        }
    }
    assert_eq!(cells.len(), 3 << 16);
}

#[test]
fn no_cell_for_other_tuples() {
    let p = F::NEG_ONE.as_canonical_u32();
    for (bus, tuple) in [
        (Bus::Range16, vec![1 << 16]),
        (Bus::Range16, vec![p]),
        (Bus::Range16, vec![]),
        (Bus::Range16, vec![1, 0]),
        (Bus::Bytes, vec![256, 0]),
        (Bus::Bytes, vec![0, 256]),
        (Bus::Bytes, vec![p, 1]),
        (Bus::Bytes, vec![3]),
        (Bus::And, vec![3, 5, 2]),
        (Bus::And, vec![256, 256, 256]),
        (Bus::And, vec![p, p, p]),
        (Bus::And, vec![3, 5]),
        (Bus::State, vec![1]),
    ] {
        assert_eq!(multiplicity_cell(bus, &tuple), None, "{bus:?} {tuple:?}");
    }
}

#[test]
fn degrees_are_low() {
    check_degrees(&Bytes);
}
