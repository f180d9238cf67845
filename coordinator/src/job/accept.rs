//! From a request to a job's first record.

use zisk_common::messages::{
    DroppedReports, EventBody, Failure, FailureKind, JobParams, JobRecord, JobRequest, JobState, Progress, Timings, Version,
};
use zisk_common::subjects::RequestKind;

use super::command::{Command, event, outstanding};

/// What a request that leaves a parameter open gets.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Defaults {
    /// log2 of the steps of a segment.
    pub log_segment_steps: u8,
    /// Steps after which a program is stopped.
    pub max_steps: u64,
    /// Seconds after which a job fails.
    pub timeout_seconds: u64,
    /// Seconds for which a proof is kept; 0 is for ever.
    pub proof_retention_seconds: u64,
    /// Failed attempts of one unit of work after which a job fails.
    pub max_attempts: u32,
}

impl Defaults {
    fn fill(&self, params: &JobParams) -> JobParams {
        JobParams {
            log_segment_steps: params.log_segment_steps.or(Some(self.log_segment_steps)),
            proof: Some(params.proof.unwrap_or_default()),
            max_steps: params.max_steps.or(Some(self.max_steps)),
            timeout_seconds: params.timeout_seconds.or(Some(self.timeout_seconds)),
            priority: params.priority,
            proof_retention_seconds: params.proof_retention_seconds.or(Some(self.proof_retention_seconds)),
        }
    }
}

/// The record of a new job, whose program and input have so many bytes. A request out of range makes a job that has failed
/// already: the client that watches it sees why.
pub fn accept(goal: RequestKind, mut request: JobRequest, bytes: u64, defaults: &Defaults, at_ms: u64) -> JobRecord {
    if let Err(error) = request.validate_for(goal) {
        let failure = Failure::new(FailureKind::Input, format!("request refused: {error}"));
        request.shorten();
        return refuse(first_record(goal, request, bytes, defaults.max_attempts, at_ms), failure);
    }
    request.params = defaults.fill(&request.params);
    first_record(goal, request, bytes, defaults.max_attempts, at_ms)
}

/// The record of a job that is refused.
pub fn refuse(mut record: JobRecord, failure: Failure) -> JobRecord {
    record.state = JobState::Failed;
    record.failure = Some(failure);
    record.timings.ended_ms = record.timings.accepted_ms;
    record
}

/// What to do once a new job's record is there; `position` is its place among those that wait.
pub fn accepted(record: &JobRecord, position: Option<u32>) -> Vec<Command> {
    let at_ms = record.timings.accepted_ms;
    if record.state.is_terminal() {
        return outstanding(record, at_ms);
    }
    let mut commands = vec![Command::Publish(event(record, at_ms, EventBody::Accepted { position }))];
    if record.waits_for_input() {
        commands.push(Command::Publish(event(record, at_ms, EventBody::WaitingForInput {})));
    }
    commands
}

fn first_record(goal: RequestKind, request: JobRequest, bytes: u64, max_attempts: u32, at_ms: u64) -> JobRecord {
    JobRecord {
        v: Version::default(),
        job: request.job,
        goal,
        state: if request.input_stream { JobState::WaitingForInput } else { JobState::Queued },
        request,
        progress: Progress::default(),
        keys: None,
        segments: Vec::new(),
        execution: None,
        public_values: None,
        verifying_key: None,
        challenge: None,
        round: 0,
        past_challenges: Vec::new(),
        epoch: 0,
        plan_attempt: 1,
        plan_failures: Vec::new(),
        aggregate_assignments: 0,
        fold_failures: Vec::new(),
        proof: None,
        failure: None,
        timings: Timings { accepted_ms: at_ms, ..Timings::default() },
        max_attempts,
        dropped: DroppedReports::default(),
        incidents: Vec::new(),
        bytes,
        cleaned: false,
    }
}

#[cfg(test)]
mod tests {
    use zisk_common::ids::{Digest, JobId};
    use zisk_common::messages::MAX_METADATA_VALUE;

    use super::super::fixtures::DEFAULTS;
    use super::*;

    fn request(value: &str) -> JobRequest {
        JobRequest {
            v: Version::default(),
            job: JobId::random(),
            program: Digest::of(b"elf"),
            input: None,
            input_stream: false,
            params: JobParams::default(),
            client: "x".repeat(1000),
            metadata: [("order".to_owned(), value.to_owned())].into(),
        }
    }

    #[test]
    fn a_request_too_large_for_its_record_is_refused_without_what_is_too_large() {
        let record = accept(RequestKind::Prove, request(&"1".repeat(MAX_METADATA_VALUE + 1)), 1, &DEFAULTS, 1);
        assert_eq!(record.state, JobState::Failed);
        assert_eq!((record.request.client.len(), record.request.metadata.len()), (64, 0));
    }

    #[test]
    fn metadata_comes_back_in_the_first_and_the_last_event_alone() {
        let request = JobRequest { client: String::new(), ..request("17") };
        let mut record = accept(RequestKind::Prove, request.clone(), 1, &DEFAULTS, 1);
        let metadata = |body| event(&record, 1, body).metadata;
        assert_eq!(metadata(EventBody::Accepted { position: None }), request.metadata);
        assert!(metadata(EventBody::Executing {}).is_empty());
        record = refuse(record, Failure::new(FailureKind::Busy, "full"));
        let commands = accepted(&record, None);
        let mut events = commands.iter().filter_map(|command| match command {
            Command::Publish(event) => Some(event),
            _ => None,
        });
        assert!(events.next().is_some_and(|event| event.kind().is_terminal() && event.metadata == request.metadata));
    }
}
