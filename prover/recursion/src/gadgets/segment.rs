//! Verifying a segment's proof: what [`Verifier::segment`](zisk_prover::segment::Verifier::segment) does, for segments of one shape. A lift.

use p3_field::PrimeCharacteristicRing;
use zisk_protocol::{ABSENT, Contribution, GlobalChallenge, MAX_SEGMENTS, TABLES};
use zisk_prover::keys::{MAX_LOG_HEIGHT, VerifyingKey};
use zisk_prover::segment::MAX_STEPS;
use zisk_prover::stark::config::{Challenge, EXTENSION_DEGREE, Parameters, Val};
use zisk_prover::stark::prove::{Instance, StarkProof};
use zisk_prover::stark::table::Bus;
use zisk_prover::tables::any::AnyTable;
use zisk_prover::tables::instruction::MIN_LOG_HEIGHT;

use super::Digest;
use super::hash::{Stream, digest_values};
use super::node::{NodeCells, StateCells};
use super::openings::{WrongShape, commitment_values};
use super::stark::{BusCells, EndCells, StarkCells, StarkShape, Statement, verify_stark};
use super::transcript::Transcript;
use crate::builder::{Builder, Cell};

/// First element of a hashed contribution, as in `zisk_protocol::leaf`.
const LEAF_TAG: u32 = 0x6c65_6166;

/// All segments with the same tables of the same heights.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct SegmentShape {
    /// Parameters of their proofs.
    pub parameters: Parameters,
    log_heights: [u8; TABLES],
}

impl SegmentShape {
    /// Fails if no segment has such tables.
    pub fn new(parameters: Parameters, log_heights: [u8; TABLES]) -> Result<Self, WrongShape> {
        let present = |table: AnyTable| log_heights[table as usize] != ABSENT;
        if ![AnyTable::Touched, AnyTable::Program, AnyTable::Bytes].into_iter().all(present) {
            return Err(WrongShape("a table that every segment has is missing"));
        }
        let allowed = |&height: &u8| height == ABSENT || (MIN_LOG_HEIGHT as u8..=MAX_LOG_HEIGHT).contains(&height);
        if !log_heights.iter().all(allowed) {
            return Err(WrongShape("height of a table"));
        }
        Ok(Self { parameters, log_heights })
    }

    fn has_image(&self) -> bool {
        self.log_heights[AnyTable::Image as usize] != ABSENT
    }

    fn with<T>(&self, body: impl FnOnce(&StarkShape<'_, AnyTable>) -> T) -> T {
        let (tables, heights): (Vec<AnyTable>, Vec<u8>) =
            AnyTable::ALL.into_iter().zip(self.log_heights).filter(|&(_, height)| height != ABSENT).unzip();
        let instances: Vec<_> = tables.iter().map(|table| Instance { table, preprocessed: table.preprocessed() }).collect();
        body(&StarkShape::new(self.parameters, &instances, &heights))
    }

    /// Inputs for a segment, in the order of [`Self::values`]; states that its proof verifies. The node of this one segment.
    pub fn verify(&self, b: &mut Builder) -> NodeCells {
        self.with(|shape| {
            let key: [Cell; 16] = b.inputs();
            let challenge: [Cell; 16] = b.inputs();
            let (fixed, image): (Digest, Digest) = (b.inputs(), b.inputs());
            let [index, steps] = b.inputs();
            let (start, end) = (StateCells::inputs(b), StateCells::inputs(b));
            let stage1: Digest = b.inputs();
            let proof = StarkCells::inputs(b, shape);

            self.check_contribution(b, index, steps, &start, &end);
            let heights = self.log_heights.map(|height| b.base(Val::from_u8(height)));
            let mut transcript = Transcript::new(b);
            let numbers = [&[index, steps][..], &start.cells(), &end.cells(), &heights].concat();
            let public = key.iter().chain(&challenge).chain(&numbers);
            public.for_each(|&cell| transcript.observe_base(b, cell));
            transcript.observe_digest(b, stage1);

            let mut of_job = Transcript::new(b);
            challenge.iter().for_each(|&cell| of_job.observe_base(b, cell));
            let global = BusCells { alpha: of_job.sample(b), beta: of_job.sample(b) };
            let (zero, one) = (b.zero(), b.one());
            let tag = b.add(index, one);
            let last = b.add(steps, one);
            let chain = |bus: Bus, tuple: &[Cell], send: bool| EndCells { bus, tuple: tuple.to_vec(), send };
            let ends = vec![
                chain(Bus::State, &[one, start.pc[0], start.pc[1]], true),
                chain(Bus::State, &[last, end.pc[0], end.pc[1]], false),
                chain(Bus::LedgerChain, &[start.cursor], true),
                chain(Bus::LedgerChain, &[end.cursor], false),
                chain(Bus::TouchedChain, &[zero], true),
            ];
            let preprocessed = if self.has_image() { vec![fixed, image] } else { vec![fixed] };
            let statement = Statement { stage1, preprocessed, tag, global, ends };
            let sum = verify_stark(b, transcript, shape, &statement, &proof);

            let root = leaf(b, &numbers, stage1);
            let (program, zero) = (b.base(Val::from_u8(self.log_heights[AnyTable::Program as usize])), b.zero());
            NodeCells {
                key: b.pack(&key),
                challenge: b.pack(&challenge),
                fixed,
                image,
                root,
                sum,
                range: b.join([index, tag, program, zero]),
                start: b.join(start.cells()),
                end: b.join(end.cells()),
            }
        })
    }

    /// What `Contribution::from_bytes` and `Verifier::tables` check of its form.
    fn check_contribution(&self, b: &mut Builder, index: Cell, steps: Cell, start: &StateCells, end: &StateCells) {
        for &half in start.pc.iter().chain(&end.pc) {
            b.assert_below(half, 16);
        }
        b.assert_below(index, 16);
        // Tags are told apart by 16-bit look-ups.
        let left = b.affine(index, Val::NEG_ONE, Challenge::from_u32(MAX_SEGMENTS - 1));
        b.assert_below(left, 16);
        b.assert_below(steps, 22);
        let left = b.affine(steps, Val::NEG_ONE, Challenge::from_u32(MAX_STEPS));
        b.assert_below(left, 22);
        if self.has_image() {
            let (zero, one) = (b.zero(), b.one());
            b.connect(start.image, zero);
            b.connect(end.image, one);
        } else {
            b.assert_bit(start.image);
            b.connect(start.image, end.image);
        }
    }

    /// The values of the inputs.
    pub fn values(
        &self,
        key: &VerifyingKey,
        challenge: &GlobalChallenge,
        contribution: &Contribution,
        proof: &StarkProof,
    ) -> Result<Vec<Challenge>, WrongShape> {
        if contribution.log_heights != self.log_heights {
            return Err(WrongShape("heights of the tables"));
        }
        if key.parameters != self.parameters {
            return Err(WrongShape("parameters of the proof system"));
        }
        let mut values = Vec::new();
        let halves = |bytes: &[u8; 32]| -> Vec<Challenge> {
            bytes.chunks_exact(2).map(|pair| Challenge::from_u16(u16::from_le_bytes([pair[0], pair[1]]))).collect()
        };
        values.extend(halves(&key.digest()));
        values.extend(halves(&challenge.0));
        values.extend(commitment_values(&key.fixed.commitment)?);
        values.extend(commitment_values(&key.image.commitment)?);
        values.extend([contribution.index, contribution.steps].map(Challenge::from_u32));
        for state in [&contribution.start, &contribution.end] {
            values.extend([state.pc & 0xffff, state.pc >> 16, state.cursor, u32::from(state.image)].map(Challenge::from_u32));
        }
        values.extend(digest_values(&contribution.commitment.map(Val::from_u32)));
        self.with(|shape| shape.values(&mut values, proof))?;
        Ok(values)
    }
}

/// `zisk_protocol::leaf`.
fn leaf(b: &mut Builder, numbers: &[Cell], stage1: Digest) -> Digest {
    let tag = b.base(Val::from_u32(LEAF_TAG));
    let elements = [&[tag], numbers].concat();
    let packed: [Cell; 6] = b.pack(&elements);
    let cells = [&packed[..], &stage1].concat();
    Stream { width: EXTENSION_DEGREE * cells.len(), cells }.hash(b)
}
