//! The final proof of whole jobs, and forgeries of it: what is claimed, what is left out, what belongs to another job or program.

mod samples;

use std::collections::BTreeSet;
use std::sync::LazyLock;

use p3_field::PrimeCharacteristicRing;
use samples::WEAK;
use samples::segments::{Job, LOG_STEPS, Proven, SHA_HASHER, committed, prove};
use zisk_protocol::shape::LogHeights;
use zisk_protocol::{AllContributions, Contribution, GlobalChallenge, PublicValues, SealedChallenge, fold_order};
use zisk_prover::bundle::{self, ProvenSegment};
use zisk_prover::keys::FORMAT;
use zisk_prover::segment::Committed;
use zisk_prover::stark::config::Challenge;
use zisk_recursion::final_proof::{FinalError, FinalProof};
use zisk_recursion::gadgets::segment::SegmentShape;
use zisk_recursion::gadgets::tree::TreeShape;
use zisk_recursion::tree::{Node, RECURSIVE, Tree, TreeError};

const HELLO: &[u8] = include_bytes!("../../../guests/elf/hello.elf");

/// Two jobs of one program, one of another (of one segment), and the tree for all of them.
struct World {
    tree: Tree,
    job: Job,
    other: Job,
    hello: Job,
    lifted: Lifted,
}

/// A job's segments, proven and lifted.
struct Lifted {
    sealed: SealedChallenge,
    segments: Vec<Proven>,
    leaves: Vec<Node>,
}

static WORLD: LazyLock<World> = LazyLock::new(|| {
    let job = committed(SHA_HASHER, &4u64.to_le_bytes(), LOG_STEPS);
    let other = committed(SHA_HASHER, &5u64.to_le_bytes(), LOG_STEPS);
    let hello = committed(HELLO, b"world", LOG_STEPS);
    let shapes: BTreeSet<LogHeights> =
        [&job, &other, &hello].into_iter().flat_map(|job| &job.committed).map(|c| c.contribution.log_heights).collect();
    let shapes: Vec<LogHeights> = shapes.into_iter().collect();
    let segments: Vec<_> = shapes.iter().map(|heights| SegmentShape::new(WEAK, *heights).expect("a shape")).collect();
    let tree = Tree::new(TreeShape::fitting(WEAK, &segments), WEAK, &shapes).expect("a tree");
    let lifted = lift(&tree, &job, &job.committed.iter().collect::<Vec<_>>(), &job.public);
    World { tree, job, other, hello, lifted }
});

/// What an honest cluster does with some segments, whatever they are.
fn lift(tree: &Tree, job: &Job, parts: &[&Committed], public: &PublicValues) -> Lifted {
    let contributions: Vec<Contribution> = parts.iter().map(|part| part.contribution.clone()).collect();
    let sealed = SealedChallenge::derive(&job.key.digest, AllContributions::new(&contributions), public).expect("a challenge");
    let segments: Vec<Proven> = parts.iter().map(|part| prove(&job.key, part, &sealed.challenge)).collect();
    let leaves = segments.iter().map(|segment| leaf(tree, job, segment, &sealed.challenge)).collect();
    Lifted { sealed, segments, leaves }
}

fn leaf(tree: &Tree, job: &Job, Proven { contribution, proof, .. }: &Proven, challenge: &GlobalChallenge) -> Node {
    tree.lift(&job.key.verifying, challenge, contribution, proof).expect("an honest segment")
}

/// Joins all nodes, in the order in which a job's are folded.
fn fold(tree: &Tree, leaves: &[Node]) -> Node {
    let mut nodes: Vec<Option<Node>> = leaves.iter().cloned().map(Some).collect();
    for (first, middle, _) in fold_order(leaves.len() as u32) {
        let right = nodes[middle as usize].take().expect("folded before");
        let left = nodes[first as usize].take().expect("folded before");
        nodes[first as usize] = Some(tree.join(&left, &right).expect("neighbours"));
    }
    nodes[0].take().expect("at least one segment")
}

fn proof(lifted: &Lifted, tree: &Tree, public: &PublicValues) -> FinalProof {
    FinalProof { format: RECURSIVE.into(), public: public.clone(), nonce: lifted.sealed.nonce, root: fold(tree, &lifted.leaves) }
}

static HONEST: LazyLock<FinalProof> = LazyLock::new(|| proof(&WORLD.lifted, &WORLD.tree, &WORLD.job.public));

fn verdict(change: impl FnOnce(&mut FinalProof)) -> FinalError {
    let mut proof = HONEST.clone();
    change(&mut proof);
    proof.verify(&WORLD.tree, &WORLD.job.key.verifying).expect_err("a forgery")
}

fn public(error: &FinalError) -> &'static str {
    match error {
        FinalError::Root(TreeError::Public(name)) => name,
        error => panic!("{error:?}"),
    }
}

/// Whoever has two nodes can tell their join from all else, without joining.
#[test]
fn a_join_is_told_from_all_else() {
    let World { tree, job, other, lifted, .. } = &*WORLD;
    let [left, right, third, ..] = &lifted.leaves[..] else { panic!("too few segments") };
    let joined = tree.join(left, right).expect("neighbours");
    tree.check_join(left, right, &joined).expect("their join");
    // And it serves as a child: the next join is checked by what this one says.
    let all = tree.join(&joined, third).expect("neighbours");
    tree.check_join(&joined, third, &all).expect("their join");
    // Nodes that are honest, but not of these two.
    let next = tree.join(right, third).expect("neighbours");
    for wrong in [left, right, &next, &all] {
        assert!(matches!(tree.check_join(left, right, wrong), Err(TreeError::Public(_))));
    }
    let foreign = lift(tree, other, &other.committed.iter().collect::<Vec<_>>(), &other.public).leaves;
    let foreign = tree.join(&foreign[0], &foreign[1]).expect("neighbours");
    assert!(matches!(tree.check_join(left, right, &foreign), Err(TreeError::Public(_))));
    // Pairs that have no join.
    for (left, right) in [(left, third), (right, left), (left, left), (left, &foreign)] {
        assert_eq!(tree.check_join(left, right, &joined), Err(TreeError::Neighbours));
    }
    // A proof that is none, under values that are right; values that are not, over a proof that is right.
    let mut forged = joined.clone();
    forged.proof = next.proof.clone();
    assert!(matches!(tree.check_join(left, right, &forged), Err(TreeError::Verify(_))));
    for place in 0..joined.publics.len() {
        let mut forged = joined.clone();
        forged.publics[place] += Challenge::ONE;
        assert!(matches!(tree.check_join(left, right, &forged), Err(TreeError::Public(_))), "{place}");
    }
    let mut short = joined.clone();
    short.publics.pop();
    assert!(matches!(tree.check_join(left, right, &short), Err(TreeError::Shape(_))));
    let mut short = left.clone();
    short.publics.truncate(3);
    assert!(matches!(tree.check_join(&short, right, &joined), Err(TreeError::Shape(_))));
    assert!(job.committed.len() >= 3);
}

/// The bundle says of every public value what the recursive proof says.
#[test]
fn bundle_and_recursive_proof_agree() {
    let World { tree, job, lifted, .. } = &*WORLD;
    assert!(lifted.segments.len() >= 3);
    HONEST.verify(tree, &job.key.verifying).expect("an honest job");
    let made = FinalProof::new(tree, &job.key.verifying, HONEST.root.clone(), &job.public).expect("an honest job");
    assert_eq!(made.nonce, HONEST.nonce);
    let segments: Vec<ProvenSegment> = lifted
        .segments
        .iter()
        .map(|Proven { contribution, proof, .. }| ProvenSegment { contribution: contribution.clone(), proof: proof.clone() })
        .collect();
    let root = bundle::Node { format: FORMAT.into(), key: job.key.digest, challenge: lifted.sealed.challenge, segments };
    let bundle = bundle::FinalProof::new(&job.key.verifying, root, &job.public).expect("an honest job");
    assert_eq!((&bundle.public, bundle.nonce), (&HONEST.public, HONEST.nonce));
    // Each statement that the other does not make is refused by both.
    for output in [0, 9, 63] {
        let mut claimed = bundle.clone();
        claimed.public.outputs[output] ^= 1;
        claimed.verify(&job.key.verifying).expect_err("another output");
        assert_eq!(verdict(|p| p.public.outputs[output] ^= 1), FinalError::Challenge);
    }
    // One segment: the root is a lift.
    let hello = &WORLD.hello;
    let [segment] = &hello.committed[..] else { panic!("hello is short") };
    let lifted = lift(tree, hello, &[segment], &hello.public);
    proof(&lifted, tree, &hello.public).verify(tree, &hello.key.verifying).expect("an honest job");
}

#[test]
fn other_claims() {
    let World { job, tree, .. } = &*WORLD;
    assert_eq!(verdict(|p| p.public.exit_code ^= 1), FinalError::Challenge);
    assert_eq!(verdict(|p| p.nonce += 1), FinalError::Challenge);
    assert!(matches!(verdict(|p| p.public.outputs.truncate(63)), FinalError::Public(_)));
    assert!(matches!(verdict(|p| p.format.push('x')), FinalError::Malformed(_)));
    assert!(matches!(verdict(|p| p.root.publics.truncate(5)), FinalError::Malformed(_)));
    assert!(matches!(verdict(|p| p.root.publics.push(Challenge::ZERO)), FinalError::Malformed(_)));
    // The challenge of what is claimed now: it is not the one for which the segments were proven.
    let reseal = |p: &mut FinalProof| {
        let contributions: Vec<Contribution> = WORLD.lifted.segments.iter().map(|s| s.contribution.clone()).collect();
        let contributions = AllContributions::new(&contributions);
        p.nonce = SealedChallenge::derive(&job.key.digest, contributions, &p.public).expect("a challenge").nonce;
    };
    let error = verdict(|p| {
        p.public.outputs[0] ^= 1;
        reseal(p);
    });
    assert_eq!(public(&error), "the challenge");
    // Outputs of a lie, the whole protocol followed for it: the job's buses do not balance.
    let mut lie = job.public.clone();
    lie.outputs[3] ^= 1;
    let lifted = lift(tree, job, &job.committed.iter().collect::<Vec<_>>(), &lie);
    let error = proof(&lifted, tree, &lie).verify(tree, &job.key.verifying).expect_err("a lie");
    assert_eq!(public(&error), "the sum on the job's buses");
    // Every public value of the root is bound; root and range of the contributions through the challenge.
    for i in 0..HONEST.root.publics.len() {
        let error = verdict(|p| p.root.publics[i] += Challenge::ONE);
        let named = match i {
            0..4 => "the digest of the verifying key",
            4..8 => "the challenge",
            8..10 => "the commitment to the program",
            10..12 => "the commitment to the image",
            14 => "the sum on the job's buses",
            16 => "the state before",
            17 => "the state after",
            18.. => "the root over the keys of all circuits",
            12 | 13 => {
                assert_eq!(error, FinalError::Challenge);
                continue;
            }
            15 => {
                assert!(matches!(error, FinalError::Range { first: 1, .. }));
                continue;
            }
        };
        assert_eq!(public(&error), named);
    }
    // What nobody else knows (the end of the ledger) is still the proof's to say.
    let cursor = zisk_recursion::gadgets::symbol::basis_root().square();
    let error = verdict(|p| p.root.publics[17] += cursor);
    assert!(matches!(error, FinalError::Root(TreeError::Verify(_))), "{error:?}");
    // The proof under the key of another circuit, or of none.
    for circuit in (0..tree.keys().len() as u32 + 1).filter(|&circuit| circuit != HONEST.root.circuit) {
        let error = verdict(|p| p.root.circuit = circuit);
        assert!(matches!(error, FinalError::Root(TreeError::Verify(_) | TreeError::Circuit(_))), "{error:?}");
    }
}

#[test]
fn another_program() {
    let World { tree, hello, job, .. } = &*WORLD;
    let error = HONEST.verify(tree, &hello.key.verifying).expect_err("a proof of another program");
    assert_eq!(error, FinalError::Challenge);
    let mut key = job.key.verifying.clone();
    key.program_id[31] ^= 1;
    assert_eq!(HONEST.verify(tree, &key), Err(FinalError::Challenge));
    let mut key = job.key.verifying.clone();
    key.parameters.queries += 1;
    assert_eq!(HONEST.verify(tree, &key), Err(FinalError::Parameters));
    // A tree with other circuits.
    let shapes = [job.committed[0].contribution.log_heights];
    let others = Tree::new(tree.shape, WEAK, &shapes).expect("a tree");
    let error = HONEST.verify(&others, &job.key.verifying).expect_err("a proof of another tree");
    assert!(matches!(error, FinalError::Root(TreeError::Public("the root over the keys of all circuits"))), "{error:?}");
}

/// Segments left out, with everything after it as the protocol has it.
#[test]
fn segments_left_out() {
    let World { tree, job, .. } = &*WORLD;
    let parts: Vec<&Committed> = job.committed.iter().collect();
    let count = parts.len();
    let verify = |parts: &[&Committed]| {
        let lifted = lift(tree, job, parts, &job.public);
        proof(&lifted, tree, &job.public).verify(tree, &job.key.verifying).expect_err("not a whole job")
    };
    // The last: not halted.
    assert_eq!(public(&verify(&parts[..count - 1])), "the sum on the job's buses");
    // The first.
    assert_eq!(verify(&parts[1..]), FinalError::Range { first: 1, end: count as u32 });
    // One between: it does not even join.
    let lifted = lift(tree, job, &[parts[0], parts[2]], &job.public);
    assert!(matches!(tree.join(&lifted.leaves[0], &lifted.leaves[1]), Err(TreeError::Neighbours)));
}

/// A child's proof replaced by another job's, program's, challenge's, index's.
#[test]
fn children_that_do_not_belong() {
    let World { tree, job, other, hello, lifted } = &*WORLD;
    let [a, b, c, ..] = &lifted.leaves[..] else { panic!("three segments") };
    let refuses = |what: &str, left: &Node, right: &Node| {
        assert!(matches!(tree.join(left, right), Err(TreeError::Child("right", _) | TreeError::Neighbours)), "{what}");
    };
    tree.join(a, b).expect("neighbours");
    refuses("repeated", a, a);
    refuses("exchanged", b, a);
    refuses("left out", a, c);
    let theirs = lift(tree, other, &other.committed.iter().collect::<Vec<_>>(), &other.public);
    refuses("another job's", a, &theirs.leaves[1]);
    let of_hello = lift(tree, hello, &[&hello.committed[0]], &hello.public);
    refuses("another program's", a, &of_hello.leaves[0]);
    let challenge = GlobalChallenge([9; 32]);
    let for_another = leaf(tree, job, &prove(&job.key, &job.committed[1], &challenge), &challenge);
    refuses("another challenge's", a, &for_another);
    // The proof of the one with the public values of the other.
    for foreign in [&theirs.leaves[1], &of_hello.leaves[0], &for_another, c, a] {
        let claimed = Node { publics: b.publics.clone(), ..foreign.clone() };
        refuses("a proof of something else", a, &claimed);
    }
    // And at the top.
    for root in [a, &theirs.leaves[0], &of_hello.leaves[0]] {
        verdict(|p| p.root = root.clone());
        verdict(|p| p.root.proof = root.proof.clone());
    }
}
