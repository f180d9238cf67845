//! The settings in force, each with where it comes from.

use std::collections::BTreeMap;
use std::fmt::Write as _;

use serde::de::DeserializeOwned;

use super::ConfigError;
use super::key::{Key, Source};

/// All settings of a binary.
#[derive(Debug, Clone)]
pub struct Settings {
    keys: Vec<Key>,
    said: BTreeMap<&'static str, (toml::Value, Source)>,
}

impl Settings {
    /// What is in force when nobody says anything.
    pub fn new(keys: &[Key]) -> Self {
        let default = |key: &Key| Some((key.name, (key.parse(key.default?).ok()?, Source::Default)));
        Self { keys: keys.to_vec(), said: keys.iter().filter_map(default).collect() }
    }

    /// Sets one that was `given`, if it is what it may be.
    pub(super) fn set(
        &mut self,
        key: &Key,
        source: Source,
        value: Result<toml::Value, String>,
        given: &toml::Value,
    ) -> Result<(), ConfigError> {
        match value {
            Ok(value) => {
                self.said.insert(key.name, (value, source));
                Ok(())
            }
            Err(expected) => {
                Err(ConfigError::Setting { name: key.name, from: source.to_string(), value: key.shown(given), expected })
            }
        }
    }

    /// The text of one that is text.
    pub fn text(&self, name: &str) -> Option<&str> {
        self.said.get(name)?.0.as_str()
    }

    /// Where one comes from.
    pub fn source(&self, name: &str) -> Option<&Source> {
        self.said.get(name).map(|(_, source)| source)
    }

    /// Gives `name` what `other` says, a setting of the guide for the same thing.
    pub fn take_from(&mut self, name: &'static str, other: &'static str) {
        if let Some((value, _)) = self.said.get(other).cloned() {
            self.said.insert(name, (value, Source::Setting(other)));
        }
    }

    /// Those that somebody set although they have no effect: what to tell the user.
    pub fn without_effect(&self) -> Vec<String> {
        let told = |key: &Key| {
            let (by, source) = (key.replaced?, self.source(key.name).filter(|source| **source != Source::Default)?);
            Some(format!("{} ({source}) has no effect: {by}", key.name))
        };
        self.keys.iter().filter_map(told).collect()
    }

    /// As the structure that the binary works with.
    ///
    /// # Errors
    /// [`ConfigError::Keys`] when list and structure disagree, which a test of each binary excludes.
    pub fn typed<T: DeserializeOwned>(&self) -> Result<T, ConfigError> {
        self.tables()
            .try_into()
            .map_err(|error: toml::de::Error| ConfigError::Keys { sources: "settings".to_owned(), reason: error.to_string() })
    }

    fn tables(&self) -> toml::Table {
        let mut tables = toml::Table::new();
        for (name, (value, _)) in &self.said {
            let mut path: Vec<&str> = name.split('.').collect();
            let Some(last) = path.pop() else { continue };
            let mut table = &mut tables;
            for step in path {
                let below = table.entry(step).or_insert_with(|| toml::Table::new().into());
                // Never otherwise: no name of a setting is the beginning of another's.
                let toml::Value::Table(below) = below else { return tables };
                table = below;
            }
            table.insert(last.to_owned(), value.clone());
        }
        tables
    }

    /// All of them as a configuration file, each with where it comes from; secrets are not shown.
    pub fn print(&self) -> String {
        let mut printed = String::new();
        if let Some(filter) = std::env::var_os("RUST_LOG").filter(|filter| !filter.is_empty()) {
            let _ = writeln!(printed, "# RUST_LOG is {filter:?}: it takes precedence over [logging] level.\n");
        }
        let mut last = "";
        for key in &self.keys {
            let Some((table, name)) = key.name.rsplit_once('.') else { continue };
            if table != last {
                let _ = writeln!(printed, "{}[{table}]", if last.is_empty() { "" } else { "\n" });
                last = table;
            }
            let line = match self.said.get(key.name) {
                Some((value, source)) => (format!("{name} = {}", key.shown(value)), source.to_string()),
                None => (format!("# {name} ="), "none".to_owned()),
            };
            let _ = writeln!(printed, "{:<42} # {}", line.0, line.1);
        }
        printed
    }
}
