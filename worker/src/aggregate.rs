//! The aggregator of one job: folds segment proofs as they land, here and by whoever is free, renews its lease, makes the final
//! proof.

use std::collections::{BTreeMap, HashMap};
use std::sync::Arc;
use std::time::{Duration, Instant};

use bytes::Bytes;
use futures::future::{BoxFuture, FutureExt, OptionFuture};
use futures::stream::{FuturesUnordered, StreamExt};
use metrics::counter;
use tokio_util::sync::CancellationToken;
use tracing::{debug, info, warn};
use zisk_common::election::Lease;
use zisk_common::ids::{Digest, JobId, ProgramId};
use zisk_common::messages::{
    Assignment, Event, EventBody, Final, FoldAssignment, Folded, JobRecord, ObjectRef, ObjectScope, ProgramKeys, RefusedFold,
    Rejected, Report, Version,
};
use zisk_common::subjects::Phase;
use zisk_protocol::{GlobalChallenge, PublicValues};
use zisk_prover::backend::{BackendError, ProofKind};

use crate::compute;
use crate::context::Context;
use crate::fold;
use crate::folds::{self, Claim, Folds, Task};
use crate::leaf::{self, Checked, Leaf};
use crate::metric_definitions::FOLDS_SPREAD;
use crate::problem::Problem;
use crate::programs::{Program, milliseconds_since};
use crate::segment::proof_kind;
use crate::tree::Pair;

/// Nodes downloaded and checked at the same time: enough to hide the store's latency, few enough to bound memory.
const DOWNLOADS: usize = 4;

/// When a final proof's report is posted again whose job has not ended.
const POST_AGAIN: Duration = Duration::from_secs(30);

/// How often to look for folds that others do not bring.
const LOOK: Duration = Duration::from_secs(1);

/// A node of the tree.
#[derive(Clone, Debug)]
struct Node {
    bytes: Bytes,
    /// Where others find it; none of a bundle's fold.
    object: Option<ObjectRef>,
}

/// A fold done here: of what, what came of it, how long it took, in whose place.
type Folding = (Pair<Node>, Result<(Node, u64), Problem>, Option<RefusedFold>);

/// A claim, and what its check showed.
type Checking = (u32, Claim, Result<folds::Checked<Node>, Problem>);

/// A job this worker may aggregate.
#[derive(Clone, Copy, Debug)]
pub struct Candidacy {
    /// The job.
    pub job: JobId,
    /// Its program.
    pub program: ProgramId,
    /// Its program's keys.
    pub keys: ProgramKeys,
}

/// Aggregates `candidacy.job` under `lease` until the job ends, the lease is lost or `cancel` says to stop. Gives the
/// lease back when it stops early, so that another worker need not wait for it to expire.
pub async fn run(context: Context, candidacy: Candidacy, lease: Lease, cancel: CancellationToken) {
    let (job, epoch) = (candidacy.job, lease.epoch());
    info!(%job, epoch, "elected aggregator");
    let aggregation = async {
        loop {
            let mut aggregator = Aggregator::new(&context, candidacy, epoch, &cancel).await?;
            if aggregator.fold_all().await? == Ended::Job {
                return Ok(());
            }
        }
    };
    let result = tokio::select! {
        result = aggregation => result,
        () = lease.lost() => {
            // Another aggregates now, or the job has ended; what is computed here would be refused.
            info!(%job, epoch, "aggregation stopped: no longer the aggregator");
            return;
        }
        () = cancel.cancelled() => Err(Problem::Unwanted),
    };
    match result {
        Ok(()) => {
            context.health.succeeded();
            info!(%job, epoch, "aggregation done");
        }
        Err(problem) if problem.kind().is_none() || cancel.is_cancelled() => debug!(%job, epoch, "aggregation stopped"),
        Err(problem) => {
            warn!(%job, epoch, error = %problem, "aggregation failed");
            if !context.failed_for_its_own_reasons(&problem, (job, None)).await {
                // The coordinator counts an aggregation's failures by epoch.
                let attempt = u32::try_from(epoch).unwrap_or(u32::MAX);
                context.report_failure(job, attempt, Phase::Folded, None, &problem, &cancel).await;
            }
        }
    }
    lease.resign().await;
}

/// Why an aggregation has come to an end.
#[derive(PartialEq, Eq)]
enum Ended {
    /// The job has.
    Job,
    /// There is a new challenge, under which everything is proven anew.
    Round,
}

struct Aggregator<'a> {
    context: &'a Context,
    cancel: &'a CancellationToken,
    job: JobId,
    epoch: u64,
    began: Instant,
    of: Candidacy,
    program: Arc<Program>,
    public: PublicValues,
    /// With its round.
    challenge: (u32, GlobalChallenge),
    /// Of proof.
    kind: ProofKind,
    segments: u32,
    folds: Folds<Node>,
    /// The final proof's report, once it is posted.
    posted: Option<Report>,
}

impl<'a> Aggregator<'a> {
    async fn new(context: &'a Context, candidacy: Candidacy, epoch: u64, cancel: &'a CancellationToken) -> Result<Self, Problem> {
        let began = Instant::now();
        let job = candidacy.job;
        let record = context.job_record(job).await?.ok_or(Problem::Unwanted)?;
        if record.state.is_terminal() {
            return Err(Problem::Unwanted);
        }
        let (segments, public, challenge) = shape(&record)?;
        let program = context.programs.get(context, candidacy.program, &candidacy.keys).await?;
        let kind = proof_kind(&record.request.params);
        // A lost worker's fold has come to another by then, and that one has had its time.
        let patience = context.bus.ack_wait() * 2;
        // A bundle's fold is less work than its nodes are bytes.
        let folds = Folds::new(segments, kind == ProofKind::Recursive, patience);
        let of = candidacy;
        Ok(Self { context, cancel, job, epoch, began, of, program, public, challenge, kind, segments, folds, posted: None })
    }

    /// Follows the job's events from the first, folds nodes as they land, makes the final proof, and waits until the
    /// coordinator has ended the job.
    async fn fold_all(&mut self) -> Result<Ended, Problem> {
        let mut events = self.context.bus.events(self.job);
        // Proofs that are known but not here yet; the lowest first, for they fold first.
        let mut known: BTreeMap<u32, Leaf> = BTreeMap::new();
        // The newest heard of, by segment. The stream may hold an event twice.
        let mut heard: HashMap<u32, u32> = HashMap::new();
        let mut downloads = FuturesUnordered::new();
        let mut fold: Option<BoxFuture<'_, Folding>> = None;
        let mut checks: FuturesUnordered<BoxFuture<'_, Checking>> = FuturesUnordered::new();
        let mut look = tokio::time::interval(LOOK);
        loop {
            while downloads.len() < DOWNLOADS
                && let Some((_, leaf)) = known.pop_first()
            {
                downloads.push(leaf::check(
                    self.context,
                    self.program.clone(),
                    self.challenge,
                    self.kind,
                    self.job,
                    leaf,
                    self.cancel,
                ));
            }
            while let Some(task) = self.folds.next(Instant::now()) {
                match task {
                    Task::Fold(pair, refused) => fold = Some(self.fold(pair, refused).boxed()),
                    Task::Publish(pair) => self.publish(&pair),
                    Task::Check(pair, claim) => checks.push(self.check(pair, claim).boxed()),
                }
            }
            tokio::select! {
                event = events.next() => match event {
                    Ok(Event { body: EventBody::Proof { n, node, worker, commit, .. }, .. }) => {
                        let commit = commit.max(1);
                        let newest = heard.entry(n).or_default();
                        if commit > *newest && self.folds.misses(n) {
                            *newest = commit;
                            known.insert(n, Leaf { n, commit, prover: worker, node });
                        }
                    }
                    Ok(Event { body: EventBody::Folded { n, worker, round, node: Some(node), .. }, .. }) => {
                        let claim = Claim { worker, node };
                        if round == self.challenge.0
                            && let Some(Task::Check(pair, claim)) = self.folds.claimed(n, claim)
                        {
                            checks.push(self.check(pair, claim).boxed());
                        }
                    }
                    Ok(Event { body: EventBody::Challenged { round }, .. }) if round > self.challenge.0 => {
                        info!(job = %self.job, epoch = self.epoch, round, "a new challenge: aggregation begins anew");
                        return Ok(Ended::Round);
                    }
                    Ok(event) if event.kind().is_terminal() => return Ok(Ended::Job),
                    Ok(_) => {}
                    Err(error) => warn!(job = %self.job, %error, "event skipped"),
                },
                _ = look.tick() => {}
                // The job has not ended: the report may have been lost with the stream it was in.
                () = tokio::time::sleep(POST_AGAIN), if self.posted.is_some() => {
                    if let Some(report) = self.posted.clone() {
                        self.context.report(report, self.cancel).await?;
                    }
                }
                Some(downloaded) = downloads.next() => {
                    match downloaded? {
                        Checked::Good(leaf, node) => {
                            self.folds.insert(leaf.n, Node { bytes: node.into(), object: Some(leaf.node) });
                            self.finish_if_whole().await?;
                        }
                        Checked::Superseded => {}
                        Checked::Bad(leaf, reason, proves) => self.reject(leaf, reason, proves).await?,
                    }
                }
                Some((n, claim, checked)) = checks.next() => {
                    self.checked(n, &claim, checked?);
                    self.finish_if_whole().await?;
                }
                Some((pair, folded, refused)) = OptionFuture::from(fold.as_mut()), if fold.is_some() => {
                    fold = None;
                    let (node, milliseconds) = folded?;
                    self.report(pair.n, node.object, milliseconds, refused);
                    self.folds.folded(&pair, node);
                    self.finish_if_whole().await?;
                }
            }
        }
    }

    /// Folds two neighbours on a thread of its own.
    fn fold(&self, pair: Pair<Node>, refused: Option<RefusedFold>) -> impl Future<Output = Folding> + Send + use<> {
        let (context, program, job, kind) = (self.context.clone(), self.program.clone(), self.job, self.kind);
        async move {
            let began = Instant::now();
            let (left, right) = (pair.left.bytes.clone(), pair.right.bytes.clone());
            let folded = async {
                let turn = context.folding.acquire().await;
                let bytes = fold::fold(&context, program, left, right).await?;
                drop(turn);
                let object = match kind {
                    ProofKind::Recursive => Some(context.put(ObjectScope::Node(job), bytes.clone()).await?),
                    ProofKind::Bundle => None,
                };
                Ok((Node { bytes, object }, milliseconds_since(began)))
            };
            let folded = folded.await;
            (pair, folded, refused)
        }
    }

    /// Leaves a fold to whoever is free. Should it not get there, it is done here when its time is over.
    fn publish(&self, pair: &Pair<Node>) {
        let (Some(left), Some(right)) = (pair.left.object, pair.right.object) else { return };
        let (job, n) = (self.job, pair.n);
        let fold = FoldAssignment {
            v: Version::default(),
            job,
            n,
            epoch: self.epoch,
            round: self.challenge.0,
            program: self.of.program,
            keys: self.of.keys,
            left,
            right,
            avoid: self.folds.liars().to_vec(),
        };
        counter!(FOLDS_SPREAD, "event" => "published").increment(1);
        let context = self.context.clone();
        tokio::spawn(async move {
            if let Err(error) = context.bus.publish_assignment(&Assignment::Fold(fold), context.backend.version()).await {
                debug!(%job, fold = n, %error, "fold not published");
            }
        });
    }

    /// Gets what is said to be the fold of two neighbours, and checks that it is.
    fn check(&self, pair: Pair<Node>, claim: Claim) -> impl Future<Output = Checking> + Send + use<> {
        let (context, program, job) = (self.context.clone(), self.program.clone(), self.job);
        async move {
            let n = pair.n;
            let node = match context.get(&claim.node).await {
                Ok(node) => node,
                Err(error) => {
                    warn!(%job, fold = n, worker = %claim.worker, %error, "fold not there");
                    return (n, claim, Ok(folds::Checked::Missing));
                }
            };
            let (backend, bytes) = (context.backend.clone(), node.clone());
            let turn = context.checking.acquire().await;
            let check = move || backend.check_fold(&program.verifying_key, &pair.left.bytes, &pair.right.bytes, &bytes);
            let checked = match compute::run("check", check).await {
                Ok(()) => Ok(folds::Checked::Good(Node { bytes: node, object: Some(claim.node) })),
                Err(error @ (BackendError::Rejected(_) | BackendError::Malformed { .. })) => {
                    Ok(folds::Checked::Bad(error.to_string()))
                }
                Err(error) => Err(error.into()),
            };
            drop(turn);
            (n, claim, checked)
        }
    }

    fn checked(&mut self, n: u32, claim: &Claim, checked: folds::Checked<Node>) {
        let worker = claim.worker;
        match &checked {
            folds::Checked::Good(_) => debug!(job = %self.job, fold = n, %worker, "fold taken"),
            folds::Checked::Missing => counter!(FOLDS_SPREAD, "event" => "missing").increment(1),
            folds::Checked::Bad(reason) => {
                warn!(job = %self.job, fold = n, %worker, reason, "fold refused");
                counter!(FOLDS_SPREAD, "event" => "refused").increment(1);
            }
        }
        self.folds.checked(n, worker, checked);
    }

    /// Reports a fold done here, for watchers and for an aggregator that takes over. Nothing waits for it.
    fn report(&self, n: u32, node: Option<ObjectRef>, milliseconds: u64, refused: Option<RefusedFold>) {
        let worker = self.context.worker;
        let (job, epoch, round) = (self.job, self.epoch, self.challenge.0);
        let report = Folded { v: Version::default(), job, n, worker, epoch, round, node, milliseconds, refused };
        let bus = self.context.bus.clone();
        tokio::spawn(async move {
            if let Err(error) = bus.publish_report(&Report::Folded(report)).await {
                debug!(%job, fold = n, %error, "fold not reported");
            }
        });
    }

    /// Says that a committed proof does not stand; another comes with an event of its own.
    async fn reject(&self, leaf: Leaf, reason: String, proves: Option<Digest>) -> Result<(), Problem> {
        let Leaf { n, commit, prover, node } = leaf;
        warn!(job = %self.job, segment = n, %prover, node = %node.key.digest, reason, "segment proof rejected");
        let (job, worker, epoch) = (self.job, self.context.worker, self.epoch);
        let report = Rejected { v: Version::default(), job, n, worker, epoch, commit, node, prover, reason, proves };
        self.context.report(Report::Rejected(report), self.cancel).await
    }

    /// Makes the final proof and reports it, once one node covers all segments.
    async fn finish_if_whole(&mut self) -> Result<(), Problem> {
        let Some(Node { bytes: root, .. }) = self.folds.take_root() else { return Ok(()) };
        let (backend, program, public) = (self.context.backend.clone(), self.program.clone(), self.public.clone());
        let turn = self.context.folding.acquire().await;
        let proof = compute::run("finish", move || backend.finish(&program.verifying_key, &root, &public)).await?;
        drop(turn);
        let report = Final {
            v: Version::default(),
            job: self.job,
            worker: self.context.worker,
            epoch: self.epoch,
            proof: self.context.put(ObjectScope::Proof, proof.into()).await?,
            milliseconds: milliseconds_since(self.began),
        };
        info!(job = %self.job, segments = self.segments, bytes = report.proof.size, "final proof made");
        let report = Report::Final(report);
        self.context.report(report.clone(), self.cancel).await?;
        self.posted = Some(report);
        Ok(())
    }
}

/// What the record says about the job: the number of segments, the public values, the challenge with its round.
fn shape(record: &JobRecord) -> Result<(u32, PublicValues, (u32, GlobalChallenge)), Problem> {
    let execution = record.execution.as_ref().ok_or_else(|| Problem::Message("no execution is recorded".to_owned()))?;
    let encoded = record.public_values.as_ref().ok_or_else(|| Problem::Message("no public values are recorded".to_owned()))?;
    let public = rmp_serde::from_slice(encoded)
        .map_err(|error| Problem::Message(format!("the recorded public values do not decode: {error}")))?;
    let challenge = record.challenge.as_ref().and_then(|challenge| <[u8; 32]>::try_from(challenge.as_slice()).ok());
    let challenge = challenge.ok_or_else(|| Problem::Message("no challenge of 32 bytes is recorded".to_owned()))?;
    Ok((execution.segments, public, (record.round, GlobalChallenge(challenge))))
}
