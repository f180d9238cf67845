//! The words whose final value is public, and what the verifier itself receives on the global bus for them.

use p3_field::{Field, PrimeCharacteristicRing};
use zisk_machine::memory_map::{EXIT_CODE_REGISTER, OUTPUT_COUNT, OUTPUT_START, OUTPUT_WORDS, REGISTER_WORD};
use zisk_protocol::PublicValues;

use crate::stark::config::Challenge;
use crate::stark::folder::BusChallenges;
use crate::stark::table::Bus;
use crate::tables::adapter::{F, limbs};

const FIRST_OUTPUT_WORD: u32 = OUTPUT_START / 8;
const EXIT_CODE_WORD: u32 = REGISTER_WORD + EXIT_CODE_REGISTER as u32;

/// Whether a word's final value is public.
pub fn is_public_word(word: u32) -> bool {
    word == EXIT_CODE_WORD || (FIRST_OUTPUT_WORD..FIRST_OUTPUT_WORD + OUTPUT_WORDS as u32).contains(&word)
}

/// Sum of the fractions by which the verifier receives the public words; `None` if the values have the wrong shape or a
/// fingerprint is zero.
pub fn received(public: &PublicValues, global: &BusChallenges) -> Option<Challenge> {
    if public.outputs.len() != OUTPUT_COUNT {
        return None;
    }
    let outputs = public.outputs.chunks_exact(2).map(|pair| u64::from(pair[0]) | u64::from(pair[1]) << 32);
    let words = (FIRST_OUTPUT_WORD..).zip(outputs).chain([(EXIT_CODE_WORD, public.exit_code)]);
    words
        .map(|(word, value)| {
            let [v0, v1, v2, v3] = limbs(value);
            let tuple = [F::from_u32(word), v0, v1, v2, v3].map(Challenge::from);
            global.fingerprint(Bus::Public, &tuple).try_inverse()
        })
        .sum()
}
