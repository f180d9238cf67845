//! `api.status`, `api.result`, `api.cancel`, `api.jobs`: jobs that there are.

use std::time::Duration;

use serde_json::{Value as Json, json};
use tokio::time::{Instant, sleep, timeout};
use zisk_common::api::{Cancelled, JobsPage, MAX_PAGE, PAGE};
use zisk_common::errors::{ErrorCode, ErrorObject};
use zisk_common::ids::JobId;
use zisk_common::messages::{Cancel, JobRecord, JobState, ObjectRef, QueueOrder};
use zisk_common::subjects::{ApiEndpoint, StreamKind};
use zisk_common::view::{JobProof, JobResult, JobStatus};

use super::data::{PROOF, base64};
use super::fields::Fields;
use super::value::Value;
use super::{ANSWER_WITHIN, Api};

/// What a job's id is.
const JOB: &str = "a job id, as api.prove gives it: a lower-case hyphenated UUID";
/// How often to look whether a request was taken.
const LOOK: Duration = Duration::from_millis(50);
/// Beside the proof, an answer has at most so many bytes: outputs and what the guest printed.
const AROUND_PROOF: usize = 128 * 1024;

impl Api {
    /// Where a job stands.
    pub(super) async fn status(&self, body: Value) -> Result<Json, ErrorObject> {
        let mut fields = Fields::of_request(body, ApiEndpoint::Status)?;
        let record = self.known(job(&mut fields)?).await?;
        Ok(json!(JobStatus::new(&record, &self.queue_of([&record]).await?)))
    }

    /// What a job ended with.
    pub(super) async fn result(&self, body: Value) -> Result<Json, ErrorObject> {
        let mut fields = Fields::of_request(body, ApiEndpoint::Result)?;
        let (job, inline) = (job(&mut fields)?, fields.flag("inline")?.unwrap_or(true));
        let record = self.known(job).await?;
        if let Some(failure) = &record.failure {
            return Err(ErrorObject::from(failure).of(job));
        }
        if record.state != JobState::Completed {
            let message = format!("job {job} has no result yet, it is {}", record.state);
            return Err(ErrorObject::new(ErrorCode::NotEnded, message).of(job));
        }
        let mut answer = JobResult::new(&record);
        if let Some(proof) = record.proof {
            let inline = self.inline(proof, inline).await?;
            answer.proof = Some(JobProof { key: proof.key, bytes: proof.size, inline });
        }
        Ok(json!(answer))
    }

    /// The proof in base64, where it is wanted and fits a message.
    async fn inline(&self, proof: ObjectRef, wanted: bool) -> Result<Option<String>, ErrorObject> {
        let room = self.bus.client().server_info().max_payload.saturating_sub(AROUND_PROOF) as u64;
        let objects = self.objects().await?;
        if !wanted || proof.size.div_ceil(3) * 4 > room {
            // Whoever gets it by its key is to find it.
            PROOF.find("job", objects, proof.key).await?;
            return Ok(None);
        }
        match objects.get(proof).await {
            Ok(bytes) => Ok(Some(base64(&bytes))),
            Err(zisk_common::objects::ObjectError::NotFound { key, .. }) => Err(PROOF.not_found("job", key)),
            Err(error) => Err(error.into()),
        }
    }

    /// Ends a job, also one whose request no coordinator has taken yet.
    pub(super) async fn cancel(&self, body: Value) -> Result<Json, ErrorObject> {
        let mut fields = Fields::of_request(body, ApiEndpoint::Cancel)?;
        let job = job(&mut fields)?;
        let record = self.once_taken(job).await?;
        let answer = |state: JobState| json!(Cancelled { job, cancelled: state == JobState::Cancelled, state });
        if let Some(state) = record.map(|record| record.state).filter(|state| state.is_terminal()) {
            return Ok(answer(state));
        }
        self.bus.broadcast_cancel(&Cancel::by_client(job)).await?;
        let mut events = self.bus.events(job);
        let ended = async {
            loop {
                // An event that this release cannot read is not the end of it.
                if let Some(state) = events.next().await.ok().and_then(|event| event.body.end()) {
                    return state;
                }
            }
        };
        timeout(ANSWER_WITHIN, ended).await.map(answer).map_err(|_| {
            let message = format!(
                "no coordinator confirmed yet that job {job} is cancelled. The cancellation is stored: workers drop the job now, and it ends \
                 when a coordinator comes"
            );
            ErrorObject::new(ErrorCode::NoCoordinator, message).of(job)
        })
    }

    /// A page of jobs, in the order of their ids: to know the newest, all records would have to be read.
    pub(super) async fn jobs(&self, body: Value) -> Result<Json, ErrorObject> {
        let mut fields = Fields::of_request(body, ApiEndpoint::Jobs)?;
        let limit = usize::from(fields.integer("limit", 1..=MAX_PAGE)?.unwrap_or(PAGE));
        let after: Option<JobId> = fields.parsed("after", JOB)?;
        self.objects().await?;
        let jobs = self.bus.jobs().await?;
        let mut ids: Vec<JobId> = jobs.keys().await?.iter().filter_map(|key| key.parse().ok()).collect();
        ids.retain(|id| after.is_none_or(|after| *id > after));
        ids.sort_unstable();
        let next = ids.get(limit.saturating_sub(1)).filter(|_| ids.len() > limit).copied();
        ids.truncate(limit);
        let mut records = Vec::with_capacity(ids.len());
        for id in ids {
            // One that was deleted meanwhile is none any more.
            records.extend(self.record(id).await?);
        }
        let queue = self.queue_of(&records).await?;
        let jobs = records.iter().map(|record| JobStatus::new(record, &queue)).collect();
        Ok(json!(JobsPage { jobs, next }))
    }

    pub(super) async fn record(&self, job: JobId) -> Result<Option<JobRecord>, ErrorObject> {
        self.objects().await?;
        Ok(self.bus.jobs().await?.get(job).await?.map(|entry| entry.value))
    }

    /// The job's record. Of a job that has none yet, once the requests that wait have been taken; none when that takes too long.
    pub(super) async fn once_taken(&self, job: JobId) -> Result<Option<JobRecord>, ErrorObject> {
        if let Some(record) = self.record(job).await? {
            return Ok(Some(record));
        }
        let deadline = Instant::now() + ANSWER_WITHIN;
        let (_, newest) = self.bus.sequences(StreamKind::Requests).await?;
        loop {
            let (oldest, _) = self.bus.sequences(StreamKind::Requests).await?;
            let record = self.record(job).await?;
            match record {
                Some(record) => return Ok(Some(record)),
                None if oldest > newest => return Err(unknown(job)),
                None if Instant::now() >= deadline => return Ok(None),
                None => sleep(LOOK).await,
            }
        }
    }

    async fn known(&self, job: JobId) -> Result<JobRecord, ErrorObject> {
        self.record(job).await?.ok_or_else(|| unknown(job))
    }

    /// The order of the jobs that wait, read only where one of these does.
    async fn queue_of(&self, records: impl IntoIterator<Item = &JobRecord>) -> Result<QueueOrder, ErrorObject> {
        match records.into_iter().any(JobRecord::is_waiting) {
            true => Ok(self.bus.queue_order().await?),
            false => Ok(QueueOrder::default()),
        }
    }

    pub(super) async fn position(&self, record: &JobRecord) -> Result<Option<u32>, ErrorObject> {
        Ok(self.queue_of([record]).await?.position(record.job).filter(|_| record.is_waiting()))
    }
}

pub(super) fn job(fields: &mut Fields) -> Result<JobId, ErrorObject> {
    fields.parsed("job", JOB)?.ok_or_else(|| fields.missing("job", JOB))
}

fn unknown(job: JobId) -> ErrorObject {
    ErrorObject::new(ErrorCode::JobNotFound, format!("there is no job {job}")).at("job").allowing("a job that api.jobs lists")
}
