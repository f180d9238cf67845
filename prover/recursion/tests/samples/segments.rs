//! Segments of a real guest, proven.

use std::ops::ControlFlow;
use std::sync::Arc;

use p3_field::PrimeCharacteristicRing;
use zisk_machine::executable::Executable;
use zisk_machine::executor::Executor;
use zisk_machine::program::Program;
use zisk_machine::replay::replay;
use zisk_machine::segment::Segment;
use zisk_protocol::{Contribution, GlobalChallenge, leaf};
use zisk_prover::keys::ProvingKey;
use zisk_prover::segment::{Verifier, contribute};
use zisk_prover::stark::config::{Challenge, Val};
use zisk_prover::stark::prove::StarkProof;
use zisk_recursion::gadgets::hash::digest_values;
use zisk_recursion::gadgets::node::NodeCells;

use super::WEAK;

const SHA_HASHER: &[u8] = include_bytes!("../../../../guests/elf/sha-hasher.elf");
const LOG_STEPS: u32 = 12;
/// Any challenge will do: whether it belongs to the job is not a segment's concern.
pub const CHALLENGE: GlobalChallenge = GlobalChallenge([7; 32]);

/// A segment with its proof and its sum on the job's buses.
pub struct Proven {
    pub contribution: Contribution,
    pub proof: StarkProof,
    pub sum: Challenge,
}

/// All segments of a short job.
pub fn job() -> (ProvingKey, Vec<Proven>) {
    let program = || Program::from_elf(SHA_HASHER).expect("a guest");
    let key = ProvingKey::new(program(), WEAK).expect("a key");
    let executable = Executable::new(Arc::new(program())).expect("well-formed");
    let mut segments = Vec::new();
    Executor::new(&executable)
        .execute_segments(&4u64.to_le_bytes(), LOG_STEPS, |segment| {
            segments.push(segment);
            ControlFlow::Continue(())
        })
        .expect("the guest exits");
    let prove = |segment: &Segment| {
        let trace = replay(&key.executable, segment, LOG_STEPS).expect("an honest segment");
        let committed = contribute(&key, segment, &trace).expect("filled");
        let proof = committed.prove(&key, &CHALLENGE).expect("proven");
        let contribution = committed.contribution.clone();
        let sum = Verifier::new(&key.verifying).segment(&contribution, &CHALLENGE, &proof).expect("honest");
        Proven { contribution, proof, sum }
    };
    let proven = segments.iter().map(prove).collect();
    (key, proven)
}

/// The public values of a node of one segment.
pub fn node(key: &ProvingKey, Proven { contribution, sum, .. }: &Proven) -> Vec<Challenge> {
    let pack = |numbers: &[u32]| digest_values(&std::array::from_fn(|i| Val::from_u32(*numbers.get(i).unwrap_or(&0))));
    let halves = |bytes: &[u8; 32]| -> Vec<u32> {
        bytes.chunks_exact(2).map(|pair| u32::from(u16::from_le_bytes([pair[0], pair[1]]))).collect()
    };
    let mut values = Vec::new();
    for bytes in [&key.digest, &CHALLENGE.0] {
        halves(bytes).chunks_exact(8).for_each(|numbers| values.extend(pack(numbers)));
    }
    for commitment in [&key.verifying.fixed.commitment, &key.verifying.image.commitment] {
        values.extend(digest_values(&commitment.roots()[0]));
    }
    values.extend(digest_values(&leaf(contribution)));
    values.push(*sum);
    values.push(pack(&[contribution.index, contribution.index + 1])[0]);
    for state in [&contribution.start, &contribution.end] {
        values.push(pack(&[state.pc & 0xffff, state.pc >> 16, state.cursor, u32::from(state.image)])[0]);
    }
    assert_eq!(values.len(), NodeCells::PUBLICS);
    values
}
