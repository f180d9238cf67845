//! The cost of aggregation: jobs of a number of segments, each segment lifted, all joined, the proof verified. One JSON object a job.
//!
//! `cargo bench -p zisk-recursion --bench tree -- [log2 steps:number of segments...]`

#[path = "../../benches/usage/mod.rs"]
mod usage;

use std::ops::ControlFlow;
use std::time::Instant;

use zisk_machine::executor::Executor;
use zisk_machine::program::Program;
use zisk_machine::replay::replay;
use zisk_machine::segment::Segment;
use zisk_protocol::{AllContributions, PublicValues, SealedChallenge, fold_order};
use zisk_prover::keys::ProvingKey;
use zisk_prover::segment::contribute;
use zisk_recursion::final_proof::FinalProof;
use zisk_recursion::release;
use zisk_recursion::tree::Node;

use usage::usage;

const SHA_HASHER: &[u8] = include_bytes!("../../../guests/elf/sha-hasher.elf");
/// Steps of one hash, roughly: what fills segments.
const STEPS_PER_HASH: u64 = 3_676;

/// Wall and CPU-seconds of what is done repeatedly.
#[derive(Default)]
struct Times {
    count: u32,
    wall: f64,
    cpu: f64,
}

impl Times {
    fn of<T>(&mut self, body: impl FnOnce() -> T) -> T {
        let (cpu, start) = (usage().0, Instant::now());
        let result = body();
        self.count += 1;
        self.wall += start.elapsed().as_secs_f64();
        self.cpu += usage().0 - cpu;
        result
    }

    fn each(&self, seconds: f64) -> f64 {
        seconds / f64::from(self.count.max(1))
    }
}

fn measure(log_steps: u32, count: u32) {
    let tree = release::tree().expect("keys.txt is whole");
    let key = ProvingKey::new(Program::from_elf(SHA_HASHER).expect("a guest"), release::segment_parameters()).expect("a key");
    // The last segment is half full.
    let hashes = ((2 * u64::from(count) - 1) << log_steps) / 2 / STEPS_PER_HASH;
    let mut segments = Vec::new();
    let done = Executor::new(&key.executable)
        .execute_segments(&hashes.to_le_bytes(), log_steps, |segment| {
            segments.push(segment);
            ControlFlow::Continue(())
        })
        .expect("the guest exits");
    assert_eq!(segments.len() as u32, count);
    let public = PublicValues { outputs: done.outputs.to_vec(), exit_code: done.exit_code };
    let [mut contributing, mut proving, mut lifting, mut joining, mut finishing, mut verifying] =
        std::array::from_fn(|_| Times::default());
    let commit = |segment: &Segment| {
        let trace = replay(&key.executable, segment, log_steps).expect("honest");
        contribute(&key, segment, &trace).expect("filled")
    };
    let contributions: Vec<_> = segments.iter().map(|segment| contributing.of(|| commit(segment)).contribution).collect();
    let sealed = SealedChallenge::derive(&key.digest, AllContributions::new(&contributions), &public).expect("a challenge");
    let mut building = Times::default();
    let mut nodes: Vec<Option<Node>> = segments
        .iter()
        .map(|segment| {
            let committed = commit(segment);
            let proof = proving.of(|| committed.prove(&key, &sealed.challenge).expect("proven"));
            let kind = zisk_recursion::tree::Kind::Lift(committed.contribution.log_heights);
            building.of(|| tree.proving_key(tree.circuit(kind).expect("a shape")).map(drop).expect("built"));
            let lift = || tree.lift(&key.verifying, &sealed.challenge, &committed.contribution, &proof).expect("honest");
            Some(lifting.of(lift))
        })
        .collect();
    for join in 0..4 {
        building.of(|| tree.proving_key(join).map(drop).expect("built"));
    }
    for (first, middle, _) in fold_order(count) {
        let right = nodes[middle as usize].take().expect("folded before");
        let left = nodes[first as usize].take().expect("folded before");
        nodes[first as usize] = Some(joining.of(|| tree.join(&left, &right).expect("neighbours")));
    }
    let root = nodes[0].take().expect("a segment");
    let proof = finishing.of(|| FinalProof::new(tree, &key.verifying, root, &public).expect("honest"));
    (0..5).for_each(|_| verifying.of(|| proof.verify(tree, &key.verifying).expect("honest")));
    let segment_cpu = contributing.each(contributing.cpu) + proving.each(proving.cpu);
    println!(
        "{{\"log_steps\": {log_steps}, \"segments\": {count}, \"segment_cpu_s\": {segment_cpu:.2}, \"lift_wall_s\": {:.2}, \"lift_cpu_s\": {:.2}, \
         \"join_wall_s\": {:.2}, \"join_cpu_s\": {:.2}, \"build_all_s\": {:.2}, \"finish_s\": {:.2}, \"final_proof_bytes\": {}, \
         \"final_verify_ms\": {:.1}, \"aggregation_ratio\": {:.2}, \"tree_peak_rss_gib\": {:.2}}}",
        lifting.each(lifting.wall),
        lifting.each(lifting.cpu),
        joining.each(joining.wall),
        joining.each(joining.cpu),
        building.wall,
        finishing.wall,
        postcard::to_stdvec(&proof).expect("serialises").len(),
        verifying.each(verifying.wall) * 1000.0,
        (lifting.cpu + joining.cpu) / (segment_cpu * f64::from(count)),
        usage().1,
    );
}

fn main() {
    // `cargo bench` adds flags of its own.
    for arg in std::env::args().skip(1).filter(|a| !a.starts_with('-')) {
        let (log_steps, count) = arg.split_once(':').expect("log2 of steps:number of segments");
        measure(log_steps.parse().expect("log2 of steps"), count.parse().expect("a number of segments"));
    }
}
