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
    Assignment, ByteBuf, Challenge, Contribution, Final, FoldAssignment, Folded, ObjectRef, ObjectScope, Proof, Report,
    SegmentAssignment, Version,
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
        Self::start_for(story, AssignmentKind::Segment).await
    }

    /// One that takes an assignment of this class.
    ///
    /// # Errors
    /// When it cannot.
    pub async fn start_for(story: &Story, kind: AssignmentKind) -> Result<Self> {
        let (bus, objects) = (story.fleet.bus.clone(), story.fleet.objects.clone());
        let keep_alive = KeepAlive::start(&bus).await?;
        let mut puller = bus.puller(ConsumerKind::Assign(kind));
        let taking = tokio::spawn(async move { puller.fetch(1, JOB).await });
        sleep(Duration::from_millis(300)).await;
        Ok(Self { id: WorkerId::random(), bus, objects, keep_alive, backend: built_in(), taking: Some(taking) })
    }

    /// The segment it got, its message, and the hold on it.
    ///
    /// # Errors
    /// When it cannot.
    pub async fn take(&mut self) -> Result<(SegmentAssignment, Delivery, Hold)> {
        let (delivery, hold) = self.taken().await?;
        match Assignment::decode(AssignmentKind::Segment, delivery.payload())? {
            Assignment::Segment(assignment) => Ok((assignment, delivery, hold)),
            other => bail!("{other:?}"),
        }
    }

    async fn taken(&mut self) -> Result<(Delivery, Hold)> {
        let delivery = self.taking.take().context("it takes one")?.await?.pop().context("it got nothing")?;
        let hold = self.keep_alive.hold(&delivery);
        Ok((delivery, hold))
    }

    /// The fold it got, and its message.
    ///
    /// # Errors
    /// When it cannot.
    pub async fn take_fold(&mut self) -> Result<(FoldAssignment, Delivery, Hold)> {
        let (delivery, hold) = self.taken().await?;
        match Assignment::decode(AssignmentKind::Fold, delivery.payload())? {
            Assignment::Fold(assignment) => Ok((assignment, delivery, hold)),
            other => bail!("{other:?}"),
        }
    }

    /// Reports this object as the fold.
    ///
    /// # Errors
    /// When it cannot.
    pub async fn fold(&self, fold: &FoldAssignment, node: ObjectRef) -> Result<()> {
        let FoldAssignment { job, n, epoch, round, .. } = *fold;
        let (worker, node) = (self.id, Some(node));
        let report = Folded { v: Version::default(), job, n, worker, epoch, round, node, milliseconds: 1, refused: None };
        self.bus.publish_report(&Report::Folded(report)).await?;
        Ok(())
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

    /// Waits until all segments of the job are proven.
    ///
    /// # Errors
    /// When they are not.
    pub async fn until_proven(&self, job: JobId) -> Result<()> {
        let mut events = self.bus.events(job);
        let proven = async {
            while !matches!(events.next().await, Ok(event) if event.progress.segments == Some(event.progress.proven)) {}
        };
        tokio::time::timeout(JOB, proven).await.context("the segments are not proven")
    }

    /// Reports this as the final proof, once all segments are proven.
    ///
    /// # Errors
    /// When it cannot.
    pub async fn finish(&self, lease: &Lease, proof: Vec<u8>) -> Result<()> {
        let job = lease.job();
        self.until_proven(job).await?;
        let proof = self.objects.put(ObjectScope::Proof, proof.into()).await?;
        let report = Final { v: Version::default(), job, worker: self.id, epoch: lease.epoch(), proof, milliseconds: 1 };
        self.bus.publish_report(&Report::Final(report)).await?;
        Ok(())
    }
}
