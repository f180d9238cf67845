//! Proving speed by segment size: kHz of proven steps (contribution and segment proof together), CPU-seconds, peak memory,
//! proof size, time to verify. One JSON object per segment size; `scripts/bench.sh` makes a table of them.
//!
//! `cargo bench -p zisk-prover --bench segments -- [log2 steps[:log2 blow-up]...]`; queries are chosen for the default's security.

mod usage;

use std::ops::ControlFlow;
use std::time::Instant;

use zisk_protocol::global_challenge;
use zisk_prover::backend::{Backend as _, ExecuteOptions, ProofKind};
use zisk_prover::stark::config::Parameters;
use zisk_recursion::builtin::BuiltIn;

use usage::usage;

const SHA_HASHER: &[u8] = include_bytes!("../../guests/elf/sha-hasher.elf");
/// Steps of one hash, roughly: what fills segments.
const STEPS_PER_HASH: u64 = 3_400;

fn measure(log_steps: u32, log_blowup: u8) {
    let default = Parameters::default();
    let queries = default.queries * u16::from(default.log_blowup) / u16::from(log_blowup);
    let backend = BuiltIn { parameters: Parameters { log_blowup, queries, ..default } };
    let setup = backend.setup(SHA_HASHER).expect("setup");
    let program = backend.load(&setup.proving_key).expect("load");
    let hashes = (3 << log_steps) / 2 / STEPS_PER_HASH;
    let options = ExecuteOptions { log_segment_steps: Some(log_steps), max_steps: u64::MAX };
    let mut segments = Vec::new();
    let execution = program
        .execute(&hashes.to_le_bytes(), &options, &mut |_, segment| {
            segments.push(segment);
            ControlFlow::Continue(())
        })
        .expect("execute");
    // The first segment is a full one. All contributions are needed for a challenge, so they are made before the clock starts.
    let contributions: Vec<_> = segments.iter().map(|s| program.contribute(s).expect("contribute").0).collect();
    let challenge = global_challenge(&setup.verifying_key_digest, &contributions, &execution.public).expect("challenge");
    let mut runs = Vec::new();
    let mut node = Vec::new();
    for _ in 0..3 {
        let (cpu, start) = (usage().0, Instant::now());
        let (_, held) = program.contribute(&segments[0]).expect("contribute");
        let contributed = start.elapsed().as_secs_f64();
        node = held.prove(&challenge, ProofKind::Bundle).expect("prove");
        runs.push((start.elapsed().as_secs_f64(), contributed, usage().0 - cpu));
    }
    runs.sort_by(|a, b| a.0.total_cmp(&b.0));
    let (wall, contributed, cpu) = runs[1];
    let start = Instant::now();
    backend
        .check_segment_proof(&setup.verifying_key, &contributions[0], &challenge, ProofKind::Bundle, &node)
        .expect("segment proof");
    println!(
        "{{\"log_steps\": {log_steps}, \"log_blowup\": {log_blowup}, \"proving_khz\": {:.1}, \"wall_s\": {wall:.3}, \"contribution_s\": {contributed:.3}, \
         \"cpu_s\": {cpu:.2}, \"peak_rss_gib\": {:.2}, \"segment_proof_bytes\": {}, \"segment_verify_ms\": {:.1}}}",
        f64::from(1 << log_steps) / wall / 1000.0,
        usage().1,
        node.len(),
        start.elapsed().as_secs_f64() * 1000.0,
    );
}

fn main() {
    if std::env::var_os("RUST_LOG").is_some() {
        tracing_subscriber::fmt()
            .with_env_filter(tracing_subscriber::EnvFilter::from_default_env())
            .with_span_events(tracing_subscriber::fmt::format::FmtSpan::CLOSE)
            .with_writer(std::io::stderr)
            .init();
    }
    // `cargo bench` adds flags of its own.
    for arg in std::env::args().skip(1).filter(|a| !a.starts_with('-')) {
        let (log_steps, log_blowup) = arg.split_once(':').unwrap_or((&arg, "1"));
        measure(log_steps.parse().expect("log2 of steps"), log_blowup.parse().expect("log2 of the blow-up"));
    }
}
