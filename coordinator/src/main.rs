//! `zisk-coordinator`: see [`zisk_coordinator`].
#![forbid(unsafe_code)]

use std::process::ExitCode;

fn main() -> ExitCode {
    match zisk_coordinator::service::run() {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            eprintln!("zisk-coordinator: {error:#}");
            ExitCode::FAILURE
        }
    }
}
