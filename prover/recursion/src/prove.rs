//! Keys of circuits, proofs that a circuit holds for public values, and their verification: the prover's own STARK.

use p3_challenger::{CanObserve, FieldChallenger};
use p3_field::{BasedVectorSpace, PrimeCharacteristicRing};
use p3_matrix::dense::RowMajorMatrix;
use serde::{Deserialize, Serialize};
use zisk_prover::keys::{KeyError, check_parameters};
use zisk_prover::stark::config::{Challenge, Challenger, Commitment, Config, Parameters, Val};
use zisk_prover::stark::folder::BusChallenges;
use zisk_prover::stark::prove::{Instance, Preprocessed, Stage1, StarkProof, prove};
use zisk_prover::stark::table::{Bus, Table};
use zisk_prover::stark::verify::{PreprocessedShape, PublicEnd, StarkError, verify};

use crate::circuit::Circuit;
use crate::execute::ExecuteError;
use crate::machine::{MachineTable, TABLES};

/// What proofs of a circuit are verified against. Nothing of it comes from a proof.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct VerifyingKey {
    /// Parameters of the proof system.
    pub parameters: Parameters,
    /// log2 heights of the tables.
    pub log_heights: [u8; TABLES],
    /// Number of public values.
    pub publics: u32,
    /// Commitment to the preprocessed columns: the operations, their cells, the constants.
    pub commitment: Commitment,
}

/// A circuit ready to be proven.
pub struct ProvingKey {
    /// Its verifying key.
    pub verifying: VerifyingKey,
    /// The circuit.
    pub circuit: Circuit,
    config: Config,
    preprocessed: Preprocessed,
}

/// A proof that a circuit holds for public values (which the verifier has from elsewhere).
#[derive(Clone, Serialize, Deserialize)]
pub struct CircuitProof {
    /// Commitment to the main columns.
    pub stage1: Commitment,
    /// All else.
    pub stark: StarkProof,
}

/// Why a circuit was not proven.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum ProveError {
    /// The inputs do not satisfy the circuit.
    #[error(transparent)]
    Execute(#[from] ExecuteError),
    /// Probability below 2^-90.
    #[error("a LogUp fingerprint is zero")]
    Fingerprint,
}

/// Why a proof is rejected.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum VerifyError {
    /// Another number of public values.
    #[error("the circuit has {expected} public values, not {got}")]
    Publics {
        /// Of the circuit.
        expected: u32,
        /// Given.
        got: usize,
    },
    /// The proof does not verify.
    #[error(transparent)]
    Stark(#[from] StarkError),
}

pub(crate) fn instances() -> Vec<Instance<'static, MachineTable>> {
    MachineTable::ALL.iter().enumerate().map(|(i, table)| Instance { table, preprocessed: Some((0, i)) }).collect()
}

/// There is no bus beyond one proof: these challenges are never used.
fn no_global_buses() -> BusChallenges {
    BusChallenges::new(Challenge::ZERO, Challenge::ZERO)
}

/// Tag of segments, which circuits have not.
pub(crate) const TAG: u32 = 0;

impl VerifyingKey {
    /// Checks the parameters of a key that came from elsewhere.
    pub fn check(&self) -> Result<(), KeyError> {
        check_parameters(&self.parameters)
    }

    /// The transcript up to stage 1: the key, the public values, the commitment.
    pub fn transcript(&self, config: &Config, publics: &[Challenge], stage1: &Commitment) -> Challenger {
        let mut challenger = config.challenger();
        challenger.observe(self.commitment.clone());
        self.log_heights.iter().for_each(|&h| challenger.observe(Val::from_u8(h)));
        challenger.observe(Val::from_u32(self.publics));
        challenger.observe_algebra_slice(publics);
        challenger.observe(stage1.clone());
        challenger
    }

    /// What the verifier takes off the bus: the public values at the first addresses.
    fn ends(publics: &[Challenge]) -> Vec<PublicEnd> {
        let end = |(address, value): (usize, &Challenge)| {
            let value: &[Val] = value.as_basis_coefficients_slice();
            PublicEnd { bus: Bus::Cell, tuple: [&[Val::from_usize(address)], value].concat(), send: false }
        };
        publics.iter().enumerate().map(end).collect()
    }

    /// Verifies that the circuit holds for some inputs with these public values.
    pub fn verify(&self, publics: &[Challenge], proof: &CircuitProof) -> Result<(), VerifyError> {
        if publics.len() != self.publics as usize {
            return Err(VerifyError::Publics { expected: self.publics, got: publics.len() });
        }
        let config = Config::new(self.parameters);
        let matrices: Vec<_> = MachineTable::ALL.iter().zip(self.log_heights).map(|(t, h)| (t.preprocessed_width(), h)).collect();
        let _no_global_sum: Challenge = verify(
            &config,
            self.transcript(&config, publics, &proof.stage1),
            &instances(),
            &self.log_heights,
            &proof.stage1,
            &[PreprocessedShape { commitment: &self.commitment, matrices: &matrices }],
            TAG,
            no_global_buses(),
            &Self::ends(publics),
            &proof.stark,
        )?;
        Ok(())
    }
}

impl ProvingKey {
    /// Commits to the preprocessed columns of a circuit.
    pub fn new(circuit: Circuit, parameters: Parameters) -> Self {
        let config = Config::new(parameters);
        let log_heights = circuit.log_heights();
        let preprocessed = Preprocessed::new(&config, circuit.preprocessed.to_vec());
        let commitment = preprocessed.commitment.clone();
        let verifying = VerifyingKey { parameters, log_heights, publics: circuit.publics() as u32, commitment };
        Self { verifying, circuit, config, preprocessed }
    }

    /// Executes the circuit on inputs and proves it; the public values and the proof.
    pub fn prove(&self, inputs: &[Challenge]) -> Result<(Vec<Challenge>, CircuitProof), ProveError> {
        let memory = self.circuit.execute(inputs)?;
        let publics = memory.publics(&self.circuit);
        let proof = self.prove_traces(&publics, self.circuit.traces(&memory))?;
        Ok((publics, proof))
    }

    /// Proves filled tables. Separate from [`Self::prove`] so that tests can forge.
    pub fn prove_traces(&self, publics: &[Challenge], traces: [RowMajorMatrix<Val>; TABLES]) -> Result<CircuitProof, ProveError> {
        let stage1 = Stage1::new(&self.config, traces.into());
        let challenger = self.verifying.transcript(&self.config, publics, &stage1.commitment);
        let preprocessed = [&self.preprocessed];
        let stark = prove(&self.config, challenger, &instances(), &stage1, &preprocessed, TAG, no_global_buses())
            .ok_or(ProveError::Fingerprint)?;
        Ok(CircuitProof { stage1: stage1.commitment, stark })
    }
}
