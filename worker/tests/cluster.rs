//! Workers on a real nats-server, with a prover and a coordinator made for the test.

#![allow(clippy::unwrap_used, reason = "tests")]

mod fake;
mod stage;

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use fake::FakeProgram;
use stage::{Outcome, Stage, TestWorker};
use tokio::task::JoinHandle;
use zisk_common::messages::{FailureKind, WorkerState};
use zisk_common::subjects::RequestKind;

#[tokio::test(flavor = "multi_thread")]
async fn one_worker_proves_more_segments_than_it_has_slots() {
    let stage = Stage::start().await;
    let worker = stage.worker("");
    let outcome = stage.prove(&FakeProgram::new(8, 20), b"abc").await;
    let Outcome::Completed { outputs, duplicates, .. } = outcome else { panic!("{outcome:?}") };
    assert_eq!(outputs[0], 97 + 98 + 99);
    assert_eq!(duplicates, 0);
    assert_eq!(worker.calls.contribute.load(Ordering::Relaxed), 8);
    assert_eq!(worker.calls.prove.load(Ordering::Relaxed), 8);
    assert_eq!(worker.calls.fold.load(Ordering::Relaxed), 7);
    worker.stop().await;
    assert_eq!(stage.held_messages().await, 0);
}

#[tokio::test(flavor = "multi_thread")]
async fn what_was_dropped_is_computed_again() {
    let stage = Stage::start().await;
    let worker = stage.worker("--memory-gib 1 --proving-segment-memory-gib 1");
    let program = FakeProgram { kept_bytes: 1 << 30, ..FakeProgram::new(5, 10) };
    let outcome = stage.prove(&program, b"").await;
    assert!(matches!(outcome, Outcome::Completed { .. }), "{outcome:?}");
    // Once for the contribution, once more for the proof.
    assert_eq!(worker.calls.contribute.load(Ordering::Relaxed), 10);
    worker.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn keys_are_derived_once() {
    let stage = Stage::start().await;
    let worker = stage.worker("");
    let program = FakeProgram::new(2, 1);
    for _ in 0..3 {
        assert!(matches!(stage.prove(&program, b"").await, Outcome::Completed { .. }));
    }
    assert_eq!(worker.calls.setup.load(Ordering::Relaxed), 1);
    worker.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn failures_are_typed() {
    let stage = Stage::start().await;
    let worker = stage.worker("");
    let trap = FakeProgram { trap: true, ..FakeProgram::new(3, 1) };
    let outcome = stage.prove(&trap, b"").await;
    let Outcome::Failed(failure) = outcome else { panic!("{outcome:?}") };
    assert_eq!(failure.kind, FailureKind::Execution);
    assert!(failure.message.contains("pc 0x90000000"), "{failure}");

    let outcome = stage.run(RequestKind::Prove, b"garbage", b"").await;
    let Outcome::Failed(failure) = outcome else { panic!("{outcome:?}") };
    assert_eq!(failure.kind, FailureKind::Input);
    assert_eq!(failure.message, "program refused: not a fake");

    // The worker goes on.
    assert!(matches!(stage.prove(&FakeProgram::new(2, 1), b"").await, Outcome::Completed { .. }));
    worker.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn executing_makes_no_segments() {
    let stage = Stage::start().await;
    let worker = stage.worker("");
    let outcome = stage.run(RequestKind::Execute, &FakeProgram::new(4, 1).elf(), b"\x05").await;
    let Outcome::Executed { segments, outputs } = outcome else { panic!("{outcome:?}") };
    assert_eq!((segments, outputs[0]), (0, 5));
    worker.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn two_workers_share_and_the_idle_one_is_given_segments() {
    let stage = Stage::start().await;
    let first = stage.worker("");
    // The first contributes everything before the second comes.
    let second_later = async {
        tokio::time::sleep(Duration::from_millis(2500)).await;
        stage.worker("")
    };
    let program = FakeProgram::new(8, 600);
    let elf = program.elf();
    let (outcome, second) = tokio::join!(stage.run(RequestKind::Prove, &elf, b""), second_later);
    assert!(matches!(outcome, Outcome::Completed { .. }), "{outcome:?}");
    let proven = [&first, &second].map(|worker| worker.calls.prove.load(Ordering::Relaxed));
    assert_eq!(proven.iter().sum::<u32>(), 8, "nothing proven twice: {proven:?}");
    assert!(proven[1] >= 2, "{proven:?}");
    first.stop().await;
    second.stop().await;
    assert_eq!(stage.held_messages().await, 0);
}

/// A worker that has proven all segments of a job alone, and so is its aggregator. Folding takes it a while.
async fn aggregator_of_twelve(stage: &Stage) -> (TestWorker, JoinHandle<Outcome>) {
    let worker = stage.worker("");
    let program = FakeProgram { fold_ms: 600, ..FakeProgram::new(12, 1) };
    let job = stage.submit(RequestKind::Prove, &program.elf(), b"").await;
    let conducting = tokio::spawn(stage.conductor().conduct(job));
    while worker.calls.prove.load(Ordering::Relaxed) < 12 {
        tokio::time::sleep(Duration::from_millis(10)).await;
    }
    (worker, conducting)
}

#[tokio::test(flavor = "multi_thread")]
async fn folds_are_done_by_whoever_is_free() {
    let stage = Stage::start().await;
    let (aggregator, conducting) = aggregator_of_twelve(&stage).await;
    let other = stage.worker("");
    let outcome = conducting.await.unwrap();
    assert!(matches!(outcome, Outcome::Completed { .. }), "{outcome:?}");
    let folded = [&aggregator, &other].map(|worker| worker.calls.fold.load(Ordering::Relaxed));
    assert_eq!(folded.iter().sum::<u32>(), 11, "nothing folded twice: {folded:?}");
    assert!(folded[1] > 0, "{folded:?}");
    aggregator.stop().await;
    other.stop().await;
    assert_eq!(stage.held_messages().await, 0);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_false_fold_is_refused_and_done_by_the_aggregator() {
    let stage = Stage::start().await;
    let (aggregator, conducting) = aggregator_of_twelve(&stage).await;
    let liar = stage.worker_that_folds_falsely();
    let outcome = conducting.await.unwrap();
    assert!(matches!(outcome, Outcome::Completed { .. }), "{outcome:?}");
    assert!(liar.calls.fold.load(Ordering::Relaxed) > 0);
    assert_eq!(aggregator.calls.fold.load(Ordering::Relaxed), 11, "all that counts is the aggregator's");
    aggregator.stop().await;
    liar.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn the_next_aggregator_goes_on_from_the_folds_of_the_last() {
    let stage = Stage::start().await;
    let (first, conducting) = aggregator_of_twelve(&stage).await;
    let second = stage.worker("");
    let folded = |worker: &TestWorker| worker.calls.fold.load(Ordering::Relaxed);
    while folded(&first) + folded(&second) < 7 {
        tokio::time::sleep(Duration::from_millis(10)).await;
    }
    let of_the_first = folded(&first);
    first.kill();
    let outcome = conducting.await.unwrap();
    assert!(matches!(outcome, Outcome::Completed { .. }), "{outcome:?}");
    // What the first had in hand is lost: a fold of its own and one that it had pulled.
    let all = of_the_first + folded(&second);
    assert!((11..=13).contains(&all), "{all} folds");
    second.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_stopped_worker_gives_back_and_another_finishes() {
    let stage = Stage::start().await;
    let first = stage.worker("--shutdown-timeout-seconds 1");
    let stopping = async {
        tokio::time::sleep(Duration::from_millis(900)).await;
        let began = std::time::Instant::now();
        first.stop().await;
        // Long before the 30 s that it would have by default.
        assert!(began.elapsed() < Duration::from_secs(15), "{:?}", began.elapsed());
        stage.worker("")
    };
    let elf = FakeProgram::new(6, 200).elf();
    let (outcome, second) = tokio::join!(stage.run(RequestKind::Prove, &elf, b""), stopping);
    assert!(matches!(outcome, Outcome::Completed { .. }), "{outcome:?}");
    second.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_dead_workers_job_is_finished_by_another() {
    let stage = Stage::start().await;
    let first = stage.worker("");
    let dying = async {
        tokio::time::sleep(Duration::from_millis(1500)).await;
        first.kill();
        stage.worker("")
    };
    let elf = FakeProgram::new(6, 300).elf();
    let (outcome, second) = tokio::join!(stage.run(RequestKind::Prove, &elf, b""), dying);
    assert!(matches!(outcome, Outcome::Completed { .. }), "{outcome:?}");
    second.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_restart_of_nats_is_survived() {
    let mut stage = Stage::start().await;
    let worker = stage.worker("");
    let elf = FakeProgram::new(6, 300).elf();
    let job = stage.submit(RequestKind::Prove, &elf, b"").await;
    let conducting = tokio::spawn(stage.conductor().conduct(job));
    tokio::time::sleep(Duration::from_millis(900)).await;
    stage.restart_nats().await;
    let outcome = conducting.await.unwrap();
    assert!(matches!(outcome, Outcome::Completed { .. }), "{outcome:?}");
    worker.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn cancelled_work_is_dropped() {
    let stage = Stage::start().await;
    let worker = stage.worker("");
    let job = stage.submit(RequestKind::Prove, &FakeProgram::new(40, 300).elf(), b"").await;
    let conducting = tokio::spawn(stage.conductor().conduct(job));
    tokio::time::sleep(Duration::from_millis(1000)).await;
    stage.cancel(job).await;
    let mut contributed = worker.calls.contribute.load(Ordering::Relaxed);
    loop {
        tokio::time::sleep(Duration::from_millis(1500)).await;
        let before = std::mem::replace(&mut contributed, worker.calls.contribute.load(Ordering::Relaxed));
        if before == contributed {
            break;
        }
    }
    conducting.abort();
    assert!(contributed < 20, "{contributed}");
    // It serves the next job.
    assert!(matches!(stage.prove(&FakeProgram::new(2, 1), b"").await, Outcome::Completed { .. }));
    worker.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_segment_that_kills_its_workers_fails() {
    let stage = Stage::start().await;
    let dying = async {
        loop {
            let worker = stage.worker("");
            worker.calls.died.notified().await;
            worker.kill();
        }
    };
    let elf = FakeProgram { deadly: Some(2), ..FakeProgram::new(4, 10) }.elf();
    let outcome = tokio::select! {
        outcome = stage.run(RequestKind::Prove, &elf, b"") => outcome,
        () = dying => unreachable!("it goes on for ever"),
    };
    let Outcome::Failed(failure) = outcome else { panic!("{outcome:?}") };
    assert_eq!((failure.kind, failure.segment), (FailureKind::Internal, Some(2)));
    assert!(failure.message.starts_with("3 workers were lost while they worked on it"), "{failure}");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_worker_of_another_version_takes_nothing_and_says_why() {
    let stage = Stage::start().await;
    let outdated = stage.outdated_worker();
    let job = stage.submit(RequestKind::Prove, &FakeProgram::new(2, 1).elf(), b"").await;
    let deadline = tokio::time::Instant::now() + Duration::from_secs(60);
    while stage.shown().await.iter().all(|worker| worker.versions.asked.as_deref() != Some("fake-1")) {
        assert!(tokio::time::Instant::now() < deadline, "{:?}", stage.shown().await);
        tokio::time::sleep(Duration::from_millis(50)).await;
    }
    assert_eq!(outdated.calls.setup.load(Ordering::Relaxed), 0);
    // One that fits gets the job, and is not held up.
    let worker = stage.worker("");
    let outcome = stage.conductor().conduct(job).await;
    assert!(matches!(outcome, Outcome::Completed { .. }), "{outcome:?}");
    assert_eq!(outdated.calls.contribute.load(Ordering::Relaxed), 0);
    worker.stop().await;
    outdated.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_worker_whose_prover_breaks_takes_nothing_until_it_is_mended() {
    let stage = Stage::start().await;
    let broken = Arc::new(AtomicBool::new(true));
    let worker = stage.breakable_worker(&broken);
    let shown = |state| stage.until_shown(state);
    let presence = shown(WorkerState::Failed).await;
    assert!(presence.reason.unwrap().contains("no such device"));
    // Long enough to break in the middle of it.
    let elf = FakeProgram::new(6, 1000).elf();
    let job = stage.submit(RequestKind::Prove, &elf, b"").await;
    let conducting = tokio::spawn(stage.conductor().conduct(job));
    tokio::time::sleep(Duration::from_millis(1000)).await;
    assert_eq!(worker.calls.setup.load(Ordering::Relaxed), 0, "it took the plan");

    broken.store(false, Ordering::Relaxed);
    shown(WorkerState::Busy).await;
    while worker.calls.contribute.load(Ordering::Relaxed) == 0 {
        tokio::time::sleep(Duration::from_millis(10)).await;
    }
    // In the middle of its work: what it holds is given back, and the job is told of no failure.
    broken.store(true, Ordering::Relaxed);
    shown(WorkerState::Failed).await;
    broken.store(false, Ordering::Relaxed);
    let outcome = conducting.await.unwrap();
    assert!(matches!(outcome, Outcome::Completed { .. }), "{outcome:?}");
    worker.stop().await;
    assert_eq!(stage.held_messages().await, 0);
}
