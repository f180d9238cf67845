//! A whole job in miniature, to see whether this machine can prove before it is given work: a program of twelve instructions
//! is set up, run, contributed, proven, finished and verified, with the parameters of any other job.

use std::ops::ControlFlow;

use zisk_protocol::global_challenge;

use crate::backend::{Backend, BackendError, ExecuteOptions, ProofKind};

/// 12!, which it leaves in its first output.
const EXPECTED: u32 = 479_001_600;
/// More steps than it takes.
const LOG_STEPS: u32 = 10;
/// Where its code goes: as `ziskos` links.
const CODE_ADDRESS: u64 = 0x9000_0000;
const CODE: [u32; 12] = [
    0x0000_a2b7, //       lui   t0, 0xa
    0x0412_8293, //       addi  t0, t0, 0x41
    0x0102_9293, //       slli  t0, t0, 16        the outputs
    0x00c0_0313, //       li    t1, 12
    0x0010_0393, //       li    t2, 1
    0x0263_83b3, // next: mul   t2, t2, t1
    0xfff3_0313, //       addi  t1, t1, -1
    0xfe03_1ce3, //       bnez  t1, next
    0x0072_a023, //       sw    t2, 0(t0)
    0x0000_0513, //       li    a0, 0
    0x05d0_0893, //       li    a7, 93
    0x0000_0073, //       ecall
];

/// Proves the small program and verifies the proof: a bundle, for what a recursive proof adds is more of the same computations.
///
/// # Errors
/// [`BackendError`] with what does not work.
pub fn self_test(backend: &dyn Backend) -> Result<(), BackendError> {
    let setup = backend.setup(&elf())?;
    let program = backend.load(&setup.proving_key)?;
    let options = ExecuteOptions { log_segment_steps: Some(LOG_STEPS), max_steps: 1 << LOG_STEPS };
    let mut segments = Vec::new();
    let execution = program.execute(&[], &options, &mut |_, segment| {
        segments.push(segment);
        ControlFlow::Continue(())
    })?;
    let failed = |what: String| BackendError::Internal(format!("self-test: {what}"));
    let [segment] = &segments[..] else { return Err(failed(format!("{} segments instead of one", segments.len()))) };
    let (contribution, contributed) = program.contribute(segment)?;
    let challenge = global_challenge(&setup.verifying_key_digest, &[contribution], &execution.public)
        .map_err(|error| failed(error.to_string()))?;
    let node = contributed.prove(&challenge, ProofKind::Bundle)?;
    let proof = backend.finish(&setup.verifying_key, &node, &execution.public)?;
    let public = backend.verify(&setup.verifying_key, &proof)?;
    match (public.exit_code, public.outputs.first()) {
        (0, Some(&EXPECTED)) => Ok(()),
        (code, output) => Err(failed(format!("exit code {code} and output {output:?} instead of {EXPECTED}"))),
    }
}

/// The program as an ELF: one executable segment that begins at its first instruction.
fn elf() -> Vec<u8> {
    const HEADER: u16 = 64;
    const PROGRAM_HEADER: u16 = 56;
    let code: Vec<u8> = CODE.iter().flat_map(|instruction| instruction.to_le_bytes()).collect();
    let (offset, size) = (u64::from(HEADER + PROGRAM_HEADER), code.len() as u64);
    let mut file = vec![0x7f, b'E', b'L', b'F', 2, 1, 1, 0, 0, 0, 0, 0, 0, 0, 0, 0];
    let half = |file: &mut Vec<u8>, values: &[u16]| file.extend(values.iter().flat_map(|value| value.to_le_bytes()));
    let word = |file: &mut Vec<u8>, values: &[u32]| file.extend(values.iter().flat_map(|value| value.to_le_bytes()));
    let long = |file: &mut Vec<u8>, values: &[u64]| file.extend(values.iter().flat_map(|value| value.to_le_bytes()));
    half(&mut file, &[2, 243]); // a static executable, for RISC-V
    word(&mut file, &[1]);
    long(&mut file, &[CODE_ADDRESS, u64::from(HEADER), 0]); // entry, program headers, no section headers
    word(&mut file, &[0]); // no compressed instructions
    half(&mut file, &[HEADER, PROGRAM_HEADER, 1, 64, 0, 0]);
    word(&mut file, &[1, 5]); // to be loaded, readable and executable
    long(&mut file, &[offset, CODE_ADDRESS, CODE_ADDRESS, size, size, 8]);
    file.extend(code);
    file
}
