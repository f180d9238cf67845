//! Commands that need no cluster.

use std::path::Path;
use std::time::Instant;

use clap::CommandFactory;
use zisk_client::local::{self, LocalError, LocalOptions, LocalProof};
use zisk_client::progress::Progress;
use zisk_client::{ClientError, verify};
use zisk_common::ids::Digest;
use zisk_common::messages::FailureKind;
use zisk_protocol::PublicValues;
use zisk_recursion::builtin::built_in;

use super::{Loaded, check_writable, read, write};
use crate::End;
use crate::args::{Args, Execute, Kind, Prove, Verify};
use crate::show::progress::Bars;
use crate::show::{self, Ran, Verified};

/// `zisk prove --local`
pub fn prove(args: &Prove, json: bool) -> Result<End, ClientError> {
    let began = Instant::now();
    let loaded = Loaded::read(&args.run)?;
    check_writable(&args.out)?;
    let mut line = Bars::new(json);
    let proven = proven(&loaded, args.segment_log_steps, args.run.max_steps, args.proof, &mut |progress| line.show(progress));
    line.end();
    let proven = proven?;
    check(&proven.verifying_key, &proven.proof, &proven.execution.public)?;
    write(&args.out, &proven.proof)?;
    Ran {
        job: None,
        public: proven.execution.public,
        steps: proven.execution.steps,
        segments: proven.execution.segments,
        uart: proven.execution.uart,
        seconds: began.elapsed().as_secs_f64(),
        cluster_seconds: None,
        phases: Some(proven.seconds),
        proof: Some((args.out.clone(), proven.proof.len())),
    }
    .print(json);
    Ok(End::Done)
}

/// A proof in this process, with the cluster's defaults.
pub fn proven(
    loaded: &Loaded,
    segment_log_steps: Option<u8>,
    max_steps: Option<u64>,
    proof: Option<Kind>,
    progress: &mut dyn FnMut(Progress),
) -> Result<LocalProof, ClientError> {
    let default = LocalOptions::default();
    let options = LocalOptions {
        log_segment_steps: segment_log_steps.map_or(default.log_segment_steps, u32::from),
        max_steps: max_steps.unwrap_or(default.max_steps),
        kind: proof.unwrap_or_default().here(),
        kept_bytes: default.kept_bytes,
    };
    Ok(local::prove(built_in().as_ref(), &loaded.elf, &loaded.input, &options, progress)?)
}

/// `zisk execute --local`
pub fn execute(args: &Execute, json: bool) -> Result<End, ClientError> {
    let began = Instant::now();
    let Loaded { elf, input } = Loaded::read(&args.run)?;
    let max_steps = args.run.max_steps.unwrap_or(LocalOptions::default().max_steps);
    let execution = local::execute(built_in().as_ref(), &elf, &input, max_steps).map_err(LocalError::from)?;
    let exit_code = execution.public.exit_code;
    Ran {
        job: None,
        public: execution.public,
        steps: execution.steps,
        segments: 0,
        uart: execution.uart,
        seconds: began.elapsed().as_secs_f64(),
        cluster_seconds: None,
        phases: None,
        proof: None,
    }
    .print(json);
    exited(exit_code)
}

/// An execution that the guest itself calls failed is a failure of the command, too.
pub fn exited(exit_code: u64) -> Result<End, ClientError> {
    match exit_code {
        0 => Ok(End::Done),
        code => Err(ClientError::Local {
            reason: format!("the guest exited with code {code}"),
            advice: "Such a run cannot be proven: correct guest or input.",
            kind: FailureKind::Execution,
        }),
    }
}

/// `zisk key`
pub fn key(program: &Path, out: &Path, json: bool) -> Result<End, ClientError> {
    check_writable(out)?;
    let elf = read(program)?;
    let key = verifying_key(program, &elf)?;
    write(out, &key)?;
    show::key(Digest::of(&elf), out, key.len(), json);
    Ok(End::Done)
}

fn verifying_key(program: &Path, elf: &[u8]) -> Result<Vec<u8>, ClientError> {
    verify::key_of(elf).map_err(|error| match error {
        ClientError::Local { reason, .. } => ClientError::Program { path: program.display().to_string(), reason },
        other => other,
    })
}

/// The key that a cluster's proof is checked with here. That it cannot be derived says nothing about the proof.
pub fn checking_key(elf: &[u8]) -> Result<Vec<u8>, ClientError> {
    verify::key_of(elf).map_err(|error| match error {
        ClientError::Local { reason, kind, .. } => ClientError::Local {
            reason: format!("the program's verifying key cannot be derived here, so its proof is not checked: {reason}"),
            advice: "Nothing is known against the proof: the cluster keeps it, check it with the release that the cluster runs (`zisk result`).",
            kind,
        },
        other => other,
    })
}

/// `zisk verify`
pub fn verify_proof(args: &Verify, json: bool) -> Result<End, ClientError> {
    let proof = read(&args.proof)?;
    let key = match (&args.program, &args.verifying_key) {
        (Some(program), _) => verifying_key(program, &read(program)?)?,
        (None, Some(key)) => read(key)?,
        (None, None) => unreachable!("one of them is required"),
    };
    let backend = built_in();
    let began = Instant::now();
    let public = verify::by_key(&key, &proof)?;
    Verified { kind: backend.kind(&proof), public, proof_bytes: proof.len(), seconds: began.elapsed().as_secs_f64() }.print(json);
    Ok(End::Done)
}

/// `zisk completion`
pub fn completion(shell: clap_complete::Shell) -> Result<End, ClientError> {
    clap_complete::generate(shell, &mut Args::command(), "zisk", &mut std::io::stdout());
    Ok(End::Done)
}

/// Whether a proof that was just made verifies, with the outputs that were announced.
pub fn check(verifying_key: &[u8], proof: &[u8], announced: &PublicValues) -> Result<(), ClientError> {
    if verify::by_key(verifying_key, proof)? != *announced {
        return Err(ClientError::Proof { reason: "it proves other outputs than the execution had".to_owned() });
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_key_that_cannot_be_derived_is_not_held_against_the_proof() {
        let error = checking_key(b"no ELF").unwrap_err();
        assert!(matches!(error, ClientError::Local { kind: FailureKind::Input, .. }), "{error:?}");
        assert_eq!(error.exit_code(), 3);
        let text = error.to_string();
        assert!(text.contains("not checked") && !text.contains("not valid"), "{text}");
    }
}
