//! `zisk-coordinator`: see [`zisk_coordinator`].
#![forbid(unsafe_code)]

use std::process::ExitCode;

use clap::Parser;
use zisk_coordinator::config::Flags;

fn main() -> ExitCode {
    match zisk_coordinator::service::run(&Flags::parse()) {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            eprintln!("zisk-coordinator: {error:#}");
            ExitCode::FAILURE
        }
    }
}
