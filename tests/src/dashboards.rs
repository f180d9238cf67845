//! The Grafana dashboards that are shipped, read.

use anyhow::{Context, Result, ensure};
use serde_json::Value;

use crate::prometheus::shipped;

/// A dashboard.
#[derive(Debug, Clone)]
pub struct Dashboard {
    /// Its file, without `.json`.
    pub file: String,
    /// As Grafana reads it.
    pub json: Value,
}

/// A query of a panel.
#[derive(Debug, Clone)]
pub struct Query {
    /// The dashboard's file and the panel's title, for people.
    pub place: String,
    /// The panel's id.
    pub panel: u64,
    /// The expression, with its variables replaced.
    pub expression: String,
    /// What a line is called.
    pub legend: String,
}

/// All of them, by file.
///
/// # Errors
/// When one cannot be read.
pub fn all() -> Result<Vec<Dashboard>> {
    let mut dashboards = Vec::new();
    for entry in std::fs::read_dir(shipped("grafana/dashboards"))? {
        let path = entry?.path();
        let json = serde_json::from_slice(&std::fs::read(&path)?).with_context(|| path.display().to_string())?;
        let file = path.file_stem().context("no name")?.to_string_lossy().into_owned();
        dashboards.push(Dashboard { file, json });
    }
    dashboards.sort_by(|one, other| one.file.cmp(&other.file));
    ensure!(!dashboards.is_empty(), "there are no dashboards");
    Ok(dashboards)
}

impl Dashboard {
    /// Its panels.
    pub fn panels(&self) -> &[Value] {
        self.json["panels"].as_array().map_or(&[], Vec::as_slice)
    }

    /// All queries, with rates over so long.
    ///
    /// # Errors
    /// When one is not as it should be, or uses a variable that is not known.
    pub fn queries(&self, rate: &str) -> Result<Vec<Query>> {
        let mut queries = Vec::new();
        for panel in self.panels() {
            let title = panel["title"].as_str().unwrap_or_default();
            let place = format!("{}.json, {title:?}", self.file);
            for target in panel["targets"].as_array().into_iter().flatten() {
                let expression = target["expr"].as_str().with_context(|| format!("{place}: no expression"))?;
                // As Grafana would: all workers.
                let expression = expression.replace("$__rate_interval", rate).replace("$instance", ".+");
                ensure!(!expression.contains('$'), "{place}: a variable that nobody knows in {expression}");
                queries.push(Query {
                    place: place.clone(),
                    panel: panel["id"].as_u64().with_context(|| format!("{place}: no id"))?,
                    expression,
                    legend: target["legendFormat"].as_str().unwrap_or_default().to_owned(),
                });
            }
        }
        Ok(queries)
    }
}
