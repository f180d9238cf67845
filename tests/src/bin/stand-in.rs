//! Takes the place of two command lines in the documents that cannot be had here, under their names: `nats` and `b3sum`. It knows the words
//! that the documents use, and no others.

use std::path::Path;
use std::time::Duration;

use anyhow::{Context, Result, bail, ensure};
use serde_json::Value;
use tokio::time::sleep;
use zisk_common::ids::Digest;

/// What stands for a job's id in the documents, and where the id is kept that the last answer gave: a reader would type that.
const JOB: &str = "JOB";
const LAST_JOB: &str = ".job";
/// A job that has not ended yet.
const NOT_ENDED: &str = "ZISK-1013";

#[tokio::main(flavor = "current_thread")]
async fn main() -> Result<()> {
    let arguments: Vec<String> = std::env::args().collect();
    let words: Vec<&str> = arguments.iter().skip(1).map(String::as_str).collect();
    let name = Path::new(&arguments[0]).file_name().context("no name")?;
    match (name.to_str(), words.as_slice()) {
        (Some("b3sum"), ["--no-names", file]) => println!("{}", Digest::of(&std::fs::read(file)?)),
        (Some("nats"), ["req", subject, body]) => request(subject, body).await?,
        (Some("nats"), ["object", "put", bucket, file, "--name", name]) => put(bucket, file, name).await?,
        _ => bail!("not understood: {arguments:?}"),
    }
    Ok(())
}

async fn connect() -> Result<async_nats::Client> {
    Ok(async_nats::connect(std::env::var("ZISK_NATS_URL")?).await?)
}

async fn request(subject: &str, body: &str) -> Result<()> {
    let job = std::fs::read_to_string(LAST_JOB).unwrap_or_else(|_| JOB.to_owned());
    let body = body.replace(&format!("\"{JOB}\""), &format!("\"{job}\""));
    let client = connect().await?;
    loop {
        let answer = client.request(subject.to_owned(), body.clone().into()).await?;
        let answer: Value = serde_json::from_slice(&answer.payload)?;
        if answer["code"] == NOT_ENDED {
            sleep(Duration::from_millis(200)).await;
            continue;
        }
        ensure!(answer["code"].is_null(), "{subject}: {answer}");
        if let Some(job) = answer["job"].as_str() {
            std::fs::write(LAST_JOB, job)?;
        }
        println!("{answer}");
        return Ok(());
    }
}

async fn put(bucket: &str, file: &str, name: &str) -> Result<()> {
    let store = async_nats::jetstream::new(connect().await?).get_object_store(bucket).await?;
    store.put(name, &mut tokio::fs::File::open(file).await?).await?;
    Ok(())
}
