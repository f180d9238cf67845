//! Hashing rows and checking Merkle paths, as `p3-merkle-tree` does it (two children, one root).

use p3_field::PrimeCharacteristicRing;
use zisk_prover::stark::config::{EXTENSION_DEGREE, Val};

use super::Digest;
use crate::builder::{Bit, Builder, Cell};

/// Base-field elements, four to a cell; what the last cell has too many is zero.
#[derive(Clone, Debug)]
pub struct Stream {
    /// The cells.
    pub cells: Vec<Cell>,
    /// Number of elements.
    pub width: usize,
}

impl Stream {
    /// So many inputs.
    pub fn inputs(b: &mut Builder, width: usize) -> Self {
        let cells: Vec<Cell> = (0..width.div_ceil(EXTENSION_DEGREE)).map(|_| b.input()).collect();
        if !width.is_multiple_of(EXTENSION_DEGREE) {
            let zero = b.zero();
            let parts = b.split(*cells.last().expect("the width is not zero"));
            parts[width % EXTENSION_DEGREE..].iter().for_each(|&part| b.connect(part, zero));
        }
        Self { cells, width }
    }

    /// The digest: the sponge overwrites, so that a last block that is not full leaves the rest of the state as it was.
    pub fn hash(&self, b: &mut Builder) -> Digest {
        assert!(self.width > 0, "a row without columns");
        let zero = b.zero();
        let mut state = [zero; 4];
        for (block, cells) in self.cells.chunks(2).enumerate() {
            for (i, &cell) in cells.iter().enumerate() {
                let left = self.width - EXTENSION_DEGREE * (2 * block + i);
                state[i] = if left >= EXTENSION_DEGREE || state[i] == zero {
                    cell
                } else {
                    let (new, old) = (b.split(cell), b.split(state[i]));
                    b.join(std::array::from_fn(|k| if k < left { new[k] } else { old[k] }))
                };
            }
            state = b.permute(state);
        }
        [state[0], state[1]]
    }
}

/// Checks that rows belong to a commitment: `rows` are the opened rows by log2 height, highest first, all of one height in one stream;
/// `index` is the index of the row in the highest, least significant bit first; `siblings` are the path.
pub fn check_path(b: &mut Builder, commitment: Digest, rows: &[(usize, Stream)], index: &[Bit], siblings: &[Digest]) {
    let [(log_height, leaf), lower @ ..] = rows else { panic!("a commitment to no matrices") };
    assert_eq!((index.len(), siblings.len()), (*log_height, *log_height), "a path has one sibling a level");
    let mut digest = leaf.hash(b);
    let mut lower = lower.iter().peekable();
    for (level, (&bit, sibling)) in index.iter().zip(siblings).enumerate() {
        let [first, second, ..] = b.permute_swapped([digest[0], digest[1], sibling[0], sibling[1]], Some(bit));
        digest = [first, second];
        if let Some((_, stream)) = lower.next_if(|(height, _)| *height == log_height - level - 1) {
            let added = stream.hash(b);
            let [first, second, ..] = b.permute([digest[0], digest[1], added[0], added[1]]);
            digest = [first, second];
        }
    }
    assert!(lower.next().is_none(), "heights are given highest first");
    digest.into_iter().zip(commitment).for_each(|(ours, theirs)| b.connect(ours, theirs));
}

/// The digest of a Merkle tree as two values.
pub fn digest_values(digest: &[Val; 8]) -> [zisk_prover::stark::config::Challenge; 2] {
    std::array::from_fn(|i| crate::execute::value(&digest[4 * i..4 * i + 4]))
}

/// Elements as the values of a [`Stream`].
pub fn stream_values(elements: &[Val]) -> impl Iterator<Item = zisk_prover::stark::config::Challenge> + '_ {
    elements.chunks(EXTENSION_DEGREE).map(|chunk| {
        let mut padded = [Val::ZERO; EXTENSION_DEGREE];
        padded[..chunk.len()].copy_from_slice(chunk);
        crate::execute::value(&padded)
    })
}
