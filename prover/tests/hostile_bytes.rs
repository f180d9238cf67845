//! Bytes from a stranger: proofs, keys, segments, contributions and programs that are damaged or made up give an error, never a panic,
//! and never much memory. `fuzz/` does the same with coverage, at length.

mod jobs;

use std::ops::ControlFlow;
use std::sync::{Arc, LazyLock};

use proptest::prelude::*;
use zisk_machine::program::Program;
use zisk_protocol::{PublicValues, check_contribution, global_challenge};
use zisk_prover::backend::{Backend, ExecuteOptions, LoadedProgram, ProofKind, Setup};
use zisk_recursion::builtin::built_in;

/// A small job with the parameters that are used in earnest.
struct Honest {
    backend: Arc<dyn Backend>,
    setup: Setup,
    program: Arc<dyn LoadedProgram>,
    segments: Vec<Vec<u8>>,
    contribution: Vec<u8>,
    public: PublicValues,
    /// Of each kind.
    proofs: [Vec<u8>; 2],
}

/// The small job, cut in segments of a size.
struct Made {
    segments: Vec<Vec<u8>>,
    contributions: Vec<Vec<u8>>,
    public: PublicValues,
    proof: Vec<u8>,
}

fn job(backend: &dyn Backend, setup: &Setup, program: &dyn LoadedProgram, log_steps: u32, kind: ProofKind) -> Made {
    let options = ExecuteOptions { log_segment_steps: Some(log_steps), max_steps: jobs::MAX_STEPS };
    let mut segments = Vec::new();
    let execution = program
        .execute(&[], &options, &mut |_, segment| {
            segments.push(segment);
            ControlFlow::Continue(())
        })
        .expect("execute");
    let held: Vec<_> = segments.iter().map(|s| program.contribute(s).expect("contribute")).collect();
    let contributions: Vec<_> = held.iter().map(|(c, _)| c.clone()).collect();
    let challenge = global_challenge(&setup.verifying_key_digest, &contributions, &execution.public).expect("challenge");
    let nodes = held.into_iter().map(|(_, held)| held.prove(&challenge, kind).expect("prove"));
    let root = nodes.reduce(|left, right| backend.fold(&setup.verifying_key, &left, &right).expect("fold"));
    let proof = backend.finish(&setup.verifying_key, &root.expect("a segment"), &execution.public).expect("finish");
    Made { segments, contributions, public: execution.public, proof }
}

static HONEST: LazyLock<Honest> = LazyLock::new(|| {
    let backend = built_in();
    let setup = backend.setup(&jobs::elf("exit-one")).expect("setup");
    let program = backend.load(&setup.proving_key).expect("load");
    let executable = jobs::executable("exit-one");
    let steps = jobs::steps(&executable, &[]).expect("the guest exits");
    let job = |log_steps, kind| job(backend.as_ref(), &setup, program.as_ref(), log_steps, kind);
    let Made { segments, contributions, public, proof: bundle } = job(jobs::log_steps(steps, 2), ProofKind::Bundle);
    // One segment, with its ledger.
    let recursive = job(12, ProofKind::Recursive).proof;
    let contribution = contributions[0].clone();
    Honest { backend, setup, program, segments, contribution, public, proofs: [recursive, bundle] }
});

/// What may happen to bytes on their way.
#[derive(Clone, Debug)]
enum Damage {
    Flip(prop::sample::Index, u8),
    Cut(prop::sample::Index),
    Insert(prop::sample::Index, Vec<u8>),
    Remove(prop::sample::Index, u8),
    Repeat(prop::sample::Index, u8),
}

impl Damage {
    fn apply(&self, bytes: &mut Vec<u8>) {
        if bytes.is_empty() {
            return;
        }
        let length = bytes.len();
        match self {
            Self::Flip(at, bits) => bytes[at.index(length)] ^= bits,
            Self::Cut(at) => bytes.truncate(at.index(length)),
            Self::Insert(at, new) => drop(bytes.splice(at.index(length)..at.index(length), new.iter().copied())),
            Self::Remove(at, count) => {
                let at = at.index(length);
                bytes.drain(at..(at + usize::from(*count)).min(length));
            }
            Self::Repeat(at, count) => {
                let at = at.index(length);
                bytes.extend_from_within(at..(at + usize::from(*count)).min(length));
            }
        }
    }
}

fn damage() -> impl Strategy<Value = Vec<Damage>> {
    let at = any::<prop::sample::Index>;
    let one = prop_oneof![
        4 => (at(), 1..=255u8).prop_map(|(at, bits)| Damage::Flip(at, bits)),
        1 => at().prop_map(Damage::Cut),
        // Lengths and counts are varints: many bits make a large one.
        1 => (at(), prop::collection::vec(prop_oneof![Just(0xff), Just(0x7f), any::<u8>()], 1..12))
            .prop_map(|(at, new)| Damage::Insert(at, new)),
        1 => (at(), 1..=255u8).prop_map(|(at, count)| Damage::Remove(at, count)),
        1 => (at(), 1..=255u8).prop_map(|(at, count)| Damage::Repeat(at, count)),
    ];
    prop::collection::vec(one, 1..4)
}

fn damaged(honest: &[u8], damage: &[Damage]) -> Vec<u8> {
    let mut bytes = honest.to_vec();
    damage.iter().for_each(|d| d.apply(&mut bytes));
    bytes
}

/// Heads of messages hold lengths and sizes; damage falls there as often as on the long rest.
fn damaged_head(honest: &[u8], head: usize, damage: &[Damage]) -> Vec<u8> {
    let (head, rest) = honest.split_at(head.min(honest.len()));
    [&damaged(head, damage)[..], rest].concat()
}

#[test]
fn the_honest_proof_is_accepted() {
    let h = &*HONEST;
    for proof in &h.proofs {
        assert_eq!(h.backend.verify(&h.setup.verifying_key, proof).expect("an honest proof"), h.public);
    }
}

/// Each byte of the head, and some of the rest, with each of a few bits changed.
#[test]
fn every_byte_of_a_proof_counts() {
    let h = &*HONEST;
    for honest in &h.proofs {
        let step = (honest.len() / 30).max(1);
        let places = (0..honest.len().min(500)).step_by(31).chain((0..honest.len()).step_by(step)).chain([honest.len() - 1]);
        for place in places {
            let mut proof = honest.clone();
            proof[place] ^= 1 << (place % 7);
            assert!(h.backend.verify(&h.setup.verifying_key, &proof).is_err(), "byte {place} of {}", proof.len());
        }
    }
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 60, failure_persistence: None, ..ProptestConfig::default() })]

    #[test]
    fn damaged_proofs(damage in damage(), head in any::<bool>(), kind in 0..2usize) {
        let h = &*HONEST;
        let honest = &h.proofs[kind];
        let bytes = if head { damaged_head(honest, 600, &damage) } else { damaged(honest, &damage) };
        prop_assume!(bytes != *honest);
        prop_assert!(h.backend.verify(&h.setup.verifying_key, &bytes).is_err());
    }

    #[test]
    fn damaged_verifying_keys(damage in damage()) {
        let h = &*HONEST;
        let bytes = damaged(&h.setup.verifying_key, &damage);
        prop_assume!(bytes != h.setup.verifying_key);
        prop_assert!(h.backend.verify(&bytes, &h.proofs[0]).is_err());
    }

    #[test]
    fn damaged_segments(damage in damage(), which in any::<prop::sample::Index>(), head in any::<bool>()) {
        let h = &*HONEST;
        let honest = &h.segments[which.index(h.segments.len())];
        let bytes = if head { damaged_head(honest, 40, &damage) } else { damaged(honest, &damage) };
        // A segment that still makes sense gives a contribution, of which no proof is accepted: `forgeries`.
        let _outcome = h.program.contribute(&bytes);
    }

    #[test]
    fn damaged_programs(damage in damage(), head in any::<bool>()) {
        static ELF: LazyLock<Vec<u8>> = LazyLock::new(|| jobs::elf("exit-one"));
        let bytes = if head { damaged_head(&ELF, 400, &damage) } else { damaged(&ELF, &damage) };
        let _outcome = Program::from_elf(&bytes);
    }
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 2000, failure_persistence: None, ..ProptestConfig::default() })]

    #[test]
    fn damaged_contributions(damage in damage(), index in 0..3u32) {
        let bytes = damaged(&HONEST.contribution, &damage);
        let _outcome = check_contribution(index, &bytes);
    }

    #[test]
    fn noise(bytes in prop::collection::vec(any::<u8>(), 0..300)) {
        let h = &*HONEST;
        prop_assert!(h.backend.verify(&h.setup.verifying_key, &bytes).is_err());
        prop_assert!(h.backend.verify(&bytes, &h.proofs[0]).is_err());
        prop_assert!(h.backend.load(&bytes).is_err());
        prop_assert!(h.program.contribute(&bytes).is_err());
        prop_assert!(h.backend.setup(&bytes).is_err());
        let _outcome = check_contribution(0, &bytes);
    }
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 8, failure_persistence: None, ..ProptestConfig::default() })]

    #[test]
    fn damaged_proving_keys(damage in damage(), head in any::<bool>()) {
        let h = &*HONEST;
        let honest = &h.setup.proving_key;
        let bytes = if head { damaged_head(honest, 60, &damage) } else { damaged(honest, &damage) };
        let _outcome = h.backend.load(&bytes);
    }
}

/// A proving key whose parameters would overflow or exhaust the prover.
#[test]
fn keys_with_senseless_parameters() {
    let h = &*HONEST;
    // format (length and text), log_blowup, queries, query_grinding_bits, logup_grinding_bits, max_log_arity
    let at = 1 + h.backend.version().len();
    assert_eq!(h.setup.proving_key[at..at + 5], h.setup.verifying_key[at..at + 5]);
    for (place, value) in
        [(0, 0), (0, 5), (0, 200), (1, 0), (1, 1), (2, 0), (2, 100), (2, 255), (3, 0), (3, 31), (3, 255), (4, 0), (4, 200)]
    {
        for (key, load) in [(&h.setup.proving_key, true), (&h.setup.verifying_key, false)] {
            let mut key = key.clone();
            if place == 1 {
                // A varint of one byte for up to 127.
                assert_eq!(key[at + 1], 100);
            }
            let value: &[u8] = if value < 128 || place != 1 { &[value] } else { &[0xff, 0xff, 3] };
            key.splice(at + place..=at + place, value.iter().copied());
            let refused = if load { h.backend.load(&key).is_err() } else { h.backend.verify(&key, &h.proofs[0]).is_err() };
            assert!(refused, "parameter {place} = {value:?}");
        }
    }
}
