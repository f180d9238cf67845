//! JSON Schema of one message: what the derive gives, made exact where JSON Schema can say more.

use schemars::generate::{Contract, SchemaSettings};
use schemars::{JsonSchema, Schema, SchemaGenerator, json_schema};
use serde_json::{Value, json};

use crate::messages::{MAX_METADATA, MAX_METADATA_KEY, MAX_METADATA_VALUE, ObjectRef};

/// The schema of a message as it is read, or as it is written.
pub fn of<T: JsonSchema>(contract: Contract) -> Value {
    let settings = SchemaSettings::draft2020_12().with(|settings| settings.contract = contract);
    let mut schema = settings.into_generator().into_root_schema_for::<T>().to_value();
    complete(&mut schema);
    schema
}

/// Bounds that the derive leaves out, and descriptions in one line.
fn complete(schema: &mut Value) {
    match schema {
        Value::Object(fields) => {
            let max = match fields.get("format").and_then(Value::as_str) {
                Some("uint32") => Some(u64::from(u32::MAX)),
                Some("uint64") => Some(u64::MAX),
                _ => None,
            };
            if let Some(max) = max {
                fields.entry("maximum").or_insert(json!(max));
            }
            if let Some(Value::String(text)) = fields.get_mut("description") {
                *text = text.split("\n\n").map(|part| part.replace('\n', " ")).collect::<Vec<_>>().join("\n\n");
            }
            fields.values_mut().for_each(complete);
        }
        Value::Array(items) => items.iter_mut().for_each(complete),
        _ => {}
    }
}

/// A client's own pairs of texts.
pub fn metadata(_: &mut SchemaGenerator) -> Schema {
    json_schema!({
        "type": "object",
        "propertyNames": { "minLength": 1, "maxLength": MAX_METADATA_KEY },
        "additionalProperties": { "type": "string", "maxLength": MAX_METADATA_VALUE },
        "maxProperties": MAX_METADATA,
    })
}

/// The same, or null.
pub fn optional_metadata(generator: &mut SchemaGenerator) -> Schema {
    let mut schema = metadata(generator);
    schema.insert("type".to_owned(), json!(["object", "null"]));
    schema
}

/// An object that is an input, or null.
pub fn input(generator: &mut SchemaGenerator) -> Schema {
    let object = generator.subschema_for::<ObjectRef>();
    let key = json!({ "type": "object", "properties": { "key": { "description": "It is an input's.", "type": "string", "pattern": "^input/" } } });
    json_schema!({ "anyOf": [{ "allOf": [object, key] }, { "type": "null" }] })
}
