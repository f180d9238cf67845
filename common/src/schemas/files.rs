//! The files of `schemas/`, and that they are what the code gives.

use std::collections::{BTreeMap, BTreeSet};
use std::fs;
use std::path::{Path, PathBuf};

use serde_json::Value;

use super::{Described, all, asyncapi, channels};
use crate::messages::{JSON, MESSAGE_PACK, SCHEMA_VERSION};

const WRITE: &str = "ZISK_WRITE_SCHEMAS";
const COMMAND: &str = "ZISK_WRITE_SCHEMAS=1 cargo test --release -p zisk-common schemas";

fn root() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("../schemas")
}

fn pretty(value: &Value) -> String {
    format!("{value:#}\n")
}

/// All files that are generated, by their paths.
fn generated() -> BTreeMap<PathBuf, String> {
    let messages = all();
    let document = asyncapi::document(&channels::all(), &messages);
    let mut files: BTreeMap<_, _> = messages
        .iter()
        .map(|message| (Path::new("messages").join(format!("{}.json", message.name)), pretty(&message.schema)))
        .collect();
    files.insert("asyncapi.json".into(), pretty(&document));
    files
}

fn names_in(directory: &Path) -> BTreeSet<String> {
    let entries = fs::read_dir(directory).into_iter().flatten();
    entries.map(|entry| entry.unwrap().file_name().into_string().unwrap()).collect()
}

/// Writes what differs when that is asked for; else it is a failure.
#[test]
fn what_is_committed_is_what_the_code_gives() {
    let write = std::env::var_os(WRITE).is_some();
    let (generated, mut wrong) = (generated(), Vec::new());
    for (path, text) in &generated {
        let file = root().join(path);
        if fs::read_to_string(&file).is_ok_and(|committed| committed == *text) {
            continue;
        }
        wrong.push(path.display().to_string());
        if write {
            fs::create_dir_all(file.parent().unwrap()).unwrap();
            fs::write(file, text).unwrap();
        }
    }
    for name in names_in(&root().join("messages")) {
        let path = Path::new("messages").join(&name);
        if !generated.contains_key(&path) {
            wrong.push(path.display().to_string());
            if write {
                fs::remove_file(root().join(path)).unwrap();
            }
        }
    }
    assert!(write || wrong.is_empty(), "not what the code gives, in schemas/: {}\nwrite them with: {COMMAND}", wrong.join(", "));
}

/// Samples are written once. One that is there is never written again: today's code is to read yesterday's.
#[test]
fn every_message_has_its_samples() {
    let write = std::env::var_os(WRITE).is_some();
    let directory = root().join(format!("samples/v{SCHEMA_VERSION}"));
    let mut wrong = Vec::new();
    for message in all() {
        for sample in &message.samples {
            let [json, packed] = ["json", "msgpack"].map(|extension| directory.join(format!("{}.{extension}", sample.name)));
            if write && !json.exists() && !packed.exists() {
                fs::create_dir_all(&directory).unwrap();
                fs::write(&json, pretty(&sample.json)).unwrap();
                fs::write(&packed, &sample.packed).unwrap();
            }
            for (file, content_type) in [(json, JSON), (packed, MESSAGE_PACK)] {
                match fs::read(&file).map(|bytes| (message.read)(content_type, &bytes)) {
                    Err(_) => wrong.push(format!("{} is not there", file.display())),
                    Ok(Err(error)) => wrong.push(format!("{}: {error}", file.display())),
                    Ok(Ok(read)) if read == sample.json => {}
                    Ok(Ok(_)) => wrong.push(format!("{} is not the sample of that name in the code", file.display())),
                }
            }
        }
        let text = message.samples.iter().map(|sample| &sample.json);
        for field in unsampled(&message.schema, text) {
            wrong.push(format!(
                "no sample of {} has a value in `{field}`: add one that has, under a name of its own",
                message.name
            ));
        }
    }
    assert!(wrong.is_empty(), "{}\nnew ones are written with: {COMMAND}", wrong.join("\n"));
}

/// The fields that a schema names and none of these has a value in.
fn unsampled<'a>(schema: &Value, samples: impl Iterator<Item = &'a Value>) -> BTreeSet<String> {
    fn named(schema: &Value, found: &mut BTreeSet<String>) {
        match schema {
            Value::Object(fields) => {
                if let Some(Value::Object(properties)) = fields.get("properties") {
                    found.extend(properties.keys().cloned());
                }
                // An example is no schema.
                fields.iter().filter(|(name, _)| *name != "examples").for_each(|(_, value)| named(value, found));
            }
            Value::Array(items) => items.iter().for_each(|item| named(item, found)),
            _ => {}
        }
    }
    fn used(value: &Value, found: &mut BTreeSet<String>) {
        match value {
            Value::Object(fields) => {
                found.extend(fields.iter().filter(|(_, value)| !value.is_null()).map(|(name, _)| name.clone()));
                fields.values().for_each(|value| used(value, found));
            }
            Value::Array(items) => items.iter().for_each(|item| used(item, found)),
            _ => {}
        }
    }
    let (mut all, mut seen) = (BTreeSet::new(), BTreeSet::new());
    named(schema, &mut all);
    samples.for_each(|sample| used(sample, &mut seen));
    &all - &seen
}

/// The message that a committed sample is of: that with the longest name that its own begins with.
fn message_of<'a>(messages: &'a [Described], sample: &str) -> Option<&'a Described> {
    let fits = |message: &&Described| sample == message.name || sample.starts_with(&format!("{}-", message.name));
    messages.iter().filter(fits).max_by_key(|message| message.name.len())
}

/// Every committed sample, of any version: its place, its message, its content type and its bytes.
pub fn committed(messages: &[Described]) -> Vec<(String, &Described, &'static str, Vec<u8>)> {
    let mut found = Vec::new();
    for version in names_in(&root().join("samples")) {
        let directory = root().join("samples").join(&version);
        for name in names_in(&directory) {
            let (stem, extension) = name.rsplit_once('.').unwrap();
            let content_type = if extension == "json" { JSON } else { MESSAGE_PACK };
            let message = message_of(messages, stem).unwrap_or_else(|| panic!("{version}/{name} is of no message"));
            let other = directory.join(format!("{stem}.{}", if extension == "json" { "msgpack" } else { "json" }));
            assert!(other.exists(), "{version}/{name} is not there in the other encoding");
            found.push((format!("{version}/{name}"), message, content_type, fs::read(directory.join(&name)).unwrap()));
        }
    }
    assert!(found.len() > 50, "samples are looked for in the wrong place");
    found
}
