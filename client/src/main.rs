//! The `zisk` command line: data on stdout, all else on stderr.
#![forbid(unsafe_code)]

mod args;
mod command;
mod show;

use std::process::ExitCode;

use clap::Parser;
use zisk_client::ClientError;
use zisk_common::telemetry::{Console, init_logs};

use args::{Args, Command};

/// How a command ended.
pub enum End {
    /// Well.
    Done,
    /// The user interrupted it; the job goes on.
    Interrupted,
    /// The job to be cancelled had ended otherwise.
    EndedBefore,
    /// Something is wrong, and has been printed: the exit code for it.
    Wrong(u8),
}

fn main() -> ExitCode {
    end_with_the_reader();
    let args = Args::parse();
    let json = args.json;
    match run(args) {
        Ok(End::Done) => ExitCode::SUCCESS,
        Ok(End::Interrupted) => ExitCode::from(130),
        Ok(End::EndedBefore) => ExitCode::from(12),
        Ok(End::Wrong(code)) => ExitCode::from(code),
        Err(error) => {
            if json {
                let value = serde_json::json!({
                    "error": error.to_string(),
                    "code": error.code(),
                    "exit": error.exit_code(),
                });
                println!("{value}");
            }
            eprintln!("error: {}: {error}", error.code());
            ExitCode::from(error.exit_code())
        }
    }
}

/// What a shell reports of a program that a closed pipe ended.
const CLOSED_PIPE: i32 = 128 + 13;

/// Ends quietly when nobody reads any more, as in `zisk jobs | head -1`: Rust's printing panics then. (The signal that ends other
/// programs is left ignored, for it would also come from a connection that is lost.)
fn end_with_the_reader() {
    let default = std::panic::take_hook();
    std::panic::set_hook(Box::new(move |panic| {
        if panic.payload_as_str().is_some_and(|text| text.contains("Broken pipe")) {
            std::process::exit(CLOSED_PIPE);
        }
        default(panic);
    }));
}

fn run(args: Args) -> Result<End, ClientError> {
    let mut log = args.log.clone();
    // Reconnections and retries are the library's business unless asked for.
    log.level.get_or_insert_with(|| "error".to_owned());
    if let Err(error) = init_logs(&log, Console::Stderr) {
        eprintln!("warning: {error}");
    }
    match args.command {
        Command::Completion { shell } => command::local::completion(shell),
        Command::Key { program, out } => command::local::key(&program, &out, args.json),
        Command::Verify(verify) => command::local::verify_proof(&verify, args.json),
        Command::Prove(ref prove) if prove.local => command::local::prove(prove, args.json),
        Command::Execute(ref execute) if execute.local => command::local::execute(execute, args.json),
        _ => {
            let runtime = tokio::runtime::Builder::new_multi_thread()
                .worker_threads(2)
                .enable_all()
                .build()
                .map_err(|reason| ClientError::File { action: "start", path: "the runtime".to_owned(), reason })?;
            let end = runtime.block_on(command::remote::run(&args));
            // What still waits for a silent server must not hold up the end.
            runtime.shutdown_background();
            end
        }
    }
}
