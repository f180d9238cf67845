//! The ELF loader and the translation of whatever code it finds.
#![no_main]

use libfuzzer_sys::fuzz_target;
use zisk_machine::program::Program;

fuzz_target!(|bytes: &[u8]| {
    let _outcome = Program::from_elf(bytes);
});
