//! What `zisk bench` measured.

use serde_json::{Value, json};

/// Where a job's time goes.
pub const PHASES: [&str; 6] = ["queue", "start", "contribute", "prove", "fold", "transfer"];

/// One job.
#[derive(Clone, Debug)]
pub struct Sample {
    /// From its submission to its proof's arrival, seconds.
    pub latency: f64,
    pub steps: u64,
    /// Seconds in each of [`PHASES`].
    pub phases: [f64; 6],
}

/// All jobs.
#[derive(Debug, Default)]
pub struct Report {
    pub concurrency: u32,
    pub samples: Vec<Sample>,
    pub failures: Vec<String>,
    /// Of the whole run.
    pub seconds: f64,
    /// The same proof in one process, seconds.
    pub baseline: Option<f64>,
}

impl Report {
    pub const fn ended(&self) -> usize {
        self.samples.len() + self.failures.len()
    }

    pub fn print(&self, as_json: bool) {
        let latencies = sorted(self.samples.iter().map(|sample| sample.latency));
        let [p50, p90, p99, most] = [50, 90, 99, 100].map(|percent| percentile(&latencies, percent));
        let steps: u64 = self.samples.iter().map(|sample| sample.steps).sum();
        let khz = steps as f64 / self.seconds / 1000.0;
        let per_minute = self.samples.len() as f64 / self.seconds * 60.0;
        let medians: Vec<f64> = (0..PHASES.len())
            .map(|phase| percentile(&sorted(self.samples.iter().map(|sample| sample.phases[phase])), 50))
            .collect();
        // Of jobs one after the other; jobs side by side share the machines.
        let overhead = self.baseline.filter(|_| self.concurrency == 1 && !latencies.is_empty()).map(|alone| p50 / alone);
        if as_json {
            let phases: serde_json::Map<String, Value> =
                PHASES.iter().zip(&medians).map(|(name, seconds)| ((*name).to_owned(), json!(seconds))).collect();
            let value = json!({
                "jobs": self.ended(),
                "failed": self.failures.len(),
                "concurrency": self.concurrency,
                "seconds": self.seconds,
                "latency_seconds": { "p50": p50, "p90": p90, "p99": p99, "max": most },
                "jobs_per_minute": per_minute,
                "proven_khz": khz,
                "median_phase_seconds": phases,
                "baseline_seconds": self.baseline,
                "overhead": overhead,
            });
            println!("{value}");
            return;
        }
        println!(
            "jobs        {}, {} at a time, {} failed, in {:.1} s",
            self.ended(),
            self.concurrency,
            self.failures.len(),
            self.seconds
        );
        println!("latency     p50 {p50:.2} s, p90 {p90:.2} s, p99 {p99:.2} s, longest {most:.2} s");
        println!("throughput  {per_minute:.1} jobs a minute, {khz:.0} kHz proven");
        let phases: Vec<String> = PHASES.iter().zip(&medians).map(|(name, seconds)| format!("{name} {seconds:.2} s")).collect();
        println!("medians     {}", phases.join(", "));
        if let Some(alone) = self.baseline {
            let times = overhead.map_or_else(String::new, |times| format!(": the cluster takes {times:.2} times as long"));
            println!("one process {alone:.2} s{times}");
        }
    }
}

fn sorted(values: impl Iterator<Item = f64>) -> Vec<f64> {
    let mut values: Vec<f64> = values.collect();
    values.sort_by(f64::total_cmp);
    values
}

/// The smallest value that at least `percent` of them do not exceed (nearest rank); 0 of none.
fn percentile(sorted: &[f64], percent: usize) -> f64 {
    let rank = (sorted.len() * percent).div_ceil(100).max(1);
    sorted.get(rank - 1).copied().unwrap_or(0.0)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn percentiles_are_values_that_occurred() {
        let values: Vec<f64> = (1..=10).map(f64::from).collect();
        assert_eq!([1, 50, 90, 99, 100].map(|percent| percentile(&values, percent)), [1.0, 5.0, 9.0, 10.0, 10.0]);
        assert_eq!(percentile(&[7.0], 50), 7.0);
        assert_eq!(percentile(&[], 50), 0.0);
    }
}
