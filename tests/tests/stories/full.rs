//! Stores that are full: JetStream as a whole, the bucket of objects, a directory. What is submitted is refused and said so, what
//! runs ends typed or goes on, the coordinator never stops, and all goes on by itself once there is room.

use std::time::Duration;

use anyhow::{Context, Result, ensure};
use async_nats::jetstream::stream::Config;
use bytes::Bytes;
use tokio::time::{Instant, sleep};
use zisk_common::ids::JobId;
use zisk_common::messages::{FailureKind, JobRecord, JobRequest, JobState, Metadata, ObjectKey, ObjectScope};
use zisk_common::objects::ObjectError;
use zisk_common::subjects::{EventKind, RequestKind};
use zisk_tests::cli::zisk;
use zisk_tests::fleet::{Fleet, Settings};
use zisk_tests::guests::{Reference, Workload};
use zisk_tests::oracles;

/// How long a job, and whatever follows it, may take here.
const JOB: Duration = Duration::from_secs(300);
const MIB: u64 = 1 << 20;
/// log2 of a segment's steps.
const LOG_STEPS: u8 = 12;

async fn start(settings: Settings, max_file_store: Option<u64>, environment: &[(&'static str, u64)]) -> Result<Fleet> {
    let environment = environment.iter().map(|(key, value)| (*key, value.to_string())).collect();
    let settings = Settings { ack_wait: Duration::from_secs(3), lease: Duration::from_secs(3), ..settings };
    let mut fleet = Fleet::start_with(settings, environment, max_file_store).await?;
    fleet.worker_environment.push(("ZISK_WORKER_CONNECTION_STORE_FULL_WAIT_SECONDS", "1".to_owned()));
    fleet.start_worker()?;
    Ok(fleet)
}

/// Stores objects that nobody needs until there is no room, not even for one of 8 KiB; returns them and the refusal.
async fn fill(fleet: &Fleet) -> Result<(Vec<ObjectKey>, ObjectError)> {
    let mut stored = Vec::new();
    let mut refusal = None;
    for bytes in [MIB as u32, 64 << 10, 8 << 10] {
        refusal = None;
        for n in 0u32..1000 {
            let block: Vec<u8> = (0..bytes / 4).flat_map(|i| (i.wrapping_mul(2_654_435_761) ^ n).to_le_bytes()).collect();
            match fleet.objects.put(ObjectScope::Input, Bytes::from(block)).await {
                Ok(object) => stored.push(object.key),
                Err(error) => {
                    refusal = Some(error);
                    break;
                }
            }
        }
    }
    Ok((stored, refusal.context("1000 objects and no end")?))
}

/// A stream of nobody's, to fill the server with.
const GARBAGE: &str = "GARBAGE";

/// Pushes a server on which objects find no room beyond its limit, far enough that no entry which expires brings it back. Up to its
/// limit a server takes any one message, whatever its size, and beyond it none; an object is two messages, and what was stored of
/// one that is refused is dropped again. So refused objects alone leave a server that still takes every record and lease.
async fn overfill(fleet: &Fleet) -> Result<()> {
    let deadline = Instant::now() + JOB;
    loop {
        let block = Bytes::from(vec![1; MIB as usize / 2]);
        let stored = async { fleet.bus.jetstream().publish(GARBAGE, block).await?.await };
        let Err(error) = stored.await else { return Ok(()) };
        ensure!(Instant::now() < deadline, "neither full nor beyond: {error}");
        sleep(Duration::from_millis(100)).await;
    }
}

async fn said(fleet: &Fleet, words: &str) -> Result<()> {
    let deadline = Instant::now() + JOB;
    while !fleet.coordinators.iter().any(|coordinator| coordinator.log().contains(words)) {
        let logs = || fleet.coordinators.iter().map(zisk_tests::Process::log_end).collect::<String>();
        ensure!(Instant::now() < deadline, "no coordinator said {words:?}:\n{}", logs());
        sleep(Duration::from_millis(100)).await;
    }
    Ok(())
}

async fn refused(fleet: &Fleet, words: &[&str]) -> Result<()> {
    let (program, input) = (fleet.directory().join("program.elf"), fleet.directory().join("input"));
    std::fs::write(&program, Reference::default().hashes(1)?.elf.as_slice())?;
    // No input of a job before, and larger than what little room is left.
    std::fs::write(&input, [1u64.to_le_bytes().as_slice(), &vec![7; 3 * MIB as usize]].concat())?;
    let before = fleet.client.jobs().await?.len();
    let [program, input] = [&program, &input].map(|path| path.display().to_string());
    let out = fleet.directory().join("proof").display().to_string();
    let ended = zisk(fleet, &["prove", "--program", &program, "--input", &input, "--out", &out]).await?;
    ensure!(ended.code == 14, "{ended:?}");
    for word in words.iter().chain(&["full", "not submitted", "Make room"]) {
        ensure!(ended.stderr.contains(word), "no {word:?}: {ended:?}");
    }
    assert_eq!(fleet.client.jobs().await?.len(), before);
    Ok(())
}

/// The job is accepted, and no more.
async fn is_not_begun(fleet: &Fleet, job: JobId) -> Result<()> {
    let mut events = fleet.bus.events(job);
    assert_eq!(events.next().await?.kind(), EventKind::Accepted);
    ensure!(tokio::time::timeout(Duration::from_secs(3), events.next()).await.is_err(), "a job was begun in a full store");
    Ok(())
}

async fn ends_well(fleet: &Fleet, reference: &Reference, workload: &Workload, log_steps: u8) -> Result<JobRecord> {
    let record = oracles::end_of(&fleet.bus, fleet.submit(workload, log_steps, None).await?, JOB).await?;
    oracles::check_outcome(&fleet.objects, reference, workload, &record).await?;
    Ok(record)
}

#[tokio::test(flavor = "multi_thread")]
async fn a_full_jetstream_refuses_what_is_new_and_the_coordinator_goes_on() -> Result<()> {
    let settings = Settings { directory_store: false, ..Settings::default() };
    let mut fleet = start(settings, Some(44 * MIB), &[("ZISK_COORDINATOR_STORAGE_RESERVE_BYTES", 4 * MIB)]).await?;
    let reference = Reference::default();
    let small = reference.hashes(1)?;
    ends_well(&fleet, &reference, &small, LOG_STEPS).await?;
    let config = Config { name: GARBAGE.to_owned(), subjects: vec![GARBAGE.to_owned()], ..Config::default() };
    let more = fleet.bus.jetstream().create_stream(config).await?;

    // One job is under way when the store fills up. Its worker stands still meanwhile: nothing is stored or freed but by us.
    let large = reference.hashes(20)?;
    let running = fleet.submit(&large, LOG_STEPS, None).await?;
    let mut events = fleet.bus.events(running);
    while events.next().await?.kind() != EventKind::Contributed {}
    fleet.workers[0].process.freeze();
    let (garbage, error) = fill(&fleet).await?;
    ensure!(matches!(error, ObjectError::Full { .. }), "{error}");
    ensure!(error.to_string().contains(&fleet.bus.prefix().objects_bucket()), "{error}");
    overfill(&fleet).await?;
    said(&fleet, "JetStream is full").await?;
    refused(&fleet, &[&fleet.bus.prefix().objects_bucket()]).await?;
    // What needs no upload is accepted, and waits.
    let waits = fleet.submit(&small, LOG_STEPS, None).await?;
    is_not_begun(&fleet, waits).await?;
    // Of such only so many that their records find room in the reserve; then requests are refused, and the coordinator leads on.
    let pattern = fleet.bus.jobs().await?.get(waits).await?.context("no record")?.value.request;
    let metadata: Metadata = (0..14).map(|n| (n.to_string(), "x".repeat(250))).collect();
    let mut taken = Vec::new();
    let refusal = loop {
        ensure!(taken.len() < 300, "no end of requests");
        let request = JobRequest { job: JobId::random(), metadata: metadata.clone(), ..pattern.clone() };
        match fleet.bus.publish_request(RequestKind::Execute, &request).await {
            Ok(_) => taken.push(request.job),
            Err(error) => break error,
        }
    };
    ensure!(refusal.full, "{refusal}");
    ensure!(fleet.bus.leader().await?.is_some(), "nobody leads");
    // What is under way ends, typed, and its end is committed with the store full.
    fleet.workers[0].process.thaw();
    let failed = oracles::end_of(&fleet.bus, running, JOB).await?;
    let failure = failed.failure.clone().context("it did not fail")?;
    assert_eq!((failed.state, failure.kind), (JobState::Failed, FailureKind::Storage), "{failure}");
    ensure!(failure.message.contains("full") && failure.message.contains(&fleet.bus.prefix().objects_bucket()), "{failure}");
    oracles::check_job(&fleet.bus, running).await?;
    ensure!(fleet.bus.dead_letter(&running.to_string()).await?.is_some(), "it cannot be requeued");

    // Room: nothing was restarted, and all goes on.
    for key in garbage {
        fleet.objects.delete(key).await?;
    }
    more.purge().await?;
    said(&fleet, "JetStream has room again").await?;
    let record = oracles::end_of(&fleet.bus, waits, JOB).await?;
    oracles::check_outcome(&fleet.objects, &reference, &small, &record).await?;
    for job in taken {
        assert_eq!(oracles::end_of(&fleet.bus, job, JOB).await?.state, JobState::Completed);
    }
    oracles::check_nothing_left(&fleet.bus, None, JOB).await?;
    oracles::check_unchanged(&fleet.bus, &failed).await?;
    oracles::check_unchanged(&fleet.bus, &record).await?;

    // With nobody there to make room: who comes next finds the reserve, and what waits is done when the limit is raised.
    fleet.coordinators.clear();
    let (_, error) = fill(&fleet).await?;
    ensure!(matches!(error, ObjectError::Full { .. }), "{error}");
    overfill(&fleet).await?;
    fleet.start_coordinator()?;
    said(&fleet, "JetStream is full").await?;
    let waits = fleet.submit(&small, LOG_STEPS, None).await?;
    is_not_begun(&fleet, waits).await?;
    fleet.nats.servers[0].limit_store(80 * MIB);
    fleet.nats.servers[0].restart()?;
    let record = oracles::end_of(&fleet.bus, waits, JOB).await?;
    oracles::check_outcome(&fleet.objects, &reference, &small, &record).await
}

#[tokio::test(flavor = "multi_thread")]
async fn a_bucket_at_its_limit_refuses_uploads_and_nothing_else() -> Result<()> {
    let settings = Settings { directory_store: false, ..Settings::default() };
    let fleet = start(settings, None, &[("ZISK_COORDINATOR_STORAGE_MAX_OBJECT_BYTES", 16 * MIB)]).await?;
    let reference = Reference::default();
    let small = reference.hashes(1)?;
    ends_well(&fleet, &reference, &small, LOG_STEPS).await?;
    let (garbage, error) = fill(&fleet).await?;
    let limit = format!("of at most {} bytes", 16 * MIB);
    ensure!(matches!(error, ObjectError::Full { .. }) && error.to_string().contains(&limit), "{error}");
    refused(&fleet, &[&limit]).await?;
    // A job whose segments find no room.
    let job = fleet.submit(&small, LOG_STEPS, None).await?;
    let failed = oracles::end_of(&fleet.bus, job, JOB).await?;
    let failure = failed.failure.context("it did not fail")?;
    ensure!(failure.kind == FailureKind::Storage && failure.message.contains(&limit), "{failure}");
    for key in garbage {
        fleet.objects.delete(key).await?;
    }
    ends_well(&fleet, &reference, &small, LOG_STEPS).await?;
    oracles::check_nothing_left(&fleet.bus, None, JOB).await
}

/// A small file system; unmounted when dropped.
struct Mounted(std::path::PathBuf);

impl Mounted {
    /// None where this user may not mount.
    fn over(directory: &std::path::Path, bytes: u64) -> Option<Self> {
        let size = format!("size={bytes}");
        let mount = std::process::Command::new("mount").args(["-t", "tmpfs", "-o", &size, "tmpfs"]).arg(directory).status();
        mount.is_ok_and(|status| status.success()).then(|| Self(directory.to_owned()))
    }
}

impl Drop for Mounted {
    fn drop(&mut self) {
        let _ = std::process::Command::new("umount").arg("-l").arg(&self.0).status();
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_full_directory_refuses_uploads_and_nothing_else() -> Result<()> {
    let fleet = start(Settings::default(), None, &[]).await?;
    let directory = fleet.directory().join("objects");
    let Some(_mounted) = Mounted::over(&directory, 16 * MIB) else {
        eprintln!("not run: this user may not mount a file system");
        return Ok(());
    };
    let reference = Reference::default();
    let small = reference.hashes(1)?;
    ends_well(&fleet, &reference, &small, LOG_STEPS).await?;
    let (garbage, error) = fill(&fleet).await?;
    let place = directory.display().to_string();
    ensure!(matches!(error, ObjectError::Full { .. }) && error.to_string().contains(&place), "{error}");
    refused(&fleet, &[&place, "No space left"]).await?;
    // What is left of an upload that failed is no object, and does not take the room.
    let job = fleet.submit(&small, LOG_STEPS, None).await?;
    let failed = oracles::end_of(&fleet.bus, job, JOB).await?;
    let failure = failed.failure.context("it did not fail")?;
    ensure!(failure.kind == FailureKind::Storage && failure.message.contains(&place), "{failure}");
    for key in garbage {
        fleet.objects.delete(key).await?;
    }
    ends_well(&fleet, &reference, &small, LOG_STEPS).await?;
    oracles::check_nothing_left(&fleet.bus, Some(&directory), JOB).await
}
