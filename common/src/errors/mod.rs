//! Errors that programs tell apart: stable codes, each with a page in docs/errors/.

mod codes;
mod object;

pub use codes::{ErrorCode, UnknownCode};
pub use object::ErrorObject;

#[cfg(test)]
mod tests;
