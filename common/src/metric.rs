//! A metric that a binary exports, as code and documentation know it.

use metrics::{Unit, describe_counter, describe_gauge, describe_histogram};

/// What a metric counts.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Kind {
    /// Only grows.
    Counter,
    /// Grows and falls.
    Gauge,
    /// A distribution.
    Histogram,
}

impl Kind {
    /// As Prometheus writes it.
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Counter => "counter",
            Self::Gauge => "gauge",
            Self::Histogram => "histogram",
        }
    }
}

/// A metric.
#[derive(Debug, Clone, Copy)]
pub struct Metric {
    /// Its name.
    pub name: &'static str,
    /// What it counts.
    pub kind: Kind,
    /// Its labels, each with few values.
    pub labels: &'static [&'static str],
    /// What it means.
    pub help: &'static str,
}

impl Metric {
    /// A counter.
    pub const fn counter(name: &'static str, labels: &'static [&'static str], help: &'static str) -> Self {
        Self { name, kind: Kind::Counter, labels, help }
    }

    /// A gauge.
    pub const fn gauge(name: &'static str, labels: &'static [&'static str], help: &'static str) -> Self {
        Self { name, kind: Kind::Gauge, labels, help }
    }

    /// A histogram of seconds.
    pub const fn seconds(name: &'static str, labels: &'static [&'static str], help: &'static str) -> Self {
        Self { name, kind: Kind::Histogram, labels, help }
    }

    /// Tells the recorder what it is; call once after that is installed.
    pub fn describe(&self) {
        match self.kind {
            Kind::Counter => describe_counter!(self.name, Unit::Count, self.help),
            Kind::Gauge => describe_gauge!(self.name, Unit::Count, self.help),
            Kind::Histogram => describe_histogram!(self.name, Unit::Seconds, self.help),
        }
    }

    /// Its line of the table in the documentation.
    pub fn documented(&self) -> String {
        let labels: Vec<String> = self.labels.iter().map(|label| format!("`{label}`")).collect();
        format!("| `{}` | {} | {} | {} |", self.name, self.kind.as_str(), labels.join(", "), self.help)
    }
}

/// The table of these metrics, as the documentation has it below the heading of their binary.
pub fn table(metrics: &[Metric]) -> String {
    let lines = metrics.iter().map(|metric| metric.documented() + "\n");
    std::iter::once("| metric | kind | labels | |\n|---|---|---|---|\n".to_owned()).chain(lines).collect()
}
