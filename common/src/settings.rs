//! Comparing streams, consumers and buckets with their settings, and bringing them back to them: somebody deletes, edits or pauses
//! one by hand, and nothing else would notice.
//!
//! The server's own JSON is compared, key by key. What is not among the keys below (placement, metadata, what a newer server
//! adds) is the operator's, and stays.

use std::collections::HashMap;

use async_nats::jetstream::consumer::IntoConsumerConfig;
use async_nats::jetstream::response::Response;
use async_nats::jetstream::{ErrorCode, stream};
use serde_json::{Map, Value, json};
use tokio::time::Instant;

use crate::bus::{Bus, BusError, chain};
use crate::streams::retried;
use crate::subjects::{BucketKind, ConsumerKind, StreamKind};

/// Settings of a stream that are ours.
pub(crate) const STREAM_KEYS: &[&str] = &[
    "subjects",
    "retention",
    "storage",
    "max_age",
    "max_msgs",
    "max_bytes",
    "max_msgs_per_subject",
    "max_msg_size",
    "max_consumers",
    "discard",
    "discard_new_per_subject",
    "num_replicas",
    "duplicate_window",
    "allow_direct",
    "allow_rollup_hdrs",
    "no_ack",
    "sealed",
    "deny_delete",
    "deny_purge",
    "mirror",
    "sources",
    "republish",
    "subject_transform",
    "consumer_limits",
];
/// Settings of a consumer that are ours.
pub(crate) const CONSUMER_KEYS: &[&str] = &[
    "filter_subject",
    "filter_subjects",
    "deliver_subject",
    "deliver_policy",
    "ack_policy",
    "ack_wait",
    "max_deliver",
    "backoff",
    "max_ack_pending",
    "max_waiting",
    "max_batch",
    "max_bytes",
    "max_expires",
    "inactive_threshold",
    "headers_only",
    "rate_limit_bps",
    "mem_storage",
    "num_replicas",
    "priority_groups",
];

/// "Temporarily unavailable", as HTTP says it.
const UNAVAILABLE: usize = 503;

/// What a thing on the bus is.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Thing {
    /// A stream.
    Stream(StreamKind),
    /// A durable consumer.
    Consumer(ConsumerKind),
    /// A key-value bucket.
    Bucket(BucketKind),
    /// The bucket of objects.
    Objects,
}

impl Thing {
    /// Its kind, as a label.
    pub const fn kind(self) -> &'static str {
        match self {
            Self::Stream(_) => "stream",
            Self::Consumer(_) => "consumer",
            Self::Bucket(_) => "bucket",
            Self::Objects => "object_bucket",
        }
    }

    /// Its name on the server; a consumer's with its stream's.
    pub fn name(self, bus: &Bus) -> String {
        let prefix = bus.prefix();
        match self {
            Self::Stream(kind) => prefix.stream(kind),
            Self::Consumer(kind) => format!("{}/{}", prefix.stream(kind.stream()), kind.durable_name()),
            Self::Bucket(kind) => prefix.bucket(kind),
            Self::Objects => prefix.objects_bucket(),
        }
    }
}

/// What was found.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Finding {
    /// It was not there and has been made again, empty.
    Made,
    /// It had other settings and has been brought back to these.
    Reset(Vec<String>),
    /// It has other settings, and the server does not change them in place.
    Stuck(String),
}

/// How the bus stands.
#[derive(Debug, Default)]
pub struct Inspection {
    /// What was not as it should be.
    pub findings: Vec<(Thing, Finding)>,
    /// When each stream and bucket that is there was made, by the server's clock: one that was deleted and made again, by
    /// whomever, has another time, and has lost what was in it.
    pub made: HashMap<Thing, String>,
}

impl Bus {
    /// Compares all streams, consumers and buckets with this process's settings and repairs what differs. For the coordinator
    /// that leads, which owns them. The bucket of objects is compared when `objects` are in it.
    ///
    /// # Errors
    /// [`BusError`] when the server does not answer.
    pub async fn inspect(&self, objects: bool) -> Result<Inspection, BusError> {
        let mut found = Inspection::default();
        for &kind in StreamKind::ALL {
            self.inspect_stream(Thing::Stream(kind), self.stream_config(kind), &mut found).await?;
        }
        for &kind in ConsumerKind::ALL {
            self.inspect_consumer(kind, &mut found).await?;
        }
        for &kind in BucketKind::ALL {
            self.inspect_stream(Thing::Bucket(kind), self.bucket_stream(kind), &mut found).await?;
        }
        if objects {
            self.inspect_stream(Thing::Objects, self.objects_stream(), &mut found).await?;
        }
        Ok(found)
    }

    async fn inspect_stream(&self, thing: Thing, config: stream::Config, found: &mut Inspection) -> Result<(), BusError> {
        let name = config.name.clone();
        let keys = self.stream_keys(&name);
        let wanted = wanted(&config, &keys);
        let info = match self.ask(&format!("STREAM.INFO.{name}"), &json!({})).await? {
            Ok(info) => info,
            Err(refusal) if refusal.is(ErrorCode::STREAM_NOT_FOUND) => {
                let finding = match self.ask(&format!("STREAM.CREATE.{name}"), &json!(config)).await? {
                    Ok(info) => {
                        found.note_made(thing, &info);
                        Finding::Made
                    }
                    Err(refusal) => Finding::Stuck(format!("it is missing and cannot be made: {}", refusal.text)),
                };
                found.findings.push((thing, finding));
                return Ok(());
            }
            Err(refusal) => {
                found.findings.push((thing, Finding::Stuck(refusal.text)));
                return Ok(());
            }
        };
        found.note_made(thing, &info);
        let actual = info["config"].as_object().cloned().unwrap_or_default();
        let changes = differences(&wanted, &actual, &keys);
        if changes.is_empty() {
            return Ok(());
        }
        let mut repaired = actual;
        for key in &keys {
            match wanted.get(*key) {
                Some(value) => repaired.insert((*key).to_owned(), value.clone()),
                None => repaired.remove(*key),
            };
        }
        let finding = match self.ask(&format!("STREAM.UPDATE.{name}"), &Value::Object(repaired)).await? {
            Ok(info) => {
                let actual = info["config"].as_object().cloned().unwrap_or_default();
                let left = differences(&wanted, &actual, &keys);
                if left.is_empty() { Finding::Reset(changes) } else { Finding::Stuck(left.join(", ")) }
            }
            Err(refusal) => Finding::Stuck(format!("{} ({})", changes.join(", "), refusal.text)),
        };
        found.findings.push((thing, finding));
        Ok(())
    }

    async fn inspect_consumer(&self, kind: ConsumerKind, found: &mut Inspection) -> Result<(), BusError> {
        let thing = Thing::Consumer(kind);
        let (stream, durable) = (self.prefix().stream(kind.stream()), kind.durable_name());
        let config = self.consumer_config(kind).into_consumer_config();
        let wanted = wanted(&config, CONSUMER_KEYS);
        let create = json!({ "stream_name": stream, "config": config });
        let make = format!("CONSUMER.DURABLE.CREATE.{stream}.{durable}");
        let finding = match self.ask(&format!("CONSUMER.INFO.{stream}.{durable}"), &json!({})).await? {
            // Of a stream that cannot be made it has been said.
            Err(refusal) if refusal.is(ErrorCode::STREAM_NOT_FOUND) => return Ok(()),
            Err(refusal) if refusal.is(ErrorCode::CONSUMER_NOT_FOUND) => match self.ask(&make, &create).await? {
                Ok(_) => Finding::Made,
                Err(refusal) => Finding::Stuck(format!("it is missing and cannot be made: {}", refusal.text)),
            },
            Err(refusal) => Finding::Stuck(refusal.text),
            Ok(info) => {
                let actual = info["config"].as_object().cloned().unwrap_or_default();
                let mut changes = differences(&wanted, &actual, CONSUMER_KEYS);
                let mut refused = None;
                if info["paused"] == true {
                    changes.push("it was paused".to_owned());
                    refused = self.ask(&format!("CONSUMER.PAUSE.{stream}.{durable}"), &json!({})).await?.err();
                }
                if changes.is_empty() {
                    return Ok(());
                }
                // Where it cannot be changed in place another takes over: what was delivered and not acknowledged comes again.
                if refused.is_none() && self.ask(&make, &create).await?.is_err() {
                    refused = self.ask(&format!("CONSUMER.DELETE.{stream}.{durable}"), &json!({})).await?.err();
                    refused = match refused {
                        None => self.ask(&make, &create).await?.err(),
                        refused => refused,
                    };
                }
                match refused {
                    None => Finding::Reset(changes),
                    Some(refusal) => Finding::Stuck(format!("{} ({})", changes.join(", "), refusal.text)),
                }
            }
        };
        found.findings.push((thing, finding));
        Ok(())
    }

    /// Whether a stream is there.
    pub(crate) async fn has_stream(&self, name: &str) -> Result<bool, BusError> {
        Ok(self.info(&format!("STREAM.INFO.{name}")).await?.is_some())
    }

    /// Whether a durable consumer is there.
    pub(crate) async fn has_consumer(&self, kind: ConsumerKind) -> Result<bool, BusError> {
        Ok(self.info(&self.consumer_info(kind)).await?.is_some())
    }

    /// Whether a stream is there and set so.
    pub(crate) async fn stream_is_set(&self, config: &stream::Config) -> Result<bool, BusError> {
        self.is_set(&format!("STREAM.INFO.{}", config.name), config, &self.stream_keys(&config.name)).await
    }

    /// Settings of this stream that are ours. How much objects, inputs and requests may take is set elsewhere: [`crate::full`].
    fn stream_keys(&self, name: &str) -> Vec<&'static str> {
        let prefix = self.prefix();
        let bounded = [prefix.objects_stream(), prefix.stream(StreamKind::Input), prefix.stream(StreamKind::Requests)];
        let ours = |key: &&str| *key != "max_bytes" || !bounded.iter().any(|bounded| bounded == name);
        STREAM_KEYS.iter().copied().filter(ours).collect()
    }

    /// Whether a durable consumer is there and as it should be set.
    pub(crate) async fn consumer_is_set(&self, kind: ConsumerKind) -> Result<bool, BusError> {
        self.is_set(&self.consumer_info(kind), &self.consumer_config(kind).into_consumer_config(), CONSUMER_KEYS).await
    }

    fn consumer_info(&self, kind: ConsumerKind) -> String {
        format!("CONSUMER.INFO.{}.{}", self.prefix().stream(kind.stream()), kind.durable_name())
    }

    /// Asks the thing's own leader: to change it takes the cluster's, too, and that one may be missing for seconds.
    async fn is_set(&self, what: &str, config: &impl serde::Serialize, keys: &[&str]) -> Result<bool, BusError> {
        let Some(info) = self.info(what).await? else { return Ok(false) };
        let actual = info["config"].as_object().cloned().unwrap_or_default();
        Ok(differences(&wanted(config, keys), &actual, keys).is_empty())
    }

    /// What the server says of a stream or a consumer; none when it is not there. That nobody answers does not mean that.
    async fn info(&self, what: &str) -> Result<Option<Value>, BusError> {
        let payload = json!({});
        match retried(self, what, || self.ask(what, &payload)).await? {
            Ok(info) => Ok(Some(info)),
            Err(refusal) if refusal.is(ErrorCode::STREAM_NOT_FOUND) || refusal.is(ErrorCode::CONSUMER_NOT_FOUND) => Ok(None),
            Err(refusal) => Err(BusError::transient(what, refusal.text)),
        }
    }

    /// One administrative call: the server's answer, or its refusal.
    pub(crate) async fn ask(&self, what: &str, payload: &Value) -> Result<Result<Value, Refusal>, BusError> {
        let asked = Instant::now();
        let context = if what.contains(".INFO.") { self.jetstream() } else { self.making() };
        let answer = context.request(what.to_owned(), payload).await;
        let answer: Response<Value> = answer.map_err(|error| match self.denied(asked, what) {
            Some(denied) => BusError::permanent(what, denied),
            None => BusError::transient(what, chain(&error)),
        })?;
        match answer {
            Response::Ok(answer) => Ok(Ok(answer)),
            // Between two leaders: it means nothing a second later.
            Response::Err { error } if error.code() == UNAVAILABLE => Err(BusError::transient(what, error)),
            Response::Err { error } => Ok(Err(Refusal { code: error.error_code(), text: error.to_string() })),
        }
    }

    /// The stream under the bucket of objects, as async-nats makes it.
    pub(crate) fn objects_stream(&self) -> stream::Config {
        let name = self.prefix().objects_bucket();
        stream::Config {
            name: self.prefix().objects_stream(),
            subjects: vec![format!("$O.{name}.C.>"), format!("$O.{name}.M.>")],
            storage: stream::StorageType::File,
            num_replicas: self.config().replicas,
            discard: stream::DiscardPolicy::New,
            allow_rollup: true,
            allow_direct: true,
            ..stream::Config::default()
        }
    }
}

impl Inspection {
    fn note_made(&mut self, thing: Thing, info: &Value) {
        if let Some(created) = info["created"].as_str() {
            self.made.insert(thing, created.to_owned());
        }
    }
}

/// What the server says to a call that it understands and does not do.
pub(crate) struct Refusal {
    code: ErrorCode,
    pub(crate) text: String,
}

impl Refusal {
    pub(crate) fn is(&self, code: ErrorCode) -> bool {
        self.code == code
    }
}

/// The settings that are ours, as the server writes them, without those that say nothing.
pub(crate) fn wanted(config: &impl serde::Serialize, keys: &[&str]) -> Map<String, Value> {
    let Ok(Value::Object(all)) = serde_json::to_value(config) else { return Map::new() };
    all.into_iter().filter(|(key, value)| keys.contains(&key.as_str()) && !is_unset(value)).collect()
}

/// Where we leave this open the server fills it in.
const FILLED_IN: &str = "duplicate_window";

/// "None" and "no limit", in all the ways they are written.
fn is_unset(value: &Value) -> bool {
    match value {
        Value::Null => true,
        Value::Bool(set) => !set,
        Value::Number(number) => number.as_i64().is_some_and(|number| matches!(number, 0 | -1)),
        Value::String(text) => text.is_empty() || text == "none",
        Value::Array(values) => values.is_empty(),
        Value::Object(values) => values.values().all(is_unset),
    }
}

/// What differs, in words.
pub(crate) fn differences(wanted: &Map<String, Value>, actual: &Map<String, Value>, keys: &[&str]) -> Vec<String> {
    let mut changes = Vec::new();
    for key in keys {
        let (wanted, actual) = (wanted.get(*key), actual.get(*key).filter(|value| !is_unset(value)));
        if wanted.is_none() && *key == FILLED_IN {
            continue;
        }
        if wanted != actual {
            let text = |value: Option<&Value>| value.map_or_else(|| "not set".to_owned(), Value::to_string);
            changes.push(format!("{key} was {} instead of {}", text(actual), text(wanted)));
        }
    }
    changes
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn no_limit_is_no_limit_however_it_is_written() {
        let ours =
            stream::Config { name: "S".to_owned(), subjects: vec!["s.>".to_owned()], num_replicas: 1, ..Default::default() };
        let wanted = wanted(&ours, STREAM_KEYS);
        let theirs = json!({
            "name": "S", "subjects": ["s.>"], "retention": "limits", "max_consumers": -1, "max_msgs": -1, "max_bytes": -1,
            "max_age": 0, "max_msgs_per_subject": -1, "max_msg_size": -1, "discard": "old", "storage": "file", "num_replicas": 1,
            "duplicate_window": 120_000_000_000_u64, "compression": "none", "allow_direct": false, "consumer_limits": {},
            "metadata": { "_nats.level": "1" }, "allow_something_new": true
        });
        let mut theirs = theirs.as_object().unwrap().clone();
        assert_eq!(differences(&wanted, &theirs, STREAM_KEYS), Vec::<String>::new());
        theirs.insert("max_msgs".to_owned(), json!(10));
        theirs.insert("subjects".to_owned(), json!(["t.>"]));
        let changes = differences(&wanted, &theirs, STREAM_KEYS);
        assert_eq!(changes, ["subjects was [\"t.>\"] instead of [\"s.>\"]", "max_msgs was 10 instead of not set"]);
    }
}
