//! Forgeries of whole jobs: each must be refused, by name where the name says something.
//!
//! Keys here have few queries and little grinding, so that a forgery is quick; `VerifyingKey::from_bytes` refuses such keys. What
//! refuses a forgery here is therefore never the number of queries but a constraint, a bus or a binding.

mod jobs;

use std::sync::LazyLock;

use jobs::Job;
use p3_field::PrimeCharacteristicRing;
use p3_koala_bear::KoalaBear;
use p3_matrix::dense::RowMajorMatrix;
use zisk_machine::memory_map::{HALT_PC, OUTPUT_START, RAM_START, REGISTER_WORD};
use zisk_machine::program::Program;
use zisk_machine::replay::replay;
use zisk_machine::segment::{LedgerEntry, Segment};
use zisk_machine::trace::{SegmentTrace, TouchedWord};
use zisk_protocol::shape::shapes;
use zisk_protocol::{ABSENT, AllContributions, GlobalChallenge, ProtocolError, PublicValues, SealedChallenge, TABLES};
use zisk_prover::bundle::{FinalProof, Node, ProofError, ProvenSegment};
use zisk_prover::keys::{FORMAT, ProvingKey};
use zisk_prover::segment::{Committed, SegmentError, Verifier, commit};
use zisk_prover::stark::config::Parameters;
use zisk_prover::stark::table::Columns;
use zisk_prover::stark::verify::StarkError;
use zisk_prover::tables::add::AddColumns;
use zisk_prover::tables::any::AnyTable;
use zisk_prover::tables::ledger::LedgerColumns;
use zisk_prover::witness::Witness;

type F = KoalaBear;

const GUEST: &str = "sha-hasher";
/// Segments long enough for the whole ledger to fit in the last.
const LOG_STEPS: u32 = 12;
const OUTPUT_WORD: u32 = OUTPUT_START / 8;

/// A program with an honest job of at least three segments.
struct Honest {
    key: ProvingKey,
    job: Job,
    committed: Vec<Committed>,
    proof: FinalProof,
}

fn key(guest: &str) -> ProvingKey {
    let parameters = Parameters { log_blowup: 1, queries: 2, query_grinding_bits: 1, logup_grinding_bits: 1, max_log_arity: 3 };
    ProvingKey::new(Program::from_elf(&jobs::elf(guest)).expect("a guest"), parameters).expect("a key")
}

impl Honest {
    fn new(guest: &str, input: &[u8]) -> Self {
        let key = key(guest);
        let job = Job::run(&key.executable, input, LOG_STEPS);
        let committed: Vec<_> = job.segments.iter().map(|(s, t)| commit(&key, s, witness(&key, s, t))).collect();
        let proof = finish(&key, &committed.iter().collect::<Vec<_>>(), &job.public);
        Self { key, job, committed, proof }
    }

    /// The honest segments with some replaced and some added at the end: the protocol completed, and the verdict.
    fn with(&self, replaced: &[Committed], public: &PublicValues) -> Result<(), ProofError> {
        let mut parts: Vec<&Committed> = self.committed.iter().collect();
        for forged in replaced {
            let index = forged.contribution.index as usize;
            if index < parts.len() { parts[index] = forged } else { parts.push(forged) }
        }
        finish(&self.key, &parts, public).verify(&self.key.verifying)
    }

    fn last(&self) -> (Segment, SegmentTrace) {
        self.job.segments.last().expect("a segment").clone()
    }

    /// An honest segment's tables, changed.
    fn forge(&self, (segment, trace): &(Segment, SegmentTrace), change: impl FnOnce(&mut Witness)) -> Committed {
        let mut witness = witness(&self.key, segment, trace);
        change(&mut witness);
        commit(&self.key, segment, witness)
    }
}

static HONEST: LazyLock<Honest> = LazyLock::new(|| Honest::new(GUEST, &4u64.to_le_bytes()));
/// The same program, another input.
static OTHER: LazyLock<Honest> = LazyLock::new(|| Honest::new(GUEST, &5u64.to_le_bytes()));

fn witness(key: &ProvingKey, segment: &Segment, trace: &SegmentTrace) -> Witness {
    Witness::new(key.program(), &key.image.matrices[0], segment, trace).expect("look-ups that exist")
}

/// What an honest cluster does with contributions, whatever they hold.
fn finish(key: &ProvingKey, parts: &[&Committed], public: &PublicValues) -> FinalProof {
    let contributions: Vec<_> = parts.iter().map(|c| c.contribution.clone()).collect();
    let sealed = SealedChallenge::derive(&key.digest, AllContributions::new(&contributions), public).expect("a challenge");
    let segments = parts.iter().map(|c| ProvenSegment {
        contribution: c.contribution.clone(),
        proof: c.prove(key, &sealed.challenge).expect("a proof"),
    });
    let root = Node { format: FORMAT.into(), key: key.digest, challenge: sealed.challenge, segments: segments.collect() };
    FinalProof { public: public.clone(), nonce: sealed.nonce, root }
}

fn refusal(change: impl FnOnce(&mut FinalProof)) -> ProofError {
    let mut proof = HONEST.proof.clone();
    change(&mut proof);
    proof.verify(&HONEST.key.verifying).expect_err("a forgery")
}

/// Gives the proof the challenge of what it claims now; its segments are proven for another.
fn reseal(proof: &mut FinalProof) {
    let contributions: Vec<_> = proof.root.segments.iter().map(|s| s.contribution.clone()).collect();
    let sealed =
        SealedChallenge::derive(&proof.root.key, AllContributions::new(&contributions), &proof.public).expect("a challenge");
    (proof.nonce, proof.root.challenge) = (sealed.nonce, sealed.challenge);
}

fn malformed(error: &ProofError, at: u32) -> bool {
    matches!(error, ProofError::Chain(ProtocolError::Malformed { index, .. }) if *index == at)
}

fn breaks(error: &ProofError, at: u32) -> bool {
    matches!(error, ProofError::Chain(ProtocolError::Chain { index, .. }) if *index == at)
}

fn of_segment(error: &ProofError, at: u32) -> bool {
    matches!(error, ProofError::Segment { index, error: SegmentError::Stark(_) } if *index == at)
}

fn buses(index: u32) -> Result<(), ProofError> {
    Err(ProofError::Segment { index, error: SegmentError::Stark(StarkError::Buses) })
}

#[test]
fn the_honest_job_is_accepted() {
    assert_eq!(HONEST.proof.verify(&HONEST.key.verifying), Ok(()));
    assert!(HONEST.job.segments.len() >= 3);
    let (last, _) = HONEST.last();
    assert!(last.steps > 0 && !last.start.image && last.end.image, "the ledger is in one segment");
}

// Proofs taken apart and put together in another way.

#[test]
fn segments_swapped_dropped_repeated_reordered() {
    let count = HONEST.proof.root.segments.len() as u32;
    assert!(malformed(&refusal(|p| p.root.segments.swap(1, 2)), 1));
    assert!(malformed(&refusal(|p| p.root.segments.reverse()), 0));
    assert!(malformed(&refusal(|p| drop(p.root.segments.remove(0))), 0));
    assert!(malformed(&refusal(|p| drop(p.root.segments.remove(1))), 1));
    assert!(breaks(&refusal(|p| drop(p.root.segments.pop())), count - 2));
    assert!(breaks(&refusal(|p| p.root.segments.clear()), 0));
    assert!(malformed(&refusal(|p| p.root.segments.insert(1, p.root.segments[1].clone())), 2));
    assert!(malformed(&refusal(|p| p.root.segments.push(p.root.segments[0].clone())), count));
    // With the indices mended, states do not chain; after the last there may be an idle segment, but the challenge knows of none.
    let renumber = |p: &mut FinalProof| (0..).zip(&mut p.root.segments).for_each(|(i, s)| s.contribution.index = i);
    for resealed in [false, true] {
        let done = |p: &mut FinalProof| {
            renumber(p);
            if resealed {
                reseal(p);
            }
        };
        assert!(breaks(
            &refusal(|p| {
                p.root.segments.remove(1);
                done(p)
            }),
            1
        ));
        assert!(breaks(
            &refusal(|p| {
                p.root.segments.swap(1, 2);
                done(p)
            }),
            1
        ));
        assert!(breaks(
            &refusal(|p| {
                p.root.segments.insert(1, p.root.segments[1].clone());
                done(p)
            }),
            2
        ));
        assert!(matches!(
            refusal(|p| {
                p.root.segments.remove(0);
                done(p)
            }),
            ProofError::Entry(_)
        ));
    }
}

#[test]
fn proofs_exchanged() {
    assert!(of_segment(
        &refusal(|p| {
            let proof = p.root.segments[1].proof.clone();
            p.root.segments[1].proof = std::mem::replace(&mut p.root.segments[2].proof, proof);
        }),
        1
    ));
    // The same segment of another job: contribution, proof, both.
    for i in 0..3 {
        let other = &OTHER.proof.root.segments[i];
        assert!(of_segment(&refusal(|p| p.root.segments[i].proof = other.proof.clone()), i as u32));
        for resealed in [false, true] {
            let error = refusal(|p| {
                p.root.segments[i] = other.clone();
                if resealed {
                    reseal(p);
                }
            });
            assert!(matches!(error, ProofError::Chain(_) | ProofError::Challenge | ProofError::Segment { .. }), "{error:?}");
        }
    }
}

#[test]
fn another_program() {
    let exit_one = key("exit-one");
    let error = HONEST.proof.verify(&exit_one.verifying).expect_err("a proof of another program");
    assert!(matches!(error, ProofError::Program | ProofError::Entry(_)), "{error:?}");
    assert_eq!(refusal(|p| p.root.key[0] ^= 1), ProofError::Program);
    // The key's digest covers every field.
    let mut verifying = HONEST.key.verifying.clone();
    verifying.program_id[31] ^= 1;
    assert_eq!(HONEST.proof.verify(&verifying), Err(ProofError::Program));
    let mut verifying = HONEST.key.verifying.clone();
    verifying.parameters.queries += 1;
    assert_eq!(HONEST.proof.verify(&verifying), Err(ProofError::Program));
    let mut verifying = HONEST.key.verifying.clone();
    verifying.image.commitment = verifying.fixed.commitment.clone();
    assert_eq!(HONEST.proof.verify(&verifying), Err(ProofError::Program));
    // A digest of the right value before a commitment of the wrong one.
    let mut proof = HONEST.proof.clone();
    proof.root.key = verifying.digest();
    reseal(&mut proof);
    assert!(of_segment(&proof.verify(&verifying).expect_err("a forgery"), 0));
}

#[test]
fn challenge_nonce_outputs_and_exit_code() {
    for byte in [0, 15, 31] {
        assert_eq!(refusal(|p| p.root.challenge.0[byte] ^= 1), ProofError::Challenge);
    }
    assert_eq!(refusal(|p| p.nonce += 1), ProofError::Challenge);
    for output in 0..64 {
        assert_eq!(refusal(|p| p.public.outputs[output] ^= 1), ProofError::Challenge);
    }
    for bit in [0, 8, 32, 63] {
        assert_eq!(refusal(|p| p.public.exit_code ^= 1 << bit), ProofError::Challenge);
    }
    assert!(matches!(refusal(|p| p.public.outputs.truncate(63)), ProofError::Chain(ProtocolError::PublicValues(_))));
    assert!(matches!(refusal(|p| p.public.outputs.push(0)), ProofError::Chain(ProtocolError::PublicValues(_))));
    assert!(matches!(refusal(|p| p.root.format.push('x')), ProofError::Malformed(_)));
    assert!(of_segment(
        &refusal(|p| {
            p.public.outputs[0] ^= 1;
            reseal(p)
        }),
        0
    ));
}

/// Another shape with the same tables, whose program table compares as asked.
fn other_shape(segment: &ProvenSegment, compare: fn(u8, u8) -> bool) -> [u8; TABLES] {
    let own = &segment.contribution.log_heights;
    let tables = |shape: &[u8; TABLES]| shape.map(|height| height == ABSENT);
    let program = AnyTable::Program as usize;
    let fits = |shape: &&[u8; TABLES]| *shape != own && tables(shape) == tables(own) && compare(own[program], shape[program]);
    *shapes().iter().find(fits).expect("there is one")
}

#[test]
fn every_field_of_a_contribution_is_bound() {
    for i in 0..3u32 {
        let changes: [fn(&mut ProvenSegment); 15] = [
            |s| s.contribution.index += 1,
            |s| s.contribution.start.pc ^= 2,
            |s| s.contribution.start.cursor ^= 1,
            |s| s.contribution.start.image ^= true,
            |s| s.contribution.end.pc ^= 2,
            |s| s.contribution.end.cursor ^= 1,
            |s| s.contribution.end.image ^= true,
            |s| s.contribution.steps += 1,
            |s| s.contribution.log_heights[AnyTable::Add as usize] += 1,
            |s| s.contribution.log_heights[AnyTable::Program as usize] -= 1,
            |s| s.contribution.log_heights[AnyTable::Touched as usize] = 0xff,
            |s| s.contribution.commitment[0] = 1,
            |s| s.contribution.commitment[7] = u32::MAX,
            // Heights of another shape, of the same class of programs and of another.
            |s| s.contribution.log_heights = other_shape(s, |own, other| own == other),
            |s| s.contribution.log_heights = other_shape(s, |own, other| own != other),
        ];
        for (number, change) in changes.into_iter().enumerate() {
            for resealed in [false, true] {
                let error = refusal(|p| {
                    change(&mut p.root.segments[i as usize]);
                    if resealed {
                        reseal(p);
                    }
                });
                let expected = match error {
                    ProofError::Chain(_) | ProofError::Entry(_) => number < 7 || (8..=10).contains(&number) || number == 12,
                    ProofError::Challenge => !resealed,
                    // All were proven for another challenge, so the first refuses; tables are looked at before.
                    ProofError::Segment { index, .. } => resealed && index <= i,
                    _ => false,
                };
                assert!(expected, "segment {i}, change {number}: {error:?}");
            }
        }
    }
}

#[test]
fn parts_of_a_segment_proof() {
    let changes: [fn(&mut ProvenSegment); 8] = [
        |s| s.proof.logup_witness += F::ONE,
        |s| std::mem::swap(&mut s.proof.permutation, &mut s.proof.quotient),
        |s| drop(s.proof.tables.pop()),
        |s| s.proof.tables.swap(0, 1),
        |s| s.proof.tables[0].main.truncate(3),
        |s| s.proof.tables[0].permutation.push(Default::default()),
        |s| s.proof.tables[0].quotient.swap(0, 1),
        |s| s.proof.tables.push(s.proof.tables[0].clone()),
    ];
    for change in changes {
        assert!(of_segment(&refusal(|p| change(&mut p.root.segments[1])), 1));
    }
    // Sums that are claimed but not proven: moved between tables, between scopes, or where a table has no bus of the scope.
    let one = zisk_prover::stark::config::Challenge::ONE;
    for (add, subtract) in [(0, 1), (1, 0)] {
        assert!(of_segment(
            &refusal(|p| {
                p.root.segments[1].proof.tables[add].local_sum += one;
                p.root.segments[1].proof.tables[subtract].local_sum -= one;
            }),
            1
        ));
    }
    let error = refusal(|p| p.root.segments[1].proof.tables[0].global_sum += one);
    assert!(matches!(error, ProofError::Segment { index: 1, error: SegmentError::Stark(StarkError::Shape(_)) }), "{error:?}");
}

#[test]
fn nodes_that_do_not_join() {
    let verifier = Verifier::new(&HONEST.key.verifying);
    let leaf = |honest: &Honest, i: usize| {
        Node::leaf(honest.key.digest, honest.proof.root.challenge, honest.proof.root.segments[i].clone())
    };
    let fold = |left, right| Node::fold(&verifier, left, right).map(|node| node.range());
    assert_eq!(fold(leaf(&HONEST, 1), leaf(&HONEST, 2)), Ok(Some((1, 3))));
    for (left, right) in [(0, 2), (1, 1), (2, 1)] {
        assert!(matches!(fold(leaf(&HONEST, left), leaf(&HONEST, right)), Err(ProofError::Join(_))));
    }
    assert!(matches!(fold(leaf(&HONEST, 0), leaf(&OTHER, 1)), Err(ProofError::Join(_))));
    let mut wrong = leaf(&HONEST, 2);
    wrong.challenge = GlobalChallenge([7; 32]);
    assert!(of_segment(&fold(leaf(&HONEST, 1), wrong).expect_err("another challenge"), 2));
    let mut wrong = leaf(&HONEST, 2);
    wrong.segments[0].contribution.index = u32::MAX;
    assert!(matches!(wrong.verify(&verifier), Err(ProofError::Chain(_))));
    let mut wrong = leaf(&HONEST, 2);
    wrong.segments.clear();
    assert!(matches!(wrong.verify(&verifier), Err(ProofError::Join(_))));
}

// Provers who fill the tables as they like and then follow the protocol.

#[test]
fn image_left_out() {
    let last = HONEST.last();
    let forged = HONEST.forge(&last, |w| {
        let at = w.tables.iter().position(|t| *t == AnyTable::Image).expect("the last segment has the image");
        w.tables.remove(at);
        w.traces.remove(at);
    });
    let outcome = HONEST.with(&[forged], &HONEST.job.public);
    assert!(matches!(outcome, Err(ProofError::Chain(ProtocolError::Malformed { .. }))), "{outcome:?}");
    // And with a state that says so.
    let tables = witness(&HONEST.key, &last.0, &last.1);
    let mut last = last;
    last.0.end.image = false;
    let outcome = HONEST.with(&[commit(&HONEST.key, &last.0, tables)], &HONEST.job.public);
    assert!(matches!(outcome, Err(ProofError::Chain(_))), "{outcome:?}");
}

#[test]
fn image_twice() {
    let first = &HONEST.job.segments[0];
    // The shape of a segment with image and ledger; the ledger is empty.
    let image = |w: &mut Witness| {
        let ledger = RowMajorMatrix::new(F::zero_vec(LedgerColumns::<F>::WIDTH << 12), LedgerColumns::<F>::WIDTH);
        let at = w.tables.iter().position(|t| *t == AnyTable::Program).expect("every segment has it");
        w.tables.insert(at, AnyTable::Ledger);
        w.traces.insert(at, ledger);
        w.tables.push(AnyTable::Image);
        w.traces.push(zisk_prover::tables::image::trace(&HONEST.key.image.matrices[0]));
    };
    // The table without a word about it in the state.
    let outcome = HONEST.with(&[HONEST.forge(first, image)], &HONEST.job.public);
    assert!(matches!(outcome, Err(ProofError::Segment { index: 0, error: SegmentError::Tables(_) })), "{outcome:?}");
    // The state goes back.
    let mut stated = first.clone();
    stated.0.end.image = true;
    let mut tables = witness(&HONEST.key, &first.0, &first.1);
    image(&mut tables);
    let outcome = HONEST.with(&[commit(&HONEST.key, &stated.0, tables)], &HONEST.job.public);
    assert!(breaks(&outcome.expect_err("an image too many"), 1));
}

#[test]
fn word_of_the_image_claimed_as_zero_ram() {
    let mut last = HONEST.last();
    let entry = last.0.ledger.iter_mut().find(|e| e.image && e.word >= RAM_START / 8).expect("the guest has data in RAM");
    (entry.image, entry.initial) = (false, 0);
    if entry.last_tag == 0 {
        entry.last = 0;
    }
    assert_eq!(HONEST.with(&[HONEST.forge(&last, |_| ())], &HONEST.job.public), Err(ProofError::GlobalBus));
}

#[test]
fn ledger_entry_left_out() {
    let mut last = HONEST.last();
    last.0.ledger.retain(|e| e.word != OUTPUT_WORD + 7);
    assert_eq!(HONEST.with(&[HONEST.forge(&last, |_| ())], &HONEST.job.public), Err(ProofError::GlobalBus));
}

/// A further slice of the ledger, with a word that the first already had.
#[test]
fn word_twice_in_the_ledger() {
    let (last, _) = HONEST.last();
    let entry = LedgerEntry { word: OUTPUT_WORD, initial: 0, last: 99, last_tag: 0, image: false };
    let segment = Segment {
        index: last.index + 1,
        start: last.end,
        end: last.end,
        steps: 0,
        registers: vec![],
        words: vec![],
        ledger: vec![entry],
    };
    let mut truthful = segment.clone();
    truthful.end.cursor = OUTPUT_WORD;
    // Filled as if nothing came before, then the real predecessor put in: the order's look-ups have no answer.
    let filled = |segment: &Segment| {
        let mut alone = segment.clone();
        alone.start.cursor = 0;
        let mut witness = witness(&HONEST.key, &alone, &SegmentTrace::default());
        let at = witness.tables.iter().position(|t| *t == AnyTable::Ledger).expect("a ledger");
        LedgerColumns::of_mut(&mut witness.traces[at].values[..LedgerColumns::<F>::WIDTH]).prev_word =
            F::from_u32(segment.start.cursor);
        commit(&HONEST.key, segment, witness)
    };
    let mut public = HONEST.job.public.clone();
    public.outputs[0] = 99;
    assert_eq!(HONEST.with(&[filled(&truthful)], &public), buses(segment.index));
    // Claiming that nothing came before breaks the chain of states.
    let mut fresh = truthful;
    fresh.start.cursor = 0;
    assert!(breaks(&HONEST.with(&[filled(&fresh)], &public).expect_err("a second ledger"), segment.index));
}

#[test]
fn output_word_not_public() {
    let forged = HONEST.forge(&HONEST.last(), |w| {
        let at = w.tables.iter().position(|t| *t == AnyTable::Ledger).expect("a ledger");
        let mut rows = w.traces[at].values.chunks_exact_mut(LedgerColumns::<F>::WIDTH).map(LedgerColumns::of_mut);
        rows.find(|row| row.word == F::from_u32(OUTPUT_WORD)).expect("outputs are in the ledger").is_public = F::ZERO;
    });
    assert_eq!(HONEST.with(&[forged], &HONEST.job.public), Err(ProofError::GlobalBus));
}

#[test]
fn other_outputs() {
    // Claimed only.
    let mut public = HONEST.job.public.clone();
    public.outputs[0] ^= 1;
    assert_eq!(HONEST.with(&[], &public), Err(ProofError::GlobalBus));
    let mut code = HONEST.job.public.clone();
    code.exit_code ^= 1;
    assert_eq!(HONEST.with(&[], &code), Err(ProofError::GlobalBus));
    // Claimed, and the ledger says the same.
    let mut last = HONEST.last();
    let entry = last.0.ledger.iter_mut().find(|e| e.word == OUTPUT_WORD).expect("outputs are in the ledger");
    entry.last ^= 1;
    assert_eq!(HONEST.with(&[HONEST.forge(&last, |_| ())], &public), Err(ProofError::GlobalBus));
}

/// A segment takes a word from the segment before the one that wrote it.
#[test]
fn stale_value() {
    let mut third = HONEST.job.segments[2].clone();
    let old = |word: u32| HONEST.job.segments[0].1.touched.iter().find(|t| t.word == word);
    let between = |word: u32| HONEST.job.segments[1].1.touched.iter().find(|t| t.word == word);
    let changed = |t: &TouchedWord| {
        t.last_tag == 2 && old(t.word).zip(between(t.word)).is_some_and(|(old, between)| old.after != between.after)
    };
    // Best a word whose value the segment does not look at.
    let at = third.1.touched.iter().position(|t| t.last_ts == 0 && changed(t));
    let at = at.or(third.1.touched.iter().position(|t| t.last_tag == 2)).expect("a word touched by the segment before");
    let word = &mut third.1.touched[at];
    word.last_tag = 1;
    if word.last_ts == 0 {
        let value = old(word.word).expect("every segment touches the registers").after;
        (word.before, word.after) = (value, value);
    }
    assert_eq!(HONEST.with(&[HONEST.forge(&third, |_| ())], &HONEST.job.public), Err(ProofError::GlobalBus));
}

#[test]
fn register_changed_between_segments() {
    let (segment, _) = &HONEST.job.segments[1];
    let forged = (1..64).find_map(|register| {
        let mut segment = segment.clone();
        segment.registers[register] ^= 1 << 20;
        let trace = replay(&HONEST.key.executable, &segment, 20).ok()?;
        Some((segment, trace))
    });
    let forged = forged.expect("a register whose value leads nowhere else");
    assert_eq!(HONEST.with(&[HONEST.forge(&forged, |_| ())], &HONEST.job.public), Err(ProofError::GlobalBus));
}

#[test]
fn halted_early() {
    let (last, _) = HONEST.last();
    let mut first = HONEST.job.segments[0].clone();
    first.0.end = last.end;
    first.0.ledger = last.ledger;
    assert_eq!(first.0.end.pc, HALT_PC);
    let forged = HONEST.forge(&first, |_| ());
    assert_eq!(finish(&HONEST.key, &[&forged], &HONEST.job.public).verify(&HONEST.key.verifying), buses(0));
}

#[test]
fn other_number_of_steps_or_other_cursor() {
    let changes: [fn(&mut Segment); 4] = [|s| s.steps += 1, |s| s.steps -= 1, |s| s.end.cursor += 1, |s| s.end.cursor -= 1];
    for change in changes {
        let mut last = HONEST.last();
        let filled = witness(&HONEST.key, &last.0, &last.1);
        change(&mut last.0);
        let forged = commit(&HONEST.key, &last.0, filled);
        assert_eq!(HONEST.with(&[forged], &HONEST.job.public), buses(last.0.index));
    }
}

/// A segment without steps, after the program has ended.
#[test]
fn segment_after_the_end() {
    let (last, _) = HONEST.last();
    let idle = Segment {
        index: last.index + 1,
        start: last.end,
        end: last.end,
        steps: 0,
        registers: vec![],
        words: vec![],
        ledger: vec![],
    };
    // One that does nothing proves nothing wrong.
    let honest = HONEST.forge(&(idle.clone(), SegmentTrace::default()), |_| ());
    assert_eq!(HONEST.with(&[honest], &HONEST.job.public), Ok(()));
    // One that changes an output, and a ledger that agrees with it.
    let mut forged_last = HONEST.last();
    let entry = forged_last.0.ledger.iter_mut().find(|e| e.word == OUTPUT_WORD).expect("outputs are in the ledger");
    let (before, after) = (entry.last, entry.last ^ 1);
    let touched = TouchedWord { word: OUTPUT_WORD, last_tag: entry.last_tag, before, after, last_ts: 0 };
    (entry.last, entry.last_tag) = (after, idle.index + 1);
    let mut public = HONEST.job.public.clone();
    public.outputs[0] ^= 1;
    let trace = SegmentTrace { touched: vec![touched], ..SegmentTrace::default() };
    let forged = [HONEST.forge(&forged_last, |_| ()), HONEST.forge(&(idle.clone(), trace), |_| ())];
    assert_eq!(HONEST.with(&forged, &public), buses(idle.index));
}

#[test]
fn wrong_sum_and_wrong_multiplicity() {
    let second = &HONEST.job.segments[1];
    let forged = HONEST.forge(second, |w| {
        let at = w.tables.iter().position(|t| *t == AnyTable::Add).expect("an addition");
        AddColumns::of_mut(&mut w.traces[at].values[..AddColumns::<F>::WIDTH]).common.a[0] += F::ONE;
    });
    let expected = SegmentError::Stark(StarkError::Constraints("add"));
    assert_eq!(HONEST.with(&[forged], &HONEST.job.public), Err(ProofError::Segment { index: 1, error: expected }));
    for table in [AnyTable::Program, AnyTable::Bytes] {
        let forged = HONEST.forge(second, |w| {
            let at = w.tables.iter().position(|t| *t == table).expect("a fixed table");
            w.traces[at].values[0] += F::ONE;
        });
        assert_eq!(HONEST.with(&[forged], &HONEST.job.public), buses(1));
    }
}

/// Register 0 and the registers' words are like any other: no segment may bring its own.
#[test]
fn register_zero_is_zero() {
    let mut forged = HONEST.job.segments[0].clone();
    let zero = forged.1.touched.iter_mut().find(|t| t.word == REGISTER_WORD).expect("all registers are touched");
    (zero.before, zero.after) = (1, 1);
    let outcome = HONEST.with(&[HONEST.forge(&forged, |_| ())], &HONEST.job.public);
    assert!(outcome == Err(ProofError::GlobalBus) || outcome == buses(0), "{outcome:?}");
}
