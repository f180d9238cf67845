//! Contributions: which of several counts. They are deterministic, so of two that differ one is false, and whoever made it is
//! broken. The coordinator cannot tell which; it keeps both and goes by what speaks for each: how many workers made it, and
//! whether it can be proven. When a contribution takes another's place after the challenge, everything that was proven under the
//! challenge is lost, and a new round begins.

use std::collections::BTreeSet;

use zisk_common::ids::{Digest, WorkerId};
use zisk_common::messages::{Contribution, EventBody, Failure, FailureKind, JobState, Repeated, Rival, SegmentRecord};
use zisk_common::subjects::Phase;

use super::MAX_ROUNDS;
use super::command::{self, Command, challenge_digest};
use super::judge::avoid;
use super::transition::Step;
use super::verdict::{Reason, Verdict, note_incident};

/// Contributions kept beside the committed one.
const MAX_RIVALS: usize = 8;

impl Step<'_> {
    pub(super) fn contribution(&mut self, report: Contribution) -> Verdict {
        let (n, worker, attempt) = (report.n, report.worker, report.attempt);
        let Some(state) = self.record.segments.get_mut(n as usize).filter(|state| state.segment.is_some()) else {
            return Verdict::Refused(Reason::Early, format!("segment {n} is not cut"));
        };
        if let Err(reason) = self.protocol.check_contribution(n, &report.contribution) {
            return self.result_refused(n, worker, attempt, Phase::Contribution, &format!("contribution refused: {reason}"));
        }
        let Some(first) = &state.contribution else {
            state.contribution = Some(report.contribution);
            state.contributor = Some(worker);
            state.contribution_attempt = attempt;
            self.segment = Some(n);
            self.record.progress.contributed += 1;
            self.publish(EventBody::Contributed { n, worker, milliseconds: report.milliseconds });
            return Verdict::Applied;
        };
        let (same, by_another) = (*first == report.contribution, state.contributor != Some(worker));
        let confirms = same && by_another && state.confirmed_by.is_none();
        if confirms {
            state.confirmed_by = Some(worker);
            self.segment = Some(n);
        }
        if !state.given_back {
            self.repeated(n, Phase::Contribution, worker, attempt);
        }
        match (same, confirms) {
            (true, true) => Verdict::Applied,
            (true, false) => Verdict::Dropped(Reason::Duplicate),
            (false, _) => self.rival(report),
        }
    }

    /// A contribution that differs from the committed one.
    fn rival(&mut self, report: Contribution) -> Verdict {
        let (n, worker, attempt) = (report.n, report.worker, report.attempt);
        let state = &mut self.record.segments[n as usize];
        let by = state.contributor.map_or_else(|| "another worker".to_owned(), |id| id.to_string());
        let what = format!("the contribution of worker {worker} to segment {n} differs from the one that {by} committed");
        note_incident(self.record, incident(n, worker, what.clone()));
        let state = &mut self.record.segments[n as usize];
        let is_kept = |kept: &Rival| kept.worker == worker && kept.contribution == report.contribution;
        if !state.rivals.iter().any(is_kept) && state.rivals.len() < MAX_RIVALS {
            let contribution = report.contribution.clone();
            state.rivals.push(Rival { contribution, worker, attempt });
            self.segment = Some(n);
        }
        let digest = Digest::of(&report.contribution);
        if voices(state, digest) > committed_voices(state) {
            self.adopt(n, digest);
        }
        Verdict::Incident(what)
    }

    /// Whether a rival of segment `n`'s contribution may take its place once it has been proven.
    pub(super) fn is_eligible(&self, n: u32, digest: Digest) -> bool {
        let state = self.record.segments.get(n as usize);
        state.is_some_and(|state| voices(state, digest) > 0 && voices(state, digest) >= committed_voices(state))
    }

    /// The rival to segment `n`'s contribution that most workers made.
    pub(super) fn strongest_rival(&self, n: u32) -> Option<Digest> {
        let state = self.record.segments.get(n as usize)?;
        let digests = state.rivals.iter().map(|rival| Digest::of(&rival.contribution));
        digests.max_by_key(|digest| (voices(state, *digest), *digest.as_bytes()))
    }

    /// Puts a rival in the committed contribution's place, which becomes the rival.
    pub(super) fn adopt(&mut self, n: u32, digest: Digest) {
        let state = &mut self.record.segments[n as usize];
        let Some(place) = state.rivals.iter().position(|rival| Digest::of(&rival.contribution) == digest) else { return };
        let Some((contribution, by)) = state.contribution.take().zip(state.contributor) else { return };
        let chosen = state.rivals.remove(place);
        let (others, rivals) = std::mem::take(&mut state.rivals)
            .into_iter()
            .partition::<Vec<_>, _>(|rival| rival.contribution == chosen.contribution);
        let earlier = Rival { contribution, worker: by, attempt: state.contribution_attempt };
        state.rivals = rivals;
        state.rivals.push(earlier.clone());
        if let Some(confirmed) = state.confirmed_by.take() {
            state.rivals.push(Rival { worker: confirmed, ..earlier.clone() });
        }
        state.confirmed_by = others.iter().map(|rival| rival.worker).find(|worker| *worker != chosen.worker);
        // The one that counts now was not computed in vain; that of the other was.
        let phase = Phase::Contribution;
        let counts = Repeated { phase, worker: chosen.worker, attempt: chosen.attempt };
        match state.repeated.iter_mut().find(|known| **known == counts) {
            Some(known) => *known = Repeated { phase, worker: by, attempt: earlier.attempt },
            None => self.record.progress.repeated += u32::from(push(state, phase, by, earlier.attempt)),
        }
        let state = &mut self.record.segments[n as usize];
        state.contribution = Some(chosen.contribution);
        state.contributor = Some(chosen.worker);
        state.contribution_attempt = chosen.attempt;
        avoid(state, by);
        state.avoid.retain(|worker| *worker != chosen.worker);
        self.segment = Some(n);
        let what = format!("its contribution to segment {n} was false: that of worker {} took its place", chosen.worker);
        note_incident(self.record, incident(n, by, what));
        self.publish(EventBody::Replaced { n, worker: chosen.worker, replaced: by });
        if self.record.challenge.is_some() {
            let round = self.record.round + 1;
            self.record.segments[n as usize].contribution_round = round;
            self.begin_round(round);
        }
    }

    /// Derives a new challenge from the contributions that count now, and has everything proven under it.
    pub(super) fn begin_round(&mut self, round: u32) {
        let before = self.record.round;
        if let Some(challenge) = self.record.challenge.take() {
            self.record.past_challenges.push(challenge_digest(&challenge));
        }
        self.record.round = round;
        self.record.state = JobState::Contributing;
        (self.record.progress.proven, self.record.progress.folded) = (0, 0);
        (self.record.timings.challenged_ms, self.record.timings.proven_ms) = (0, 0);
        if round >= MAX_ROUNDS {
            let message = format!("contributions were replaced in {MAX_ROUNDS} rounds: workers do not agree on them");
            self.fail(Failure { phase: Some(Phase::Contribution), ..Failure::new(FailureKind::Internal, message) });
            return;
        }
        // First, so that who gets a segment now has heard of it.
        self.derive_challenge();
        if self.record.state.is_terminal() {
            return;
        }
        // The others' assignments are held by workers that have not proven them.
        let proven = (0u32..).zip(&self.record.segments).filter(|(_, state)| state.node_in(before).is_some());
        self.commands.extend(proven.filter_map(|(n, _)| command::segment(self.record, n)).map(Command::Assign));
    }
}

fn incident(n: u32, worker: WorkerId, message: String) -> Failure {
    let failure = Failure::new(FailureKind::Internal, message);
    Failure { worker: Some(worker), phase: Some(Phase::Contribution), segment: Some(n), ..failure }
}

fn push(state: &mut SegmentRecord, phase: Phase, worker: WorkerId, attempt: u32) -> bool {
    let repeated = Repeated { phase, worker, attempt };
    let news = !state.repeated.contains(&repeated);
    if news {
        state.repeated.push(repeated);
    }
    news
}

/// How many workers made this rival.
fn voices(state: &SegmentRecord, digest: Digest) -> usize {
    let made = state.rivals.iter().filter(|rival| Digest::of(&rival.contribution) == digest);
    made.map(|rival| rival.worker).collect::<BTreeSet<_>>().len()
}

/// How many workers made the committed contribution.
fn committed_voices(state: &SegmentRecord) -> usize {
    usize::from(state.contribution.is_some()) + usize::from(state.confirmed_by.is_some())
}
