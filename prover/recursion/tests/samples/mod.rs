//! Circuits to attack, numbers to attack them with.
#![allow(dead_code, reason = "each test uses a part")]

pub mod segments;

use p3_field::{BasedVectorSpace, PrimeCharacteristicRing};
use zisk_prover::stark::config::{Challenge, Parameters, Val};
use zisk_recursion::builder::Builder;
use zisk_recursion::circuit::Circuit;

/// Numbers for tests (splitmix64).
pub struct Random(pub u64);

impl Random {
    pub fn any(&mut self) -> u64 {
        self.0 = self.0.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let x = (self.0 ^ self.0 >> 30).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        let x = (x ^ x >> 27).wrapping_mul(0x94d0_49bb_1331_11eb);
        x ^ x >> 31
    }

    pub fn below(&mut self, n: usize) -> usize {
        (self.any() % n as u64) as usize
    }

    pub fn val(&mut self) -> Val {
        Val::from_u64(self.any())
    }

    pub fn challenge(&mut self) -> Challenge {
        Challenge::from_basis_coefficients_fn(|_| self.val())
    }
}

/// Chooses the samples: `ZISK_ATTACK_SEED`.
pub fn seed() -> u64 {
    std::env::var("ZISK_ATTACK_SEED").ok().and_then(|seed| seed.parse().ok()).unwrap_or(1)
}

/// Whether everything is attacked rather than a sample.
pub fn all() -> bool {
    std::env::var_os("ZISK_ATTACK_ALL").is_some()
}

/// Few queries, so that a forgery is quick: what refuses it is never the number of queries.
pub const WEAK: Parameters =
    Parameters { log_blowup: 1, queries: 2, query_grinding_bits: 1, logup_grinding_bits: 1, max_log_arity: 3 };

/// A circuit with every operation; takes four inputs, the last of the base field.
pub fn every_operation() -> Circuit {
    let mut b = Builder::new();
    let [x, y, z, word] = b.inputs();
    let bits = b.bits(word);
    let chosen = b.select(bits[0], x, y);
    let inverse = b.invert(z);
    let quotient = b.mul(chosen, inverse);
    let scaled = b.affine(quotient, Val::from_u32(37), Challenge::from_u32(5));
    let [p0, p1, p2, p3] = b.split(scaled);
    let reversed = b.join([p3, p2, p1, p0]);
    let zero = b.zero();
    let combined = b.horner(x, zero, [reversed, y]);
    let combined = b.horner(x, combined, [z, scaled]);
    let digest = b.permute([x, y, z, combined]);
    let sibling = b.inputs::<2>();
    let mut node = [digest[0], digest[1]];
    for bit in &bits[1..4] {
        let [n0, n1, ..] = b.permute_swapped([node[0], node[1], sibling[0], sibling[1]], Some(*bit));
        node = [n0, n1];
    }
    let bit = b.assert_bit(bits[7].cell());
    let last = b.select(bit, node[0], node[1]);
    b.public(combined);
    b.public(last);
    b.public(scaled);
    // Else nothing would use the word but its bits, and those of them that nothing uses would be free.
    b.public(word);
    b.build()
}

/// Inputs for it.
pub fn inputs(random: &mut Random, circuit: &Circuit) -> Vec<Challenge> {
    let mut inputs: Vec<Challenge> = (0..circuit.inputs()).map(|_| random.challenge()).collect();
    inputs[3] = random.val().into();
    inputs
}
