//! Forgeries of proofs of circuits: each of the ways in which an earlier prototype of such a machine was broken, and their neighbours.

mod samples;

use p3_field::PrimeCharacteristicRing;
use samples::{Random, WEAK, every_operation, inputs};
use zisk_prover::stark::config::Challenge;
use zisk_prover::stark::verify::StarkError;
use zisk_recursion::builder::Builder;
use zisk_recursion::execute::ExecuteError;
use zisk_recursion::machine::{MachineTable, TABLES};
use zisk_recursion::prove::{ProveError, ProvingKey, VerifyError};

/// `factor x = result`, and x is public.
fn linear(factor: u32, result: u32) -> ProvingKey {
    let mut b = Builder::new();
    let x = b.input();
    let factor = b.constant(Challenge::from_u32(factor));
    let result = b.constant(Challenge::from_u32(result));
    let product = b.mul(factor, x);
    b.connect(product, result);
    b.public(x);
    ProvingKey::new(b.build(), WEAK)
}

#[test]
fn constants_belong_to_the_key() {
    let (a, b) = (linear(37, 111), linear(5, 30));
    assert_ne!(a.verifying, b.verifying);
    let (publics, proof) = a.prove(&[Challenge::from_u32(3)]).expect("37 * 3 = 111");
    a.verifying.verify(&publics, &proof).expect("an honest proof");
    b.verifying.verify(&publics, &proof).expect_err("5 * 3 is not 30");
    // The rows of the other circuit, proven with this one's key.
    let memory = b.circuit.execute(&[Challenge::from_u32(6)]).expect("5 * 6 = 30");
    let publics = memory.publics(&b.circuit);
    let forged = a.prove_traces(&publics, b.circuit.traces(&memory)).expect("a proof");
    let refused = a.verifying.verify(&publics, &forged);
    assert_eq!(refused, Err(VerifyError::Stark(StarkError::Constraints("arithmetic"))));
}

#[test]
fn inputs_that_do_not_hold_have_no_proof() {
    let key = linear(37, 111);
    let refused = key.prove(&[Challenge::from_u32(4)]).map(drop);
    assert!(matches!(refused, Err(ProveError::Execute(ExecuteError::Unsatisfied { table: Some(MachineTable::Arithmetic), .. }))));
    let refused = key.prove(&[]).map(drop);
    assert_eq!(refused, Err(ProveError::Execute(ExecuteError::Inputs { expected: 1, got: 0 })));
}

/// Every table in turn taken from another execution: each is right by itself, but cells differ between their uses.
#[test]
fn a_cell_has_one_value_in_all_tables() {
    let mut random = Random(4);
    let key = ProvingKey::new(every_operation(), WEAK);
    let execute = |random: &mut Random| {
        let memory = key.circuit.execute(&inputs(random, &key.circuit)).expect("the circuit holds");
        (memory.publics(&key.circuit), key.circuit.traces(&memory))
    };
    let (publics, honest) = execute(&mut random);
    let (_, other) = execute(&mut random);
    let proof = key.prove_traces(&publics, honest.clone()).expect("a proof");
    key.verifying.verify(&publics, &proof).expect("an honest proof");
    for table in 0..TABLES {
        let mut traces = honest.clone();
        traces[table] = other[table].clone();
        let forged = key.prove_traces(&publics, traces).expect("a proof");
        let refused = key.verifying.verify(&publics, &forged);
        // The constants are the same in both executions, so that no constraint breaks.
        assert_eq!(refused, Err(VerifyError::Stark(StarkError::Buses)), "table {table}");
    }
}

/// What is split is the value that was computed: its coefficients cannot be swapped for those of another.
#[test]
fn coefficients_belong_to_their_value() {
    let mut b = Builder::new();
    let whole = b.input();
    let parts = b.split(whole);
    b.public(whole);
    parts.into_iter().for_each(|part| b.public(part));
    let key = ProvingKey::new(b.build(), WEAK);
    let mut random = Random(5);
    let [x, y] = [random.challenge(), random.challenge()];
    let of = |x: Challenge| {
        let memory = key.circuit.execute(&[x]).expect("any value has coefficients");
        (memory.publics(&key.circuit), key.circuit.traces(&memory))
    };
    let ((publics, honest), (other_publics, other)) = (of(x), of(y));
    // The coefficients of y claimed as those of x, wherever they appear.
    let claimed: Vec<Challenge> = [&publics[..1], &other_publics[1..]].concat();
    for (split, arithmetic) in [(&honest, &honest), (&honest, &other), (&other, &honest), (&other, &other)] {
        let mut traces = honest.clone();
        traces[MachineTable::Split as usize] = split[MachineTable::Split as usize].clone();
        traces[MachineTable::Arithmetic as usize] = arithmetic[MachineTable::Arithmetic as usize].clone();
        let forged = key.prove_traces(&claimed, traces).expect("a proof");
        assert_eq!(key.verifying.verify(&claimed, &forged), Err(VerifyError::Stark(StarkError::Buses)));
    }
}

#[test]
fn public_values_are_those_of_the_circuit() {
    let mut random = Random(6);
    let key = ProvingKey::new(every_operation(), WEAK);
    let (publics, proof) = key.prove(&inputs(&mut random, &key.circuit)).expect("the circuit holds");
    key.verifying.verify(&publics, &proof).expect("an honest proof");
    for i in 0..publics.len() {
        let mut claimed = publics.clone();
        claimed[i] += Challenge::ONE;
        key.verifying.verify(&claimed, &proof).expect_err("another public value");
    }
    // Claimed from the start, by the prover itself.
    let memory = key.circuit.execute(&inputs(&mut random, &key.circuit)).expect("the circuit holds");
    let forged = key.prove_traces(&publics, key.circuit.traces(&memory)).expect("a proof");
    assert_eq!(key.verifying.verify(&publics, &forged), Err(VerifyError::Stark(StarkError::Buses)));
    let refused = key.verifying.verify(&publics[1..], &proof);
    assert_eq!(refused, Err(VerifyError::Publics { expected: publics.len() as u32, got: publics.len() - 1 }));
}

#[test]
fn heights_and_key_are_the_verifiers() {
    let key = linear(37, 111);
    let (publics, proof) = key.prove(&[Challenge::from_u32(3)]).expect("37 * 3 = 111");
    for table in 0..TABLES {
        let mut other = key.verifying.clone();
        other.log_heights[table] += 1;
        other.verify(&publics, &proof).expect_err("another height");
        let mut short = proof.clone();
        short.stark.tables.remove(table);
        assert!(matches!(key.verifying.verify(&publics, &short), Err(VerifyError::Stark(StarkError::Shape(_)))));
    }
    // The same operations and one more gate.
    let mut b = Builder::new();
    let x = b.input();
    let [factor, result] = [37, 111].map(|n| b.constant(Challenge::from_u32(n)));
    let product = b.mul(factor, x);
    b.connect(product, result);
    b.public(x);
    b.add(x, x);
    let longer = ProvingKey::new(b.build(), WEAK);
    assert_ne!(longer.verifying.commitment, key.verifying.commitment);
    longer.verifying.verify(&publics, &proof).expect_err("another circuit");
}
