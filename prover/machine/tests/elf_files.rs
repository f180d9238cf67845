//! What the loader refuses, by name; and that nothing makes it panic.

mod common;

use common::{CODE, elf, elf_with};
use proptest::prelude::*;
use zisk_machine::elf::{ElfError, load};

const EXIT: [u8; 8] = [0x93, 0x08, 0xd0, 0x05, 0x73, 0, 0, 0];

fn valid() -> Vec<u8> {
    elf(&EXIT, false)
}

/// The valid file with one field changed.
fn with(at: usize, bytes: &[u8]) -> Result<(), ElfError> {
    let mut file = valid();
    file[at..at + bytes.len()].copy_from_slice(bytes);
    load(&file).map(|_| ())
}

const PROGRAM_HEADER: usize = 64;

#[test]
fn accepts_the_valid_file() {
    let image = load(&valid()).expect("valid");
    assert_eq!((image.entry, image.compressed), (CODE, false));
    assert_eq!(image.words, [(CODE / 8, u64::from_le_bytes(EXIT))]);
}

#[test]
fn refuses_what_is_no_static_riscv_program() {
    assert_eq!(load(b""), Err(ElfError::NotElf));
    assert_eq!(load(b"#!/bin/sh"), Err(ElfError::NotElf));
    assert_eq!(with(4, &[1]), Err(ElfError::Class(1)));
    assert_eq!(with(5, &[2]), Err(ElfError::Endianness(2)));
    assert_eq!(with(16, &[3]), Err(ElfError::Type(3)));
    assert_eq!(with(16, &[1]), Err(ElfError::Type(1)));
    assert_eq!(with(18, &[62]), Err(ElfError::Machine(62)));
    assert_eq!(with(PROGRAM_HEADER, &[3]), Err(ElfError::Dynamic { index: 0, kind: "PT_INTERP" }));
    assert_eq!(with(PROGRAM_HEADER, &[2]), Err(ElfError::Dynamic { index: 0, kind: "PT_DYNAMIC" }));
    assert_eq!(with(PROGRAM_HEADER, &[4]), Err(ElfError::NoSegments));
    assert_eq!(with(56, &[0]), Err(ElfError::NoSegments));
    assert!(matches!(with(54, &[55]), Err(ElfError::Malformed(_))));
}

#[test]
fn refuses_entries_without_code() {
    assert_eq!(with(24, &[0; 8]), Err(ElfError::NoEntry));
    assert_eq!(with(24, &u64::from(CODE + 2).to_le_bytes()), Err(ElfError::Entry(u64::from(CODE) + 2)));
    assert_eq!(with(24, &u64::from(CODE + 8).to_le_bytes()), Err(ElfError::Entry(u64::from(CODE) + 8)));
    assert_eq!(with(24, &(u64::from(CODE) + (1 << 32)).to_le_bytes()), Err(ElfError::Entry((1 << 32) + 0x8000_0000)));
    // Not executable.
    assert_eq!(with(PROGRAM_HEADER + 4, &[6]), Err(ElfError::Entry(CODE.into())));
}

#[test]
fn refuses_segments_that_do_not_fit() {
    let refuse = |segments: &[(u32, &[u8], u32)]| load(&elf_with(false, segments)).map(|_| ());
    let zeros = [0; 4096];
    assert_eq!(refuse(&[(0x1000, &EXIT, 5)]), Err(ElfError::OutOfMap { index: 0, start: 0x1000, end: 0x1008 }));
    assert_eq!(
        refuse(&[(CODE, &EXIT, 5), (0xbfff_fff8, &zeros, 6)]),
        Err(ElfError::OutOfMap { index: 1, start: 0xbfff_fff8, end: 0xc000_0ff8 })
    );
    // Neither may one lie across the border.
    assert!(matches!(refuse(&[(CODE, &EXIT, 5), (0x9fff_fff0, &zeros, 4)]), Err(ElfError::OutOfMap { .. })));
    assert_eq!(refuse(&[(0xa000_0000, &EXIT, 5)]), Err(ElfError::ExecutableRam { index: 0, start: 0xa000_0000 }));
    assert_eq!(
        refuse(&[(CODE + 4, &EXIT, 5), (CODE, &EXIT, 4)]),
        Err(ElfError::Overlap { first: 1, second: 0, address: u64::from(CODE) + 4 })
    );
    let memory_size = PROGRAM_HEADER + 40;
    assert_eq!(with(memory_size, &7u64.to_le_bytes()), Err(ElfError::FileSize { index: 0, file_size: 8, memory_size: 7 }));
    assert!(matches!(with(memory_size, &(17u64 << 20).to_le_bytes()), Err(ElfError::TooLarge { what: "code", .. })));
    assert!(matches!(with(memory_size, &u64::MAX.to_le_bytes()), Err(ElfError::OutOfMap { .. })));
    let file_offset = PROGRAM_HEADER + 8;
    assert!(matches!(with(file_offset, &u64::MAX.to_le_bytes()), Err(ElfError::Truncated { .. })));
}

#[test]
fn refuses_every_prefix() {
    let file = valid();
    for length in 0..file.len() {
        assert!(load(&file[..length]).is_err(), "{length} bytes");
    }
}

#[test]
fn zeros_of_ram_are_not_in_the_image() {
    let data = [0, 0, 0, 0, 0, 0, 0, 0, 7];
    let image = load(&elf_with(false, &[(CODE, &EXIT, 5), (0xa043_0000, &data, 6)])).expect("valid");
    assert_eq!(image.words, [(CODE / 8, u64::from_le_bytes(EXIT)), (0xa043_0008 / 8, 7)]);
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(2000))]

    #[test]
    fn never_panics_on_garbage(bytes in prop::collection::vec(any::<u8>(), 0..300)) {
        let _ = load(&bytes);
    }

    #[test]
    fn never_panics_on_changed_files(
        changes in prop::collection::vec((0..200usize, any::<u8>()), 1..6),
        real in any::<bool>(),
    ) {
        let mut file = if real { include_bytes!("programs/atomics.elf").to_vec() } else { valid() };
        for (at, byte) in changes {
            let at = at % file.len();
            file[at] = byte;
        }
        if let Ok(program) = zisk_machine::program::Program::from_elf(&file) {
            assert!(program.rows.is_sorted_by(|a, b| a.pc < b.pc));
        }
    }
}
