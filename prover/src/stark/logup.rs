//! The LogUp trace of a table: one column per two interactions with the sum of their fractions, and running sums.

use p3_field::{
    BasedVectorSpace, Field, PackedFieldExtension, PackedValue, PrimeCharacteristicRing, batch_multiplicative_inverse,
};
use p3_matrix::Matrix;
use p3_matrix::dense::RowMajorMatrix;
use p3_maybe_rayon::prelude::*;

use super::config::{Challenge, EXTENSION_DEGREE, PackedChallenge, PackedVal, Val};
use super::folder::{Interaction, LogUpChallenges, PackedFolder, Shape};
use super::table::Table;

/// Rows, in packed groups, that share one inversion.
const GROUPS_PER_CHUNK: usize = 32;

/// A table's LogUp trace and the sums it proves.
pub struct Permutation {
    /// The columns, flattened to the base field; no columns if the table has no interactions.
    pub trace: RowMajorMatrix<Val>,
    /// Sum over all rows of the local scope.
    pub local_sum: Challenge,
    /// Sum over all rows of the global scope.
    pub global_sum: Challenge,
}

/// `WIDTH` consecutive rows of a matrix, column by column.
#[inline]
pub fn pack_rows(matrix: &RowMajorMatrix<Val>, first: usize, columns: &mut Vec<PackedVal>) {
    let width = matrix.width();
    let rows = &matrix.values[first * width..(first + PackedVal::WIDTH) * width];
    columns.clear();
    columns.extend((0..width).map(|c| PackedVal::from_fn(|lane| rows[lane * width + c])));
}

/// Builds the LogUp trace. Fails if a fingerprint is zero (probability below 2^-90).
pub fn permutation<A: Table>(
    table: &A,
    shape: Shape,
    preprocessed: Option<&RowMajorMatrix<Val>>,
    main: &RowMajorMatrix<Val>,
    tag: u32,
    challenges: &LogUpChallenges,
) -> Option<Permutation> {
    let height = main.height();
    let width = shape.permutation_columns() * EXTENSION_DEGREE;
    let (local_sum_column, global_sum_column) = (shape.local_sum(), shape.global_sum());
    let mut values = Val::zero_vec(height * width);
    // Sum of each row's fractions, by scope.
    let mut row_sums = vec![[Challenge::ZERO; 2]; height];
    let chunk_rows = (GROUPS_PER_CHUNK * PackedVal::WIDTH).min(height);

    let ok = values
        .par_chunks_exact_mut((chunk_rows * width).max(1))
        .zip(row_sums.par_chunks_exact_mut(chunk_rows))
        .enumerate()
        .map(|(chunk, (out, sums))| {
            let mut folder = PackedFolder::new(challenges, tag);
            let (mut prep, mut row) = (Vec::new(), Vec::new());
            let per_group = shape.local + shape.global;
            let mut interactions: Vec<Interaction<PackedChallenge, PackedVal>> = Vec::with_capacity(per_group * GROUPS_PER_CHUNK);
            for first in (0..chunk_rows).step_by(PackedVal::WIDTH) {
                let first = chunk * chunk_rows + first;
                if let Some(matrix) = preprocessed {
                    pack_rows(matrix, first, &mut prep);
                }
                pack_rows(main, first, &mut row);
                folder.clear();
                table.eval(&prep, &row, &mut folder);
                interactions.append(&mut folder.local);
                interactions.append(&mut folder.global);
            }
            let Some(inverses) = invert(&interactions) else { return false };
            for (group, sums) in sums.chunks_exact_mut(PackedVal::WIDTH).enumerate() {
                let base = group * per_group;
                let rows = &mut out[group * PackedVal::WIDTH * width..(group + 1) * PackedVal::WIDTH * width];
                let mut column = 0;
                for (scope, (start, count)) in [(base, shape.local), (base + shape.local, shape.global)].into_iter().enumerate() {
                    let mut total = PackedChallenge::ZERO;
                    for pair in (start..start + count).step_by(2) {
                        let mut h = inverses[pair] * interactions[pair].1;
                        if pair + 1 < start + count {
                            h += inverses[pair + 1] * interactions[pair + 1].1;
                        }
                        total += h;
                        let coordinates: &[PackedVal] = h.as_basis_coefficients_slice();
                        for (d, coordinate) in coordinates.iter().enumerate() {
                            for (lane, &v) in coordinate.as_slice().iter().enumerate() {
                                rows[lane * width + column * EXTENSION_DEGREE + d] = v;
                            }
                        }
                        column += 1;
                    }
                    if count > 0 {
                        column += 1;
                    }
                    for (lane, sum) in sums.iter_mut().enumerate() {
                        sum[scope] = total.extract(lane);
                    }
                }
            }
            true
        })
        .reduce(|| true, |x, y| x && y);
    if !ok {
        return None;
    }

    let mut sums = [Challenge::ZERO; 2];
    for (scope, column) in [local_sum_column, global_sum_column].into_iter().enumerate() {
        let Some(column) = column else { continue };
        let total: Challenge = row_sums.iter().map(|s| s[scope]).sum();
        let mean = total * Val::from_usize(height).inverse();
        let mut running = Challenge::ZERO;
        for (row, sum) in values.chunks_exact_mut(width).zip(&row_sums) {
            row[column * EXTENSION_DEGREE..(column + 1) * EXTENSION_DEGREE]
                .copy_from_slice(running.as_basis_coefficients_slice());
            running += sum[scope] - mean;
        }
        sums[scope] = total;
    }
    Some(Permutation { trace: RowMajorMatrix::new(values, width), local_sum: sums[0], global_sum: sums[1] })
}

/// Inverses of all fingerprints; `None` if one is zero. One scalar inversion per lane.
fn invert(interactions: &[Interaction<PackedChallenge, PackedVal>]) -> Option<Vec<PackedChallenge>> {
    let mut products = Vec::with_capacity(interactions.len());
    let mut product = PackedChallenge::ONE;
    for (d, _) in interactions {
        products.push(product);
        product *= *d;
    }
    let lanes: Vec<Challenge> = (0..PackedVal::WIDTH).map(|lane| product.extract(lane)).collect();
    if lanes.iter().any(Field::is_zero) {
        return None;
    }
    let mut inverse = PackedChallenge::from_ext_slice(&batch_multiplicative_inverse(&lanes));
    for ((d, _), product) in interactions.iter().zip(&mut products).rev() {
        let inverse_of_d = inverse * *product;
        inverse *= *d;
        *product = inverse_of_d;
    }
    Some(products)
}
