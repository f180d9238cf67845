//! A segment comes over the network: whatever its bytes, replay gives a trace or an error.

mod common;

use common::executable;
use proptest::prelude::*;
use zisk_machine::replay::{ReplayError, replay};
use zisk_machine::segment::{LedgerEntry, Segment, Word};

const K: u32 = 8;

fn segments() -> (zisk_machine::executable::Executable, Vec<Segment>) {
    let machine = executable(include_bytes!("programs/control.elf"));
    let (_, segments) = common::run(&machine, &[], K).expect("no trap");
    (machine, segments.into_iter().map(|(segment, _)| segment).collect())
}

#[test]
fn refuses_by_name() {
    let (machine, segments) = segments();
    let good = &segments[3];
    let changed = |change: &dyn Fn(&mut Segment)| {
        let mut segment = good.clone();
        change(&mut segment);
        replay(&machine, &segment, K).map(|_| ()).expect_err("refused")
    };
    let malformed = |change: &dyn Fn(&mut Segment)| match changed(change) {
        ReplayError::Malformed(error) => error.problem,
        error => panic!("{error}"),
    };
    assert_eq!(malformed(&|s| s.steps += 1), "it has too many steps");
    assert_eq!(malformed(&|s| s.registers.truncate(63)), "it has the wrong number of registers");
    assert_eq!(malformed(&|s| s.registers[0] = 1), "its register 0 is not zero");
    assert_eq!(malformed(&|s| s.words.swap(0, 1)), "its memory words are not sorted");
    assert_eq!(malformed(&|s| s.words[0].last_tag = 4), "a memory word was last touched later");
    assert_eq!(malformed(&|s| s.end.cursor = 4), "its last ledger word is not the end state's");
    assert_eq!(malformed(&|s| s.end.image = true), "the image is not where the ledger begins");
    assert!(matches!(changed(&|s| s.steps -= 1), ReplayError::End { .. }));
    assert!(matches!(changed(&|s| s.words.truncate(1)), ReplayError::MissingWord { .. }));
    assert!(matches!(changed(&|s| s.start.pc += 1), ReplayError::NoRow { step: 1, .. }));
    let unused = Word { word: 0xb000_0000 / 8, value: 0, last_tag: 0 };
    assert_eq!(changed(&|s| s.words.push(unused)), ReplayError::UnusedWord(unused.word));
    let outside = Word { word: 0xd000_0000 / 8, ..unused };
    assert_eq!(changed(&|s| s.words.push(outside)), ReplayError::OutsideMap(outside.word));
}

fn word() -> impl Strategy<Value = u32> {
    prop_oneof![any::<u32>(), 0x1400_0000..0x1800_0000u32, 0x1000_0000..0x1000_0300u32]
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(3000))]

    #[test]
    fn never_panics(
        which in 0..12usize,
        index in prop::option::of(any::<u32>()),
        pc in prop::option::of(any::<u32>()),
        steps in prop::option::of(0..300u32),
        registers in prop::collection::vec((0..64usize, any::<u64>()), 0..4),
        words in prop::collection::vec((word(), any::<u64>(), 0..4u32), 0..8),
        ledger in prop::collection::vec((word(), any::<u64>()), 0..4),
        sort in any::<bool>(),
        k in 0..70u32,
    ) {
        thread_local!(static SEGMENTS: (zisk_machine::executable::Executable, Vec<Segment>) = segments());
        SEGMENTS.with(|(machine, segments)| {
            let mut segment = segments[which % segments.len()].clone();
            segment.index = index.unwrap_or(segment.index);
            segment.start.pc = pc.unwrap_or(segment.start.pc);
            segment.steps = steps.unwrap_or(segment.steps);
            for (register, value) in registers {
                if let Some(register) = segment.registers.get_mut(register) {
                    *register = value;
                }
            }
            segment.words.extend(words.into_iter().map(|(word, value, last_tag)| Word { word, value, last_tag }));
            segment.ledger.extend(ledger.into_iter().map(|(word, last)| LedgerEntry {
                word, initial: last, last, last_tag: 0, image: false,
            }));
            if sort {
                segment.words.sort_by_key(|word| word.word);
                segment.words.dedup_by_key(|word| word.word);
            }
            let _ = replay(machine, &segment, k);
        });
    }
}
