//! `api.verify`: whether a proof proves that a program ended with certain outputs.

use std::time::Duration;

use serde_json::{Value as Json, json};
use zisk_common::api::Verified;
use zisk_common::errors::{ErrorCode, ErrorObject};
use zisk_common::messages;
use zisk_common::subjects::ApiEndpoint;
use zisk_prover::backend::{BackendError, ProofKind};
use zisk_recursion::builtin::built_in;

use super::data::{Data, PROGRAM, PROOF, VERIFYING_KEY};
use super::fields::{Fields, not_allowed};
use super::value::Value;
use super::{Api, blocking};

/// Largest object that is read into memory for this: a bundle of some fifty segments.
const MAX_BYTES: u64 = 64 << 20;
/// How long a request waits for those before it. Beyond that whoever asked has gone.
const TURN_WITHIN: Duration = Duration::from_secs(30);
/// Requests that wait for their turn, the one whose turn it is included.
pub const MAX_VERIFICATIONS: usize = 8;

/// By what a proof is judged.
enum By {
    Program(Data),
    Key(Data),
}

impl Api {
    /// Verifies a proof: beside everything else, one at a time, for it takes a core and memory.
    pub(super) async fn verify(&self, body: Value) -> Result<Json, ErrorObject> {
        let mut fields = Fields::of_request(body, ApiEndpoint::Verify)?;
        let proof = PROOF.read("proof", fields.required("proof", PROOF.expected())?, &self.store)?;
        let by = match (fields.take("program"), fields.take("verifying_key")) {
            (Some(program), None) => By::Program(PROGRAM.read("program", program, &self.store)?),
            (None, Some(key)) => By::Key(VERIFYING_KEY.read("verifying_key", key, &self.store)?),
            (None, None) => return Err(fields.missing("program", "program, or verifying_key")),
            (Some(_), Some(_)) => return Err(not_allowed("verifying_key", "there beside program", "one of the two")),
        };
        let _place = self.verifications.try_acquire().map_err(|_| {
            let message = format!("{MAX_VERIFICATIONS} proofs are waiting to be verified: send it again after a moment");
            ErrorObject::new(ErrorCode::TooManyRequests, message)
        })?;
        let turn = tokio::time::timeout(TURN_WITHIN, self.turn.lock()).await;
        let _turn = turn.map_err(|_| ErrorObject::new(ErrorCode::TooManyRequests, "the proofs before it take too long"))?;
        let objects = self.objects().await?;
        let proof = PROOF.load("proof", objects, proof, MAX_BYTES).await?;
        let (key, elf) = match by {
            By::Key(key) => (Some(VERIFYING_KEY.load("verifying_key", objects, key, MAX_BYTES).await?), None),
            By::Program(program) => (None, Some(PROGRAM.load("program", objects, program, MAX_BYTES).await?)),
        };
        let bytes = proof.len();
        let verified = blocking(move || {
            let backend = built_in();
            let derived = elf.map(|elf| backend.setup(&elf)).transpose().map_err(Refused::Program)?;
            let key = derived.map(|setup| setup.verifying_key).or(key.map(|key| key.to_vec())).unwrap_or_default();
            let public = backend.verify(&key, &proof).map_err(Refused::Proof)?;
            Ok::<_, Refused>((backend.kind(&proof), public))
        });
        match verified.await? {
            Ok((kind, public)) => Ok(json!(Verified {
                valid: true,
                kind: match kind {
                    ProofKind::Recursive => messages::ProofKind::Recursive,
                    ProofKind::Bundle => messages::ProofKind::Bundle,
                },
                outputs: public.outputs,
                exit_code: public.exit_code,
                proof_bytes: bytes as u64,
            })),
            Err(refused) => Err(refused.into()),
        }
    }
}

enum Refused {
    Program(BackendError),
    Proof(BackendError),
}

impl From<Refused> for ErrorObject {
    fn from(refused: Refused) -> Self {
        match refused {
            Refused::Program(BackendError::Internal(reason)) | Refused::Proof(BackendError::Internal(reason)) => {
                Self::new(ErrorCode::Defect, reason)
            }
            Refused::Program(error) => {
                Self::new(ErrorCode::ProgramUnusable, format!("the program has no verifying key: {error}")).at("program")
            }
            Refused::Proof(BackendError::Malformed { what: "verifying key", reason }) => {
                Self::new(ErrorCode::NotAllowed, format!("it is no verifying key: {reason}"))
                    .at("verifying_key")
                    .allowing("a verifying key of this release, as `zisk key` writes it")
            }
            Refused::Proof(error) => {
                Self::new(ErrorCode::ProofInvalid, format!("the proof is not valid: {error}. Do not trust its outputs"))
                    .at("proof")
            }
        }
    }
}
