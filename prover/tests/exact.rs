//! Real jobs of all guests, checked row by row and tuple by tuple: no proofs, no randomness.

mod jobs;

use std::collections::HashMap;

use jobs::Job;
use p3_field::{PrimeCharacteristicRing, PrimeField32};
use p3_koala_bear::KoalaBear;
use p3_matrix::Matrix;
use p3_matrix::dense::RowMajorMatrix;
use zisk_machine::executable::Executable;
use zisk_machine::memory_map::{EXIT_CODE_REGISTER, OUTPUT_START, REGISTER_WORD};
use zisk_machine::segment::Segment;
use zisk_machine::trace::SegmentTrace;
use zisk_prover::stark::check::{Balance, check_table};
use zisk_prover::stark::table::{Bus, Table, TableBuilder};
use zisk_prover::tables::adapter::{halves, limbs};
use zisk_prover::tables::any::AnyTable;
use zisk_prover::tables::{bytes, image, program};
use zisk_prover::witness::Witness;

type F = KoalaBear;

/// Net multiplicity of each tuple (padded with zeros: all tuples of a bus are equally long).
#[derive(Default)]
struct Sums(HashMap<(Bus, [u32; 13]), F>);

impl Sums {
    fn add(&mut self, bus: Bus, tuple: &[F], times: F) {
        let mut key = [0; 13];
        for (k, x) in key.iter_mut().zip(tuple) {
            *k = x.as_canonical_u32();
        }
        *self.0.entry((bus, key)).or_insert(F::ZERO) += times;
    }

    fn unbalanced(&self) -> Option<(&(Bus, [u32; 13]), &F)> {
        self.0.iter().find(|(_, times)| **times != F::ZERO)
    }
}

/// Like `stark::check`'s builder, but quick: adds straight to the sums of a segment.
struct Row<'a> {
    local: &'a mut Sums,
    global: &'a mut Sums,
    broken: bool,
    tag: F,
}

impl TableBuilder for Row<'_> {
    type Expr = F;

    fn assert_zero(&mut self, expr: F) {
        self.broken |= expr != F::ZERO;
    }

    fn interact(&mut self, bus: Bus, times: F, tuple: &[F]) {
        if times != F::ZERO {
            let sums = if bus.is_global() { &mut *self.global } else { &mut *self.local };
            sums.add(bus, tuple, times);
        }
    }

    fn tag(&self) -> F {
        self.tag
    }
}

struct Fixed {
    program: RowMajorMatrix<F>,
    bytes: RowMajorMatrix<F>,
    image: RowMajorMatrix<F>,
}

impl Fixed {
    fn new(executable: &Executable) -> Self {
        Self {
            program: program::preprocessed(executable.program()),
            bytes: bytes::preprocessed(),
            image: image::preprocessed(executable.program()),
        }
    }

    fn of(&self, table: AnyTable) -> Option<&RowMajorMatrix<F>> {
        match table {
            AnyTable::Program => Some(&self.program),
            AnyTable::Bytes => Some(&self.bytes),
            AnyTable::Image => Some(&self.image),
            _ => None,
        }
    }
}

fn state(clk: u32, pc: u32) -> [F; 3] {
    let [lo, hi] = halves(pc);
    [F::from_u32(clk), lo, hi]
}

/// Checks a segment by itself; adds its tuples on the job's buses to `global`.
fn check_segment(executable: &Executable, fixed: &Fixed, segment: &Segment, trace: &SegmentTrace, global: &mut Sums) {
    let witness = Witness::new(executable.program(), &fixed.image, segment, trace).expect("a witness");
    let mut local = Sums::default();
    for (table, main) in witness.tables.iter().zip(&witness.traces) {
        let preprocessed = fixed.of(*table);
        let width = main.width();
        for r in 0..main.height() {
            let mut row = Row { local: &mut local, global, broken: false, tag: F::from_u32(segment.index + 1) };
            let fixed = preprocessed.map_or(&[][..], |p| &p.values[r * p.width()..(r + 1) * p.width()]);
            table.eval(fixed, &main.values[r * width..(r + 1) * width], &mut row);
            assert!(!row.broken, "segment {}, table {}, row {r}", segment.index, table.name());
        }
    }
    // The public ends, as the verifier has them.
    local.add(Bus::State, &state(1, segment.start.pc), F::ONE);
    local.add(Bus::State, &state(segment.steps + 1, segment.end.pc), F::NEG_ONE);
    local.add(Bus::LedgerChain, &[F::from_u32(segment.start.cursor)], F::ONE);
    local.add(Bus::LedgerChain, &[F::from_u32(segment.end.cursor)], F::NEG_ONE);
    local.add(Bus::TouchedChain, &[F::ZERO], F::ONE);
    assert_eq!(local.unbalanced(), None, "segment {}", segment.index);
}

fn check_job(executable: &Executable, fixed: &Fixed, job: &Job) {
    let mut global = Sums::default();
    for (segment, trace) in &job.segments {
        check_segment(executable, fixed, segment, trace, &mut global);
    }
    let outputs = job.public.outputs.chunks_exact(2).map(|pair| u64::from(pair[0]) | u64::from(pair[1]) << 32);
    let exit_code = (REGISTER_WORD + u32::from(EXIT_CODE_REGISTER), job.public.exit_code);
    for (word, value) in (OUTPUT_START / 8..).zip(outputs).chain([exit_code]) {
        let [v0, v1, v2, v3] = limbs(value);
        global.add(Bus::Public, &[F::from_u32(word), v0, v1, v2, v3], F::NEG_ONE);
    }
    assert_eq!(global.unbalanced(), None, "global buses");
}

/// The first and the last vector of a guest that exit soon enough.
fn guest_balances(guest: &str) {
    let executable = jobs::executable(guest);
    let fixed = Fixed::new(&executable);
    let inputs: Vec<_> = jobs::vectors().iter().filter(|v| v.guest == guest && v.trap.is_none()).map(|v| v.input()).collect();
    let runs: Vec<_> = inputs.iter().filter_map(|i| jobs::steps(&executable, i).map(|steps| (steps, i))).collect();
    let most = runs.iter().filter(|run| run.0 <= 60_000).max_by_key(|run| run.0);
    let run = most.or(runs.iter().min_by_key(|run| run.0));
    let Some((steps, input)) = run else { panic!("{guest} has no vector that ends within {} steps", jobs::MAX_STEPS) };
    let job = Job::of(&executable, input, 8);
    println!("{guest}: {steps} steps, {} segments", job.segments.len());
    assert!(job.segments.iter().filter(|s| s.0.steps > 0).count() >= 8 || *steps < 128);
    check_job(&executable, &fixed, &job);
}

macro_rules! guests {
    ($($test:ident: $guest:literal),* $(,)?) => {
        $(#[test] fn $test() { guest_balances($guest); })*
        const GUESTS: &[&str] = &[$($guest),*];
    };
}

guests!(
    sha_hasher: "sha-hasher", fibonacci: "fibonacci", hello: "hello", exit_one: "exit-one", memory: "memory",
    precompiles: "precompiles", trap: "trap",
);

#[test]
fn no_guest_is_forgotten() {
    for vector in jobs::vectors() {
        // The same source as sha-hasher, for another instruction set.
        assert!(vector.guest == "sha-hasher-im" || GUESTS.contains(&&vector.guest[..]), "{} is not checked", vector.guest);
    }
}

/// The quick builder above and `stark::check` see the same.
#[test]
fn quick_builder_agrees_with_check_table() {
    let executable = jobs::executable("hello");
    let fixed = Fixed::new(&executable);
    let job = Job::of(&executable, b"world", 8);
    let (segment, trace) = &job.segments[1];
    let witness = Witness::new(executable.program(), &fixed.image, segment, trace).expect("a witness");
    let mut balance = Balance::new();
    for (table, main) in witness.tables.iter().zip(&witness.traces) {
        check_table(table, fixed.of(*table), main, segment.index + 1, &mut balance).expect("an honest table");
    }
    balance.retain(|(bus, _), _| !bus.is_global());
    // What is left are the ends that are public.
    let buses: Vec<Bus> = balance.keys().map(|(bus, _)| *bus).collect();
    assert_eq!(buses, [Bus::State, Bus::State, Bus::TouchedChain]);
}
