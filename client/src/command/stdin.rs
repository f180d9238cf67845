//! Stdin as a job's input, sent while it is read.

use std::io::Read;

use tokio::sync::mpsc;
use zisk_client::{ClientError, InputStream};

use super::unreadable_stdin;

/// Bytes read at once.
const PART: usize = 256 * 1024;
/// Parts read before the first is sent: who writes to stdin waits for the server.
const AHEAD: usize = 2;

/// Sends all of stdin, and closes the input.
pub async fn stream(input: &mut InputStream) -> Result<(), ClientError> {
    let (sender, mut parts) = mpsc::channel(AHEAD);
    // A thread of its own: a read from a terminal or a pipe cannot be given up, and the process need not wait for it.
    std::thread::spawn(move || {
        let mut stdin = std::io::stdin().lock();
        loop {
            let mut part = vec![0; PART];
            let read = match stdin.read(&mut part) {
                Err(error) if error.kind() == std::io::ErrorKind::Interrupted => continue,
                read => read,
            };
            let is_last = !matches!(read, Ok(1..));
            let part = read.map(|bytes| {
                part.truncate(bytes);
                part
            });
            // Nobody listens any more when the job has ended.
            if sender.blocking_send(part).is_err() || is_last {
                return;
            }
        }
    });
    while let Some(part) = parts.recv().await {
        match part.map_err(unreadable_stdin)? {
            end if end.is_empty() => break,
            part => input.push(&part).await?,
        }
    }
    input.close().await.map(drop)
}
