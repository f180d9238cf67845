//! Jobs for tests: a guest, its input, and how a run without faults ends.

use std::collections::HashMap;
use std::path::Path;
use std::sync::{Arc, Mutex, PoisonError};

use anyhow::{Context, Result, bail, ensure};
use zisk_client::local;
use zisk_common::messages::FailureKind;
use zisk_prover::backend::{Backend, BackendError};
use zisk_recursion::builtin::built_in;

/// Steps after which a guest of ours runs away.
const MAX_STEPS: u64 = 1 << 22;

/// What a job is to do.
#[derive(Clone, Debug)]
pub struct Workload {
    /// The guest, with its input, for people.
    pub name: String,
    /// The program; not always an ELF.
    pub elf: Arc<Vec<u8>>,
    /// The input.
    pub input: Vec<u8>,
    /// Steps after which the cluster is to stop it.
    pub max_steps: Option<u64>,
    /// How a run without faults ends.
    pub end: RunEnd,
}

/// How a run without faults ends.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum RunEnd {
    /// Exit code 0, with these public outputs.
    Outputs(Vec<u32>),
    /// A failure of this kind.
    Failure(FailureKind),
}

/// Runs guests in this process, to know how the cluster must end, and verifies the cluster's proofs.
pub struct Reference {
    backend: Arc<dyn Backend>,
    verifying_keys: Mutex<HashMap<Vec<u8>, Vec<u8>>>,
}

impl Default for Reference {
    fn default() -> Self {
        Self { backend: built_in(), verifying_keys: Mutex::default() }
    }
}

impl Reference {
    /// The guest of guests/elf on this input.
    ///
    /// # Errors
    /// When there is none, or it cannot be run.
    pub fn workload(&self, guest: &str, input: &[u8]) -> Result<Workload> {
        let path = Path::new(env!("CARGO_MANIFEST_DIR")).join(format!("../guests/elf/{guest}.elf"));
        let elf = std::fs::read(&path).with_context(|| path.display().to_string())?;
        let end = match local::execute(self.backend.as_ref(), &elf, input, MAX_STEPS) {
            Ok(run) if run.public.exit_code == 0 => RunEnd::Outputs(run.public.outputs),
            Ok(_) | Err(BackendError::Trap(_)) => RunEnd::Failure(FailureKind::Execution),
            Err(BackendError::Program(_)) => RunEnd::Failure(FailureKind::Input),
            Err(error) => bail!("{guest}: {error}"),
        };
        let name = format!("{guest} {input:02x?}");
        Ok(Workload { name, elf: Arc::new(elf), input: input.to_vec(), max_steps: Some(MAX_STEPS), end })
    }

    /// So many hashes of the sha-hasher guest: about 3,700 steps each.
    ///
    /// # Errors
    /// As [`Reference::workload`].
    pub fn hashes(&self, count: u64) -> Result<Workload> {
        let mut workload = self.workload("sha-hasher", &count.to_le_bytes())?;
        workload.name = format!("sha-hasher n = {count}");
        Ok(workload)
    }

    /// A program that is none.
    pub fn garbage(&self) -> Workload {
        Workload {
            name: "garbage".to_owned(),
            elf: Arc::new(b"this is no ELF".to_vec()),
            input: Vec::new(),
            max_steps: None,
            end: RunEnd::Failure(FailureKind::Input),
        }
    }

    /// Whether the proof is one of this program and these public outputs.
    ///
    /// # Errors
    /// When it is not; with what is wrong.
    pub fn verify(&self, elf: &[u8], proof: &[u8], outputs: &[u32]) -> Result<()> {
        let known = self.verifying_keys.lock().unwrap_or_else(PoisonError::into_inner).get(elf).cloned();
        let key = match known {
            Some(key) => key,
            None => {
                let key = self.backend.setup(elf)?.verifying_key;
                self.verifying_keys.lock().unwrap_or_else(PoisonError::into_inner).insert(elf.to_vec(), key.clone());
                key
            }
        };
        let public = self.backend.verify(&key, proof).context("the proof does not verify")?;
        ensure!(public.outputs == outputs, "the proof is one of other outputs: {:?}", public.outputs);
        ensure!(public.exit_code == 0, "the proof is one of exit code {}", public.exit_code);
        Ok(())
    }
}
