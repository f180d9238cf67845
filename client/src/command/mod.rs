//! What the commands do.

use std::path::Path;

use zisk_client::ClientError;
use zisk_machine::program::Program;

pub mod bench;
pub mod local;
pub mod remote;
mod stdin;
pub mod up;
pub mod watch;

use crate::args::Run;

/// A program and its input, read from their files.
pub struct Loaded {
    /// The ELF.
    pub elf: Vec<u8>,
    /// The input.
    pub input: Vec<u8>,
}

impl Loaded {
    /// Reads both, and refuses at once what the cluster would refuse after a setup.
    pub fn read(run: &Run) -> Result<Self, ClientError> {
        let elf = read_program(&run.program)?;
        let input = match run.input.as_deref() {
            None => Vec::new(),
            Some(path) if is_stdin(path) => read_stdin()?,
            Some(path) => read(path)?,
        };
        Ok(Self { elf, input })
    }
}

/// Whether it stands for stdin.
pub fn is_stdin(path: &Path) -> bool {
    path == Path::new("-")
}

/// All of stdin.
fn read_stdin() -> Result<Vec<u8>, ClientError> {
    let mut input = Vec::new();
    std::io::Read::read_to_end(&mut std::io::stdin().lock(), &mut input).map_err(unreadable_stdin)?;
    Ok(input)
}

/// Says that stdin cannot be read.
pub fn unreadable_stdin(reason: std::io::Error) -> ClientError {
    ClientError::File { action: "read", path: "stdin".to_owned(), reason }
}

/// An ELF that can be proven.
pub fn read_program(path: &Path) -> Result<Vec<u8>, ClientError> {
    let elf = read(path)?;
    Program::from_elf(&elf)
        .map_err(|error| ClientError::Program { path: path.display().to_string(), reason: error.to_string() })?;
    Ok(elf)
}

pub fn read(path: &Path) -> Result<Vec<u8>, ClientError> {
    let fail = |reason| ClientError::File { action: "read", path: path.display().to_string(), reason };
    std::fs::read(path).map_err(fail)
}

pub fn write(path: &Path, bytes: &[u8]) -> Result<(), ClientError> {
    let fail = |reason| ClientError::File { action: "write", path: path.display().to_string(), reason };
    std::fs::write(path, bytes).map_err(fail)
}

/// Before minutes of proving: whether the proof can be saved at all. Leaves what is there untouched.
pub fn check_writable(path: &Path) -> Result<(), ClientError> {
    let fail = |reason| ClientError::File { action: "write", path: path.display().to_string(), reason };
    let existed = path.exists();
    std::fs::OpenOptions::new().append(true).create(true).open(path).map_err(fail)?;
    if !existed {
        // An empty file left behind by a failed job would look like a proof.
        std::fs::remove_file(path).map_err(fail)?;
    }
    Ok(())
}
