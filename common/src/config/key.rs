//! One setting of a binary: its name, what it may be, its default, and by which flag and variables it can be given.

use std::fmt;
use std::path::PathBuf;

/// Whether a text is what it should be, or why not.
pub type Check = fn(&str) -> Result<(), String>;

/// What a setting may be.
#[derive(Debug, Clone, Copy)]
pub enum Kind {
    /// Any text that the check takes.
    Text(Option<Check>),
    /// A URL, or several separated by commas; a password in it is not shown.
    Url(Option<Check>),
    /// Text that is not shown.
    Secret,
    /// A file or a directory.
    Path,
    /// true or false.
    Switch,
    /// A number.
    Number {
        /// The least it may be.
        least: u64,
        /// The most it may be.
        most: u64,
        /// Both in words.
        expected: &'static str,
    },
    /// One of these words.
    OneOf(&'static [&'static str]),
}

/// A setting.
#[derive(Debug, Clone)]
pub struct Key {
    /// Table and key in the file, as in `metrics.port`.
    pub name: &'static str,
    /// What it may be.
    pub kind: Kind,
    /// What it is when nothing else is said.
    pub default: Option<&'static str>,
    /// What it is for.
    pub help: &'static str,
    /// The flag, where it is not called after table and key.
    flag: Option<&'static str>,
    /// Variables beside the one that is called after table and key, weakest first.
    variables: &'static [&'static str],
    /// Of those that `-h` shows; `--help` shows all.
    pub common: bool,
    /// What takes its place, where it has no effect.
    pub replaced: Option<&'static str>,
}

impl Key {
    /// A setting of a kind, without a default.
    pub const fn new(name: &'static str, kind: Kind, help: &'static str) -> Self {
        Self { name, kind, default: None, help, flag: None, variables: &[], common: false, replaced: None }
    }

    /// A number in this range.
    pub const fn number(name: &'static str, least: u64, most: u64, expected: &'static str, help: &'static str) -> Self {
        Self::new(name, Kind::Number { least, most, expected }, help)
    }

    /// A TCP port.
    pub const fn port(name: &'static str, help: &'static str) -> Self {
        Self::number(name, 0, 65_535, "0 (a free one) to 65535", help)
    }

    /// With a default.
    #[must_use]
    pub const fn default(mut self, value: &'static str) -> Self {
        self.default = Some(value);
        self
    }

    /// With a flag of its own, which `-h` shows.
    #[must_use]
    pub const fn flag(mut self, name: &'static str) -> Self {
        self.flag = Some(name);
        self.common = true;
        self
    }

    /// With further variables, weakest first.
    #[must_use]
    pub const fn variables(mut self, names: &'static [&'static str]) -> Self {
        self.variables = names;
        self
    }

    /// Accepted, without any effect: what takes its place.
    #[must_use]
    pub const fn replaced(mut self, by: &'static str) -> Self {
        self.replaced = Some(by);
        self.common = false;
        self
    }

    /// The flag's name, without its dashes.
    pub fn flag_name(&self) -> String {
        self.flag.map_or_else(|| self.name.replace(['.', '_'], "-"), str::to_owned)
    }

    /// All variables that set it, weakest first; `prefix` is the binary's.
    pub fn variable_names(&self, prefix: &str) -> Vec<String> {
        let own = format!("{prefix}{}", self.name.replace('.', "_").to_uppercase());
        self.variables.iter().map(|name| (*name).to_owned()).chain([own]).collect()
    }

    /// Its value from the text of a variable or a flag.
    ///
    /// # Errors
    /// What it may be.
    pub fn parse(&self, text: &str) -> Result<toml::Value, String> {
        let value = match self.kind {
            Kind::Switch => text.parse::<bool>().map(toml::Value::from).ok(),
            Kind::Number { .. } => text.parse::<i64>().map(toml::Value::from).ok(),
            _ => Some(toml::Value::from(text)),
        };
        let value = value.ok_or_else(|| self.expected())?;
        self.check(&value)?;
        Ok(value)
    }

    /// Whether a value is of the right type and in its range.
    ///
    /// # Errors
    /// What it may be.
    pub fn check(&self, value: &toml::Value) -> Result<(), String> {
        let checked = |check: Option<Check>, text: &str| {
            check.map_or(Ok(()), |check| check(text).map_err(|reason| format!("{} ({reason})", self.expected())))
        };
        match (self.kind, value) {
            (Kind::Text(check) | Kind::Url(check), toml::Value::String(text)) => checked(check, text),
            (Kind::Secret, toml::Value::String(_)) | (Kind::Switch, toml::Value::Boolean(_)) => Ok(()),
            (Kind::Path, toml::Value::String(text)) if !text.is_empty() => Ok(()),
            (Kind::Number { least, most, .. }, toml::Value::Integer(number))
                if u64::try_from(*number).is_ok_and(|number| (least..=most).contains(&number)) =>
            {
                Ok(())
            }
            (Kind::OneOf(words), toml::Value::String(text)) if words.contains(&text.as_str()) => Ok(()),
            _ => Err(self.expected()),
        }
    }

    /// What it may be, in words.
    pub fn expected(&self) -> String {
        match self.kind {
            Kind::Text(_) | Kind::Secret => "expected text".to_owned(),
            Kind::Url(_) => "expected a URL".to_owned(),
            Kind::Path => "expected a path".to_owned(),
            Kind::Switch => "expected true or false".to_owned(),
            Kind::Number { expected, .. } => format!("expected {expected}"),
            Kind::OneOf(words) => format!("expected one of {}", words.join(", ")),
        }
    }

    /// A value as it may be shown to anybody, in TOML.
    pub fn shown(&self, value: &toml::Value) -> String {
        match (self.kind, value) {
            (Kind::Secret, _) => "\"***\"".to_owned(),
            (Kind::Url(_), toml::Value::String(text)) => toml::Value::from(without_password(text)).to_string(),
            _ => value.to_string(),
        }
    }
}

/// `nats://user:***@host` for `nats://user:password@host`, for each of several URLs.
fn without_password(urls: &str) -> String {
    let one = |url: &str| {
        let (scheme, rest) = url.split_once("://").unwrap_or(("", url));
        match rest.rsplit_once('@') {
            Some((login, host)) => {
                let user = login.split(':').next().filter(|_| login.contains(':'));
                format!("{scheme}://{}***@{host}", user.map_or_else(String::new, |user| format!("{user}:")))
            }
            None => url.to_owned(),
        }
    };
    urls.split(',').map(one).collect::<Vec<_>>().join(",")
}

/// Where a value comes from.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Source {
    /// Nobody said anything.
    Default,
    /// A file.
    File(PathBuf),
    /// An environment variable.
    Variable(String),
    /// A flag, with its dashes.
    Flag(String),
    /// Another setting, which says the same in the words of the guide.
    Setting(&'static str),
}

impl fmt::Display for Source {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Default => f.write_str("default"),
            Self::File(path) => write!(f, "file {}", path.display()),
            Self::Variable(name) => write!(f, "environment {name}"),
            Self::Flag(name) => write!(f, "flag {name}"),
            Self::Setting(name) => write!(f, "setting {name}"),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn passwords_in_urls_are_not_shown() {
        let shown = |url: &str| Key::new("nats.url", Kind::Url(None), "").shown(&url.into());
        assert_eq!(shown("nats://me:secret@a:1,tls://b:2"), "\"nats://me:***@a:1,tls://b:2\"");
        assert_eq!(shown("nats://token@a:1"), "\"nats://***@a:1\"");
        assert_eq!(shown("nats://me:p:with@odd:signs@a:1"), "\"nats://me:***@a:1\"");
        assert_eq!(Key::new("nats.password", Kind::Secret, "").shown(&"secret".into()), "\"***\"");
    }
}
