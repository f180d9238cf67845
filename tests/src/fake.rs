//! A worker by hand.

use std::sync::Arc;
use std::time::Duration;

use anyhow::{Context, Result, bail, ensure};
use tokio::task::JoinHandle;
use tokio::time::{Instant, sleep};
use zisk_common::bus::Bus;
use zisk_common::election::Lease;
use zisk_common::ids::{Digest, JobId, WorkerId};
use zisk_common::keep_alive::{Hold, KeepAlive};
use zisk_common::messages::{
    Assignment, ByteBuf, Challenge, Contribution, Final, ObjectScope, Proof, Report, SegmentAssignment, Version,
};
use zisk_common::objects::Objects;
use zisk_common::pull::Delivery;
use zisk_common::subjects::{AssignmentKind, ConsumerKind};
use zisk_prover::backend::Backend;
use zisk_recursion::builtin::built_in;

use crate::story::{JOB, Story};

/// A worker that gets a segment and does with it what it likes.
pub struct Fake {
    /// Who it says it is.
    pub id: WorkerId,
    bus: Bus,
    objects: Objects,
    keep_alive: KeepAlive,
    backend: Arc<dyn Backend>,
    taking: Option<JoinHandle<Vec<Delivery>>>,
}

impl Fake {
    /// One whose pull waits at the server from now on.
    ///
    /// # Errors
    /// When it cannot.
    pub async fn start(story: &Story) -> Result<Self> {
        let (bus, objects) = (story.fleet.bus.clone(), story.fleet.objects.clone());
        let keep_alive = KeepAlive::start(&bus).await?;
        let mut puller = bus.puller(ConsumerKind::Assign(AssignmentKind::Segment));
        let taking = tokio::spawn(async move { puller.fetch(1, JOB).await });
        sleep(Duration::from_millis(300)).await;
        Ok(Self { id: WorkerId::random(), bus, objects, keep_alive, backend: built_in(), taking: Some(taking) })
    }

    /// The segment it got, its message, and the hold on it.
    ///
    /// # Errors
    /// When it cannot.
    pub async fn take(&mut self) -> Result<(SegmentAssignment, Delivery, Hold)> {
        let delivery = self.taking.take().context("it takes one")?.await?.pop().context("it got no segment")?;
        let hold = self.keep_alive.hold(&delivery);
        match Assignment::decode(AssignmentKind::Segment, delivery.payload())? {
            Assignment::Segment(assignment) => Ok((assignment, delivery, hold)),
            other => bail!("{other:?}"),
        }
    }

    /// The right contribution.
    ///
    /// # Errors
    /// When it cannot.
    pub async fn contribution(&self, segment: &SegmentAssignment) -> Result<Vec<u8>> {
        let bytes = self.objects.get(segment.segment.key).await?;
        let program = self.backend.load(&self.objects.get(segment.keys.proving.key).await?)?;
        Ok(program.contribute(&bytes)?.0)
    }

    /// Reports a contribution.
    ///
    /// # Errors
    /// When it cannot.
    pub async fn contribute(&self, segment: &SegmentAssignment, contribution: Vec<u8>) -> Result<()> {
        let report = Contribution {
            v: Version::default(),
            job: segment.job,
            n: segment.n,
            worker: self.id,
            attempt: segment.attempt,
            contribution: ByteBuf::from(contribution),
            milliseconds: 1,
        };
        self.bus.publish_report(&Report::Contribution(report)).await?;
        Ok(())
    }

    /// The job's challenge, once there is one.
    ///
    /// # Errors
    /// When it cannot.
    pub async fn challenge(&self, job: JobId) -> Result<Challenge> {
        let deadline = Instant::now() + JOB;
        loop {
            if let Some(challenge) = self.bus.challenge(job).await? {
                return Ok(challenge);
            }
            ensure!(Instant::now() < deadline, "no challenge");
            sleep(Duration::from_millis(20)).await;
        }
    }

    /// Reports a segment proof.
    ///
    /// # Errors
    /// When it cannot.
    pub async fn prove(&self, segment: &SegmentAssignment, node: Vec<u8>, challenge: Digest) -> Result<()> {
        let report = Proof {
            v: Version::default(),
            job: segment.job,
            n: segment.n,
            worker: self.id,
            attempt: segment.attempt,
            node: self.objects.put(ObjectScope::Node(segment.job), node.into()).await?,
            challenge,
            milliseconds: 1,
        };
        self.bus.publish_report(&Report::Proof(report)).await?;
        Ok(())
    }

    /// Becomes the job's aggregator, ahead of all that prove something.
    ///
    /// # Errors
    /// When another is.
    pub async fn stand(&self, job: JobId) -> Result<Lease> {
        self.bus.stand(&self.keep_alive, job, self.id).await?.context("another aggregates")
    }

    /// Reports this as the final proof, once all segments are proven.
    ///
    /// # Errors
    /// When it cannot.
    pub async fn finish(&self, lease: &Lease, proof: Vec<u8>) -> Result<()> {
        let job = lease.job();
        let mut events = self.bus.events(job);
        let proven = async {
            while !matches!(events.next().await, Ok(event) if event.progress.segments == Some(event.progress.proven)) {}
        };
        tokio::time::timeout(JOB, proven).await.context("the segments are not proven")?;
        let proof = self.objects.put(ObjectScope::Proof, proof.into()).await?;
        let report = Final { v: Version::default(), job, worker: self.id, epoch: lease.epoch(), proof, milliseconds: 1 };
        self.bus.publish_report(&Report::Final(report)).await?;
        Ok(())
    }
}
