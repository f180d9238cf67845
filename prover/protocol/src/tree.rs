//! The Merkle tree over contributions, in the shape in which proofs are folded.

use p3_field::{PrimeCharacteristicRing, PrimeField32};
use p3_koala_bear::{KoalaBear, Poseidon2KoalaBear, default_koalabear_poseidon2_16};
use p3_symmetric::{CryptographicHasher, PaddingFreeSponge, PseudoCompressionFunction, TruncatedPermutation};

use crate::contribution::Contribution;

/// Eight field elements.
pub type Digest = [KoalaBear; 8];

/// First element of a hashed contribution: keeps leaves apart from all else that is hashed.
const LEAF_TAG: u32 = 0x6c65_6166;

fn permutation() -> Poseidon2KoalaBear<16> {
    default_koalabear_poseidon2_16()
}

/// Digest of one contribution. All contributions have the same number of elements.
pub fn leaf(c: &Contribution) -> Digest {
    let mut elements = vec![LEAF_TAG, c.index, c.steps];
    for state in [&c.start, &c.end] {
        elements.extend([state.pc & 0xffff, state.pc >> 16, state.cursor, u32::from(state.image)]);
    }
    elements.extend(c.log_heights.iter().map(|&h| u32::from(h)));
    elements.extend(c.commitment);
    PaddingFreeSponge::<_, 16, 8, 8>::new(permutation()).hash_iter(elements.into_iter().map(KoalaBear::from_u32))
}

/// Digest of two neighbouring subtrees.
pub fn join(left: Digest, right: Digest) -> Digest {
    TruncatedPermutation::<_, 2, 8, 16>::new(permutation()).compress([left, right])
}

/// Where a subtree over `count` leaves splits: the left part is the largest power of two below `count`.
fn split(count: u32) -> u32 {
    1 << (u32::BITS - 1 - (count - 1).leading_zeros())
}

/// Root over all contributions in index order.
pub fn contributions_root(leaves: &[Digest]) -> Digest {
    match leaves {
        [] => [KoalaBear::ZERO; 8],
        [leaf] => *leaf,
        _ => {
            let (left, right) = leaves.split_at(split(leaves.len() as u32) as usize);
            join(contributions_root(left), contributions_root(right))
        }
    }
}

/// All folds of a job with `count` segments as (first, middle, end): the node over `first..middle` is folded with that over
/// `middle..end`. Children come before parents; the last is the root.
pub fn fold_order(count: u32) -> Vec<(u32, u32, u32)> {
    fn walk(first: u32, count: u32, folds: &mut Vec<(u32, u32, u32)>) {
        if count > 1 {
            let left = split(count);
            walk(first, left, folds);
            walk(first + left, count - left, folds);
            folds.push((first, first + left, first + count));
        }
    }
    let mut folds = Vec::new();
    walk(0, count, &mut folds);
    folds
}

/// A digest as bytes: canonical elements, little-endian.
pub(crate) fn digest_bytes(digest: &Digest) -> [u8; 32] {
    let mut bytes = [0; 32];
    for (chunk, x) in bytes.chunks_exact_mut(4).zip(digest) {
        chunk.copy_from_slice(&x.as_canonical_u32().to_le_bytes());
    }
    bytes
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn folds_cover_every_count_once() {
        for count in 1..70 {
            let folds = fold_order(count);
            assert_eq!(folds.len() as u32, count - 1);
            let mut nodes: std::collections::BTreeSet<_> = (0..count).map(|i| (i, i + 1)).collect();
            for (first, middle, end) in folds {
                assert!(nodes.remove(&(first, middle)) && nodes.remove(&(middle, end)));
                nodes.insert((first, end));
            }
            assert_eq!(nodes.into_iter().collect::<Vec<_>>(), [(0, count)]);
        }
    }
}
