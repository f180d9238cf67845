//! Every name on the bus: subjects, streams, consumers, buckets; and reading subjects back.

use std::fmt;
use std::str::FromStr;

use serde::{Deserialize, Serialize};
use thiserror::Error;

use crate::ids::{JobId, WorkerId};

/// The prefix used when none is configured.
pub const DEFAULT_PREFIX: &str = "zisk.v1";

/// Longest prefix accepted; stream names with it stay far below what file systems allow.
const MAX_PREFIX_LENGTH: usize = 64;

/// A name that cannot be used, or a subject that is not one of ours.
#[derive(Debug, Clone, PartialEq, Eq, Error)]
pub enum SubjectError {
    /// The configured prefix is not usable.
    #[error(
        "prefix {0:?} is not usable: expected one or more tokens of letters, digits and '-' (no '_': it would make \
         stream names ambiguous), joined by '.', at most {MAX_PREFIX_LENGTH} characters, such as {DEFAULT_PREFIX:?}"
    )]
    Prefix(String),
    /// The subject does not start with our prefix.
    #[error("subject {subject:?} does not start with {prefix:?}")]
    ForeignPrefix {
        /// The subject received.
        subject: String,
        /// The prefix in use.
        prefix: String,
    },
    /// The subject has the prefix but not the form of any of ours.
    #[error("subject {subject:?} is not one of ours: {reason}")]
    Malformed {
        /// The subject received.
        subject: String,
        /// Which part is wrong, and what it may be.
        reason: String,
    },
}

macro_rules! token_enum {
    ($(#[$meta:meta])* $name:ident, $what:literal { $($(#[$variant_meta:meta])* $variant:ident => $token:literal,)+ }) => {
        $(#[$meta])*
        #[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
        #[serde(rename_all = "snake_case")]
        #[cfg_attr(test, derive(schemars::JsonSchema))]
        pub enum $name {
            $($(#[$variant_meta])* #[serde(rename = $token)] $variant,)+
        }

        impl $name {
            /// All values, in order.
            pub const ALL: &[Self] = &[$(Self::$variant,)+];

            /// The value as it stands in a subject.
            pub const fn as_str(self) -> &'static str {
                match self { $(Self::$variant => $token,)+ }
            }
        }

        impl fmt::Display for $name {
            fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str(self.as_str())
            }
        }

        impl FromStr for $name {
            type Err = String;

            fn from_str(text: &str) -> Result<Self, String> {
                Self::ALL.iter().copied().find(|value| value.as_str() == text).ok_or_else(|| {
                    let allowed: Vec<_> = Self::ALL.iter().map(|value| value.as_str()).collect();
                    format!("{} {text:?} is none of {}", $what, allowed.join(", "))
                })
            }
        }
    };
}

token_enum! {
    /// What a client asks for.
    RequestKind, "request" {
        /// Derive the program's proving and verifying key.
        Setup => "setup",
        /// Run the program, without a proof.
        Execute => "execute",
        /// Run the program and prove the run.
        Prove => "prove",
    }
}

token_enum! {
    /// A class of work; each has a consumer of its own.
    AssignmentKind, "assignment" {
        /// Run the program and cut it in segments.
        Plan => "plan",
        /// Contribute and prove one segment.
        Segment => "segment",
        /// Fold two neighbouring nodes.
        Fold => "fold",
        /// Stand for election as the job's aggregator.
        Aggregate => "aggregate",
    }
}

token_enum! {
    /// What a worker reports.
    Phase, "phase" {
        /// A program's keys are there.
        Setup => "setup",
        /// A segment was cut.
        Planned => "planned",
        /// The program ended; all segments are cut.
        Executed => "executed",
        /// A segment's contribution.
        Contribution => "contribution",
        /// A segment's proof.
        Proof => "proof",
        /// A contributed segment is left to an idle worker.
        GivenBack => "given-back",
        /// The aggregator rejects a committed segment proof.
        Rejected => "rejected",
        /// Two neighbouring nodes were folded.
        Folded => "folded",
        /// The final proof.
        Final => "final",
        /// Something failed for good.
        Failed => "failed",
    }
}

token_enum! {
    /// What the coordinators' service can be asked.
    ApiEndpoint, "endpoint" {
        /// Prove a run of a program.
        Prove => "prove",
        /// Run a program, without a proof.
        Execute => "execute",
        /// Derive a program's keys.
        Setup => "setup",
        /// Take a chunk of an input that is streamed, or its end.
        Input => "input",
        /// Where a job stands.
        Status => "status",
        /// What a job ended with.
        Result => "result",
        /// End a job.
        Cancel => "cancel",
        /// All jobs, page by page.
        Jobs => "jobs",
        /// Whether a proof is valid.
        Verify => "verify",
    }
}

token_enum! {
    /// What happened to a job.
    EventKind, "event" {
        /// The request is valid and recorded.
        Accepted => "accepted",
        /// The job's input is being streamed; it has no place in the queue yet.
        WaitingForInput => "waiting_for_input",
        /// The streamed input is whole; the job waits for its turn.
        InputReceived => "input_received",
        /// It is the job's turn.
        Admitted => "admitted",
        /// A worker runs the program.
        Executing => "executing",
        /// A segment was cut.
        Planned => "planned",
        /// The program ended; the number of segments is known.
        Executed => "executed",
        /// A segment's contribution was committed.
        Contributed => "contributed",
        /// The challenge was broadcast.
        Challenged => "challenged",
        /// A committed contribution was false: another took its place.
        Replaced => "replaced",
        /// A segment's proof was committed; carries its node object.
        Proof => "proof",
        /// A committed segment proof was rejected: the segment is proven again.
        Rejected => "rejected",
        /// Two neighbouring nodes were folded; carries the node object.
        Folded => "folded",
        /// Terminal: the job's result is there.
        Completed => "completed",
        /// Terminal: the job failed, with its cause.
        Failed => "failed",
        /// Terminal: the job was cancelled.
        Cancelled => "cancelled",
    }
}

impl EventKind {
    /// Whether no event follows this one.
    pub const fn is_terminal(self) -> bool {
        matches!(self, Self::Completed | Self::Failed | Self::Cancelled)
    }
}

/// The streams.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum StreamKind {
    /// Clients' requests; work queue.
    Requests,
    /// Assignments to workers; work queue.
    Assign,
    /// Workers' reports; work queue.
    Report,
    /// Challenges and cancellations; the last per job.
    Broadcast,
    /// What happens to jobs; by age.
    Events,
    /// What failed for good.
    Dead,
    /// Inputs that are being streamed, chunk by chunk.
    Input,
}

impl StreamKind {
    /// All streams.
    pub const ALL: &[Self] =
        &[Self::Requests, Self::Assign, Self::Report, Self::Broadcast, Self::Events, Self::Dead, Self::Input];

    const fn suffix(self) -> &'static str {
        match self {
            Self::Requests => "REQUESTS",
            Self::Assign => "ASSIGN",
            Self::Report => "REPORT",
            Self::Broadcast => "BROADCAST",
            Self::Events => "EVENTS",
            Self::Dead => "DEAD",
            Self::Input => "INPUT",
        }
    }
}

impl fmt::Display for StreamKind {
    /// As it stands in [`Prefix::dead_unreadable`].
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.suffix().to_lowercase())
    }
}

impl FromStr for StreamKind {
    type Err = String;

    /// As it stands in [`Prefix::dead_unreadable`].
    fn from_str(text: &str) -> Result<Self, String> {
        let named = Self::ALL.iter().copied().find(|kind| kind.to_string() == text);
        named.ok_or_else(|| format!("{text:?} is not a stream"))
    }
}

/// The key-value buckets.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum BucketKind {
    /// Job records, keyed by job id.
    Jobs,
    /// Segment records, keyed by job id and index: `<job>.<n>`.
    Segments,
    /// Worker presence, keyed by worker id; entries expire.
    Workers,
    /// Programs' keys, keyed by program id.
    Programs,
    /// Aggregator leases, keyed by job id; entries expire.
    Elections,
    /// The leading coordinator's lease; expires sooner, and an age is a whole bucket's.
    Leader,
    /// The jobs that wait, in order, under one key.
    Queue,
    /// What all processes must have in common.
    Cluster,
}

impl BucketKind {
    /// All buckets.
    pub const ALL: &[Self] =
        &[Self::Jobs, Self::Segments, Self::Workers, Self::Programs, Self::Elections, Self::Leader, Self::Queue, Self::Cluster];

    const fn suffix(self) -> &'static str {
        match self {
            Self::Jobs => "JOBS",
            Self::Segments => "SEGMENTS",
            Self::Workers => "WORKERS",
            Self::Programs => "PROGRAMS",
            Self::Elections => "ELECTIONS",
            Self::Leader => "LEADER",
            Self::Queue => "QUEUE",
            Self::Cluster => "CLUSTER",
        }
    }
}

/// The durable pull consumers: one per class of work, each with a single filter subject.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum ConsumerKind {
    /// The coordinators', on REQUESTS.
    Requests,
    /// The workers', on one class of ASSIGN.
    Assign(AssignmentKind),
    /// The coordinators', on REPORT.
    Reports,
}

impl ConsumerKind {
    /// All durable consumers.
    pub const ALL: &[Self] = &[
        Self::Requests,
        Self::Assign(AssignmentKind::Plan),
        Self::Assign(AssignmentKind::Segment),
        Self::Assign(AssignmentKind::Fold),
        Self::Assign(AssignmentKind::Aggregate),
        Self::Reports,
    ];

    /// The stream it reads.
    pub const fn stream(self) -> StreamKind {
        match self {
            Self::Requests => StreamKind::Requests,
            Self::Assign(_) => StreamKind::Assign,
            Self::Reports => StreamKind::Report,
        }
    }

    /// Its durable name, unique within the stream.
    pub const fn durable_name(self) -> &'static str {
        match self {
            Self::Requests | Self::Reports => "coordinator",
            Self::Assign(kind) => kind.as_str(),
        }
    }
}

/// The prefix of every name, validated once; makes the names and reads them back.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub struct Prefix(String);

impl Default for Prefix {
    fn default() -> Self {
        Self(DEFAULT_PREFIX.to_owned())
    }
}

impl fmt::Display for Prefix {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

impl FromStr for Prefix {
    type Err = SubjectError;

    fn from_str(text: &str) -> Result<Self, SubjectError> {
        let token_ok = |token: &str| !token.is_empty() && token.bytes().all(|byte| byte.is_ascii_alphanumeric() || byte == b'-');
        if text.len() <= MAX_PREFIX_LENGTH && text.split('.').all(token_ok) {
            Ok(Self(text.to_owned()))
        } else {
            Err(SubjectError::Prefix(text.to_owned()))
        }
    }
}

impl Prefix {
    /// `<prefix>.request.<kind>`
    pub fn request(&self, kind: RequestKind) -> String {
        format!("{self}.request.{kind}")
    }

    /// `<prefix>.api`: what the coordinators' service answers on is below it.
    pub fn api(&self) -> String {
        format!("{self}.api")
    }

    /// `<prefix>.api.<endpoint>`
    pub fn api_endpoint(&self, endpoint: ApiEndpoint) -> String {
        format!("{self}.api.{endpoint}")
    }

    /// `<prefix>.assign.<kind>.<job>.<n>`
    pub fn assign(&self, kind: AssignmentKind, job: JobId, n: u32) -> String {
        format!("{self}.assign.{kind}.{job}.{n}")
    }

    /// `<prefix>.report.<job>.<phase>.<n>.<worker>`: with the worker that posts it, so that the server can be told to let each post
    /// in its own name only.
    pub fn report(&self, job: JobId, phase: Phase, n: u32, worker: WorkerId) -> String {
        format!("{self}.report.{job}.{phase}.{n}.{worker}")
    }

    /// `<prefix>.challenge.<job>`
    pub fn challenge(&self, job: JobId) -> String {
        format!("{self}.challenge.{job}")
    }

    /// `<prefix>.cancel.<job>`
    pub fn cancel(&self, job: JobId) -> String {
        format!("{self}.cancel.{job}")
    }

    /// `<prefix>.event.<job>.<kind>`
    pub fn event(&self, job: JobId, kind: EventKind) -> String {
        format!("{self}.event.{job}.{kind}")
    }

    /// `<prefix>.event.<job>.proof.<n>`, and with `.<commit>` from the second proof of that segment on: one subject each, so
    /// that a listing of subjects says which proofs were told.
    pub fn proof_event(&self, job: JobId, n: u32, commit: u32) -> String {
        let first = format!("{}.{n}", self.event(job, EventKind::Proof));
        if commit <= 1 { first } else { format!("{first}.{commit}") }
    }

    /// Filter for all events of a job.
    pub fn events_of(&self, job: JobId) -> String {
        format!("{self}.event.{job}.>")
    }

    /// Filter for all assignments of a job; for purging.
    pub fn assignments_of(&self, job: JobId) -> String {
        format!("{self}.assign.*.{job}.>")
    }

    /// Filter for all reports of a job; for purging.
    pub fn reports_of(&self, job: JobId) -> String {
        format!("{self}.report.{job}.>")
    }

    /// `<prefix>.input.<job>.<n>`: a chunk of a streamed input.
    pub fn input_chunk(&self, job: JobId, n: u32) -> String {
        format!("{self}.input.{job}.{n}")
    }

    /// `<prefix>.input.<job>.close`: no chunk follows.
    pub fn input_close(&self, job: JobId) -> String {
        format!("{self}.input.{job}.close")
    }

    /// Filter for everything of a job's streamed input; for listing and purging.
    pub fn input_of(&self, job: JobId) -> String {
        format!("{self}.input.{job}.*")
    }

    /// Filter for the ends of all streamed inputs.
    pub fn input_closes(&self) -> String {
        format!("{self}.input.*.close")
    }

    /// `<prefix>.dead.<job>.<phase>.<n>`
    pub fn dead(&self, job: JobId, phase: Phase, n: u32) -> String {
        format!("{self}.dead.{job}.{phase}.{n}")
    }

    /// `<prefix>.dead.unreadable.<stream>.<sequence>`: a message of that stream that could not be read.
    pub fn dead_unreadable(&self, stream: StreamKind, sequence: u64) -> String {
        format!("{self}.dead.unreadable.{stream}.{sequence}")
    }

    /// Filter for all dead letters.
    pub fn dead_letters(&self) -> String {
        format!("{self}.dead.>")
    }

    /// The stream's name: the prefix in upper case with `_` for `.`, then the suffix.
    pub fn stream(&self, kind: StreamKind) -> String {
        self.upper(kind.suffix())
    }

    /// The subjects the stream stores.
    pub fn stream_subjects(&self, kind: StreamKind) -> Vec<String> {
        match kind {
            StreamKind::Requests => vec![format!("{self}.request.*")],
            StreamKind::Assign => vec![format!("{self}.assign.*.*.*")],
            StreamKind::Report => vec![format!("{self}.report.*.*.*.*")],
            StreamKind::Broadcast => {
                vec![format!("{self}.challenge.*"), format!("{self}.cancel.*")]
            }
            StreamKind::Events => vec![format!("{self}.event.*.>")],
            StreamKind::Dead => vec![format!("{self}.dead.*.*.*")],
            StreamKind::Input => vec![format!("{self}.input.*.*")],
        }
    }

    /// The one subject the consumer is given.
    pub fn consumer_filter(&self, kind: ConsumerKind) -> String {
        match kind {
            ConsumerKind::Requests => format!("{self}.request.*"),
            ConsumerKind::Assign(class) => format!("{self}.assign.{class}.*.*"),
            ConsumerKind::Reports => format!("{self}.report.*.*.*.*"),
        }
    }

    /// The key-value bucket's name.
    pub fn bucket(&self, kind: BucketKind) -> String {
        self.upper(kind.suffix())
    }

    /// The name of the stream whose padding keeps room free.
    pub fn reserve_stream(&self) -> String {
        self.upper("RESERVE")
    }

    /// The stream under a key-value bucket.
    pub fn bucket_stream(&self, kind: BucketKind) -> String {
        format!("KV_{}", self.bucket(kind))
    }

    /// The stream under the object-store bucket.
    pub fn objects_stream(&self) -> String {
        format!("OBJ_{}", self.objects_bucket())
    }

    /// The object-store bucket's name.
    pub fn objects_bucket(&self) -> String {
        self.upper("OBJECTS")
    }

    fn upper(&self, suffix: &str) -> String {
        format!("{}_{suffix}", self.0.to_uppercase().replace('.', "_"))
    }

    /// Reads a subject back.
    ///
    /// # Errors
    /// [`SubjectError`] when it has another prefix or none of our forms.
    pub fn parse(&self, subject: &str) -> Result<Subject, SubjectError> {
        let foreign = || SubjectError::ForeignPrefix { subject: subject.to_owned(), prefix: self.0.clone() };
        let rest = subject.strip_prefix(self.0.as_str()).and_then(|rest| rest.strip_prefix('.')).ok_or_else(foreign)?;
        let tokens: Vec<&str> = rest.split('.').collect();
        Subject::from_tokens(&tokens).map_err(|reason| SubjectError::Malformed { subject: subject.to_owned(), reason })
    }
}

/// A subject, read back.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
#[allow(missing_docs)] // the fields are the tokens of the subject
pub enum Subject {
    /// `request.<kind>`
    Request(RequestKind),
    /// `assign.<kind>.<job>.<n>`
    Assign { kind: AssignmentKind, job: JobId, n: u32 },
    /// `report.<job>.<phase>.<n>.<worker>`
    Report { job: JobId, phase: Phase, n: u32, worker: WorkerId },
    /// `challenge.<job>`
    Challenge(JobId),
    /// `cancel.<job>`
    Cancel(JobId),
    /// `event.<job>.<kind>`, of proofs `event.<job>.proof.<n>` and `event.<job>.proof.<n>.<commit>`
    Event { job: JobId, kind: EventKind },
    /// `dead.<job>.<phase>.<n>`
    Dead { job: JobId, phase: Phase, n: u32 },
    /// `input.<job>.<n>`
    InputChunk { job: JobId, n: u32 },
    /// `input.<job>.close`
    InputClose(JobId),
    /// `dead.unreadable.<stream>.<sequence>`
    DeadUnreadable { stream: StreamKind, sequence: u64 },
}

impl Subject {
    /// The job that it names.
    pub const fn job(self) -> Option<JobId> {
        match self {
            Self::Assign { job, .. } | Self::Report { job, .. } | Self::Event { job, .. } | Self::Dead { job, .. } => Some(job),
            Self::Challenge(job) | Self::Cancel(job) | Self::InputClose(job) | Self::InputChunk { job, .. } => Some(job),
            Self::Request(_) | Self::DeadUnreadable { .. } => None,
        }
    }

    fn from_tokens(tokens: &[&str]) -> Result<Self, String> {
        fn job(token: &str) -> Result<JobId, String> {
            token.parse().map_err(|error: crate::ids::InvalidId| error.to_string())
        }
        fn worker(token: &str) -> Result<WorkerId, String> {
            token.parse().map_err(|error: crate::ids::InvalidId| error.to_string())
        }
        fn number(token: &str) -> Result<u32, String> {
            token.parse().map_err(|_| format!("{token:?} is not a number below 2^32"))
        }
        Ok(match *tokens {
            ["request", kind] => Self::Request(kind.parse()?),
            ["assign", kind, id, n] => Self::Assign { kind: kind.parse()?, job: job(id)?, n: number(n)? },
            ["report", id, phase, n, by] => {
                Self::Report { job: job(id)?, phase: phase.parse()?, n: number(n)?, worker: worker(by)? }
            }
            ["challenge", id] => Self::Challenge(job(id)?),
            ["cancel", id] => Self::Cancel(job(id)?),
            ["event", id, kind] => Self::Event { job: job(id)?, kind: kind.parse()? },
            ["event", id, "proof", n] => {
                number(n)?;
                Self::Event { job: job(id)?, kind: EventKind::Proof }
            }
            ["event", id, "proof", n, commit] => {
                number(n)?;
                number(commit)?;
                Self::Event { job: job(id)?, kind: EventKind::Proof }
            }
            ["input", id, "close"] => Self::InputClose(job(id)?),
            ["input", id, n] => Self::InputChunk { job: job(id)?, n: number(n)? },
            ["dead", "unreadable", stream, sequence] => Self::DeadUnreadable {
                stream: stream.parse()?,
                sequence: sequence.parse().map_err(|_| format!("{sequence:?} is not a sequence"))?,
            },
            ["dead", id, phase, n] => Self::Dead { job: job(id)?, phase: phase.parse()?, n: number(n)? },
            _ => {
                return Err("expected request.<kind>, assign.<kind>.<job>.<n>, report.<job>.<phase>.<n>.<worker>, \
                            challenge.<job>, cancel.<job>, event.<job>.<kind>, event.<job>.proof.<n>[.<commit>], \
                            input.<job>.<n>, input.<job>.close, dead.<job>.<phase>.<n> or \
                            dead.unreadable.<stream>.<sequence>"
                    .to_owned());
            }
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn subjects_read_back() {
        let prefix: Prefix = "my.zisk-2".parse().unwrap();
        let (job, worker) = (JobId::random(), WorkerId::random());
        let (kind, phase, n) = (AssignmentKind::Segment, Phase::Proof, 7);
        let pairs = [
            (prefix.request(RequestKind::Prove), Subject::Request(RequestKind::Prove)),
            (prefix.assign(kind, job, n), Subject::Assign { kind, job, n }),
            (prefix.report(job, phase, n, worker), Subject::Report { job, phase, n, worker }),
            (prefix.challenge(job), Subject::Challenge(job)),
            (prefix.cancel(job), Subject::Cancel(job)),
            (prefix.event(job, EventKind::Completed), Subject::Event { job, kind: EventKind::Completed }),
            (prefix.proof_event(job, n, 1), Subject::Event { job, kind: EventKind::Proof }),
            (prefix.proof_event(job, n, 2), Subject::Event { job, kind: EventKind::Proof }),
            (prefix.dead(job, phase, n), Subject::Dead { job, phase, n }),
            (prefix.input_chunk(job, n), Subject::InputChunk { job, n }),
            (prefix.input_close(job), Subject::InputClose(job)),
            (
                prefix.dead_unreadable(StreamKind::Requests, 9),
                Subject::DeadUnreadable { stream: StreamKind::Requests, sequence: 9 },
            ),
        ];
        for (text, subject) in pairs {
            assert_eq!(prefix.parse(&text), Ok(subject), "{text}");
        }
        assert_eq!(prefix.stream(StreamKind::Requests), "MY_ZISK-2_REQUESTS");
    }

    #[test]
    fn bad_names_are_refused_with_what_is_allowed() {
        for bad in ["", ".", "a..b", "a b", "a.*", "a_b", ">", &"x".repeat(65)] {
            assert!(bad.parse::<Prefix>().is_err(), "{bad:?}");
        }
        let prefix = Prefix::default();
        let error = prefix.parse("other.request.prove").unwrap_err();
        assert!(matches!(error, SubjectError::ForeignPrefix { .. }), "{error}");
        let error = prefix.parse("zisk.v1.request.dance").unwrap_err().to_string();
        assert!(error.contains("setup, execute, prove"), "{error}");
        let error = prefix.parse("zisk.v1.cancel.17").unwrap_err().to_string();
        assert!(error.contains("UUID"), "{error}");
        assert!(prefix.parse("zisk.v1").is_err());
    }
}
