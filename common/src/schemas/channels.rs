//! Every subject with what is on it and who sends and receives it. Addresses are the subjects that [`Prefix`] makes, with names in
//! place of what varies; a new kind of subject, endpoint or bucket does not compile here before it is described.

use crate::ids::{JobId, WorkerId};
use crate::messages::{BusCondition, Message, QueueOrder, StoreMark};
use crate::subjects::*;

/// Stands for a job in a subject that is to become an address.
const JOB: &str = "0f8fad5b-d9cb-469f-a165-70867728950e";
const WORKER_ID: &str = "6fa459ea-ee8a-4ca4-894e-db77e160355e";
/// Stands for a number.
const N: u32 = 4_242_001;
/// Stands for another number.
const COMMIT: u32 = 4_242_002;

/// One subject, or all that differ in parameters alone.
pub struct Channel {
    /// Its name in the document.
    pub name: String,
    /// The subject, with parameters in braces.
    pub address: String,
    /// What it is for.
    pub summary: &'static str,
    /// The names of the messages on it.
    pub messages: Vec<String>,
    /// The stream that stores it.
    pub stream: Option<String>,
    /// Which programs of a cluster send on it.
    pub senders: &'static [&'static str],
    /// Which receive from it.
    pub receivers: &'static [&'static str],
    /// The answer, where it is a request with one.
    pub answer: Option<String>,
}

/// Bytes that are no message: the name of their channel, and theirs on it.
pub const RAW: &str = "input-chunk";

const COORDINATOR: &str = "coordinator";
const WORKER: &str = "worker";

impl Channel {
    fn new(name: impl Into<String>, address: String, summary: &'static str, message: &str) -> Self {
        let messages = vec![stem(message)];
        Self { name: name.into(), address, summary, messages, stream: None, senders: &[], receivers: &[], answer: None }
    }

    fn of_stream(self, kind: StreamKind) -> Self {
        Self { stream: Some(Prefix::default().stream(kind)), ..self }
    }

    fn between(self, senders: &'static [&'static str], receivers: &'static [&'static str]) -> Self {
        Self { senders, receivers, ..self }
    }

    /// The parameters of its address.
    pub fn parameters(&self) -> Vec<&str> {
        self.address.split('{').skip(1).filter_map(|part| part.split_once('}').map(|(name, _)| name)).collect()
    }

    /// Whether a concrete subject under the default prefix is one of these.
    pub fn covers(&self, subject: &str) -> bool {
        let address = self.address.replace("{prefix}", DEFAULT_PREFIX);
        let (address, subject): (Vec<_>, Vec<_>) = (address.split('.').collect(), subject.split('.').collect());
        let fits = |token: &str, text: &str| match token.strip_prefix('{').and_then(|name| name.strip_suffix('}')) {
            None => token == text,
            Some("job") => text.parse::<JobId>().is_ok(),
            Some("worker") => text.parse::<WorkerId>().is_ok(),
            Some(name) => match values(name) {
                Some(values) => values.contains(&text.to_owned()),
                None => text.parse::<u64>().is_ok(),
            },
        };
        address.len() == subject.len() && address.iter().zip(subject).all(|(token, text)| fits(token, text))
    }
}

/// A message's name in files.
fn stem(name: &str) -> String {
    name.replace(' ', "-")
}

fn name_of<M: Message>() -> &'static str {
    M::NAME
}

/// The values that a parameter may have, where they are few.
pub fn values(parameter: &str) -> Option<Vec<String>> {
    match parameter {
        "kind" => Some(EventKind::ALL.iter().filter(|kind| **kind != EventKind::Proof).map(ToString::to_string).collect()),
        "phase" => Some(Phase::ALL.iter().map(ToString::to_string).collect()),
        "stream" => Some(StreamKind::ALL.iter().map(ToString::to_string).collect()),
        _ => None,
    }
}

/// What a parameter is.
pub fn describe(parameter: &str) -> &'static str {
    match parameter {
        "prefix" => "The prefix of the cluster's names (`ZISK_PREFIX`).",
        "bucketPrefix" => "The prefix in upper case with _ for the dots, as it is in the names of streams and buckets.",
        "job" => "The job's id, a lower-case hyphenated UUID.",
        "n" => {
            "The segment's index, or 0 for what is no segment's; of a fold the first segment of its right node; of an aggregation and of a chunk its number."
        }
        "commit" => "Counts the segment's committed proofs, from 2 on.",
        "kind" => "What happened, as in the event's body.",
        "phase" => "The phase that failed.",
        "stream" => "The stream that the message was in.",
        "sequence" => "Its sequence there.",
        "worker" => "The worker's id, a lower-case hyphenated UUID.",
        "program" => "The program's id, 64 hexadecimal digits.",
        _ => panic!("parameter {parameter} is not described"),
    }
}

/// Puts names in place of the prefix and of these tokens, each time the last that is there.
fn address(subject: &str, names: &[(String, &str)]) -> String {
    let rest = subject.strip_prefix(DEFAULT_PREFIX).unwrap();
    let mut tokens: Vec<String> = rest.split('.').map(str::to_owned).collect();
    for (value, name) in names {
        let last = tokens.iter().rposition(|token| token == value).unwrap();
        tokens[last] = format!("{{{name}}}");
    }
    format!("{{prefix}}{}", tokens.join("."))
}

/// Every form of subject, with every kind.
pub fn subjects() -> Vec<(Subject, String)> {
    let prefix = Prefix::default();
    let (job, worker): (JobId, WorkerId) = (JOB.parse().unwrap(), WORKER_ID.parse().unwrap());
    let mut texts: Vec<String> = RequestKind::ALL.iter().map(|kind| prefix.request(*kind)).collect();
    texts.extend(AssignmentKind::ALL.iter().map(|kind| prefix.assign(*kind, job, N)));
    texts.extend(Phase::ALL.iter().map(|phase| prefix.report(job, *phase, N, worker)));
    texts.extend([prefix.challenge(job), prefix.cancel(job), prefix.input_chunk(job, N), prefix.input_close(job)]);
    texts.extend(EventKind::ALL.iter().filter(|kind| **kind != EventKind::Proof).map(|kind| prefix.event(job, *kind)));
    texts.extend([prefix.proof_event(job, N, 1), prefix.proof_event(job, N, COMMIT)]);
    texts.extend(Phase::ALL.iter().map(|phase| prefix.dead(job, *phase, N)));
    texts.extend(StreamKind::ALL.iter().map(|stream| prefix.dead_unreadable(*stream, N.into())));
    texts.into_iter().map(|text| (prefix.parse(&text).unwrap(), text)).collect()
}

/// The channel of a subject in a stream.
fn of_subject(subject: Subject, text: &str) -> Channel {
    let job = (JOB.to_owned(), "job");
    let n = (N.to_string(), "n");
    match subject {
        Subject::Request(kind) => {
            let summary = match kind {
                RequestKind::Setup => "A client asks for a program's keys.",
                RequestKind::Execute => "A client asks for a run without a proof.",
                RequestKind::Prove => "A client asks for a run and its proof.",
            };
            Channel::new(format!("request-{kind}"), address(text, &[]), summary, "request")
                .of_stream(StreamKind::Requests)
                .between(&[], &[COORDINATOR])
        }
        Subject::Assign { kind, .. } => {
            let (message, summary, senders): (_, _, &[&str]) = match kind {
                AssignmentKind::Plan => (name_of::<crate::messages::PlanAssignment>(), "A program is to be run.", &[COORDINATOR]),
                AssignmentKind::Segment => {
                    (name_of::<crate::messages::SegmentAssignment>(), "A segment is to be proven.", &[COORDINATOR])
                }
                AssignmentKind::Fold => {
                    (name_of::<crate::messages::FoldAssignment>(), "The job's aggregator leaves a fold to others.", &[WORKER])
                }
                AssignmentKind::Aggregate => {
                    (name_of::<crate::messages::AggregateAssignment>(), "A job needs another aggregator.", &[COORDINATOR])
                }
            };
            Channel::new(format!("assign-{kind}"), address(text, &[job, n]), summary, message)
                .of_stream(StreamKind::Assign)
                .between(senders, &[WORKER])
        }
        Subject::Report { phase, .. } => {
            use crate::messages::{
                Contribution, Executed, Failed, Final, Folded, GivenBack, Planned, Proof, Rejected, SetupDone,
            };
            let (message, summary) = match phase {
                Phase::Setup => (name_of::<SetupDone>(), "A program's keys are there."),
                Phase::Planned => (name_of::<Planned>(), "A segment was cut."),
                Phase::Executed => (name_of::<Executed>(), "The program ended."),
                Phase::Contribution => (name_of::<Contribution>(), "A segment's contribution."),
                Phase::Proof => (name_of::<Proof>(), "A segment's proof."),
                Phase::GivenBack => (name_of::<GivenBack>(), "A contributed segment is left to an idle worker."),
                Phase::Rejected => (name_of::<Rejected>(), "The aggregator rejects a committed segment proof."),
                Phase::Folded => (name_of::<Folded>(), "Two neighbouring nodes were folded."),
                Phase::Final => (name_of::<Final>(), "The final proof."),
                Phase::Failed => (name_of::<Failed>(), "Something failed."),
            };
            Channel::new(format!("report-{phase}"), address(text, &[job, n, (WORKER_ID.to_owned(), "worker")]), summary, message)
                .of_stream(StreamKind::Report)
                .between(&[WORKER], &[COORDINATOR])
        }
        Subject::Challenge(_) => Channel::new(
            "challenge",
            address(text, &[job]),
            "A job's challenge: proving may begin. The last one is kept.",
            "challenge",
        )
        .of_stream(StreamKind::Broadcast)
        .between(&[COORDINATOR], &[WORKER]),
        Subject::Cancel(_) => {
            let summary = "A job is to end, or has ended, without a result. Clients may send it, too.";
            Channel::new("cancel", address(text, &[job]), summary, "cancel")
                .of_stream(StreamKind::Broadcast)
                .between(&[COORDINATOR], &[COORDINATOR, WORKER])
        }
        Subject::InputChunk { .. } => {
            let summary = "A chunk of an input that is streamed: the first that is stored under its number counts.";
            Channel::new(RAW, address(text, &[job, n]), summary, RAW).of_stream(StreamKind::Input).between(&[], &[COORDINATOR])
        }
        Subject::InputClose(_) => {
            let summary = "A streamed input is whole: the job takes its place among those that wait.";
            Channel::new("input-close", address(text, &[job]), summary, name_of::<crate::messages::InputClose>())
                .of_stream(StreamKind::Input)
                .between(&[], &[COORDINATOR])
        }
        Subject::Event { kind, .. } => {
            let kind = (kind.to_string(), "kind");
            let (name, address, summary) = match text.split('.').count() - DEFAULT_PREFIX.split('.').count() {
                3 => ("event", address(text, &[job, kind]), "What happens to a job; all of it is on `event.<job>.>`."),
                4 => ("event-proof", address(text, &[job, n]), "A segment's proof was committed, as it is for the first time."),
                _ => {
                    let again = address(text, &[job, n, (COMMIT.to_string(), "commit")]);
                    ("event-proof-again", again, "A segment's proof was committed, after others that were rejected.")
                }
            };
            Channel::new(name, address, summary, "event").of_stream(StreamKind::Events).between(&[COORDINATOR], &[WORKER])
        }
        Subject::Dead { phase, .. } => {
            let address = address(text, &[job, (phase.to_string(), "phase"), n]);
            Channel::new("dead", address, "A job that the cluster could not bring to its end.", "dead letter")
                .of_stream(StreamKind::Dead)
                .between(&[COORDINATOR], &[])
        }
        Subject::DeadUnreadable { stream, .. } => {
            let address = address(text, &[(stream.to_string(), "stream"), (N.to_string(), "sequence")]);
            Channel::new("dead-unreadable", address, "A message that could not be read.", "dead letter")
                .of_stream(StreamKind::Dead)
                .between(&[COORDINATOR, WORKER], &[])
        }
    }
}

/// The channel of an endpoint of the service.
fn of_endpoint(endpoint: ApiEndpoint) -> Channel {
    let (summary, request, answer) = match endpoint {
        ApiEndpoint::Prove => ("Proves a run of a program.", "api-prove-request", "api-submitted"),
        ApiEndpoint::Execute => ("Runs a program without a proof.", "api-prove-request", "api-submitted"),
        ApiEndpoint::Setup => {
            ("Derives a program's keys, so that its first proof need not.", "api-setup-request", "api-submitted")
        }
        ApiEndpoint::Input => {
            ("Takes a chunk of an input that is streamed, or its end.", "api-input-request", "api-input-answer")
        }
        ApiEndpoint::Status => ("Says where a job stands.", "api-job-request", "api-status-answer"),
        ApiEndpoint::Result => ("Gives what a job ended with.", "api-result-request", "api-result-answer"),
        ApiEndpoint::Cancel => ("Ends a job.", "api-job-request", "api-cancel-answer"),
        ApiEndpoint::Jobs => ("Lists jobs, page by page.", "api-jobs-request", "api-jobs-answer"),
        ApiEndpoint::Verify => ("Verifies a proof.", "api-verify-request", "api-verify-answer"),
    };
    let address = address(&Prefix::default().api_endpoint(endpoint), &[]);
    let channel = Channel::new(format!("api-{endpoint}"), address, summary, request).between(&[], &[COORDINATOR]);
    Channel { answer: Some(answer.to_owned()), ..channel }
}

/// The channels of a key-value bucket: NATS stores an entry as a message on `$KV.<bucket>.<key>`.
fn of_bucket(kind: BucketKind) -> Vec<Channel> {
    let bucket = Prefix::default().bucket(kind).replace("ZISK_V1", "{bucketPrefix}");
    let suffix = bucket.rsplit('_').next().unwrap().to_lowercase();
    let entry = |name: &str, key: &str, summary, message: &str, writers| {
        let name = if name.is_empty() { format!("bucket-{suffix}") } else { format!("bucket-{suffix}-{name}") };
        let channel = Channel::new(name, format!("$KV.{bucket}.{key}"), summary, message);
        Channel { stream: Some(Prefix::default().bucket_stream(kind)), ..channel.between(writers, &[]) }
    };
    const BY_COORDINATOR: &[&str] = &[COORDINATOR];
    const BY_WORKER: &[&str] = &[WORKER];
    match kind {
        BucketKind::Jobs => vec![entry("", "{job}", "All that is known of a job.", "job record", BY_COORDINATOR)],
        BucketKind::Segments => vec![
            entry("", "{job}.{n}", "All that is known of a segment.", "segment record", BY_COORDINATOR),
            entry("begun", "{job}.{n}.begun", "Who has begun a segment that was begun before.", "work begun", BY_WORKER),
            entry("plan-begun", "{job}.plan.begun", "Who has begun a plan that was begun before.", "work begun", BY_WORKER),
        ],
        BucketKind::Workers => vec![entry("", "{worker}", "A worker that is there.", "worker presence", BY_WORKER)],
        BucketKind::Programs => vec![entry("", "{program}", "A program's keys.", "program entry", BY_WORKER)],
        BucketKind::Elections => vec![entry("", "{job}", "The job's aggregator.", "election entry", BY_WORKER)],
        BucketKind::Leader => vec![entry("", "leader", "The coordinator that leads.", "election entry", BY_COORDINATOR)],
        BucketKind::Queue => {
            vec![entry("", QueueOrder::KEY, "The jobs that wait, in order.", "queue order", BY_COORDINATOR)]
        }
        BucketKind::Cluster => vec![
            entry("mark", StoreMark::KEY, "What the cluster's object store carries.", "store mark", BY_COORDINATOR),
            entry("condition", BusCondition::KEY, "What of the bus cannot be brought back.", "bus condition", BY_COORDINATOR),
        ],
    }
}

/// All channels, each once.
pub fn all() -> Vec<Channel> {
    let mut all: Vec<Channel> = Vec::new();
    for (subject, text) in subjects() {
        let channel = of_subject(subject, &text);
        match all.iter().find(|known| known.name == channel.name) {
            Some(known) => assert_eq!(known.address, channel.address, "two subjects are called {}", channel.name),
            None => all.push(channel),
        }
    }
    all.extend(ApiEndpoint::ALL.iter().map(|endpoint| of_endpoint(*endpoint)));
    all.extend(BucketKind::ALL.iter().flat_map(|kind| of_bucket(*kind)));
    all
}

#[test]
fn every_subject_has_one_channel() {
    let channels = all();
    let endpoints = ApiEndpoint::ALL.iter().map(|endpoint| Prefix::default().api_endpoint(*endpoint));
    for subject in subjects().into_iter().map(|(_, text)| text).chain(endpoints) {
        let covering: Vec<&str> = channels.iter().filter(|channel| channel.covers(&subject)).map(|it| it.name.as_str()).collect();
        assert_eq!(covering.len(), 1, "{subject} is on the channels {covering:?}");
    }
}

/// A method of [`Prefix`] that makes another kind of name, and of which nothing else here would know.
#[test]
fn every_name_in_the_code_has_a_channel() {
    let channels = all();
    let addresses: Vec<Vec<&str>> =
        channels.iter().filter_map(|channel| Some(channel.address.strip_prefix("{prefix}.")?.split('.').collect())).collect();
    let known = |literal: &str| {
        let tokens: Vec<&str> = literal.split('.').collect();
        let fits =
            |(token, named): (&&str, &&str)| token == named || token.starts_with(['{', '*', '>']) || named.starts_with('{');
        addresses.iter().any(|address| tokens.len() <= address.len() && tokens.iter().zip(address).all(fits))
    };
    assert!(!known("heartbeat.{worker}") && !known("request.{kind}.{job}") && known("event.{job}.>"));
    let source = include_str!("../subjects.rs");
    let literals: Vec<&str> = source.split("\"{self}.").skip(1).filter_map(|rest| rest.split('"').next()).collect();
    assert!(literals.len() > 15, "names are looked for in the wrong way: {literals:?}");
    for literal in literals {
        assert!(known(literal), "<prefix>.{literal} in subjects.rs is on no channel: describe it in channels.rs");
    }
    for kind in StreamKind::ALL {
        let name = Prefix::default().stream(*kind);
        assert!(channels.iter().any(|channel| channel.stream.as_deref() == Some(name.as_str())), "{name} has no channel");
    }
}
