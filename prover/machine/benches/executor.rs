//! Speed of the executor and of replay on the SHA-256 guest: `cargo bench -p zisk-machine`.
//! Items are steps, so items per second are the machine's clock rate.

use std::ops::ControlFlow;
use std::sync::Arc;

use divan::counter::ItemsCount;
use zisk_machine::executable::Executable;
use zisk_machine::executor::Executor;
use zisk_machine::program::Program;
use zisk_machine::replay::replay;

const GUEST: &[u8] = include_bytes!("../../../guests/elf/sha-hasher.elf");
/// Hashes: about 37 million steps.
const INPUT: u64 = 10_000;
const K: u32 = 18;

fn main() {
    divan::main();
}

fn guest() -> Executable {
    let program = Program::from_elf(GUEST).unwrap_or_else(|error| panic!("{error}"));
    Executable::new(Arc::new(program)).unwrap_or_else(|error| panic!("{error}"))
}

#[divan::bench(sample_count = 5, sample_size = 1)]
fn execute(bencher: divan::Bencher<'_, '_>) {
    let (machine, input) = (guest(), INPUT.to_le_bytes());
    let steps = Executor::new(&machine).execute(&input).map_or(0, |execution| execution.steps);
    bencher.counter(ItemsCount::new(steps)).bench_local(|| Executor::new(&machine).execute(&input));
}

#[divan::bench(sample_count = 5, sample_size = 1)]
fn execute_segments(bencher: divan::Bencher<'_, '_>) {
    let (machine, input) = (guest(), INPUT.to_le_bytes());
    let steps = Executor::new(&machine).execute(&input).map_or(0, |execution| execution.steps);
    bencher.counter(ItemsCount::new(steps)).bench_local(|| {
        Executor::new(&machine).execute_segments(&input, K, |segment| {
            divan::black_box(segment);
            ControlFlow::Continue(())
        })
    });
}

#[divan::bench(sample_count = 5)]
fn replay_segment(bencher: divan::Bencher<'_, '_>) {
    let machine = guest();
    let mut segments = Vec::new();
    let _ = Executor::new(&machine).execute_segments(&INPUT.to_le_bytes(), K, |segment| {
        segments.push(segment);
        if segments.len() == 2 { ControlFlow::Break(()) } else { ControlFlow::Continue(()) }
    });
    let segment = &segments[1];
    bencher.counter(ItemsCount::new(segment.steps)).bench_local(|| replay(&machine, segment, K));
}
