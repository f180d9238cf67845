//! The program's image: puts each of its words on the global bus, once, in the one segment that has this table.

use p3_field::PrimeCharacteristicRing;
use p3_matrix::dense::RowMajorMatrix;
use zisk_machine::program::Program as Guest;

use super::adapter::{F, limbs};
use super::{instruction, program};
use crate::columns;
use crate::stark::table::{Bus, Columns, Table, TableBuilder};

columns! {
    /// Preprocessed: one word.
    pub struct ImageWord<T> {
        /// 1: a word, 0: padding.
        pub is_word: T,
        /// Word number.
        pub word: T,
        /// Its value.
        pub value: [T; 4],
    }
}

/// The table. Its only column repeats `is_word`: a table needs a column.
pub struct Image;

impl Table for Image {
    fn name(&self) -> &'static str {
        "image"
    }

    fn width(&self) -> usize {
        1
    }

    fn preprocessed_width(&self) -> usize {
        ImageWord::<F>::WIDTH
    }

    fn eval<B: TableBuilder>(&self, preprocessed: &[B::Expr], row: &[B::Expr], b: &mut B) {
        let ImageWord { is_word, word, value } = ImageWord::<B::Expr>::of(preprocessed);
        b.assert_eq(row[0].clone(), is_word.clone());
        let tuple = [word.clone(), value[0].clone(), value[1].clone(), value[2].clone(), value[3].clone()];
        b.send(Bus::Image, is_word.clone(), &tuple);
    }
}

/// The preprocessed columns.
pub fn preprocessed(guest: &Guest) -> RowMajorMatrix<F> {
    let words = instruction::trace(&guest.image, |columns: &mut ImageWord<F>, &(word, value)| {
        columns.is_word = F::ONE;
        columns.word = F::from_u32(word);
        columns.value = limbs(value);
    });
    instruction::pad(words, program::log_heights(guest).1)
}

/// The main column.
pub fn trace(preprocessed: &RowMajorMatrix<F>) -> RowMajorMatrix<F> {
    let width = ImageWord::<F>::WIDTH;
    RowMajorMatrix::new_col(preprocessed.values.chunks_exact(width).map(|row| row[0]).collect())
}
