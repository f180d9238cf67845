//! Final proofs are verified before they count. An aggregator is a worker like any other, and what it delivers is what the job
//! was for.
//!
//! It takes a while, so it is done beside the loop, one proof at a time: the report stays on the bus meanwhile, and the
//! verdict comes back to the loop.

use std::sync::Arc;
use std::time::Duration;

use tokio::sync::{Semaphore, mpsc};
use tokio::time::{Instant, interval};
use zisk_common::ids::{Digest, JobId, ProgramId};
use zisk_common::messages::{self, Final, JobRecord, ProgramKeys, Report, unix_ms};
use zisk_common::objects::{ObjectError, Objects};
use zisk_common::pull::Delivery;
use zisk_prover::backend::{Backend, BackendError, ProofKind};

use super::Coordinator;
use super::reports::{Batch, give_back};
use crate::job::{Input, Verdict, apply};

/// How often the server is told that a report is being worked on: well within the `ack_wait` of reports, which is a leader's lease.
const STILL_AT_IT: Duration = Duration::from_millis(500);

/// Verifies them.
pub(super) struct FinalProofs {
    objects: Objects,
    verifier: Option<Arc<dyn Backend>>,
    /// One at a time: a proof takes memory, and a core that the workers want.
    turn: Arc<Semaphore>,
    judged: mpsc::UnboundedSender<Judged>,
}

/// A final proof's report, and what was found.
pub(super) struct Judged {
    job: JobId,
    report: Final,
    delivery: Delivery,
    found: Found,
}

enum Found {
    /// It proves what the job's record says.
    True,
    /// It does not, because of this.
    False(String),
    /// It could not be told.
    Unknown(String),
}

impl FinalProofs {
    pub(super) fn new(objects: Objects, verifier: Option<Arc<dyn Backend>>) -> (Self, mpsc::UnboundedReceiver<Judged>) {
        let (judged, receiver) = mpsc::unbounded_channel();
        (Self { objects, verifier, turn: Arc::new(Semaphore::new(1)), judged }, receiver)
    }

    fn judge(&self, verifier: Arc<dyn Backend>, record: &JobRecord, report: Final, delivery: Delivery) {
        let Some(keys) = record.keys else { return };
        let public = record.public_values.clone().unwrap_or_default();
        let (program, job, object) = (record.request.program, record.job, report.proof);
        let asked = match record.request.params.proof.unwrap_or_default() {
            messages::ProofKind::Recursive => ProofKind::Recursive,
            messages::ProofKind::Bundle => ProofKind::Bundle,
        };
        let (objects, turn, judged) = (self.objects.clone(), self.turn.clone(), self.judged.clone());
        tokio::spawn(async move {
            let verified = async {
                let _turn = turn.acquire().await;
                let began = Instant::now();
                let proof = match objects.get(object).await {
                    Ok(proof) => proof,
                    // Another aggregator makes another.
                    Err(error) if error.is_damage() => return Found::False(error.to_string()),
                    Err(error) => return Found::Unknown(error.to_string()),
                };
                let key = match verifying_key(&objects, &verifier, &keys, program).await {
                    Ok(key) => key,
                    Err(error) => return Found::Unknown(error),
                };
                let kind = verifier.kind(&proof);
                if kind != asked {
                    return Found::False(format!("it is {}, and the job asks for {}", kind.as_str(), asked.as_str()));
                }
                let found = blocking(move || verifier.verify(&key, &proof)).await;
                let found = match found.map(|proven| rmp_serde::from_slice(&public).is_ok_and(|public| proven == public)) {
                    Ok(true) => Found::True,
                    Ok(false) => Found::False("it proves other public values".to_owned()),
                    Err(BackendError::Internal(error)) => Found::Unknown(error),
                    Err(error) => Found::False(error.to_string()),
                };
                tracing::debug!(%job, milliseconds = began.elapsed().as_millis(), "final proof verified");
                found
            };
            tokio::pin!(verified);
            let mut ticks = interval(STILL_AT_IT);
            let found = loop {
                tokio::select! {
                    found = &mut verified => break found,
                    _ = ticks.tick() => delivery.in_progress().await,
                }
            };
            // Fails only when this coordinator leads no more: the report comes again to the one that does.
            let _ = judged.send(Judged { job, report, delivery, found });
        });
    }
}

/// The key, derived anew should it be missing or damaged.
async fn verifying_key(
    objects: &Objects,
    verifier: &Arc<dyn Backend>,
    keys: &ProgramKeys,
    program: ProgramId,
) -> Result<Vec<u8>, String> {
    let text = |error: ObjectError| error.to_string();
    match objects.get(keys.verifying).await {
        Ok(key) => return Ok(key.to_vec()),
        Err(error) if error.is_damage() => tracing::warn!(%program, %error, "verifying key derived again"),
        Err(error) => return Err(text(error)),
    }
    let (elf, verifier) = (objects.program(program).await.map_err(text)?, verifier.clone());
    let setup = blocking(move || verifier.setup(&elf)).await.map_err(|error| error.to_string())?;
    match Digest::of(&setup.verifying_key) == keys.verifying.key.digest {
        true => Ok(setup.verifying_key),
        false => Err(format!("the program's key is another than {}: a worker of another version made that", keys.verifying.key)),
    }
}

async fn blocking<T: Send + 'static>(work: impl FnOnce() -> Result<T, BackendError> + Send + 'static) -> Result<T, BackendError> {
    let done = tokio::task::spawn_blocking(work).await;
    done.unwrap_or_else(|panic| Err(BackendError::Internal(panic.to_string())))
}

impl Coordinator {
    /// Takes the final proofs that would end the job out of the batch and has them verified.
    pub(super) async fn set_final_proofs_apart(&mut self, batch: Batch) -> Batch {
        let Some(verifier) = self.final_proofs.verifier.clone() else { return batch };
        if !batch.reports.iter().any(|report| matches!(report, Report::Final(_))) {
            return batch;
        }
        let elected = self.elected(&batch).await;
        // What is dropped from memory is read back.
        let known = self.apply(batch.job, Vec::new()).await;
        let record = self.jobs.get(&batch.job).map(|active| active.stored.record.clone());
        let Batch { job, reports, deliveries } = batch;
        let mut rest = Batch { job, reports: Vec::new(), deliveries: Vec::new() };
        for (report, delivery) in reports.into_iter().zip(deliveries) {
            match (&report, &record, &known) {
                (Report::Final(_), _, Err(error)) => {
                    tracing::debug!(%job, %error, "final proof not looked at yet");
                    give_back(&delivery).await;
                }
                (Report::Final(last), Some(record), _) if self.would_end(record, &elected, last) => {
                    self.final_proofs.judge(verifier.clone(), record, last.clone(), delivery);
                }
                _ => {
                    rest.reports.push(report);
                    rest.deliveries.push(delivery);
                }
            }
        }
        rest
    }

    fn would_end(&self, record: &JobRecord, elected: &[Input], report: &Final) -> bool {
        let mut trial = record.clone();
        let inputs = elected.iter().cloned().chain([Input::Report(Report::Final(report.clone()))]);
        let verdicts = inputs.map(|input| apply(&mut trial, input, unix_ms(), self.protocol.as_ref()).verdict);
        verdicts.last() == Some(Verdict::Applied)
    }

    pub(super) async fn take_judged(&mut self, judged: Judged) {
        let Judged { job, report, delivery, found } = judged;
        let batch = Batch { job, reports: vec![Report::Final(report.clone())], deliveries: vec![delivery] };
        match found {
            Found::True => self.take_batch(batch, vec![Input::Report(Report::Final(report))]).await,
            Found::False(reason) => {
                let aggregator = Input::Elected { worker: report.worker, epoch: report.epoch };
                let by_aggregator = self.elected(&batch).await.contains(&aggregator);
                self.take_batch(batch, vec![Input::Disproved { report, reason, by_aggregator }]).await;
            }
            Found::Unknown(reason) => {
                tracing::warn!(%job, reason, "final proof not verified; trying again");
                for delivery in &batch.deliveries {
                    give_back(delivery).await;
                }
            }
        }
    }
}
