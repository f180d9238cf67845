//! From settings to a running worker, and its orderly end.

use std::sync::Arc;
use std::time::Duration;

use metrics::gauge;
use tokio::sync::watch;
use tokio_util::sync::CancellationToken;
use tracing::{error, info, warn};
use zisk_common::buckets::BucketError;
use zisk_common::bus::{Bus, BusConfig, BusError, ConnectError};
use zisk_common::config::ConfigError;
use zisk_common::ids::WorkerId;
use zisk_common::keep_alive::{KeepAlive, KeepAliveError};
use zisk_common::messages::{Load, ObjectKey, Version, Versions, WorkerPresence, WorkerState, unix_ms};
use zisk_common::objects::{Objects, StoreUrl};
use zisk_common::presence::Presence;
use zisk_common::traffic;
use zisk_prover::backend::Backend;

use crate::config::Config;
use crate::context::Context;
use crate::health::{Health, Pauses, Unfit, examine};
use crate::metric_definitions::UNITS;
use crate::pull::{Pulling, Pulls};
use crate::worker::{Event, Events, Worker};

/// How long a stopping worker tries to remove its presence.
const LEAVE_TIMEOUT: Duration = Duration::from_secs(5);

/// Why the worker did not start.
#[derive(Debug, thiserror::Error)]
pub enum StartError {
    /// A setting is unusable.
    #[error(transparent)]
    Config(#[from] ConfigError),
    /// The bus cannot be used, and waiting will not change that.
    #[error(transparent)]
    Connect(#[from] ConnectError),
    /// Streams or buckets cannot be made.
    #[error(transparent)]
    Bus(#[from] BusError),
    /// The presence cannot be written.
    #[error(transparent)]
    Bucket(#[from] BucketError),
    /// The thread for in-progress acks cannot be started.
    #[error(transparent)]
    KeepAlive(#[from] KeepAliveError),
}

impl StartError {
    /// Whether it may pass: NATS is away, or just starting.
    fn is_transient(&self) -> bool {
        match self {
            Self::Connect(error) | Self::KeepAlive(KeepAliveError::Connect(error)) => {
                matches!(error, ConnectError::Unreachable { .. })
            }
            Self::Bus(error) | Self::Bucket(BucketError::Bus(error)) => error.transient,
            _ => false,
        }
    }
}

/// What a started worker stands on.
struct Started {
    bus: Bus,
    keep_alive: KeepAlive,
    presence: Presence,
}

/// What a worker that has passed its tests works with.
struct Able {
    objects: Objects,
    /// The mark that was found in the store.
    mark: Option<ObjectKey>,
}

/// Runs a worker until `drain`; then it finishes what it has begun, or gives it back, and returns.
///
/// A NATS server that is not there yet is waited for. `not_ready` says why it takes nothing; none when it does.
///
/// # Errors
/// [`StartError`] when waiting cannot help.
pub async fn run(
    config: Config,
    backend: Arc<dyn Backend>,
    drain: CancellationToken,
    not_ready: watch::Sender<Option<String>>,
) -> Result<(), StartError> {
    let worker = config.worker_id();
    let bus = config.bus(&format!("zisk-worker {worker}"))?;
    let store = config.bus.store()?;
    let starting = async {
        loop {
            match start(&config, &bus, &store, worker, &backend).await {
                Ok(started) => return Ok(started),
                Err(error) if error.is_transient() => {
                    warn!("{error}; trying again in {} s", config.connection.reconnect_interval_seconds);
                }
                Err(error) => return Err(error),
            }
            tokio::time::sleep(Duration::from_secs(config.connection.reconnect_interval_seconds)).await;
        }
    };
    let Some(started) = drain.run_until_cancelled(starting).await else { return Ok(()) };
    let (started, able) = started?;
    tokio::spawn(traffic::follow(started.bus.clone()));
    let capacity = config.worker.compute_capacity.compute_units;
    match &able {
        Ok(_) => info!("registered as worker {worker} (capacity {capacity})"),
        Err(unfit) => error!("registered as worker {worker} (capacity {capacity}), but takes nothing: {unfit}"),
    }
    let able = tokio::select! {
        able = until_able(able, &started, &store, worker, &backend, &not_ready) => able,
        () = drain.cancelled() => {
            leave(&started.bus, started.presence).await;
            return Ok(());
        }
    };
    work(&config, backend, worker, started, able, drain, not_ready).await
}

/// Opens the object store and tests this worker.
async fn test(bus: &Bus, store: &StoreUrl, worker: WorkerId, backend: &Arc<dyn Backend>) -> Result<Able, Unfit> {
    let objects = Objects::open(store, bus).await?;
    let mark = examine(bus, &objects, backend, worker).await?;
    Ok(Able { objects, mark })
}

/// Tests a worker that cannot work until it can; meanwhile it is shown why.
async fn until_able(
    mut able: Result<Able, Unfit>,
    started: &Started,
    store: &StoreUrl,
    worker: WorkerId,
    backend: &Arc<dyn Backend>,
    not_ready: &watch::Sender<Option<String>>,
) -> Able {
    let presence = &started.presence;
    let mut pauses = Pauses::default();
    let mut failed = false;
    loop {
        match able {
            Ok(able) => {
                if failed {
                    info!("this worker can work now");
                    presence.update(|entry| (entry.state, entry.reason) = (WorkerState::Idle, None));
                }
                return able;
            }
            Err(unfit) => {
                if failed {
                    warn!(reason = %unfit, "this worker still cannot work");
                }
                failed = true;
                presence.update(|entry| entry.reason = Some(unfit.to_string()));
                not_ready.send_replace(Some(unfit.to_string()));
            }
        }
        tokio::time::sleep(pauses.take()).await;
        able = test(&started.bus, store, worker, backend).await;
    }
}

async fn start(
    config: &Config,
    bus: &BusConfig,
    store: &StoreUrl,
    worker: WorkerId,
    backend: &Arc<dyn Backend>,
) -> Result<(Started, Result<Able, Unfit>), StartError> {
    let bus = Bus::connect(bus.clone()).await?;
    bus.prepare_missing().await?;
    let keep_alive = KeepAlive::start(&bus).await?;
    gauge!(UNITS).set(config.worker.compute_capacity.compute_units);
    let able = test(&bus, store, worker, backend).await;
    let entry = WorkerPresence {
        v: Version::default(),
        worker,
        host: host(config),
        capacity: config.worker.compute_capacity.compute_units,
        versions: Versions { release: env!("CARGO_PKG_VERSION").to_owned(), backend: backend.version().to_owned(), asked: None },
        state: if able.is_ok() { WorkerState::Idle } else { WorkerState::Failed },
        reason: able.as_ref().err().map(ToString::to_string),
        load: Load::default(),
        started_ms: unix_ms(),
        seen_ms: unix_ms(),
    };
    // Written here first, so that "registered" is true when it is logged.
    bus.workers().await?.put(worker, &entry).await?;
    let presence = Presence::start(&keep_alive, entry);
    Ok((Started { bus, keep_alive, presence }, able))
}

async fn work(
    config: &Config,
    backend: Arc<dyn Backend>,
    worker: WorkerId,
    started: Started,
    able: Able,
    drain: CancellationToken,
    not_ready: watch::Sender<Option<String>>,
) -> Result<(), StartError> {
    let Started { bus, keep_alive, presence } = started;
    let limits = config.limits();
    info!(slots = limits.slots, aside_mib = limits.aside_bytes >> 20, backend = backend.version(), "ready for assignments");
    let programs = config.proving.programs_cached;
    let prover = backend.version();
    let health = Health::new(able.mark);
    let mut unfit = health.follow();
    let patience = Duration::from_secs(config.connection.store_full_wait_seconds);
    let objects = able.objects.with_patience(patience);
    let opening = Context::open(worker, bus.clone(), keep_alive.clone(), objects, backend, programs, health);
    let Some(context) = drain.run_until_cancelled(opening).await.transpose()? else {
        leave(&bus, presence).await;
        return Ok(());
    };
    let (events, received) = Events::channel();
    let (wanted, pulls) = watch::channel(Pulls::default());
    let (load, mut shown) = watch::channel(Load::default());
    let (asked, mut other_version) = watch::channel(None);

    let stop = CancellationToken::new();
    let pulling = Pulling {
        bus: bus.clone(),
        keep_alive: keep_alive.clone(),
        worker,
        wanted: pulls,
        prover,
        asked,
        events: events.clone(),
        segments_open: context.segments_open(),
        stop: stop.clone(),
    };
    let mut broadcasts = bus.broadcasts();
    let heard = events.clone();
    tokio::spawn(stop.clone().run_until_cancelled_owned(async move {
        loop {
            heard.tell(Event::Broadcast(broadcasts.next().await));
        }
    }));
    let tested = context.clone();
    let tending = stop.clone();
    tokio::spawn(async move { tested.look_after_itself(tending).await });
    let show = async {
        let draining = drain.clone();
        loop {
            tokio::select! {
                changed = shown.changed() => match changed {
                    Ok(()) => {}
                    Err(_) => break, // the worker's loop has ended
                },
                Ok(()) = other_version.changed() => {}
                Ok(()) = unfit.changed() => {}
            }
            let load = shown.borrow_and_update().clone();
            let asked = other_version.borrow_and_update().clone();
            let reason = unfit.borrow_and_update().clone();
            not_ready.send_replace(if draining.is_cancelled() { Some("stopping".to_owned()) } else { reason.clone() });
            presence.update(|entry| {
                entry.state = match (draining.is_cancelled(), &reason, load.assignments) {
                    (true, ..) => WorkerState::Draining,
                    (false, Some(_), _) => WorkerState::Failed,
                    (false, None, 0) => WorkerState::Idle,
                    (false, None, _) => WorkerState::Busy,
                };
                entry.reason = reason;
                entry.load = load;
                entry.versions.asked = asked;
            });
        }
    };
    pulling.start();
    not_ready.send_replace(None);
    let worker = Worker::new(context, limits, events, wanted, load);
    tokio::join!(worker.run(received, drain.clone(), config.shutdown_timeout()), show);
    stop.cancel();
    leave(&bus, presence).await;
    bus.flush().await;
    info!("stopped");
    Ok(())
}

async fn leave(bus: &Bus, presence: Presence) {
    tokio::select! {
        () = presence.leave() => return,
        () = tokio::time::sleep(LEAVE_TIMEOUT) => {}
        () = bus.gone() => {}
    }
    warn!("presence not removed; it expires");
}

/// Where this worker runs: its pinned name, or the machine's.
fn host(config: &Config) -> String {
    let pinned = &config.worker.worker_id;
    if !pinned.is_empty() && pinned.parse::<WorkerId>().is_err() {
        return pinned.clone();
    }
    std::fs::read_to_string("/etc/hostname").map_or_else(|_| String::new(), |name| name.trim().to_owned())
}
