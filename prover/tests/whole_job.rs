//! A whole job in one process: execute, contribute, challenge, prove, fold, verify; with a proof of each kind.

use std::ops::ControlFlow;

use zisk_protocol::global_challenge;
use zisk_prover::backend::{BackendError, ExecuteOptions, ProofKind};
use zisk_recursion::builtin::built_in;

const SHA_HASHER: &[u8] = include_bytes!("../../guests/elf/sha-hasher.elf");

#[test]
fn this_machine_can_prove() {
    let began = std::time::Instant::now();
    built_in().self_test().expect("a whole job in miniature");
    println!("self-test: {:?}", began.elapsed());
}

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
    let contributions: Vec<_> = segments.iter().map(|s| program.contribute(s).expect("contribute").0).collect();
    let challenge = global_challenge(&setup.verifying_key_digest, &contributions, &execution.public).expect("challenge");
    let kinds = [ProofKind::Recursive, ProofKind::Bundle];
    let nodes = kinds.map(|kind| {
        let prove =
            |segment: &Vec<u8>| program.contribute(segment).expect("contribute").1.prove(&challenge, kind).expect("prove");
        segments.iter().map(prove).collect::<Vec<_>>()
    });
    for (i, kind) in kinds.into_iter().enumerate() {
        let check = |n: usize, kind, node: &[u8]| {
            backend.check_segment_proof(&setup.verifying_key, &contributions[n], &challenge, kind, node)
        };
        for (n, node) in nodes[i].iter().enumerate() {
            check(n, kind, node).expect("segment proof");
            // Of the other kind, of another segment.
            assert!(matches!(check(n, kinds[1 - i], node), Err(BackendError::Rejected(_))));
            assert!(matches!(check((n + 1) % segments.len(), kind, node), Err(BackendError::Rejected(_))));
        }
        let fold = |left: &[u8], right: &[u8]| backend.fold(&setup.verifying_key, left, right);
        assert!(matches!(fold(&nodes[i][0], &nodes[1 - i][1]), Err(BackendError::Rejected(_))), "two kinds");
        let root = nodes[i].iter().cloned().reduce(|left, right| fold(&left, &right).expect("neighbours"));
        let root = root.expect("at least one segment");
        let proof = backend.finish(&setup.verifying_key, &root, &execution.public).expect("finish");
        println!("{kind:?}: {} bytes", proof.len());
        assert_eq!((backend.kind(&root), backend.kind(&proof)), (kind, kind));
        assert_eq!(backend.verify(&setup.verifying_key, &proof).expect("verify"), execution.public);
    }
}
