//! Assembled programs (tests/programs, each checks itself and exits with the number of the check that failed) and
//! guests, in segments.

mod common;

use common::{executable, run};

fn passes(elf: &[u8]) {
    let machine = executable(elf);
    // Many short segments, with the ledger in segments of its own; and one long one.
    for k in [7, 22] {
        let (execution, segments) = run(&machine, &[], k).expect("no trap");
        assert_eq!(execution.exit_code, 0, "number of the check that failed");
        assert!(k == 22 || segments.len() > 8);
        assert_eq!(segments.len() == 1, k == 22);
    }
}

#[test]
fn control() {
    passes(include_bytes!("programs/control.elf"));
}

#[test]
fn misaligned() {
    passes(include_bytes!("programs/misaligned.elf"));
}

#[test]
fn atomics() {
    passes(include_bytes!("programs/atomics.elf"));
}

#[test]
fn compressed() {
    passes(include_bytes!("programs/compressed.elf"));
}

/// Segments of guests built against ziskos replay and balance; what they output is the matter of tests/guests.rs.
#[test]
fn segments_of_guests() {
    let input: Vec<u8> = (0..=255).chain(0..100).collect();
    let guests: [(&[u8], &[u8]); 4] = [
        (include_bytes!("../../../guests/elf/sha-hasher.elf"), &[20, 0, 0, 0, 0, 0, 0, 0]),
        (include_bytes!("../../../guests/elf/memory.elf"), &[7, 0, 0, 0, 0, 0, 0, 1]),
        (include_bytes!("../../../guests/elf/precompiles.elf"), &input),
        (include_bytes!("../../../guests/elf/hello.elf"), b"you"),
    ];
    for (elf, input) in guests {
        let (execution, _) = run(&executable(elf), input, 10).expect("no trap");
        assert_eq!(execution.exit_code, 0);
        assert!(execution.segments > 1);
    }
}
