//! What is kept of jobs that have ended, and for how long; and what is in the store though no job needs it.
//!
//! A round reads all job records, a page at a time, and from them what is needed; then it lists the objects. So whatever comes
//! after the records were read must be told from what nobody needs by its age: everything a job uses is younger, by the store's
//! own clock, than the shortest time for which anything is left alone.

use std::collections::{HashMap, HashSet};
use std::time::Duration;

use metrics::counter;
use tokio::time::{Instant, MissedTickBehavior};
use tokio_util::sync::CancellationToken;
use zisk_common::buckets::Bucket;
use zisk_common::bus::Bus;
use zisk_common::election::Tenure;
use zisk_common::ids::{Digest, JobId, ProgramId};
use zisk_common::messages::{Dead, JobRecord, JobRequest, ObjectKey, ObjectScope, ProgramEntry, ProgramKeys, unix_ms};
use zisk_common::objects::{Objects, Stored};
use zisk_common::subjects::StreamKind;

use super::outbox::still_leading;
use super::records::Records;
use crate::metric_definitions::{OBJECTS_DELETED, RECORDS_DELETED};

/// Records read before a pause, and the pause: reading many must not slow the jobs that run.
const PAGE: usize = 100;
const PAUSE: Duration = Duration::from_millis(200);
/// Deletions of one round; the rest is for the next.
const DELETIONS: usize = 1000;

/// How long things are kept.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Retention {
    /// Records of ended jobs; none is for ever.
    pub records: Option<Duration>,
    /// Inputs after the last upload and the end of the last job that named them; none is for ever.
    pub inputs: Option<Duration>,
    /// Programs and their keys, likewise.
    pub programs: Option<Duration>,
    /// Whatever is younger is left alone: it may be an upload that is under way, or of a job that is not recorded yet.
    pub grace: Duration,
    /// From one round to the next.
    pub period: Duration,
}

/// Keeps to it until `stop`.
pub(super) async fn follow(
    bus: Bus,
    objects: Objects,
    records: Records,
    tenure: Tenure,
    retention: Retention,
    stop: CancellationToken,
) {
    let keeper = Keeper { bus, objects, records, tenure, retention };
    let mut rounds = tokio::time::interval_at(Instant::now() + retention.period, retention.period);
    rounds.set_missed_tick_behavior(MissedTickBehavior::Delay);
    let keep = async {
        loop {
            rounds.tick().await;
            if let Err(error) = keeper.round().await {
                tracing::warn!(error = format!("{error:#}"), "what is kept was not looked through; trying again later");
            }
        }
    };
    tokio::select! {
        () = stop.cancelled() => {}
        () = keep => {}
    }
}

/// What must stay.
#[derive(Debug, Default)]
struct Needs {
    /// All jobs that have a record.
    jobs: HashSet<JobId>,
    programs: HashSet<ProgramId>,
    inputs: HashSet<Digest>,
    proofs: HashSet<Digest>,
    keys: HashSet<Digest>,
}

impl Needs {
    fn request(&mut self, request: &JobRequest) {
        self.programs.insert(request.program);
        self.inputs.extend(request.input.map(|input| input.key.digest));
    }

    fn keys(&mut self, keys: ProgramKeys) {
        self.keys.extend([keys.proving.key.digest, keys.verifying.key.digest]);
    }

    /// What this record keeps; whether the record itself may go.
    fn record(&mut self, record: &JobRecord, retention: &Retention, now_ms: u64) -> bool {
        self.jobs.insert(record.job);
        if !record.state.is_terminal() {
            self.request(&record.request);
            record.keys.into_iter().for_each(|keys| self.keys(keys));
            self.proofs.extend(record.proof.map(|proof| proof.key.digest));
            return false;
        }
        let ended_ms = record.timings.ended_ms;
        let within = |time: Option<Duration>| time.is_none_or(|time| now_ms < ended_ms.saturating_add(milliseconds(time)));
        if within(retention.programs) {
            self.programs.insert(record.request.program);
        }
        if within(retention.inputs) {
            self.inputs.extend(record.request.input.map(|input| input.key.digest));
        }
        let proof = record.proof.filter(|_| within(proof_retention(record)));
        self.proofs.extend(proof.map(|proof| proof.key.digest));
        record.cleaned && proof.is_none() && !within(retention.records)
    }

    /// For how long an object that nobody needs stays; `None` when it is needed, or kept for ever.
    fn stays(&self, key: ObjectKey, retention: &Retention) -> Option<Duration> {
        let digest = key.digest;
        let (needed, stays) = match key.scope {
            ObjectScope::Program => (self.programs.contains(&digest), retention.programs?),
            ObjectScope::Input => (self.inputs.contains(&digest), retention.inputs?),
            ObjectScope::Key => (self.keys.contains(&digest), retention.grace),
            ObjectScope::Proof => (self.proofs.contains(&digest), retention.grace),
            // By which workers know the store.
            ObjectScope::Mark => return None,
            // Those of a job that has a record go with its end.
            ObjectScope::Segment(job) | ObjectScope::Node(job) => (self.jobs.contains(&job), retention.grace),
        };
        (!needed).then_some(stays)
    }
}

fn proof_retention(record: &JobRecord) -> Option<Duration> {
    // A record of a release that had no such thing keeps its proof.
    record.request.params.proof_retention_seconds.filter(|seconds| *seconds > 0).map(Duration::from_secs)
}

fn milliseconds(time: Duration) -> u64 {
    u64::try_from(time.as_millis()).unwrap_or(u64::MAX)
}

struct Keeper {
    bus: Bus,
    objects: Objects,
    records: Records,
    tenure: Tenure,
    retention: Retention,
}

impl Keeper {
    async fn round(&self) -> anyhow::Result<()> {
        still_leading(&self.tenure, "looking through what is kept")?;
        let mut left = DELETIONS;
        let died = self.objects.sweep_uploads(self.retention.grace, left).await?;
        deleted("upload", died);
        left -= usize::try_from(died)?.min(left);
        let mut needs = self.read_records(&mut left).await?;
        let programs: Bucket<ProgramEntry> = self.bus.programs().await?;
        let mut entries: HashMap<ProgramId, (ProgramEntry, u64)> = programs
            .entries()
            .await?
            .into_iter()
            .map(|(_, entry)| (entry.value.program, (entry.value, entry.revision)))
            .collect();
        let stored = self.objects.list().await?;
        if let Some(stream) = self.waits_long().await? {
            tracing::info!(%stream, "objects are left alone while what may name them has not been read");
            return Ok(());
        }
        self.sweep_inputs(&needs.jobs).await?;
        let elves: HashSet<ProgramId> = of(&stored, ObjectScope::Program);
        for (program, (entry, revision)) in &entries {
            // Gone before, or by hand; or the last round got no further.
            if !elves.contains(program) && !needs.programs.contains(program) && self.retention.programs.is_some() {
                self.forget_program(*program, *revision).await?;
            } else {
                needs.keys(entry.keys);
            }
        }
        entries.retain(|program, _| elves.contains(program));
        for Stored { key, age, .. } in stored {
            let Some(stays) = needs.stays(key, &self.retention) else { continue };
            let stays = stays.max(self.retention.grace);
            if age < stays {
                continue;
            }
            if left == 0 {
                tracing::info!("more is to be deleted: in the next round");
                break;
            }
            still_leading(&self.tenure, "deleting objects")?;
            if !self.objects.delete_old(key, stays).await? {
                continue;
            }
            left -= 1;
            deleted(name(key.scope), 1);
            tracing::debug!(%key, ?age, "object deleted: nobody needs it");
            if let Some((_, revision)) = entries.get(&key.digest).filter(|_| key.scope == ObjectScope::Program) {
                // Its keys follow in the next round.
                self.forget_program(key.digest, *revision).await?;
            }
        }
        Ok(())
    }

    /// Reads all records, and deletes those whose time is over.
    async fn read_records(&self, left: &mut usize) -> anyhow::Result<Needs> {
        let mut needs = Needs::default();
        for letter in self.bus.dead_letters().await?.into_iter().flatten() {
            if let Dead::Job(dead) = letter.dead {
                needs.request(&dead.request);
            }
        }
        let jobs = self.bus.jobs().await?;
        let mut gone = 0;
        for page in jobs.keys().await?.chunks(PAGE) {
            for key in page {
                // One that cannot be read might name anything.
                let Some(entry) = jobs.get(key).await? else { continue };
                let over = needs.record(&entry.value, &self.retention, unix_ms());
                if over && *left > 0 {
                    still_leading(&self.tenure, "deleting records")?;
                    if self.records.forget(entry.value.job, entry.revision).await? {
                        needs.jobs.remove(&entry.value.job);
                        *left -= 1;
                        gone += 1;
                    }
                }
            }
            tokio::time::sleep(PAUSE).await;
        }
        if gone > 0 {
            counter!(RECORDS_DELETED).increment(gone);
            tracing::info!(jobs = gone, "records of jobs that ended long ago deleted");
        }
        Ok(needs)
    }

    /// Removes what was streamed for jobs that nobody asked for: those of a job that has ended go with it.
    async fn sweep_inputs(&self, known: &HashSet<JobId>) -> anyhow::Result<()> {
        for job in self.bus.streamed_jobs().await?.into_iter().filter(|job| !known.contains(job)) {
            if self.bus.input_age(job).await?.is_some_and(|age| age >= self.retention.grace) {
                still_leading(&self.tenure, "deleting chunks of inputs")?;
                let chunks = self.bus.purge_input(job).await?;
                tracing::info!(%job, chunks, "what was streamed for a job that there is none of is deleted");
            }
        }
        Ok(())
    }

    /// The stream in which a request or a result waits for long: what it names may look as if nobody needed it.
    async fn waits_long(&self) -> anyhow::Result<Option<StreamKind>> {
        for kind in [StreamKind::Requests, StreamKind::Report] {
            if self.bus.oldest(kind).await?.is_some_and(|age| age > self.retention.grace / 2) {
                return Ok(Some(kind));
            }
        }
        Ok(None)
    }

    async fn forget_program(&self, program: ProgramId, revision: u64) -> anyhow::Result<()> {
        self.bus.programs().await?.forget(program, revision).await?;
        tracing::info!(%program, "program forgotten: its keys are derived anew when it is used again");
        Ok(())
    }
}

fn of(stored: &[Stored], scope: ObjectScope) -> HashSet<Digest> {
    stored.iter().filter(|object| object.key.scope == scope).map(|object| object.key.digest).collect()
}

fn deleted(what: &'static str, count: u64) {
    counter!(OBJECTS_DELETED, "what" => what).increment(count);
}

const fn name(scope: ObjectScope) -> &'static str {
    match scope {
        ObjectScope::Program => "program",
        ObjectScope::Key => "key",
        ObjectScope::Input => "input",
        ObjectScope::Proof => "proof",
        ObjectScope::Mark => "mark",
        ObjectScope::Segment(_) | ObjectScope::Node(_) => "orphan",
    }
}

#[cfg(test)]
mod tests {
    use zisk_common::messages::{JobState, ObjectRef};
    use zisk_common::subjects::RequestKind;

    use super::*;
    use crate::job::{Defaults, accept};

    const DAY: u64 = 24 * 3600 * 1000;
    const RETENTION: Retention = Retention {
        records: Some(Duration::from_secs(30 * DAY / 1000)),
        inputs: Some(Duration::from_secs(7 * DAY / 1000)),
        programs: None,
        grace: Duration::from_secs(60),
        period: Duration::from_secs(60),
    };

    fn key(scope: ObjectScope, n: u8) -> ObjectKey {
        ObjectKey { scope, digest: Digest::of(&[n]) }
    }

    /// A job that completed at the epoch's first day.
    fn completed(proof_retention_seconds: Option<u64>) -> JobRecord {
        let object = |scope, n| ObjectRef { key: key(scope, n), size: 1 };
        let request = JobRequest {
            v: Default::default(),
            job: JobId::random(),
            program: key(ObjectScope::Program, 1).digest,
            input: Some(object(ObjectScope::Input, 2)),
            input_stream: false,
            params: Default::default(),
            client: String::new(),
            metadata: Default::default(),
        };
        let defaults =
            Defaults { log_segment_steps: 18, max_steps: 1, timeout_seconds: 1, proof_retention_seconds: 1, max_attempts: 1 };
        let mut record = accept(RequestKind::Prove, request, 1, &defaults, DAY);
        record.request.params.proof_retention_seconds = proof_retention_seconds;
        record.state = JobState::Completed;
        record.proof = Some(object(ObjectScope::Proof, 3));
        record.timings.ended_ms = DAY;
        record.cleaned = true;
        record
    }

    #[test]
    fn a_job_under_way_keeps_what_it_uses() {
        let mut record = completed(Some(1));
        record.state = JobState::Folding;
        record.cleaned = false;
        let mut needs = Needs::default();
        assert!(!needs.record(&record, &RETENTION, 1000 * DAY));
        for scope in [ObjectScope::Program, ObjectScope::Input, ObjectScope::Proof] {
            let n = 1 + [ObjectScope::Program, ObjectScope::Input, ObjectScope::Proof].iter().position(|s| *s == scope).unwrap();
            assert_eq!(needs.stays(key(scope, n as u8), &RETENTION), None, "{scope:?}");
        }
        assert_eq!(needs.stays(key(ObjectScope::Segment(record.job), 9), &RETENTION), None);
        assert_eq!(needs.stays(key(ObjectScope::Node(JobId::random()), 9), &RETENTION), Some(RETENTION.grace));
    }

    #[test]
    fn what_a_job_used_goes_when_its_time_is_over() {
        let input = key(ObjectScope::Input, 2);
        let proof = key(ObjectScope::Proof, 3);
        let kept = |proof_seconds: Option<u64>, days: u64| {
            let mut needs = Needs::default();
            let over = needs.record(&completed(proof_seconds), &RETENTION, DAY + days * DAY);
            (over, needs.stays(proof, &RETENTION).is_none(), needs.stays(input, &RETENTION).is_none())
        };
        let ten_days = Some(10 * DAY / 1000);
        // Whether the record is over, the proof kept, the input kept.
        assert_eq!(kept(ten_days, 6), (false, true, true));
        assert_eq!(kept(ten_days, 8), (false, true, false));
        assert_eq!(kept(ten_days, 11), (false, false, false));
        assert_eq!(kept(ten_days, 31), (true, false, false));
        // A record stays as long as its proof.
        assert_eq!(kept(Some(40 * DAY / 1000), 31), (false, true, false));
        for for_ever in [Some(0), None] {
            assert_eq!(kept(for_ever, 10_000), (false, true, false));
        }
        // For ever is also what nobody needs.
        let needs = Needs::default();
        assert_eq!(needs.stays(key(ObjectScope::Program, 1), &RETENTION), None);
        assert_eq!(needs.stays(input, &RETENTION), RETENTION.inputs);
    }

    #[test]
    fn two_jobs_with_the_same_proof_keep_it_for_the_longer() {
        let mut needs = Needs::default();
        for seconds in [1, 10 * DAY / 1000] {
            needs.record(&completed(Some(seconds)), &RETENTION, 5 * DAY);
        }
        assert_eq!(needs.stays(key(ObjectScope::Proof, 3), &RETENTION), None);
    }
}
