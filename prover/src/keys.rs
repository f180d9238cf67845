//! Proving and verifying key of a program.

use std::sync::Arc;

use serde::{Deserialize, Serialize};
use zisk_machine::executable::Executable;
use zisk_machine::program::Program;
use zisk_protocol::shape::{is_program, program_log_heights};

use crate::stark::config::{Commitment, Config, Parameters};
use crate::stark::prove::Preprocessed;
use crate::stark::table::Table;
use crate::tables::any::AnyTable;
use crate::tables::{bytes, image, program};

/// Version of keys, segments and proofs. Bytes of another version are refused by name.
pub const FORMAT: &str = zisk_protocol::VERSION;

/// A preprocessed commitment and the width and log2 height of each of its matrices.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct FixedTables {
    /// The commitment.
    pub commitment: Commitment,
    /// log2 heights, in the order of the matrices.
    pub log_heights: Vec<u8>,
}

/// What a proof is verified against. Its digest stands for the program.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct VerifyingKey {
    /// [`FORMAT`].
    pub format: String,
    /// Parameters of the proof system.
    pub parameters: Parameters,
    /// blake3 of the ELF. Informative: the commitments say what the program is.
    pub program_id: [u8; 32],
    /// First pc.
    pub entry: u32,
    /// Program table, bytes.
    pub fixed: FixedTables,
    /// The program's image.
    pub image: FixedTables,
}

/// Why a key is refused.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum KeyError {
    /// Not a key, or damaged.
    #[error("not a key: {0}")]
    Malformed(String),
    /// A key of another version.
    #[error("key has format {0:?}, this prover reads {FORMAT:?}: run setup again with this version")]
    Format(String),
    /// The parameters give too little security.
    #[error("parameters give {0} bits of security, at least {MIN_SECURITY_BITS} are required")]
    Security(usize),
}

/// Least security accepted, in conjectured bits of FRI's queries.
pub const MIN_SECURITY_BITS: usize = 100;

/// Proof-of-work bits that a key may ask for: fewer would be too weak, more nobody would find (and a transcript cannot draw).
const GRINDING_BITS: std::ops::RangeInclusive<u8> = 16..=24;

/// Checks parameters that came from elsewhere.
pub fn check_parameters(p: &Parameters) -> Result<(), KeyError> {
    let bits = usize::from(p.queries) * usize::from(p.log_blowup) + usize::from(p.query_grinding_bits);
    if bits < MIN_SECURITY_BITS || !(1..=4).contains(&p.log_blowup) || !(1..=4).contains(&p.max_log_arity) {
        return Err(KeyError::Security(bits));
    }
    if ![p.query_grinding_bits, p.logup_grinding_bits].iter().all(|bits| GRINDING_BITS.contains(bits)) {
        return Err(KeyError::Malformed("its proofs of work are out of range".into()));
    }
    Ok(())
}

impl VerifyingKey {
    /// Compact bytes.
    pub fn to_bytes(&self) -> Vec<u8> {
        postcard::to_stdvec(self).expect("a key serialises")
    }

    /// Reads and checks a key.
    pub fn from_bytes(bytes: &[u8]) -> Result<Self, KeyError> {
        let (key, rest): (Self, _) = postcard::take_from_bytes(bytes).map_err(|e| KeyError::Malformed(e.to_string()))?;
        if !rest.is_empty() {
            return Err(KeyError::Malformed(format!("{} bytes too many", rest.len())));
        }
        if key.format != FORMAT {
            return Err(KeyError::Format(key.format));
        }
        check_parameters(&key.parameters)?;
        if key.fixed.log_heights.len() != 2 || key.image.log_heights.len() != 1 {
            return Err(KeyError::Malformed("wrong number of fixed tables".into()));
        }
        if [&key.fixed, &key.image].iter().any(|t| t.commitment.roots().len() != 1) {
            return Err(KeyError::Malformed("a commitment is not one root".into()));
        }
        if !is_program(key.fixed.log_heights[0], key.image.log_heights[0])
            || usize::from(key.fixed.log_heights[1]) != bytes::LOG_HEIGHT
        {
            return Err(KeyError::Malformed("its tables have heights that no program's have".into()));
        }
        Ok(key)
    }

    /// Digest: stands for the key in the global challenge.
    pub fn digest(&self) -> [u8; 32] {
        *blake3::Hasher::new_derive_key("zisk distributed proving 2026-11 verifying key v1")
            .update(&self.to_bytes())
            .finalize()
            .as_bytes()
    }
}

/// Highest table, log2.
pub const MAX_LOG_HEIGHT: u8 = 22;

/// A program ready to be proven.
pub struct ProvingKey {
    /// The program.
    pub executable: Executable,
    /// Its verifying key.
    pub verifying: VerifyingKey,
    /// Digest of the verifying key.
    pub digest: [u8; 32],
    /// Program table, bytes.
    pub fixed: Preprocessed,
    /// Image.
    pub image: Preprocessed,
    /// The proof system.
    pub config: Config,
}

impl ProvingKey {
    /// Commits to the program's tables. Fails if the program is malformed or too large.
    pub fn new(program: Program, parameters: Parameters) -> Result<Self, String> {
        let (rows, words) = (program.rows.len(), program.image.len());
        if program_log_heights(rows, words).is_none() {
            return Err(format!(
                "the program has {rows} instructions and {words} words of image; at most 2^{MAX_LOG_HEIGHT} can be proven"
            ));
        }
        let config = Config::new(parameters);
        let fixed = Preprocessed::new(&config, vec![program::preprocessed(&program), bytes::preprocessed()]);
        let image = Preprocessed::new(&config, vec![image::preprocessed(&program)]);
        let tables = |p: &Preprocessed| FixedTables {
            commitment: p.commitment.clone(),
            log_heights: p.matrices.iter().map(|m| m.values.len().div_ceil(m.width).ilog2() as u8).collect(),
        };
        let verifying = VerifyingKey {
            format: FORMAT.into(),
            parameters,
            program_id: program.id,
            entry: program.entry,
            fixed: tables(&fixed),
            image: tables(&image),
        };
        let digest = verifying.digest();
        let executable = Executable::new(Arc::new(program)).map_err(|e| e.to_string())?;
        Ok(Self { executable, verifying, digest, fixed, image, config })
    }
}

impl ProvingKey {
    /// The program.
    pub fn program(&self) -> &Program {
        self.executable.program()
    }
}

impl FixedTables {
    /// Width and log2 height of each matrix of commitment number `round`.
    pub fn shapes(&self, round: usize) -> Vec<(usize, u8)> {
        AnyTable::ALL
            .iter()
            .filter(|t| t.preprocessed().is_some_and(|(r, _)| r == round))
            .zip(&self.log_heights)
            .map(|(t, &h)| (t.preprocessed_width(), h))
            .collect()
    }
}
