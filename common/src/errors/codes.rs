//! The codes. A code is never given another meaning, and never used again once it is gone.

use std::fmt;
use std::str::FromStr;

use serde::{Deserialize, Serialize};

macro_rules! codes {
    ($($(#[$doc:meta])* $name:ident = $number:literal, $status:literal, $title:literal;)+) => {
        /// What went wrong, the same in every release: `ZISK-<number>`.
        ///
        /// 1000 to 1999: what was asked for, 2000 to 2999: what a job came to, 3000 to 3999: the cluster, 4000 to 4999: the
        /// command line's own.
        #[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
        #[serde(try_from = "String", into = "String")]
        #[cfg_attr(test, derive(schemars::JsonSchema))]
        #[cfg_attr(test, schemars(extend("pattern" = "^ZISK-[0-9]{4}$")))]
        pub enum ErrorCode {
            $($(#[$doc])* $name = $number,)+
        }

        impl ErrorCode {
            /// All codes, in order.
            pub const ALL: &[Self] = &[$(Self::$name,)+];

            /// What it is called here.
            pub const fn name(self) -> &'static str {
                match self { $(Self::$name => stringify!($name),)+ }
            }

            /// What happened, in a few words.
            pub const fn title(self) -> &'static str {
                match self { $(Self::$name => $title,)+ }
            }

            /// The status that HTTP has for such a thing: below 500 it is up to whoever asks, from 500 on to the cluster.
            pub const fn status(self) -> u16 {
                match self { $(Self::$name => $status,)+ }
            }
        }
    };
}

codes! {
    /// The bytes are no request.
    Unreadable = 1001, 400, "request not readable";
    /// No object is stored under the program's id.
    ProgramNotFound = 1002, 404, "program not found";
    /// The request has a field that is not known.
    UnknownField = 1003, 400, "unknown field";
    /// A field holds another type.
    WrongType = 1004, 400, "wrong type";
    /// A field that must be there is not.
    MissingField = 1005, 400, "missing field";
    /// A field's value is none of those allowed.
    NotAllowed = 1006, 400, "value not allowed";
    /// The request is of a schema version that is not read here.
    SchemaVersion = 1007, 400, "schema version not read here";
    /// No object is stored under the input's key.
    InputNotFound = 1008, 404, "input not found";
    /// More bytes came inline than are taken.
    InlineTooLarge = 1009, 413, "inline data too large";
    /// The bytes are no program that can be proven.
    ProgramUnusable = 1010, 422, "program not usable";
    /// The idempotency key was used for another request.
    KeyReused = 1011, 409, "idempotency key used before";
    /// There is no record of such a job.
    JobNotFound = 1012, 404, "job not found";
    /// The job goes on.
    NotEnded = 1013, 409, "job has not ended";
    /// The job was not to make a proof.
    NoProof = 1014, 409, "job has no proof";
    /// The proof is not stored any more.
    ProofNotFound = 1015, 404, "proof not found";
    /// The proof proves nothing.
    ProofInvalid = 1016, 422, "proof not valid";
    /// The job's events are older than the cluster keeps them.
    EventsGone = 1017, 410, "events no longer kept";
    /// There is no such dead letter.
    DeadLetterNotFound = 1018, 404, "dead letter not found";
    /// The dead letter is a message that could not be read.
    NotAJob = 1019, 409, "dead letter is not a job";
    /// No object is stored under the verifying key's key.
    KeyNotFound = 1020, 404, "verifying key not found";
    /// The job takes no input any more, or never did.
    NoInputAwaited = 1021, 409, "job awaits no input";
    /// The job's request, program or input was no good.
    JobRefused = 2001, 422, "job refused";
    /// The guest trapped, ran too long, or exited with another code than 0.
    ExecutionFailed = 2002, 422, "execution failed";
    /// The job's time was over.
    JobTimeout = 2003, 504, "job ran out of time";
    /// Somebody cancelled the job.
    JobCancelled = 2004, 409, "job cancelled";
    /// As many jobs wait as may.
    QueueFull = 2005, 429, "queue full";
    /// There is no room for what must be stored.
    StoreFull = 2006, 507, "store full";
    /// The cluster failed the job.
    JobFailed = 2007, 500, "job failed in the cluster";
    /// What was streamed is not the input that its end announced.
    InputIncomplete = 2008, 422, "streamed input incomplete";
    /// NATS does not answer, or cannot be used.
    NatsUnavailable = 3001, 503, "NATS not usable";
    /// No coordinator answers.
    NoCoordinator = 3002, 503, "no coordinator";
    /// The object store fails, or what is in it is damaged.
    ObjectStore = 3003, 503, "object store not usable";
    /// What is stored was written by another release.
    OtherRelease = 3004, 500, "written by another release";
    /// Too many requests are in hand.
    TooManyRequests = 3005, 429, "too many requests at once";
    /// Something is wrong in the cluster's own programs.
    Defect = 3006, 500, "defect";
    /// A setting cannot be used.
    Settings = 4001, 400, "setting not usable";
    /// A file cannot be read or written.
    File = 4002, 400, "file not usable";
    /// The job takes longer than the command waits.
    WaitedTooLong = 4003, 504, "waited too long";
    /// Some of a measurement's jobs failed.
    BenchFailed = 4004, 500, "jobs of a measurement failed";
    /// A part of a cluster on this machine does not start.
    NotStarted = 4005, 500, "part of the cluster not started";
}

impl ErrorCode {
    /// The number.
    pub const fn number(self) -> u16 {
        self as u16
    }

    /// Where it is explained, within the repository.
    pub fn page(self) -> String {
        format!("docs/errors/{self}.md")
    }
}

impl fmt::Display for ErrorCode {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "ZISK-{}", self.number())
    }
}

/// A text that is no code of this release.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("{0:?} is not an error code of this release: expected ZISK- and four digits, as docs/errors lists them")]
pub struct UnknownCode(String);

impl FromStr for ErrorCode {
    type Err = UnknownCode;

    fn from_str(text: &str) -> Result<Self, UnknownCode> {
        let named = Self::ALL.iter().copied().find(|code| code.to_string() == text);
        named.ok_or_else(|| UnknownCode(text.chars().take(80).collect()))
    }
}

impl TryFrom<String> for ErrorCode {
    type Error = UnknownCode;

    fn try_from(text: String) -> Result<Self, UnknownCode> {
        text.parse()
    }
}

impl From<ErrorCode> for String {
    fn from(code: ErrorCode) -> String {
        code.to_string()
    }
}
