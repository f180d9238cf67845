use p3_field::PrimeCharacteristicRing;
use p3_matrix::dense::RowMajorMatrix;
use zisk_machine::trace::TouchedWord;

use super::columns::TouchedColumns;
use crate::tables::adapter::{F, gap_hi, limbs};
use crate::tables::instruction;

/// The table of a segment; the end row alone if it touches nothing.
pub fn trace(touched: &[TouchedWord]) -> RowMajorMatrix<F> {
    let previous = |i: usize| if i == 0 { 0 } else { touched[i - 1].word };
    let rows: Vec<usize> = (0..=touched.len()).collect();
    instruction::trace(&rows, |columns: &mut TouchedColumns<F>, &i| {
        columns.prev_word = F::from_u32(previous(i));
        let Some(word) = touched.get(i) else {
            columns.is_end = F::ONE;
            return;
        };
        columns.is_word = F::ONE;
        columns.word = F::from_u32(word.word);
        columns.gap_hi = gap_hi(previous(i), word.word);
        columns.before = limbs(word.before);
        columns.after = limbs(word.after);
        columns.last_tag = F::from_u32(word.last_tag);
        columns.last_ts = F::from_u32(word.last_ts);
    })
}
