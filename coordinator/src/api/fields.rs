//! Typed reading of a request's fields. Whatever is wrong is named: the field, what it holds, what it may be.

use std::collections::VecDeque;
use std::fmt::Display;
use std::ops::RangeInclusive;
use std::str::FromStr;

use zisk_common::errors::{ErrorCode, ErrorObject};
use zisk_common::messages::SCHEMA_VERSION;
use zisk_common::subjects::ApiEndpoint;

use super::value::Value;

/// The fields that a request may have beside its schema version.
pub const fn known(endpoint: ApiEndpoint) -> &'static [&'static str] {
    match endpoint {
        ApiEndpoint::Prove | ApiEndpoint::Execute => &["program", "params", "client", "metadata", "idempotency_key", "input"],
        // To derive keys takes no input.
        ApiEndpoint::Setup => &["program", "params", "client", "metadata", "idempotency_key"],
        ApiEndpoint::Input => &["job", "n", "chunk", "close"],
        ApiEndpoint::Status | ApiEndpoint::Cancel => &["job"],
        ApiEndpoint::Result => &["job", "inline"],
        ApiEndpoint::Jobs => &["limit", "after"],
        ApiEndpoint::Verify => &["proof", "program", "verifying_key"],
    }
}

/// The fields of one object that are still to be read.
#[derive(Debug)]
pub struct Fields {
    path: String,
    fields: VecDeque<(String, Value)>,
}

impl Fields {
    /// A whole request for this endpoint.
    ///
    /// # Errors
    /// When it is no object, of a version not read here, or has a field that is not known there.
    pub fn of_request(value: Value, endpoint: ApiEndpoint) -> Result<Self, ErrorObject> {
        let mut fields = Self::read("", value)?;
        // First: what another version has is not to be called unknown.
        if let Some(version) = fields.integer("v", i128::MIN..=i128::MAX)? {
            let range = 1..=i128::from(SCHEMA_VERSION);
            if !range.contains(&version) {
                let message = format!("schema version {version} is not one that this release reads");
                return Err(ErrorObject::new(ErrorCode::SchemaVersion, message)
                    .at("v")
                    .allowing(format!("1 to {SCHEMA_VERSION}")));
            }
        }
        fields.only(known(endpoint))
    }

    /// An object within a request, which may have these fields.
    ///
    /// # Errors
    /// When it is no object, or has another field.
    pub fn of_field(path: impl Into<String>, value: Value, allowed: &[&str]) -> Result<Self, ErrorObject> {
        Self::read(path, value)?.only(allowed)
    }

    fn read(path: impl Into<String>, value: Value) -> Result<Self, ErrorObject> {
        let path = path.into();
        match value {
            Value::Map(fields) => Ok(Self { path, fields: fields.into() }),
            other => Err(wrong_type(&path, &other, "an object")),
        }
    }

    fn only(self, allowed: &[&str]) -> Result<Self, ErrorObject> {
        match self.fields.iter().find(|(name, _)| !allowed.contains(&name.as_str())) {
            None => Ok(self),
            Some((name, _)) => {
                let path = self.path(&name.chars().take(80).collect::<String>());
                let error = ErrorObject::new(ErrorCode::UnknownField, format!("there is no field {path:?}"));
                Err(error.at(path).allowing(allowed.join(", ")))
            }
        }
    }

    /// The whole name of one of them.
    pub fn path(&self, name: &str) -> String {
        if self.path.is_empty() { name.to_owned() } else { format!("{}.{name}", self.path) }
    }

    /// A field's value, if it is there and not null.
    pub fn take(&mut self, name: &str) -> Option<Value> {
        let index = self.fields.iter().position(|(known, _)| known == name)?;
        self.fields.remove(index).map(|(_, value)| value).filter(|value| *value != Value::Null)
    }

    /// A field that must be there.
    ///
    /// # Errors
    /// When it is not.
    pub fn required(&mut self, name: &str, expected: &str) -> Result<Value, ErrorObject> {
        self.take(name).ok_or_else(|| self.missing(name, expected))
    }

    /// Says that a field is not there.
    pub fn missing(&self, name: &str, expected: &str) -> ErrorObject {
        let path = self.path(name);
        ErrorObject::new(ErrorCode::MissingField, format!("{path} is not there")).at(path).allowing(expected)
    }

    /// A whole number of this range.
    ///
    /// # Errors
    /// When it is something else.
    pub fn integer<N>(&mut self, name: &str, range: RangeInclusive<N>) -> Result<Option<N>, ErrorObject>
    where
        N: Copy + Into<i128> + TryFrom<i128> + Display,
    {
        let expected = format!("a whole number, {} to {}", range.start(), range.end());
        match self.take(name) {
            None => Ok(None),
            Some(Value::Integer(number)) => {
                let within = (*range.start()).into() <= number && number <= (*range.end()).into();
                match N::try_from(number) {
                    Ok(value) if within => Ok(Some(value)),
                    _ => Err(not_allowed(&self.path(name), &number.to_string(), &expected)),
                }
            }
            Some(other) => Err(wrong_type(&self.path(name), &other, &expected)),
        }
    }

    /// True or false.
    ///
    /// # Errors
    /// When it is something else.
    pub fn flag(&mut self, name: &str) -> Result<Option<bool>, ErrorObject> {
        match self.take(name) {
            None => Ok(None),
            Some(Value::Bool(value)) => Ok(Some(value)),
            Some(other) => Err(wrong_type(&self.path(name), &other, "true or false")),
        }
    }

    /// A text of at most so many bytes.
    ///
    /// # Errors
    /// When it is something else, or longer.
    pub fn text(&mut self, name: &str, max: usize) -> Result<Option<String>, ErrorObject> {
        let expected = format!("a text of at most {max} bytes");
        match self.take(name) {
            None => Ok(None),
            Some(Value::Text(text)) if text.len() <= max => Ok(Some(text)),
            Some(Value::Text(text)) => Err(not_allowed(&self.path(name), &format!("{} bytes long", text.len()), &expected)),
            Some(other) => Err(wrong_type(&self.path(name), &other, &expected)),
        }
    }

    /// A text that reads as something.
    ///
    /// # Errors
    /// When it is no text, or does not.
    pub fn parsed<T: FromStr>(&mut self, name: &str, expected: &str) -> Result<Option<T>, ErrorObject> {
        let path = self.path(name);
        self.take(name).map(|value| parse(&path, value, expected)).transpose()
    }

    /// An object whose fields are all texts, whatever they are called.
    ///
    /// # Errors
    /// When it is no object, or one of them is no text.
    pub fn texts(path: &str, value: Value) -> Result<Vec<(String, String)>, ErrorObject> {
        let text = |(name, value): (String, Value)| match value {
            Value::Text(text) => Ok((name, text)),
            other => Err(wrong_type(&format!("{path}.{name}"), &other, "a text")),
        };
        Self::read(path, value)?.fields.into_iter().map(text).collect()
    }
}

/// Reads a text as something.
///
/// # Errors
/// When it is no text, or does not read so.
pub fn parse<T: FromStr>(path: &str, value: Value, expected: &str) -> Result<T, ErrorObject> {
    parse_by(path, value, expected, |text| text.parse().ok())
}

/// The same, read by `read`.
///
/// # Errors
/// As [`parse`].
pub fn parse_by<T>(path: &str, value: Value, expected: &str, read: impl FnOnce(&str) -> Option<T>) -> Result<T, ErrorObject> {
    match value {
        Value::Text(text) => read(&text).ok_or_else(|| {
            let shown: String = text.chars().take(120).collect();
            not_allowed(path, &format!("{shown:?}"), expected)
        }),
        other => Err(wrong_type(path, &other, expected)),
    }
}

/// Says that a field holds something of another type.
pub fn wrong_type(path: &str, value: &Value, expected: &str) -> ErrorObject {
    let whole = if path.is_empty() { "the request" } else { path };
    let error = ErrorObject::new(ErrorCode::WrongType, format!("{whole} is {}: expected {expected}", value.what()));
    let error = error.allowing(expected);
    if path.is_empty() { error } else { error.at(path) }
}

/// Says that a field's value is none of those it may have.
pub fn not_allowed(path: &str, value: &str, expected: &str) -> ErrorObject {
    ErrorObject::new(ErrorCode::NotAllowed, format!("{path} is {value}: expected {expected}")).at(path).allowing(expected)
}
