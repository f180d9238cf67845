use p3_field::PrimeCharacteristicRing;
use p3_matrix::dense::RowMajorMatrix;
use zisk_machine::memory_map::{INPUT_END, INPUT_START, RAM_START, REGISTER_WORD, ROM_START};
use zisk_machine::segment::LedgerEntry;

use super::columns::LedgerColumns;
use crate::public::is_public_word;
use crate::tables::adapter::{F, gap_hi, limbs};
use crate::tables::instruction;

/// The table of a slice that follows the word `cursor`.
pub fn trace(cursor: u32, slice: &[LedgerEntry]) -> RowMajorMatrix<F> {
    let rows: Vec<usize> = (0..slice.len()).collect();
    instruction::trace(&rows, |columns: &mut LedgerColumns<F>, &i| {
        let entry = &slice[i];
        let previous = if i == 0 { cursor } else { slice[i - 1].word };
        let (kind, start) = if entry.image {
            (&mut columns.is_image, ROM_START / 8)
        } else if entry.word >= REGISTER_WORD {
            (&mut columns.is_register, REGISTER_WORD)
        } else if (INPUT_START / 8..INPUT_END / 8).contains(&entry.word) {
            (&mut columns.is_input, INPUT_START / 8)
        } else {
            (&mut columns.is_ram, RAM_START / 8)
        };
        *kind = F::ONE;
        columns.is_public = F::from_bool(is_public_word(entry.word));
        columns.prev_word = F::from_u32(previous);
        columns.word = F::from_u32(entry.word);
        columns.gap_hi = gap_hi(previous, entry.word);
        columns.offset_hi = F::from_u32(entry.word.saturating_sub(start) >> 16);
        columns.initial = limbs(entry.initial);
        columns.last = limbs(entry.last);
        columns.last_tag = F::from_u32(entry.last_tag);
    })
}
