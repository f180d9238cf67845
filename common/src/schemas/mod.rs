//! What is in `schemas/`, made of the message types, and held against what the code does with them.

mod agreement;
mod asyncapi;
mod channels;
mod files;
pub mod json_schema;
pub mod samples;
mod service;

use std::fmt::Display;

use schemars::JsonSchema;
use schemars::generate::Contract;
use serde::Serialize;
use serde::de::DeserializeOwned;
use serde_json::Value;

use self::samples::Sampled;
use crate::api::{Cancelled, JobsPage, Submitted, Verified};
use crate::election::Holding;
use crate::errors::ErrorObject;
use crate::ids::WorkerId;
use crate::messages::{JSON, Message, decode_as, described};
use crate::view::{JobResult, JobStatus};

/// A lower-case hyphenated UUID.
pub const UUID: &str = "^[0-9a-f]{8}-[0-9a-f]{4}-[0-9a-f]{4}-[0-9a-f]{4}-[0-9a-f]{12}$";
/// A blake3 digest.
pub const DIGEST: &str = "^[0-9a-f]{64}$";
/// Base64 with padding.
pub const BASE64: &str = "^([A-Za-z0-9+/]{4})*([A-Za-z0-9+/]{2}==|[A-Za-z0-9+/]{3}=)?$";

/// The key of an object.
pub fn object_key() -> String {
    let inner = |pattern: &str| pattern.trim_start_matches('^').trim_end_matches('$').to_owned();
    let (uuid, digest) = (inner(UUID), inner(DIGEST));
    format!("^((program|key|input|proof|mark)|job/{uuid}/(segment|node))/{digest}$")
}

/// A message as it is described to strangers.
pub struct Described {
    /// Its name in files.
    pub name: String,
    /// Its JSON Schema.
    pub schema: Value,
    /// Its samples.
    pub samples: Vec<Sample>,
    /// Reads it by content type; what it was read as, in JSON.
    pub read: fn(&str, &[u8]) -> Result<Value, String>,
    /// Reads it from JSON and writes it as MessagePack.
    pub pack: fn(&[u8]) -> Vec<u8>,
}

/// One sample of a message.
pub struct Sample {
    /// The name of its files.
    pub name: String,
    /// As JSON.
    pub json: Value,
    /// As MessagePack.
    pub packed: Vec<u8>,
}

impl Described {
    /// A message of the bus.
    pub fn message<M: Message + JsonSchema + Sampled>() -> Self {
        Self::new::<M>(M::NAME.replace(' ', "-"), Contract::Deserialize, |content_type, bytes| {
            as_json(decode_as::<M>(Some(content_type), bytes))
        })
    }

    /// What the coordinators' service is sent.
    fn asked<M: Serialize + DeserializeOwned + JsonSchema + Sampled>(name: &str) -> Self {
        Self::new::<M>(format!("api-{name}"), Contract::Deserialize, plain::<M>)
    }

    /// What the coordinators' service sends: every field is there.
    fn answered<M: Serialize + DeserializeOwned + JsonSchema + Sampled>(name: &str) -> Self {
        Self::new::<M>(format!("api-{name}"), Contract::Serialize, plain::<M>)
    }

    fn new<M: Serialize + DeserializeOwned + JsonSchema + Sampled>(
        name: String,
        contract: Contract,
        read: fn(&str, &[u8]) -> Result<Value, String>,
    ) -> Self {
        let sample = |(variant, message): (&str, M)| Sample {
            name: if variant.is_empty() { name.clone() } else { format!("{name}-{variant}") },
            json: serde_json::to_value(&message).unwrap(),
            packed: rmp_serde::to_vec_named(&message).unwrap(),
        };
        let samples: Vec<Sample> = M::samples().into_iter().map(sample).collect();
        let mut schema = json_schema::of::<M>(contract);
        schema["examples"] = samples.iter().map(|sample| sample.json.clone()).collect();
        let pack = |json: &[u8]| rmp_serde::to_vec_named(&serde_json::from_slice::<M>(json).unwrap()).unwrap();
        Self { name, schema, samples, read, pack }
    }
}

/// Reads what is no message of the bus.
fn plain<M: Serialize + DeserializeOwned>(content_type: &str, bytes: &[u8]) -> Result<Value, String> {
    match content_type {
        JSON => as_json(serde_json::from_slice::<M>(bytes)),
        _ => as_json(rmp_serde::from_slice::<M>(bytes)),
    }
}

fn as_json<M: Serialize>(read: Result<M, impl Display>) -> Result<Value, String> {
    read.map(|message| serde_json::to_value(message).unwrap()).map_err(|error| error.to_string())
}

/// All messages: of the bus, then of the service.
pub fn all() -> Vec<Described> {
    let mut all = described();
    all.extend([
        // The one that a macro cannot list: it is a worker's or a coordinator's.
        Described::message::<Holding<WorkerId>>(),
        Described::asked::<service::ProveRequest>("prove-request"),
        Described::asked::<service::SetupRequest>("setup-request"),
        Described::answered::<Submitted>("submitted"),
        Described::asked::<service::InputRequest>("input-request"),
        Described::answered::<service::InputAnswer>("input-answer"),
        Described::asked::<service::JobQuery>("job-request"),
        Described::answered::<JobStatus>("status-answer"),
        Described::asked::<service::ResultRequest>("result-request"),
        Described::answered::<JobResult>("result-answer"),
        Described::answered::<Cancelled>("cancel-answer"),
        Described::asked::<service::JobsRequest>("jobs-request"),
        Described::answered::<JobsPage>("jobs-answer"),
        Described::asked::<service::VerifyRequest>("verify-request"),
        Described::answered::<Verified>("verify-answer"),
        Described::answered::<ErrorObject>("error"),
    ]);
    all
}
