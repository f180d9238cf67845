//! Gadgets against what they stand for: the same values, the same verdicts.

mod samples;

use p3_challenger::{CanObserve, CanSampleBits, FieldChallenger, GrindingChallenger};
use p3_commit::Mmcs;
use p3_field::PrimeCharacteristicRing;
use p3_matrix::dense::RowMajorMatrix;
use samples::{Random, WEAK, all, every_operation, inputs};
use zisk_prover::stark::config::{Challenge, Config, Parameters, Val};
use zisk_recursion::builder::Builder;
use zisk_recursion::circuit::Circuit;
use zisk_recursion::gadgets::hash::{Stream, check_path, digest_values, stream_values};
use zisk_recursion::gadgets::inner::InnerShape;
use zisk_recursion::gadgets::openings::commitment_values;
use zisk_recursion::gadgets::transcript::Transcript;
use zisk_recursion::prove::{CircuitProof, ProvingKey};

#[test]
fn the_transcript_is_the_provers() {
    let config = Config::new(WEAK);
    for seed in 0..if all() { 200 } else { 20 } {
        let mut random = Random(seed);
        let (mut b, mut values, mut expected) = (Builder::new(), Vec::new(), Vec::new());
        let mut native = config.challenger();
        let mut transcript = Transcript::new(&mut b);
        for _ in 0..40 {
            match random.below(6) {
                0 | 1 => {
                    let value = random.val();
                    native.observe(value);
                    values.push(value.into());
                    let cell = b.input();
                    transcript.observe_base(&mut b, cell);
                }
                2 | 3 => {
                    let value = random.challenge();
                    native.observe_algebra_element(value);
                    values.push(value);
                    let cell = b.input();
                    transcript.observe(&mut b, cell);
                }
                4 => {
                    expected.push(native.sample_algebra_element());
                    let sampled = transcript.sample(&mut b);
                    b.public(sampled);
                }
                _ => {
                    let count = 1 + random.below(20);
                    let number = native.sample_bits(count);
                    for (i, bit) in transcript.sample_bits(&mut b, count).into_iter().enumerate() {
                        expected.push(Challenge::from_bool(number >> i & 1 == 1));
                        b.public(bit.cell());
                    }
                }
            }
        }
        let circuit = b.build();
        let memory = circuit.execute(&values).expect("a transcript refuses nothing");
        assert_eq!(memory.publics(&circuit), expected, "seed {seed}");
    }
}

#[test]
fn a_proof_of_work_is_checked() {
    let config = Config::new(WEAK);
    let mut native = config.challenger();
    native.observe(Val::from_u32(7));
    let witness = native.clone().grind(6);
    let mut b = Builder::new();
    let mut transcript = Transcript::new(&mut b);
    let seven = b.base(Val::from_u32(7));
    transcript.observe_base(&mut b, seven);
    let cell = b.input();
    transcript.check_witness(&mut b, 6, cell);
    let circuit = b.build();
    for delta in 0..50 {
        let tried = witness + Val::from_u32(delta);
        assert_eq!(circuit.execute(&[tried.into()]).is_ok(), native.clone().check_witness(6, tried), "{delta}");
    }
    let mut not_of_the_base_field = Challenge::from(witness);
    not_of_the_base_field += zisk_recursion::gadgets::symbol::basis_root();
    circuit.execute(&[not_of_the_base_field]).map(drop).expect_err("a witness of the extension field");
}

#[test]
fn paths_are_those_of_the_commitment() {
    let config = Config::new(WEAK);
    for seed in 0..if all() { 100 } else { 10 } {
        let mut random = Random(seed);
        let shapes: Vec<(usize, usize)> =
            (0..1 + random.below(5)).map(|i| (if i == 0 { 5 } else { 1 + random.below(5) }, 1 + random.below(21))).collect();
        let matrices = shapes
            .iter()
            .map(|&(height, width)| RowMajorMatrix::new((0..width << height).map(|_| random.val()).collect(), width))
            .collect();
        let (commitment, data) = config.mmcs.commit(matrices);
        let index = random.below(32);
        let opening = config.mmcs.open_batch(index, &data);

        let mut b = Builder::new();
        let mut values = commitment_values(&commitment).expect("one root").to_vec();
        let root = b.inputs();
        let number = b.input();
        values.push(Challenge::from_usize(index));
        let mut rows = Vec::new();
        for height in (1..=5).rev() {
            let of_height = || (0..shapes.len()).filter(|&i| shapes[i].0 == height);
            if of_height().next().is_some() {
                rows.push((height, Stream::inputs(&mut b, of_height().map(|i| shapes[i].1).sum())));
                let row: Vec<Val> = of_height().flat_map(|i| opening.opened_values[i].clone()).collect();
                values.extend(stream_values(&row));
            }
        }
        let path: Vec<_> = (0..5).map(|_| b.inputs()).collect();
        values.extend(opening.opening_proof.iter().flat_map(digest_values));
        let bits = b.bits(number);
        check_path(&mut b, root, &rows, &bits[..5], &path);
        let circuit = b.build();
        circuit.execute(&values).map(drop).expect("an honest opening");
        // Each coefficient of each value matters: root, index, rows, path.
        for i in 0..values.len() {
            for k in 0..if i == 2 { 1 } else { 4 } {
                let mut forged = values.clone();
                forged[i] += zisk_recursion::gadgets::symbol::basis_root().exp_u64(k);
                circuit.execute(&forged).map(drop).expect_err("another value");
            }
        }
    }
}

/// A circuit that verifies proofs of another one and passes its public values on.
fn verifying(key: &ProvingKey) -> (InnerShape, Circuit) {
    let shape = InnerShape::from(&key.verifying);
    let mut b = Builder::new();
    let inner = shape.verify(&mut b);
    let commitment = commitment_values(&key.verifying.commitment).expect("one root");
    for (cell, value) in inner.key.into_iter().zip(commitment) {
        let constant = b.constant(value);
        b.connect(cell, constant);
    }
    inner.publics.into_iter().for_each(|cell| b.public(cell));
    (shape, b.build())
}

/// Whether the circuit accepts.
fn accepts(key: &ProvingKey, shape: &InnerShape, circuit: &Circuit, publics: &[Challenge], proof: &CircuitProof) -> bool {
    let Ok(values) = shape.values(&key.verifying, publics, proof) else { return false };
    match circuit.execute(&values) {
        Ok(memory) => {
            assert_eq!(memory.publics(circuit), publics);
            true
        }
        Err(_) => false,
    }
}

#[test]
fn proofs_are_accepted_and_forgeries_refused_as_by_the_verifier() {
    let parameters = [
        WEAK,
        Parameters { log_blowup: 2, queries: 3, max_log_arity: 1, ..WEAK },
        Parameters { log_blowup: 1, queries: 3, max_log_arity: 2, query_grinding_bits: 5, ..WEAK },
    ];
    for (n, parameters) in parameters.into_iter().enumerate() {
        let mut random = Random(n as u64);
        let key = ProvingKey::new(every_operation(), parameters);
        let (shape, circuit) = verifying(&key);
        let (publics, proof) = key.prove(&inputs(&mut random, &key.circuit)).expect("the circuit holds");
        key.verifying.verify(&publics, &proof).expect("an honest proof");
        assert!(accepts(&key, &shape, &circuit, &publics, &proof), "{parameters:?}");
        let mut refused = 0;
        for (what, publics, forged) in forgeries(&mut random, &publics, &proof) {
            let native = key.verifying.verify(&publics, &forged).is_ok();
            assert_eq!(accepts(&key, &shape, &circuit, &publics, &forged), native, "{what}, {parameters:?}");
            refused += usize::from(!native);
        }
        assert!(refused >= 25, "only {refused} forgeries were refused");
    }
}

/// A proof with each kind of field changed in turn, at a random place.
fn forgeries(
    random: &mut Random,
    publics: &[Challenge],
    proof: &CircuitProof,
) -> Vec<(&'static str, Vec<Challenge>, CircuitProof)> {
    let mut forgeries = Vec::new();
    let one = Challenge::ONE;
    let mut forge = |what, change: &mut dyn FnMut(&mut Vec<Challenge>, &mut CircuitProof)| {
        let (mut publics, mut proof) = (publics.to_vec(), proof.clone());
        change(&mut publics, &mut proof);
        forgeries.push((what, publics, proof));
    };
    type Root = zisk_prover::stark::config::Commitment;
    let other = |commitment: &mut Root| {
        let mut root = commitment.roots()[0];
        root[3] += Val::ONE;
        *commitment = Root::new(vec![root]);
    };
    forge("public value", &mut |publics, _| publics[0] += one);
    forge("stage 1", &mut |_, proof| other(&mut proof.stage1));
    forge("LogUp commitment", &mut |_, proof| other(&mut proof.stark.permutation));
    forge("quotient commitment", &mut |_, proof| other(&mut proof.stark.quotient));
    forge("LogUp witness", &mut |_, proof| proof.stark.logup_witness += Val::ONE);
    for table in 0..proof.stark.tables.len() {
        let mut at = |values: &mut Vec<Challenge>| {
            let i = random.below(values.len());
            values[i] += one;
        };
        forge("local sum", &mut |_, proof| proof.stark.tables[table].local_sum += one);
        forge("global sum", &mut |_, proof| proof.stark.tables[table].global_sum += one);
        forge("preprocessed", &mut |_, proof| at(&mut proof.stark.tables[table].preprocessed));
        forge("main", &mut |_, proof| at(&mut proof.stark.tables[table].main));
        forge("LogUp", &mut |_, proof| at(&mut proof.stark.tables[table].permutation));
        forge("LogUp at the next row", &mut |_, proof| at(&mut proof.stark.tables[table].permutation_next));
        forge("quotient", &mut |_, proof| at(&mut proof.stark.tables[table].quotient[table % 2]));
    }
    forge("two sums", &mut |_, proof| {
        proof.stark.tables[0].local_sum += one;
        proof.stark.tables[1].local_sum -= one;
    });
    forge("a table less", &mut |_, proof| drop(proof.stark.tables.pop()));
    forge("a column less", &mut |_, proof| proof.stark.tables[0].main.truncate(3));
    for round in 0..proof.stark.opening.commit_phase_commits.len() {
        forge("round commitment", &mut |_, proof| other(&mut proof.stark.opening.commit_phase_commits[round]));
    }
    forge("last polynomial", &mut |_, proof| proof.stark.opening.final_poly[0] += one);
    forge("longer last polynomial", &mut |_, proof| proof.stark.opening.final_poly.push(Challenge::ZERO));
    forge("query witness", &mut |_, proof| proof.stark.opening.query_pow_witness += Val::ONE);
    forge("a query less", &mut |_, proof| drop(proof.stark.opening.query_proofs.pop()));
    forge("a round less", &mut |_, proof| drop(proof.stark.opening.commit_phase_commits.pop()));
    for query in 0..proof.stark.opening.query_proofs.len() {
        let opening = &proof.stark.opening.query_proofs[query];
        for batch in 0..opening.input_proof.len() {
            let matrix = random.below(opening.input_proof[batch].opened_values.len());
            let column = random.below(opening.input_proof[batch].opened_values[matrix].len());
            let level = random.below(opening.input_proof[batch].opening_proof.len());
            forge("opened value", &mut |_, proof| {
                proof.stark.opening.query_proofs[query].input_proof[batch].opened_values[matrix][column] += Val::ONE;
            });
            forge("path", &mut |_, proof| {
                proof.stark.opening.query_proofs[query].input_proof[batch].opening_proof[level][5] += Val::ONE;
            });
            forge("shorter path", &mut |_, proof| {
                proof.stark.opening.query_proofs[query].input_proof[batch].opening_proof.truncate(1);
            });
        }
        for round in 0..opening.commit_phase_openings.len() {
            let sibling = random.below(opening.commit_phase_openings[round].sibling_values.len());
            forge("sibling", &mut |_, proof| {
                proof.stark.opening.query_proofs[query].commit_phase_openings[round].sibling_values[sibling] += one;
            });
            forge("arity", &mut |_, proof| {
                proof.stark.opening.query_proofs[query].commit_phase_openings[round].log_arity += 1;
            });
            if !opening.commit_phase_openings[round].opening_proof.is_empty() {
                forge("path of a round", &mut |_, proof| {
                    proof.stark.opening.query_proofs[query].commit_phase_openings[round].opening_proof[0][0] += Val::ONE;
                });
            }
        }
    }
    forge("queries in another order", &mut |_, proof| proof.stark.opening.query_proofs.swap(0, 1));
    forge("nothing", &mut |_, _| ());
    forgeries
}

#[test]
fn a_proof_of_a_proof() {
    let mut random = Random(9);
    let key = ProvingKey::new(every_operation(), WEAK);
    let (shape, circuit) = verifying(&key);
    let outer = ProvingKey::new(circuit, WEAK);
    let (publics, proof) = key.prove(&inputs(&mut random, &key.circuit)).expect("the circuit holds");
    let values = shape.values(&key.verifying, &publics, &proof).expect("the circuit's shape");
    let (outer_publics, outer_proof) = outer.prove(&values).expect("an honest proof");
    assert_eq!(outer_publics, publics);
    outer.verifying.verify(&publics, &outer_proof).expect("a proof of a proof");
}
