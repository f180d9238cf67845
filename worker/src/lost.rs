//! Work that takes its worker with it. No report says so, and it would go from worker to worker for ever: so whoever gets
//! work that was delivered before writes down that it has begun, and strikes that out when it has come to an end with it.
//! What was not struck out are workers that were lost.
//!
//! How often JetStream delivered a message would not tell: segments are given back, workers are stopped and cut off, too.
//! The first attempt writes nothing, so that work which goes well costs nothing.

use std::sync::PoisonError;

use tracing::{debug, warn};
use zisk_common::buckets::{Bucket, BucketError};
use zisk_common::ids::{JobId, WorkerId};
use zisk_common::messages::{Begun, Version};

use crate::context::{Context, Inner};
use crate::problem::Problem;

/// Lost workers (beside the first, which noted nothing) after which work is not begun any more.
const MAX_LOST: usize = 3;

/// Work that has begun; to be given to [`Context::end`].
#[must_use]
pub struct Mark(Option<String>);

impl Context {
    /// To be called before work on `what` (a segment's index, or `plan`) that may take this worker with it.
    ///
    /// # Errors
    /// [`Problem`] when too many workers were lost over it.
    pub async fn begin(&self, job: JobId, what: impl ToString, attempt: u32) -> Result<Mark, Problem> {
        if attempt <= 1 {
            return Ok(Mark(None));
        }
        let key = format!("{job}.{}.begun", what.to_string());
        let noted = change(&self.begun, &key, |workers| {
            let few = workers.len() < MAX_LOST;
            if few {
                workers.push(self.worker);
            }
            few
        });
        match noted.await {
            Ok(Changed::Written) => {
                self.marks.lock().unwrap_or_else(PoisonError::into_inner).push(key.clone());
                Ok(Mark(Some(key)))
            }
            Ok(Changed::LeftAsItWas(lost)) => {
                let names: Vec<String> = lost.iter().map(WorkerId::to_string).collect();
                Err(Problem::Message(format!(
                    "{} workers were lost while they worked on it ({}): out of memory, or a defect of the prover",
                    lost.len(),
                    names.join(", ")
                )))
            }
            Err(error) => {
                // The work counts more than the note.
                warn!(%job, %error, "begun work not noted");
                Ok(Mark(None))
            }
        }
    }

    /// The work has come to an end, whichever. Does not wait for the note: what comes next need not, either.
    pub fn end(&self, mark: Mark) {
        let Some(key) = mark.0 else { return };
        {
            let mut marks = self.marks.lock().unwrap_or_else(PoisonError::into_inner);
            if let Some(place) = marks.iter().position(|known| *known == key) {
                marks.swap_remove(place);
            }
        }
        let context = self.clone();
        tokio::spawn(async move { context.strike_out(&key).await });
    }
}

impl Inner {
    /// Ends all work that has begun: this worker leaves.
    pub async fn end_all(&self) {
        let marks = std::mem::take(&mut *self.marks.lock().unwrap_or_else(PoisonError::into_inner));
        for key in marks {
            self.strike_out(&key).await;
        }
    }

    async fn strike_out(&self, key: &str) {
        let struck = change(&self.begun, key, |workers| {
            let place = workers.iter().position(|worker| *worker == self.worker);
            place.map(|place| workers.remove(place)).is_some()
        });
        if let Err(error) = struck.await {
            debug!(key, %error, "ended work not noted");
        }
    }
}

enum Changed {
    Written,
    LeftAsItWas(Vec<WorkerId>),
}

/// Changes the workers under `key`, if `change` does.
async fn change(
    bucket: &Bucket<Begun>,
    key: &str,
    mut change: impl FnMut(&mut Vec<WorkerId>) -> bool,
) -> Result<Changed, BucketError> {
    loop {
        let entry = bucket.get(key).await?;
        let mut workers = entry.as_ref().map(|entry| entry.value.workers.clone()).unwrap_or_default();
        if !change(&mut workers) {
            return Ok(Changed::LeftAsItWas(workers));
        }
        let begun = Begun { v: Version::default(), workers };
        let written = match entry {
            Some(entry) => bucket.update(key, &begun, entry.revision).await,
            None => bucket.create(key, &begun).await,
        };
        match written {
            Err(error) if error.is_conflict() => {}
            other => return other.map(|_| Changed::Written),
        }
    }
}
