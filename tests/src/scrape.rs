//! Pages that processes show on ports of this machine: a coordinator's admin port, a server's monitoring.

use std::io::{Read, Write};
use std::net::TcpStream;
use std::time::Duration;

use anyhow::{Context, Result, ensure};
use serde_json::Value;

use crate::Process;

/// The port of a coordinator's pages.
///
/// # Errors
/// When it did not log it.
pub fn port(coordinator: &Process) -> Result<u16> {
    let log = coordinator.log();
    let admin = log.lines().find_map(|line| {
        let line: Value = serde_json::from_str(line).ok()?;
        Some(line["admin"].as_str()?.to_owned())
    });
    let admin = admin.context("the coordinator did not log where its pages are")?;
    admin.rsplit(':').next().and_then(|port| port.parse().ok()).with_context(|| admin.clone())
}

/// A page's status and text.
///
/// # Errors
/// When it does not answer.
pub fn page(coordinator: &Process, path: &str) -> Result<(u16, String)> {
    get(port(coordinator)?, path, Duration::from_secs(10))
}

/// The status and text of a page on a port of this machine.
///
/// # Errors
/// When it does not answer within `patience`.
pub fn get(port: u16, path: &str, patience: Duration) -> Result<(u16, String)> {
    let mut stream = TcpStream::connect(("127.0.0.1", port))?;
    stream.set_read_timeout(Some(patience))?;
    write!(stream, "GET {path} HTTP/1.0\r\nHost: localhost\r\n\r\n")?;
    let mut answer = String::new();
    stream.read_to_string(&mut answer)?;
    let (head, body) = answer.split_once("\r\n\r\n").with_context(|| answer.clone())?;
    let status = head.split(' ').nth(1).and_then(|status| status.parse().ok()).with_context(|| head.to_owned())?;
    Ok((status, body.to_owned()))
}

/// The value of a metric: its name with its labels, as written; none while it is not shown.
///
/// # Errors
/// When the page does not answer.
pub fn metric(coordinator: &Process, name: &str) -> Result<Option<f64>> {
    let (status, text) = page(coordinator, "/metrics")?;
    ensure!(status == 200, "/metrics answers {status}");
    Ok(text.lines().find_map(|line| line.strip_prefix(name)?.strip_prefix(' ')?.parse().ok()))
}
