//! Aggregation: segments are lifted, nodes are joined up to one proof over the whole job, and what does not belong together is not joined.

mod samples;

use std::collections::{BTreeMap, BTreeSet};

use p3_field::{BasedVectorSpace, PrimeCharacteristicRing};
use samples::WEAK;
use samples::segments::{CHALLENGE, Proven, job, node};
use zisk_protocol::{contributions_root, fold_order, leaf};
use zisk_prover::stark::config::{Challenge, Val};
use zisk_prover::tables::any::AnyTable;
use zisk_recursion::gadgets::hash::digest_values;
use zisk_recursion::gadgets::segment::SegmentShape;
use zisk_recursion::gadgets::tree::{PUBLICS, Size, TreeKeys, TreeShape, root};
use zisk_recursion::tree::{Kind, Node, Tree, TreeError};

/// A job's segments, and the tree over their shapes.
fn tree() -> (Tree, Vec<Proven>, Vec<Node>) {
    let (key, segments) = job();
    let shapes: BTreeSet<_> = segments.iter().map(|segment| segment.contribution.log_heights).collect();
    let shapes: Vec<_> = shapes.into_iter().collect();
    let lifted: Vec<_> = shapes.iter().map(|heights| SegmentShape::new(WEAK, *heights).expect("a shape")).collect();
    let tree = Tree::new(TreeShape::fitting(WEAK, &lifted), WEAK, &shapes).expect("a tree");
    let lift = |segment: &Proven| {
        let Proven { contribution, proof, .. } = segment;
        let lifted = tree.lift(&key.verifying, &CHALLENGE, contribution, proof).expect("an honest segment");
        assert_eq!(lifted.publics, [node(&key, segment), tree.keys_root().to_vec()].concat());
        let expected = node(&key, segment).try_into().expect("as many as there are");
        tree.verify(&lifted, &expected).expect("a lift");
        lifted
    };
    let lifts = segments.iter().map(lift).collect();
    (tree, segments, lifts)
}

/// The join's circuit refuses.
fn refuses(tree: &Tree, what: &str, left: &Node, right: &Node) {
    assert!(matches!(tree.join(left, right), Err(TreeError::Child("right", _) | TreeError::Neighbours)), "{what}");
}

#[test]
fn a_job_is_one_proof() {
    let (tree, segments, lifts) = tree();
    let count = segments.len() as u32;
    assert!(count >= 3, "joins of joins need three segments");
    let mut nodes: BTreeMap<(u32, u32), Node> = (0..).map(|i| (i, i + 1)).zip(lifts.iter().cloned()).collect();
    for (first, middle, end) in fold_order(count) {
        let left = nodes.remove(&(first, middle)).expect("folded before");
        let right = nodes.remove(&(middle, end)).expect("folded before");
        nodes.insert((first, end), tree.join(&left, &right).expect("neighbours"));
    }
    let whole = &nodes[&(0, count)];
    // What the final verifier compares.
    let leaves: Vec<_> = segments.iter().map(|segment| leaf(&segment.contribution)).collect();
    let sum: Challenge = segments.iter().map(|segment| segment.sum).sum();
    let (first, last) = (&lifts[0].publics, &lifts[count as usize - 1].publics);
    let program = u32::from(segments[0].contribution.log_heights[AnyTable::Program as usize]);
    let range = Challenge::from_basis_coefficients_fn(|i| Val::from_u32([0, count, program, 0][i]));
    let mut expected = first[..12].to_vec();
    expected.extend(digest_values(&contributions_root(&leaves)));
    expected.extend([sum, range, first[16], last[17]]);
    tree.verify(whole, &expected.clone().try_into().expect("as many as there are")).expect("the job");
    for i in 0..expected.len() {
        let mut other = expected.clone();
        other[i] += Challenge::ONE;
        let refused = tree.verify(whole, &other.clone().try_into().expect("as many as there are"));
        assert!(matches!(refused, Err(TreeError::Public(_))), "{refused:?}");
        let mut claimed = whole.clone();
        claimed.publics[..other.len()].copy_from_slice(&other);
        let refused = tree.verify(&claimed, &other.try_into().expect("as many as there are"));
        assert!(matches!(refused, Err(TreeError::Verify(_))), "{refused:?}");
    }

    // Nodes that do not follow each other.
    let [a, b, c, ..] = &lifts[..] else { unreachable!("three segments") };
    refuses(&tree, "the same twice", a, a);
    refuses(&tree, "the wrong way round", b, a);
    refuses(&tree, "one left out", a, c);
    // Public values that are not the proof's.
    for i in 0..PUBLICS {
        let mut forged = b.clone();
        forged.publics[i] += Challenge::ONE;
        refuses(&tree, "another public value", a, &forged);
    }
    // A proof under the key of another of the tree's circuits, of the same size and of the other.
    for circuit in (0..tree.keys().len() as u32).filter(|&circuit| circuit != b.circuit) {
        let forged = Node { circuit, ..b.clone() };
        assert!(tree.join(a, &forged).is_err(), "the key of circuit {circuit}");
    }
    // Keys that are others' do not become the tree's by a child's word.
    let own = |size: Size| -> Vec<_> {
        let keys = [a, b].map(|node| tree.key(node.circuit).expect("its circuit"));
        let mut roots: Vec<_> = keys
            .iter()
            .filter(|key| tree.shape.size(&key.log_heights) == Ok(size))
            .map(|key| root(&key.commitment).expect("one"))
            .collect();
        roots.dedup();
        roots
    };
    let others = TreeKeys::new([&own(Size::Small), &own(Size::Large)]).expect("few keys");
    let children = [tree.child(a).expect("a node"), tree.child(b).expect("a node")];
    let sizes = children.map(|child| tree.shape.size(&child.key.log_heights).expect("one of the tree's"));
    let join = tree.proving_key(tree.circuit(Kind::Join(sizes)).expect("there are all four")).expect("built");
    join.circuit
        .execute(&tree.shape.join_values(tree.all_keys(), children).expect("the circuit's shape"))
        .map(drop)
        .expect("neighbours");
    let values = tree.shape.join_values(&others, children).expect("their keys are there");
    join.circuit.execute(&values).map(drop).expect_err("children of a tree with other keys");
}
