//! Messages of fixed values: what is in `schemas/samples`, and that every message has some.

mod bus;
mod kept;
mod service;

use crate::ids::{Digest, JobId, WorkerId};
use crate::messages::{Failure, FailureKind, ObjectKey, ObjectRef, ObjectScope, ProgramKeys};
use crate::subjects::Phase;

/// A message with samples. A new message has none: the tests do not compile before it has.
pub trait Sampled: Sized {
    /// Its samples, each with what tells it from the others (nothing, for a message with one): together they have a value in every
    /// field. Once committed a sample stays as it is; a new field comes in a new one.
    fn samples() -> Vec<(&'static str, Self)>;
}

fn job() -> JobId {
    "0f8fad5b-d9cb-469f-a165-70867728950e".parse().unwrap()
}

/// One of several workers.
fn worker(n: u8) -> WorkerId {
    format!("7c9e6679-7425-40de-944b-e07fc1f90a{n:02x}").parse().unwrap()
}

/// A digest of nothing in particular.
fn digest(text: &str) -> Digest {
    Digest::of(text.as_bytes())
}

fn object(scope: ObjectScope, size: u64) -> ObjectRef {
    ObjectRef { key: ObjectKey { scope, digest: digest(&format!("{scope:?}")) }, size }
}

fn segment() -> ObjectRef {
    object(ObjectScope::Segment(job()), 4_194_304)
}

fn node() -> ObjectRef {
    object(ObjectScope::Node(job()), 434_176)
}

fn proof() -> ObjectRef {
    object(ObjectScope::Proof, 430_080)
}

fn keys() -> ProgramKeys {
    let key = |text| ObjectKey { scope: ObjectScope::Key, digest: digest(text) };
    ProgramKeys {
        proving: ObjectRef { key: key("proving"), size: 8_388_608 },
        verifying: ObjectRef { key: key("verifying"), size: 512 },
    }
}

fn failure() -> Failure {
    Failure {
        kind: FailureKind::Internal,
        message: "segment 1 cannot be proven: out of memory".to_owned(),
        worker: Some(worker(1)),
        phase: Some(Phase::Proof),
        segment: Some(1),
        log: vec!["2026-01-01T00:00:00Z WARN segment 1: out of memory".to_owned()],
    }
}
