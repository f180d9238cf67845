use p3_field::PrimeCharacteristicRing;

use super::columns::TouchedColumns;
use crate::stark::table::{Bus, Columns, Table, TableBuilder};
use crate::tables::adapter::{F, increasing, one_flag};

/// The table.
pub struct Touched;

impl Table for Touched {
    fn name(&self) -> &'static str {
        "touched"
    }

    fn width(&self) -> usize {
        TouchedColumns::<F>::WIDTH
    }

    fn eval<B: TableBuilder>(&self, _: &[B::Expr], row: &[B::Expr], b: &mut B) {
        let TouchedColumns { is_word, is_end, prev_word, word, gap_hi, before, after, last_tag, last_ts } =
            TouchedColumns::<B::Expr>::of(row);
        let used = one_flag(b, &[is_word, is_end]);

        // One chain of strictly increasing words from 0 (which the verifier sends) to the end row: no word twice.
        // Word numbers are below 2^29 + 64: the global bus gives no others, for the ledger holds no others.
        b.receive(Bus::TouchedChain, used, &[prev_word.clone()]);
        b.send(Bus::TouchedChain, is_word.clone(), &[word.clone()]);
        increasing(b, is_word, prev_word, word, gap_hi);

        // Between segments: the value left by an earlier segment (or by the ledger), and the value left for later ones.
        let tuple = |tag: B::Expr, v: &[B::Expr; 4]| [word.clone(), tag, v[0].clone(), v[1].clone(), v[2].clone(), v[3].clone()];
        let own_tag = b.tag();
        b.receive(Bus::Word, is_word.clone(), &tuple(last_tag.clone(), before));
        b.send(Bus::Word, is_word.clone(), &tuple(own_tag.clone(), after));
        b.send(Bus::Range16, is_word.clone(), &[own_tag - last_tag.clone() - F::ONE]);

        // Within the segment: there at time 0, taken away after the last access.
        b.send(Bus::Memory, is_word.clone(), &tuple(B::Expr::ZERO, before));
        b.receive(Bus::Memory, is_word.clone(), &tuple(last_ts.clone(), after));
    }
}
