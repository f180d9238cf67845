//! A request's body as it came: JSON or MessagePack, read without losing or forgiving anything.

use std::fmt;

use serde::de::{self, Deserialize, Deserializer, IgnoredAny, MapAccess, SeqAccess, Visitor};
use zisk_common::errors::{ErrorCode, ErrorObject};
use zisk_common::messages::{JSON, MESSAGE_PACK};

/// Deeper than any request, and far from what a stack holds.
const MAX_DEPTH: usize = 16;

/// How a body is written.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Encoding {
    /// As people write it.
    Json,
    /// As programs do.
    MessagePack,
}

impl Encoding {
    /// What the header names; without one, JSON begins with a brace, which in MessagePack is a number. An empty body is an empty
    /// request.
    ///
    /// # Errors
    /// When it names another.
    pub fn of(content_type: Option<&str>, body: &[u8]) -> Result<Self, ErrorObject> {
        let essence = content_type.map(|value| value.split(';').next().unwrap_or(value).trim().to_ascii_lowercase());
        match essence.as_deref() {
            Some(JSON) => Ok(Self::Json),
            Some(MESSAGE_PACK | "application/x-msgpack" | "application/vnd.msgpack") => Ok(Self::MessagePack),
            None | Some("") => match body.trim_ascii_start().first() {
                None | Some(b'{') => Ok(Self::Json),
                Some(_) => Ok(Self::MessagePack),
            },
            Some(other) => Err(unreadable(format!("content type {other:?} is not read here"))),
        }
    }

    /// For the header.
    pub const fn content_type(self) -> &'static str {
        match self {
            Self::Json => JSON,
            Self::MessagePack => MESSAGE_PACK,
        }
    }
}

/// Any value of either encoding.
#[derive(Debug, Clone, PartialEq)]
pub enum Value {
    /// Nothing.
    Null,
    /// True or false.
    Bool(bool),
    /// A whole number.
    Integer(i128),
    /// Another number.
    Float(f64),
    /// A text.
    Text(String),
    /// Bytes; JSON has none.
    Bytes(Vec<u8>),
    /// A list. No request has one, so what is in it does not matter.
    List,
    /// Fields in their order; none is there twice.
    Map(Vec<(String, Value)>),
}

impl Value {
    /// Reads a whole body.
    ///
    /// # Errors
    /// When it is not of this encoding, is too deep, has a field twice, or does not end where it should.
    pub fn read(encoding: Encoding, body: &[u8]) -> Result<Self, ErrorObject> {
        match encoding {
            Encoding::Json if body.trim_ascii().is_empty() => Ok(Self::Map(Vec::new())),
            Encoding::Json => serde_json::from_slice(body).map_err(|error| unreadable(format!("the body is no JSON: {error}"))),
            Encoding::MessagePack => {
                let mut reader = rmp_serde::Deserializer::new(std::io::Cursor::new(body));
                reader.set_max_depth(MAX_DEPTH);
                let value =
                    Self::deserialize(&mut reader).map_err(|error| unreadable(format!("the body is no MessagePack: {error}")))?;
                let read = reader.position();
                match usize::try_from(read).is_ok_and(|read| read == body.len()) {
                    true => Ok(value),
                    false => Err(unreadable(format!("{} bytes follow the MessagePack value", body.len() as u64 - read))),
                }
            }
        }
    }

    /// What it is, in a message.
    pub const fn what(&self) -> &'static str {
        match self {
            Self::Null => "null",
            Self::Bool(_) => "true or false",
            Self::Integer(_) => "a whole number",
            Self::Float(_) => "a number with a fraction, or one out of all ranges",
            Self::Text(_) => "a text",
            Self::Bytes(_) => "bytes",
            Self::List => "a list",
            Self::Map(_) => "an object",
        }
    }
}

fn unreadable(message: String) -> ErrorObject {
    ErrorObject::new(ErrorCode::Unreadable, message).allowing(format!("one object, as {JSON} or {MESSAGE_PACK}"))
}

impl<'de> Deserialize<'de> for Value {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        struct Any;

        impl<'de> Visitor<'de> for Any {
            type Value = Value;

            fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str("a value")
            }

            fn visit_unit<E: de::Error>(self) -> Result<Value, E> {
                Ok(Value::Null)
            }

            fn visit_bool<E: de::Error>(self, value: bool) -> Result<Value, E> {
                Ok(Value::Bool(value))
            }

            fn visit_i64<E: de::Error>(self, value: i64) -> Result<Value, E> {
                Ok(Value::Integer(value.into()))
            }

            fn visit_u64<E: de::Error>(self, value: u64) -> Result<Value, E> {
                Ok(Value::Integer(value.into()))
            }

            fn visit_f64<E: de::Error>(self, value: f64) -> Result<Value, E> {
                Ok(Value::Float(value))
            }

            fn visit_str<E: de::Error>(self, value: &str) -> Result<Value, E> {
                Ok(Value::Text(value.to_owned()))
            }

            fn visit_bytes<E: de::Error>(self, value: &[u8]) -> Result<Value, E> {
                Ok(Value::Bytes(value.to_vec()))
            }

            fn visit_seq<A: SeqAccess<'de>>(self, mut list: A) -> Result<Value, A::Error> {
                while list.next_element::<IgnoredAny>()?.is_some() {}
                Ok(Value::List)
            }

            fn visit_map<A: MapAccess<'de>>(self, mut map: A) -> Result<Value, A::Error> {
                let mut fields: Vec<(String, Value)> = Vec::new();
                let mut names = std::collections::HashSet::new();
                while let Some(name) = map.next_key::<String>()? {
                    if !names.insert(name.clone()) {
                        let name: String = name.chars().take(80).collect();
                        return Err(de::Error::custom(format_args!("field {name:?} is there twice")));
                    }
                    fields.push((name, map.next_value()?));
                }
                Ok(Value::Map(fields))
            }
        }

        deserializer.deserialize_any(Any)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn refused(encoding: Encoding, body: &[u8]) -> String {
        let error = Value::read(encoding, body).unwrap_err();
        assert_eq!(error.code, ErrorCode::Unreadable);
        error.message
    }

    #[test]
    fn both_encodings_give_the_same_value() {
        let json = br#"{"a":-1,"b":{"c":[1,2],"d":null},"e":"x","f":1.5,"g":18446744073709551615}"#;
        let value = Value::read(Encoding::Json, json).unwrap();
        let packed = rmp_serde::to_vec_named(&serde_json::from_slice::<serde_json::Value>(json).unwrap()).unwrap();
        assert_eq!(Value::read(Encoding::MessagePack, &packed).unwrap(), value);
        let Value::Map(fields) = value else { panic!("no map") };
        assert_eq!(fields[4].1, Value::Integer(u64::MAX.into()));
        assert_eq!(Value::read(Encoding::Json, b" ").unwrap(), Value::Map(Vec::new()));
    }

    #[test]
    fn nothing_is_forgiven() {
        assert!(refused(Encoding::Json, br#"{"a":1,"a":2}"#).contains("\"a\" is there twice"));
        assert!(refused(Encoding::Json, br#"{"a":1} x"#).contains("trailing"));
        assert!(refused(Encoding::Json, b"{'a':1}").contains("no JSON"));
        let mut packed = rmp_serde::to_vec_named(&serde_json::json!({"a": 1})).unwrap();
        packed.push(0xc0);
        assert!(refused(Encoding::MessagePack, &packed).contains("1 bytes follow"));
        assert!(refused(Encoding::MessagePack, &[0x81, 0x01, 0x01]).contains("no MessagePack"));
        assert!(refused(Encoding::MessagePack, &[0xc1]).contains("no MessagePack"));
        // A hundred thousand lists within each other.
        refused(Encoding::MessagePack, &[0x91; 100_000]);
        refused(Encoding::Json, &[b'['; 100_000]);
    }

    #[test]
    fn the_encoding_is_that_of_the_header_or_shows() {
        assert_eq!(Encoding::of(Some("application/json; charset=utf-8"), b"x"), Ok(Encoding::Json));
        assert_eq!(Encoding::of(None, b"  {}"), Ok(Encoding::Json));
        assert_eq!(Encoding::of(None, &[0x80]), Ok(Encoding::MessagePack));
        assert!(Encoding::of(Some("text/html"), b"{}").unwrap_err().allowed.is_some_and(|it| it.contains(JSON)));
    }
}
