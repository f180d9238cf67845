//! Programs, inputs, proofs and keys as requests name them: by a key in the object store, by a URL in it, or inline.

use base64::Engine;
use base64::engine::general_purpose::STANDARD;
use bytes::Bytes;
use zisk_common::api::MAX_INLINE;
use zisk_common::errors::{ErrorCode, ErrorObject};
use zisk_common::ids::Digest;
use zisk_common::messages::{ObjectKey, ObjectRef, ObjectScope};
use zisk_common::objects::{Objects, StoreUrl};

use super::fields::{Fields, not_allowed, parse, parse_by, wrong_type};
use super::value::Value;

/// What a request names.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Data {
    /// An object that is to be in the store.
    Key(ObjectKey),
    /// The bytes themselves.
    Inline(Bytes),
}

/// What may be named, how it is called, and what is said when it is not there.
#[derive(Debug, Clone, Copy)]
pub struct Kind {
    scope: ObjectScope,
    expected: &'static str,
    key: &'static str,
    missing: ErrorCode,
    /// Whether a text alone is a key's digest.
    by_digest: bool,
}

/// An ELF.
pub const PROGRAM: Kind = Kind {
    scope: ObjectScope::Program,
    expected: "a program id (64 lower-case hexadecimal digits), {\"key\": \"program/<id>\"}, {\"url\": \"<store>/program/<id>\"} or {\"inline\": \"<base64>\"}",
    key: "program/<id>, the id being the blake3 digest of the ELF in 64 lower-case hexadecimal digits",
    missing: ErrorCode::ProgramNotFound,
    by_digest: true,
};
/// A job's input.
pub const INPUT: Kind = Kind {
    scope: ObjectScope::Input,
    expected: "{\"key\": \"input/<digest>\"}, {\"url\": \"<store>/input/<digest>\"}, {\"inline\": \"<base64>\"} or {\"stream\": true}; without it the input \
               is empty",
    key: "input/<digest>, the blake3 digest of its bytes in 64 lower-case hexadecimal digits",
    missing: ErrorCode::InputNotFound,
    by_digest: false,
};
/// A final proof.
pub const PROOF: Kind = Kind {
    scope: ObjectScope::Proof,
    expected: "{\"key\": \"proof/<digest>\"}, {\"url\": \"<store>/proof/<digest>\"} or {\"inline\": \"<base64>\"}",
    key: "proof/<digest>, as api.result gives it",
    missing: ErrorCode::ProofNotFound,
    by_digest: false,
};
/// A program's verifying key.
pub const VERIFYING_KEY: Kind = Kind {
    scope: ObjectScope::Key,
    expected: "{\"key\": \"key/<digest>\"}, {\"url\": \"<store>/key/<digest>\"} or {\"inline\": \"<base64>\"}",
    key: "key/<digest>, the blake3 digest of the verifying key in 64 lower-case hexadecimal digits",
    missing: ErrorCode::KeyNotFound,
    by_digest: false,
};

impl Kind {
    /// What a request may say.
    pub const fn expected(&self) -> &'static str {
        self.expected
    }

    /// Reads what a request to a cluster with this store says; nothing is looked up.
    ///
    /// # Errors
    /// What is wrong with the field.
    pub fn read(&self, path: &str, value: Value, store: &StoreUrl) -> Result<Data, ErrorObject> {
        match value {
            Value::Text(_) if self.by_digest => {
                let digest: Digest = parse(path, value, self.expected)?;
                Ok(Data::Key(ObjectKey { scope: self.scope, digest }))
            }
            Value::Map(_) => {
                let mut fields = Fields::of_field(path, value, &["key", "url", "inline"])?;
                let allowed = self.expected;
                match (fields.take("key"), fields.take("url"), fields.take("inline")) {
                    (Some(key), None, None) => self.key(&fields.path("key"), key, "").map(Data::Key),
                    (None, Some(url), None) => self.key(&fields.path("url"), url, &store.base()).map(Data::Key),
                    (None, None, Some(bytes)) => inline(&fields.path("inline"), bytes).map(Data::Inline),
                    (None, None, None) => Err(not_allowed(path, "an object with neither key nor url nor inline", allowed)),
                    _ => Err(not_allowed(path, "an object with more than one of key, url and inline", allowed)),
                }
            }
            other => Err(wrong_type(path, &other, self.expected)),
        }
    }

    /// Reads a key, in a URL what follows the store's own.
    fn key(&self, path: &str, value: Value, before: &str) -> Result<ObjectKey, ErrorObject> {
        let key = |text: &str| text.strip_prefix(before)?.parse().ok().filter(|key: &ObjectKey| key.scope == self.scope);
        parse_by(path, value, &format!("{before}{}", self.key), key)
    }

    /// Says that the store does not have it.
    pub fn not_found(&self, path: &str, key: ObjectKey) -> ErrorObject {
        let message = format!("the object store has no {key}");
        ErrorObject::new(self.missing, message).at(path).allowing("an object that is stored, or the bytes inline")
    }

    /// Looks for what is named by its key.
    ///
    /// # Errors
    /// When it is not there.
    pub async fn find(&self, path: &str, objects: &Objects, key: ObjectKey) -> Result<ObjectRef, ErrorObject> {
        objects.head(key).await?.ok_or_else(|| self.not_found(path, key))
    }

    /// The bytes, of which there may be so many.
    ///
    /// # Errors
    /// When they are not there, damaged, or too many.
    pub async fn load(&self, path: &str, objects: &Objects, data: Data, max: u64) -> Result<Bytes, ErrorObject> {
        let key = match data {
            Data::Inline(bytes) => return Ok(bytes),
            Data::Key(key) => key,
        };
        let object = self.find(path, objects, key).await?;
        if object.size > max {
            return Err(not_allowed(path, &format!("{} bytes long", object.size), &format!("at most {max} bytes")));
        }
        Ok(objects.get(object).await?)
    }
}

/// Bytes as a request brings them.
///
/// # Errors
/// When they are none, or too many.
pub fn inline(path: &str, value: Value) -> Result<Bytes, ErrorObject> {
    const EXPECTED: &str = "base64 with padding and without line breaks, or bytes in MessagePack";
    let bytes = match value {
        Value::Bytes(bytes) => bytes,
        Value::Text(text) => {
            STANDARD.decode(text.as_bytes()).map_err(|error| not_allowed(path, &format!("no base64 ({error})"), EXPECTED))?
        }
        other => return Err(wrong_type(path, &other, EXPECTED)),
    };
    if bytes.len() > MAX_INLINE {
        let message = format!("{path} has {} bytes, more than are taken inline", bytes.len());
        let allowed = format!("at most {MAX_INLINE} bytes; upload what is larger to the object store, and name its key");
        return Err(ErrorObject::new(ErrorCode::InlineTooLarge, message).at(path).allowing(allowed));
    }
    Ok(bytes.into())
}

/// Bytes as they stand in an answer.
pub fn base64(bytes: &[u8]) -> String {
    STANDARD.encode(bytes)
}
