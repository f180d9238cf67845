//! A job as a trace: in the headers of its messages, and at a collector.

use std::time::Duration;

use anyhow::{Context, Result, ensure};
use serde_json::Value;
use tokio::io::{AsyncBufReadExt, AsyncReadExt, AsyncWriteExt, BufReader};
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::mpsc;
use tokio::time::timeout;
use zisk_common::messages::{JobState, ProofKind};
use zisk_common::subjects::{StreamKind, Subject};
use zisk_common::trace::{TRACEPARENT, parse, trace_id, traceparent};
use zisk_tests::fleet::{Fleet, Settings};
use zisk_tests::guests::Reference;
use zisk_tests::story::{LOG_STEPS, PATIENCE, Story};

const SOON: Duration = Duration::from_secs(30);

/// A collector: whatever is posted to it.
async fn collector() -> Result<(String, mpsc::UnboundedReceiver<(String, Value)>)> {
    let listener = TcpListener::bind("127.0.0.1:0").await?;
    let url = format!("http://{}", listener.local_addr()?);
    let (sender, posted) = mpsc::unbounded_channel();
    tokio::spawn(async move {
        while let Ok((connection, _)) = listener.accept().await {
            let sender = sender.clone();
            tokio::spawn(async move { serve(connection, &sender).await });
        }
    });
    Ok((url, posted))
}

async fn serve(connection: TcpStream, posted: &mpsc::UnboundedSender<(String, Value)>) -> Result<()> {
    let mut connection = BufReader::new(connection);
    loop {
        let (mut first, mut length) = (String::new(), 0);
        if connection.read_line(&mut first).await? == 0 {
            return Ok(());
        }
        loop {
            let mut line = String::new();
            connection.read_line(&mut line).await?;
            match line.trim_end().to_ascii_lowercase().split_once(": ") {
                None => break,
                Some(("content-length", value)) => length = value.parse()?,
                Some(_) => {}
            }
        }
        let mut body = vec![0; length];
        connection.read_exact(&mut body).await?;
        posted.send((first, serde_json::from_slice(&body)?))?;
        connection.write_all(b"HTTP/1.1 200 OK\r\ncontent-length: 2\r\n\r\n{}").await?;
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_job_is_a_trace_in_its_messages_and_at_a_collector() -> Result<()> {
    let (url, mut posted) = collector().await?;
    let settings = Settings { ack_wait: PATIENCE, lease: PATIENCE, ..Settings::default() };
    let environment = vec![("ZISK_COORDINATOR_TRACES_ENDPOINT", format!("{url}/"))];
    let mut fleet = Fleet::start_with(settings, environment, None).await?;
    fleet.start_worker()?;
    let story = Story { fleet, reference: Reference::default() };
    let workload = story.reference.hashes(6)?;
    let job = story.fleet.submit_for(&workload, LOG_STEPS, None, ProofKind::Recursive).await?;
    let record = story.ends_well(job, &workload).await?;
    assert_eq!(record.state, JobState::Completed);

    // Each message says which trace it belongs to.
    let prefix = story.fleet.bus.prefix();
    let stream = story.fleet.bus.jetstream().get_stream(prefix.stream(StreamKind::Events)).await?;
    let mut looked_at = 0;
    for sequence in 1..=stream.cached_info().state.last_sequence {
        let Ok(message) = stream.get_raw_message(sequence).await else { continue };
        ensure!(matches!(prefix.parse(&message.subject)?, Subject::Event { .. }), "{}", message.subject);
        let header = message.headers.get(TRACEPARENT).context("no trace context")?;
        assert_eq!(header.as_str(), traceparent(job));
        looked_at += 1;
    }
    let segments = record.progress.segments.context("no segments")?;
    ensure!(looked_at > 2 * segments, "only {looked_at} events");

    // And the collector has the whole of it.
    let (request, body) = timeout(SOON, posted.recv()).await?.context("the collector is gone")?;
    assert_eq!(request.trim_end(), "POST /v1/traces HTTP/1.1");
    let spans = body["resourceSpans"][0]["scopeSpans"][0]["spans"].as_array().context("no spans")?;
    let of = |name: &str| spans.iter().filter(|span| span["name"] == name).count() as u32;
    assert_eq!((of("job"), of("wait"), of("execute")), (1, 1, 1));
    assert_eq!((of("contribution"), of("proof"), of("fold")), (segments, segments, segments - 1));
    let (trace, span) = (trace_id(job), traceparent(job));
    ensure!(spans.iter().all(|span| span["traceId"] == trace), "{body}");
    assert_eq!(spans[0]["spanId"], parse(&span).context("no context")?.1);
    Ok(())
}
