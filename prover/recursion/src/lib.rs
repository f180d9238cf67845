//! Proofs about proofs (docs/recursion.md): a machine for fixed circuits, a builder of circuits, and gadgets that verify the prover's STARK.

pub mod builder;
pub mod builtin;
pub mod circuit;
pub mod execute;
pub mod final_proof;
pub mod gadgets;
pub mod machine;
pub mod prove;
pub mod release;
pub mod tree;
