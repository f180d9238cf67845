//! What `zisk doctor` found.

use serde_json::{Value, json};
use zisk_client::doctor::{Part, Report};

/// One check a line, with what to do below it.
pub fn report(report: &Report, as_json: bool) {
    let left: Vec<&str> = report.not_looked_at().into_iter().map(Part::as_str).collect();
    if as_json {
        let checks = report.checks.iter().map(|check| {
            json!({
                "check": check.part.as_str(),
                "verdict": check.verdict.as_str(),
                "found": check.found,
                "advice": check.advice,
            })
        });
        let checks = Value::Array(checks.collect());
        println!("{}", json!({ "verdict": report.verdict().as_str(), "checks": checks, "not_looked_at": left }));
        return;
    }
    for check in &report.checks {
        println!("{:7}  {:11}  {}", check.verdict.as_str(), check.part.as_str(), check.found);
        if let Some(advice) = &check.advice {
            println!("         what to do:  {advice}");
        }
    }
    if !left.is_empty() {
        println!("not looked at: {}", left.join(", "));
    }
}
