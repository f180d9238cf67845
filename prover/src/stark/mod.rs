//! The STARK of one segment: many tables, buses between them (LogUp), one FRI opening. Knows no RISC-V.

pub mod check;
pub mod config;
pub mod folder;
pub mod logup;
pub mod prove;
pub mod table;
pub mod verify;
