//! Progress on stderr: on a terminal a bar for each phase, with its rate and an estimate; else a plain line now and then.

use std::io::{IsTerminal, Write};
use std::time::{Duration, Instant};

use zisk_client::progress::{Phase, Progress};

/// Between two plain lines of the same phase.
const PLAIN_INTERVAL: Duration = Duration::from_secs(2);
/// Between two drawings on a terminal.
const DRAW_INTERVAL: Duration = Duration::from_millis(100);
/// Cells of a bar.
const BAR: u32 = 20;
/// What of a line stays free, so that none is wrapped: a drawing of another height could not be drawn over.
const COLUMNS: usize = 79;

/// How far each phase is, and how it is shown.
#[derive(Debug)]
pub struct Bars {
    terminal: bool,
    quiet: bool,
    began: Instant,
    phases: [Option<Shown>; Phase::COUNT],
    shown: Option<Instant>,
    /// Lines of the last drawing, which the next one is drawn over.
    lines: usize,
}

#[derive(Clone, Copy, Debug, PartialEq)]
struct Shown {
    progress: Progress,
    began: Duration,
    /// When its last one was done.
    ended: Option<Duration>,
}

impl Bars {
    /// Shows on stderr; nothing when `quiet`.
    pub fn new(quiet: bool) -> Self {
        Self {
            terminal: std::io::stderr().is_terminal(),
            quiet,
            began: Instant::now(),
            phases: [None; Phase::COUNT],
            shown: None,
            lines: 0,
        }
    }

    /// Shows the new state of a phase.
    pub fn show(&mut self, progress: Progress) {
        if progress.phase != Phase::Wait {
            self.phases[Phase::Wait as usize] = None;
        }
        let now = self.began.elapsed();
        let place = &mut self.phases[progress.phase as usize];
        let previous = *place;
        let complete = progress.total == Some(progress.done);
        let ended = complete.then(|| previous.and_then(|shown| shown.ended).unwrap_or(now));
        *place = Some(Shown { progress, began: previous.map_or(now, |shown| shown.began), ended });
        if self.quiet || previous.is_some_and(|shown| shown.progress == progress) {
            return;
        }
        let first_or_last = previous.is_none() || complete;
        let interval = if self.terminal { DRAW_INTERVAL } else { PLAIN_INTERVAL };
        if !first_or_last && self.shown.is_some_and(|at| at.elapsed() < interval) {
            return;
        }
        self.shown = Some(Instant::now());
        if self.terminal {
            self.draw();
        } else {
            eprintln!("{:>7.1} s  {}", now.as_secs_f64(), plain(progress));
        }
    }

    /// Lets the clock and the estimates go on.
    pub fn tick(&mut self) {
        if self.terminal && !self.quiet && self.lines > 0 {
            self.draw();
        }
    }

    /// A line of its own above the progress.
    pub fn note(&mut self, note: &str) {
        if !self.quiet {
            self.end();
            eprintln!("{note}");
        }
    }

    /// Leaves what is drawn as it is; what is written next comes below.
    pub fn end(&mut self) {
        if self.lines > 0 {
            self.draw();
            self.lines = 0;
        }
    }

    fn draw(&mut self) {
        let now = self.began.elapsed();
        let mut drawing = String::new();
        if self.lines > 0 {
            drawing.push_str(&format!("\x1b[{}A", self.lines));
        }
        let counted = self.phases.iter().flatten().any(|shown| shown.progress.done > 0);
        // What has no count says nothing any more once something has one.
        let shown = self.phases.iter().flatten().filter(|shown| !counted || shown.progress.done > 0);
        let mut lines = 0;
        for shown in shown {
            let line: String = shown.line(now).chars().take(COLUMNS).collect();
            drawing.push_str(&format!("\r\x1b[2K{}\n", line.trim_end()));
            lines += 1;
        }
        // Of a drawing that had more lines.
        drawing.push_str("\x1b[J");
        self.lines = lines;
        let mut stderr = std::io::stderr().lock();
        // Progress that cannot be written is not worth failing for.
        let _ = stderr.write_all(drawing.as_bytes());
        let _ = stderr.flush();
    }
}

impl Drop for Bars {
    fn drop(&mut self) {
        self.end();
    }
}

impl Shown {
    fn line(&self, now: Duration) -> String {
        let Progress { phase, done, total } = self.progress;
        if matches!(phase, Phase::Wait | Phase::Setup) {
            return format!("{:>20}  {:.0} s", plain(self.progress), now.as_secs_f64());
        }
        let elapsed = (self.ended.unwrap_or(now) - self.began).as_secs_f64();
        // The first is done when the phase begins to be shown.
        let rate = f64::from(done.saturating_sub(1)) / elapsed;
        let rate = Some(rate).filter(|rate| rate.is_finite() && *rate > 0.0);
        let per_second = rate.map_or_else(String::new, |rate| format!("{rate:.1}/s"));
        let (cells, count) = match total {
            Some(total) => (BAR * done.min(total) / total.max(1), format!("{done}/{total}")),
            None => (0, done.to_string()),
        };
        let bar: String = (0..BAR).map(|cell| if cell < cells { '#' } else { '.' }).collect();
        let left = match (self.ended, total, rate) {
            (Some(_), ..) => format!("in {elapsed:.1} s"),
            (None, Some(total), Some(rate)) => format!("{:.0} s left", f64::from(total.saturating_sub(done)) / rate),
            _ => String::new(),
        };
        format!("{:>20}  [{bar}] {count:>9} {per_second:>8}  {left}", label(phase))
    }
}

/// What has been done to the things counted.
const fn label(phase: Phase) -> &'static str {
    match phase {
        Phase::Wait => "queued, position",
        Phase::Setup => "setup",
        Phase::Execute => "segments cut",
        Phase::Contribute => "segments contributed",
        Phase::Prove => "segments proven",
        Phase::Aggregate => "segments folded",
    }
}

fn plain(Progress { phase, done, total }: Progress) -> String {
    let label = label(phase);
    match (phase, done, total) {
        (Phase::Setup, ..) => label.to_owned(),
        (Phase::Wait, position, Some(total)) => format!("{label} {position} of {total}"),
        (_, done, Some(total)) => format!("{label} {done}/{total}"),
        (_, done, None) => format!("{label} {done}"),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn line(done: u32, total: Option<u32>, began: u64, ended: Option<u64>, now: u64) -> String {
        let progress = Progress { phase: Phase::Prove, done, total };
        let (began, ended) = (Duration::from_secs(began), ended.map(Duration::from_secs));
        Shown { progress, began, ended }.line(Duration::from_secs(now))
    }

    #[test]
    fn a_bar_has_its_share_its_rate_and_what_is_left() {
        let half = line(6, Some(12), 10, None, 20);
        assert_eq!(half.matches('#').count() as u32, BAR / 2, "{half}");
        assert!(half.contains("6/12") && half.contains("0.5/s") && half.contains("12 s left"), "{half}");
        let all = line(12, Some(12), 10, Some(21), 50);
        assert_eq!(all.matches('#').count() as u32, BAR, "{all}");
        assert!(all.contains("12/12") && all.contains("1.0/s") && all.contains("in 11.0 s"), "{all}");
    }

    #[test]
    fn what_is_not_known_is_not_guessed() {
        let open = line(3, None, 10, None, 11);
        assert!(!open.contains('#') && !open.contains("left") && open.contains("2.0/s"), "{open}");
        let first = line(1, Some(4), 10, None, 10);
        assert!(!first.contains("/s") && !first.contains("left") && first.contains("1/4"), "{first}");
        assert!(line(65_000, Some(65_535), 0, None, 86_400).len() <= COLUMNS);
    }
}
