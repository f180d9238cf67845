//! A thread of its own for all that must happen on time: in-progress acks, lease renewals, presence.
//!
//! A prover saturates every core and every worker thread of the runtime it shares; a message whose in-progress ack comes
//! late goes to another worker, which does the same. So this thread has its own runtime and its own connection, and the
//! kernel's scheduler gives it its few microseconds.

use std::collections::HashMap;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::time::Duration;

use bytes::Bytes;
use futures::future::BoxFuture;
use thiserror::Error;
use tokio::sync::{mpsc, oneshot};
use tokio::time::{Instant, Interval, MissedTickBehavior};

use crate::bus::{Bus, ConnectError};
use crate::pull::Delivery;

/// JetStream's in-progress acknowledgement.
const IN_PROGRESS: Bytes = Bytes::from_static(b"+WPI");
/// How often to read `ack_wait` and lease again: a coordinator that is started anew may bring others.
const READ_TIMES: Duration = Duration::from_secs(10);

/// Why there is no such thread.
#[derive(Debug, Error)]
pub enum KeepAliveError {
    /// No second connection.
    #[error(transparent)]
    Connect(#[from] ConnectError),
    /// The operating system gives no thread.
    #[error("cannot start the keep-alive thread: {0}")]
    Thread(#[from] std::io::Error),
    /// The thread ended before it had begun.
    #[error("the keep-alive thread ended at once")]
    Ended,
}

type Task = Box<dyn FnOnce(Bus) -> BoxFuture<'static, ()> + Send>;

enum Command {
    Hold(u64, async_nats::Subject),
    Release(u64),
    Spawn(Task),
}

/// The thread; ends when the last handle and the last [`Hold`] are dropped.
#[derive(Clone, Debug)]
pub struct KeepAlive {
    commands: mpsc::UnboundedSender<Command>,
    next: Arc<AtomicU64>,
}

/// Keeps one message with this process until dropped.
pub struct Hold {
    commands: mpsc::UnboundedSender<Command>,
    id: u64,
}

impl Drop for Hold {
    fn drop(&mut self) {
        // Fails only when the thread is gone, and then nothing is held.
        let _ = self.commands.send(Command::Release(self.id));
    }
}

impl KeepAlive {
    /// Starts the thread, with a connection of its own to the same bus.
    ///
    /// # Errors
    /// [`KeepAliveError`] when there is no connection or no thread.
    pub async fn start(bus: &Bus) -> Result<Self, KeepAliveError> {
        let (commands, receiver) = mpsc::unbounded_channel();
        let (ready, started) = oneshot::channel();
        let bus = bus.clone();
        let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build()?;
        std::thread::Builder::new().name("keep-alive".to_owned()).spawn(move || {
            runtime.block_on(async move {
                let name = format!("{} keep-alive", bus.config().name);
                match bus.reconnect_as(&name).await {
                    Ok(own) => {
                        if ready.send(Ok(())).is_ok() {
                            run(own, receiver).await;
                        }
                    }
                    Err(error) => {
                        let _ = ready.send(Err(error)); // no one waits any more
                    }
                }
            });
        })?;
        started.await.map_err(|_| KeepAliveError::Ended)??;
        Ok(Self { commands, next: Arc::new(AtomicU64::new(0)) })
    }

    /// Sends in-progress acks for this message, one now and then every third of `ack_wait`, until the hold is dropped.
    pub fn hold(&self, delivery: &Delivery) -> Hold {
        let id = self.next.fetch_add(1, Ordering::Relaxed);
        if let Some(reply) = delivery.reply() {
            let _ = self.commands.send(Command::Hold(id, reply)); // the thread lives while we do
        }
        Hold { commands: self.commands.clone(), id }
    }

    /// Runs a task on the thread; it gets the thread's own connection. It must not block or compute.
    pub fn spawn<F, Fut>(&self, task: F)
    where
        F: FnOnce(Bus) -> Fut + Send + 'static,
        Fut: Future<Output = ()> + Send + 'static,
    {
        let task: Task = Box::new(move |bus| Box::pin(task(bus)));
        let _ = self.commands.send(Command::Spawn(task)); // the thread lives while we do
    }
}

async fn run(bus: Bus, mut commands: mpsc::UnboundedReceiver<Command>) {
    let mut held: HashMap<u64, async_nats::Subject> = HashMap::new();
    bus.read_times().await;
    let mut ticks = every_third_of(bus.ack_wait());
    let mut generation = bus.generation();
    let mut read_again = Instant::now();
    let reading = Arc::new(AtomicBool::new(false));
    loop {
        tokio::select! {
            command = commands.recv() => match command {
                None => break,
                Some(Command::Hold(id, reply)) => {
                    in_progress(&bus, &reply).await;
                    held.insert(id, reply);
                }
                Some(Command::Release(id)) => {
                    held.remove(&id);
                }
                Some(Command::Spawn(task)) => {
                    tokio::spawn(task(bus.clone()));
                }
            },
            _ = ticks.tick() => {
                for reply in held.values() {
                    in_progress(&bus, reply).await;
                }
                if read_again.elapsed() >= READ_TIMES && !reading.swap(true, Ordering::Relaxed) {
                    read_again = Instant::now();
                    let (bus, reading) = (bus.clone(), reading.clone());
                    tokio::spawn(async move {
                        bus.read_times().await;
                        reading.store(false, Ordering::Relaxed);
                    });
                }
                if ticks.period() != third_of(bus.ack_wait()) {
                    ticks = every_third_of(bus.ack_wait());
                }
            }
            // After a reconnection at once: the clocks ran on while the server was away.
            Ok(()) = generation.changed() => ticks.reset_immediately(),
        }
    }
    bus.flush().await;
}

fn third_of(ack_wait: Duration) -> Duration {
    (ack_wait / 3).max(Duration::from_millis(100))
}

fn every_third_of(ack_wait: Duration) -> Interval {
    let mut ticks = tokio::time::interval(third_of(ack_wait));
    ticks.set_missed_tick_behavior(MissedTickBehavior::Delay);
    ticks
}

async fn in_progress(bus: &Bus, reply: &async_nats::Subject) {
    // Without a connection the client buffers this; should the buffer be full, a late ack is of no use anyway.
    let sent = tokio::time::timeout(Duration::from_millis(200), bus.client().publish(reply.clone(), IN_PROGRESS)).await;
    if !matches!(sent, Ok(Ok(()))) {
        tracing::debug!("in-progress ack not sent");
    }
}
