//! Programs ready for work: keys derived once per cluster, loaded once per worker, a bounded number kept.

use std::sync::{Arc, Mutex, PoisonError};
use std::time::Instant;

use tokio::sync::OnceCell;
use tracing::info;
use zisk_common::ids::ProgramId;
use zisk_common::messages::{ByteBuf, ObjectKey, ObjectScope, ProgramEntry, ProgramKeys, Version};
use zisk_prover::backend::{Backend, LoadedProgram, Setup};

use crate::compute;
use crate::context::Context;
use crate::problem::Problem;
use crate::remake;

/// A program that can be executed and proven.
pub struct Program {
    /// Executes and contributes.
    pub loaded: Arc<dyn LoadedProgram>,
    /// Checks what comes out.
    pub verifying_key: Arc<Vec<u8>>,
}

/// One loading, shared by all who wait for it.
type Loading = Arc<OnceCell<Arc<Program>>>;

/// The most recently used programs.
pub struct Programs {
    backend: Arc<dyn Backend>,
    capacity: usize,
    /// Most recently used last.
    cached: Mutex<Vec<(ProgramKeys, Loading)>>,
}

impl Programs {
    /// Keeps up to `capacity` programs loaded.
    pub fn new(backend: Arc<dyn Backend>, capacity: usize) -> Self {
        Self { backend, capacity: capacity.max(1), cached: Mutex::new(Vec::new()) }
    }

    /// The program with these keys, loaded now if it is not yet.
    pub async fn get(&self, context: &Context, program: ProgramId, keys: &ProgramKeys) -> Result<Arc<Program>, Problem> {
        let loading = self.loading(keys);
        let program = loading
            .get_or_try_init(|| async {
                let began = Instant::now();
                let (proving_key, verifying_key) = remake::keys(context, program, keys).await?;
                let verifying_key = Arc::new(verifying_key.to_vec());
                let backend = self.backend.clone();
                let loaded = compute::run("load", move || backend.load(&proving_key)).await?;
                info!(key = %keys.proving.key.digest, seconds = began.elapsed().as_secs_f64(), "program loaded");
                Ok::<_, Problem>(Arc::new(Program { loaded, verifying_key }))
            })
            .await?;
        Ok(program.clone())
    }

    fn loading(&self, keys: &ProgramKeys) -> Loading {
        let mut cached = self.cached.lock().unwrap_or_else(PoisonError::into_inner);
        let entry = match cached.iter().position(|(known, _)| known == keys) {
            Some(position) => cached.remove(position),
            None => (*keys, Loading::default()),
        };
        if cached.len() >= self.capacity {
            // Whoever works with it holds its own reference.
            cached.remove(0);
        }
        let loading = entry.1.clone();
        cached.push(entry);
        loading
    }

    /// The program's entry in the bucket `programs`, made from its ELF when there is none of this prover's version.
    /// And how long that took, in milliseconds; 0 for an entry that was there.
    pub async fn entry(&self, context: &Context, program: ProgramId) -> Result<(ProgramEntry, u64), Problem> {
        let version = self.backend.version();
        let known = context.program(program).await?;
        if let Some(entry) = known.filter(|entry| entry.backend == version) {
            return Ok((entry, 0));
        }
        let began = Instant::now();
        let setup = self.derive(context, program).await?;
        let proving = context.put(ObjectScope::Key, setup.proving_key.into()).await?;
        let verifying = context.put(ObjectScope::Key, setup.verifying_key.into()).await?;
        let milliseconds = milliseconds_since(began);
        let entry = ProgramEntry {
            v: Version::default(),
            program,
            backend: version.to_owned(),
            keys: ProgramKeys { proving, verifying },
            verifying_key: ByteBuf::from(setup.verifying_key_digest),
            worker: context.worker,
            milliseconds,
        };
        let entry = context.register_program(entry).await?;
        info!(%program, seconds = began.elapsed().as_secs_f64(), "program set up");
        Ok((entry, milliseconds))
    }

    /// The program's keys, made from its ELF.
    pub async fn derive(&self, context: &Context, program: ProgramId) -> Result<Setup, Problem> {
        let elf = context.get_by_key(ObjectKey::program(program)).await?;
        let backend = self.backend.clone();
        Ok(compute::run("setup", move || backend.setup(&elf)).await?)
    }
}

/// Whole milliseconds since then, as reports carry them.
pub fn milliseconds_since(began: Instant) -> u64 {
    u64::try_from(began.elapsed().as_millis()).unwrap_or(u64::MAX)
}
