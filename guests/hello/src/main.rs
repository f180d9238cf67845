//! Prints `hello, <name>` and a newline on the console.
//!
//! Input: one chunk, the name in UTF-8. Public output: word 0 is the length of the name in bytes. Exit code 0; a name that
//! is not UTF-8 is a panic: its message on the console, exit code 101, no output.
#![no_std]
#![no_main]

use core::fmt::Write;
use runtime::Console;
use ziskos::io;

ziskos::entrypoint!(main);

fn main() -> Result<(), core::fmt::Error> {
    let name = core::str::from_utf8(io::read_slice()).expect("the name is UTF-8");
    writeln!(Console, "hello, {name}")?;
    io::commit_slice(&(name.len() as u32).to_le_bytes());
    Ok(())
}
