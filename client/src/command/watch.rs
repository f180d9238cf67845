//! `zisk watch`, `zisk result`.

use std::path::Path;

use zisk_client::{ClientError, RemoteClient};
use zisk_common::ids::JobId;
use zisk_common::messages::EventBody;

use super::local::{check, checking_key};
use super::remote::{public_values, ran};
use super::{check_writable, write};
use crate::End;
use crate::args::Args;
use crate::show;

/// Prints a job's events as they come; ends with the job, and as it did.
pub async fn watch(args: &Args, job: JobId) -> Result<End, ClientError> {
    let client = RemoteClient::connect(&args.bus).await?;
    let mut watch = client.watch(job).await?;
    let mut began = None;
    loop {
        let event = tokio::select! {
            event = watch.next() => event?,
            Ok(()) = tokio::signal::ctrl_c() => return Ok(End::Interrupted),
        };
        let Some(event) = event else { return Ok(End::Done) };
        let began = *began.get_or_insert(event.at_ms);
        show::events::event(&event, began, args.json);
        if let EventBody::Failed { failure } | EventBody::Cancelled { failure } = event.body {
            return Err(ClientError::Failed { job, failure: Box::new(failure) });
        }
    }
}

/// Prints what a job ended with; verifies its proof, and saves it when asked to.
pub async fn result(args: &Args, job: JobId, out: Option<&Path>) -> Result<End, ClientError> {
    if let Some(out) = out {
        check_writable(out)?;
    }
    let client = RemoteClient::connect(&args.bus).await?;
    let (record, done) = client.result(job).await?;
    let public = public_values(&done.summary);
    let mut saved = None;
    if done.proof.is_empty() {
        if let Some(out) = out {
            return Err(ClientError::NoProof { job, kind: record.goal, path: out.display().to_string() });
        }
    } else {
        let elf = client.program(record.request.program).await?;
        check(&checking_key(&elf)?, &done.proof, &public)?;
        if let Some(out) = out {
            write(out, &done.proof)?;
            saved = Some((out.to_owned(), done.proof.len()));
        }
    }
    let seconds = done.milliseconds as f64 / 1000.0;
    ran(job, done, public, seconds, saved).print(args.json);
    Ok(End::Done)
}
