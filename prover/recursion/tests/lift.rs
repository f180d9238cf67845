//! Segment proofs of a real guest, verified in circuits: the verdict is the verifier's, the node is the contribution's.

mod samples;

use p3_field::{PrimeCharacteristicRing, PrimeField32};
use samples::segments::{CHALLENGE, Proven, job, node};
use samples::{Random, WEAK};
use zisk_protocol::{ABSENT, Contribution, GlobalChallenge};
use zisk_prover::keys::ProvingKey;
use zisk_prover::segment::Verifier;
use zisk_prover::stark::config::{Challenge, Val};
use zisk_prover::stark::prove::StarkProof;
use zisk_prover::tables::any::AnyTable;
use zisk_recursion::builder::Builder;
use zisk_recursion::circuit::Circuit;
use zisk_recursion::gadgets::segment::SegmentShape;
use zisk_recursion::prove;

fn lift(contribution: &Contribution) -> (SegmentShape, Circuit) {
    let shape = SegmentShape::new(WEAK, contribution.log_heights).expect("a shape");
    let mut b = Builder::new();
    shape.verify(&mut b).publish(&mut b);
    (shape, b.build())
}

#[test]
fn a_segment_lifted_is_its_node() {
    let (key, proven) = job();
    let image = |p: &&Proven| p.contribution.log_heights[AnyTable::Image as usize] != ABSENT;
    let with = proven.iter().find(image).expect("one segment holds the image");
    let without = proven.iter().find(|p| !image(p)).expect("the others do not");
    for segment in [with, without] {
        let Proven { contribution, proof, .. } = segment;
        let (shape, circuit) = lift(contribution);
        let values = shape.values(&key.verifying, &CHALLENGE, contribution, proof).expect("the circuit's shape");
        let memory = circuit.execute(&values).expect("an honest segment");
        assert_eq!(memory.publics(&circuit), node(&key, segment));
        refuse(&key, segment, &shape, &circuit);
    }
    // Proven, once.
    let (shape, circuit) = lift(&without.contribution);
    let lift = prove::ProvingKey::new(circuit, WEAK);
    let values = shape.values(&key.verifying, &CHALLENGE, &without.contribution, &without.proof).expect("the circuit's shape");
    let (publics, proof) = lift.prove(&values).expect("an honest segment");
    assert_eq!(publics, node(&key, without));
    lift.verifying.verify(&publics, &proof).expect("a lift");
    let mut claimed = publics.clone();
    claimed[14] += Challenge::ONE;
    lift.verifying.verify(&claimed, &proof).expect_err("another sum");
}

/// What the verifier refuses, the circuit refuses.
fn refuse(key: &ProvingKey, Proven { contribution, proof, .. }: &Proven, shape: &SegmentShape, circuit: &Circuit) {
    let mut random = Random(1);
    let verifier = Verifier::new(&key.verifying);
    let refused = |what: &str, contribution: &Contribution, challenge: &GlobalChallenge, proof: &StarkProof| {
        let bytes = contribution.to_bytes();
        let native = Contribution::from_bytes(contribution.index, &bytes)
            .is_ok_and(|contribution| verifier.segment(&contribution, challenge, proof).is_ok());
        assert!(!native, "{what}");
        let values = shape.values(&key.verifying, challenge, contribution, proof);
        assert!(values.is_err() || circuit.execute(&values.expect("checked")).is_err(), "{what}");
    };
    let change = |what: &str, change: &dyn Fn(&mut Contribution, &mut StarkProof)| {
        let (mut contribution, mut proof) = (contribution.clone(), proof.clone());
        change(&mut contribution, &mut proof);
        refused(what, &contribution, &CHALLENGE, &proof);
    };
    change("index", &|c, _| c.index += 1);
    change("index that is none", &|c, _| c.index = zisk_protocol::MAX_SEGMENTS);
    change("steps", &|c, _| c.steps += 1);
    change("too many steps", &|c, _| c.steps = zisk_prover::segment::MAX_STEPS + 1);
    change("pc before", &|c, _| c.start.pc += 4);
    change("pc after", &|c, _| c.end.pc += 4);
    change("cursor before", &|c, _| c.start.cursor += 1);
    change("cursor after", &|c, _| c.end.cursor += 1);
    change("image", &|c, _| c.start.image = !c.start.image);
    change("image after", &|c, _| c.end.image = !c.end.image);
    change("height", &|c, _| c.log_heights[0] += 1);
    change("commitment", &|c, _| c.commitment[4] = (Val::from_u32(c.commitment[4]) + Val::ONE).as_canonical_u32());
    refused("challenge", contribution, &GlobalChallenge([8; 32]), proof);
    for table in 0..proof.tables.len() {
        change("sum on the job's buses", &|_, p| p.tables[table].global_sum += Challenge::ONE);
        change("opened column", &|_, p| p.tables[table].main[0] += Challenge::ONE);
    }
    let queries = proof.opening.query_proofs.len();
    for batch in 0..proof.opening.query_proofs[0].input_proof.len() {
        let query = random.below(queries);
        change("opened row", &|_, p| p.opening.query_proofs[query].input_proof[batch].opened_values[0][0] += Val::ONE);
        change("path", &|_, p| p.opening.query_proofs[query].input_proof[batch].opening_proof[2][7] += Val::ONE);
    }
    for round in 0..proof.opening.query_proofs[0].commit_phase_openings.len() {
        change("sibling", &|_, p| p.opening.query_proofs[0].commit_phase_openings[round].sibling_values[0] += Challenge::ONE);
    }
}
