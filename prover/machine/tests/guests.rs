//! Every guest in `guests/elf` does what `guests/vectors.json` says, which was computed without running it.

use std::path::{Path, PathBuf};
use std::sync::Arc;

use zisk_machine::executable::Executable;
use zisk_machine::executor::{Execution, ExecutionError, Executor};
use zisk_machine::program::Program;
use zisk_machine::trap::Cause;

/// Far above what any vector takes; only the endless loop reaches it.
const MAX_STEPS: u64 = 20_000_000;

#[derive(serde::Deserialize)]
#[serde(deny_unknown_fields)]
struct Vector {
    guest: String,
    name: String,
    input: String,
    exit_code: Option<u64>,
    outputs: Vec<u32>,
    console: String,
    trap: Option<String>,
}

fn guests_folder() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("../../guests")
}

fn vectors() -> Vec<Vector> {
    let text = std::fs::read(guests_folder().join("vectors.json")).expect("vectors.json");
    serde_json::from_slice(&text).expect("vectors.json as written by vectors.py")
}

fn bytes(hexadecimal: &str) -> Vec<u8> {
    (0..hexadecimal.len()).step_by(2).map(|at| u8::from_str_radix(&hexadecimal[at..at + 2], 16).expect("hexadecimal")).collect()
}

fn run(vector: &Vector) -> Result<Execution, ExecutionError> {
    let path = guests_folder().join(format!("elf/{}.elf", vector.guest));
    let elf = std::fs::read(&path).unwrap_or_else(|error| panic!("{}: {error}", path.display()));
    let program = Program::from_elf(&elf).unwrap_or_else(|error| panic!("{}: {error}", path.display()));
    let executable = Executable::new(Arc::new(program)).expect("a program from an ELF is well-formed");
    // The vector holds the memory from 0x1000_0008: one chunk, its length first. The machine makes that from the data.
    let chunk = bytes(&vector.input);
    let length = chunk.first_chunk().map_or(0, |length| u64::from_le_bytes(*length) as usize);
    let input = chunk.get(8..8 + length).unwrap_or_default();
    assert!(chunk.len() <= (8 + length).next_multiple_of(8), "{}: several chunks", vector.name);
    Executor::new(&executable).max_steps(MAX_STEPS).execute(input)
}

/// Whether the machine stopped for the reason that the vector names.
fn is_expected(trap: &str, cause: &Cause) -> bool {
    match trap {
        "load outside the map" => matches!(cause, Cause::Load { address: 0x4000_0000, bytes: 8 }),
        "load at address 0" => matches!(cause, Cause::Load { address: 0, bytes: 8 }),
        "load above 2^32" => matches!(cause, Cause::Load { address: 0x1_a050_0000, bytes: 8 }),
        "store outside the map" => matches!(cause, Cause::Store { address: 0x4000_0000, bytes: 8 }),
        "store into the code" => matches!(cause, Cause::Store { address: 0x9000_0000, bytes: 4 }),
        "store into the input" => matches!(cause, Cause::Store { address: 0x1000_0010, bytes: 1 }),
        "stack overflow" => matches!(cause, Cause::Store { address: 0x9fff_0000..0xa000_0000, .. }),
        "undefined instruction" | "unknown CSR" => {
            matches!(cause, Cause::UnknownInstruction(_))
        }
        "floating-point instruction" => matches!(cause, Cause::FloatingPoint(0x0200_7053)),
        "missing precompile" => matches!(cause, Cause::Precompile { csr: 0x801, .. }),
        "breakpoint" | "environment call other than exit" => matches!(cause, Cause::Check(_)),
        "jump into RAM" => matches!(cause, Cause::NoCode { target: 0xa050_0000 }),
        "jump to address 0" => matches!(cause, Cause::NoCode { target: 0 }),
        "endless loop" => matches!(cause, Cause::StepLimit(MAX_STEPS)),
        other => panic!("no expectation for the trap {other:?}"),
    }
}

/// What is wrong with the run, if anything.
fn complaint(vector: &Vector) -> Option<String> {
    let outcome = run(vector);
    if let Some(trap) = &vector.trap {
        return match outcome {
            Err(ExecutionError::Trap(stopped)) if is_expected(trap, &stopped.cause) => None,
            other => Some(format!("expected the trap {trap:?}, got {other:?}")),
        };
    }
    let execution = match outcome {
        Ok(execution) => execution,
        Err(error) => return Some(error.to_string()),
    };
    println!("{} ({}): {} steps", vector.guest, vector.name, execution.steps);
    let mut outputs = vector.outputs.clone();
    outputs.resize(execution.outputs.len(), 0);
    let expected = (vector.exit_code, &outputs[..], &vector.console);
    let found = (Some(execution.exit_code), &execution.outputs[..], &execution.uart);
    (expected != found).then(|| format!("expected {expected:?}, got {found:?}"))
}

#[test]
fn guests_do_what_their_vectors_say() {
    let vectors = vectors();
    assert!(vectors.len() > 40, "vectors.json holds only {}", vectors.len());
    let complaints: Vec<String> = vectors
        .iter()
        .filter_map(|vector| {
            let complaint = complaint(vector)?;
            Some(format!("{} ({}): {complaint}", vector.guest, vector.name))
        })
        .collect();
    assert!(complaints.is_empty(), "{}", complaints.join("\n"));
}

#[test]
fn every_guest_has_a_vector() {
    let vectors = vectors();
    for entry in std::fs::read_dir(guests_folder().join("elf")).expect("guests/elf") {
        let path = entry.expect("guests/elf").path();
        let guest = path.file_stem().expect("a name").to_string_lossy().into_owned();
        assert!(vectors.iter().any(|vector| vector.guest == guest), "{guest} has no vector");
    }
}
