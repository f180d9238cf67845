//! The segments a worker holds: what is started, what became of it, what is given back.

use bytes::Bytes;
use metrics::counter;
use tracing::{debug, info, warn};
use zisk_common::follow::Broadcast;
use zisk_common::ids::JobId;
use zisk_common::messages::Progress;
use zisk_prover::backend::Contributed;

use super::{Event, Worker};
use crate::metric_definitions::SEGMENTS;
use crate::schedule::{Key, Work};
use crate::segment::{self, Start};

impl Worker {
    /// Starts what fits in the free slots.
    pub(super) fn start_work(&mut self) {
        while let Some(work) = self.schedule.next_work() {
            self.start(work);
        }
    }

    pub(super) fn start(&mut self, work: Work) {
        let (Work::Contribute(key) | Work::Prove(key) | Work::ContributeAndProve(key) | Work::Refetch(key)) = work;
        let Some(held) = self.held.get_mut(&key) else {
            self.schedule.remove(key);
            return;
        };
        let (context, segment, events) = (self.context.clone(), held.segment.clone(), self.events.clone());
        let challenge = self.challenges.get(&segment.assignment.job).map(|(_, challenge)| *challenge);
        let start = match work {
            Work::Prove(_) => held.contributed.take().map(Start::Contributed),
            _ => held.bytes.take().map(Start::Segment),
        };
        match (work, start, challenge) {
            (Work::Refetch(_), ..) => {
                counter!(SEGMENTS, "event" => "recomputed").increment(1);
                self.spawn(segment::fetch(context, segment, false, events));
            }
            (Work::Contribute(_), Some(Start::Segment(bytes)), _) => {
                self.spawn(segment::contribute(context, segment, bytes, events));
            }
            (Work::Prove(_) | Work::ContributeAndProve(_), Some(start), Some(challenge)) => {
                let again = !held.reported;
                self.spawn(segment::prove(context, segment, start, challenge, again, events));
            }
            // The schedule and what is held disagree: give the segment to someone else rather than stop.
            _ => {
                warn!(job = %segment.assignment.job, segment = key.index, ?work, "nothing to work on: given back");
                self.schedule.remove(key);
                self.nak(key);
            }
        }
    }

    pub(super) fn fetched(&mut self, key: Key, bytes: Bytes) {
        let Some(held) = self.held.get_mut(&key) else { return };
        held.bytes = Some(bytes);
        if let Some(work) = self.schedule.fetched(key) {
            self.start(work);
        }
    }

    pub(super) fn contributed(&mut self, key: Key, contributed: Box<dyn Contributed>) {
        let closed = self.is_closed();
        match self.held.get_mut(&key) {
            // Cancelled meanwhile.
            None => self.schedule.remove(key),
            Some(_) if closed => {
                self.schedule.remove(key);
                self.nak(key);
            }
            Some(held) => {
                let dropped = self.schedule.contributed(key, contributed.memory_bytes());
                held.contributed = Some(contributed);
                held.reported = true;
                for key in dropped {
                    if let Some(held) = self.held.get_mut(&key) {
                        held.contributed = None;
                    }
                }
            }
        }
    }

    pub(super) fn proven(&mut self, key: Key) {
        self.schedule.remove(key);
        if let Some(held) = self.held.remove(&key) {
            self.finishing.insert(key, held);
        }
    }

    pub(super) fn settled(&mut self, key: Key) {
        self.schedule.remove(key);
        if let Some(held) = self.held.remove(&key).or_else(|| self.finishing.remove(&key)) {
            self.settle(async move { held.delivery.ack().await });
        }
    }

    /// Gives a segment back that failed through this worker.
    pub(super) fn returned(&mut self, key: Key) {
        self.schedule.remove(key);
        if let Some(held) = self.finishing.remove(&key) {
            self.held.insert(key, held);
        }
        self.nak(key);
    }

    pub(super) fn give_back(&mut self, idle: usize) {
        if self.draining || self.context.pulling_segments() {
            return;
        }
        for key in self.schedule.give_back(idle) {
            let Some(held) = self.held.remove(&key) else { continue };
            info!(job = %held.segment.assignment.job, segment = key.index, "given back to an idle worker");
            counter!(SEGMENTS, "event" => "given_back").increment(1);
            held.segment.cancel.cancel();
            let context = self.context.clone();
            self.settle(async move {
                if held.reported {
                    segment::report_given_back(&context, &held.segment).await;
                }
                held.delivery.nak().await;
            });
        }
    }

    /// Gives a segment back that is no longer in the schedule.
    pub(super) fn nak(&mut self, key: Key) {
        if let Some(held) = self.held.remove(&key) {
            held.segment.cancel.cancel();
            self.settle(async move { held.delivery.nak().await });
        }
    }

    /// A job that has not moved since the last look: what it waits for may have been lost with the stream it was in, be it the
    /// challenge on its way here or a contribution on its way from here.
    pub(super) fn standing(&mut self, id: JobId, progress: Progress) {
        let Some(job) = self.jobs.get_mut(&id) else { return };
        let age = job.age;
        if job.standing.replace(progress) != Some(progress) || self.challenges.get(&id).is_some() {
            return;
        }
        let waiting = self.schedule.waiting(age);
        let (context, events) = (self.context.clone(), self.events.clone());
        self.spawn(async move {
            match context.bus.challenge(id).await {
                Ok(Some(challenge)) => return events.tell(Event::Broadcast(Broadcast::Challenge(challenge))),
                Ok(None) => {}
                Err(error) => return debug!(job = %id, %error, "challenge not read"),
            }
            for key in waiting {
                if !context.segment_is_contributed(id, key.index).await {
                    events.tell(Event::Uncommitted(key));
                }
            }
        });
    }

    /// Gives a segment back whose contribution got lost: whoever gets it contributes again.
    pub(super) fn uncommitted(&mut self, key: Key) {
        if !self.schedule.waiting(key.job).contains(&key) {
            return;
        }
        if let Some(held) = self.held.get(&key) {
            warn!(job = %held.segment.assignment.job, segment = key.index, "its contribution was reported and is not there: given back");
        }
        self.schedule.remove(key);
        self.nak(key);
    }

    /// Asks how many other workers wait for segments, if any wait for a slot here.
    pub(super) fn look_for_idle_workers(&mut self) {
        if self.draining || self.schedule.spare() == 0 || self.context.pulling_segments() {
            return;
        }
        let (context, events) = (self.context.clone(), self.events.clone());
        self.spawn(async move {
            if let Some(workers) = context.idle_workers().await {
                events.tell(Event::Idle(workers));
            }
        });
    }
}
