//! The segment decoder, the replay of what a segment claims, and stage 1 of those that make sense.
#![no_main]

use std::sync::{Arc, LazyLock};

use libfuzzer_sys::fuzz_target;
use zisk_prover::backend::LoadedProgram;
use zisk_recursion::builtin::built_in;

const ELF: &[u8] = include_bytes!("../../guests/elf/exit-one.elf");

static PROGRAM: LazyLock<Arc<dyn LoadedProgram>> = LazyLock::new(|| {
    let backend = built_in();
    let setup = backend.setup(ELF).expect("the guest is accepted");
    backend.load(&setup.proving_key).expect("its own key")
});

fuzz_target!(|bytes: &[u8]| {
    let _outcome = PROGRAM.contribute(bytes);
});
