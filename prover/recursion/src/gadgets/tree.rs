//! The circuits of the aggregation tree: lifts of segments and joins of two nodes. All have the same public values, and their tables have one of two
//! sizes, so that four joins (a small or a large child on either side) take all of them and do not depend on the depth of the tree.
//!
//! A join cannot hold its own key, nor those of lifts that were not thought of: the keys of all circuits of a tree are a Merkle tree of their
//! own, whose root is public, the same in all nodes, and pinned by whoever verifies the last proof. One half of it is for keys of each size,
//! and a join looks for a child's key in the half of the size as which it verifies the child.

use p3_field::PrimeCharacteristicRing;
use zisk_protocol::join;
use zisk_prover::stark::config::{Challenge, Commitment, Parameters, Val};
use zisk_prover::tables::instruction::MIN_LOG_HEIGHT;

use super::Digest;
use super::hash::digest_values;
use super::inner::InnerShape;
use super::node::NodeCells;
use super::openings::{WrongShape, ensure};
use super::segment::SegmentShape;
use crate::builder::{Builder, Cell};
use crate::circuit::Circuit;
use crate::machine::TABLES;
use crate::prove::{CircuitProof, VerifyingKey};

/// log2 of the number of circuits of one size that a tree can have.
pub const LOG_CIRCUITS: usize = 7;

/// Number of public values of a tree's circuits: a node's, and the root over the keys.
pub const PUBLICS: usize = NodeCells::PUBLICS + 2;

/// Size of a circuit's tables.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Size {
    /// Joins, and the lifts that are no larger.
    Small,
    /// All other lifts.
    Large,
}

impl Size {
    /// Both.
    pub const ALL: [Self; 2] = [Self::Small, Self::Large];
}

/// The circuits of a tree.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct TreeShape {
    /// Parameters of their proofs.
    pub parameters: Parameters,
    /// log2 heights of their tables, by size.
    pub log_heights: [[u8; TABLES]; 2],
}

/// The keys of a tree's circuits.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct TreeKeys {
    /// Levels from the keys up to the root.
    levels: Vec<Vec<[Val; 8]>>,
}

/// The root of a commitment.
pub fn root(commitment: &Commitment) -> Result<[Val; 8], WrongShape> {
    match commitment.roots() {
        [root] => Ok(*root),
        _ => Err(WrongShape("a commitment is not one root")),
    }
}

impl TreeKeys {
    /// Keys by size, at most 2^[`LOG_CIRCUITS`] of each. In places that are left is what is the commitment of no key that anybody knows.
    pub fn new(keys: [&[[Val; 8]]; 2]) -> Result<Self, WrongShape> {
        let mut leaves = Vec::new();
        for (keys, size) in keys.into_iter().zip(1..) {
            ensure(keys.len() <= 1 << LOG_CIRCUITS, "number of circuits")?;
            leaves.extend(keys);
            leaves.resize(size << LOG_CIRCUITS, [Val::ZERO; 8]);
        }
        let mut levels = vec![leaves];
        while levels[levels.len() - 1].len() > 1 {
            let below = &levels[levels.len() - 1];
            levels.push(below.chunks_exact(2).map(|pair| join(pair[0], pair[1])).collect());
        }
        Ok(Self { levels })
    }

    /// The public values that stand for all keys.
    pub fn root(&self) -> [Challenge; 2] {
        digest_values(&self.levels[LOG_CIRCUITS + 1][0])
    }

    /// Where a key is.
    fn position(&self, size: Size, key: &VerifyingKey) -> Result<usize, WrongShape> {
        let key = root(&key.commitment)?;
        let start = (size as usize) << LOG_CIRCUITS;
        let found = self.levels[0][start..start + (1 << LOG_CIRCUITS)].iter().position(|k| *k == key);
        found.map(|at| start + at).ok_or(WrongShape("the key is not one of the tree's"))
    }
}

/// A proof of one of a tree's circuits.
#[derive(Clone, Copy)]
pub struct Child<'a> {
    /// Its circuit's key.
    pub key: &'a VerifyingKey,
    /// Its public values.
    pub publics: &'a [Challenge],
    /// The proof.
    pub proof: &'a CircuitProof,
}

impl TreeShape {
    /// The least heights that hold lifts of these segments and joins.
    pub fn fitting(parameters: Parameters, segments: &[SegmentShape]) -> Self {
        let mut shape = Self { parameters, log_heights: [[MIN_LOG_HEIGHT as u8; TABLES]; 2] };
        for segment in segments {
            let heights = Self::lift_builder(segment).log_heights();
            shape.log_heights[1].iter_mut().zip(heights).for_each(|(most, height)| *most = height.max(*most));
        }
        // A join of higher nodes is higher itself, but ever less so.
        loop {
            let before = shape.log_heights;
            for sizes in Self::joins() {
                let heights = shape.join_builder(sizes).log_heights();
                for size in &mut shape.log_heights {
                    size.iter_mut().zip(heights).for_each(|(most, height)| *most = height.max(*most));
                }
            }
            if shape.log_heights == before {
                return shape;
            }
        }
    }

    /// The sizes of the children of each join.
    pub fn joins() -> impl Iterator<Item = [Size; 2]> {
        Size::ALL.into_iter().flat_map(|left| Size::ALL.map(|right| [left, right]))
    }

    /// The size of a circuit with tables of these heights.
    pub fn size(&self, log_heights: &[u8; TABLES]) -> Result<Size, WrongShape> {
        let fits = |size: &Size| log_heights.iter().zip(self.log_heights[*size as usize]).all(|(&height, most)| height <= most);
        Size::ALL.into_iter().find(fits).ok_or(WrongShape("the circuit is larger than those of the tree"))
    }

    fn inner(&self, size: Size) -> InnerShape {
        InnerShape { parameters: self.parameters, log_heights: self.log_heights[size as usize], publics: PUBLICS as u32 }
    }

    fn build(&self, b: Builder) -> Result<Circuit, WrongShape> {
        let size = self.size(&b.log_heights())?;
        Ok(b.build_padded(self.log_heights[size as usize]))
    }

    /// The lift of a segment, its tables padded to one of the tree's sizes.
    pub fn lift(&self, segment: &SegmentShape) -> Result<Circuit, WrongShape> {
        self.build(Self::lift_builder(segment))
    }

    fn lift_builder(segment: &SegmentShape) -> Builder {
        let mut b = Builder::new();
        let keys: Digest = b.inputs();
        let node = segment.verify(&mut b);
        publish(&mut b, &node, keys);
        b
    }

    /// The join of two nodes of these sizes, its tables padded to one of the tree's sizes.
    pub fn join(&self, sizes: [Size; 2]) -> Result<Circuit, WrongShape> {
        self.build(self.join_builder(sizes))
    }

    fn join_builder(&self, sizes: [Size; 2]) -> Builder {
        let mut b = Builder::new();
        let keys: Digest = b.inputs();
        let [left, right] = sizes.map(|size| self.child(&mut b, size, keys));
        let node = NodeCells::join(&mut b, &left, &right);
        publish(&mut b, &node, keys);
        b
    }

    /// A proof of any of the tree's circuits of a size.
    fn child(&self, b: &mut Builder, size: Size, keys: Digest) -> NodeCells {
        let inner = self.inner(size).verify(b);
        let mut node = inner.key;
        for _ in 0..LOG_CIRCUITS {
            let [bit, s0, s1] = b.inputs();
            let bit = b.assert_bit(bit);
            let [n0, n1, ..] = b.permute_swapped([node[0], node[1], s0, s1], Some(bit));
            node = [n0, n1];
        }
        // The last step is not the prover's to choose: it is the half of the keys that have this size.
        let [s0, s1] = b.inputs();
        let [n0, n1, ..] = b.permute(match size {
            Size::Small => [node[0], node[1], s0, s1],
            Size::Large => [s0, s1, node[0], node[1]],
        });
        [n0, n1].into_iter().zip(keys).for_each(|(ours, theirs)| b.connect(ours, theirs));
        let (publics, theirs): (&[Cell; NodeCells::PUBLICS], &[Cell]) =
            inner.publics.split_first_chunk().expect("a node and the keys");
        theirs.iter().zip(keys).for_each(|(&theirs, ours)| b.connect(theirs, ours));
        NodeCells::of(publics)
    }

    /// Inputs of the join of these children.
    pub fn join_values(&self, keys: &TreeKeys, children: [Child<'_>; 2]) -> Result<Vec<Challenge>, WrongShape> {
        let mut values = keys.root().to_vec();
        for Child { key, publics, proof } in children {
            ensure(publics.len() == PUBLICS, "number of public values")?;
            let size = self.size(&key.log_heights)?;
            values.extend(self.inner(size).values(key, publics, proof)?);
            let mut at = keys.position(size, key)?;
            for level in &keys.levels[..LOG_CIRCUITS] {
                values.push(Challenge::from_bool(at & 1 == 1));
                values.extend(digest_values(&level[at ^ 1]));
                at >>= 1;
            }
            values.extend(digest_values(&keys.levels[LOG_CIRCUITS][at ^ 1]));
        }
        Ok(values)
    }
}

fn publish(b: &mut Builder, node: &NodeCells, keys: Digest) {
    node.publish(b);
    keys.into_iter().for_each(|cell| b.public(cell));
}
