//! What a guest finds in its input area: 8 reserved bytes, then its input as one chunk: its length in 8 bytes, its bytes,
//! zeros up to a multiple of 8.

use crate::memory_map::{INPUT_END, INPUT_START};

/// Reserved bytes and length.
const HEADER_BYTES: usize = 16;
/// Longest input: what the area holds beside the header.
pub const MAX_INPUT_BYTES: usize = (INPUT_END - INPUT_START) as usize - HEADER_BYTES;

/// The input area from its start up to the end of the input, padded to words. Beyond it the area is zero.
pub fn input_image(input: &[u8]) -> Vec<u8> {
    let mut image = Vec::with_capacity(HEADER_BYTES + input.len().next_multiple_of(8));
    image.extend_from_slice(&[0; 8]);
    image.extend_from_slice(&(input.len() as u64).to_le_bytes());
    image.extend_from_slice(input);
    image.resize(image.len().next_multiple_of(8), 0);
    image
}

/// The same, word by word and without a copy.
#[derive(Clone, Copy, Debug)]
pub(crate) struct InputImage<'a> {
    input: &'a [u8],
}

impl<'a> InputImage<'a> {
    /// None if the input is longer than [`MAX_INPUT_BYTES`].
    pub(crate) fn new(input: &'a [u8]) -> Option<Self> {
        (input.len() <= MAX_INPUT_BYTES).then_some(Self { input })
    }

    /// A memory word; zero outside the input.
    pub(crate) fn word(self, word: u32) -> u64 {
        let at = (word as usize * 8).wrapping_sub(INPUT_START as usize);
        if at == 8 {
            return self.input.len() as u64;
        }
        let rest = at.checked_sub(HEADER_BYTES).and_then(|at| self.input.get(at..)).unwrap_or_default();
        let mut bytes = [0; 8];
        let count = rest.len().min(8);
        bytes[..count].copy_from_slice(&rest[..count]);
        u64::from_le_bytes(bytes)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn words_are_those_of_the_image() {
        for length in 0..40 {
            let input: Vec<u8> = (1..=length).collect();
            let image = input_image(&input);
            let words = InputImage::new(&input).expect("short");
            for (index, bytes) in image.chunks_exact(8).enumerate() {
                let expected = u64::from_le_bytes(bytes.try_into().expect("8 bytes"));
                assert_eq!(words.word(INPUT_START / 8 + index as u32), expected);
            }
            assert_eq!(words.word(INPUT_START / 8 + image.len() as u32 / 8), 0);
            assert_eq!(words.word(INPUT_START / 8 - 1), 0);
            assert_eq!(words.word(0), 0);
        }
    }
}
