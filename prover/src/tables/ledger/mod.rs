//! A slice of the ledger: initial and final value of each word touched in the job, each word once.

mod air;
mod columns;
mod trace;

pub use air::Ledger;
pub use columns::LedgerColumns;
pub use trace::trace;
