//! The zkVM prover: program, segments, contributions, proofs, final proof, verdict. No I/O, no async.
#![deny(unsafe_code)]

pub mod backend;
pub mod stark;
pub mod tables;
