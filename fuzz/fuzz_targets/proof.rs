//! The proof decoder and the verifier, with the key of a real program. The first byte says whether the rest is the proof or the key.
#![no_main]

use std::sync::{Arc, LazyLock};

use libfuzzer_sys::fuzz_target;
use zisk_prover::backend::Backend;
use zisk_recursion::builtin::built_in;

const ELF: &[u8] = include_bytes!("../../guests/elf/exit-one.elf");

static KEY: LazyLock<(Arc<dyn Backend>, Vec<u8>)> = LazyLock::new(|| {
    let backend = built_in();
    let key = backend.setup(ELF).expect("the guest is accepted").verifying_key;
    (backend, key)
});

fuzz_target!(|bytes: &[u8]| {
    let (backend, key) = &*KEY;
    let Some((which, rest)) = bytes.split_first() else { return };
    if which % 8 == 0 {
        assert!(backend.verify(rest, &[]).is_err());
    } else {
        assert!(backend.verify(key, rest).is_err(), "a forgery");
    }
});
