//! What is public of a node of the aggregation tree (docs/protocol.md): the same for one segment and for many.

use super::Digest;
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
    /// Index of the first segment, index after that of the last, 0, 0.
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
        let ([first, middle, ..], [next, end, ..]) = (b.split(left.range), b.split(right.range));
        b.connect(middle, next);
        let zero = b.zero();
        let range = b.join([first, end, zero, zero]);
        let [r0, r1, ..] = b.permute([left.root[0], left.root[1], right.root[0], right.root[1]]);
        let sum = b.add(left.sum, right.sum);
        Self { root: [r0, r1], sum, range, end: right.end, ..*left }
    }
}
