//! Objects in an S3 bucket: a job goes through, what nobody needs goes, and a wrong key is named and not shown. The store is SeaweedFS, from
//! scripts/install-seaweedfs.sh.

use std::path::Path;
use std::process::Command;
use std::time::{Duration, Instant};

use anyhow::{Context, Result, ensure};
use tempfile::TempDir;
use zisk_tests::cli::Ended;
use zisk_tests::guests::Reference;
use zisk_tests::{NatsServer, Process, Program, cli, free_ports};

/// Generous: on a busy machine; each look of the coordinator through the store is many requests.
const SOON: Duration = Duration::from_secs(180);
const SECRET: &str = "a-secret-of-this-test";

/// A store with one user, and a bucket once that user writes to one.
struct Store {
    endpoint: String,
    _process: Process,
    directory: TempDir,
}

impl Store {
    fn start() -> Result<Self> {
        let weed = Path::new(env!("CARGO_MANIFEST_DIR")).join("../.tools/weed");
        ensure!(weed.exists(), "{} is missing: run scripts/install-seaweedfs.sh", weed.display());
        let directory = tempfile::Builder::new().prefix("zisk-s3-").tempdir()?;
        let ports = free_ports(8)?;
        let mut command = Command::new(weed);
        command.args([
            "-logtostderr",
            "server",
            "-ip=127.0.0.1",
            "-ip.bind=127.0.0.1",
            "-master.telemetry=false",
            "-volume.max=0",
        ]);
        command.args(["-master.volumeSizeLimitMB=64", "-s3", "-s3.iam=false", "-s3.port.iceberg=0", "-s3.port.lance=0"]);
        command.arg(format!("-dir={}", directory.path().display()));
        for (index, part) in ["master", "volume", "filer", "s3"].iter().enumerate() {
            command.arg(format!("-{part}.port={}", ports[2 * index])).arg(format!("-{part}.port.grpc={}", ports[2 * index + 1]));
        }
        command.env("AWS_ACCESS_KEY_ID", "tester").env("AWS_SECRET_ACCESS_KEY", SECRET);
        let mut process = Process::start("weed", &command, &directory.path().join("weed.log"))?;
        process.wait_for_log("Start Seaweed S3 API Server", SOON)?;
        // The master knows of no room before that.
        process.wait_for_log("added volume server", SOON)?;
        Ok(Self { endpoint: format!("http://127.0.0.1:{}", ports[6]), _process: process, directory })
    }

    /// A credentials file with this key.
    fn credentials(&self, secret: &str) -> Result<String> {
        let file = self.directory.path().join(format!("credentials-{}", secret.len()));
        std::fs::write(&file, format!("[default]\naws_access_key_id = tester\naws_secret_access_key = {secret}\n"))?;
        Ok(file.display().to_string())
    }

    fn program(&self, name: &str, nats: &NatsServer, credentials: &str) -> Program {
        Program::new(name, nats.directory())
            .env("ZISK_NATS_URL", nats.url())
            .env("ZISK_OBJECT_STORE", "s3://zisk/stories")
            .env("AWS_ENDPOINT_URL", &self.endpoint)
            .env("AWS_ALLOW_HTTP", "true")
            .env("AWS_REGION", "us-east-1")
            .env("AWS_SHARED_CREDENTIALS_FILE", credentials)
    }
}

#[test]
fn a_job_whose_objects_are_in_a_bucket_is_proven_and_swept() -> Result<()> {
    let (store, nats) = (Store::start()?, NatsServer::start()?);
    let credentials = store.credentials(SECRET)?;
    let here = nats.directory().to_owned();
    let coordinator = store.program("zisk-coordinator", &nats, &credentials).arg("--metrics-port").arg("0");
    // What is uploaded, and what is fetched, takes seconds on a busy machine: it is not to be swept meanwhile.
    let kept =
        [("PROOF_RETENTION_SECONDS", "20"), ("INPUT_RETENTION_SECONDS", "20"), ("GRACE_SECONDS", "20"), ("SWEEP_SECONDS", "2")];
    let coordinator = kept
        .iter()
        .fold(coordinator, |program, (key, seconds)| program.env(&format!("ZISK_COORDINATOR_STORAGE_{key}"), *seconds));
    let mut coordinator = coordinator.start("coordinator")?;
    coordinator.wait_for_log("coordinator ready: it leads", SOON)?;
    let mut worker = store.program("zisk-worker", &nats, &credentials).arg("--compute-capacity").arg("1").start("worker")?;
    worker.wait_for_log("ready for assignments", SOON)?;
    let workload = Reference::default().hashes(3)?;
    std::fs::write(here.join("guest.elf"), workload.elf.as_slice())?;
    std::fs::write(here.join("input.bin"), &workload.input)?;
    let run = |arguments: &[&str]| -> Result<Ended> { cli::run(store.program("zisk", &nats, &credentials), arguments) };
    let mut job = String::new();
    // The second time program and input are there already, unless they have just been swept.
    for _ in 0..2 {
        let prove = [
            "prove",
            "--program",
            "guest.elf",
            "--input",
            "input.bin",
            "--segment-log-steps",
            "12",
            "--out",
            "proof.bin",
            "--json",
        ];
        let ended = run(&prove)?;
        ensure!(ended.code == 0, "{ended:?}");
        job = ended.json()?["job"].as_str().context("no job")?.to_owned();
        let ended = run(&["verify", "proof.bin", "--program", "guest.elf"])?;
        ensure!(ended.code == 0, "{ended:?}");
    }
    let deadline = Instant::now() + SOON;
    while run(&["result", &job, "--out", "again.bin"])?.code == 0 {
        ensure!(Instant::now() < deadline, "the proof is never swept: {}", coordinator.log_end());
        std::thread::sleep(Duration::from_millis(200));
    }
    let ended = run(&["doctor", "--json"])?;
    ensure!(ended.stdout.contains("s3://zisk/stories: written, read, compared, deleted; it is the coordinator's"), "{ended:?}");
    ensure!(worker.stop()?.success() && coordinator.stop()?.success());
    for process in [&worker, &coordinator] {
        ensure!(!process.log().contains(SECRET), "{} shows the key: {}", process.name(), process.log());
    }
    Ok(())
}

#[test]
fn a_wrong_key_is_named_and_not_shown() -> Result<()> {
    let (store, nats) = (Store::start()?, NatsServer::start()?);
    let wrong = "not-the-key";
    let credentials = store.credentials(wrong)?;
    let mut worker = store.program("zisk-worker", &nats, &credentials).start("worker")?;
    worker.wait_for_log("the object store fails", SOON)?;
    let log = worker.log();
    ensure!(log.contains("SignatureDoesNotMatch"), "{log}");
    ensure!(!log.contains(wrong) && !log.contains(SECRET), "{log}");
    let missing = store.directory.path().join("none").display().to_string();
    let ended = cli::run(store.program("zisk", &nats, &missing), &["doctor", "--json"])?;
    ensure!(ended.stdout.contains("AWS_SHARED_CREDENTIALS_FILE") && ended.stdout.contains("No such file"), "{ended:?}");
    Ok(())
}
