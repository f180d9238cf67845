//! A NATS server that lets nobody in without the right password.

use std::time::Duration;

use anyhow::{Result, ensure};
use zisk_tests::{NatsServer, Program, nats_server};

/// Generous: what is refused ends at once.
const SOON: Duration = Duration::from_secs(30);

#[test]
fn wrong_credentials_end_a_process_with_cause_and_remedy() -> Result<()> {
    let nats = NatsServer::start_with(&nats_server()?, "authorization { user: prover, password: \"right one\" }")?;
    let jobs = ["jobs"];
    for (login, who) in [("", "a client without credentials"), ("prover:wrong%20one@", "user \"prover\"")] {
        let url = nats.url().replace("//", &format!("//{login}"));
        let start = |name: &str, arguments: &[&str]| {
            let mut program = Program::new(name, nats.directory()).env("ZISK_NATS_URL", &url);
            for argument in arguments {
                program = program.arg(*argument);
            }
            program.start(&format!("{name}-{}", login.len()))
        };
        let processes = [start("zisk-coordinator", &["--metrics-port", "0"])?, start("zisk-worker", &[])?, start("zisk", &jobs)?];
        for mut process in processes {
            let status = process.wait(SOON)?;
            let log = process.log();
            ensure!(!status.success(), "{} is let in: {log}", process.name());
            for said in ["refuses", who, "ZISK_NATS_USER", "ZISK_NATS_PASSWORD", &nats.url()] {
                // Where it is quoted in a log line.
                ensure!(log.replace('\\', "").contains(said), "{} does not say {said:?}: {log}", process.name());
            }
            ensure!(!log.contains("wrong"), "{} gives the password away: {log}", process.name());
        }
    }
    let url = nats.url().replace("//", "//prover:right%20one@");
    let program = Program::new("zisk-coordinator", nats.directory()).env("ZISK_NATS_URL", &url);
    let mut coordinator = program.arg("--metrics-port").arg("0").start("coordinator")?;
    coordinator.wait_for_log("coordinator ready", SOON)?;
    ensure!(coordinator.stop()?.success(), "{}", coordinator.log_end());
    Ok(())
}
