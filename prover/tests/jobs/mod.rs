//! Whole jobs in one process, taken apart: what the attacks start from.
#![allow(dead_code, reason = "each test uses a part")]

use std::ops::ControlFlow;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use zisk_machine::executable::Executable;
use zisk_machine::executor::Executor;
use zisk_machine::program::Program;
use zisk_machine::replay::replay;
use zisk_machine::segment::Segment;
use zisk_machine::trace::SegmentTrace;
use zisk_protocol::PublicValues;

/// Longer vectors are left to the machine's own tests.
pub const MAX_STEPS: u64 = 3_000_000;

/// One line of `guests/vectors.json`.
#[derive(serde::Deserialize)]
pub struct Vector {
    pub guest: String,
    pub name: String,
    pub input: String,
    pub trap: Option<String>,
}

pub fn guests_folder() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("../guests")
}

pub fn vectors() -> Vec<Vector> {
    let text = std::fs::read(guests_folder().join("vectors.json")).expect("vectors.json");
    serde_json::from_slice(&text).expect("vectors.json as written by vectors.py")
}

impl Vector {
    /// The input as the machine takes it: the vector holds a chunk, its length first.
    pub fn input(&self) -> Vec<u8> {
        let digits = self.input.as_bytes().chunks_exact(2);
        let bytes: Vec<u8> =
            digits.map(|pair| u8::from_str_radix(std::str::from_utf8(pair).expect("ASCII"), 16).expect("hexadecimal")).collect();
        let length = bytes.first_chunk().map_or(0, |length| u64::from_le_bytes(*length) as usize);
        bytes.get(8..8 + length).unwrap_or_default().to_vec()
    }
}

pub fn elf(guest: &str) -> Vec<u8> {
    let path = guests_folder().join(format!("elf/{guest}.elf"));
    std::fs::read(&path).unwrap_or_else(|error| panic!("{}: {error}", path.display()))
}

pub fn executable(guest: &str) -> Executable {
    let program = Program::from_elf(&elf(guest)).expect("a guest is accepted");
    Executable::new(Arc::new(program)).expect("a program from an ELF is well-formed")
}

/// Steps of a run; `None` if it traps or is too long.
pub fn steps(executable: &Executable, input: &[u8]) -> Option<u64> {
    Executor::new(executable).max_steps(MAX_STEPS).execute(input).ok().map(|done| done.steps)
}

/// Segment size that makes at least `count` segments with steps out of so many steps, if that is possible.
pub fn log_steps(steps: u64, count: u64) -> u32 {
    ((steps - 1) / (count - 1).max(1)).max(16).ilog2().min(20)
}

/// All segments of a job with their traces.
pub struct Job {
    pub segments: Vec<(Segment, SegmentTrace)>,
    pub public: PublicValues,
}

impl Job {
    pub fn run(executable: &Executable, input: &[u8], segment_log_steps: u32) -> Self {
        let mut segments = Vec::new();
        let done = Executor::new(executable)
            .execute_segments(input, segment_log_steps, |segment| {
                segments.push(segment);
                ControlFlow::Continue(())
            })
            .expect("the guest exits");
        let traced = |segment: Segment| {
            let trace = replay(executable, &segment, segment_log_steps).expect("an honest segment");
            (segment, trace)
        };
        Self {
            segments: segments.into_iter().map(traced).collect(),
            public: PublicValues { outputs: done.outputs.to_vec(), exit_code: done.exit_code },
        }
    }

    /// A job of at least `count` segments with steps.
    pub fn of(executable: &Executable, input: &[u8], count: u64) -> Self {
        let steps = steps(executable, input).expect("the guest exits");
        Self::run(executable, input, log_steps(steps, count))
    }
}
