//! Asking the coordinators' service on NATS, as a stranger would: raw bytes on a subject.

use std::time::Duration;

use anyhow::{Context, Result, ensure};
use async_nats::{Client, HeaderMap, Message};
use serde_json::Value;
use tokio::time::timeout;
use zisk_common::errors::ErrorObject;
use zisk_common::messages::{CONTENT_TYPE, JSON, MESSAGE_PACK};
use zisk_common::subjects::Prefix;

/// How long an answer may take on a busy machine; most take milliseconds.
const ANSWER: Duration = Duration::from_secs(60);

/// Somebody with a NATS client.
#[derive(Clone, Debug)]
pub struct Caller {
    client: Client,
    prefix: Prefix,
}

impl Caller {
    /// Connects without any of our own code.
    ///
    /// # Errors
    /// When the server does not answer.
    pub async fn connect(url: &str) -> Result<Self> {
        Ok(Self { client: async_nats::connect(url).await?, prefix: Prefix::default() })
    }

    /// As a user whose password is its name, with the inbox that is its own.
    ///
    /// # Errors
    /// As [`Caller::connect`].
    pub async fn connect_as(url: &str, user: &str) -> Result<Self> {
        let options = async_nats::ConnectOptions::new().user_and_password(user.to_owned(), user.to_owned());
        let client = options.custom_inbox_prefix(format!("_INBOX.{user}")).connect(url).await?;
        Ok(Self { client, prefix: Prefix::default() })
    }

    /// The plain client.
    pub const fn client(&self) -> &Client {
        &self.client
    }

    /// Sends these bytes and returns what comes back.
    ///
    /// # Errors
    /// When nothing does.
    pub async fn send(&self, endpoint: &str, headers: &[(&str, &str)], body: Vec<u8>) -> Result<Message> {
        let mut map = HeaderMap::new();
        for (name, value) in headers {
            map.insert(*name, *value);
        }
        let subject = format!("{}.{endpoint}", self.prefix.api());
        let request =
            self.client.send_request(subject, async_nats::Request::new().headers(map).payload(body.into()).timeout(Some(ANSWER)));
        timeout(ANSWER * 2, request).await?.with_context(|| format!("api.{endpoint} does not answer"))
    }

    /// Sends JSON; the answer, or the error that came in its place.
    ///
    /// # Errors
    /// When nothing comes, or something else.
    pub async fn ask(&self, endpoint: &str, body: &Value) -> Result<Result<Value, ErrorObject>> {
        outcome(&self.send(endpoint, &[], body.to_string().into_bytes()).await?)
    }

    /// As [`Caller::ask`], where an error is not expected.
    ///
    /// # Errors
    /// When there is one.
    pub async fn expect(&self, endpoint: &str, body: &Value) -> Result<Value> {
        let shown: String = body.to_string().chars().take(200).collect();
        self.ask(endpoint, body).await?.map_err(|error| anyhow::anyhow!("api.{endpoint} of {shown}: {error:?}"))
    }
}

/// Reads an answer: an error has the headers of a micro service's error and a body, and nothing else has those headers.
///
/// # Errors
/// When it is neither.
pub fn outcome(message: &Message) -> Result<Result<Value, ErrorObject>> {
    let header = |name| message.headers.as_ref().and_then(|headers| headers.get(name)).map(|value| value.as_str());
    let content_type = header(CONTENT_TYPE).context("no content type")?;
    let body: Value = match content_type {
        JSON => serde_json::from_slice(&message.payload)?,
        MESSAGE_PACK => rmp_serde::from_slice(&message.payload)?,
        other => anyhow::bail!("content type {other}"),
    };
    let (status, number) = (header("Nats-Service-Error"), header("Nats-Service-Error-Code"));
    let Some(status) = status else {
        ensure!(number.is_none() && body.get("code").is_none(), "an error without its header: {body}");
        return Ok(Ok(body));
    };
    let error: ErrorObject = serde_json::from_value(body.clone()).with_context(|| format!("no error object: {body}"))?;
    ensure!(status == format!("{}: {}", error.code, error.code.title()), "header {status:?} of {error:?}");
    ensure!(number == Some(error.code.status().to_string().as_str()), "header {number:?} of {error:?}");
    ensure!(error.docs == error.code.page() && !error.message.is_empty(), "{error:?}");
    Ok(Err(error))
}
