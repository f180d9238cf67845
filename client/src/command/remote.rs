//! Commands that go to the cluster.

use std::cell::RefCell;
use std::io::IsTerminal;
use std::path::Path;
use std::pin::pin;
use std::time::{Duration, Instant};

use zisk_client::local::LocalError;
use zisk_client::{Cancellation, ClientError, Completed, JobOptions, RemoteClient, doctor, output_words};
use zisk_common::ids::{Digest, JobId};
use zisk_common::messages::{ExecutionSummary, JobRecord, QueueOrder};
use zisk_common::subjects::RequestKind;
use zisk_protocol::PublicValues;

use super::local::{check, checking_key, exited};
use super::{Loaded, check_writable, is_stdin, read_program, stdin, write};
use crate::End;
use crate::args::{Args, Command, Dead, Execute, Kind, Prove, Run};
use crate::show::progress::Bars;
use crate::show::{self, Ran};

/// Beyond the job's own time limit: for the coordinator to say so.
const AFTER_TIMEOUT: Duration = Duration::from_secs(15);

/// How often clock and estimates are drawn anew.
const TICK: Duration = Duration::from_millis(500);

/// Runs a command against the cluster.
pub async fn run(args: &Args) -> Result<End, ClientError> {
    match &args.command {
        Command::Prove(prove) => self::prove(args, prove).await,
        Command::Execute(execute) => self::execute(args, execute).await,
        Command::Status { job } => {
            let client = RemoteClient::connect(&args.bus).await?;
            let record = client.status(*job).await?;
            show::status(&record, &queue_of(&client, [&record]).await?, args.json);
            Ok(End::Done)
        }
        Command::Cancel { job } => {
            let cancellation = RemoteClient::connect(&args.bus).await?.cancel(*job).await?;
            show::cancelled(*job, cancellation, args.json);
            Ok(match cancellation {
                Cancellation::Cancelled { .. } => End::Done,
                Cancellation::EndedBefore(_) => End::EndedBefore,
            })
        }
        Command::Register { program } => {
            let elf = read_program(program)?;
            show::registered(RemoteClient::connect(&args.bus).await?.register(&elf).await?, args.json);
            Ok(End::Done)
        }
        Command::Setup { program } => self::setup(args, program).await,
        Command::Watch { job } => super::watch::watch(args, *job).await,
        Command::Result { job, out } => super::watch::result(args, *job, out.as_deref()).await,
        Command::Programs => {
            show::queues::programs(&RemoteClient::connect(&args.bus).await?.programs().await?, args.json);
            Ok(End::Done)
        }
        Command::Queues => {
            let client = RemoteClient::connect(&args.bus).await?;
            let (waiting, dead) = (client.queue().await?.waiting.len(), client.dead_letters().await?.len());
            show::queues::queues(&client.queues().await?, waiting, dead, &client.condition().await?, args.json);
            Ok(End::Done)
        }
        Command::Doctor => {
            let report = doctor::examine(&args.bus).await?;
            show::doctor::report(&report, args.json);
            Ok(match report.exit_code() {
                0 => End::Done,
                code => End::Wrong(code),
            })
        }
        Command::Bench(bench) => super::bench::run(args, bench).await,
        Command::Jobs => {
            let client = RemoteClient::connect(&args.bus).await?;
            let records = client.jobs().await?;
            show::jobs(&records, &queue_of(&client, &records).await?, args.json);
            Ok(End::Done)
        }
        Command::Workers => {
            show::workers(&RemoteClient::connect(&args.bus).await?.workers().await?, args.json);
            Ok(End::Done)
        }
        Command::Dead(dead) => {
            self::dead(&RemoteClient::connect(&args.bus).await?, dead, args.json).await?;
            Ok(End::Done)
        }
        Command::Up(up) => super::up::run(args, up).await,
        Command::Key { program, out } => super::local::key(program, out, args.json),
        Command::Verify(verify) => super::local::verify_proof(verify, args.json),
        Command::Completion { shell } => super::local::completion(*shell),
    }
}

async fn dead(client: &RemoteClient, command: &Dead, json: bool) -> Result<(), ClientError> {
    match command {
        Dead::List => show::dead::list(&client.dead_letters().await?, json),
        Dead::Show { id } => show::dead::letter(&client.dead_letter(id).await?, json),
        Dead::Requeue { id } => show::dead::requeued(id, client.requeue(id).await?, json),
        Dead::Drop { id: Some(id), .. } => {
            client.drop_dead_letter(id).await?;
            show::dead::dropped(1, json);
        }
        Dead::Drop { id: None, .. } => show::dead::dropped(client.drop_dead_letters().await?, json),
    }
    Ok(())
}

/// The order of the jobs that wait, read only where one of these does.
async fn queue_of(client: &RemoteClient, records: impl IntoIterator<Item = &JobRecord>) -> Result<QueueOrder, ClientError> {
    match records.into_iter().any(JobRecord::is_waiting) {
        true => client.queue().await,
        false => Ok(QueueOrder::default()),
    }
}

async fn prove(args: &Args, prove: &Prove) -> Result<End, ClientError> {
    let began = Instant::now();
    let (elf, input) = given(&prove.run)?;
    check_writable(&prove.out)?;
    let options = JobOptions {
        log_segment_steps: prove.segment_log_steps,
        proof: prove.proof.map(Kind::there),
        keep_proof_seconds: prove.keep_proof,
        ..options(&prove.run)
    };
    let client = RemoteClient::connect(&args.bus).await?;
    // Beside the job, for the proof is verified here when it comes.
    let program = elf.clone();
    let key = std::thread::spawn(move || checking_key(&program));
    let Some((job, done)) = submit(args, &client, RequestKind::Prove, &elf, input, &options).await? else {
        return Ok(End::Interrupted);
    };
    let seconds = began.elapsed().as_secs_f64();
    let public = public_values(&done.summary);
    let key = key.join().unwrap_or_else(|_| Err(LocalError::Thread("panicked".to_owned()).into()))?;
    // What is not valid is not saved.
    check(&key, &done.proof, &public)?;
    write(&prove.out, &done.proof)?;
    ran(job, done.clone(), public, seconds, Some((prove.out.clone(), done.proof.len()))).print(args.json);
    Ok(End::Done)
}

async fn setup(args: &Args, program: &Path) -> Result<End, ClientError> {
    let elf = read_program(program)?;
    let client = RemoteClient::connect(&args.bus).await?;
    match submit(args, &client, RequestKind::Setup, &elf, Input::Given(Vec::new()), &JobOptions::default()).await? {
        Some((job, done)) => show::set_up(job, Digest::of(&elf), done.milliseconds, args.json),
        None => return Ok(End::Interrupted),
    }
    Ok(End::Done)
}

async fn execute(args: &Args, execute: &Execute) -> Result<End, ClientError> {
    let began = Instant::now();
    let (elf, input) = given(&execute.run)?;
    let client = RemoteClient::connect(&args.bus).await?;
    let options = options(&execute.run);
    let Some((job, done)) = submit(args, &client, RequestKind::Execute, &elf, input, &options).await? else {
        return Ok(End::Interrupted);
    };
    let public = public_values(&done.summary);
    let exit_code = public.exit_code;
    ran(job, done, public, began.elapsed().as_secs_f64(), None).print(args.json);
    exited(exit_code)
}

/// Where a job's input comes from.
enum Input {
    Given(Vec<u8>),
    Stdin,
}

/// A program and where its input comes from; stdin is left for when the job waits for it.
fn given(run: &Run) -> Result<(Vec<u8>, Input), ClientError> {
    if run.input.as_deref().is_some_and(is_stdin) {
        return Ok((read_program(&run.program)?, Input::Stdin));
    }
    let Loaded { elf, input } = Loaded::read(run)?;
    Ok((elf, Input::Given(input)))
}

/// Submits and waits; `None` when the user interrupts.
async fn submit(
    args: &Args,
    client: &RemoteClient,
    kind: RequestKind,
    elf: &[u8],
    input: Input,
    options: &JobOptions,
) -> Result<Option<(JobId, Completed)>, ClientError> {
    let mut streamed = None;
    let job = match input {
        Input::Given(input) => client.submit(kind, elf, &input, options).await?,
        Input::Stdin => streamed.insert(client.submit_streamed(kind, elf, options).await?).job(),
    };
    let bars = RefCell::new(Bars::new(args.json));
    bars.borrow_mut().note(&format!("job {job}"));
    let mut waiting = pin!(client.wait(job, |progress| bars.borrow_mut().show(progress)));
    let limit = options.timeout.map_or(Duration::MAX, |timeout| timeout + AFTER_TIMEOUT);
    let mut late = pin!(tokio::time::sleep(limit));
    let mut interrupted = pin!(tokio::signal::ctrl_c());
    let mut tick = tokio::time::interval(TICK);
    let mut is_whole = streamed.is_none();
    let mut streaming = pin!(async {
        match &mut streamed {
            Some(input) => stdin::stream(input).await,
            None => Ok(()),
        }
    });
    let result = loop {
        tokio::select! {
            sent = &mut streaming, if !is_whole => match sent {
                Ok(()) => is_whole = true,
                Err(error) => break Err(error),
            },
            done = &mut waiting => break done.map(|done| Some((job, done))),
            () = &mut late => break Err(ClientError::Timeout { job, seconds: limit.as_secs() }),
            _ = tick.tick() => bars.borrow_mut().tick(),
            // Without a handler for it the process just ends, and the job goes on all the same.
            Ok(()) = &mut interrupted => break Ok(None),
        }
    };
    bars.borrow_mut().end();
    if !is_whole && !matches!(result, Ok(Some(_)) | Err(ClientError::Failed { .. })) {
        // Nobody else has the rest of its input.
        let cancellation = client.cancel(job).await;
        eprintln!("the input did not come to its end, so job {job} is cancelled");
        return result.and_then(|_| cancellation.map(|_| None));
    }
    if !matches!(result, Ok(None)) {
        return result;
    }
    if wants_to_cancel(job).await {
        let cancellation = client.cancel(job).await?;
        show::cancelled(job, cancellation, args.json);
    } else {
        eprintln!("interrupted; job {job} goes on: follow it with `zisk watch {job}`, end it with `zisk cancel {job}`");
    }
    Ok(None)
}

/// Asks a person who interrupted; whoever cannot be asked, or interrupts again, leaves the job alone.
async fn wants_to_cancel(job: JobId) -> bool {
    if !(std::io::stdin().is_terminal() && std::io::stderr().is_terminal()) {
        return false;
    }
    eprint!("cancel job {job}, or leave it running? [c/L] ");
    // A thread of its own: a read from a terminal cannot be given up, and the process need not wait for it.
    let (sender, answer) = tokio::sync::oneshot::channel();
    std::thread::spawn(move || {
        let mut line = String::new();
        let read = std::io::stdin().read_line(&mut line);
        // Nobody listens any more when the user interrupted again.
        let _ = sender.send(read.is_ok() && matches!(line.trim(), "c" | "C" | "cancel"));
    });
    tokio::select! {
        answer = answer => answer.unwrap_or(false),
        _ = tokio::signal::ctrl_c() => { eprintln!(); false }
    }
}

pub fn options(run: &Run) -> JobOptions {
    JobOptions {
        log_segment_steps: None,
        proof: None,
        max_steps: run.max_steps,
        timeout: run.timeout.map(Duration::from_secs),
        priority: run.priority,
        client: run.client.clone(),
        metadata: run.metadata.iter().cloned().collect(),
        keep_proof_seconds: None,
    }
}

pub fn public_values(summary: &ExecutionSummary) -> PublicValues {
    PublicValues { outputs: output_words(&summary.outputs), exit_code: summary.exit_code }
}

pub fn ran(job: JobId, done: Completed, public: PublicValues, seconds: f64, proof: Option<(std::path::PathBuf, usize)>) -> Ran {
    Ran {
        job: Some(job),
        public,
        steps: done.summary.steps,
        segments: done.summary.segments,
        uart: String::from_utf8_lossy(&done.summary.uart).into_owned(),
        seconds,
        cluster_seconds: Some(done.milliseconds as f64 / 1000.0),
        phases: None,
        proof,
    }
}
