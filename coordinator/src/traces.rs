//! Jobs as OpenTelemetry traces, for who has a collector: when a job has ended, its spans go there by OTLP over HTTP, made of the job's
//! events alone. So they tell what counted, whoever did it and whichever coordinator led, and workers need no way to the collector.
//!
//! The JSON is written here: the crates for it bring a gRPC stack with them, for one page of fields.

use std::collections::{HashMap, HashSet};
use std::time::Duration;

use serde_json::{Value, json};
use zisk_common::bus::Bus;
use zisk_common::ids::{JobId, WorkerId};
use zisk_common::messages::{Event, EventBody, unix_ms};
use zisk_common::trace::{parse, span_id, trace_id};

/// Jobs that ended longer ago than this when the coordinator begins to lead have been sent by the one before.
const SENT_BEFORE: Duration = Duration::from_secs(60);
/// Jobs whose events are collected at once; of more, some are not sent.
const MAX_JOBS: usize = 10_000;
/// Spans of one message: a job of thousands of segments is sent in several.
const MAX_SPANS: usize = 1000;
/// How long a collector may take.
const SENT_WITHIN: Duration = Duration::from_secs(10);
/// OTLP's number for a span that is inside a service.
const INTERNAL: u8 = 1;
/// OTLP's numbers for how a span ended.
const OK: u8 = 1;
/// See [`OK`].
const ERROR: u8 = 2;
/// Key of the metadata in which a client names its own span.
const CLIENTS_OWN: &str = "traceparent";

/// Sends each job that ends to the collector; ends never.
pub async fn follow(bus: Bus, endpoint: String, service: String) {
    let url = format!("{}/v1/traces", endpoint.trim_end_matches('/'));
    // Whichever library opens the first TLS connection must find one; another may have been there before.
    let _ = async_nats::rustls::crypto::ring::default_provider().install_default();
    let client = match reqwest::Client::builder().timeout(SENT_WITHIN).build() {
        Ok(client) => client,
        Err(error) => return tracing::error!(%error, "no traces are sent"),
    };
    tracing::info!(url, "traces of jobs are sent");
    let sent_before = unix_ms().saturating_sub(SENT_BEFORE.as_millis() as u64);
    let mut jobs: HashMap<JobId, Vec<Event>> = HashMap::new();
    let mut events = bus.all_events();
    loop {
        // What another release wrote is not in the trace.
        let Ok(event) = events.next().await else { continue };
        let (job, at_ms, is_last) = (event.job, event.at_ms, event.kind().is_terminal());
        if jobs.contains_key(&job) || jobs.len() < MAX_JOBS {
            jobs.entry(job).or_default().push(event);
        }
        if !is_last {
            continue;
        }
        let Some(events) = jobs.remove(&job).filter(|_| at_ms >= sent_before) else { continue };
        for spans in spans_of(&events).chunks(MAX_SPANS) {
            let body = request(&service, spans).to_string();
            let sent = client.post(&url).header("Content-Type", "application/json").body(body).send().await;
            if let Err(error) = sent.and_then(reqwest::Response::error_for_status) {
                tracing::warn!(%job, %error, "the job's trace is not sent");
                break;
            }
        }
    }
}

/// A message to the collector.
fn request(service: &str, spans: &[Value]) -> Value {
    let resource = [text("service.name", service), text("service.version", env!("CARGO_PKG_VERSION"))];
    let scope = json!({ "name": env!("CARGO_PKG_NAME"), "version": env!("CARGO_PKG_VERSION") });
    let scopes = [json!({ "scope": scope, "spans": spans })];
    json!({ "resourceSpans": [{ "resource": { "attributes": resource }, "scopeSpans": scopes }] })
}

/// The spans of a job that has ended: the whole, then in the order of events its wait, its run, and each contribution, proof and fold.
fn spans_of(events: &[Event]) -> Vec<Value> {
    let (Some(first), Some(last)) = (events.first(), events.last()) else { return Vec::new() };
    let mut trace = Trace { job: first.job, spans: Vec::new(), seen: HashSet::new() };
    let at = |wanted: fn(&EventBody) -> bool| events.iter().find(|event| wanted(&event.body)).map(|event| event.at_ms);
    let admitted = at(|body| matches!(body, EventBody::Admitted {}));
    trace.whole(first, last);
    trace.add("wait", first.at_ms, admitted.unwrap_or(last.at_ms), Vec::new());
    for Event { at_ms, body, .. } in events {
        let (name, n, worker, milliseconds) = match body {
            EventBody::Executed { .. } => {
                trace.add("execute", admitted.unwrap_or(first.at_ms), *at_ms, Vec::new());
                continue;
            }
            EventBody::Contributed { n, worker, milliseconds } => ("contribution", *n, *worker, *milliseconds),
            EventBody::Proof { n, worker, milliseconds, .. } => ("proof", *n, *worker, *milliseconds),
            EventBody::Folded { n, worker, milliseconds, .. } => ("fold", *n, *worker, *milliseconds),
            _ => continue,
        };
        trace.add(&format!("{name} {n}"), at_ms.saturating_sub(milliseconds), *at_ms, of_worker(n, worker));
    }
    trace.spans
}

struct Trace {
    job: JobId,
    spans: Vec<Value>,
    /// What is done again has a span of its own.
    seen: HashSet<String>,
}

impl Trace {
    fn whole(&mut self, first: &Event, last: &Event) {
        let progress = last.progress;
        let attributes = vec![
            text("zisk.job", &self.job.to_string()),
            text("zisk.state", last.kind().as_str()),
            number("zisk.segments", progress.segments.unwrap_or(progress.planned).into()),
            number("zisk.steps", progress.steps),
            number("zisk.repeated", progress.repeated.into()),
        ];
        let status = match &last.body {
            EventBody::Failed { failure } | EventBody::Cancelled { failure } => {
                json!({ "code": ERROR, "message": failure.to_string() })
            }
            _ => json!({ "code": OK }),
        };
        let mut span = self.span("job", first.at_ms, last.at_ms, attributes);
        span["status"] = status;
        if let Some((trace, id)) = first.metadata.get(CLIENTS_OWN).and_then(|own| parse(own)) {
            span["links"] = json!([{ "traceId": trace, "spanId": id }]);
        }
        self.spans.push(span);
    }

    fn add(&mut self, name: &str, from_ms: u64, to_ms: u64, attributes: Vec<Value>) {
        let mut unique = name.to_owned();
        while !self.seen.insert(unique.clone()) {
            unique.push_str(" again");
        }
        let mut span = self.span(&unique, from_ms, to_ms, attributes);
        // Names are few; which one it is stands in the attributes.
        span["name"] = name.split(' ').next().unwrap_or(name).into();
        span["parentSpanId"] = span_id(self.job, "job").into();
        self.spans.push(span);
    }

    fn span(&self, what: &str, from_ms: u64, to_ms: u64, attributes: Vec<Value>) -> Value {
        // 64-bit numbers are texts in OTLP's JSON.
        let nanoseconds = |ms: u64| (u128::from(ms) * 1_000_000).to_string();
        json!({
            "traceId": trace_id(self.job),
            "spanId": span_id(self.job, what),
            "name": what,
            "kind": INTERNAL,
            "startTimeUnixNano": nanoseconds(from_ms),
            "endTimeUnixNano": nanoseconds(to_ms.max(from_ms)),
            "attributes": attributes,
        })
    }
}

fn of_worker(n: u32, worker: WorkerId) -> Vec<Value> {
    vec![number("zisk.segment", n.into()), text("zisk.worker", &worker.to_string())]
}

fn text(key: &str, value: &str) -> Value {
    json!({ "key": key, "value": { "stringValue": value } })
}

fn number(key: &str, value: u64) -> Value {
    json!({ "key": key, "value": { "intValue": value.to_string() } })
}

#[cfg(test)]
mod tests {
    use zisk_common::messages::{Failure, FailureKind, Metadata, Progress, Version};

    use super::*;

    fn events(bodies: Vec<(u64, EventBody)>, metadata: Metadata) -> Vec<Event> {
        let job = JobId::random();
        let event = |(at_ms, body)| Event {
            v: Version::default(),
            job,
            at_ms,
            progress: Progress { segments: Some(2), steps: 7, ..Progress::default() },
            metadata: metadata.clone(),
            body,
        };
        bodies.into_iter().map(event).collect()
    }

    fn of<'a>(spans: &'a [Value], name: &str) -> Vec<&'a Value> {
        spans.iter().filter(|span| span["name"] == name).collect()
    }

    #[test]
    fn a_job_has_a_span_for_each_piece_of_work_even_for_one_done_twice() {
        let worker = WorkerId::random();
        let contributed = |n| EventBody::Contributed { n, worker, milliseconds: 40 };
        let own = "00-0f8fad5bd9cb469fa16570867728950e-00f067aa0ba902b7-01".to_owned();
        let events = events(
            vec![
                (100, EventBody::Accepted { position: None }),
                (130, EventBody::Admitted {}),
                (200, contributed(0)),
                (210, contributed(1)),
                (300, contributed(1)),
                (400, EventBody::Completed { proof: None, summary: None, milliseconds: 300 }),
            ],
            Metadata::from([(CLIENTS_OWN.to_owned(), own)]),
        );
        let spans = spans_of(&events);
        let job = of(&spans, "job")[0];
        assert_eq!((&job["startTimeUnixNano"], &job["endTimeUnixNano"]), (&"100000000".into(), &"400000000".into()));
        assert_eq!(job["links"][0]["spanId"], "00f067aa0ba902b7");
        assert_eq!((job["status"]["code"].as_u64(), &job["parentSpanId"]), (Some(1), &Value::Null));
        let made = of(&spans, "contribution");
        assert_eq!(made.len(), 3);
        assert_eq!((&made[0]["startTimeUnixNano"], &made[0]["endTimeUnixNano"]), (&"160000000".into(), &"200000000".into()));
        let ids: HashSet<&str> = spans.iter().map(|span| span["spanId"].as_str().unwrap()).collect();
        assert_eq!(ids.len(), spans.len(), "each has an id of its own");
        assert!(spans[1..].iter().all(|span| span["parentSpanId"] == job["spanId"] && span["traceId"] == job["traceId"]));
        assert_eq!(spans_of(&events), spans, "sent twice it is the same trace");
    }

    #[test]
    fn a_job_that_failed_while_it_waited_says_why() {
        let failure = Failure::new(FailureKind::Timeout, "too late");
        let events = events(
            vec![(5, EventBody::Accepted { position: Some(3) }), (9, EventBody::Failed { failure })],
            Metadata::from([(CLIENTS_OWN.to_owned(), "nonsense".to_owned())]),
        );
        let spans = spans_of(&events);
        assert_eq!(of(&spans, "job")[0]["status"]["code"], ERROR);
        assert!(of(&spans, "job")[0]["status"]["message"].as_str().unwrap().contains("too late"));
        assert_eq!(of(&spans, "job")[0]["links"], Value::Null);
        assert_eq!(of(&spans, "wait")[0]["endTimeUnixNano"], "9000000");
    }
}
