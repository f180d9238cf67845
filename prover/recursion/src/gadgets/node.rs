//! What is public of a node of the aggregation tree (docs/protocol.md): the same for one segment and for many.

use p3_field::{BasedVectorSpace, PrimeCharacteristicRing};
use zisk_machine::segment::State;
use zisk_protocol::{Contribution, GlobalChallenge, join, leaf};
use zisk_prover::keys::VerifyingKey;
use zisk_prover::stark::config::{Challenge, Val};

use super::Digest;
use super::hash::digest_values;
use super::openings::{WrongShape, commitment_values};
use crate::builder::{Builder, Cell};

/// State handed from one segment to the next; all are of the base field.
#[derive(Clone, Copy)]
pub struct StateCells {
    /// 16-bit halves of the pc.
    pub pc: [Cell; 2],
    /// Last word of the ledger so far.
    pub cursor: Cell,
    /// Whether the image has been put on the global bus.
    pub image: Cell,
}

impl StateCells {
    /// Inputs for a state.
    pub fn inputs(b: &mut Builder) -> Self {
        let [lo, hi, cursor, image] = b.inputs();
        Self { pc: [lo, hi], cursor, image }
    }

    /// In the order in which transcripts, leaves and nodes have them.
    pub fn cells(&self) -> [Cell; 4] {
        [self.pc[0], self.pc[1], self.cursor, self.image]
    }
}

/// A node over neighbouring segments, base-field values four to a cell.
#[derive(Clone, Copy)]
pub struct NodeCells {
    /// Digest of the program's verifying key: 16-bit halves.
    pub key: [Cell; 4],
    /// The job's challenge: 16-bit halves.
    pub challenge: [Cell; 4],
    /// The key's commitment to program and bytes.
    pub fixed: Digest,
    /// The key's commitment to the image.
    pub image: Digest,
    /// Root over the contributions.
    pub root: Digest,
    /// Sum of the segments' fractions on the job's buses.
    pub sum: Cell,
    /// Index of the first segment, index after that of the last, log2 height of the program's table (which says in which class of
    /// programs the segments were proven, so that of the image, too), 0.
    pub range: Cell,
    /// State before the first segment.
    pub start: Cell,
    /// State after the last.
    pub end: Cell,
}

impl NodeCells {
    /// Number of public values.
    pub const PUBLICS: usize = 18;

    /// In the order in which they are public.
    pub fn cells(&self) -> [Cell; Self::PUBLICS] {
        let digests = [&self.key[..], &self.challenge, &self.fixed, &self.image, &self.root].concat();
        let cells = [&digests[..], &[self.sum, self.range, self.start, self.end]].concat();
        cells.try_into().expect("as many as there are")
    }

    /// From public values.
    pub fn of(cells: &[Cell; Self::PUBLICS]) -> Self {
        let [k0, k1, k2, k3, c0, c1, c2, c3, f0, f1, i0, i1, r0, r1, sum, range, start, end] = *cells;
        Self {
            key: [k0, k1, k2, k3],
            challenge: [c0, c1, c2, c3],
            fixed: [f0, f1],
            image: [i0, i1],
            root: [r0, r1],
            sum,
            range,
            start,
            end,
        }
    }

    /// Makes all of it public.
    pub fn publish(&self, b: &mut Builder) {
        self.cells().into_iter().for_each(|cell| b.public(cell));
    }

    /// The node of two neighbours: states that they are of one job and follow each other.
    pub fn join(b: &mut Builder, left: &Self, right: &Self) -> Self {
        let same = |node: &Self| [&node.key[..], &node.challenge, &node.fixed, &node.image].concat();
        same(left).into_iter().zip(same(right)).for_each(|(x, y)| b.connect(x, y));
        b.connect(left.end, right.start);
        let ([first, middle, program, _], [next, end, also, _]) = (b.split(left.range), b.split(right.range));
        b.connect(middle, next);
        b.connect(program, also);
        let zero = b.zero();
        let range = b.join([first, end, program, zero]);
        let [r0, r1, ..] = b.permute([left.root[0], left.root[1], right.root[0], right.root[1]]);
        let sum = b.add(left.sum, right.sum);
        Self { root: [r0, r1], sum, range, end: right.end, ..*left }
    }
}

/// A node as one knows it who compares.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct NodeValues {
    /// Root over the contributions.
    pub root: [Val; 8],
    /// Sum of the segments' fractions on the job's buses.
    pub sum: Challenge,
    /// Index of the first segment.
    pub first: u32,
    /// Index after that of the last.
    pub end: u32,
    /// State before the first segment.
    pub before: State,
    /// State after the last.
    pub after: State,
}

/// Four numbers as a value.
fn four(numbers: [u32; 4]) -> Challenge {
    Challenge::from_basis_coefficients_fn(|i| Val::from_u32(numbers[i]))
}

/// 16-bit halves of 32 bytes, four to a value.
fn halves(bytes: &[u8; 32]) -> [Challenge; 4] {
    std::array::from_fn(|i| {
        four(std::array::from_fn(|k| u32::from(u16::from_le_bytes([bytes[8 * i + 2 * k], bytes[8 * i + 2 * k + 1]]))))
    })
}

fn state(state: &State) -> Challenge {
    four([state.pc & 0xffff, state.pc >> 16, state.cursor, u32::from(state.image)])
}

impl NodeValues {
    /// Places among the public values: of the root over the contributions.
    pub const ROOT: usize = 12;
    /// Of the sum.
    pub const SUM: usize = 14;
    /// Of the indices and the class of programs.
    pub const RANGE: usize = 15;
    /// Of the state before.
    pub const BEFORE: usize = 16;
    /// Of the state after.
    pub const AFTER: usize = 17;

    /// The node of one segment.
    pub fn leaf(contribution: &Contribution, sum: Challenge) -> Self {
        Self {
            root: leaf(contribution),
            sum,
            first: contribution.index,
            end: contribution.index + 1,
            before: contribution.start,
            after: contribution.end,
        }
    }

    /// The public values of the node of two neighbours, from theirs; none if they are no neighbours of one job.
    pub fn join(
        left: &[Challenge; NodeCells::PUBLICS],
        right: &[Challenge; NodeCells::PUBLICS],
    ) -> Option<[Challenge; NodeCells::PUBLICS]> {
        let numbers = |value: Challenge| -> [Val; 4] { std::array::from_fn(|i| value.as_basis_coefficients_slice()[i]) };
        let ([first, middle, program, _], [next, end, also, _]) = (numbers(left[Self::RANGE]), numbers(right[Self::RANGE]));
        let follows = middle == next && program == also && left[Self::AFTER] == right[Self::BEFORE];
        if left[..Self::ROOT] != right[..Self::ROOT] || !follows {
            return None;
        }
        let root = |node: &[Challenge; NodeCells::PUBLICS]| -> [Val; 8] {
            std::array::from_fn(|i| node[Self::ROOT + i / 4].as_basis_coefficients_slice()[i % 4])
        };
        let mut joined = *left;
        joined[Self::ROOT..Self::SUM].copy_from_slice(&digest_values(&join(root(left), root(right))));
        joined[Self::SUM] = left[Self::SUM] + right[Self::SUM];
        let range = [first, end, program, Val::ZERO];
        joined[Self::RANGE] = Challenge::from_basis_coefficients_fn(|i| range[i]);
        joined[Self::AFTER] = right[Self::AFTER];
        Some(joined)
    }

    /// The public values, in the order of [`NodeCells::cells`].
    pub fn publics(
        &self,
        key: &VerifyingKey,
        challenge: &GlobalChallenge,
    ) -> Result<[Challenge; NodeCells::PUBLICS], WrongShape> {
        let program = u32::from(*key.fixed.log_heights.first().ok_or(WrongShape("number of the key's tables"))?);
        let mut values = [halves(&key.digest()), halves(&challenge.0)].concat();
        values.extend(commitment_values(&key.fixed.commitment)?);
        values.extend(commitment_values(&key.image.commitment)?);
        values.extend(digest_values(&self.root));
        values.extend([self.sum, four([self.first, self.end, program, 0]), state(&self.before), state(&self.after)]);
        Ok(values.try_into().expect("as many as there are"))
    }
}
