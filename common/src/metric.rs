//! A metric that a binary exports, as code and documentation know it.

use metrics::{Label, Unit, counter, describe_counter, describe_gauge, describe_histogram, histogram};

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

    fn describe(&self) {
        match self.kind {
            Kind::Counter => describe_counter!(self.name, Unit::Count, self.help),
            Kind::Gauge => describe_gauge!(self.name, Unit::Count, self.help),
            Kind::Histogram => describe_histogram!(self.name, Unit::Seconds, self.help),
        }
    }

    /// Shows a counter or a histogram before anything is counted, once for each of these label values, in the order of [`Metric::labels`]: the rate of
    /// a counter that first shows as 1 is 0.
    fn begin_at_zero(&self, values: &[Vec<&str>]) {
        for values in values {
            let labels = self.labels.iter().zip(values).map(|(label, value)| Label::new(*label, (*value).to_owned()));
            let labels: Vec<Label> = labels.collect();
            match self.kind {
                Kind::Counter => counter!(self.name, labels).increment(0),
                // To name it is to show it.
                Kind::Histogram => drop(histogram!(self.name, labels)),
                Kind::Gauge => {}
            }
        }
    }

    /// Its line of the table in the documentation.
    pub fn documented(&self) -> String {
        let labels: Vec<String> = self.labels.iter().map(|label| format!("`{label}`")).collect();
        format!("| `{}` | {} | {} | {} |", self.name, self.kind.as_str(), labels.join(", "), self.help)
    }
}

/// Tells the recorder of all of them, and shows all counters and histograms as 0: `values` are those of a metric's labels, by its name, in their order
/// (see [`each`] and [`pairs`]). Call once after the recorder is installed.
pub fn describe<'a>(metrics: &[Metric], values: impl Fn(&str) -> Vec<Vec<&'a str>>) {
    for metric in metrics {
        metric.describe();
        match (metric.kind, metric.labels) {
            (Kind::Gauge, _) => {}
            (_, []) => metric.begin_at_zero(&[Vec::new()]),
            _ => metric.begin_at_zero(&values(metric.name)),
        }
    }
}

/// The values of one label.
pub fn each<'a>(values: &[&'a str]) -> Vec<Vec<&'a str>> {
    values.iter().map(|value| vec![*value]).collect()
}

/// All combinations of the values of two labels.
pub fn pairs<'a>(first: &[&'a str], second: &[&'a str]) -> Vec<Vec<&'a str>> {
    first.iter().flat_map(|one| second.iter().map(|other| vec![*one, *other])).collect()
}

/// The table of these metrics, as the documentation has it below the heading of their binary.
pub fn table(metrics: &[Metric]) -> String {
    let lines = metrics.iter().map(|metric| metric.documented() + "\n");
    std::iter::once("| metric | kind | labels | |\n|---|---|---|---|\n".to_owned()).chain(lines).collect()
}
