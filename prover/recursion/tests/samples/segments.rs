//! Segments of a real guest, proven.

use std::ops::ControlFlow;

use p3_field::PrimeCharacteristicRing;
use zisk_machine::executor::Executor;
use zisk_machine::program::Program;
use zisk_machine::replay::replay;
use zisk_machine::segment::Segment;
use zisk_protocol::{Contribution, GlobalChallenge, PublicValues, leaf};
use zisk_prover::keys::ProvingKey;
use zisk_prover::segment::{Committed, Verifier, contribute};
use zisk_prover::stark::config::{Challenge, Val};
use zisk_prover::stark::prove::StarkProof;
use zisk_prover::tables::any::AnyTable;
use zisk_recursion::gadgets::hash::digest_values;
use zisk_recursion::gadgets::node::NodeCells;

use super::WEAK;

pub const SHA_HASHER: &[u8] = include_bytes!("../../../../guests/elf/sha-hasher.elf");
pub const LOG_STEPS: u32 = 12;
/// Any challenge will do: whether it belongs to the job is not a segment's concern.
pub const CHALLENGE: GlobalChallenge = GlobalChallenge([7; 32]);

/// A segment with its proof and its sum on the job's buses.
pub struct Proven {
    pub contribution: Contribution,
    pub proof: StarkProof,
    pub sum: Challenge,
}

/// A job's program, its commitments and what it makes public.
pub struct Job {
    pub key: ProvingKey,
    pub committed: Vec<Committed>,
    pub public: PublicValues,
}

/// A program's key, with few queries.
pub fn key(elf: &[u8]) -> ProvingKey {
    ProvingKey::new(Program::from_elf(elf).expect("a guest"), WEAK).expect("a key")
}

/// All segments of a job, committed.
pub fn committed(elf: &[u8], input: &[u8], log_steps: u32) -> Job {
    let key = key(elf);
    let mut segments = Vec::new();
    let done = Executor::new(&key.executable)
        .execute_segments(input, log_steps, |segment| {
            segments.push(segment);
            ControlFlow::Continue(())
        })
        .expect("the guest exits");
    let commit = |segment: &Segment| {
        let trace = replay(&key.executable, segment, log_steps).expect("an honest segment");
        contribute(&key, segment, &trace).expect("filled")
    };
    let public = PublicValues { outputs: done.outputs.to_vec(), exit_code: done.exit_code };
    Job { committed: segments.iter().map(commit).collect(), key, public }
}

/// A segment proven for a challenge.
pub fn prove(key: &ProvingKey, committed: &Committed, challenge: &GlobalChallenge) -> Proven {
    let proof = committed.prove(key, challenge).expect("proven");
    let contribution = committed.contribution.clone();
    let sum = Verifier::new(&key.verifying).segment(&contribution, challenge, &proof).expect("honest");
    Proven { contribution, proof, sum }
}

/// All segments of a short job, proven for [`CHALLENGE`].
pub fn job() -> (ProvingKey, Vec<Proven>) {
    let Job { key, committed, .. } = committed(SHA_HASHER, &4u64.to_le_bytes(), LOG_STEPS);
    let proven = committed.iter().map(|committed| prove(&key, committed, &CHALLENGE)).collect();
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
    let program = u32::from(contribution.log_heights[AnyTable::Program as usize]);
    values.push(pack(&[contribution.index, contribution.index + 1, program])[0]);
    for state in [&contribution.start, &contribution.end] {
        values.push(pack(&[state.pc & 0xffff, state.pc >> 16, state.cursor, u32::from(state.image)])[0]);
    }
    assert_eq!(values.len(), NodeCells::PUBLICS);
    values
}
