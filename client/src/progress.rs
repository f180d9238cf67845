//! Progress of a job: counts per phase, and how they are shown to a person.

use std::io::{IsTerminal, Write};
use std::time::{Duration, Instant};

/// A phase a person can watch.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Phase {
    /// Waiting for the job's turn: its position, of so many.
    Wait,
    /// Deriving the program's keys.
    Setup,
    /// Running the program and cutting segments.
    Execute,
    /// Segments contributed.
    Contribute,
    /// Segments proven.
    Prove,
    /// Folds done.
    Aggregate,
}

impl Phase {
    const COUNT: usize = 6;

    /// What has been done to the things counted.
    const fn label(self) -> &'static str {
        match self {
            Self::Wait => "queued, position",
            Self::Setup => "setup",
            Self::Execute => "segments cut",
            Self::Contribute => "segments contributed",
            Self::Prove => "segments proven",
            Self::Aggregate => "segments folded",
        }
    }
}

/// How far one phase is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Progress {
    /// Which phase.
    pub phase: Phase,
    /// How many are done.
    pub done: u32,
    /// Of how many, once known.
    pub total: Option<u32>,
}

impl Progress {
    /// A phase has begun.
    pub const fn started(phase: Phase) -> Self {
        Self { phase, done: 0, total: None }
    }

    /// `done` of `total` are done.
    pub const fn done(phase: Phase, done: u32, total: Option<u32>) -> Self {
        Self { phase, done, total }
    }
}

/// Shows progress on stderr: one line that is rewritten on a terminal, else a line now and then.
#[derive(Debug)]
pub struct ProgressLine {
    terminal: bool,
    quiet: bool,
    began: Instant,
    counts: [Option<Progress>; Phase::COUNT],
    shown: Option<Instant>,
    open: bool,
}

/// Between plain lines of the same phase.
const PLAIN_INTERVAL: Duration = Duration::from_secs(2);

impl ProgressLine {
    /// Shows on stderr; nothing when `quiet`.
    pub fn new(quiet: bool) -> Self {
        let terminal = std::io::stderr().is_terminal();
        Self { terminal, quiet, began: Instant::now(), counts: [None; Phase::COUNT], shown: None, open: false }
    }

    /// Shows the new state of a phase.
    pub fn show(&mut self, progress: Progress) {
        if progress.phase != Phase::Wait {
            self.counts[Phase::Wait as usize] = None;
        }
        let previous = self.counts[progress.phase as usize].replace(progress);
        if self.quiet || previous == Some(progress) {
            return;
        }
        if self.terminal {
            self.rewrite();
            return;
        }
        let first_or_last = previous.is_none() || progress.total == Some(progress.done);
        let due = self.shown.is_none_or(|at| at.elapsed() >= PLAIN_INTERVAL);
        if first_or_last || due {
            self.shown = Some(Instant::now());
            eprintln!("{:>7.1} s  {}", self.began.elapsed().as_secs_f64(), text(progress));
        }
    }

    /// A line of its own above the progress.
    pub fn note(&mut self, note: &str) {
        if self.quiet {
            return;
        }
        self.end();
        eprintln!("{note}");
    }

    /// Ends the line that is being rewritten.
    pub fn end(&mut self) {
        if std::mem::take(&mut self.open) {
            eprintln!();
        }
    }

    fn rewrite(&mut self) {
        let phases: Vec<String> = self.counts.iter().flatten().map(|progress| text(*progress)).collect();
        // Phases overlap, so the last three say where the job is.
        let recent = &phases[phases.len().saturating_sub(3)..];
        let mut stderr = std::io::stderr().lock();
        // Progress that cannot be written is not worth failing for.
        let _ = write!(stderr, "\r\x1b[2K{:>7.1} s  {}", self.began.elapsed().as_secs_f64(), recent.join(", "));
        let _ = stderr.flush();
        self.open = true;
    }
}

impl Drop for ProgressLine {
    fn drop(&mut self) {
        self.end();
    }
}

fn text(progress: Progress) -> String {
    let label = progress.phase.label();
    match (progress.phase, progress.done, progress.total) {
        (Phase::Setup, ..) => label.to_owned(),
        (Phase::Wait, position, Some(total)) => format!("{label} {position} of {total}"),
        (_, done, Some(total)) => format!("{label} {done}/{total}"),
        (_, done, None) => format!("{label} {done}"),
    }
}
