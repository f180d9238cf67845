//! The contribution decoder and the derivation of a challenge from what passes it.
#![no_main]

use libfuzzer_sys::fuzz_target;
use zisk_protocol::{PublicValues, check_contribution, global_challenge};

fuzz_target!(|bytes: &[u8]| {
    for index in 0..3 {
        let _outcome = check_contribution(index, bytes);
    }
    // Cut into several, at lengths that the bytes themselves say.
    let mut contributions = Vec::new();
    let mut rest = bytes;
    while let Some((&length, tail)) = rest.split_first() {
        let (one, next) = tail.split_at(usize::from(length).min(tail.len()));
        contributions.push(one.to_vec());
        rest = next;
    }
    let public = PublicValues { outputs: vec![0; 64], exit_code: 0 };
    let _outcome = global_challenge(&[0; 32], &contributions, &public);
});
