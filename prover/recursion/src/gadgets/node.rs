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

    /// In the order in which transcripts and leaves have them.
    pub fn cells(&self) -> impl Iterator<Item = &Cell> {
        self.pc.iter().chain([&self.cursor, &self.image])
    }
}

/// A node over neighbouring segments.
pub struct NodeCells {
    /// Digest of the program's verifying key: 16-bit halves, four to a cell.
    pub key: Vec<Cell>,
    /// The job's challenge, in the same way.
    pub challenge: Vec<Cell>,
    /// The key's commitment to program and bytes.
    pub fixed: Digest,
    /// The key's commitment to the image.
    pub image: Digest,
    /// Root over the contributions.
    pub root: Digest,
    /// Sum of the segments' fractions on the job's buses.
    pub sum: Cell,
    /// Index of the first segment.
    pub first: Cell,
    /// Index after that of the last.
    pub next: Cell,
    /// State before the first segment.
    pub start: StateCells,
    /// State after the last.
    pub end: StateCells,
}

impl NodeCells {
    /// Number of public values.
    pub const PUBLICS: usize = 18;

    /// Makes all of it public.
    pub fn publish(&self, b: &mut Builder) {
        let zero = b.zero();
        let indices = b.join([self.first, self.next, zero, zero]);
        let states = [&self.start, &self.end].map(|state| b.join([state.pc[0], state.pc[1], state.cursor, state.image]));
        let before = self.key.iter().chain(&self.challenge).chain(&self.fixed).chain(&self.image).chain(&self.root);
        before.chain([&self.sum, &indices]).chain(&states).for_each(|&cell| b.public(cell));
    }
}
