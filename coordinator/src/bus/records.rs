//! Job records in their buckets: docs/decisions/0010-job-records.md.

use std::collections::{BTreeSet, HashMap};

use futures::{StreamExt, TryStreamExt, stream};
use zisk_common::buckets::{Bucket, BucketError, Entry};
use zisk_common::bus::{Bus, BusError};
use zisk_common::ids::JobId;
use zisk_common::messages::{JobRecord, SegmentRecord};
use zisk_common::subjects::BucketKind;

/// Reads and writes of one job that are under way at once.
const CONCURRENCY: usize = 32;

/// The buckets `jobs` and `segments`.
#[derive(Debug, Clone)]
pub struct Records {
    bus: Bus,
    jobs: Bucket<JobRecord>,
    segments: Bucket<SegmentRecord>,
}

/// A job as it stands in the buckets.
#[derive(Debug)]
pub struct StoredJob {
    /// The whole record, segments included.
    pub record: JobRecord,
    revision: u64,
    /// Per segment; 0 when it has no key yet.
    segment_revisions: Vec<u64>,
}

impl Records {
    /// Opens the buckets.
    ///
    /// # Errors
    /// [`BusError`] when they are not there.
    pub async fn open(bus: &Bus) -> Result<Self, BusError> {
        let jobs = bus.jobs().await?;
        let segments = bus.bucket(BucketKind::Segments).await?;
        Ok(Self { bus: bus.clone(), jobs, segments })
    }

    /// Writes a new job.
    ///
    /// # Errors
    /// [`BucketError::Conflict`] when there is one with this id.
    pub async fn create(&self, record: JobRecord) -> Result<StoredJob, BucketError> {
        let revision = self.jobs.create(record.job, &record).await?;
        Ok(StoredJob { record, revision, segment_revisions: Vec::new() })
    }

    /// Reads a job back; of a job that has been cleaned up only its own record is left.
    ///
    /// # Errors
    /// [`BucketError`], never a conflict.
    pub async fn load(&self, job: JobId) -> Result<Option<StoredJob>, BucketError> {
        // The job's own record first: it is written last, so the segments read after it are at least as new.
        let Some(entry) = self.jobs.get(job).await? else { return Ok(None) };
        let mut stored = StoredJob { record: entry.value, revision: entry.revision, segment_revisions: Vec::new() };
        if stored.record.cleaned {
            return Ok(Some(stored));
        }
        let bucket = &self.segments;
        let segments: Vec<_> = stream::iter(self.segment_keys(job).await?)
            .map(|n| {
                let bucket = bucket.clone();
                async move { Ok::<_, BucketError>((n, bucket.get(key(job, n)).await?)) }
            })
            .buffer_unordered(CONCURRENCY)
            .try_collect()
            .await?;
        for (n, entry) in segments {
            let Some(entry) = entry else { continue };
            stored.make_room(n);
            stored.record.segments[n as usize] = entry.value;
            stored.segment_revisions[n as usize] = entry.revision;
        }
        Ok(Some(stored))
    }

    /// Writes the changed segments, then the job's own record: only one writer gets through from each revision.
    ///
    /// # Errors
    /// [`BucketError::Conflict`] when another was first: read the job back. After any error the job in memory is of no
    /// more use.
    pub async fn commit(&self, stored: &mut StoredJob, changed: &BTreeSet<u32>) -> Result<(), BucketError> {
        if let Some(last) = changed.last() {
            stored.make_room(*last);
        }
        let job = stored.record.job;
        let writes: Vec<_> = changed
            .iter()
            .map(|&n| {
                let (bucket, index) = (self.segments.clone(), n as usize);
                let (state, revision) = (stored.record.segments[index].clone(), stored.segment_revisions[index]);
                async move { Ok((n, bucket.update(key(job, n), &state, revision).await?)) }
            })
            .collect();
        let written: Vec<Result<(u32, u64), BucketError>> = stream::iter(writes).buffer_unordered(CONCURRENCY).collect().await;
        let written = written.into_iter().collect::<Result<Vec<_>, _>>()?;
        for (n, revision) in written {
            stored.segment_revisions[n as usize] = revision;
        }
        stored.revision = self.jobs.update(job, &stored.record, stored.revision).await?;
        Ok(())
    }

    /// Whether something of what was read or written for this job is not there any more: somebody deleted or purged a bucket.
    /// Somebody else's commit is not that.
    ///
    /// # Errors
    /// [`BucketError`], never a conflict.
    pub async fn is_lost(&self, stored: &StoredJob) -> Result<bool, BucketError> {
        let job = stored.record.job;
        match self.jobs.get(job).await? {
            None => return Ok(true),
            Some(entry) if entry.revision != stored.revision => return Ok(false),
            Some(_) => {}
        }
        let known = stored.segment_revisions.iter().filter(|revision| **revision != 0).count();
        Ok(self.segment_keys(job).await?.len() < known)
    }

    /// Writes the job as it is remembered to buckets that have lost it: its segments, then its own record.
    ///
    /// # Errors
    /// [`BucketError::Conflict`] when there is another's record of it.
    pub async fn restore(&self, stored: &mut StoredJob) -> Result<(), BucketError> {
        let job = stored.record.job;
        stored.segment_revisions.resize(stored.record.segments.len(), 0);
        let known = stored.record.segments.iter().enumerate().filter(|(_, state)| **state != SegmentRecord::default());
        let writes: Vec<_> = known
            .map(|(index, state)| {
                let (bucket, state) = (self.segments.clone(), state.clone());
                async move {
                    let key = format!("{job}.{index}");
                    let revision = match bucket.get(&key).await? {
                        None => bucket.create(&key, &state).await?,
                        Some(entry) if entry.value == state => entry.revision,
                        Some(entry) => bucket.update(&key, &state, entry.revision).await?,
                    };
                    Ok::<_, BucketError>((index, revision))
                }
            })
            .collect();
        let written: Vec<(usize, u64)> = stream::iter(writes).buffer_unordered(CONCURRENCY).try_collect().await?;
        for (index, revision) in written {
            stored.segment_revisions[index] = revision;
        }
        stored.revision = match self.jobs.get(job).await? {
            None => self.jobs.create(job, &stored.record).await?,
            Some(_) => self.jobs.update(job, &stored.record, stored.revision).await?,
        };
        Ok(())
    }

    /// All jobs' own records, without their segments, the oldest first.
    ///
    /// # Errors
    /// [`BucketError`], never a conflict.
    pub async fn all(&self) -> Result<Vec<StoredJob>, BucketError> {
        let keys = self.jobs.keys().await?;
        let mut jobs: Vec<StoredJob> = stream::iter(keys)
            .map(|key| {
                let records = self.clone();
                async move { records.readable(key).await }
            })
            .buffer_unordered(CONCURRENCY)
            .try_filter_map(|job| async move { Ok(job) })
            .try_collect()
            .await?;
        jobs.sort_by_key(|stored| (stored.record.timings.accepted_ms, stored.record.job));
        Ok(jobs)
    }

    async fn readable(&self, key: String) -> Result<Option<StoredJob>, BucketError> {
        let entry = match self.jobs.get_listed(&key).await {
            Err(BucketError::Codec(error)) => {
                tracing::error!(key, %error, "job record cannot be read; the job is left alone");
                return Ok(None);
            }
            other => other?,
        };
        let stored =
            |entry: Entry<JobRecord>| StoredJob { record: entry.value, revision: entry.revision, segment_revisions: Vec::new() };
        Ok(entry.map(stored))
    }

    /// Removes the record of a job that ended, if it still has this revision; whether it did.
    ///
    /// # Errors
    /// [`BucketError`], never a conflict.
    pub async fn forget(&self, job: JobId, revision: u64) -> Result<bool, BucketError> {
        self.jobs.forget(job, revision).await
    }

    /// Removes the job's segment records, without leaving markers behind.
    ///
    /// # Errors
    /// [`BusError`] when the server does not answer.
    pub async fn forget_segments(&self, job: JobId) -> Result<(), BusError> {
        let (bucket, stream) =
            (self.bus.prefix().bucket(BucketKind::Segments), self.bus.prefix().bucket_stream(BucketKind::Segments));
        // With what workers keep beside them ([`zisk_common::messages::Begun`]).
        self.bus.purge_stream(&stream, &format!("$KV.{bucket}.{job}.>")).await.map(drop)
    }

    async fn segment_keys(&self, job: JobId) -> Result<Vec<u32>, BusError> {
        let bucket = self.bus.prefix().bucket(BucketKind::Segments);
        let found =
            subjects(&self.bus, &self.bus.prefix().bucket_stream(BucketKind::Segments), &format!("$KV.{bucket}.{job}.*")).await?;
        Ok(found.into_keys().filter_map(|subject| subject.rsplit('.').next().and_then(|n| n.parse().ok())).collect())
    }
}

impl StoredJob {
    fn make_room(&mut self, n: u32) {
        let needed = n as usize + 1;
        if self.record.segments.len() < needed {
            self.record.segments.resize_with(needed, SegmentRecord::default);
        }
        if self.segment_revisions.len() < needed {
            self.segment_revisions.resize(needed, 0);
        }
    }
}

fn key(job: JobId, n: u32) -> String {
    format!("{job}.{n}")
}

/// How many messages a stream holds, per subject that matches the filter.
pub(super) async fn subjects(bus: &Bus, stream: &str, filter: &str) -> Result<HashMap<String, usize>, BusError> {
    bus.subjects(stream, filter).await
}
