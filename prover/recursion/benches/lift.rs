//! The cost of a lift: operations and rows by table, CPU-seconds, peak memory, proof size. One JSON object per segment size.
//!
//! `cargo bench -p zisk-recursion --bench lift -- [log2 steps[:log2 blow-up of the lift]...]`; queries are chosen for the default's security.

use std::ops::ControlFlow;
use std::sync::Arc;
use std::time::Instant;

use zisk_machine::executable::Executable;
use zisk_machine::executor::Executor;
use zisk_machine::program::Program;
use zisk_machine::replay::replay;
use zisk_protocol::GlobalChallenge;
use zisk_prover::keys;
use zisk_prover::segment::contribute;
use zisk_prover::stark::config::Parameters;
use zisk_recursion::builder::Builder;
use zisk_recursion::gadgets::segment::SegmentShape;
use zisk_recursion::machine::MachineTable;
use zisk_recursion::prove::ProvingKey;

const SHA_HASHER: &[u8] = include_bytes!("../../../guests/elf/sha-hasher.elf");
/// Steps of one hash, roughly: what fills segments.
const STEPS_PER_HASH: u64 = 3_400;
const CHALLENGE: GlobalChallenge = GlobalChallenge([7; 32]);

/// User and system CPU-seconds of this process, and its peak resident memory in GiB.
fn usage() -> (f64, f64) {
    let stat = std::fs::read_to_string("/proc/self/stat").expect("Linux");
    let after_name = stat.rsplit(')').next().expect("name in parentheses");
    let fields: Vec<&str> = after_name.split_whitespace().collect();
    let ticks: f64 = fields[11].parse::<f64>().expect("utime") + fields[12].parse::<f64>().expect("stime");
    let status = std::fs::read_to_string("/proc/self/status").expect("Linux");
    let peak = status.lines().find_map(|l| l.strip_prefix("VmHWM:")).expect("VmHWM");
    let kib: f64 = peak.split_whitespace().next().and_then(|n| n.parse().ok()).expect("a number");
    (ticks / 100.0, kib / (1024.0 * 1024.0))
}

/// What `body` returns, wall and CPU-seconds it took.
fn timed<T>(body: impl FnOnce() -> T) -> (T, f64, f64) {
    let (cpu, start) = (usage().0, Instant::now());
    let result = body();
    (result, start.elapsed().as_secs_f64(), usage().0 - cpu)
}

fn measure(log_steps: u32, log_blowup: u8) {
    let program = || Program::from_elf(SHA_HASHER).expect("a guest");
    let key = keys::ProvingKey::new(program(), Parameters::default()).expect("a key");
    let executable = Executable::new(Arc::new(program())).expect("well-formed");
    let hashes = (3u64 << log_steps) / 2 / STEPS_PER_HASH;
    let mut segments = Vec::new();
    Executor::new(&executable)
        .execute_segments(&hashes.to_le_bytes(), log_steps, |segment| {
            segments.push(segment);
            ControlFlow::Continue(())
        })
        .expect("the guest exits");
    let trace = replay(&key.executable, &segments[0], log_steps).expect("honest");
    let committed = contribute(&key, &segments[0], &trace).expect("filled");
    let proof = committed.prove(&key, &CHALLENGE).expect("proven");
    let contribution = committed.contribution.clone();
    drop(committed);

    let shape = SegmentShape::new(Parameters::default(), contribution.log_heights).expect("a shape");
    let (circuit, build, _) = timed(|| {
        let mut b = Builder::new();
        shape.verify(&mut b).publish(&mut b);
        b.build()
    });
    let operations = MachineTable::ALL.map(|table| circuit.operations(table));
    let default = Parameters::default();
    let queries = default.queries * u16::from(default.log_blowup) / u16::from(log_blowup);
    let (lift, setup, _) = timed(|| ProvingKey::new(circuit, Parameters { log_blowup, queries, ..default }));
    let values = shape.values(&key.verifying, &CHALLENGE, &contribution, &proof).expect("the circuit's shape");
    let (memory, execute, _) = timed(|| lift.circuit.execute(&values).expect("an honest segment"));
    let (traces, fill, _) = timed(|| lift.circuit.traces(&memory));
    let publics = memory.publics(&lift.circuit);
    let (lifted, wall, cpu) = timed(|| lift.prove_traces(&publics, traces).expect("proven"));
    let (verdict, verify, _) = timed(|| lift.verifying.verify(&publics, &lifted));
    verdict.expect("a lift");
    println!(
        "{{\"log_steps\": {log_steps}, \"log_blowup\": {log_blowup}, \"segment_heights\": {:?}, \"tables\": {:?}, \"operations\": {operations:?}, \
         \"log_heights\": {:?}, \"inputs\": {}, \"build_s\": {build:.2}, \"setup_s\": {setup:.2}, \"execute_s\": {execute:.3}, \"fill_s\": {fill:.3}, \
         \"prove_wall_s\": {wall:.2}, \"prove_cpu_s\": {cpu:.2}, \"verify_ms\": {:.1}, \"proof_bytes\": {}, \"peak_rss_gib\": {:.2}}}",
        contribution.log_heights,
        MachineTable::ALL,
        lift.verifying.log_heights,
        values.len(),
        verify * 1000.0,
        postcard::to_stdvec(&lifted).expect("serialises").len(),
        usage().1,
    );
}

fn main() {
    // `cargo bench` adds flags of its own.
    for arg in std::env::args().skip(1).filter(|a| !a.starts_with('-')) {
        let (log_steps, log_blowup) = arg.split_once(':').unwrap_or((&arg, "1"));
        measure(log_steps.parse().expect("log2 of steps"), log_blowup.parse().expect("log2 of the blow-up"));
    }
}
