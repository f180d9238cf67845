//! The address space a guest sees (that of the published `ziskos` crate) and the hidden parts beside it.

/// Start of the input area: 8 reserved bytes, then chunks of (8-byte little-endian length, data, padding to 8).
pub const INPUT_START: u32 = 0x1000_0000;
/// End of the input area (exclusive).
pub const INPUT_END: u32 = 0x3000_0000;
/// Start of code and constants. `ziskos` links at 0x9000_0000; anything from here up to RAM is accepted.
pub const ROM_START: u32 = 0x8000_0000;
/// End of code and constants (exclusive).
pub const ROM_END: u32 = 0xa000_0000;
/// Start of memory that can be written.
pub const RAM_START: u32 = 0xa000_0000;
/// End of memory that can be written (exclusive).
pub const RAM_END: u32 = 0xc000_0000;
/// A byte stored here is UART output. For the proof it is plain RAM.
pub const UART: u32 = 0xa040_0200;
/// Public outputs: [`OUTPUT_COUNT`] values of 32 bits.
pub const OUTPUT_START: u32 = 0xa041_0000;
/// Number of 32-bit public outputs.
pub const OUTPUT_COUNT: usize = 64;
/// Number of 64-bit memory words that hold the public outputs.
pub const OUTPUT_WORDS: usize = OUTPUT_COUNT / 2;
/// What `csrr rd, marchid` reads.
pub const ARCH_ID: u32 = 0x0fff_eeee;

/// Number of registers: 32 of the guest, 31 hidden, one sink.
pub const REGISTERS: usize = 64;
/// Word number of register 0; above every memory word.
pub const REGISTER_WORD: u32 = 1 << 29;
/// Takes what the guest writes to x0.
pub const SINK: u8 = 63;
/// The exit code is this register's final value.
pub const EXIT_CODE_REGISTER: u8 = 10;

/// The pc of a program that has ended.
pub const HALT_PC: u32 = 1;
/// First pc of rows that are not a guest's own; all of them are odd.
pub const FIRST_HIDDEN_PC: u32 = 3;
