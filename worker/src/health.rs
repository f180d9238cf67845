//! Whether this worker can work. It tests itself before it takes anything, and again before a failure is blamed on the work:
//! what its own machine or its own settings break is to cost no job an attempt. While it fails its tests it takes nothing, gives
//! back what it has not begun, says why, and tests itself again, ever more seldom, until it passes.

use std::collections::HashSet;
use std::sync::{Mutex, PoisonError};
use std::time::Duration;

use tokio::sync::watch;
use tokio_util::sync::CancellationToken;
use tracing::{debug, error, info, warn};
use zisk_common::bus::Bus;
use zisk_common::ids::{JobId, WorkerId};
use zisk_common::mark::MarkError;
use zisk_common::messages::ObjectKey;
use zisk_common::objects::{ObjectError, Objects, ProbeError};
use zisk_prover::backend::{Backend, BackendError};

use crate::compute;
use crate::context::Context;
use crate::problem::Problem;

/// Failures in a row after which a worker that passes its tests is taken for sick all the same.
const MAX_IN_A_ROW: usize = 3;
/// Pause before a worker that has failed tests itself again; doubles each time.
const FIRST_PAUSE: Duration = Duration::from_secs(2);
/// The longest such pause.
const LAST_PAUSE: Duration = Duration::from_secs(60);
/// How often to look whether the coordinator has marked another object store. It does when it is started with one, and
/// somebody else's failures are not to be how its workers hear of that.
const LOOK: Duration = Duration::from_secs(10);

/// Why this worker cannot work.
#[derive(Debug, thiserror::Error)]
pub enum Unfit {
    /// The object store cannot be opened.
    #[error(transparent)]
    Open(#[from] ObjectError),
    /// It does not work.
    #[error(transparent)]
    Store(#[from] ProbeError),
    /// It is not the cluster's.
    #[error(transparent)]
    Mark(#[from] MarkError),
    /// The prover does not work on this machine.
    #[error("the prover does not work on this machine: {0}")]
    Prover(#[from] BackendError),
}

/// Tests a worker: its object store, whether that is the cluster's, and its prover. Returns the mark that was compared.
///
/// # Errors
/// [`Unfit`] with the first that fails.
pub async fn examine(
    bus: &Bus,
    objects: &Objects,
    backend: &std::sync::Arc<dyn Backend>,
    worker: WorkerId,
) -> Result<Option<ObjectKey>, Unfit> {
    // Before the store's own test: a wrong directory is named as such, and nothing is written to it.
    let mark = match bus.check_mark(objects).await {
        // The bus is away. That is nothing of this worker's, and nothing can be pulled meanwhile.
        Err(MarkError::Bucket(error)) => {
            debug!(%error, "the store's mark was not read");
            None
        }
        checked => checked?,
    };
    objects.probe(worker).await?;
    let backend = backend.clone();
    compute::run("self-test", move || backend.self_test()).await?;
    Ok(mark)
}

/// What failed: a segment, or a job's plan or aggregation.
pub type Unit = (JobId, Option<u32>);

/// Ever longer pauses.
pub struct Pauses(Duration);

impl Default for Pauses {
    fn default() -> Self {
        Self(FIRST_PAUSE)
    }
}

impl Pauses {
    /// The next pause.
    pub fn take(&mut self) -> Duration {
        let longer = (self.0 * 2).min(LAST_PAUSE);
        std::mem::replace(&mut self.0, longer)
    }
}

/// How the last pieces of work ended.
#[derive(Debug, Default)]
struct Streak {
    failed: HashSet<Unit>,
    /// Something has succeeded since this worker was last taken for sick.
    succeeded: bool,
}

impl Streak {
    /// Whether as many different pieces of work have failed in a row as make a worker sick. One that fails again and again is
    /// itself to blame.
    fn failed(&mut self, unit: Unit) -> bool {
        self.failed.insert(unit);
        let sick = self.failed.len() >= MAX_IN_A_ROW;
        if sick {
            self.failed.clear();
        }
        sick
    }

    fn succeeded(&mut self) {
        self.failed.clear();
        self.succeeded = true;
    }
}

/// A worker's health, as it knows it.
pub struct Health {
    /// Why it takes nothing; none while it is well.
    reason: watch::Sender<Option<String>>,
    streak: Mutex<Streak>,
    /// The mark that was last found in the store.
    mark: Mutex<Option<ObjectKey>>,
    /// One test at a time.
    testing: tokio::sync::Mutex<()>,
}

impl Health {
    /// A worker that has just passed its tests, with the mark they compared.
    pub fn new(mark: Option<ObjectKey>) -> Self {
        Self {
            reason: watch::Sender::new(None),
            streak: Mutex::default(),
            mark: Mutex::new(mark),
            testing: tokio::sync::Mutex::default(),
        }
    }

    /// Why the worker takes nothing, now and whenever that changes.
    pub fn follow(&self) -> watch::Receiver<Option<String>> {
        self.reason.subscribe()
    }

    /// Something went well.
    pub fn succeeded(&self) {
        self.streak().succeeded();
    }

    fn is_sick(&self) -> bool {
        self.reason.borrow().is_some()
    }

    fn fall_sick(&self, reason: String) {
        error!(reason, "this worker cannot work: it takes nothing until it can");
        self.reason.send_replace(Some(reason));
    }

    fn streak(&self) -> std::sync::MutexGuard<'_, Streak> {
        // Whole steps: a panic elsewhere leaves none half done.
        self.streak.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn known_mark(&self) -> std::sync::MutexGuard<'_, Option<ObjectKey>> {
        self.mark.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Context {
    /// Whether a piece of work failed because this worker cannot work: it is then to be given back, and nothing to be reported.
    pub async fn failed_for_its_own_reasons(&self, problem: &Problem, unit: Unit) -> bool {
        if !problem.may_be_the_workers() {
            return false;
        }
        let _turn = self.health.testing.lock().await;
        if self.health.is_sick() {
            return true;
        }
        if let Err(unfit) = self.test().await {
            self.health.fall_sick(unfit.to_string());
            return true;
        }
        if self.health.streak().failed(unit) {
            self.health.fall_sick(format!("{MAX_IN_A_ROW} pieces of work failed in a row, the last: {problem}"));
        }
        false
    }

    async fn test(&self) -> Result<(), Unfit> {
        let mark = examine(&self.bus, self.objects(), &self.backend, self.worker).await?;
        *self.health.known_mark() = mark;
        Ok(())
    }

    /// Has this worker tested again while it is sick, and when the cluster's object store is another, until `stop`.
    pub async fn look_after_itself(&self, stop: CancellationToken) {
        let tending = async {
            let mut pauses = Pauses::default();
            let mut sick = self.health.follow();
            loop {
                let fell_sick = tokio::time::timeout(LOOK, sick.wait_for(Option::is_some)).await.is_ok();
                if !fell_sick {
                    self.compare_mark().await;
                    continue;
                }
                if std::mem::take(&mut self.health.streak().succeeded) {
                    pauses = Pauses::default();
                }
                self.recover(&mut pauses).await;
            }
        };
        stop.run_until_cancelled(tending).await;
    }

    async fn recover(&self, pauses: &mut Pauses) {
        loop {
            tokio::time::sleep(pauses.take()).await;
            let _turn = self.health.testing.lock().await;
            match self.test().await {
                Ok(()) => {
                    info!("this worker can work again");
                    self.health.reason.send_replace(None);
                    return;
                }
                Err(unfit) => {
                    let reason = unfit.to_string();
                    warn!(reason, "this worker still cannot work");
                    self.health.reason.send_if_modified(|known| {
                        let news = known.as_ref() != Some(&reason);
                        *known = Some(reason);
                        news
                    });
                }
            }
        }
    }

    /// Tests the store when the coordinator has marked another since.
    async fn compare_mark(&self) {
        let mark = match self.bus.store_mark().await {
            Ok(mark) => mark,
            Err(error) => return debug!(%error, "the store's mark was not read"),
        };
        if mark.is_none() || mark == *self.health.known_mark() {
            return;
        }
        let _turn = self.health.testing.lock().await;
        if let Err(unfit) = self.test().await
            && !self.health.is_sick()
        {
            self.health.fall_sick(unfit.to_string());
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn three_different_pieces_of_work_in_a_row() {
        let mut streak = Streak::default();
        let (a, b) = (JobId::random(), JobId::random());
        for _ in 0..10 {
            assert!(!streak.failed((a, Some(1))), "it is the segment");
        }
        assert!(!streak.failed((a, Some(2))));
        streak.succeeded();
        assert!(!streak.failed((a, Some(1))));
        assert!(!streak.failed((a, None)));
        assert!(streak.failed((b, Some(1))));
        assert!(!streak.failed((b, Some(2))), "counted anew");
    }

    #[test]
    fn pauses_grow_to_a_minute() {
        let mut pauses = Pauses::default();
        let seconds: Vec<u64> = (0..8).map(|_| pauses.take().as_secs()).collect();
        assert_eq!(seconds, [2, 4, 8, 16, 32, 60, 60, 60]);
    }
}
