//! Bytes of a value given by limbs, for tables whose look-ups are by byte.

use p3_field::{Algebra, PrimeCharacteristicRing};

use crate::tables::adapter::F;

/// 1 / 256.
pub const INV_256: F = F::new(2_122_383_361);

/// The bytes of a value, from its limbs and the low byte of each: the high byte is (limb - low) / 256. Once both are looked up
/// as bytes, low + 256 high is below 2^16, so for a limb of 16 bits there is only one such pair.
pub fn bytes<E: Algebra<F> + Clone>(limbs: &[E; 4], low: &[E; 4]) -> [E; 8] {
    std::array::from_fn(|j| {
        let lo = low[j / 2].clone();
        if j % 2 == 0 { lo } else { (limbs[j / 2].clone() - lo) * INV_256 }
    })
}

/// Low bytes of the limbs of a value.
pub fn low_bytes(x: u64) -> [F; 4] {
    std::array::from_fn(|j| F::from_u8((x >> (16 * j)) as u8))
}
