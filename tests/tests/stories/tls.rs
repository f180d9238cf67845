//! compose/nats/{make-certs.sh,tls.conf}: who comes with a certificate proves a job, who comes without one is told what is missing.

use std::path::{Path, PathBuf};
use std::process::Command;
use std::time::Duration;

use anyhow::{Context, Result, ensure};
use tempfile::TempDir;
use zisk_tests::guests::Reference;
use zisk_tests::{NatsServer, Program, cli, nats_server};

use crate::roles::shipped_roles;

/// Generous: on a busy machine.
const SOON: Duration = Duration::from_secs(60);

/// Certificates as the script makes them.
fn certificates() -> Result<TempDir> {
    let directory = tempfile::Builder::new().prefix("zisk-certs-").tempdir()?;
    let script = Path::new(env!("CARGO_MANIFEST_DIR")).join("../compose/nats/make-certs.sh");
    let made = Command::new(script).arg(directory.path()).output().context("make-certs.sh")?;
    ensure!(made.status.success(), "make-certs.sh: {}", String::from_utf8_lossy(&made.stderr));
    Ok(directory)
}

/// A server with the shipped TLS and roles, whose passwords are their names.
fn server(certificates: &Path) -> Result<NatsServer> {
    let own = certificates.join("nats").display().to_string();
    let tls = include_str!("../../../compose/nats/tls.conf").replace("/etc/nats/tls", &own);
    let roles = shipped_roles();
    NatsServer::start_with(&nats_server()?, &format!("{tls}\n{roles}"))
}

/// A program that comes as a role, with its password; with which files, is the caller's.
fn program(name: &str, nats: &NatsServer, role: &str) -> Program {
    let url = nats.url().replace("nats://", &format!("tls://{role}:{role}@"));
    Program::new(name, nats.directory()).env("ZISK_NATS_URL", url)
}

fn with_certificate(program: Program, folder: &Path) -> Program {
    let file = |name: &str| folder.join(name).display().to_string();
    program.env("ZISK_NATS_CA", file("ca.crt")).env("ZISK_NATS_CERT", file("tls.crt")).env("ZISK_NATS_KEY", file("tls.key"))
}

#[test]
fn a_job_is_proven_by_who_has_a_certificate() -> Result<()> {
    let certificates = certificates()?;
    let nats = server(certificates.path())?;
    let here = nats.directory().to_owned();
    let as_role = |name: &str, role: &str| with_certificate(program(name, &nats, role), &certificates.path().join(role));
    let mut coordinator = as_role("zisk-coordinator", "coordinator").arg("--metrics-port").arg("0").start("coordinator")?;
    coordinator.wait_for_log("coordinator ready: it leads", SOON)?;
    let mut worker = as_role("zisk-worker", "worker").arg("--compute-capacity").arg("1").start("worker")?;
    worker.wait_for_log("ready for assignments", SOON)?;
    let workload = Reference::default().hashes(3)?;
    std::fs::write(here.join("guest.elf"), workload.elf.as_slice())?;
    std::fs::write(here.join("input.bin"), &workload.input)?;
    let prove = ["prove", "--program", "guest.elf", "--input", "input.bin", "--segment-log-steps", "12", "--out", "proof.bin"];
    for arguments in [&prove[..], &["verify", "proof.bin", "--program", "guest.elf"], &["workers"]] {
        let ended = cli::run(as_role("zisk", "client"), arguments)?;
        ensure!(ended.code == 0, "zisk {arguments:?}: {ended:?}");
    }
    ensure!(worker.stop()?.success() && coordinator.stop()?.success());
    Ok(())
}

#[test]
fn who_has_no_certificate_is_told_what_is_missing() -> Result<()> {
    let certificates = certificates()?;
    let others = self::certificates()?;
    let nats = server(certificates.path())?;
    let client = certificates.path().join("client");
    let (ca, other_ca) = (client.join("ca.crt"), others.path().join("client/ca.crt"));
    let (certificate, key) = (client.join("tls.crt"), client.join("tls.key"));
    let missing = client.join("none");
    let comes = |files: &[(&str, &PathBuf)], said: &[&str]| -> Result<()> {
        for (name, role, arguments) in [
            ("zisk", "client", &["jobs"][..]),
            ("zisk-worker", "worker", &[]),
            ("zisk-coordinator", "coordinator", &["--metrics-port", "0"]),
        ] {
            let told = files
                .iter()
                .fold(program(name, &nats, role), |program, (variable, file)| program.env(variable, file.display().to_string()));
            let mut process = arguments
                .iter()
                .fold(told, |program, argument| program.arg(*argument))
                .start(&format!("{name}-{}", said[0].replace('/', "-")))?;
            let status = process.wait(SOON)?;
            let log = process.log().replace('\\', "");
            ensure!(!status.success(), "{name} is let in with {files:?}: {log}");
            for words in said {
                ensure!(log.contains(words), "{name} with {files:?} does not say {words:?}: {log}");
            }
        }
        Ok(())
    };
    comes(&[("ZISK_NATS_CA", &ca)], &["no TLS", "CertificateRequired", "ZISK_NATS_CERT", "ZISK_NATS_KEY"])?;
    // Of another authority: the server's to us, then ours to the server.
    comes(
        &[("ZISK_NATS_CA", &other_ca), ("ZISK_NATS_CERT", &certificate), ("ZISK_NATS_KEY", &key)],
        &["invalid peer certificate", "ZISK_NATS_CA"],
    )?;
    let (other_certificate, other_key) = (others.path().join("client/tls.crt"), others.path().join("client/tls.key"));
    comes(
        &[("ZISK_NATS_CA", &ca), ("ZISK_NATS_CERT", &other_certificate), ("ZISK_NATS_KEY", &other_key)],
        &["no TLS", "ZISK_NATS_CERT"],
    )?;
    comes(&[("ZISK_NATS_CA", &missing)], &["nats_ca", "No such file"])?;
    comes(&[("ZISK_NATS_CA", &ca), ("ZISK_NATS_CERT", &certificate)], &["needs nats_key"])?;
    Ok(())
}
