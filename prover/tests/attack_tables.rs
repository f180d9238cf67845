//! Attacks on the tables of real segments: each cell of an honest row is changed in turn, and a constraint or a bus must notice.
//!
//! The default run takes a sample of rows, drawn with `ZISK_ATTACK_SEED` (a number); `ZISK_ATTACK_ALL=1` takes all rows.

mod jobs;

use std::collections::BTreeMap;

use jobs::Job;
use p3_field::{PrimeCharacteristicRing, PrimeField32};
use p3_koala_bear::KoalaBear;
use p3_matrix::Matrix;
use p3_matrix::dense::RowMajorMatrix;
use zisk_machine::executable::Executable;
use zisk_machine::memory_map::{RAM_START, REGISTER_WORD};
use zisk_machine::program::Class;
use zisk_machine::segment::Segment;
use zisk_machine::trace::SegmentTrace;
use zisk_prover::stark::check::{attack_rows, check_row};
use zisk_prover::stark::table::{Columns, Table};
use zisk_prover::tables::any::AnyTable;
use zisk_prover::tables::ledger::{Ledger, LedgerColumns};
use zisk_prover::tables::touched::{Touched, TouchedColumns};
use zisk_prover::tables::{bytes, image, program};
use zisk_prover::witness::Witness;

type F = KoalaBear;

/// Rows of each table that a default run attacks.
const SAMPLE: usize = 40;

/// Cells of real rows that may change freely: (table, column, reason).
const FREE: &[(AnyTable, usize, &str)] = &[];

const CLASSES: [(Class, AnyTable); 8] = [
    (Class::Add, AnyTable::Add),
    (Class::Bitwise, AnyTable::Bitwise),
    (Class::Shift, AnyTable::Shift),
    (Class::Compare, AnyTable::Compare),
    (Class::Jump, AnyTable::Jump),
    (Class::Load, AnyTable::Load),
    (Class::Store, AnyTable::Store),
    (Class::Mul, AnyTable::Mul),
];

/// Rows to attack of so many.
fn rows(count: usize, salt: u64) -> Vec<usize> {
    if count <= SAMPLE || std::env::var("ZISK_ATTACK_ALL").is_ok_and(|all| all == "1") {
        return (0..count).collect();
    }
    let seed: u64 = std::env::var("ZISK_ATTACK_SEED").ok().and_then(|seed| seed.parse().ok()).unwrap_or(1);
    // splitmix64
    let mut state = seed.wrapping_mul(0x9e37_79b9_7f4a_7c15).wrapping_add(salt);
    let mut next = || {
        state = state.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let z = (state ^ state >> 30).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        let z = (z ^ z >> 27).wrapping_mul(0x94d0_49bb_1331_11eb);
        z ^ z >> 31
    };
    // The first and the last row, where chains begin and end, and some between.
    let mut rows: Vec<usize> = (0..SAMPLE - 2).map(|_| (next() % count as u64) as usize).chain([0, count - 1]).collect();
    rows.sort_unstable();
    rows.dedup();
    rows
}

fn witness(executable: &Executable, segment: &Segment, trace: &SegmentTrace) -> Witness {
    let words = image::preprocessed(executable.program());
    Witness::new(executable.program(), &words, segment, trace).expect("a witness")
}

/// Attacks the tables of some segments of a job that ask: all but the fixed ones.
fn attack(guest: &str, input: &[u8]) {
    let executable = jobs::executable(guest);
    let job = Job::of(&executable, input, 8);
    let mut free = BTreeMap::<(AnyTable, usize), (usize, u32)>::new();
    let chosen = [0, job.segments.len() / 2, job.segments.len() - 1];
    for (segment, trace) in chosen.map(|i| &job.segments[i]) {
        let witness = witness(&executable, segment, trace);
        let mut counts: Vec<(AnyTable, usize)> =
            CLASSES.iter().map(|(class, table)| (*table, trace.steps[*class as usize].len())).collect();
        // The row that ends the chain is no word: `end_of_the_chain`.
        counts.push((AnyTable::Touched, trace.touched.len()));
        counts.push((AnyTable::Ledger, segment.ledger.len()));
        for (table, count) in counts {
            let Some(main) = witness.get(table) else { continue };
            let rows = rows(count, u64::from(segment.index) << 8 | table as u64);
            for cell in attack_rows(&table, None, main, segment.index + 1, rows) {
                if !FREE.iter().any(|(t, column, _)| (*t, *column) == (table, cell.column)) {
                    free.entry((table, cell.column)).or_insert((cell.row, segment.index));
                }
            }
        }
    }
    assert!(free.is_empty(), "{guest}: free cells (table, column): (row, segment) {free:?}");
}

#[test]
fn no_cell_of_sha_hasher_is_free() {
    attack("sha-hasher", &1u64.to_le_bytes());
}

#[test]
fn no_cell_of_memory_is_free() {
    attack("memory", &1u64.to_le_bytes());
}

#[test]
fn no_cell_of_fibonacci_is_free() {
    let input = jobs::vectors().into_iter().find(|v| v.guest == "fibonacci" && v.name == "n = 250").expect("its vector").input();
    attack("fibonacci", &input);
}

/// The fixed tables' only columns are multiplicities: every change must change what the row puts on its bus. (`attack_rows` leaves out
/// look-ups that hold, so it would see nothing here.)
#[test]
fn no_multiplicity_is_free() {
    let executable = jobs::executable("hello");
    let job = Job::of(&executable, b"world", 8);
    let (segment, trace) = job.segments.iter().find(|(s, _)| !s.start.image && s.end.image).expect("a segment with the image");
    let witness = witness(&executable, segment, trace);
    let fixed: [(AnyTable, RowMajorMatrix<F>); 3] = [
        (AnyTable::Program, program::preprocessed(executable.program())),
        (AnyTable::Bytes, bytes::preprocessed()),
        (AnyTable::Image, image::preprocessed(executable.program())),
    ];
    for (table, preprocessed) in &fixed {
        let main = witness.get(*table).expect("the segment with the image has all fixed tables");
        for r in rows(main.height(), *table as u64) {
            let fixed = &preprocessed.values[r * preprocessed.width()..(r + 1) * preprocessed.width()];
            let honest = &main.values[r * main.width()..(r + 1) * main.width()];
            let expected = check_row(table, fixed, honest, 1);
            for column in 0..honest.len() {
                for change in [F::ONE, F::NEG_ONE, F::from_u32(1 << 16)] {
                    let mut row = honest.to_vec();
                    row[column] += change;
                    assert_ne!(check_row(table, fixed, &row, 1), expected, "table {table:?} row {r} column {column}");
                }
            }
        }
    }
}

/// Whether the row breaks a constraint or asks for what no fixed table has.
fn refused(table: &impl Table, row: &[F]) -> bool {
    let outcome = check_row(table, &[], row, 3);
    !outcome.broken.is_empty() || outcome.balance.keys().any(|(bus, tuple)| bus.look_up(tuple) == Some(false))
}

fn ledger_row(fill: impl FnOnce(&mut LedgerColumns<F>)) -> Vec<F> {
    let mut row = F::zero_vec(LedgerColumns::<F>::WIDTH);
    fill(LedgerColumns::of_mut(&mut row));
    row
}

/// Two words beyond the address space between which a chain could go round the field, each listed as often as the field has
/// elements: that would cancel on the job's buses, and the chain could list every word twice. 2^32 rows, 1,024 segments.
#[test]
fn words_of_the_image_lie_in_the_address_space() {
    for (previous, word) in
        [(0x2000_0000_u32, 0x5000_0000_u32), (0x5000_0000, 0x7000_0000), (0x7000_0000, 0x2000_0000), (0, 5), (0, 0x1800_0000)]
    {
        let gap = (F::from_u32(word) - F::from_u32(previous) - F::ONE).as_canonical_u32();
        for high in [0, 1, 0x7ff, 0x800, word >> 16] {
            let row = ledger_row(|row| {
                row.is_image = F::ONE;
                row.prev_word = F::from_u32(previous);
                row.word = F::from_u32(word);
                row.gap_hi = F::from_u32(gap >> 16);
                row.offset_hi = F::from_u32(high);
            });
            assert!(refused(&Ledger, &row), "word {word:#x} after {previous:#x}");
        }
    }
}

/// Every kind of word outside its area, every order but the increasing one.
#[test]
fn ledger_words_keep_to_their_area_and_order() {
    type Mark = fn(&mut LedgerColumns<F>);
    let kinds: [(&str, Mark, u32, u32); 4] = [
        ("image", |row| row.is_image = F::ONE, 0x1000_0000, 0x1800_0000),
        ("input", |row| row.is_input = F::ONE, 0x0200_0000, 0x0600_0000),
        ("ram", |row| row.is_ram = F::ONE, 0x1400_0000, 0x1800_0000),
        ("register", |row| row.is_register = F::ONE, REGISTER_WORD, REGISTER_WORD + 64),
    ];
    for (name, mark, start, end) in kinds {
        let at = |previous: u32, word: u32| {
            let row = ledger_row(|row| {
                mark(row);
                row.prev_word = F::from_u32(previous);
                row.word = F::from_u32(word);
                row.gap_hi = F::from_u32(word.wrapping_sub(previous).wrapping_sub(1) >> 16);
                row.offset_hi = F::from_u32(word.wrapping_sub(start) >> 16);
            });
            refused(&Ledger, &row)
        };
        for word in [start, start + 1, end - 1] {
            assert!(!at(0, word) && !at(word - 1, word), "{name} {word:#x}");
            assert!(at(word, word) && at(word + 1, word), "{name} {word:#x} is not after its predecessor");
        }
        for word in [1, start - 1, end, end + 1, 0x5000_0000, 0x7eff_ffff] {
            assert!(at(0, word), "{name} {word:#x}");
        }
    }
}

/// Initial values that a kind of word cannot have.
#[test]
fn ram_and_registers_start_at_zero_and_input_in_limbs() {
    for limb in 0..4 {
        let row = |value: u32, mark: fn(&mut LedgerColumns<F>), word: u32| {
            ledger_row(|row| {
                mark(row);
                row.word = F::from_u32(word);
                row.gap_hi = F::from_u32((word - 1) >> 16);
                row.initial[limb] = F::from_u32(value);
            })
        };
        assert!(!refused(&Ledger, &row(0, |row| row.is_ram = F::ONE, RAM_START / 8)));
        assert!(refused(&Ledger, &row(1, |row| row.is_ram = F::ONE, RAM_START / 8)));
        assert!(refused(&Ledger, &row(1, |row| row.is_register = F::ONE, REGISTER_WORD)));
        assert!(!refused(&Ledger, &row(0xffff, |row| row.is_input = F::ONE, 0x0200_0000)));
        assert!(refused(&Ledger, &row(0x1_0000, |row| row.is_input = F::ONE, 0x0200_0000)));
    }
}

/// The last segment that touched a word comes before this one; the segment with tag 3 here.
#[test]
fn touched_words_come_from_earlier_segments() {
    for (last_tag, holds) in [(0, true), (1, true), (2, true), (3, false), (4, false), (0x4000_0000, false)] {
        let mut row = F::zero_vec(TouchedColumns::<F>::WIDTH);
        let columns = TouchedColumns::of_mut(&mut row);
        columns.is_word = F::ONE;
        columns.word = F::from_u32(7);
        columns.last_tag = F::from_u32(last_tag);
        assert_eq!(refused(&Touched, &row), !holds, "last tag {last_tag}");
    }
}

/// The row that ends the chain of touched words only takes the last word off it: the columns after `prev_word` are free there, for their
/// multiplicities are zero.
#[test]
fn end_of_the_chain() {
    let mut row = F::zero_vec(TouchedColumns::<F>::WIDTH);
    let columns = TouchedColumns::of_mut(&mut row);
    (columns.is_end, columns.prev_word) = (F::ONE, F::from_u32(7));
    let main = RowMajorMatrix::new(row, TouchedColumns::<F>::WIDTH);
    let free: Vec<usize> = attack_rows(&Touched, None, &main, 3, [0]).into_iter().map(|cell| cell.column).collect();
    assert_eq!(free, (3..TouchedColumns::<F>::WIDTH).collect::<Vec<_>>());
}

/// A padding row puts nothing on any bus, whatever its other cells hold.
#[test]
fn padding_is_silent() {
    for table in AnyTable::ALL.into_iter().filter(|t| t.preprocessed().is_none()) {
        let row = F::zero_vec(table.width());
        let outcome = check_row(&table, &[], &row, 1);
        assert!(outcome.broken.is_empty() && outcome.balance.is_empty(), "table {table:?}");
        for column in 0..row.len() {
            let mut row = row.clone();
            row[column] = F::from_u32(77);
            let outcome = check_row(&table, &[], &row, 1);
            assert!(!outcome.broken.is_empty() || outcome.balance.is_empty(), "table {table:?} column {column}");
        }
    }
}
