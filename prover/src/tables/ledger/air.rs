use p3_field::PrimeCharacteristicRing;
use zisk_machine::memory_map::{INPUT_START, RAM_END, RAM_START, REGISTER_WORD, REGISTERS, ROM_START};

use super::columns::LedgerColumns;
use crate::stark::table::{Bus, Columns, Table, TableBuilder};
use crate::tables::adapter::{F, increasing, one_flag};

/// The table.
pub struct Ledger;

/// log2 of the number of words in the input area and in RAM.
const LOG_AREA_WORDS: u32 = 26;
/// log2 of the number of words where an image can be: code, constants and RAM.
const LOG_IMAGE_WORDS: u32 = (RAM_END - ROM_START).trailing_zeros() - 3;

impl Table for Ledger {
    fn name(&self) -> &'static str {
        "ledger"
    }

    fn width(&self) -> usize {
        LedgerColumns::<F>::WIDTH
    }

    fn eval<B: TableBuilder>(&self, _: &[B::Expr], row: &[B::Expr], b: &mut B) {
        let LedgerColumns {
            is_image,
            is_input,
            is_ram,
            is_register,
            is_public,
            prev_word,
            word,
            gap_hi,
            offset_hi,
            initial,
            last,
            last_tag,
        } = LedgerColumns::<B::Expr>::of(row);
        let real = one_flag(b, &[is_image, is_input, is_ram, is_register]);

        // One chain of strictly increasing words through the slices of all segments: no word twice.
        b.receive(Bus::LedgerChain, real.clone(), &[prev_word.clone()]);
        b.send(Bus::LedgerChain, real.clone(), &[word.clone()]);
        increasing(b, &real, prev_word, word, gap_hi);

        // The word lies in its area, so it is below 2^29 + 64. This must hold row by row, for the image's words too: if only the
        // global bus held them, a word elsewhere could be listed as often as the field has elements, which cancels, and the
        // chain could pass over it from the highest words to the lowest again.
        let start = is_image.clone() * F::from_u32(ROM_START / 8)
            + is_input.clone() * F::from_u32(INPUT_START / 8)
            + is_ram.clone() * F::from_u32(RAM_START / 8)
            + is_register.clone() * F::from_u32(REGISTER_WORD);
        let offset_lo = word.clone() - start - offset_hi.clone() * F::from_u32(1 << 16);
        b.send(Bus::Range16, real.clone(), &[offset_lo.clone()]);
        b.send(Bus::Range16, real.clone(), &[offset_hi.clone()]);
        let plain = is_input.clone() + is_ram.clone();
        b.send(Bus::Range16, plain, &[offset_hi.clone() * F::from_u32(1 << (32 - LOG_AREA_WORDS))]);
        b.send(Bus::Range16, is_image.clone(), &[offset_hi.clone() * F::from_u32(1 << (32 - LOG_IMAGE_WORDS))]);
        b.send(Bus::Range16, is_register.clone(), &[offset_lo * F::from_u32((1 << 16) / REGISTERS as u32)]);
        b.assert_zero(is_register.clone() * offset_hi.clone());

        // Initial values: of the image; of the input, any limbs of 16 bits; else 0.
        let image = [word.clone(), initial[0].clone(), initial[1].clone(), initial[2].clone(), initial[3].clone()];
        b.receive(Bus::Image, is_image.clone(), &image);
        for limb in initial {
            b.send(Bus::Range16, is_input.clone(), &[limb.clone()]);
            b.assert_zero((is_ram.clone() + is_register.clone()) * limb.clone());
        }

        // First and last value of the word in the job.
        let tuple = |tag: B::Expr, v: &[B::Expr; 4]| [word.clone(), tag, v[0].clone(), v[1].clone(), v[2].clone(), v[3].clone()];
        b.send(Bus::Word, real.clone(), &tuple(B::Expr::ZERO, initial));
        b.receive(Bus::Word, real.clone(), &tuple(last_tag.clone(), last));

        // Public final values: the verifier receives exactly those it expects.
        b.assert_bool(is_public.clone());
        b.assert_zero((B::Expr::ONE - real) * is_public.clone());
        let public = [word.clone(), last[0].clone(), last[1].clone(), last[2].clone(), last[3].clone()];
        b.send(Bus::Public, is_public.clone(), &public);
    }
}

const _: () = assert!((RAM_END - ROM_START).is_power_of_two());
