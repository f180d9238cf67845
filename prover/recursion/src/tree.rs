//! The aggregation tree: its circuits, lifts of segment proofs, joins of nodes.
//!
//! Circuits and proving keys are built when they are first needed, and kept: a fraction of a second each.

use std::sync::{Mutex, OnceLock};

use serde::{Deserialize, Serialize};
use zisk_protocol::shape::LogHeights;
use zisk_protocol::{Contribution, GlobalChallenge};
use zisk_prover::keys;
use zisk_prover::stark::config::{Challenge, Commitment, Parameters, Val};
use zisk_prover::stark::prove::StarkProof;

use crate::gadgets::node::{NodeCells, NodeValues};
use crate::gadgets::openings::WrongShape;
use crate::gadgets::segment::SegmentShape;
use crate::gadgets::tree::{Child, PUBLICS, Size, TreeKeys, TreeShape, root};
use crate::prove::{CircuitProof, ProveError, ProvingKey, VerifyError, VerifyingKey};

/// What a circuit does.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Kind {
    /// Verifies two nodes of these sizes.
    Join([Size; 2]),
    /// Verifies a segment of this shape.
    Lift(LogHeights),
}

/// Version of recursive nodes and proofs.
pub const RECURSIVE: &str = "zisk-recursive/2";

/// A node: a proof of one of the tree's circuits, with its public values.
#[derive(Clone, Serialize, Deserialize)]
pub struct Node {
    /// [`RECURSIVE`].
    pub format: String,
    /// Which circuit.
    pub circuit: u32,
    /// Its public values.
    pub publics: Vec<Challenge>,
    /// The proof.
    pub proof: CircuitProof,
}

/// A tree's circuits and keys.
pub struct Tree {
    /// Their shape.
    pub shape: TreeShape,
    /// Parameters of segment proofs.
    pub segments: Parameters,
    kinds: Vec<Kind>,
    keys: Vec<VerifyingKey>,
    all_keys: TreeKeys,
    built: Vec<OnceLock<ProvingKey>>,
    /// One circuit is built at a time.
    building: Mutex<()>,
}

/// Why a node is refused or not made.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum TreeError {
    /// A proof that is not one of the tree's circuits.
    #[error(transparent)]
    Shape(#[from] WrongShape),
    /// No circuit lifts segments of this shape.
    #[error("no circuit lifts segments with tables of log2 heights {0:?}")]
    Segment(LogHeights),
    /// A circuit number that the tree does not have.
    #[error("the tree has no circuit {0}")]
    Circuit(u32),
    /// The circuit's key is not the one that is pinned.
    #[error("circuit {0} has another key than the one pinned: this prover was changed, or built wrongly")]
    Pinned(u32),
    /// A segment's proof does not verify, or the prover failed.
    #[error(transparent)]
    Prove(#[from] ProveError),
    /// A child's proof does not verify.
    #[error("the {0} node's proof does not hold: {1}")]
    Child(&'static str, VerifyError),
    /// Both children verify.
    #[error("the nodes are not neighbours of one job")]
    Neighbours,
    /// Of another version.
    #[error("format {0:?} instead of {RECURSIVE:?}")]
    Format(String),
    /// The proof does not verify.
    #[error(transparent)]
    Verify(#[from] VerifyError),
    /// A public value is not what it must be.
    #[error("{0} is not what it must be")]
    Public(&'static str),
}

/// The circuits of a tree over segments of these shapes, in the order of their numbers.
fn kinds(lifts: &[LogHeights]) -> Vec<Kind> {
    TreeShape::joins().map(Kind::Join).chain(lifts.iter().copied().map(Kind::Lift)).collect()
}

/// Names of public values, by place.
const NAMES: [(&str, usize); 10] = [
    ("the digest of the verifying key", 4),
    ("the challenge", 8),
    ("the commitment to the program", 10),
    ("the commitment to the image", 12),
    ("the root over the contributions", 14),
    ("the sum on the job's buses", NodeValues::RANGE),
    ("the range of segments", NodeValues::BEFORE),
    ("the state before", NodeValues::AFTER),
    ("the state after", NodeCells::PUBLICS),
    ("the root over the keys of all circuits", PUBLICS),
];

impl Tree {
    /// The least tree for segments of these shapes. Builds all its circuits.
    pub fn new(shape: TreeShape, segments: Parameters, lifts: &[LogHeights]) -> Result<Self, TreeError> {
        let kinds = kinds(lifts);
        let built: Vec<ProvingKey> = kinds.iter().map(|kind| build(&shape, segments, kind)).collect::<Result<_, _>>()?;
        let commitments = built
            .iter()
            .map(|key| Ok((shape.size(&key.verifying.log_heights)?, root(&key.verifying.commitment)?)))
            .collect::<Result<Vec<_>, WrongShape>>()?;
        let mut tree = Self::pinned(shape, segments, lifts, &commitments)?;
        tree.built = built.into_iter().map(OnceLock::from).collect();
        Ok(tree)
    }

    /// A tree whose circuits' keys are known; they are built when needed.
    pub fn pinned(
        shape: TreeShape,
        segments: Parameters,
        lifts: &[LogHeights],
        commitments: &[(Size, [Val; 8])],
    ) -> Result<Self, TreeError> {
        let kinds = kinds(lifts);
        if kinds.len() != commitments.len() {
            return Err(WrongShape("number of circuits").into());
        }
        let of_size = |size: Size| commitments.iter().filter(|(s, _)| *s == size).map(|(_, root)| *root).collect::<Vec<_>>();
        let all_keys = TreeKeys::new([&of_size(Size::Small), &of_size(Size::Large)])?;
        let key = |&(size, root): &(Size, [Val; 8])| VerifyingKey {
            parameters: shape.parameters,
            log_heights: shape.log_heights[size as usize],
            publics: PUBLICS as u32,
            commitment: Commitment::new(vec![root]),
        };
        let keys = commitments.iter().map(key).collect();
        let built = kinds.iter().map(|_| OnceLock::new()).collect();
        Ok(Self { shape, segments, kinds, keys, all_keys, built, building: Mutex::new(()) })
    }

    /// Verifying keys of the circuits.
    pub fn keys(&self) -> &[VerifyingKey] {
        &self.keys
    }

    /// What the circuits do.
    pub fn kinds(&self) -> &[Kind] {
        &self.kinds
    }

    /// The public values that stand for all keys.
    pub fn keys_root(&self) -> [Challenge; 2] {
        self.all_keys.root()
    }

    /// The key of a circuit.
    pub fn key(&self, circuit: u32) -> Result<&VerifyingKey, TreeError> {
        self.keys.get(circuit as usize).ok_or(TreeError::Circuit(circuit))
    }

    /// The circuit of a kind.
    pub fn circuit(&self, kind: Kind) -> Option<u32> {
        self.kinds.iter().position(|k| *k == kind).map(|at| at as u32)
    }

    /// The proving key of a circuit, built if it has not been needed before.
    pub fn proving_key(&self, circuit: u32) -> Result<&ProvingKey, TreeError> {
        let slot = self.built.get(circuit as usize).ok_or(TreeError::Circuit(circuit))?;
        let _one_at_a_time = self.building.lock();
        if slot.get().is_none() {
            let key = build(&self.shape, self.segments, &self.kinds[circuit as usize])?;
            if key.verifying != self.keys[circuit as usize] {
                return Err(TreeError::Pinned(circuit));
            }
            _ = slot.set(key);
        }
        slot.get().ok_or(TreeError::Circuit(circuit))
    }

    fn prove(&self, circuit: u32, inputs: &[Challenge]) -> Result<Node, TreeError> {
        let (publics, proof) = self.proving_key(circuit)?.prove(inputs)?;
        Ok(Node { format: RECURSIVE.into(), circuit, publics, proof })
    }

    /// The node of one segment.
    pub fn lift(
        &self,
        key: &keys::VerifyingKey,
        challenge: &GlobalChallenge,
        contribution: &Contribution,
        proof: &StarkProof,
    ) -> Result<Node, TreeError> {
        let heights = contribution.log_heights;
        let circuit = self.circuit(Kind::Lift(heights)).ok_or(TreeError::Segment(heights))?;
        let segment = SegmentShape::new(self.segments, heights)?;
        let mut inputs = self.keys_root().to_vec();
        inputs.extend(segment.values(key, challenge, contribution, proof)?);
        self.prove(circuit, &inputs)
    }

    /// The node of two neighbours. There is none unless both verify.
    pub fn join(&self, left: &Node, right: &Node) -> Result<Node, TreeError> {
        let children = [self.child(left)?, self.child(right)?];
        let sizes = [self.shape.size(&children[0].key.log_heights)?, self.shape.size(&children[1].key.log_heights)?];
        let circuit = self.circuit(Kind::Join(sizes)).ok_or(WrongShape("no join"))?;
        match self.prove(circuit, &self.shape.join_values(&self.all_keys, children)?) {
            Err(TreeError::Prove(ProveError::Execute(_))) => Err(refused(children)),
            made => made,
        }
    }

    /// Verifies that a node is that of two neighbours, which were verified before.
    pub fn check_join(&self, left: &Node, right: &Node, node: &Node) -> Result<(), TreeError> {
        let publics = |child: &Node| child.publics.first_chunk().copied().ok_or(WrongShape("number of public values"));
        let expected = NodeValues::join(&publics(left)?, &publics(right)?).ok_or(TreeError::Neighbours)?;
        self.verify(node, &expected)
    }

    /// A node as the input of a join.
    pub fn child<'a>(&'a self, node: &'a Node) -> Result<Child<'a>, TreeError> {
        node.check_format()?;
        Ok(Child { key: self.key(node.circuit)?, publics: &node.publics, proof: &node.proof })
    }

    /// The keys of all circuits.
    pub fn all_keys(&self) -> &TreeKeys {
        &self.all_keys
    }

    /// Verifies that a node is what it must be: its public values, then its proof.
    pub fn verify(&self, node: &Node, expected: &[Challenge; NodeCells::PUBLICS]) -> Result<(), TreeError> {
        node.check_format()?;
        if node.publics.len() != PUBLICS {
            return Err(WrongShape("number of public values").into());
        }
        let expected = [&expected[..], &self.keys_root()].concat();
        let mut at = 0;
        for (name, end) in NAMES {
            if node.publics[at..end] != expected[at..end] {
                return Err(TreeError::Public(name));
            }
            at = end;
        }
        // The values that were compared are those of which the proof speaks.
        Ok(self.key(node.circuit)?.verify(&expected, &node.proof)?)
    }
}

impl Node {
    fn check_format(&self) -> Result<(), TreeError> {
        if self.format == RECURSIVE { Ok(()) } else { Err(TreeError::Format(self.format.clone())) }
    }
}

/// Why the join's circuit does not hold for children.
fn refused(children: [Child<'_>; 2]) -> TreeError {
    for (child, name) in children.into_iter().zip(["left", "right"]) {
        if let Err(error) = child.key.verify(child.publics, child.proof) {
            return TreeError::Child(name, error);
        }
    }
    TreeError::Neighbours
}

fn build(shape: &TreeShape, segments: Parameters, kind: &Kind) -> Result<ProvingKey, TreeError> {
    let circuit = match kind {
        Kind::Join(sizes) => shape.join(*sizes)?,
        Kind::Lift(heights) => shape.lift(&SegmentShape::new(segments, *heights)?)?,
    };
    Ok(ProvingKey::new(circuit, shape.parameters))
}
