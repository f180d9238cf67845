//! Contribution and proof of one segment, and their verification (docs/protocol.md).

use p3_challenger::{CanObserve, FieldChallenger};
use p3_field::{PrimeCharacteristicRing, PrimeField32};
use zisk_machine::segment::Segment;
use zisk_machine::trace::SegmentTrace;
use zisk_protocol::shape::LOG_MAX_STEPS;
use zisk_protocol::{ABSENT, Contribution, GlobalChallenge};

use crate::keys::{MAX_LOG_HEIGHT, ProvingKey, VerifyingKey};
use crate::stark::config::{Challenge, Challenger, Commitment, Config, Val};
use crate::stark::folder::BusChallenges;
use crate::stark::prove::{Instance, Stage1, StarkProof, prove};
use crate::stark::table::Bus;
use crate::stark::verify::{PreprocessedShape, PublicEnd, StarkError, verify};
use crate::tables::adapter::halves;
use crate::tables::any::AnyTable;
use crate::tables::instruction::MIN_LOG_HEIGHT;
use crate::witness::Witness;

/// Longest segment, steps: keeps gaps of timestamps below 2^24.
pub const MAX_STEPS: u32 = 1 << LOG_MAX_STEPS;

/// 16-bit halves of 32 bytes: how digests of bytes enter a transcript of field elements.
fn limbs16(bytes: &[u8; 32]) -> impl Iterator<Item = Val> + '_ {
    bytes.chunks_exact(2).map(|pair| Val::from_u16(u16::from_le_bytes([pair[0], pair[1]])))
}

/// The challenges of the job's buses.
pub fn global_challenges(config: &Config, challenge: &GlobalChallenge) -> BusChallenges {
    let mut challenger = config.challenger();
    limbs16(&challenge.0).for_each(|x| challenger.observe(x));
    let alpha = challenger.sample_algebra_element();
    let beta = challenger.sample_algebra_element();
    BusChallenges::new(alpha, beta)
}

/// The segment's transcript up to stage 1: everything public and the commitment.
fn transcript(config: &Config, key_digest: &[u8; 32], challenge: &GlobalChallenge, contribution: &Contribution) -> Challenger {
    let mut challenger = config.challenger();
    limbs16(key_digest).for_each(|x| challenger.observe(x));
    limbs16(&challenge.0).for_each(|x| challenger.observe(x));
    challenger.observe(Val::from_u32(contribution.index));
    challenger.observe(Val::from_u32(contribution.steps));
    for state in [&contribution.start, &contribution.end] {
        halves(state.pc).into_iter().for_each(|x| challenger.observe(x));
        challenger.observe(Val::from_u32(state.cursor));
        challenger.observe(Val::from_bool(state.image));
    }
    contribution.log_heights.iter().for_each(|&h| challenger.observe(Val::from_u8(h)));
    contribution.commitment.iter().for_each(|&x| challenger.observe(Val::from_u32(x)));
    challenger
}

fn instances(tables: &[AnyTable]) -> Vec<Instance<'_, AnyTable>> {
    // The image is its own commitment, so that segments without it do not open it.
    tables.iter().map(|table| Instance { table, preprocessed: table.preprocessed() }).collect()
}

/// A segment between contribution and proof.
pub struct Committed {
    /// Its contribution.
    pub contribution: Contribution,
    tables: Vec<AnyTable>,
    stage1: Stage1,
}

fn root(commitment: &Commitment) -> [u32; 8] {
    commitment.roots()[0].map(|x| x.as_canonical_u32())
}

/// Stage 1: fills and commits the tables of a segment.
pub fn contribute(key: &ProvingKey, segment: &Segment, trace: &SegmentTrace) -> Result<Committed, String> {
    let witness = Witness::new(key.program(), &key.image.matrices[0], segment, trace)?;
    Ok(commit(key, segment, witness))
}

/// Commits to filled tables. Separate from [`contribute`] so that tests can forge.
pub fn commit(key: &ProvingKey, segment: &Segment, witness: Witness) -> Committed {
    let log_heights = witness.log_heights();
    tracing::debug!(segment = segment.index, tables = witness.describe(), "stage 1");
    let stage1 = Stage1::new(&key.config, witness.traces);
    let contribution = Contribution {
        index: segment.index,
        start: segment.start,
        end: segment.end,
        steps: segment.steps,
        log_heights,
        commitment: root(&stage1.commitment),
    };
    Committed { contribution, tables: witness.tables, stage1 }
}

impl Committed {
    /// Stage 2. Fails only if a fingerprint happens to be zero (probability below 2^-90).
    pub fn prove(&self, key: &ProvingKey, challenge: &GlobalChallenge) -> Result<StarkProof, String> {
        let mut preprocessed = vec![&key.fixed];
        if self.tables.contains(&AnyTable::Image) {
            preprocessed.push(&key.image);
        }
        prove(
            &key.config,
            transcript(&key.config, &key.digest, challenge, &self.contribution),
            &instances(&self.tables),
            &self.stage1,
            &preprocessed,
            self.contribution.index + 1,
            global_challenges(&key.config, challenge),
        )
        .ok_or_else(|| "a LogUp fingerprint is zero".into())
    }

    /// Bytes held by stage 1: columns and their extension.
    pub fn memory_bytes(&self, blowup: usize) -> usize {
        self.stage1.traces.iter().map(|t| t.values.len() * 4).sum::<usize>() * (1 + blowup)
    }
}

/// Why a segment is rejected.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum SegmentError {
    /// Tables or heights that a segment of this program cannot have.
    #[error("its tables are not those of this program: {0}")]
    Tables(String),
    /// The proof does not verify.
    #[error(transparent)]
    Stark(#[from] StarkError),
}

/// A program as the verifier knows it.
pub struct Verifier<'a> {
    /// The key.
    pub key: &'a VerifyingKey,
    /// Its digest.
    pub digest: [u8; 32],
    /// The proof system with the key's parameters.
    pub config: Config,
}

impl<'a> Verifier<'a> {
    /// For a key.
    pub fn new(key: &'a VerifyingKey) -> Self {
        Self { key, digest: key.digest(), config: Config::new(key.parameters) }
    }

    /// Which tables a contribution has; checks that they are allowed.
    fn tables(&self, c: &Contribution) -> Result<Vec<AnyTable>, SegmentError> {
        let refuse = |reason: String| Err(SegmentError::Tables(reason));
        if c.steps > MAX_STEPS {
            return refuse(format!("{} steps; at most {MAX_STEPS}", c.steps));
        }
        let fixed = |table: AnyTable| match table.preprocessed() {
            Some((0, matrix)) => Some(self.key.fixed.log_heights[matrix]),
            Some((_, matrix)) => Some(self.key.image.log_heights[matrix]),
            None => None,
        };
        let mut tables = Vec::new();
        for (table, &height) in AnyTable::ALL.into_iter().zip(&c.log_heights) {
            let required = match table {
                AnyTable::Touched | AnyTable::Program | AnyTable::Bytes => Some(true),
                AnyTable::Image => Some(c.start.image != c.end.image),
                _ => None,
            };
            let present = height != ABSENT;
            if required.is_some_and(|r| r != present) {
                return refuse(format!("table {table:?} is {}", if present { "there" } else { "missing" }));
            }
            if !present {
                continue;
            }
            if !(MIN_LOG_HEIGHT as u8..=MAX_LOG_HEIGHT).contains(&height) || fixed(table).is_some_and(|f| f != height) {
                return refuse(format!("table {table:?} has height 2^{height}"));
            }
            tables.push(table);
        }
        Ok(tables)
    }

    /// Verifies a segment's proof against its contribution and the global challenge; returns its sum on the job's buses.
    pub fn segment(&self, c: &Contribution, challenge: &GlobalChallenge, proof: &StarkProof) -> Result<Challenge, SegmentError> {
        let tables = self.tables(c)?;
        let log_heights: Vec<u8> = c.log_heights.iter().copied().filter(|&h| h != ABSENT).collect();
        let (fixed, image) = (self.key.fixed.shapes(0), self.key.image.shapes(1));
        let mut preprocessed = vec![PreprocessedShape { commitment: &self.key.fixed.commitment, matrices: &fixed }];
        if tables.contains(&AnyTable::Image) {
            preprocessed.push(PreprocessedShape { commitment: &self.key.image.commitment, matrices: &image });
        }
        let state = |clk: u32, pc: u32| {
            let [lo, hi] = halves(pc);
            vec![Val::from_u32(clk), lo, hi]
        };
        let ends = [
            PublicEnd { bus: Bus::State, tuple: state(1, c.start.pc), send: true },
            PublicEnd { bus: Bus::State, tuple: state(c.steps + 1, c.end.pc), send: false },
            PublicEnd { bus: Bus::LedgerChain, tuple: vec![Val::from_u32(c.start.cursor)], send: true },
            PublicEnd { bus: Bus::LedgerChain, tuple: vec![Val::from_u32(c.end.cursor)], send: false },
            PublicEnd { bus: Bus::TouchedChain, tuple: vec![Val::ZERO], send: true },
        ];
        let commitment = Commitment::new(vec![c.commitment.map(Val::from_u32)]);
        Ok(verify(
            &self.config,
            transcript(&self.config, &self.digest, challenge, c),
            &instances(&tables),
            &log_heights,
            &commitment,
            &preprocessed,
            c.index + 1,
            global_challenges(&self.config, challenge),
            &ends,
            proof,
        )?)
    }
}
