//! A request to the coordinators' service, as JSON and as MessagePack, up to where something is looked up.
#![no_main]

use libfuzzer_sys::fuzz_target;
use zisk_common::objects::StoreUrl;
use zisk_common::subjects::RequestKind;
use zisk_coordinator::api::request::Asked;
use zisk_coordinator::api::value::{Encoding, Value};

fuzz_target!(|bytes: &[u8]| {
    for encoding in [Encoding::Json, Encoding::MessagePack] {
        for goal in RequestKind::ALL {
            if let Ok(body) = Value::read(encoding, bytes)
                && let Ok(asked) = Asked::read(*goal, body, None, &StoreUrl::JetStream)
            {
                asked.job();
            }
        }
    }
});
