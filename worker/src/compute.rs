//! Prover work, each piece on a thread of its own: it runs for seconds to minutes and must never hold up the async
//! runtime, nor wait in a pool behind other pieces (the schedule decides what runs).

use std::any::Any;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::time::Instant;

use metrics::histogram;
use tokio::sync::oneshot;
use zisk_prover::backend::BackendError;

use crate::metric_definitions::PHASE_SECONDS;

/// Runs `work` on a new thread. A panic in it becomes [`BackendError::Internal`], so that one bad segment cannot take
/// the worker with it.
pub async fn run<T: Send + 'static>(
    name: &'static str,
    work: impl FnOnce() -> Result<T, BackendError> + Send + 'static,
) -> Result<T, BackendError> {
    let (sender, receiver) = oneshot::channel();
    let started = std::thread::Builder::new().name(name.to_owned()).spawn(move || {
        let began = Instant::now();
        let result = catch_unwind(AssertUnwindSafe(work))
            .unwrap_or_else(|panic| Err(BackendError::Internal(format!("panicked: {}", text(panic.as_ref())))));
        histogram!(PHASE_SECONDS, "phase" => name).record(began.elapsed());
        // Nobody waits any more: the job was cancelled.
        let _ = sender.send(result);
    });
    if let Err(error) = started {
        return Err(BackendError::Internal(format!("no thread for {name}: {error}")));
    }
    receiver.await.unwrap_or_else(|_| Err(BackendError::Internal(format!("the thread of {name} ended early"))))
}

fn text(panic: &(dyn Any + Send)) -> &str {
    panic.downcast_ref::<&str>().copied().or_else(|| panic.downcast_ref::<String>().map(String::as_str)).unwrap_or("no message")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test]
    async fn a_panic_becomes_an_error() {
        let result = run::<()>("prove", || panic!("row {}", 7)).await;
        assert_eq!(result.unwrap_err().to_string(), "prover failed: panicked: row 7");
        assert_eq!(run("prove", || Ok(3)).await.unwrap(), 3);
    }
}
