//! The zkVM prover: program, segments, contributions, proofs, final proof, verdict. No I/O, no async.
#![deny(unsafe_code)]

pub mod backend;
pub mod bundle;
pub mod keys;
pub mod public;
pub mod segment;
pub mod self_test;
pub mod stark;
pub mod tables;
pub mod witness;
