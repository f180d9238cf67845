//! A cluster at work while its parts fail: `scripts/chaos.sh --minutes N --seed S`.
//!
//! The seed says which fault comes when; jobs flow all the time. At the end every oracle of `zisk_tests::oracles` must hold.
#![forbid(unsafe_code)]

mod check;
mod cluster;
mod fault;
mod inject;
mod jobs;
mod report;
mod schedule;

use std::collections::VecDeque;
use std::path::PathBuf;
use std::process::ExitCode;
use std::time::Duration;

use anyhow::{Context, Result, bail, ensure};
use tokio::time::{Instant, sleep, timeout};
use zisk_common::messages::unix_ms;
use zisk_tests::guests::Reference;
use zisk_tests::oracles::{self, Work};

use crate::cluster::Cluster;
use crate::inject::{Happened, Injector};
use crate::jobs::{Flow, workloads};
use crate::report::Report;
use crate::schedule::{Step, plan};

/// Between two looks at what is due.
const LOOK: Duration = Duration::from_millis(100);
/// A fault that has nothing to hit (no aggregator, no segment) waits for it so long.
const PATIENCE: Duration = Duration::from_secs(10);
/// What is under way when the faults are over must have ended after this; each job has its own limit.
const REST: Duration = Duration::from_secs(320);

struct Arguments {
    length: Duration,
    seed: u64,
    servers: usize,
    json: Option<PathBuf>,
    /// Only shows what would happen.
    plan: bool,
}

impl Arguments {
    fn read() -> Result<Self> {
        let mut read = Self { length: Duration::from_secs(60), seed: unix_ms(), servers: 1, json: None, plan: false };
        let mut arguments = std::env::args().skip(1);
        while let Some(name) = arguments.next() {
            if name == "--plan" {
                read.plan = true;
                continue;
            }
            let value = arguments.next().with_context(|| format!("{name} needs a value"))?;
            let wrong = || format!("{name} {value}");
            match name.as_str() {
                "--minutes" => read.length = Duration::try_from_secs_f64(60.0 * value.parse::<f64>().with_context(wrong)?)?,
                "--seed" => read.seed = value.parse().with_context(wrong)?,
                "--servers" => read.servers = value.parse().with_context(wrong)?,
                "--json" => read.json = Some(value.into()),
                _ => bail!("{name}: expected --minutes N, --seed S, --servers 1|3, --json FILE or --plan"),
            }
        }
        ensure!([1, 3].contains(&read.servers), "--servers {}: expected 1 or 3", read.servers);
        Ok(read)
    }
}

struct Run {
    cluster: Cluster,
    injector: Injector,
    flow: Flow,
    happened: Vec<Happened>,
    missed: usize,
    problems: Vec<String>,
}

impl Run {
    /// Lets jobs flow and faults happen for that long, and then what is under way end.
    async fn go(&mut self, seed: u64, length: Duration, steps: Vec<Step>) -> Result<()> {
        let mut clients = self.flow.start(seed, workloads(&Reference::default())?);
        let begin = Instant::now();
        let mut ahead = VecDeque::from(steps);
        let mut due: Vec<Step> = Vec::new();
        while begin.elapsed() < length {
            while let Some(step) = ahead.pop_front_if(|step| step.at <= begin.elapsed()) {
                due.push(step);
            }
            for step in std::mem::take(&mut due) {
                if let Some(happened) = self.injector.inject(&step, &mut self.cluster, &self.flow).await? {
                    eprintln!("{:>3} {step}, {} jobs under way", self.happened.len() + 1, self.flow.active().len());
                    self.happened.push(happened);
                } else if step.at + PATIENCE < begin.elapsed() {
                    self.missed += 1;
                } else {
                    due.push(step);
                }
            }
            self.look(false)?;
            sleep(LOOK).await;
        }
        eprintln!("no more faults; {} jobs under way", self.flow.active().len());
        self.missed += due.len();
        self.flow.stop();
        self.look(true)?;
        let resting = async {
            while !self.flow.active().is_empty() || self.cluster.has_leaving() {
                self.look(true)?;
                sleep(LOOK).await;
            }
            anyhow::Ok(())
        };
        // What has not ended by then is found by the checks.
        timeout(REST, resting).await.unwrap_or(Ok(()))?;
        clients.abort_all();
        Ok(())
    }

    fn look(&mut self, undo_everything: bool) -> Result<()> {
        self.injector.undo(undo_everything, &mut self.cluster)?;
        self.problems.extend(self.cluster.look()?);
        Ok(())
    }
}

async fn story(arguments: &Arguments) -> Result<bool> {
    let Arguments { length, seed, servers, .. } = *arguments;
    let steps = plan(seed, length, servers);
    let reference = Reference::default();
    let cluster = Cluster::start(servers).await?;
    let directory = cluster.fleet.directory().to_owned();
    eprintln!("seed {seed}, {} faults; logs in {}", steps.len(), directory.display());
    std::fs::write(directory.join("schedule.txt"), shown(seed, &steps))?;
    let injector = Injector::start(&cluster.fleet.bus, workloads(&reference)?).await?;
    let flow = Flow::new(cluster.fleet.client.clone(), cluster.fleet.bus.clone());
    let mut run = Run { cluster, injector, flow, happened: Vec::new(), missed: 0, problems: Vec::new() };
    if let Err(error) = run.go(seed, length, steps).await {
        run.problems.push(format!("the run ended early: {error:#}"));
    }
    let mut problems = std::mem::take(&mut run.problems);
    // Until nothing is left something may still change.
    problems.extend(check::leftovers(&run.cluster).await);
    let events = oracles::events(&run.cluster.fleet.bus, None).await.unwrap_or_else(|error| {
        problems.push(format!("events cannot be read: {error:#}"));
        Vec::new()
    });
    problems.extend(check::jobs(&run.cluster, &run.flow, &events, &reference).await);
    let work = Work::of_logs(&directory)?;
    let report = Report::new((seed, length, servers), &run.flow, &run.happened, run.missed, &events, work, problems);
    println!("{report}");
    let json = format!("{:#}\n", report.json());
    std::fs::write(directory.join("report.json"), &json)?;
    if let Some(file) = &arguments.json {
        std::fs::write(file, &json).with_context(|| file.display().to_string())?;
    }
    if !report.is_well() {
        run.cluster.fleet.nats.keep_directory();
    }
    Ok(report.is_well())
}

fn shown(seed: u64, steps: &[Step]) -> String {
    let mut text = format!("seed {seed}: {} faults\n", steps.len());
    steps.iter().for_each(|step| text += &format!("{step}\n"));
    text
}

fn main() -> ExitCode {
    let run = || {
        let arguments = Arguments::read()?;
        if arguments.plan {
            print!("{}", shown(arguments.seed, &plan(arguments.seed, arguments.length, arguments.servers)));
            return Ok(true);
        }
        // On this thread: the processes die with the one that started them.
        tokio::runtime::Runtime::new()?.block_on(story(&arguments))
    };
    match run() {
        Ok(true) => ExitCode::SUCCESS,
        Ok(false) => ExitCode::FAILURE,
        Err(error) => {
            eprintln!("chaos: {error:#}");
            ExitCode::FAILURE
        }
    }
}
