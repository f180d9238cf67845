//! Whether JSON Schema, samples and code say the same.

use std::collections::BTreeMap;

use boon::{Compiler, SchemaIndex, Schemas};
use serde_json::{Value, json};

use super::asyncapi::each_reference;
use super::files::committed;
use super::{Described, all};
use crate::messages::{JSON, MESSAGE_PACK, SCHEMA_VERSION};

/// The compiled schemas of all messages.
struct Compiled {
    schemas: Schemas,
    by_name: BTreeMap<String, SchemaIndex>,
}

impl Compiled {
    fn new(messages: &[Described]) -> Self {
        let (mut schemas, mut compiler) = (Schemas::new(), Compiler::new());
        let mut by_name = BTreeMap::new();
        for message in messages {
            let url = format!("file:///{}.json", message.name);
            compiler.add_resource(&url, message.schema.clone()).unwrap();
            by_name.insert(message.name.clone(), compiler.compile(&url, &mut schemas).unwrap());
        }
        Self { schemas, by_name }
    }

    fn check(&self, message: &Described, value: &Value) -> Result<(), String> {
        self.schemas.validate(value, self.by_name[&message.name]).map_err(|error| error.to_string())
    }
}

#[test]
fn todays_code_reads_every_sample_there_is() {
    let messages = all();
    let compiled = Compiled::new(&messages);
    let mut values: BTreeMap<String, Value> = BTreeMap::new();
    for (place, message, content_type, bytes) in committed(&messages) {
        let read = (message.read)(content_type, &bytes).unwrap_or_else(|error| panic!("{place}: {error}"));
        // What it is read as is the same in both encodings, and after it is written again.
        let before = values.insert(place.rsplit_once('.').unwrap().0.to_owned(), read.clone());
        assert!(before.is_none_or(|before| before == read), "{place} is not the same in its two encodings");
        let json = read.to_string().into_bytes();
        assert_eq!((message.read)(JSON, &json).as_ref(), Ok(&read), "{place}");
        assert_eq!((message.read)(MESSAGE_PACK, &(message.pack)(&json)).as_ref(), Ok(&read), "{place}");
        compiled.check(message, &read).unwrap_or_else(|error| panic!("{place}: {error}"));
        if content_type == JSON {
            compiled.check(message, &serde_json::from_slice(&bytes).unwrap()).unwrap_or_else(|error| panic!("{place}: {error}"));
        }
    }
}

#[test]
fn a_newer_version_is_refused_by_name() {
    let newer = SCHEMA_VERSION + 1;
    for message in all().iter().filter(|message| !message.name.starts_with("api-")) {
        for sample in &message.samples {
            let mut value = sample.json.clone();
            value["v"] = newer.into();
            // Its fields are others, too.
            value["shape"] = json!({ "is": "unknown" });
            for (content_type, bytes) in
                [(JSON, value.to_string().into_bytes()), (MESSAGE_PACK, rmp_serde::to_vec_named(&value).unwrap())]
            {
                let error = (message.read)(content_type, &bytes).unwrap_err();
                let words = format!(
                    "{} has schema version {newer}, newer than {SCHEMA_VERSION}, the newest this build reads",
                    message.name.replace('-', " ")
                );
                assert!(error.replace('-', " ").starts_with(&words), "{}: {error}", sample.name);
            }
        }
    }
}

/// What a schema allows is read, and what it does not allow is not: each sample with a field more, a field less, a null, and values of
/// other types, at every place.
#[test]
fn schemas_allow_what_the_code_reads() {
    let messages = all();
    let compiled = Compiled::new(&messages);
    let (mut allowed, mut refused, mut wrong) = (0, 0, Vec::new());
    // What the service is sent it reads by hand (coordinator/src/api/described.rs), and what it sends has every field.
    for message in messages.iter().filter(|message| !message.name.starts_with("api-")) {
        for sample in &message.samples {
            for (what, value) in altered(&sample.json) {
                let read = (message.read)(JSON, value.to_string().as_bytes());
                let checked = compiled.check(message, &value);
                if read.is_ok() != checked.is_ok() {
                    wrong.push(format!("{}, {what}: read as {read:?}, checked {checked:?}", sample.name));
                }
                *if read.is_ok() { &mut allowed } else { &mut refused } += 1;
            }
        }
    }
    assert!(wrong.is_empty(), "{}", wrong.join("\n"));
    assert!(allowed > 300 && refused > 3_000, "{allowed} allowed, {refused} refused");
}

/// The value with one thing changed, in every way there is here, each with what was changed.
fn altered(value: &Value) -> Vec<(String, Value)> {
    let mut pointers = Vec::new();
    each_place(value, String::new(), &mut pointers);
    let mut found = Vec::new();
    for pointer in pointers {
        let mut change = |what: &str, change: &dyn Fn(&mut Value)| {
            let mut changed = value.clone();
            change(changed.pointer_mut(&pointer).unwrap());
            found.push((format!("{pointer} {what}"), changed));
        };
        for other in [json!(null), json!(true), json!(-1), json!(1.5), json!("x"), json!({}), json!([[]])] {
            change(&format!("is {other}"), &|place| *place = other.clone());
        }
        change("with a field more", &|place| {
            if let Value::Object(fields) = place {
                fields.insert("no-such-field".to_owned(), true.into());
            }
        });
        let fields: Vec<String> =
            value.pointer(&pointer).and_then(Value::as_object).map_or(Vec::new(), |it| it.keys().cloned().collect());
        for name in fields {
            change(&format!("without {name}"), &|place| {
                place.as_object_mut().unwrap().remove(&name);
            });
        }
    }
    found
}

fn each_place(value: &Value, pointer: String, found: &mut Vec<String>) {
    match value {
        Value::Object(fields) => {
            fields.iter().for_each(|(name, value)| each_place(value, format!("{pointer}/{name}"), found));
        }
        Value::Array(items) => {
            items.iter().enumerate().for_each(|(n, value)| each_place(value, format!("{pointer}/{n}"), found));
        }
        _ => {}
    }
    found.push(pointer);
}

/// Descriptions are for readers who know nothing of Rust, and there are some wherever something is named.
#[test]
fn schemas_say_what_things_are() {
    fn look(place: &str, schema: &Value, wrong: &mut Vec<String>) {
        let Value::Object(fields) = schema else { return };
        if let Some(Value::Object(properties)) = fields.get("properties") {
            for (name, property) in properties {
                if property.get("description").is_none() && property != &json!({ "type": "null" }) && !place.contains("/oneOf") {
                    wrong.push(format!("{place}/{name} has no description"));
                }
            }
        }
        let text = fields.get("description").and_then(Value::as_str).unwrap_or_default();
        if text.contains("[`") || text.contains("::") {
            wrong.push(format!("{place} is described in Rust: {text}"));
        }
        for (name, value) in fields.iter().filter(|(name, _)| *name != "examples") {
            let place = format!("{place}/{name}");
            match value {
                Value::Array(items) => items.iter().for_each(|item| look(&place, item, wrong)),
                _ => look(&place, value, wrong),
            }
        }
    }
    let mut wrong = Vec::new();
    for message in all() {
        for field in ["title", "description", "$schema"] {
            assert!(message.schema[field].is_string(), "{} has no {field}", message.name);
        }
        look(&message.name, &message.schema, &mut wrong);
        each_reference(&message.schema, &mut |reference| {
            assert!(message.schema.pointer(&reference[1..]).is_some(), "{}: {reference} leads nowhere", message.name);
        });
    }
    assert!(wrong.is_empty(), "{}", wrong.join("\n"));
}
