//! From a request to a job's first record.

use zisk_common::messages::{
    EventBody, Failure, FailureKind, JobParams, JobRecord, JobRequest, JobState, Progress, Timings, Version,
};
use zisk_common::subjects::RequestKind;

use super::command::{Command, event, outstanding, plan};

/// What a request that leaves a parameter open gets.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Defaults {
    /// log2 of the steps of a segment.
    pub log_segment_steps: u8,
    /// Steps after which a program is stopped.
    pub max_steps: u64,
    /// Seconds after which a job fails.
    pub timeout_seconds: u64,
}

impl Defaults {
    fn fill(&self, params: &JobParams) -> JobParams {
        JobParams {
            log_segment_steps: params.log_segment_steps.or(Some(self.log_segment_steps)),
            max_steps: params.max_steps.or(Some(self.max_steps)),
            timeout_seconds: params.timeout_seconds.or(Some(self.timeout_seconds)),
        }
    }
}

/// The record of a new job and what to do about it. A request out of range makes a job that has failed already: the
/// client that watches it sees why.
pub fn accept(goal: RequestKind, mut request: JobRequest, defaults: &Defaults, at_ms: u64) -> (JobRecord, Vec<Command>) {
    if let Err(error) = request.validate() {
        let failure = Failure::new(FailureKind::Input, format!("request refused: {error}"));
        return refuse(goal, request, failure, at_ms);
    }
    request.params = defaults.fill(&request.params);
    let record = first_record(goal, request, at_ms);
    let commands = vec![Command::Publish(event(&record, at_ms, EventBody::Accepted {})), Command::Assign(plan(&record))];
    (record, commands)
}

/// The record of a job that is refused, and its terminal event.
pub fn refuse(goal: RequestKind, request: JobRequest, failure: Failure, at_ms: u64) -> (JobRecord, Vec<Command>) {
    let mut record = first_record(goal, request, at_ms);
    record.state = JobState::Failed;
    record.failure = Some(failure);
    record.timings.ended_ms = at_ms;
    let commands = outstanding(&record, at_ms);
    (record, commands)
}

fn first_record(goal: RequestKind, request: JobRequest, at_ms: u64) -> JobRecord {
    JobRecord {
        v: Version::default(),
        job: request.job,
        goal,
        request,
        state: JobState::Queued,
        progress: Progress::default(),
        keys: None,
        segments: Vec::new(),
        execution: None,
        public_values: None,
        verifying_key: None,
        challenge: None,
        epoch: 0,
        plan_attempt: 1,
        plan_failures: Vec::new(),
        fold_assignments: 0,
        fold_failures: Vec::new(),
        proof: None,
        failure: None,
        timings: Timings { accepted_ms: at_ms, ..Timings::default() },
        late_reports: 0,
        cleaned: false,
    }
}
