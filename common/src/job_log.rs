//! The last lines logged about each job, to go with a failure's report: whoever looks at what failed need not search the
//! workers' logs, which may be gone.
//!
//! A layer of the log keeps them in memory: lines that carry a field `job`, a few of each of the jobs heard of last.

use std::collections::VecDeque;
use std::fmt::{self, Write as _};
use std::sync::{Mutex, MutexGuard, PoisonError};

use tracing::field::{Field, Visit};
use tracing::{Event, Subscriber};
use tracing_subscriber::Layer;
use tracing_subscriber::layer::Context;

use crate::ids::JobId;

/// Lines kept of a job.
const LINES: usize = 20;
/// Bytes kept of a job.
const BYTES: usize = 4096;
/// Bytes kept of a line.
const LINE_BYTES: usize = 512;
/// Jobs of which lines are kept: more than a worker works on at once.
const JOBS: usize = 64;

/// One for the process, as the log is.
static KEPT: Mutex<Kept> = Mutex::new(Kept { jobs: VecDeque::new() });

struct Kept {
    /// The job heard of last is the last.
    jobs: VecDeque<(JobId, VecDeque<String>)>,
}

fn kept() -> MutexGuard<'static, Kept> {
    // Lines are added whole: a panic elsewhere leaves none half done.
    KEPT.lock().unwrap_or_else(PoisonError::into_inner)
}

/// What was logged last about the job in this process, oldest first.
pub fn recent(job: JobId) -> Vec<String> {
    let kept = kept();
    kept.jobs.iter().find(|(known, _)| *known == job).map(|(_, lines)| lines.iter().cloned().collect()).unwrap_or_default()
}

impl Kept {
    fn keep(&mut self, job: JobId, line: String) {
        let mut lines = match self.jobs.iter().position(|(known, _)| *known == job) {
            Some(place) => self.jobs.remove(place).map(|(_, lines)| lines).unwrap_or_default(),
            None => VecDeque::new(),
        };
        lines.push_back(line);
        while lines.len() > LINES || lines.iter().map(String::len).sum::<usize>() > BYTES {
            lines.pop_front();
        }
        if self.jobs.len() >= JOBS {
            self.jobs.pop_front();
        }
        self.jobs.push_back((job, lines));
    }
}

/// Keeps the lines.
pub(crate) struct JobLog;

impl<S: Subscriber> Layer<S> for JobLog {
    fn on_event(&self, event: &Event<'_>, _: Context<'_, S>) {
        let mut line = Line::default();
        event.record(&mut line);
        let Some(job) = line.job else { return };
        let now = chrono::Utc::now().format("%Y-%m-%dT%H:%M:%S%.3fZ");
        let mut text = format!("{now} {:5} {}{}", event.metadata().level(), line.message, line.fields);
        if text.len() > LINE_BYTES {
            let end = (0..=LINE_BYTES).rev().find(|&end| text.is_char_boundary(end)).unwrap_or(0);
            text.truncate(end);
            text.push('…');
        }
        kept().keep(job, text);
    }
}

/// A line in the making.
#[derive(Default)]
struct Line {
    job: Option<JobId>,
    message: String,
    fields: String,
}

impl Visit for Line {
    fn record_debug(&mut self, field: &Field, value: &dyn fmt::Debug) {
        // Writing to a string does not fail.
        match field.name() {
            "message" => self.message = format!("{value:?}"),
            "job" => self.job = format!("{value:?}").parse().ok(),
            name => drop(write!(self.fields, " {name}={value:?}")),
        }
    }

    fn record_str(&mut self, field: &Field, value: &str) {
        self.record_debug(field, &format_args!("{value}"));
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use tracing_subscriber::layer::SubscriberExt;

    #[test]
    fn a_jobs_last_lines_are_kept_and_no_others() {
        let (job, other) = (JobId::random(), JobId::random());
        tracing::subscriber::with_default(tracing_subscriber::registry().with(JobLog), || {
            for n in 0..30 {
                tracing::info!(%job, segment = n, "contributed");
            }
            tracing::warn!(%job, error = "no memory", "segment failed");
            tracing::info!(job = %other, "plan begun");
            tracing::info!("connected");
        });
        let lines = recent(job);
        assert_eq!(lines.len(), LINES);
        assert!(lines[0].ends_with(" INFO  contributed segment=11"), "{lines:?}");
        assert!(lines[LINES - 1].ends_with(" WARN  segment failed error=no memory"), "{lines:?}");
        assert_eq!(recent(other).len(), 1);
        assert!(recent(JobId::random()).is_empty());
    }

    #[test]
    fn they_are_bounded() {
        let job = JobId::random();
        tracing::subscriber::with_default(tracing_subscriber::registry().with(JobLog), || {
            for _ in 0..LINES {
                tracing::info!(%job, text = "ä".repeat(10_000), "long");
            }
        });
        let bytes: usize = recent(job).iter().map(String::len).sum();
        assert!(bytes <= BYTES && bytes > BYTES / 2, "{bytes}");
    }
}
