//! The cost of a lift and of a join: operations and heights by table, CPU-seconds, peak memory, proof size. One JSON object for each.
//!
//! `cargo bench -p zisk-recursion --bench tree -- [log2 steps[:log2 blow-up of the tree's proofs]...]`; queries are chosen for the default's security.

#[path = "../../benches/usage/mod.rs"]
mod usage;

use std::ops::ControlFlow;
use std::time::Instant;

use zisk_machine::executor::Executor;
use zisk_machine::program::Program;
use zisk_machine::replay::replay;
use zisk_protocol::{Contribution, GlobalChallenge};
use zisk_prover::keys;
use zisk_prover::segment::contribute;
use zisk_prover::stark::config::{Challenge, Parameters};
use zisk_prover::stark::prove::StarkProof;
use zisk_recursion::circuit::Circuit;
use zisk_recursion::gadgets::segment::SegmentShape;
use zisk_recursion::gadgets::tree::{Child, TreeKeys, TreeShape};
use zisk_recursion::machine::MachineTable;
use zisk_recursion::prove::{CircuitProof, ProvingKey};

use usage::usage;

const SHA_HASHER: &[u8] = include_bytes!("../../../guests/elf/sha-hasher.elf");
/// Steps of one hash, roughly: what fills segments.
const STEPS_PER_HASH: u64 = 3_400;
const CHALLENGE: GlobalChallenge = GlobalChallenge([7; 32]);

/// What `body` returns, wall and CPU-seconds it took.
fn timed<T>(body: impl FnOnce() -> T) -> (T, f64, f64) {
    let (cpu, start) = (usage().0, Instant::now());
    let result = body();
    (result, start.elapsed().as_secs_f64(), usage().0 - cpu)
}

/// The first two segments of a job, which are full.
fn segments(log_steps: u32) -> (keys::ProvingKey, Vec<(Contribution, StarkProof)>) {
    let key = keys::ProvingKey::new(Program::from_elf(SHA_HASHER).expect("a guest"), Parameters::default()).expect("a key");
    let hashes = (5u64 << log_steps) / 2 / STEPS_PER_HASH;
    let mut segments = Vec::new();
    Executor::new(&key.executable)
        .execute_segments(&hashes.to_le_bytes(), log_steps, |segment| {
            segments.push(segment);
            ControlFlow::Continue(())
        })
        .expect("the guest exits");
    let prove = |segment| {
        let trace = replay(&key.executable, segment, log_steps).expect("honest");
        let committed = contribute(&key, segment, &trace).expect("filled");
        let proof = committed.prove(&key, &CHALLENGE).expect("proven");
        (committed.contribution, proof)
    };
    let proven = segments[..2].iter().map(prove).collect();
    (key, proven)
}

/// Proves a circuit for inputs, and says what that took.
fn measure(what: &str, key: &ProvingKey, operations: &[usize], inputs: &[Challenge]) -> (Vec<Challenge>, CircuitProof) {
    let (memory, execute, _) = timed(|| key.circuit.execute(inputs).expect("honest"));
    let (traces, fill, _) = timed(|| key.circuit.traces(&memory));
    let publics = memory.publics(&key.circuit);
    let (proof, wall, cpu) = timed(|| key.prove_traces(&publics, traces).expect("proven"));
    let (verdict, verify, _) = timed(|| key.verifying.verify(&publics, &proof));
    verdict.expect("a proof");
    println!(
        "{{\"what\": \"{what}\", \"operations\": {operations:?}, \"log_heights\": {:?}, \"inputs\": {}, \"execute_s\": {execute:.3}, \
         \"fill_s\": {fill:.3}, \"prove_wall_s\": {wall:.2}, \"prove_cpu_s\": {cpu:.2}, \"verify_ms\": {:.1}, \"proof_bytes\": {}, \
         \"peak_rss_gib\": {:.2}}}",
        key.verifying.log_heights,
        inputs.len(),
        verify * 1000.0,
        postcard::to_stdvec(&proof).expect("serialises").len(),
        usage().1,
    );
    (publics, proof)
}

fn tree(log_steps: u32, log_blowup: u8) {
    let (key, segments) = segments(log_steps);
    let shapes: Vec<SegmentShape> = segments
        .iter()
        .map(|(contribution, _)| SegmentShape::new(Parameters::default(), contribution.log_heights).expect("a shape"))
        .collect();
    let default = Parameters::default();
    let queries = default.queries * u16::from(default.log_blowup) / u16::from(log_blowup);
    let parameters = Parameters { log_blowup, queries, ..default };
    let (shape, fit, _) = timed(|| TreeShape::fitting(parameters, &shapes));
    let operations = |circuit: &Circuit| MachineTable::ALL.map(|table| circuit.operations(table));
    let (circuit, build, _) = timed(|| shape.join());
    let join_operations = operations(&circuit);
    let (join, setup, _) = timed(|| ProvingKey::new(circuit, parameters));
    let lifts: Vec<ProvingKey> = shapes.iter().map(|segment| ProvingKey::new(shape.lift(segment), parameters)).collect();
    println!(
        "{{\"log_steps\": {log_steps}, \"log_blowup\": {log_blowup}, \"queries\": {queries}, \"tables\": {:?}, \
         \"segment_heights\": {:?}, \"fit_s\": {fit:.2}, \"build_s\": {build:.2}, \"setup_s\": {setup:.2}}}",
        MachineTable::ALL,
        segments.iter().map(|(contribution, _)| contribution.log_heights).collect::<Vec<_>>(),
    );
    let all: Vec<_> = [&join].into_iter().chain(&lifts).map(|key| &key.verifying).collect();
    let tree_keys = TreeKeys::new(&all).expect("not too many");
    let lifted: Vec<_> = (segments.iter().zip(&shapes).zip(&lifts))
        .map(|(((contribution, proof), segment), lift)| {
            let mut inputs = tree_keys.root().to_vec();
            inputs.extend(segment.values(&key.verifying, &CHALLENGE, contribution, proof).expect("the circuit's shape"));
            measure("lift", lift, &operations(&lift.circuit), &inputs)
        })
        .collect();
    let child = |i: usize| Child { key: &lifts[i].verifying, publics: &lifted[i].0, proof: &lifted[i].1 };
    let inputs = shape.join_values(&tree_keys, [child(0), child(1)]).expect("the circuit's shape");
    measure("join", &join, &join_operations, &inputs);
}

fn main() {
    // `cargo bench` adds flags of its own.
    for arg in std::env::args().skip(1).filter(|a| !a.starts_with('-')) {
        let (log_steps, log_blowup) = arg.split_once(':').unwrap_or((&arg, "1"));
        tree(log_steps.parse().expect("log2 of steps"), log_blowup.parse().expect("log2 of the blow-up"));
    }
}
