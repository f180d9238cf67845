//! A whole job in one process: execute, contribute, challenge, prove, fold, verify.

use std::ops::ControlFlow;

use zisk_protocol::global_challenge;
use zisk_prover::backend::{ExecuteOptions, built_in};

const SHA_HASHER: &[u8] = include_bytes!("../../guests/elf/sha-hasher.elf");

#[test]
fn sha_hasher_in_several_segments() {
    let backend = built_in();
    let setup = backend.setup(SHA_HASHER).expect("setup");
    let program = backend.load(&setup.proving_key).expect("load");
    let input = 4u64.to_le_bytes();
    let options = ExecuteOptions { log_segment_steps: Some(13), max_steps: u64::MAX };
    let mut segments = Vec::new();
    let execution = program
        .execute(&input, &options, &mut |_, segment| {
            segments.push(segment);
            ControlFlow::Continue(())
        })
        .expect("execute");
    println!("{} steps, {} segments", execution.steps, execution.segments);
    let held: Vec<_> = segments.iter().map(|s| program.contribute(s).expect("contribute")).collect();
    let contributions: Vec<_> = held.iter().map(|(c, _)| c.clone()).collect();
    let challenge = global_challenge(&setup.verifying_key_digest, &contributions, &execution.public).expect("challenge");
    let nodes: Vec<_> = held.into_iter().map(|(_, held)| held.prove(&challenge).expect("prove")).collect();
    for (contribution, node) in contributions.iter().zip(&nodes) {
        backend.check_segment_proof(&setup.verifying_key, contribution, &challenge, node).expect("segment proof");
    }
    let root = nodes.into_iter().reduce(|left, right| backend.fold(&setup.verifying_key, &left, &right).expect("fold"));
    let root = root.expect("at least one segment");
    let proof = backend.finish(&setup.verifying_key, &root, &execution.public).expect("finish");
    assert_eq!(backend.verify(&setup.verifying_key, &proof).expect("verify"), execution.public);
}
