//! Whether the bus is as it should be: what somebody deleted or altered is made again or brought back, and said; what cannot be is
//! said again and again, and this coordinator is not ready until somebody mends it.

use std::collections::{BTreeMap, HashMap, HashSet};
use std::time::Duration;

use metrics::{counter, gauge};
use tokio::sync::watch;
use tokio::time::Instant;
use zisk_common::bus::{Bus, BusError};
use zisk_common::messages::{BusCondition, Version};
use zisk_common::settings::{Finding, Thing};
use zisk_common::subjects::{BucketKind, ConsumerKind, StreamKind};

use crate::metric_definitions::{BUS_ALTERED, BUS_STUCK};

/// How often to say again what cannot be repaired.
const AGAIN: Duration = Duration::from_secs(60);

/// Why a coordinator is not ready; none when it is.
pub type NotReady = watch::Sender<Option<String>>;

/// What was found at the last look.
#[derive(Default)]
pub(super) struct Condition {
    stuck: BTreeMap<String, (String, Instant)>,
    /// What is shown of it.
    shown: Option<BusCondition>,
    /// When each stream and bucket was made.
    made: HashMap<Thing, String>,
}

impl Condition {
    /// Compares the bus with its settings, repairs and reports. Returns the streams and buckets that are others than at the last
    /// look: what was in them is lost.
    pub(super) async fn look(
        &mut self,
        bus: &Bus,
        objects: bool,
        full: bool,
        not_ready: &NotReady,
    ) -> Result<Vec<Thing>, BusError> {
        let found = bus.inspect(objects).await?;
        let mut stuck = BTreeMap::new();
        let before = std::mem::replace(&mut self.made, found.made);
        let others = self.made.iter().filter(|(thing, made)| before.get(*thing).is_some_and(|known| known != *made));
        let others: HashSet<Thing> = others.map(|(thing, _)| *thing).collect();
        let ours: HashSet<Thing> =
            found.findings.iter().filter(|(_, finding)| *finding == Finding::Made).map(|(thing, _)| *thing).collect();
        for &thing in others.difference(&ours) {
            let name = thing.name(bus);
            count(thing, &name, "deleted");
            tracing::error!("{} {name} was deleted and made again by somebody else: what was in it is lost", thing.kind());
        }
        for (thing, finding) in found.findings {
            let (kind, name) = (thing.kind(), thing.name(bus));
            match finding {
                Finding::Made => {
                    count(thing, &name, "deleted");
                    tracing::error!("{kind} {name} was deleted: it is made again, and what was in it is lost");
                }
                Finding::Reset(changes) => {
                    count(thing, &name, "altered");
                    tracing::error!(
                        changes = changes.join(", "),
                        "{kind} {name} was altered: it is brought back to its settings"
                    );
                }
                Finding::Stuck(what) => {
                    let said = self.stuck.get(&name).filter(|(known, _)| *known == what).map(|(_, said)| *said);
                    let said = match said {
                        Some(said) if said.elapsed() < AGAIN => said,
                        _ => {
                            tracing::error!(
                                "{kind} {name} is not as it should be and cannot be brought back: {what}; back up what you need and \
                                 delete it, and it is made again"
                            );
                            Instant::now()
                        }
                    };
                    stuck.insert(name, (what, said));
                }
            }
        }
        for name in self.stuck.keys().filter(|name| !stuck.contains_key(*name)) {
            tracing::info!("{name} is as it should be again");
        }
        // Doubles hold counts exactly up to 2^53.
        gauge!(BUS_STUCK).set(stuck.len() as f64);
        let mut reasons: Vec<String> = stuck.iter().map(|(name, (what, _))| format!("{name}: {what}")).collect();
        if full {
            reasons.push("JetStream is full: no upload is taken and no job begun until there is room".to_owned());
        }
        not_ready.send_replace(Some(reasons.join("; ")).filter(|reasons| !reasons.is_empty()));
        self.stuck = stuck;
        if others.contains(&Thing::Bucket(BucketKind::Cluster)) {
            self.shown = None;
        }
        self.show(bus).await;
        Ok(others.into_iter().collect())
    }

    /// For `zisk queues`.
    async fn show(&mut self, bus: &Bus) {
        let stuck = self.stuck.iter().map(|(name, (what, _))| (name.clone(), what.clone())).collect();
        let condition = BusCondition { v: Version::default(), stuck };
        if self.shown.as_ref() == Some(&condition) {
            return;
        }
        let written = async { bus.bucket(BucketKind::Cluster).await?.put(BusCondition::KEY, &condition).await };
        match written.await {
            Ok(_) => self.shown = Some(condition),
            Err(error) => tracing::debug!(%error, "the bus's condition is not written; trying again"),
        }
    }
}

/// Shows that nothing was altered yet.
pub(super) fn begin(bus: &Bus, objects: bool) {
    let streams = StreamKind::ALL.iter().map(|&kind| Thing::Stream(kind));
    let consumers = ConsumerKind::ALL.iter().map(|&kind| Thing::Consumer(kind));
    let buckets = BucketKind::ALL.iter().map(|&kind| Thing::Bucket(kind));
    for thing in streams.chain(consumers).chain(buckets).chain(objects.then_some(Thing::Objects)) {
        for change in ["deleted", "altered"] {
            let (kind, name) = (thing.kind(), thing.name(bus));
            counter!(BUS_ALTERED, "kind" => kind, "name" => name, "change" => change).increment(0);
        }
    }
}

fn count(thing: Thing, name: &str, change: &'static str) {
    counter!(BUS_ALTERED, "kind" => thing.kind(), "name" => name.to_owned(), "change" => change).increment(1);
}
