//! Streamed inputs: once one has come to its end it is put together in the object store, and its job takes its place in the queue.
//!
//! Nothing of this is remembered but in the stream of inputs and in the job's record. Whoever leads follows the ends of inputs from
//! the first that there is, and looks again at jobs in which nothing moves; what is put together twice is the same object.

use std::collections::{HashMap, HashSet};
use std::sync::Arc;
use std::time::Duration;

use tokio::sync::{Semaphore, mpsc};
use tokio::time::{Instant, sleep};
use zisk_common::bus::{Bus, BusError};
use zisk_common::ids::JobId;
use zisk_common::input::MAX_CHUNKS;
use zisk_common::messages::{Failure, FailureKind, InputClose, ObjectKey, ObjectRef, ObjectScope};
use zisk_common::objects::Objects;
use zisk_machine::input::MAX_INPUT_BYTES;

use super::Coordinator;
use crate::job::Input;

/// How long a chunk may come after the end that counts it: of a client that does not wait for each to be stored.
const GRACE: Duration = Duration::from_secs(10);
/// How often to look for it.
const LOOK: Duration = Duration::from_millis(250);
/// Inputs that are put together at once.
const AT_ONCE: usize = 2;

/// What a look at a job's input came to.
#[derive(Debug)]
pub(super) enum Looked {
    /// It has not come to its end.
    Open,
    /// It is stored; none is an empty one.
    Whole(Option<ObjectRef>),
    /// It is none.
    Refused(Failure),
    /// Nobody knows yet.
    Failed(String),
}

/// The looks that are under way.
pub(super) struct Inputs {
    bus: Bus,
    objects: Objects,
    /// Whether the end came while the job's input was looked at: perhaps just too late to be seen.
    under_way: HashMap<JobId, bool>,
    /// To be looked at again, because something failed.
    again: HashSet<JobId>,
    places: Arc<Semaphore>,
    looked: mpsc::UnboundedSender<(JobId, Looked)>,
}

impl Inputs {
    pub(super) fn new(bus: Bus, objects: Objects) -> (Self, mpsc::UnboundedReceiver<(JobId, Looked)>) {
        let (looked, receiver) = mpsc::unbounded_channel();
        let (under_way, again, places) = (HashMap::new(), HashSet::new(), Arc::new(Semaphore::new(AT_ONCE)));
        (Self { bus, objects, under_way, again, places, looked }, receiver)
    }

    fn look(&mut self, job: JobId) {
        if let Some(ended) = self.under_way.get_mut(&job) {
            *ended = true;
            return;
        }
        self.under_way.insert(job, false);
        let (bus, objects, places, looked) = (self.bus.clone(), self.objects.clone(), self.places.clone(), self.looked.clone());
        tokio::spawn(async move {
            let result = look(&bus, &objects, &places, job).await.unwrap_or_else(|error| Looked::Failed(format!("{error:#}")));
            let _ = looked.send((job, result)); // fails only when we are shutting down
        });
    }
}

impl Coordinator {
    /// Looks whether the job's input has come to its end, should it wait for that.
    pub(super) fn look_at_input(&mut self, job: JobId) {
        if self.jobs.get(&job).is_some_and(|active| active.stored.record.waits_for_input()) {
            self.inputs.look(job);
        } else if self.dropped.contains(&job) {
            self.inputs.again.insert(job);
        }
    }

    /// Looks again at what failed.
    pub(super) fn look_again_at_inputs(&mut self) {
        for job in std::mem::take(&mut self.inputs.again) {
            self.look_at_input(job);
        }
    }

    pub(super) async fn take_looked(&mut self, job: JobId, looked: Looked) {
        let ended_meanwhile = self.inputs.under_way.remove(&job).unwrap_or(false);
        let input = match looked {
            Looked::Open if ended_meanwhile => return self.look_at_input(job),
            Looked::Open => return,
            Looked::Whole(input) => Input::InputReceived(input),
            Looked::Refused(failure) => Input::InputRefused(failure),
            Looked::Failed(reason) => {
                tracing::warn!(%job, reason, "a streamed input is not put together; trying again");
                self.inputs.again.insert(job);
                return;
            }
        };
        match self.apply(job, vec![input]).await {
            // What is left of it, should this be lost, goes with the job's end.
            Ok(_) => drop(tokio::spawn(purge(self.bus.clone(), job))),
            Err(error) => {
                tracing::error!(%job, %error, "a streamed input is not committed; trying again");
                self.inputs.again.insert(job);
            }
        }
    }
}

async fn purge(bus: Bus, job: JobId) {
    if let Err(error) = bus.purge_input(job).await {
        tracing::debug!(%job, %error, "the chunks of an input are left for the job's end");
    }
}

/// Puts a job's input together, if it has come to its end.
async fn look(bus: &Bus, objects: &Objects, places: &Semaphore, job: JobId) -> anyhow::Result<Looked> {
    let close = match bus.input_close(job).await? {
        None => return Ok(Looked::Open),
        Some(Ok(close)) => close,
        Some(Err(error)) => return Ok(incomplete(format!("its end cannot be read: {error}"))),
    };
    let InputClose { chunks, bytes, digest: expected, .. } = close;
    if bytes > MAX_INPUT_BYTES as u64 {
        let message = format!("the input has {bytes} bytes, and the machine takes at most {MAX_INPUT_BYTES}");
        return Ok(Looked::Refused(Failure::new(FailureKind::Input, message)));
    }
    if chunks > MAX_CHUNKS {
        return Ok(incomplete(format!("its end says {chunks} chunks, and an input has at most {MAX_CHUNKS}")));
    }
    if let Some(what) = contradiction(bus, job, chunks).await? {
        return Ok(incomplete(what));
    }
    let _place = places.acquire().await?;
    let (digest, size) = bus.input_digest(job, chunks).await?;
    if size != bytes {
        return Ok(incomplete(format!("its chunks have {size} bytes together, and its end says {bytes}")));
    }
    if let Some(expected) = expected.filter(|expected| *expected != digest) {
        return Ok(incomplete(format!(
            "its chunks have the digest {digest} together, and its end says {expected}: one was stored with other bytes"
        )));
    }
    if size == 0 {
        return Ok(Looked::Whole(None));
    }
    let object = ObjectRef { key: ObjectKey { scope: ObjectScope::Input, digest }, size };
    objects.put_parts(object, || bus.input_parts(job, chunks)).await?;
    tracing::info!(%job, chunks, bytes, "streamed input is whole");
    Ok(Looked::Whole(Some(object)))
}

/// What of the chunks that are there is not as the end says.
async fn contradiction(bus: &Bus, job: JobId, chunks: u32) -> Result<Option<String>, BusError> {
    let deadline = Instant::now() + GRACE;
    loop {
        let there = bus.input_chunks(job).await?;
        if let Some(n) = there.range(chunks..).next() {
            return Ok(Some(format!("chunk {n} is there, and its end says {chunks} chunks, the first of which is 0")));
        }
        let Some(missing) = (0..chunks).find(|n| !there.contains(n)) else { return Ok(None) };
        if Instant::now() >= deadline {
            return Ok(Some(format!("chunk {missing} of {chunks} is missing")));
        }
        sleep(LOOK).await;
    }
}

fn incomplete(what: String) -> Looked {
    Looked::Refused(Failure::new(FailureKind::IncompleteInput, format!("the streamed input is not whole: {what}")))
}
