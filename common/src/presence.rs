//! A worker shows that it lives.

use std::sync::{Arc, Mutex, PoisonError};

use tokio::sync::Notify;

use crate::bus::Bus;
use crate::keep_alive::KeepAlive;
use crate::messages::{WorkerPresence, unix_ms};

/// A worker's entry in `workers`, rewritten from the keep-alive thread every third of a lease until dropped.
#[derive(Debug)]
pub struct Presence {
    shared: Arc<Shared>,
    /// The thread must outlive this, or nobody is left to remove the entry.
    _keep_alive: KeepAlive,
}

#[derive(Debug)]
struct Shared {
    /// `None` once the worker leaves.
    entry: Mutex<Option<WorkerPresence>>,
    changed: Notify,
    gone: Notify,
}

impl Shared {
    fn entry(&self) -> std::sync::MutexGuard<'_, Option<WorkerPresence>> {
        // A panic elsewhere leaves a whole entry: it is replaced or changed in place, field by field.
        self.entry.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Presence {
    /// Starts to show `entry`.
    pub fn start(keep_alive: &KeepAlive, entry: WorkerPresence) -> Self {
        let shared = Arc::new(Shared { entry: Mutex::new(Some(entry)), changed: Notify::new(), gone: Notify::new() });
        let task = shared.clone();
        keep_alive.spawn(move |bus| show(bus, task));
        Self { shared, _keep_alive: keep_alive.clone() }
    }

    /// Changes what is shown; written at once when it differs.
    pub fn update(&self, change: impl FnOnce(&mut WorkerPresence)) {
        let mut guard = self.shared.entry();
        if let Some(entry) = guard.as_mut() {
            let before = entry.clone();
            change(entry);
            if *entry != before {
                self.shared.changed.notify_one();
            }
        }
    }

    /// Removes the entry, so that nobody waits for it to expire.
    pub async fn leave(self) {
        self.shared.entry().take();
        self.shared.changed.notify_one();
        self.shared.gone.notified().await;
    }
}

impl Drop for Presence {
    fn drop(&mut self) {
        self.shared.entry().take();
        self.shared.changed.notify_one();
    }
}

async fn show(bus: Bus, shared: Arc<Shared>) {
    let mut key = None;
    loop {
        let entry = shared.entry().clone();
        let Some(mut entry) = entry else { break };
        key = Some(entry.worker);
        entry.seen_ms = unix_ms();
        let written = async {
            bus.workers().await?.put(entry.worker, &entry).await?;
            Ok::<_, crate::buckets::BucketError>(())
        };
        if let Err(error) = written.await {
            tracing::warn!(%error, "presence not written; trying again");
        }
        tokio::select! {
            () = tokio::time::sleep(bus.lease() / 3) => {}
            () = shared.changed.notified() => {}
        }
    }
    if let (Some(key), Ok(workers)) = (key, bus.workers().await)
        && let Err(error) = workers.delete(key).await
    {
        tracing::debug!(%error, "presence not removed; it expires");
    }
    shared.gone.notify_one();
}
