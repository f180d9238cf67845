//! Looking at the bus without changing anything on it: which servers answer, what is there and how it is set, what may be done
//! there, what time it is. For `zisk doctor`.

use std::time::Duration;

use async_nats::HeaderMap;
use async_nats::client::RequestErrorKind;
use async_nats::header::NATS_EXPECTED_STREAM;
use async_nats::jetstream::ErrorCode;
use async_nats::jetstream::consumer::IntoConsumerConfig;
use bytes::Bytes;
use chrono::{DateTime, Utc};
use futures::{StreamExt, stream};
use serde_json::{Value, json};
use tokio::net::TcpStream;
use tokio::time::{Instant, timeout};

use crate::bus::{Bus, BusError, ConnectError};
use crate::connect::servers;
use crate::ids::JobId;
use crate::messages::{WorkerPresence, decode};
use crate::settings::{CONSUMER_KEYS, STREAM_KEYS, Thing, differences, wanted};
use crate::subjects::{BucketKind, ConsumerKind, StreamKind};

/// How long a server may take to accept a connection, and to answer or deny what is published.
const PATIENCE: Duration = Duration::from_secs(2);
/// Things asked for at once.
const CONCURRENCY: usize = 8;
/// The name of no stream: what is published for it is refused by whichever stream would store it.
const NO_STREAM: &str = "zisk-doctor-stores-nothing";

/// How one thing on the bus stands.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Standing {
    /// It is there, and set as it should be.
    Set,
    /// It is not there.
    Missing,
    /// It has other settings.
    Altered(Vec<String>),
    /// That cannot be found out.
    Unknown(String),
}

/// Whether something may be done.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Access {
    /// Yes.
    Granted,
    /// No, in the server's words.
    Denied(String),
    /// What it would be done to is not there, or does not answer.
    Unknown(String),
}

/// Whether one server can be reached at all.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Reached {
    /// Its host and port.
    pub server: String,
    /// What stood in the way.
    pub obstacle: Option<String>,
}

/// A worker's entry, and when the server stored it.
#[derive(Debug, Clone)]
pub struct Seen {
    /// The entry.
    pub presence: WorkerPresence,
    /// By the server's clock.
    pub stored: DateTime<Utc>,
}

/// Tries to connect to each of the servers of a URL, without saying a word to it.
///
/// # Errors
/// [`ConnectError::Configuration`] when the URL names none.
pub async fn reach(url: &str) -> Result<Vec<Reached>, ConnectError> {
    let mut reached = Vec::new();
    for server in servers(url)? {
        let obstacle = match timeout(PATIENCE, server.socket_addrs()).await {
            Err(_) => Some("its name is not resolved in time".to_owned()),
            Ok(Err(error)) => Some(format!("its name cannot be resolved: {error}")),
            Ok(Ok(addresses)) => {
                let addresses: Vec<_> = addresses.collect();
                match timeout(PATIENCE, TcpStream::connect(&addresses[..])).await {
                    Err(_) => Some(format!("nothing answers within {} s: a firewall, or another network", PATIENCE.as_secs())),
                    Ok(Err(error)) => Some(error.to_string()),
                    Ok(Ok(_)) => None,
                }
            }
        };
        reached.push(Reached { server: format!("{}:{}", server.host(), server.port()), obstacle });
    }
    Ok(reached)
}

impl Bus {
    /// How everything on the bus stands, the bucket of objects included when `objects` are in it. What coordinators are configured
    /// with (replicas, times, the bounds on dead letters) is not compared: this process cannot know it.
    pub async fn survey(&self, objects: bool) -> Vec<(Thing, Standing)> {
        let streams = StreamKind::ALL.iter().map(|&kind| Thing::Stream(kind));
        let consumers = ConsumerKind::ALL.iter().map(|&kind| Thing::Consumer(kind));
        let buckets = BucketKind::ALL.iter().map(|&kind| Thing::Bucket(kind));
        let things = streams.chain(consumers).chain(buckets).chain(objects.then_some(Thing::Objects));
        stream::iter(things).map(|thing| async move { (thing, self.standing(thing).await) }).buffered(CONCURRENCY).collect().await
    }

    /// How one thing on the bus stands.
    pub async fn standing(&self, thing: Thing) -> Standing {
        let (ask, all_keys, wanted_config) = match thing {
            Thing::Consumer(kind) => {
                let stream = self.prefix().stream(kind.stream());
                let config = json!(self.consumer_config(kind).into_consumer_config());
                (format!("CONSUMER.INFO.{stream}.{}", kind.durable_name()), CONSUMER_KEYS, config)
            }
            Thing::Stream(kind) => of_stream(self.stream_config(kind)),
            Thing::Bucket(kind) => of_stream(self.bucket_stream(kind)),
            Thing::Objects => of_stream(self.objects_stream()),
        };
        let keys: Vec<&str> = all_keys.iter().copied().filter(|key| !is_configured(thing, key)).collect();
        let info = match self.ask(&ask, &json!({})).await {
            Err(error) => return Standing::Unknown(error.reason),
            Ok(Err(refusal)) if refusal.is(ErrorCode::STREAM_NOT_FOUND) || refusal.is(ErrorCode::CONSUMER_NOT_FOUND) => {
                return Standing::Missing;
            }
            Ok(Err(refusal)) => return Standing::Unknown(refusal.text),
            Ok(Ok(info)) => info,
        };
        let actual = info["config"].as_object().cloned().unwrap_or_default();
        let mut changes = differences(&wanted(&wanted_config, &keys), &actual, &keys);
        if info["paused"] == true {
            changes.push("it is paused".to_owned());
        }
        if changes.is_empty() { Standing::Set } else { Standing::Altered(changes) }
    }

    /// How many copies a stream has.
    ///
    /// # Errors
    /// [`BusError`] when it is not there, or the server does not answer.
    pub async fn copies(&self, kind: StreamKind) -> Result<u64, BusError> {
        let action = format!("STREAM.INFO.{}", self.prefix().stream(kind));
        let info = self.ask(&action, &json!({})).await?.map_err(|refusal| BusError::transient(&action, refusal.text))?;
        Ok(info["config"]["num_replicas"].as_u64().unwrap_or(1))
    }

    /// Whether a subject may be published on. Nothing is stored: the message asks for a stream that is not there.
    pub async fn may_publish(&self, subject: &str) -> Access {
        let asked = Instant::now();
        let mut headers = HeaderMap::new();
        headers.insert(NATS_EXPECTED_STREAM, NO_STREAM);
        let request = self.client().request_with_headers(subject.to_owned(), headers, Bytes::new());
        match timeout(PATIENCE, request).await {
            // The refusal, which only the subject's stream can have sent.
            Ok(Ok(_)) => Access::Granted,
            Ok(Err(error)) if error.kind() == RequestErrorKind::NoResponders => Access::Unknown("no stream takes it".to_owned()),
            _ => self.denial(asked, subject),
        }
    }

    /// Whether one job's events may be followed: read from the stream, and heard.
    pub async fn may_follow(&self) -> Access {
        let stream = self.prefix().stream(StreamKind::Events);
        let subject = self.prefix().events_of(JobId::random());
        let asked = Instant::now();
        let subscribed = self.client().subscribe(subject.clone()).await;
        let read = self.read(&stream, &subject, 1).await;
        match (subscribed, read) {
            (_, Err(_)) => self.denial(asked, &stream),
            (Err(error), _) => Access::Unknown(error.to_string()),
            (Ok(_), Ok(_)) => match self.denied_since(asked, &subject) {
                Some(words) => Access::Denied(words),
                None => Access::Granted,
            },
        }
    }

    /// Whether a bucket may be read.
    pub async fn may_read(&self, kind: BucketKind) -> Access {
        let stream = self.prefix().bucket_stream(kind);
        let asked = Instant::now();
        match self.read(&stream, ">", 1).await {
            Ok(_) => Access::Granted,
            Err(_) => self.denial(asked, &stream),
        }
    }

    fn denial(&self, asked: Instant, words: &str) -> Access {
        match self.denied_since(asked, words) {
            Some(words) => Access::Denied(words),
            None => Access::Unknown("no answer".to_owned()),
        }
    }

    /// The workers that are there, each with the server's time of its last sign of life.
    ///
    /// # Errors
    /// [`BusError`] when the server does not answer.
    pub async fn workers_seen(&self) -> Result<Vec<Seen>, BusError> {
        let stream = self.prefix().bucket_stream(BucketKind::Workers);
        let (mut seen, mut from) = (Vec::new(), 1);
        loop {
            let found = self.read(&stream, ">", from).await?;
            let Some(last) = found.last() else { return Ok(seen) };
            from = last.sequence + 1;
            // Those that left are marks without a presence in them.
            let present = found.into_iter().filter_map(|message| {
                let presence = decode(&message.payload).ok()?;
                Some(Seen { presence, stored: message.time })
            });
            seen.extend(present);
        }
    }

    /// How far this machine's clock is behind the server's (negative: ahead of it), in milliseconds, and by how much that may be wrong.
    ///
    /// # Errors
    /// [`BusError`] when the server does not answer.
    pub async fn clock_offset(&self) -> Result<(i64, u64), BusError> {
        let stream = self.prefix().stream(StreamKind::Requests);
        let mut best: Option<(i64, u64)> = None;
        for _ in 0..3 {
            let (asked, here) = (Instant::now(), Utc::now());
            let there = self.server_time(&stream).await?;
            let half = asked.elapsed() / 2;
            let error = u64::try_from(half.as_millis()).unwrap_or(u64::MAX);
            let offset = (there - here).num_milliseconds().saturating_sub_unsigned(error);
            if best.is_none_or(|(_, least)| error < least) {
                best = Some((offset, error));
            }
        }
        best.ok_or_else(|| BusError::transient("reading the time", "never asked"))
    }
}

fn of_stream(config: async_nats::jetstream::stream::Config) -> (String, &'static [&'static str], Value) {
    (format!("STREAM.INFO.{}", config.name), STREAM_KEYS, json!(config))
}

/// Whether a setting is one of the coordinator's configuration.
fn is_configured(thing: Thing, key: &str) -> bool {
    matches!(
        (thing, key),
        (_, "num_replicas")
            | (Thing::Consumer(_), "ack_wait")
            | (Thing::Objects | Thing::Stream(StreamKind::Input | StreamKind::Requests), "max_bytes")
            | (Thing::Stream(StreamKind::Dead), "max_age" | "max_msgs")
            | (Thing::Bucket(BucketKind::Workers | BucketKind::Elections | BucketKind::Leader), "max_age")
    )
}
