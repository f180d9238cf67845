//! The command line.

use std::path::PathBuf;

use clap::{Parser, Subcommand};
use zisk_common::config::{BusArgs, LogArgs};
use zisk_common::ids::JobId;
use zisk_common::messages::MAX_RETENTION_SECONDS;

const EXIT_CODES: &str = "\
Exit codes: 0 done; 1 other; 2 usage; 3 program, input or file not usable; 4 the guest trapped or exited with a code other than 0;
5 internal failure; 6 no usable NATS; 7 no coordinator; 8 timeout; 9 cancelled; 10 the proof is not valid; 11 the queue is full;
12 the job to be cancelled had ended otherwise; 13 the job has no result yet; 14 a store is full; 130 interrupted (the job goes on).
An error has a code, too (ZISK-1012; \"code\" with --json): docs/errors explains each.";

const DOCTOR: &str = "\
Changes nothing and creates no job. Each check is ok, warning (it works, and somebody should look) or failed.
Exit codes: 0 nothing failed; 6 no usable NATS; 7 no coordinator; 1 something else failed";

/// Proves RISC-V programs on a cluster, and verifies the proofs.
#[derive(Debug, Parser)]
#[command(name = "zisk", version, after_help = EXIT_CODES)]
pub struct Args {
    /// What to do.
    #[command(subcommand)]
    pub command: Command,
    /// Print one JSON object on stdout
    #[arg(long, global = true)]
    pub json: bool,
    /// The bus.
    #[command(flatten)]
    pub bus: BusArgs,
    /// The log.
    #[command(flatten)]
    pub log: LogArgs,
}

/// A command.
#[derive(Debug, Subcommand)]
pub enum Command {
    /// Prove that a program ends with the outputs printed
    Prove(Prove),
    /// Verify a proof; needs no network
    Verify(Verify),
    /// Run a program without a proof
    Execute(Execute),
    /// Upload a program and print its id
    Register {
        /// The program: a RISC-V ELF built against the ziskos crate
        #[arg(long, value_name = "ELF")]
        program: PathBuf,
    },
    /// Derive a program's keys, so that its first proof need not
    Setup {
        /// The program: a RISC-V ELF built against the ziskos crate
        #[arg(long, value_name = "ELF")]
        program: PathBuf,
    },
    /// Derive a program's verifying key, which is all that its proofs need to be verified; needs no network
    Key {
        /// The program: a RISC-V ELF built against the ziskos crate
        #[arg(long, value_name = "ELF")]
        program: PathBuf,
        /// Where to put the key
        #[arg(long, value_name = "FILE")]
        out: PathBuf,
    },
    /// Show where a job stands
    Status {
        /// The job
        job: JobId,
    },
    /// End a job: exit code 0 when it is cancelled now or was before, 12 when it had ended otherwise
    Cancel {
        /// The job
        job: JobId,
    },
    /// Follow a job's events, from its first to its end
    Watch {
        /// The job
        job: JobId,
    },
    /// Show what a job ended with, verify its proof, save it
    Result {
        /// The job
        job: JobId,
        /// Where the proof is saved
        #[arg(long, value_name = "FILE")]
        out: Option<PathBuf>,
    },
    /// List jobs, newest first
    Jobs,
    /// List workers
    Workers,
    /// List the programs whose keys are derived
    Programs,
    /// Show how much work waits, and how much is held
    Queues,
    /// Look whether everything is there that a job needs, and say what to do where it is not
    #[command(after_help = DOCTOR)]
    Doctor,
    /// Submit many jobs and measure: latency, throughput, where the time goes
    Bench(Bench),
    /// Print the completion script of a shell
    Completion {
        /// The shell
        shell: clap_complete::Shell,
    },
    /// Run a whole cluster on this machine, in the foreground
    Up(Up),
    /// What failed for good, with its cause: list it, submit it again, drop it
    #[command(subcommand)]
    Dead(Dead),
}

/// `zisk dead`
#[derive(Debug, Subcommand)]
pub enum Dead {
    /// List the dead letters, newest first
    List,
    /// Show one with its attempts and the last lines of the failing worker's log
    Show {
        /// Its id, as listed: the job's, or STREAM-SEQUENCE of a message that could not be read
        id: String,
    },
    /// Submit the job again under a new id, which is printed; its dead letter goes
    Requeue {
        /// The job's id
        id: String,
    },
    /// Remove dead letters
    Drop {
        /// Its id
        #[arg(required_unless_present = "all", conflicts_with = "all")]
        id: Option<String>,
        /// All of them
        #[arg(long)]
        all: bool,
    },
}

/// Kinds of proofs.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, clap::ValueEnum)]
pub enum Kind {
    /// One proof about all segment proofs
    #[default]
    Recursive,
    /// All segment proofs together
    Bundle,
}

impl Kind {
    /// For the prover in this process.
    pub fn here(self) -> zisk_prover::backend::ProofKind {
        match self {
            Self::Recursive => zisk_prover::backend::ProofKind::Recursive,
            Self::Bundle => zisk_prover::backend::ProofKind::Bundle,
        }
    }

    /// For a cluster.
    pub fn there(self) -> zisk_common::messages::ProofKind {
        match self {
            Self::Recursive => zisk_common::messages::ProofKind::Recursive,
            Self::Bundle => zisk_common::messages::ProofKind::Bundle,
        }
    }
}

/// `zisk prove`
#[derive(Debug, clap::Args)]
pub struct Prove {
    /// What to run.
    #[command(flatten)]
    pub run: Run,
    /// Where the proof is saved
    #[arg(long, value_name = "FILE")]
    pub out: PathBuf,
    /// log2 of the steps of a segment [default: the cluster's, 20]
    #[arg(long, value_name = "N", value_parser = clap::value_parser!(u8).range(10..=20))]
    pub segment_log_steps: Option<u8>,
    /// One small proof, or all segment proofs together, which takes less to make [default: recursive]
    #[arg(long, value_enum, value_name = "KIND")]
    pub proof: Option<Kind>,
    /// Seconds for which the cluster keeps the proof, 0 for ever [default: the cluster's, 30 days]
    #[arg(long, value_name = "S", value_parser = clap::value_parser!(u64).range(..=MAX_RETENTION_SECONDS))]
    pub keep_proof: Option<u64>,
    /// Prove in this process, without a cluster
    #[arg(long)]
    pub local: bool,
}

/// `zisk execute`
#[derive(Debug, clap::Args)]
pub struct Execute {
    /// What to run.
    #[command(flatten)]
    pub run: Run,
    /// Run in this process, without a cluster
    #[arg(long)]
    pub local: bool,
}

/// What to run.
#[derive(Debug, clap::Args)]
pub struct Run {
    /// The program: a RISC-V ELF built against the ziskos crate
    #[arg(long, value_name = "ELF")]
    pub program: PathBuf,
    /// The input; `-` is stdin, which a cluster is given as it comes [default: empty]
    #[arg(long, value_name = "FILE")]
    pub input: Option<PathBuf>,
    /// Steps after which the program is stopped [default: the cluster's, 2^34]
    #[arg(long, value_name = "N", value_parser = clap::value_parser!(u64).range(1..))]
    pub max_steps: Option<u64>,
    /// Seconds after which the job fails, waiting for its turn included [default: the cluster's, 3600]
    #[arg(long, value_name = "S", value_parser = clap::value_parser!(u64).range(1..))]
    pub timeout: Option<u64>,
    /// Whose turn comes first among the jobs that wait: 0 (last) to 9 (first) [default: 5]
    #[arg(long, value_name = "N", value_parser = clap::value_parser!(u8).range(0..=9))]
    pub priority: Option<u8>,
    /// Who asks, at most 64 bytes: the cluster is shared fairly between names [default: this program's name and version]
    #[arg(long, env = "ZISK_CLIENT", value_name = "NAME")]
    pub client: Option<String>,
    /// A pair that is kept with the job and given back by `zisk status` and in events; up to 32 times
    #[arg(long, value_name = "KEY=VALUE", value_parser = pair)]
    pub metadata: Vec<(String, String)>,
}

fn pair(text: &str) -> Result<(String, String), String> {
    let pair = text.split_once('=').filter(|(key, _)| !key.is_empty());
    pair.map(|(key, value)| (key.to_owned(), value.to_owned())).ok_or_else(|| "expected KEY=VALUE".to_owned())
}

/// `zisk verify`
#[derive(Debug, clap::Args)]
pub struct Verify {
    /// The proof
    #[arg(value_name = "PROOF")]
    pub proof: PathBuf,
    /// The program it is about; its verifying key is derived, which takes longer than to verify
    #[arg(long, value_name = "ELF", required_unless_present = "verifying_key", conflicts_with = "verifying_key")]
    pub program: Option<PathBuf>,
    /// That program's verifying key, from `zisk key`
    #[arg(long, value_name = "FILE")]
    pub verifying_key: Option<PathBuf>,
}

/// `zisk up`
#[derive(Debug, clap::Args)]
pub struct Up {
    /// Workers
    #[arg(long, value_name = "N", default_value_t = 2, value_parser = clap::value_parser!(u32).range(1..=64))]
    pub workers: u32,
    /// Compute units of each worker
    #[arg(long, value_name = "UNITS", default_value_t = 1, value_parser = clap::value_parser!(u32).range(1..=4096))]
    pub units: u32,
    /// Port of NATS on this machine; 0: a free one
    #[arg(long, value_name = "PORT", default_value_t = 4222)]
    pub port: u16,
    /// Port of the coordinator's /health and /metrics; 0: a free one
    #[arg(long, value_name = "PORT", default_value_t = 9090)]
    pub metrics_port: u16,
    /// Where jobs, keys and logs are kept [default: .zisk in the home directory]
    #[arg(long, value_name = "DIRECTORY")]
    pub directory: Option<PathBuf>,
    /// The nats-server to run [default: .tools/nats-server, else the one on PATH]
    #[arg(long, env = "ZISK_NATS_SERVER", value_name = "FILE")]
    pub nats_server: Option<PathBuf>,
}

/// `zisk bench`
#[derive(Debug, clap::Args)]
pub struct Bench {
    /// What to run.
    #[command(flatten)]
    pub run: Run,
    /// Jobs
    #[arg(long, value_name = "N", default_value_t = 8, value_parser = clap::value_parser!(u32).range(1..=100_000))]
    pub jobs: u32,
    /// Jobs under way at a time
    #[arg(long, value_name = "C", default_value_t = 1, value_parser = clap::value_parser!(u32).range(1..=1000))]
    pub concurrency: u32,
    /// log2 of the steps of a segment [default: the cluster's, 20]
    #[arg(long, value_name = "N", value_parser = clap::value_parser!(u8).range(10..=20))]
    pub segment_log_steps: Option<u8>,
    /// One small proof, or all segment proofs together, which takes less to make [default: recursive]
    #[arg(long, value_enum, value_name = "KIND")]
    pub proof: Option<Kind>,
    /// Prove once in this process before, and tell how much longer the cluster takes
    #[arg(long)]
    pub baseline: bool,
}
