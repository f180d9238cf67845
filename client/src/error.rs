//! What can go wrong for a user, what to do about it, and the exit code that says so.

use zisk_common::buckets::BucketError;
use zisk_common::bus::{BusError, ConnectError};
use zisk_common::config::ConfigError;
use zisk_common::errors::ErrorCode;
use zisk_common::ids::JobId;
use zisk_common::messages::{CodecError, Failure, FailureKind, JobState, ObjectKey, ObjectScope};
use zisk_common::objects::ObjectError;
use zisk_common::subjects::RequestKind;

use crate::local::LocalError;

/// Why there is no result. Each text is one paragraph: what happened, and what to do.
#[derive(Debug, thiserror::Error)]
pub enum ClientError {
    /// A setting is unusable.
    #[error(transparent)]
    Config(#[from] ConfigError),
    /// The file is no program.
    #[error(
        "{path} is not a program that can be proven: {reason}. Build a statically linked 64-bit RISC-V ELF against the \
         ziskos crate (guests/README.md shows how) and name that file."
    )]
    Program {
        /// The file.
        path: String,
        /// The loader's words.
        reason: String,
    },
    /// NATS cannot be reached or used.
    #[error(transparent)]
    Connect(#[from] ConnectError),
    /// A call on the bus failed.
    #[error("the NATS server stopped answering ({0}). Check that it runs and try again: the same job is not started twice.")]
    Bus(BusError),
    /// There is no room for the job.
    #[error(
        "{reason}. The job was not submitted, and nothing is lost. Make room: let other jobs end, give the store more space or a \
         higher limit (max_file_store of nats-server, `[storage] max_object_bytes` of the coordinator, the disk), or keep proofs and \
         inputs for a shorter time (`[storage]`); then try again."
    )]
    Full {
        /// Which store, and its limit.
        reason: String,
    },
    /// More was pushed than an input may have.
    #[error(
        "the input of job {job} has {bytes} bytes or more, and the machine takes at most {}. Nothing of the last part was sent; cancel \
         the job with `zisk cancel {job}`.",
        zisk_machine::input::MAX_INPUT_BYTES
    )]
    InputTooLarge {
        /// The job.
        job: JobId,
        /// Its bytes with those that were to be pushed.
        bytes: u64,
    },
    /// An object could not be read or written.
    #[error("{0}. Check that client, coordinator and workers use the same object store (--object-store).")]
    Object(Box<ObjectError>),
    /// The proof's time is over.
    #[error(
        "{place} has no {key}: a proof is kept for a time after its job's end (`[storage] proof_retention_seconds` of the coordinator, \
         `zisk prove --keep-proof`). Prove it again, or check that --object-store is the cluster's."
    )]
    ProofGone {
        /// The proof.
        key: ObjectKey,
        /// Where it would be.
        place: String,
    },
    /// Nobody took the request.
    #[error(
        "no coordinator took the request within {seconds} s. It is stored in NATS and job {job} will start when one comes. \
         Check that zisk-coordinator runs, and that its --nats-url and --prefix are those used here ({prefix}); then \
         follow the job with `zisk status {job}`."
    )]
    NoCoordinator {
        /// The job.
        job: JobId,
        /// How long was waited.
        seconds: u64,
        /// The prefix.
        prefix: String,
    },
    /// The job failed.
    #[error("job {job} failed: {failure}. {}", advice(failure))]
    Failed {
        /// The job.
        job: JobId,
        /// Why.
        failure: Box<Failure>,
    },
    /// The job did not end in time.
    #[error(
        "job {job} did not end within {seconds} s. It goes on without this command: follow it with `zisk status {job}`, or \
         end it with `zisk cancel {job}`."
    )]
    Timeout {
        /// The job.
        job: JobId,
        /// How long was waited.
        seconds: u64,
    },
    /// Nobody confirmed a cancellation.
    #[error(
        "no coordinator confirmed within {seconds} s that job {job} is cancelled. The cancellation is stored in NATS: workers drop \
         the job now, and it ends when a coordinator comes. Check that zisk-coordinator runs, then see `zisk status {job}`."
    )]
    NotConfirmed {
        /// The job.
        job: JobId,
        /// How long was waited.
        seconds: u64,
    },
    /// The job is not known.
    #[error(
        "there is no job {0}. `zisk jobs` lists those there are; one that ended long ago is forgotten (`[storage] \
         record_retention_seconds` of the coordinator), and a cluster with another --prefix knows others."
    )]
    UnknownJob(JobId),
    /// Its events are gone.
    #[error(
        "the events of job {job} are older than the cluster keeps them; it is {state}: `zisk status {job}` shows its record."
    )]
    Forgotten {
        /// The job.
        job: JobId,
        /// Its state.
        state: JobState,
    },
    /// The job goes on.
    #[error("job {job} has no result yet, it is {state}: follow it with `zisk watch {job}`.")]
    NotEnded {
        /// The job.
        job: JobId,
        /// Its state.
        state: JobState,
    },
    /// Nobody asked for a proof.
    #[error("job {job} is a {kind} job and has no proof to be saved in {path}. Leave --out away, or prove with `zisk prove`.")]
    NoProof {
        /// The job.
        job: JobId,
        /// What was asked for.
        kind: RequestKind,
        /// Where it was to be saved.
        path: String,
    },
    /// There is no such dead letter.
    #[error("there is no dead letter {0:?}. `zisk dead list` lists those there are; they go with age and number.")]
    UnknownDead(String),
    /// It is no job.
    #[error(
        "{id} is a message that could not be read, not a job: {reason}. Correct whoever published it on {subject} and have it \
         published again; then `zisk dead drop {id}`."
    )]
    NotAJob {
        /// Its id.
        id: String,
        /// The subject it was published on.
        subject: String,
        /// What is wrong with it.
        reason: String,
    },
    /// What the job needs is gone.
    #[error(
        "job {job} cannot be submitted again: its {object} is missing or damaged in the object store. Submit it from the original \
         files with `zisk prove`, then `zisk dead drop {job}`."
    )]
    Gone {
        /// The job.
        job: JobId,
        /// The program or the input.
        object: ObjectKey,
    },
    /// A record or event was written by another release.
    #[error("{0}. Use a client of the same release as the cluster.")]
    Codec(#[from] CodecError),
    /// The proof does not verify.
    #[error("the proof is not valid: {reason}. Do not trust its outputs; check that program and proof belong together.")]
    Proof {
        /// What is wrong.
        reason: String,
    },
    /// The local prover failed.
    #[error("{reason}. {advice}")]
    Local {
        /// What happened.
        reason: String,
        /// What to do.
        advice: &'static str,
        /// Whose fault it is.
        kind: FailureKind,
    },
    /// Jobs of a measurement failed.
    #[error("{failed} of {jobs} jobs failed, so the figures are of the others alone. The first: {cause}")]
    Bench {
        /// How many failed.
        failed: usize,
        /// Of how many.
        jobs: u32,
        /// Why the first did.
        cause: String,
    },
    /// A part of a cluster on this machine does not start.
    #[error("cannot start {what}: {reason}. {advice}")]
    Start {
        /// Which.
        what: String,
        /// What the system or the part said.
        reason: String,
        /// What to do.
        advice: String,
    },
    /// A file cannot be read or written.
    #[error("cannot {action} {path}: {reason}. Name a path that this user can {action}, or change its permissions.")]
    File {
        /// `read` or `write`.
        action: &'static str,
        /// The file.
        path: String,
        /// What the system says.
        reason: std::io::Error,
    },
}

impl ClientError {
    /// What kind of error it is, for programs; docs/errors has a page on each.
    pub fn code(&self) -> ErrorCode {
        match self {
            Self::Config(_) => ErrorCode::Settings,
            Self::Program { .. } => ErrorCode::ProgramUnusable,
            Self::Connect(_) | Self::Bus(_) => ErrorCode::NatsUnavailable,
            Self::Full { .. } => ErrorCode::StoreFull,
            Self::InputTooLarge { .. } => FailureKind::Input.code(),
            Self::Object(_) => ErrorCode::ObjectStore,
            Self::ProofGone { .. } => ErrorCode::ProofNotFound,
            Self::NoCoordinator { .. } | Self::NotConfirmed { .. } => ErrorCode::NoCoordinator,
            Self::Failed { failure, .. } => failure.kind.code(),
            Self::Local { kind, .. } => kind.code(),
            Self::Timeout { .. } => ErrorCode::WaitedTooLong,
            Self::UnknownJob(_) => ErrorCode::JobNotFound,
            Self::Forgotten { .. } => ErrorCode::EventsGone,
            Self::NotEnded { .. } => ErrorCode::NotEnded,
            Self::NoProof { .. } => ErrorCode::NoProof,
            Self::UnknownDead(_) => ErrorCode::DeadLetterNotFound,
            Self::NotAJob { .. } => ErrorCode::NotAJob,
            Self::Gone { object, .. } if object.scope == ObjectScope::Input => ErrorCode::InputNotFound,
            Self::Gone { .. } => ErrorCode::ProgramNotFound,
            Self::Codec(_) => ErrorCode::OtherRelease,
            Self::Proof { .. } => ErrorCode::ProofInvalid,
            Self::Bench { .. } => ErrorCode::BenchFailed,
            Self::Start { .. } => ErrorCode::NotStarted,
            Self::File { .. } => ErrorCode::File,
        }
    }

    /// The exit code, as `zisk --help` lists them.
    pub fn exit_code(&self) -> u8 {
        match self {
            Self::Config(_) => 2,
            Self::Program { .. } | Self::File { .. } | Self::InputTooLarge { .. } => 3,
            Self::Failed { failure, .. } => of_kind(failure.kind),
            Self::Local { kind, .. } => of_kind(*kind),
            Self::Full { .. } => 14,
            Self::Connect(_) | Self::Bus(_) => 6,
            Self::NoCoordinator { .. } | Self::NotConfirmed { .. } => 7,
            Self::Timeout { .. } => 8,
            Self::Proof { .. } => 10,
            Self::NotAJob { .. } | Self::Gone { .. } | Self::NoProof { .. } => 3,
            Self::Object(_)
            | Self::ProofGone { .. }
            | Self::UnknownJob(_)
            | Self::UnknownDead(_)
            | Self::Codec(_)
            | Self::Start { .. }
            | Self::Forgotten { .. }
            | Self::Bench { .. } => 1,
            Self::NotEnded { .. } => 13,
        }
    }
}

const fn of_kind(kind: FailureKind) -> u8 {
    match kind {
        FailureKind::Input | FailureKind::IncompleteInput => 3,
        FailureKind::Execution => 4,
        FailureKind::Internal => 5,
        FailureKind::Timeout => 8,
        FailureKind::Cancelled => 9,
        FailureKind::Busy => 11,
        FailureKind::Storage => 14,
    }
}

impl From<LocalError> for ClientError {
    fn from(error: LocalError) -> Self {
        let kind = error.kind();
        let advice = match kind {
            FailureKind::Input => "Correct the program and try again.",
            FailureKind::Execution => {
                "The guest did not end with exit code 0, so there is nothing to prove: correct guest or input."
            }
            _ => "This is a defect of the prover: please report it with program and input.",
        };
        Self::Local { reason: error.to_string(), advice, kind }
    }
}

impl From<BusError> for ClientError {
    fn from(error: BusError) -> Self {
        match error.full {
            true => Self::Full { reason: format!("JetStream of the NATS server is full ({error})") },
            false => Self::Bus(error),
        }
    }
}

impl From<ObjectError> for ClientError {
    fn from(error: ObjectError) -> Self {
        match error {
            ObjectError::Full { .. } => Self::Full { reason: error.to_string() },
            ObjectError::NotFound { key, place } if key.scope == ObjectScope::Proof => {
                Self::ProofGone { key, place: place.into() }
            }
            other => Self::Object(Box::new(other)),
        }
    }
}

impl From<BucketError> for ClientError {
    fn from(error: BucketError) -> Self {
        match error {
            BucketError::Bus(error) => error.into(),
            BucketError::Codec(error) => Self::Codec(error),
            // Nothing here swaps.
            BucketError::Conflict { .. } => Self::Bus(BusError::transient("reading", error)),
        }
    }
}

/// What to do about a failure of this kind.
pub const fn advice_for(kind: FailureKind) -> &'static str {
    match kind {
        FailureKind::Input => "Correct the program or its input and submit it again.",
        FailureKind::IncompleteInput => "Submit it again and stream the whole input: docs/errors/ZISK-2008.md.",
        FailureKind::Execution => {
            "The guest did not end with exit code 0, so there is nothing to prove: run it with `zisk execute --local` to \
             see what it does."
        }
        FailureKind::Timeout => "Give it more time (--timeout), more workers, or less to do.",
        FailureKind::Cancelled => "Submit it again if that was not intended.",
        FailureKind::Busy => "`zisk jobs` shows what waits.",
        FailureKind::Storage => {
            "Nothing is wrong with the program. Once there is room again (more disk, a higher limit, other jobs that have ended) \
             `zisk dead requeue JOB` submits it again."
        }
        FailureKind::Internal => {
            "This is a defect or a lost resource of the cluster, not of the program: `zisk dead show JOB` has its \
             attempts and the worker's last log lines, `zisk dead requeue JOB` submits it again."
        }
    }
}

const fn advice(failure: &Failure) -> &'static str {
    advice_for(failure.kind)
}
