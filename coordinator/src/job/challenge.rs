//! The global challenge, from all contributions.

use std::collections::BTreeSet;

use zisk_common::ids::{Digest, WorkerId};
use zisk_common::messages::{ByteBuf, EventBody, Failure, FailureKind, JobState};
use zisk_common::subjects::Phase;

use super::command::{self, Command};
use super::protocol::NoChallenge;
use super::transition::Step;

impl Step<'_> {
    /// Derives the challenge, once everything it binds is there. Contributions that have none are false in part: a rival takes
    /// the place of one, if that helps, else the job ends.
    pub(super) fn derive_challenge(&mut self) {
        let contributions: Option<Vec<Vec<u8>>> =
            self.record.segments.iter().map(|state| state.contribution.clone().map(ByteBuf::into_vec)).collect();
        let Some(contributions) = contributions else { return };
        let derived = match self.challenge_of(&contributions) {
            Some(Err(error)) => match self.replacement(contributions) {
                Some((n, rival, challenge)) => {
                    self.adopt(n, rival);
                    Ok(challenge)
                }
                None => Err(error),
            },
            Some(Ok(challenge)) => Ok(challenge),
            None => return,
        };
        match derived {
            Ok(challenge) => {
                self.record.challenge = Some(ByteBuf::from(challenge));
                self.record.state = JobState::Proving;
                self.record.timings.challenged_ms = self.at_ms;
                self.commands.extend(command::challenge(self.record).map(Command::Challenge));
                let round = self.record.round;
                self.publish(EventBody::Challenged { round });
            }
            Err(error) => self.no_challenge(&error),
        }
    }

    fn challenge_of(&self, contributions: &[Vec<u8>]) -> Option<Result<Vec<u8>, NoChallenge>> {
        let (key, public) = (self.record.verifying_key.as_ref()?, self.record.public_values.as_ref()?);
        Some(self.protocol.global_challenge(key, contributions, public))
    }

    /// The rival, with its segment, in whose place there is a challenge.
    fn replacement(&self, mut contributions: Vec<Vec<u8>>) -> Option<(u32, Digest, Vec<u8>)> {
        for (n, state) in (0u32..).zip(&self.record.segments) {
            for rival in &state.rivals {
                let committed = std::mem::replace(&mut contributions[n as usize], rival.contribution.to_vec());
                if let Some(Ok(challenge)) = self.challenge_of(&contributions) {
                    return Some((n, Digest::of(&rival.contribution), challenge));
                }
                contributions[n as usize] = committed;
            }
        }
        None
    }

    /// One of the two segments that do not join is false: both their contributors are named.
    fn no_challenge(&mut self, error: &NoChallenge) {
        let at = error.segment.map(|n| n as usize);
        let contributor = |n: usize| self.record.segments.get(n).and_then(|state| state.contributor);
        let around: BTreeSet<WorkerId> =
            at.into_iter().flat_map(|n| [n.checked_sub(1).and_then(contributor), contributor(n)]).flatten().collect();
        let names: Vec<String> = around.iter().map(WorkerId::to_string).collect();
        let by = if names.is_empty() { String::new() } else { format!(" (contributed by {})", names.join(" and ")) };
        let message = format!("no challenge can be derived: {}{by}", error.reason);
        let failure = Failure::new(FailureKind::Internal, message);
        self.fail(Failure { phase: Some(Phase::Contribution), segment: error.segment, ..failure });
    }
}
