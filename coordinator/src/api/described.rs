//! Requests as `schemas/` describes them, read by the code that reads them.

use std::collections::BTreeSet;
use std::fs;
use std::path::{Path, PathBuf};

use boon::{Compiler, Schemas};
use serde_json::{Value as Json, json};
use zisk_common::errors::ErrorCode;
use zisk_common::objects::StoreUrl;
use zisk_common::subjects::{ApiEndpoint, RequestKind};

use super::fields::known;
use super::request::Asked;
use super::value::{Encoding, Value};

/// The store of which the samples name URLs.
const STORE: &StoreUrl = &StoreUrl::JetStream;

fn root() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("../schemas")
}

fn schema(name: &str) -> Json {
    serde_json::from_slice(&fs::read(root().join(format!("messages/{name}.json"))).unwrap()).unwrap()
}

/// What a job may be asked for with, and the name of such a request.
const JOBS: [(RequestKind, &str); 3] = [
    (RequestKind::Prove, "api-prove-request"),
    (RequestKind::Execute, "api-prove-request"),
    (RequestKind::Setup, "api-setup-request"),
];

/// The committed samples of a message.
fn samples(name: &str) -> Vec<(Encoding, Vec<u8>)> {
    let mut found = Vec::new();
    for version in fs::read_dir(root().join("samples")).unwrap() {
        for file in fs::read_dir(version.unwrap().path()).unwrap() {
            let path = file.unwrap().path();
            if path.file_name().unwrap().to_str().unwrap().starts_with(name) {
                let encoding = if path.extension().unwrap() == "json" { Encoding::Json } else { Encoding::MessagePack };
                found.push((encoding, fs::read(path).unwrap()));
            }
        }
    }
    assert!(found.len() > 2, "{name} has no samples");
    found
}

#[test]
fn a_request_may_have_the_fields_that_its_schema_has() {
    let document: Json = serde_json::from_slice(&fs::read(root().join("asyncapi.json")).unwrap()).unwrap();
    for endpoint in ApiEndpoint::ALL {
        let message = document["channels"][format!("api-{endpoint}")]["messages"].as_object().unwrap().keys().next().unwrap();
        let schema = schema(message);
        assert_eq!(schema["additionalProperties"], false, "{message}");
        let mut described: BTreeSet<&str> = schema["properties"].as_object().unwrap().keys().map(String::as_str).collect();
        assert!(described.remove("v"), "{message}");
        assert_eq!(described, known(*endpoint).iter().copied().collect(), "{endpoint}");
    }
}

#[test]
fn samples_of_every_version_are_read() {
    for (goal, name) in JOBS {
        for (encoding, bytes) in samples(name) {
            Asked::read(goal, Value::read(encoding, &bytes).unwrap(), None, STORE).unwrap();
            if encoding == Encoding::Json {
                let mut newer: Json = serde_json::from_slice(&bytes).unwrap();
                newer["v"] = 2.into();
                let newer = Value::read(Encoding::Json, newer.to_string().as_bytes()).unwrap();
                assert_eq!(Asked::read(goal, newer, None, STORE).unwrap_err().code, ErrorCode::SchemaVersion);
            }
        }
    }
}

/// Each sample with one thing changed, at every place of it: what the schema allows is read, and nothing else.
#[test]
fn schemas_allow_what_is_read() {
    let (mut allowed, mut refused) = (0, 0);
    for (goal, name) in JOBS {
        let (mut schemas, mut compiler) = (Schemas::new(), Compiler::new());
        compiler.add_resource("file:///request.json", schema(name)).unwrap();
        let compiled = compiler.compile("file:///request.json", &mut schemas).unwrap();
        for (_, bytes) in samples(name).into_iter().filter(|(encoding, _)| *encoding == Encoding::Json) {
            for changed in altered(&serde_json::from_slice(&bytes).unwrap()) {
                let read = Value::read(Encoding::Json, changed.to_string().as_bytes())
                    .and_then(|body| Asked::read(goal, body, None, STORE));
                let checked = schemas.validate(&changed, compiled);
                assert_eq!(
                    read.is_ok(),
                    checked.is_ok(),
                    "{changed}: {:?}, {:?}",
                    read.err(),
                    checked.err().map(|it| it.to_string())
                );
                *if checked.is_ok() { &mut allowed } else { &mut refused } += 1;
            }
        }
    }
    assert!(allowed > 50 && refused > 300, "{allowed} allowed, {refused} refused");
}

fn altered(value: &Json) -> Vec<Json> {
    let others = [json!(null), json!(true), json!(-1), json!(300), json!(1.5), json!("x"), json!(""), json!({}), json!([[]])];
    let mut found = others.to_vec();
    let Json::Object(fields) = value else { return found };
    for (name, field) in fields {
        let with = |changed: Json| {
            let mut fields = fields.clone();
            fields.insert(name.clone(), changed);
            Json::Object(fields)
        };
        found.extend(altered(field).into_iter().map(with));
        let mut without = fields.clone();
        without.remove(name);
        found.push(without.into());
    }
    let mut more = fields.clone();
    more.insert("no-such-field".to_owned(), true.into());
    found.push(more.into());
    found
}
