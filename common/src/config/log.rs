//! What a binary logs, how and where.

use std::path::PathBuf;

use serde::{Deserialize, Serialize};

use super::{Key, Kind};

/// The levels, in the guide's order.
const LEVELS: [&str; 6] = ["trace", "debug", "info", "warn", "error", "off"];

/// The settings for [`LogArgs`], table `[logging]`.
pub fn log_keys() -> [Key; 3] {
    [
        Key::new(
            "logging.level",
            Kind::Text(Some(check_level)),
            "Log level: trace, debug, info, warn, error, or a tracing filter; RUST_LOG wins",
        )
        .default("info")
        .flag("log-level")
        .variables(&["ZISK_LOG_LEVEL"]),
        Key::new("logging.format", Kind::OneOf(&["pretty", "json", "compact"]), "Log format: pretty, json or compact")
            .default("pretty")
            .flag("log-format")
            .variables(&["ZISK_LOG_FORMAT"]),
        Key::new("logging.file_path", Kind::Path, "Log to FILE.YYYY-MM-DD, a new one every day, instead of the console")
            .flag("log-file")
            .variables(&["ZISK_LOG_FILE"]),
    ]
}

/// A level, or a filter of which each part is a level or names one: a mistyped level would be taken for a module's name, and
/// nothing else be logged.
fn check_level(filter: &str) -> Result<(), String> {
    let level = |part: &str| LEVELS.iter().any(|level| part.eq_ignore_ascii_case(level));
    let wrong = filter.split(',').map(str::trim).find(|part| !level(part.rsplit_once('=').map_or(*part, |(_, level)| level)));
    match wrong {
        None => Ok(()),
        Some(part) => Err(format!("one of {}, or a filter such as info,zisk_worker=debug, not {part:?}", LEVELS.join(", "))),
    }
}

/// What is logged, how and where; table `[logging]`.
#[derive(Debug, Clone, Default, PartialEq, Eq, clap::Args, Deserialize, Serialize)]
#[serde(deny_unknown_fields, default)]
pub struct LogArgs {
    /// Log level: error, warn, info, debug, trace, or a tracing filter; RUST_LOG wins [default: info]
    #[arg(long = "log-level", env = "ZISK_LOG_LEVEL", value_name = "LEVEL", global = true)]
    pub level: Option<String>,
    /// Log format [default: pretty]
    #[arg(long = "log-format", env = "ZISK_LOG_FORMAT", value_enum, value_name = "FORMAT", global = true)]
    pub format: Option<LogFormat>,
    /// Log to FILE.YYYY-MM-DD, a new one every day, instead of the console
    #[arg(long = "log-file", env = "ZISK_LOG_FILE", value_name = "FILE", global = true)]
    pub file_path: Option<PathBuf>,
}

/// How log lines look.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, clap::ValueEnum, Deserialize, Serialize)]
#[serde(rename_all = "lowercase")]
pub enum LogFormat {
    /// One line per event.
    Compact,
    /// Several lines per event, for reading.
    #[default]
    Pretty,
    /// One JSON object per event, for machines.
    Json,
}

impl LogArgs {
    /// These values (flags, environment) where set, else the file's.
    #[must_use]
    pub fn over(self, file: Self) -> Self {
        Self {
            level: self.level.or(file.level),
            format: self.format.or(file.format),
            file_path: self.file_path.or(file.file_path),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_mistyped_level_is_not_taken_for_a_module() {
        for good in ["info", "WARN", "info,zisk_worker=debug", "off,zisk=trace"] {
            check_level(good).unwrap();
        }
        for bad in ["inof", "", "info,zisk_worker", "zisk=verbose"] {
            assert!(check_level(bad).unwrap_err().contains("info"), "{bad}");
        }
    }
}
