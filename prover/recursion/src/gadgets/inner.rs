//! Verifying a proof of another circuit: what [`VerifyingKey::verify`](crate::prove::VerifyingKey::verify) does.

use p3_field::PrimeCharacteristicRing;
use zisk_prover::stark::config::{Challenge, Parameters, Val};
use zisk_prover::stark::table::Bus;

use super::Digest;
use super::openings::{WrongShape, commitment_values};
use super::stark::{BusCells, EndCells, StarkCells, StarkShape, Statement, verify_stark};
use super::transcript::Transcript;
use crate::builder::{Builder, Cell};
use crate::machine::{MachineTable, TABLES};
use crate::prove::{CircuitProof, TAG, VerifyingKey, instances};

/// All of a circuit's key that the verifying circuit fixes; the commitment to its operations is left to be a value.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct InnerShape {
    /// Parameters of the proof system.
    pub parameters: Parameters,
    /// log2 heights of the tables.
    pub log_heights: [u8; TABLES],
    /// Number of public values.
    pub publics: u32,
}

impl From<&VerifyingKey> for InnerShape {
    fn from(key: &VerifyingKey) -> Self {
        Self { parameters: key.parameters, log_heights: key.log_heights, publics: key.publics }
    }
}

/// A proof of a circuit with its statement, as cells.
pub struct Inner {
    /// Commitment to the circuit's preprocessed columns.
    pub key: Digest,
    /// Its public values.
    pub publics: Vec<Cell>,
}

impl InnerShape {
    fn with<T>(&self, body: impl FnOnce(&StarkShape<'_, MachineTable>) -> T) -> T {
        let instances = instances();
        body(&StarkShape::new(self.parameters, &instances, &self.log_heights))
    }

    /// Inputs for a key, public values and a proof, in the order of [`Self::values`]; states that the proof verifies. What the key and the public
    /// values must be is the caller's to state.
    pub fn verify(&self, b: &mut Builder) -> Inner {
        self.with(|shape| {
            let key: Digest = b.inputs();
            let publics: Vec<Cell> = (0..self.publics).map(|_| b.input()).collect();
            let stage1: Digest = b.inputs();
            let proof = StarkCells::inputs(b, shape);

            let mut transcript = Transcript::new(b);
            transcript.observe_digest(b, key);
            for number in self.log_heights.map(u32::from).into_iter().chain([self.publics]) {
                let number = b.base(Val::from_u32(number));
                transcript.observe_base(b, number);
            }
            publics.iter().for_each(|&cell| transcript.observe(b, cell));
            transcript.observe_digest(b, stage1);

            let zero = b.zero();
            let mut end = |(address, &cell): (usize, &Cell)| {
                let address = b.base(Val::from_usize(address));
                let tuple = [&[address][..], &b.split(cell)].concat();
                EndCells { bus: Bus::Cell, tuple, send: false }
            };
            let ends = publics.iter().enumerate().map(&mut end).collect();
            let tag = b.base(Val::from_u32(TAG));
            let global = BusCells { alpha: zero, beta: zero };
            let statement = Statement { stage1, preprocessed: vec![key], tag, global, ends };
            let _no_global_sum: Cell = verify_stark(b, transcript, shape, &statement, &proof);
            Inner { key, publics }
        })
    }

    /// The values of the inputs.
    pub fn values(&self, key: &VerifyingKey, publics: &[Challenge], proof: &CircuitProof) -> Result<Vec<Challenge>, WrongShape> {
        let mut values = commitment_values(&key.commitment)?.to_vec();
        values.extend(publics);
        values.extend(commitment_values(&proof.stage1)?);
        self.with(|shape| shape.values(&mut values, &proof.stark))?;
        Ok(values)
    }
}
