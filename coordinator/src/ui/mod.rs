//! The live view: `/ui`, one page that shows queues, jobs, workers and who did what when. It reads the bus as any watcher does and
//! changes nothing. It begins to follow when somebody looks for the first time.

mod live;

use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use serde_json::{Value, json};
use tokio::sync::Notify;
use zisk_common::bus::Bus;
use zisk_common::messages::unix_ms;
use zisk_common::subjects::ConsumerKind;
use zisk_common::telemetry::{Page, Pages};

use self::live::Live;

/// How often workers and queues are read while somebody looks.
const PERIOD: Duration = Duration::from_secs(1);
/// How long after the last look nobody looks any more.
const LOOKING_MS: u64 = 10_000;

/// The page: no build step, nothing from outside.
const PAGE: &str = include_str!("page.html");

/// What is shown.
#[derive(Default)]
pub struct Ui {
    live: Mutex<Live>,
    /// Workers, queues and who leads, as last read.
    cluster: Mutex<Value>,
    looked_ms: AtomicU64,
    looked: Notify,
}

impl Ui {
    /// Follows the bus from the first look on; ends with the process.
    pub async fn follow(self: Arc<Self>, bus: Bus) {
        self.looked.notified().await;
        let mut events = bus.all_events();
        let mut ticks = tokio::time::interval(PERIOD);
        ticks.set_missed_tick_behavior(tokio::time::MissedTickBehavior::Delay);
        loop {
            tokio::select! {
                event = events.next() => match event {
                    Ok(event) => lock(&self.live).apply(event),
                    Err(error) => tracing::debug!(%error, "event not shown"),
                },
                _ = ticks.tick() => {
                    if unix_ms().saturating_sub(self.looked_ms.load(Ordering::Relaxed)) < LOOKING_MS {
                        let cluster = read(&bus).await;
                        *lock(&self.cluster) = cluster;
                    }
                }
            }
        }
    }
}

fn lock<T>(mutex: &Mutex<T>) -> std::sync::MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

/// Workers, queues, and who leads.
async fn read(bus: &Bus) -> Value {
    let workers = async { bus.workers().await?.values().await };
    let workers = match workers.await {
        Ok(mut workers) => {
            workers.sort_by(|a, b| (&a.host, a.started_ms, a.worker).cmp(&(&b.host, b.started_ms, b.worker)));
            json!(workers)
        }
        Err(error) => return json!({ "error": format!("workers not read: {error}") }),
    };
    let mut queues = Vec::new();
    for &kind in ConsumerKind::ALL {
        if let Ok(depth) = bus.queue_depth(kind).await {
            let name = format!("{} {}", kind.stream(), kind.durable_name());
            let (pending, held, again) = (depth.pending, depth.in_flight, depth.redelivered);
            queues.push(json!({ "name": name, "pending": pending, "in_flight": held, "redelivered": again }));
        }
    }
    let leader = bus.leader().await.ok().flatten();
    json!({ "workers": workers, "queues": queues, "leader": leader.map(|id| id.to_string()) })
}

impl Pages for Ui {
    fn page(&self, target: &str) -> Option<Page> {
        let (path, query) = target.split_once('?').unwrap_or((target, ""));
        if path == "/ui" || path == "/ui/" {
            return Some(Page { content_type: "text/html; charset=utf-8", body: PAGE.to_owned() });
        }
        let shown = match path.strip_prefix("/ui/")? {
            "state" => {
                self.looked_ms.store(unix_ms(), Ordering::Relaxed);
                self.looked.notify_one();
                let since = query.split('&').find_map(|pair| pair.strip_prefix("since=")?.parse().ok()).unwrap_or(0);
                let mut shown = lock(&self.live).changed_since(since);
                shown["cluster"] = lock(&self.cluster).clone();
                shown["now_ms"] = json!(unix_ms());
                shown["release"] = json!(env!("CARGO_PKG_VERSION"));
                shown
            }
            rest => lock(&self.live).job(rest.strip_prefix("job/")?.parse().ok()?)?,
        };
        Some(Page { content_type: "application/json", body: shown.to_string() })
    }
}
