//! Requests by anybody with a NATS client: raw JSON to the coordinators' micro service, and what comes back.

mod job;
mod mistakes;
mod mutations;
mod python;
mod service;

use std::time::Duration;

use anyhow::{Context, Result};
use base64::Engine;
use base64::engine::general_purpose::STANDARD;
use serde_json::{Value, json};
use zisk_common::errors::ErrorObject;
use zisk_common::ids::JobId;
use zisk_common::messages::ObjectScope;
use zisk_common::subjects::StreamKind;
use zisk_tests::api::Caller;
use zisk_tests::story::Story;

/// What takes a second or so, on a machine that is busy with other tests.
const SOON: Duration = Duration::from_secs(60);

fn inline(bytes: &[u8]) -> Value {
    json!({ "inline": STANDARD.encode(bytes) })
}

fn id(answer: &Value) -> Result<JobId> {
    Ok(answer["job"].as_str().with_context(|| format!("no job in {answer}"))?.parse()?)
}

async fn refused(caller: &Caller, endpoint: &str, body: &Value) -> Result<ErrorObject> {
    match caller.ask(endpoint, body).await? {
        Err(error) => Ok(error),
        Ok(answer) => anyhow::bail!("api.{endpoint} of {body} is not refused: {answer}"),
    }
}

/// Everything that a request could have left behind.
async fn traces(story: &Story) -> Result<(u64, u64, usize, usize)> {
    let last = async |kind| {
        let stream = story.fleet.bus.prefix().stream(kind);
        anyhow::Ok(story.fleet.bus.jetstream().get_stream(stream).await?.cached_info().state.last_sequence)
    };
    let jobs = story.fleet.bus.jobs().await?.keys().await?.len();
    // What a store's probes leave is not there yet, or gone.
    let objects = story.fleet.objects.list().await?.iter().filter(|object| object.key.scope != ObjectScope::Mark).count();
    Ok((last(StreamKind::Requests).await?, last(StreamKind::Events).await?, jobs, objects))
}
