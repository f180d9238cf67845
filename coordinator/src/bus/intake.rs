//! What comes in: pulling requests and reports, and reading them.

use std::time::Duration;

use metrics::counter;
use serde::Deserialize;
use tokio::sync::mpsc;
use tokio_util::sync::CancellationToken;
use zisk_common::bus::Bus;
use zisk_common::ids::JobId;
use zisk_common::messages::{JSON, JobRequest, Report, decode_as};
use zisk_common::pull::Delivery;
use zisk_common::subjects::{ConsumerKind, RequestKind, Subject};

use crate::metric_definitions::REDELIVERIES;

/// How long one pull waits for something to come.
const WAIT: Duration = Duration::from_secs(5);

/// Pulls batches into a channel until `stop`. In a task of its own, because a pull that is dropped half-way leaves its
/// messages unacknowledged for as long as `ack_wait`.
pub(super) async fn pull(
    bus: Bus,
    kind: ConsumerKind,
    batch: usize,
    sender: mpsc::Sender<Vec<Delivery>>,
    stop: CancellationToken,
) {
    let mut puller = bus.puller(kind);
    // Room first: what is pulled is handed over at once. Nobody makes room any more once the coordinator stops.
    while let Some(Ok(room)) = stop.run_until_cancelled(sender.reserve()).await {
        let Some(deliveries) = stop.run_until_cancelled(puller.fetch(batch, WAIT)).await else { break };
        for delivery in deliveries.iter().filter(|delivery| delivery.delivered() > 1) {
            tracing::debug!(sequence = delivery.sequence(), "redelivered");
            counter!(REDELIVERIES, "stream" => kind.stream().to_string()).increment(1);
        }
        if !deliveries.is_empty() {
            room.send(deliveries);
        }
    }
    puller.release().await;
}

/// A request that was read, or why it cannot be.
pub(super) enum Request {
    /// A request.
    Valid(RequestKind, JobRequest),
    /// Not a request.
    Unreadable {
        /// The job it names, if that much can be read.
        job: Option<JobId>,
        /// What is wrong, for the client.
        reason: String,
    },
}

/// Reads a request.
pub(super) fn request(delivery: &Delivery) -> Request {
    let goal = match delivery.subject() {
        Ok(Subject::Request(goal)) => goal,
        Ok(_) => return Request::Unreadable { job: None, reason: "not a request's subject".to_owned() },
        Err(error) => return Request::Unreadable { job: None, reason: error.to_string() },
    };
    match decode_as::<JobRequest>(delivery.content_type(), delivery.payload()) {
        Ok(request) => Request::Valid(goal, request),
        Err(error) => {
            let is_json = delivery.content_type().is_some_and(|value| value.starts_with(JSON));
            Request::Unreadable { job: job_named_in(delivery.payload(), is_json), reason: error.to_string() }
        }
    }
}

/// The job that an otherwise unreadable request names.
fn job_named_in(payload: &[u8], is_json: bool) -> Option<JobId> {
    #[derive(Deserialize)]
    struct Named {
        job: JobId,
    }
    let named: Option<Named> = match is_json {
        true => serde_json::from_slice(payload).ok(),
        false => rmp_serde::from_slice(payload).ok(),
    };
    named.map(|named| named.job)
}

/// Reads a report; its subject must name the job, the phase and the worker that it is of: by the subject NATS decides who may post it.
pub(super) fn report(delivery: &Delivery) -> Result<Report, String> {
    let (job, phase, worker) = match delivery.subject() {
        Ok(Subject::Report { job, phase, worker, .. }) => (job, phase, worker),
        Ok(_) => return Err("not a report's subject".to_owned()),
        Err(error) => return Err(error.to_string()),
    };
    let report = Report::decode(phase, delivery.payload()).map_err(|error| error.to_string())?;
    if report.job() != job {
        return Err(format!("it was posted for job {job} but is for {}", report.job()));
    }
    match report.worker() {
        Some(of) if of == worker => Ok(report),
        Some(of) => Err(format!("worker {worker} posted it in the name of worker {of}")),
        None => Err(format!("worker {worker} posted it and it names no worker")),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_unreadable_request_is_still_answered() {
        let job = JobId::random();
        let json = format!(r#"{{"job":"{job}","program":17}}"#);
        assert_eq!(job_named_in(json.as_bytes(), true), Some(job));
        assert_eq!(job_named_in(b"{}", true), None);
        assert_eq!(job_named_in(b"\xc1", false), None);
    }
}
