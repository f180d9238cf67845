//! Runs an ELF and prints what came of it and how fast: `speed ELF [INPUT FILE] [k]`.
//!
//! `executor_mhz` is with segments of 2^k steps (default 18) cut and given away, which is what a cluster does. Rates are
//! steps per second of this thread's processor time, so that a busy machine does not change them.

use std::ops::ControlFlow;
use std::sync::Arc;
use std::time::{Duration, Instant};

use zisk_machine::executable::Executable;
use zisk_machine::executor::Executor;
use zisk_machine::program::Program;
use zisk_machine::replay::replay;

fn main() -> Result<(), Box<dyn std::error::Error>> {
    let mut args = std::env::args().skip(1);
    let elf = std::fs::read(args.next().ok_or("usage: speed ELF [INPUT FILE] [k]")?)?;
    let input = args.next().map_or(Ok(Vec::new()), std::fs::read)?;
    let k = args.next().map_or(Ok(18), |k| k.parse())?;

    let start = Instant::now();
    let program = Program::from_elf(&elf)?;
    let hidden = program.rows.iter().filter(|row| row.pc % 2 == 1).count();
    println!(
        "{} rows ({hidden} hidden), {} image words, {} pcs without a row, translated in {:.1?}",
        program.rows.len(),
        program.image.len(),
        program.no_rows.len(),
        start.elapsed()
    );
    let executable = Executable::new(Arc::new(program))?;
    let executor = Executor::new(&executable);

    let start = processor_time();
    let execution = executor.execute(&input)?;
    let plain = processor_time() - start;
    println!("exit code {}, outputs {:x?}", execution.exit_code, &execution.outputs[..8]);
    if !execution.uart.is_empty() {
        println!("{}", execution.uart.trim_end());
    }
    let mhz = |steps: u64, time: Duration| steps as f64 / time.as_secs_f64() / 1e6;
    println!("{} steps, {:.1} MHz without segments", execution.steps, mhz(execution.steps, plain));

    let (mut some, mut words) = (Vec::new(), 0);
    let start = processor_time();
    let execution = executor.execute_segments(&input, k, |segment| {
        words += segment.words.len();
        if some.len() < 16 {
            some.push(segment);
        }
        ControlFlow::Continue(())
    })?;
    let time = processor_time() - start;
    println!("{} segments, {words} words touched, executor_mhz {:.1}", execution.segments, mhz(execution.steps, time));

    let start = processor_time();
    let mut steps = 0;
    for segment in &some {
        let trace = replay(&executable, segment, k)?;
        steps += trace.steps.iter().map(|steps| steps.len() as u64).sum::<u64>();
    }
    println!("replay of {} segments: {:.1} MHz", some.len(), mhz(steps, processor_time() - start));
    Ok(())
}

/// Processor time of this thread so far; wall time where Linux's accounting is missing.
fn processor_time() -> Duration {
    static START: std::sync::OnceLock<Instant> = std::sync::OnceLock::new();
    let statistics = std::fs::read_to_string("/proc/thread-self/schedstat").ok();
    let nanoseconds = statistics.and_then(|text| text.split(' ').next()?.parse().ok());
    nanoseconds.map_or_else(|| START.get_or_init(Instant::now).elapsed(), Duration::from_nanos)
}
