//! Aggregation: segments are lifted, nodes are joined up to one proof over the whole job, and what does not belong together is not joined.

mod samples;

use std::collections::BTreeMap;

use p3_field::{BasedVectorSpace, PrimeCharacteristicRing};
use samples::WEAK;
use samples::segments::{CHALLENGE, Proven, job, node};
use zisk_protocol::{contributions_root, fold_order, leaf};
use zisk_prover::stark::config::{Challenge, Val};
use zisk_recursion::gadgets::hash::digest_values;
use zisk_recursion::gadgets::segment::SegmentShape;
use zisk_recursion::gadgets::tree::{Child, PUBLICS, TreeKeys, TreeShape};
use zisk_recursion::prove::{CircuitProof, ProvingKey, VerifyingKey};

/// A proof of one of the tree's circuits.
#[derive(Clone)]
struct Node {
    key: VerifyingKey,
    publics: Vec<Challenge>,
    proof: CircuitProof,
}

impl Node {
    fn child(&self) -> Child<'_> {
        Child { key: &self.key, publics: &self.publics, proof: &self.proof }
    }
}

/// A job's lifts and the join.
struct Tree {
    shape: TreeShape,
    keys: TreeKeys,
    join: ProvingKey,
    segments: Vec<Proven>,
    lifts: Vec<Node>,
}

fn tree() -> Tree {
    let (key, segments) = job();
    let mut shapes = BTreeMap::new();
    for Proven { contribution, .. } in &segments {
        shapes.insert(contribution.log_heights, SegmentShape::new(WEAK, contribution.log_heights).expect("a shape"));
    }
    let shape = TreeShape::fitting(WEAK, &shapes.values().copied().collect::<Vec<_>>());
    let join = ProvingKey::new(shape.join(), WEAK);
    assert_eq!(join.verifying.log_heights, shape.log_heights);
    let circuits: BTreeMap<_, _> =
        shapes.iter().map(|(heights, segment)| (*heights, ProvingKey::new(shape.lift(segment), WEAK))).collect();
    assert!(circuits.values().all(|lift| lift.verifying.log_heights == shape.log_heights));
    let all: Vec<&VerifyingKey> = [&join].into_iter().chain(circuits.values()).map(|key| &key.verifying).collect();
    let keys = TreeKeys::new(&all).expect("not too many");
    let lift = |segment: &Proven| {
        let Proven { contribution, proof, .. } = segment;
        let circuit = &circuits[&contribution.log_heights];
        let mut values = keys.root().to_vec();
        let shape = &shapes[&contribution.log_heights];
        values.extend(shape.values(&key.verifying, &CHALLENGE, contribution, proof).expect("the circuit's shape"));
        let (publics, proof) = circuit.prove(&values).expect("an honest segment");
        assert_eq!(publics, [node(&key, segment), keys.root().to_vec()].concat());
        Node { key: circuit.verifying.clone(), publics, proof }
    };
    let lifts = segments.iter().map(lift).collect();
    Tree { shape, keys, join, segments, lifts }
}

impl Tree {
    /// Joins two nodes; `None` if the circuit does not hold for them.
    fn join(&self, left: &Node, right: &Node) -> Option<Node> {
        let values = self.shape.join_values(&self.keys, [left.child(), right.child()]).expect("the circuit's shape");
        let (publics, proof) = self.join.prove(&values).ok()?;
        self.join.verifying.verify(&publics, &proof).expect("a proof of the join");
        Some(Node { key: self.join.verifying.clone(), publics, proof })
    }

    fn refuses(&self, what: &str, left: &Node, right: &Node) {
        let values = self.shape.join_values(&self.keys, [left.child(), right.child()]).expect("the circuit's shape");
        self.join.circuit.execute(&values).map(drop).expect_err(what);
    }
}

#[test]
fn a_job_is_one_proof() {
    let tree = tree();
    let count = tree.segments.len() as u32;
    assert!(count >= 3, "joins of joins need three segments");
    let mut nodes: BTreeMap<(u32, u32), Node> = (0..).map(|i| (i, i + 1)).zip(tree.lifts.iter().cloned()).collect();
    for (first, middle, end) in fold_order(count) {
        let left = nodes.remove(&(first, middle)).expect("folded before");
        let right = nodes.remove(&(middle, end)).expect("folded before");
        nodes.insert((first, end), tree.join(&left, &right).expect("neighbours"));
    }
    let root = &nodes[&(0, count)];
    // What the final verifier compares.
    let leaves: Vec<_> = tree.segments.iter().map(|segment| leaf(&segment.contribution)).collect();
    let sum: Challenge = tree.segments.iter().map(|segment| segment.sum).sum();
    let (first, last) = (&tree.lifts[0].publics, &tree.lifts[count as usize - 1].publics);
    let range = Challenge::from_basis_coefficients_fn(|i| Val::from_u32([0, count, 0, 0][i]));
    assert_eq!(root.publics.len(), PUBLICS);
    assert_eq!(root.publics[..12], first[..12]);
    assert_eq!(root.publics[12..14], digest_values(&contributions_root(&leaves)));
    assert_eq!(root.publics[14..], [vec![sum, range, first[16], last[17]], tree.keys.root().to_vec()].concat());

    // Nodes that do not follow each other.
    let [a, b, c, ..] = &tree.lifts[..] else { unreachable!("three segments") };
    tree.refuses("the same twice", a, a);
    tree.refuses("the wrong way round", b, a);
    tree.refuses("one left out", a, c);
    // Public values that are not the proof's.
    for i in 0..PUBLICS {
        let mut forged = b.clone();
        forged.publics[i] += Challenge::ONE;
        tree.refuses("another public value", a, &forged);
    }
    // A proof under another of the tree's keys.
    let mut forged = b.clone();
    forged.key = tree.join.verifying.clone();
    tree.refuses("another key", a, &forged);
    // A key that is not one of the tree's cannot even be named; and keys that are others' do not become so by a child's word.
    let others = TreeKeys::new(&[&b.key]).expect("one key");
    assert!(tree.shape.join_values(&others, [a.child(), b.child()]).is_err() || a.key.commitment == b.key.commitment);
    let values = tree.shape.join_values(&others, [b.child(), b.child()]).expect("its key is there");
    tree.join.circuit.execute(&values).map(drop).expect_err("children of a tree with other keys");
}
