//! The `zisk` command, run against a fleet or any other cluster.

use std::process::Output;

use anyhow::{Context, Result, bail};
use serde_json::Value;

use crate::Program;
use crate::fleet::Fleet;

/// How a command ended.
#[derive(Debug)]
pub struct Ended {
    /// Its exit code.
    pub code: i32,
    /// What it printed for programs.
    pub stdout: String,
    /// What it printed for people.
    pub stderr: String,
}

impl Ended {
    /// What it printed, as JSON.
    ///
    /// # Errors
    /// When it is none.
    pub fn json(&self) -> Result<Value> {
        serde_json::from_str(&self.stdout).with_context(|| format!("no JSON: {self:?}"))
    }
}

/// Runs `zisk` with these arguments and the fleet's server and object store.
///
/// # Errors
/// When it cannot be run, or was killed.
pub async fn zisk(fleet: &Fleet, arguments: &[&str]) -> Result<Ended> {
    let mut program = Program::new("zisk", fleet.directory()).env("ZISK_NATS_URL", fleet.nats.url());
    if fleet.settings().directory_store {
        program = program.env("ZISK_OBJECT_STORE", format!("file://{}", fleet.directory().join("objects").display()));
    }
    let arguments: Vec<String> = arguments.iter().map(|argument| (*argument).to_owned()).collect();
    tokio::task::spawn_blocking(move || run(program, &arguments)).await?
}

/// Runs this program with these arguments to its end.
///
/// # Errors
/// When it cannot be run, or was killed.
pub fn run(program: Program, arguments: &[impl AsRef<str> + std::fmt::Debug]) -> Result<Ended> {
    let program = arguments.iter().fold(program, |program, argument| program.arg(argument.as_ref()));
    let Output { status, stdout, stderr } = program.command()?.output()?;
    let Some(code) = status.code() else { bail!("zisk {arguments:?}: {status}") };
    Ok(Ended { code, stdout: String::from_utf8(stdout)?, stderr: String::from_utf8_lossy(&stderr).into_owned() })
}
