//! Parts of circuits that verify proofs of the prover's STARK: each does what its native counterpart does, on cells.

pub mod fri;
pub mod hash;
pub mod inner;
pub mod node;
pub mod openings;
pub mod queries;
pub mod segment;
pub mod stark;
pub mod symbol;
pub mod transcript;
pub mod tree;

use crate::builder::Cell;

/// Eight base-field elements: a node of a Merkle tree.
pub type Digest = [Cell; 2];
