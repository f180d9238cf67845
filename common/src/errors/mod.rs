//! Errors that programs tell apart: stable codes, each with a page in docs/errors/.

mod codes;

pub use codes::{ErrorCode, UnknownCode};

#[cfg(test)]
mod tests;
