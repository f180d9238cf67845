//! Made-up jobs, reports and contributions for the tests of the state machine.

use zisk_common::ids::{Digest, JobId, WorkerId};
use zisk_common::messages::*;
use zisk_common::subjects::{Phase, RequestKind};

use super::*;

pub const DEFAULTS: Defaults =
    Defaults { log_segment_steps: 18, max_steps: 1 << 32, timeout_seconds: 100, max_attempts: 3, proof_retention_seconds: 1000 };

/// A protocol whose contributions are any bytes but `b"malformed"`.
pub struct AnyBytes;

impl Protocol for AnyBytes {
    fn check_contribution(&self, _index: u32, contribution: &[u8]) -> Result<(), String> {
        if contribution == b"malformed" { Err("not a contribution".to_owned()) } else { Ok(()) }
    }

    fn global_challenge(&self, key: &[u8], contributions: &[Vec<u8>], public: &[u8]) -> Result<Vec<u8>, NoChallenge> {
        if let Some(n) = contributions.iter().position(|bytes| bytes == b"unchained") {
            return Err(NoChallenge { reason: "segments do not chain".to_owned(), segment: Some(n as u32) });
        }
        let all = [&[key.to_vec()], contributions, &[public.to_vec()]].concat().concat();
        Ok(Digest::of(&all).as_bytes().to_vec())
    }
}

/// A job with everything a test needs to report on it.
pub struct World {
    pub record: JobRecord,
    pub commands: Vec<Command>,
    pub worker: WorkerId,
    /// Another, whose contributions are false.
    pub liar: WorkerId,
    pub at_ms: u64,
}

fn object(scope: ObjectScope, text: &str) -> ObjectRef {
    ObjectRef { key: ObjectKey { scope, digest: Digest::of(text.as_bytes()) }, size: 1 }
}

pub fn keys() -> ProgramKeys {
    ProgramKeys { proving: object(ObjectScope::Key, "pk"), verifying: object(ObjectScope::Key, "vk") }
}

impl World {
    /// A job whose turn it is.
    pub fn new(goal: RequestKind) -> Self {
        let mut world = Self::waiting(goal);
        world.apply(Input::Admitted);
        world
    }

    /// A job that waits.
    pub fn waiting(goal: RequestKind) -> Self {
        Self::accepted(goal, false)
    }

    /// A job that waits for its input.
    pub fn streamed(goal: RequestKind) -> Self {
        Self::accepted(goal, true)
    }

    /// The input that is streamed.
    pub fn input() -> ObjectRef {
        object(ObjectScope::Input, "input")
    }

    fn accepted(goal: RequestKind, input_stream: bool) -> Self {
        let request = JobRequest {
            v: Version::default(),
            job: JobId::random(),
            program: Digest::of(b"elf"),
            input: None,
            input_stream,
            params: JobParams::default(),
            client: String::new(),
            metadata: Default::default(),
        };
        let record = accept(goal, request, 10, &DEFAULTS, 1_000);
        let commands = super::accepted(&record, Some(1));
        Self { record, commands, worker: WorkerId::random(), liar: WorkerId::random(), at_ms: 2_000 }
    }

    /// Applies one input; what follows is in `commands`.
    pub fn apply(&mut self, input: Input) -> Verdict {
        self.at_ms += 1;
        let transition = apply(&mut self.record, input, self.at_ms, &AnyBytes);
        self.commands = if transition.changed() { transition.commands } else { Vec::new() };
        transition.verdict
    }

    pub fn report(&mut self, report: Report) -> Verdict {
        self.apply(Input::Report(report))
    }

    pub fn setup(&self) -> Report {
        Report::Setup(SetupDone {
            v: Version::default(),
            job: self.record.job,
            worker: self.worker,
            program: self.record.request.program,
            keys: keys(),
            milliseconds: 1,
        })
    }

    pub fn planned(&self, n: u32) -> Report {
        Report::Planned(Planned {
            v: Version::default(),
            job: self.record.job,
            n,
            worker: self.worker,
            segment: object(ObjectScope::Segment(self.record.job), &format!("segment {n}")),
            keys: keys(),
        })
    }

    pub fn executed(&self, segments: u32, exit_code: u64) -> Report {
        Report::Executed(Executed {
            v: Version::default(),
            job: self.record.job,
            worker: self.worker,
            segments,
            steps: u64::from(segments) * 10,
            exit_code,
            outputs: ByteBuf::from(vec![1]),
            public_values: ByteBuf::from(vec![2]),
            uart: ByteBuf::new(),
            verifying_key: ByteBuf::from(vec![3; 32]),
            keys: keys(),
            milliseconds: 1,
        })
    }

    pub fn contribution(&self, n: u32, bytes: &[u8]) -> Report {
        Report::Contribution(Contribution {
            v: Version::default(),
            job: self.record.job,
            n,
            worker: self.worker,
            attempt: 1,
            contribution: ByteBuf::from(bytes),
            milliseconds: 1,
        })
    }

    /// One that no proof can be made for.
    pub fn false_contribution(&self, n: u32) -> Report {
        let Report::Contribution(right) = self.contribution(n, format!("false {n}").as_bytes()) else { unreachable!() };
        Report::Contribution(Contribution { worker: self.liar, ..right })
    }

    pub fn proof(&self, n: u32, challenge: &[u8]) -> Report {
        Report::Proof(Proof {
            v: Version::default(),
            job: self.record.job,
            n,
            worker: self.worker,
            attempt: 1,
            node: object(ObjectScope::Node(self.record.job), &format!("node {n}")),
            challenge: Digest::of(challenge),
            milliseconds: 1,
        })
    }

    /// A proof that its aggregator will reject.
    pub fn bad_proof(&self, n: u32, challenge: &[u8]) -> Report {
        let Report::Proof(proof) = self.proof(n, challenge) else { unreachable!() };
        Report::Proof(Proof { node: object(ObjectScope::Node(self.record.job), &format!("bad node {n}")), ..proof })
    }

    /// The aggregator rejects the proof that is committed.
    pub fn rejected(&self, record: &JobRecord, n: u32, epoch: u64) -> Option<Report> {
        let state = record.segments.get(n as usize)?;
        Some(Report::Rejected(Rejected {
            v: Version::default(),
            job: record.job,
            n,
            worker: self.worker,
            epoch,
            commit: state.commits,
            node: state.node?,
            prover: state.prover?,
            reason: "constraints do not hold".to_owned(),
            proves: self.proves(state, n),
        }))
    }

    /// The rival that the committed proof is right for.
    fn proves(&self, state: &SegmentRecord, n: u32) -> Option<Digest> {
        let right = honest_contribution(n);
        let is_right = |rival: &Rival| rival.contribution == right;
        let proven = state.node.is_some_and(|node| !is_bad(n, &node)) && state.rivals.iter().any(is_right);
        proven.then(|| Digest::of(&right))
    }

    /// Fold `n`, for the aggregator of this epoch.
    pub fn folded(&self, n: u32, epoch: u64) -> Folded {
        let node = Some(object(ObjectScope::Node(self.record.job), &format!("fold {n}")));
        let (v, job, worker) = (Version::default(), self.record.job, self.worker);
        Folded { v, job, n, worker, epoch, round: self.record.round, node, milliseconds: 1, refused: None }
    }

    pub fn last(&self, epoch: u64) -> Report {
        self.last_with(epoch, "final")
    }

    /// A final proof that does not verify.
    pub fn false_last(&self, epoch: u64) -> Report {
        self.last_with(epoch, "false final")
    }

    fn last_with(&self, epoch: u64, proof: &str) -> Report {
        Report::Final(Final {
            v: Version::default(),
            job: self.record.job,
            worker: self.worker,
            epoch,
            proof: object(ObjectScope::Proof, proof),
            milliseconds: 1,
        })
    }

    pub fn failed(&self, kind: FailureKind, phase: Phase, segment: Option<u32>, attempt: u32) -> Report {
        let message = format!("attempt {attempt} broke");
        let failure = Failure { worker: Some(self.worker), phase: Some(phase), segment, ..Failure::new(kind, message) };
        Report::Failed(Failed { v: Version::default(), job: self.record.job, attempt, failure })
    }

    /// The challenge an honest run of `segments` segments derives.
    pub fn honest_challenge(segments: u32) -> Vec<u8> {
        let contributions: Vec<Vec<u8>> = (0..segments).map(honest_contribution).collect();
        AnyBytes.global_challenge(&[3; 32], &contributions, &[2]).unwrap()
    }

    /// Every report of an honest run, in order.
    pub fn honest_run(&self, segments: u32, epoch: u64) -> Vec<Input> {
        let challenge = Self::honest_challenge(segments);
        let mut inputs = vec![self.setup()];
        inputs.extend((0..segments).map(|n| self.planned(n)));
        inputs.push(self.executed(segments, 0));
        inputs.extend((0..segments).map(|n| self.contribution(n, &honest_contribution(n))));
        inputs.extend((0..segments).map(|n| self.proof(n, &challenge)));
        inputs.push(self.last(epoch));
        inputs.into_iter().map(Input::Report).collect()
    }
}

/// Whether it is of [`World::bad_proof`].
pub fn is_bad(n: u32, node: &ObjectRef) -> bool {
    node.key.digest == Digest::of(format!("bad node {n}").as_bytes())
}

/// Whether it is [`World::false_last`].
pub fn is_false_last(report: &Report) -> bool {
    matches!(report, Report::Final(it) if it.proof.key.digest == Digest::of(b"false final"))
}

pub fn honest_contribution(n: u32) -> Vec<u8> {
    format!("contribution {n}").into_bytes()
}
