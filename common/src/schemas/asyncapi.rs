//! The AsyncAPI document: all channels, with who sends and receives what, and references to the JSON Schemas.

use serde_json::{Map, Value, json};

use super::Described;
use super::channels::{Channel, RAW, describe, values};
use crate::messages::{CONTENT_TYPE, JSON, MESSAGE_PACK, PROVER_VERSION, SCHEMA_VERSION};
use crate::subjects::DEFAULT_PREFIX;
use crate::trace::TRACEPARENT;

/// Where answers of the service come to: no subject is given, so it has no address.
pub const REPLIES: &str = "api-replies";
/// What is answered in place of any answer.
const ERROR: &str = "api-error";

const ABOUT: &str = "Distributed proving of RISC-V programs over NATS. Operations are the cluster's own: what a coordinator or a worker \
receives here somebody else sends. Whoever wants something proven needs two things of it: `api-prove` with its answers, or \
`request-prove` and the events of the job.\n\nWhat is published on the subject of a stream (`x-stream`) is to be published with JetStream: wait for its \
acknowledgement, and after none publish it again with the same `Nats-Msg-Id`. MessagePack has named fields (maps, not arrays); byte \
strings are `bin`, which the schemas show as base64. `$SRV` and `$JS`, on which NATS says what services and streams there are, are as NATS has them.";

/// The whole document.
pub fn document(channels: &[Channel], messages: &[Described]) -> Value {
    let mut listed = Map::new();
    for channel in channels {
        listed.insert(channel.name.clone(), written(channel));
    }
    let answers = channels.iter().filter_map(|channel| channel.answer.as_deref()).chain([ERROR]);
    listed.insert(
        REPLIES.to_owned(),
        json!({
            "address": null,
            "title": "Answers of the service",
            "description": "The reply subject of the request. An error has the header Nats-Service-Error, and no answer has it.",
            "messages": answers.map(|name| (name.to_owned(), message_of_components(name))).collect::<Map<_, _>>(),
        }),
    );
    let operations: Map<String, Value> = channels.iter().flat_map(operations).collect();
    let components: Map<String, Value> =
        messages.iter().map(|message| (message.name.clone(), component(message, channels))).collect();
    json!({
        "asyncapi": "3.0.0",
        "info": {
            "title": "ZisK cluster",
            "version": SCHEMA_VERSION.to_string(),
            "description": ABOUT,
            "license": { "name": "MIT OR Apache-2.0" },
        },
        "defaultContentType": MESSAGE_PACK,
        "servers": {
            "nats": {
                "host": "localhost:4222",
                "protocol": "nats",
                "description": "NATS 2.11 or newer with JetStream (`ZISK_NATS_URL`).",
            },
        },
        "channels": listed,
        "operations": operations,
        "components": { "messages": components },
    })
}

fn message_of_components(name: &str) -> Value {
    json!({ "$ref": format!("#/components/messages/{name}") })
}

/// A message on a channel.
fn carried(name: &str) -> Value {
    match name {
        RAW => json!({
            "name": RAW,
            "title": "Chunk",
            "summary": "Bytes of an input, as they are.",
            "contentType": "application/octet-stream",
        }),
        _ => message_of_components(name),
    }
}

fn written(channel: &Channel) -> Value {
    let parameters: Map<String, Value> =
        channel.parameters().into_iter().map(|name| (name.to_owned(), parameter(name))).collect();
    let mut written = json!({
        "address": channel.address,
        "summary": channel.summary,
        "messages": channel.messages.iter().map(|name| (name.clone(), carried(name))).collect::<Map<_, _>>(),
        "parameters": parameters,
    });
    if let Some(stream) = &channel.stream {
        written["x-stream"] = json!(stream);
    }
    written
}

fn parameter(name: &str) -> Value {
    let mut parameter = json!({ "description": describe(name) });
    match name {
        "prefix" => parameter["default"] = json!(DEFAULT_PREFIX),
        "bucketPrefix" => parameter["default"] = json!("ZISK_V1"),
        _ => {}
    }
    if let Some(values) = values(name) {
        parameter["enum"] = json!(values);
    }
    parameter
}

fn operations(channel: &Channel) -> Vec<(String, Value)> {
    let operation = |action: &str, who: &[&str]| {
        let mut operation = json!({
            "action": action,
            "channel": { "$ref": format!("#/channels/{}", channel.name) },
            "summary": channel.summary,
            "messages": channel.messages.iter().map(|name| of_channel(&channel.name, name)).collect::<Vec<_>>(),
            "tags": who.iter().map(|who| json!({ "name": who })).collect::<Vec<_>>(),
        });
        if let Some(answer) = &channel.answer {
            operation["reply"] = json!({
                "channel": { "$ref": format!("#/channels/{REPLIES}") },
                "messages": [of_channel(REPLIES, answer), of_channel(REPLIES, ERROR)],
            });
        }
        (format!("{action}-{}", channel.name), operation)
    };
    let mut operations = Vec::new();
    if !channel.senders.is_empty() {
        operations.push(operation("send", channel.senders));
    }
    if !channel.receivers.is_empty() {
        operations.push(operation("receive", channel.receivers));
    }
    operations
}

fn of_channel(channel: &str, message: &str) -> Value {
    json!({ "$ref": format!("#/channels/{channel}/messages/{message}") })
}

fn component(message: &Described, channels: &[Channel]) -> Value {
    let channel = channels.iter().find(|channel| channel.messages.contains(&message.name));
    let (content_type, headers) = headers(&message.name, channel);
    let mut component = json!({
        "name": message.name,
        "title": message.schema["title"],
        "summary": message.schema["description"].as_str().and_then(|text| text.split("\n\n").next()),
        "contentType": content_type,
        "payload": { "$ref": format!("./messages/{}.json", message.name) },
    });
    if let Some(headers) = headers {
        component["headers"] = headers;
    }
    if !message.schema["properties"]["job"].is_null() {
        component["correlationId"] = json!({ "description": "The job.", "location": "$message.payload#/job" });
    }
    component
}

/// A message's content type when no header says another, and its headers; a bucket's entries have none.
fn headers(name: &str, channel: Option<&Channel>) -> (&'static str, Option<Value>) {
    const ID: &str = "Nats-Msg-Id";
    let id = |text: &str| json!({ "description": text, "type": "string" });
    let one_of = |text: &str| json!({ "description": text, "type": "string", "enum": [MESSAGE_PACK, JSON] });
    let headers =
        |properties: Value, required: &[&str]| Some(json!({ "type": "object", "properties": properties, "required": required }));
    let trace = || json!({ "description": "The job's trace (W3C Trace Context): its id is the job's, without hyphens.", "type": "string" });
    let stored = "What is published again with the same id within two minutes is stored once.";
    match channel {
        // An answer.
        None => {
            let encoding = one_of("The encoding, which is that of the request.");
            let mut properties = json!({ CONTENT_TYPE: encoding });
            let mut required = vec![CONTENT_TYPE];
            if name == ERROR {
                properties["Nats-Service-Error"] = json!({
                    "description": "The code, and what it means in a few words.",
                    "type": "string",
                    "pattern": "^ZISK-[0-9]{4}: ",
                });
                properties["Nats-Service-Error-Code"] = json!({
                    "description": "The status that HTTP has for such a thing: below 500 it is up to whoever asks.",
                    "type": "string",
                    "pattern": "^[1-5][0-9]{2}$",
                });
                required.extend(["Nats-Service-Error-Code", "Nats-Service-Error"]);
            }
            (JSON, headers(properties, &required))
        }
        Some(channel) if channel.answer.is_some() => {
            let encoding = one_of("The encoding; without it a body that begins with { is JSON, and any other MessagePack.");
            let mut properties = json!({ CONTENT_TYPE: encoding });
            if name == "api-prove-request" || name == "api-setup-request" {
                properties[ID] = id("The idempotency key, where the request does not have it.");
            }
            (JSON, headers(properties, &[]))
        }
        Some(channel) if channel.name.starts_with("request-") => {
            let encoding = one_of("The encoding, MessagePack when it is not said.");
            let id = id(&format!("`request.<job>`. {stored}"));
            (MESSAGE_PACK, headers(json!({ CONTENT_TYPE: encoding, ID: id, TRACEPARENT: trace() }), &[]))
        }
        Some(channel) if channel.name.starts_with("input-") => {
            let encoding = one_of("The encoding; without it a body that begins with { is JSON, and any other MessagePack.");
            (MESSAGE_PACK, headers(json!({ CONTENT_TYPE: encoding, ID: id(stored), TRACEPARENT: trace() }), &[]))
        }
        Some(channel) if channel.name.starts_with("bucket-") => (MESSAGE_PACK, None),
        Some(channel) => {
            let encoding = json!({ "description": "The encoding.", "type": "string", "const": MESSAGE_PACK });
            let mut properties = json!({ CONTENT_TYPE: encoding, ID: id(stored), TRACEPARENT: trace() });
            let mut required = vec![CONTENT_TYPE, ID];
            if channel.name.starts_with("assign-") {
                let version = "The version of the prover that the work is for: a worker of another one does not take it.";
                properties[PROVER_VERSION] = id(version);
                required.push(PROVER_VERSION);
            }
            (MESSAGE_PACK, headers(properties, &required))
        }
    }
}

/// Calls `visit` with every reference in a document.
pub fn each_reference(value: &Value, visit: &mut impl FnMut(&str)) {
    match value {
        Value::Object(fields) => {
            if let Some(Value::String(reference)) = fields.get("$ref") {
                visit(reference);
            }
            fields.values().for_each(|value| each_reference(value, visit));
        }
        Value::Array(items) => items.iter().for_each(|item| each_reference(item, visit)),
        _ => {}
    }
}

#[test]
fn the_document_is_whole() {
    let (channels, messages) = (super::channels::all(), super::all());
    let document = document(&channels, &messages);
    each_reference(&document, &mut |reference| match reference.strip_prefix('#') {
        Some(pointer) => assert!(document.pointer(pointer).is_some(), "{reference} leads nowhere"),
        None => {
            let file = reference.strip_prefix("./messages/").and_then(|name| name.strip_suffix(".json"));
            assert!(messages.iter().any(|message| Some(message.name.as_str()) == file), "{reference} leads nowhere");
        }
    });
    let name_fits = |name: &str| name.bytes().all(|byte| byte.is_ascii_alphanumeric() || b"-_.".contains(&byte));
    for message in &messages {
        assert!(name_fits(&message.name), "{}", message.name);
        let reference = message_of_components(&message.name);
        let carried = document["channels"]
            .as_object()
            .unwrap()
            .values()
            .any(|channel| channel["messages"].as_object().unwrap().values().any(|message| *message == reference));
        assert!(carried, "no channel carries {}: describe its subject in channels.rs", message.name);
    }
    for (name, channel) in document["channels"].as_object().unwrap() {
        // As the specification has it: null where it is not known before.
        assert_eq!(channel["address"].is_string(), name != REPLIES, "{name}");
        let address = channel["address"].as_str().unwrap_or_default();
        let named = channel["parameters"].as_object().map_or(0, Map::len);
        assert_eq!(address.matches('{').count(), named, "the parameters of {name}");
    }
    for (name, operation) in document["operations"].as_object().unwrap() {
        assert!(operation["action"] == "send" || operation["action"] == "receive", "{name}");
        let channel = operation["channel"]["$ref"].as_str().unwrap();
        let messages = operation["messages"].as_array().unwrap();
        assert!(messages.iter().all(|message| message["$ref"].as_str().unwrap().starts_with(channel)), "{name}");
    }
}
