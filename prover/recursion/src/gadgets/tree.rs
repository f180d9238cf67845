//! The circuits of the aggregation tree: lifts of segments and the join of two nodes. All have tables of the same heights and the same
//! public values, so that one join takes any two of them and its key does not depend on the depth of the tree.
//!
//! A join cannot hold its own key, nor those of lifts that were not thought of: the keys of all circuits of a tree are a Merkle tree of their
//! own, whose root is public, the same in all nodes, and pinned by whoever verifies the last proof.

use p3_field::PrimeCharacteristicRing;
use zisk_protocol::join;
use zisk_prover::stark::config::{Challenge, Commitment, Parameters, Val};
use zisk_prover::tables::instruction::MIN_LOG_HEIGHT;

use super::Digest;
use super::hash::digest_values;
use super::inner::InnerShape;
use super::node::NodeCells;
use super::openings::WrongShape;
use super::segment::SegmentShape;
use crate::builder::{Builder, Cell};
use crate::circuit::Circuit;
use crate::machine::TABLES;
use crate::prove::{CircuitProof, VerifyingKey};

/// log2 of the number of circuits that a tree can have.
pub const LOG_CIRCUITS: usize = 6;

/// Number of public values of a tree's circuits: a node's, and the root over the keys.
pub const PUBLICS: usize = NodeCells::PUBLICS + 2;

/// The circuits of a tree.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct TreeShape {
    /// Parameters of their proofs.
    pub parameters: Parameters,
    /// log2 heights of their tables.
    pub log_heights: [u8; TABLES],
}

/// The keys of a tree's circuits.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct TreeKeys {
    /// Levels from the keys up to the root.
    levels: Vec<Vec<[Val; 8]>>,
}

impl TreeKeys {
    /// At least one and at most 2^[`LOG_CIRCUITS`] keys; places that are left hold the first one.
    pub fn new(keys: &[&VerifyingKey]) -> Result<Self, WrongShape> {
        let root = |commitment: &Commitment| match commitment.roots() {
            [root] => Ok(*root),
            _ => Err(WrongShape("a commitment is not one root")),
        };
        let mut level = keys.iter().map(|key| root(&key.commitment)).collect::<Result<Vec<_>, _>>()?;
        if level.is_empty() || level.len() > 1 << LOG_CIRCUITS {
            return Err(WrongShape("number of circuits"));
        }
        level.resize(1 << LOG_CIRCUITS, level[0]);
        let mut levels = vec![level];
        while levels[levels.len() - 1].len() > 1 {
            let below = &levels[levels.len() - 1];
            levels.push(below.chunks_exact(2).map(|pair| join(pair[0], pair[1])).collect());
        }
        Ok(Self { levels })
    }

    /// The public values that stand for all keys.
    pub fn root(&self) -> [Challenge; 2] {
        digest_values(&self.levels[LOG_CIRCUITS][0])
    }

    /// Where a key is.
    fn position(&self, key: &VerifyingKey) -> Result<usize, WrongShape> {
        let found = self.levels[0].iter().position(|k| key.commitment.roots() == [*k]);
        found.ok_or(WrongShape("the key is not one of the tree's"))
    }
}

/// A proof of one of a tree's circuits.
pub struct Child<'a> {
    /// Its circuit's key.
    pub key: &'a VerifyingKey,
    /// Its public values.
    pub publics: &'a [Challenge],
    /// The proof.
    pub proof: &'a CircuitProof,
}

fn publish(b: &mut Builder, node: &NodeCells, keys: Digest) {
    node.publish(b);
    keys.into_iter().for_each(|cell| b.public(cell));
}

impl TreeShape {
    /// The least heights that hold lifts of these segments and joins.
    pub fn fitting(parameters: Parameters, segments: &[SegmentShape]) -> Self {
        let mut shape = Self { parameters, log_heights: [MIN_LOG_HEIGHT as u8; TABLES] };
        for segment in segments {
            shape.log_heights = shape.lift(segment).log_heights();
        }
        // A join of higher nodes is higher itself, but ever less so.
        loop {
            let log_heights = shape.join().log_heights();
            if log_heights == shape.log_heights {
                return shape;
            }
            shape.log_heights = log_heights;
        }
    }

    fn inner(&self) -> InnerShape {
        InnerShape { parameters: self.parameters, log_heights: self.log_heights, publics: PUBLICS as u32 }
    }

    /// The lift of a segment. Its tables are padded to the tree's heights, if they are not higher.
    pub fn lift(&self, segment: &SegmentShape) -> Circuit {
        let mut b = Builder::new();
        let keys: Digest = b.inputs();
        let node = segment.verify(&mut b);
        publish(&mut b, &node, keys);
        b.build_padded(self.log_heights)
    }

    /// The join of two nodes. Its tables are padded to the tree's heights, if they are not higher.
    pub fn join(&self) -> Circuit {
        let mut b = Builder::new();
        let keys: Digest = b.inputs();
        let [left, right] = std::array::from_fn(|_| self.child(&mut b, keys));
        let node = NodeCells::join(&mut b, &left, &right);
        publish(&mut b, &node, keys);
        b.build_padded(self.log_heights)
    }

    /// A proof of any of the tree's circuits.
    fn child(&self, b: &mut Builder, keys: Digest) -> NodeCells {
        let inner = self.inner().verify(b);
        let mut node = inner.key;
        for _ in 0..LOG_CIRCUITS {
            let [bit, s0, s1] = b.inputs();
            let bit = b.assert_bit(bit);
            let [n0, n1, ..] = b.permute_swapped([node[0], node[1], s0, s1], Some(bit));
            node = [n0, n1];
        }
        node.into_iter().zip(keys).for_each(|(ours, theirs)| b.connect(ours, theirs));
        let (publics, theirs): (&[Cell; NodeCells::PUBLICS], &[Cell]) =
            inner.publics.split_first_chunk().expect("a node and the keys");
        theirs.iter().zip(keys).for_each(|(&theirs, ours)| b.connect(theirs, ours));
        NodeCells::of(publics)
    }

    /// Inputs of a join.
    pub fn join_values(&self, keys: &TreeKeys, children: [Child<'_>; 2]) -> Result<Vec<Challenge>, WrongShape> {
        let mut values = keys.root().to_vec();
        for Child { key, publics, proof } in children {
            if publics.len() != PUBLICS {
                return Err(WrongShape("number of public values"));
            }
            values.extend(self.inner().values(key, publics, proof)?);
            let mut at = keys.position(key)?;
            for level in &keys.levels[..LOG_CIRCUITS] {
                values.push(Challenge::from_bool(at & 1 == 1));
                values.extend(digest_values(&level[at ^ 1]));
                at >>= 1;
            }
        }
        Ok(values)
    }
}
