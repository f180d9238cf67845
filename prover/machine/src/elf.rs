//! Loader for statically linked ELF64 little-endian RISC-V executables. Everything else is refused with what is wrong.

use std::collections::BTreeMap;

use ::elf::abi::{
    EF_RISCV_RVC, EI_CLASS, EI_DATA, ELFCLASS64, ELFDATA2LSB, ELFMAGIC, EM_RISCV, ET_EXEC, PF_X, PT_DYNAMIC, PT_INTERP, PT_LOAD,
};
use ::elf::endian::LittleEndian;
use ::elf::segment::ProgramHeader;
use ::elf::{ElfBytes, ParseError};

use crate::memory_map::{RAM_END, RAM_START, ROM_END, ROM_START};

/// Most bytes of executable segments: every halfword of them becomes at least one row of the program table.
pub const MAX_CODE_BYTES: u64 = 16 << 20;
/// Most bytes of initial memory (zeros at the end of RAM segments do not count): each word of it is an entry of the
/// ledger.
pub const MAX_IMAGE_BYTES: u64 = 128 << 20;

/// Size of the file header of ELF64.
const HEADER_BYTES: usize = 64;

/// Why a file is not a program that can be proven.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[allow(missing_docs, reason = "the messages say what the fields are")]
pub enum ElfError {
    #[error("not an ELF file: it does not start with 7f 45 4c 46")]
    NotElf,
    #[error("ELF class byte is {0}; only 64-bit programs (2) can be proven")]
    Class(u8),
    #[error("ELF byte order is {0}; only little-endian (1) can be proven")]
    Endianness(u8),
    #[error("ELF machine is {0}; only RISC-V (243) can be proven")]
    Machine(u16),
    #[error("ELF type is {0} (2 is a static executable, 3 position-independent); link statically with a fixed address")]
    Type(u16),
    #[error("the ELF needs a dynamic linker (program header {index} is {kind}); link it statically")]
    Dynamic { index: usize, kind: &'static str },
    #[error("ELF file is truncated: {what} ends at byte {end}, the file has {size}")]
    Truncated { what: String, end: u64, size: usize },
    #[error("ELF header is malformed: {0}")]
    Malformed(String),
    #[error("the ELF has no loadable segment")]
    NoSegments,
    #[error("program header {index}: file size {file_size:#x} exceeds memory size {memory_size:#x}")]
    FileSize { index: usize, file_size: u64, memory_size: u64 },
    #[error(
        "program header {index}: [{start:#x}, {end:#x}) is outside the memory map; allowed are ROM \
         [0x80000000, 0xa0000000) and RAM [0xa0000000, 0xc0000000)"
    )]
    OutOfMap { index: usize, start: u64, end: u64 },
    #[error("program header {index}: executable segment at {start:#x}; code must lie in ROM [0x80000000, 0xa0000000)")]
    ExecutableRam { index: usize, start: u64 },
    #[error("program headers {first} and {second} overlap at {address:#x}")]
    Overlap { first: usize, second: usize, address: u64 },
    #[error("{what} is {size} bytes; at most {limit} are allowed")]
    TooLarge { what: &'static str, size: u64, limit: u64 },
    #[error("the ELF has no entry point")]
    NoEntry,
    #[error("entry point {0:#x} is not in an executable segment or not aligned")]
    Entry(u64),
}

/// What the loader makes of a file.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Image {
    /// First pc.
    pub entry: u32,
    /// Whether the program has compressed instructions, so that every halfword may start an instruction.
    pub compressed: bool,
    /// Bytes of the executable segments, sorted by address, without overlaps.
    pub code: Vec<Code>,
    /// Initial memory: (word, value), sorted. Words of RAM that are zero are left out: RAM starts at zero.
    pub words: Vec<(u32, u64)>,
}

/// An executable segment.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Code {
    /// Address of the first byte.
    pub address: u32,
    /// Its bytes, as in memory.
    pub bytes: Vec<u8>,
}

/// Loads an ELF.
///
/// # Errors
/// Says what is wrong with the file; never panics, whatever the bytes.
pub fn load(file: &[u8]) -> Result<Image, ElfError> {
    let elf = parse_headers(file)?;
    let header = &elf.ehdr;
    let segments = parse_segments(file, &elf)?;
    let mut words = BTreeMap::new();
    let mut code = Vec::new();
    for segment in &segments {
        // Bounds were checked: the file part lies in the file, the memory part below 2^32.
        let data = &file[segment.p_offset as usize..(segment.p_offset + segment.p_filesz) as usize];
        let ram = segment.p_vaddr >= u64::from(RAM_START);
        if ram {
            fill_words(&mut words, segment.p_vaddr, data);
        } else {
            let mut bytes = data.to_vec();
            bytes.resize(segment.p_memsz as usize, 0);
            fill_words(&mut words, segment.p_vaddr, &bytes);
            if segment.p_flags & PF_X != 0 {
                code.push(Code { address: segment.p_vaddr as u32, bytes });
            }
        }
    }
    words.retain(|word, value| *value != 0 || *word < RAM_START / 8);
    let compressed = header.e_flags & EF_RISCV_RVC != 0;
    let entry = header.e_entry;
    let alignment = if compressed { 2 } else { 4 };
    let covered = code.iter().any(|code| {
        let start = u64::from(code.address);
        (start..start + code.bytes.len() as u64).contains(&entry)
    });
    match entry {
        0 => Err(ElfError::NoEntry),
        _ if !covered || entry % alignment != 0 => Err(ElfError::Entry(entry)),
        _ => Ok(Image { entry: entry as u32, compressed, code, words: words.into_iter().collect() }),
    }
}

fn fill_words(words: &mut BTreeMap<u32, u64>, address: u64, bytes: &[u8]) {
    let mut rest = bytes;
    let mut address = address;
    while !rest.is_empty() {
        let at = (address % 8) as usize;
        let count = rest.len().min(8 - at);
        let mut word = [0; 8];
        word[at..at + count].copy_from_slice(&rest[..count]);
        *words.entry((address / 8) as u32).or_default() |= u64::from_le_bytes(word);
        rest = &rest[count..];
        address += count as u64;
    }
}

fn parse_headers(file: &[u8]) -> Result<ElfBytes<'_, LittleEndian>, ElfError> {
    if !file.starts_with(&ELFMAGIC) {
        return Err(ElfError::NotElf);
    }
    let Some(header) = file.get(..HEADER_BYTES) else {
        return Err(ElfError::Truncated { what: "the file header".into(), end: HEADER_BYTES as u64, size: file.len() });
    };
    if header[EI_CLASS] != ELFCLASS64 {
        return Err(ElfError::Class(header[EI_CLASS]));
    }
    if header[EI_DATA] != ELFDATA2LSB {
        return Err(ElfError::Endianness(header[EI_DATA]));
    }
    let elf = ElfBytes::<LittleEndian>::minimal_parse(file).map_err(|error| match error {
        ParseError::SliceReadError((_, end)) => {
            ElfError::Truncated { what: "a header table".into(), end: end as u64, size: file.len() }
        }
        error => ElfError::Malformed(error.to_string()),
    })?;
    let header = &elf.ehdr;
    if header.e_machine != EM_RISCV {
        return Err(ElfError::Machine(header.e_machine));
    }
    if header.e_type != ET_EXEC {
        return Err(ElfError::Type(header.e_type));
    }
    Ok(elf)
}

/// The loadable segments that occupy memory, sorted by address, checked.
fn parse_segments(file: &[u8], elf: &ElfBytes<LittleEndian>) -> Result<Vec<ProgramHeader>, ElfError> {
    let mut segments = Vec::new();
    for (index, segment) in elf.segments().into_iter().flat_map(|table| table.iter()).enumerate() {
        match segment.p_type {
            PT_INTERP => {
                return Err(ElfError::Dynamic { index, kind: "PT_INTERP" });
            }
            PT_DYNAMIC => {
                return Err(ElfError::Dynamic { index, kind: "PT_DYNAMIC" });
            }
            PT_LOAD if segment.p_memsz != 0 || segment.p_filesz != 0 => {
                check_segment(file, index, &segment)?;
                segments.push((index, segment));
            }
            _ => {}
        }
    }
    if segments.is_empty() {
        return Err(ElfError::NoSegments);
    }
    segments.sort_by_key(|(_, segment)| segment.p_vaddr);
    for pair in segments.windows(2) {
        let [(first, a), (second, b)] = pair else {
            continue;
        };
        if b.p_vaddr < a.p_vaddr + a.p_memsz {
            return Err(ElfError::Overlap { first: *first, second: *second, address: b.p_vaddr });
        }
    }
    let segments: Vec<_> = segments.into_iter().map(|(_, segment)| segment).collect();
    let code = segments.iter().filter(|s| s.p_flags & PF_X != 0).map(|s| s.p_memsz).sum();
    if code > MAX_CODE_BYTES {
        return Err(ElfError::TooLarge { what: "code", size: code, limit: MAX_CODE_BYTES });
    }
    let rom = |s: &ProgramHeader| s.p_vaddr < u64::from(RAM_START);
    let image = segments.iter().map(|s| if rom(s) { s.p_memsz } else { s.p_filesz }).sum();
    if image > MAX_IMAGE_BYTES {
        return Err(ElfError::TooLarge { what: "initial memory", size: image, limit: MAX_IMAGE_BYTES });
    }
    Ok(segments)
}

fn check_segment(file: &[u8], index: usize, segment: &ProgramHeader) -> Result<(), ElfError> {
    if segment.p_filesz > segment.p_memsz {
        let (file_size, memory_size) = (segment.p_filesz, segment.p_memsz);
        return Err(ElfError::FileSize { index, file_size, memory_size });
    }
    let start = segment.p_vaddr;
    let end = start.saturating_add(segment.p_memsz);
    let within = |from: u32, to: u32| start >= u64::from(from) && end <= u64::from(to);
    let rom = within(ROM_START, ROM_END);
    if !rom && !within(RAM_START, RAM_END) {
        return Err(ElfError::OutOfMap { index, start, end });
    }
    if !rom && segment.p_flags & PF_X != 0 {
        return Err(ElfError::ExecutableRam { index, start });
    }
    in_file(file, segment.p_offset, segment.p_filesz, || format!("segment {index}"))?;
    Ok(())
}

fn in_file(file: &[u8], offset: u64, size: u64, what: impl Fn() -> String) -> Result<&[u8], ElfError> {
    let end = offset.saturating_add(size);
    if end > file.len() as u64 {
        return Err(ElfError::Truncated { what: what(), end, size: file.len() });
    }
    Ok(&file[offset as usize..end as usize])
}
