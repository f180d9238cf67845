//! Requests by anybody with a NATS client: a NATS micro service (ADR-32) with one endpoint for each thing that can be asked.
//!
//! Every coordinator runs it, also one that stands by: what must be decided by the leader goes through the stream of requests, as
//! every client's does. Answers and errors are as docs/api.md says.

pub mod data;
#[cfg(test)]
mod described;
pub mod fields;
mod input;
mod jobs;
pub mod request;
mod submit;
pub mod value;
mod verify;

use std::collections::HashMap;
use std::sync::Arc;
use std::time::Duration;

use async_nats::HeaderMap;
use async_nats::service::error::Error as ServiceError;
use async_nats::service::{NATS_SERVICE_ERROR, NATS_SERVICE_ERROR_CODE, Request, Service, ServiceExt};
use bytes::Bytes;
use futures::StreamExt;
use serde::Serialize;
use serde_json::Value as Json;
use tokio::sync::{Mutex, OnceCell, OwnedSemaphorePermit, Semaphore};
use zisk_common::bus::Bus;
use zisk_common::errors::{ErrorCode, ErrorObject};
use zisk_common::messages::{CONTENT_TYPE, SCHEMA_VERSION};
use zisk_common::objects::{Objects, StoreUrl};
use zisk_common::subjects::{ApiEndpoint, Prefix, RequestKind};

use self::value::{Encoding, Value};
use self::verify::MAX_VERIFICATIONS;

/// The service's name, as `nats micro ls` shows it.
const NAME: &str = "zisk";
/// Requests in hand at once; those beyond are told so.
const MAX_IN_HAND: usize = 64;
/// How long an answer waits for what the leading coordinator does with a request: well within what NATS clients wait.
const ANSWER_WITHIN: Duration = Duration::from_secs(3);
/// For finishing what is in hand when the process stops.
const FINISHED_WITHIN: Duration = Duration::from_secs(2);
/// Idempotency key.
const MESSAGE_ID: &str = "Nats-Msg-Id";

/// The service while it runs.
pub struct Running {
    service: Service,
    in_hand: Arc<Semaphore>,
}

/// What all requests share.
struct Api {
    bus: Bus,
    store: StoreUrl,
    objects: OnceCell<Objects>,
    max_jobs: usize,
    /// Proofs that wait to be verified.
    verifications: Semaphore,
    /// Whose proof is verified.
    turn: Mutex<()>,
}

/// Starts to answer; `max_jobs` may wait for their turn.
///
/// # Errors
/// When the service cannot be set up on this connection.
pub async fn start(bus: &Bus, store: &StoreUrl, max_jobs: usize) -> Result<Running, async_nats::Error> {
    let metadata =
        HashMap::from([("prefix".to_owned(), bus.prefix().to_string()), ("schema".to_owned(), SCHEMA_VERSION.to_string())]);
    let service = bus.client().service_builder().description("Proves RISC-V programs: docs/api.md").metadata(metadata);
    let service = service.start(NAME, env!("CARGO_PKG_VERSION")).await?;
    let api = Arc::new(Api {
        bus: bus.clone(),
        store: store.clone(),
        objects: OnceCell::new(),
        max_jobs,
        verifications: Semaphore::new(MAX_VERIFICATIONS),
        turn: Mutex::new(()),
    });
    let in_hand = Arc::new(Semaphore::new(MAX_IN_HAND));
    for &endpoint in ApiEndpoint::ALL {
        let subject = bus.prefix().api_endpoint(endpoint);
        let mut requests = service.endpoint_builder().name(endpoint.as_str()).add(subject).await?;
        let (api, in_hand) = (api.clone(), in_hand.clone());
        tokio::spawn(async move {
            while let Some(request) = requests.next().await {
                // Those that cannot be taken are answered at once, so that none pile up.
                let permit = in_hand.clone().try_acquire_owned().ok();
                tokio::spawn(answer(api.clone(), endpoint, request, permit));
            }
        });
    }
    // So that who is told that the coordinator is ready can ask it.
    bus.flush().await;
    Ok(Running { service, in_hand })
}

impl Running {
    /// Takes no more, and finishes what is in hand.
    pub async fn stop(self) {
        if let Err(error) = self.service.stop().await {
            tracing::debug!(%error, "the service is not stopped");
        }
        let all = self.in_hand.acquire_many(MAX_IN_HAND as u32);
        if tokio::time::timeout(FINISHED_WITHIN, all).await.is_err() {
            tracing::debug!("requests are left without an answer");
        }
    }
}

async fn answer(api: Arc<Api>, endpoint: ApiEndpoint, request: Request, permit: Option<OwnedSemaphorePermit>) {
    let client = api.bus.client().clone();
    let headers = request.message.headers.as_ref();
    let header = |name| headers.and_then(|headers| headers.get(name)).map(|value| value.as_str().to_owned());
    let (content_type, message_id) = (header(CONTENT_TYPE), header(MESSAGE_ID));
    let body = request.message.payload.clone();
    let Some(reply_to) = request.message.reply.as_deref() else {
        tracing::warn!(endpoint = endpoint.as_str(), "a request without a reply subject is not done: use `nats req`");
        return;
    };
    if !is_inbox(api.bus.prefix(), reply_to) {
        tracing::warn!(
            endpoint = endpoint.as_str(),
            reply_to,
            "a request is not done: its answer would be a message to the cluster, or to NATS"
        );
        return;
    }
    let encoding = Encoding::of(content_type.as_deref(), &body);
    let written_as = encoding.as_ref().map_or(Encoding::Json, |encoding| *encoding);
    let done = match (encoding, &permit) {
        (Err(error), _) => Err(error),
        (Ok(_), None) => {
            Err(ErrorObject::new(ErrorCode::TooManyRequests, "too many requests at once: send it again after a moment"))
        }
        // In a task of its own: a panic is an answer, too.
        (Ok(encoding), Some(_)) => {
            let work = async move { api.done(endpoint, encoding, &body, message_id.as_deref()).await };
            tokio::spawn(work).await.unwrap_or_else(|panic| Err(defect(&panic)))
        }
    };
    if let Err(error) = &done {
        tracing::debug!(endpoint = endpoint.as_str(), code = %error.code, field = error.field, "request refused: {}", error.message);
    }
    reply(&client, request, written_as, done).await;
}

/// Whether an answer may go there: who asks need not be allowed to publish where a coordinator is.
fn is_inbox(prefix: &Prefix, reply_to: &str) -> bool {
    let of_cluster = reply_to.strip_prefix(&prefix.to_string()).is_some_and(|rest| rest.starts_with('.'));
    !of_cluster && !reply_to.starts_with('$')
}

/// Answers. The library answers errors without a body; so the answer goes out first, and what the library makes of it, which counts the
/// error in the statistics, goes where nobody listens.
async fn reply(client: &async_nats::Client, mut request: Request, encoding: Encoding, done: Result<Json, ErrorObject>) {
    let mut headers = HeaderMap::new();
    headers.insert(CONTENT_TYPE, encoding.content_type());
    let sent = match done {
        Ok(answer) => request.respond_with_headers(Ok(written(encoding, &answer)), headers).await,
        Err(error) => {
            let status = format!("{}: {}", error.code, error.code.title());
            headers.insert(NATS_SERVICE_ERROR, status.as_str());
            headers.insert(NATS_SERVICE_ERROR_CODE, error.code.status().to_string().as_str());
            let nobody = async_nats::Subject::from(client.new_inbox());
            let Some(reply) = request.message.reply.replace(nobody) else { return };
            let sent = client.publish_with_headers(reply, headers, written(encoding, &error)).await;
            let counted = ServiceError { status, code: error.code.status().into() };
            if let Err(error) = request.respond(Err(counted)).await {
                tracing::debug!(%error, "error not counted");
            }
            sent
        }
    };
    if let Err(error) = sent {
        tracing::warn!(%error, "a request is left without an answer");
    }
}

fn written(encoding: Encoding, answer: &impl Serialize) -> Bytes {
    let written = match encoding {
        Encoding::Json => serde_json::to_vec(answer).map_err(|error| error.to_string()),
        Encoding::MessagePack => rmp_serde::to_vec_named(answer).map_err(|error| error.to_string()),
    };
    // What is answered are plain values: they can be written.
    written.unwrap_or_else(|error| format!("{{\"message\":{error:?}}}").into_bytes()).into()
}

/// What was thrown, as an error.
fn defect(panic: &tokio::task::JoinError) -> ErrorObject {
    tracing::error!(%panic, "a request met a defect");
    ErrorObject::new(ErrorCode::Defect, "the coordinator met a defect: its log has more")
}

/// Runs what takes a core for a while beside everything else.
async fn blocking<T: Send + 'static>(work: impl FnOnce() -> T + Send + 'static) -> Result<T, ErrorObject> {
    tokio::task::spawn_blocking(work).await.map_err(|panic| defect(&panic))
}

impl Api {
    async fn done(
        &self,
        endpoint: ApiEndpoint,
        encoding: Encoding,
        body: &Bytes,
        message_id: Option<&str>,
    ) -> Result<Json, ErrorObject> {
        let body = Value::read(encoding, body)?;
        match endpoint {
            ApiEndpoint::Prove => self.submit(RequestKind::Prove, body, message_id).await,
            ApiEndpoint::Execute => self.submit(RequestKind::Execute, body, message_id).await,
            ApiEndpoint::Setup => self.submit(RequestKind::Setup, body, message_id).await,
            ApiEndpoint::Input => self.input(body).await,
            ApiEndpoint::Status => self.status(body).await,
            ApiEndpoint::Result => self.result(body).await,
            ApiEndpoint::Cancel => self.cancel(body).await,
            ApiEndpoint::Jobs => self.jobs(body).await,
            ApiEndpoint::Verify => self.verify(body).await,
        }
    }

    /// The object store. Where no coordinator has led yet, streams and buckets are made first.
    async fn objects(&self) -> Result<&Objects, ErrorObject> {
        let open = async {
            self.bus.prepare_missing().await?;
            Ok::<_, ErrorObject>(Objects::open(&self.store, &self.bus).await?)
        };
        self.objects.get_or_try_init(|| open).await
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn answers_go_to_inboxes_only() {
        let prefix = Prefix::default();
        for inbox in ["_INBOX.x.1", "_INBOX.alice.1", "_R_.a.b", "zisk.v10.x", "answers.7"] {
            assert!(is_inbox(&prefix, inbox), "{inbox}");
        }
        for other in
            ["zisk.v1.request.prove", "zisk.v1.event.x.completed", "$KV.ZISK_V1_JOBS.x", "$JS.API.STREAM.PURGE.X", "$O.x"]
        {
            assert!(!is_inbox(&prefix, other), "{other}");
        }
    }
}
