//! Exact check of a trace, row by row and without randomness: what tests and `--verify-constraints` use.

use std::collections::BTreeMap;

use p3_field::{PrimeCharacteristicRing, PrimeField32};
use p3_koala_bear::KoalaBear;
use p3_matrix::Matrix;
use p3_matrix::dense::RowMajorMatrix;

use super::table::{Bus, Table, TableBuilder};

/// Net multiplicity of each tuple; balanced when empty.
pub type Balance = BTreeMap<(Bus, Vec<u32>), KoalaBear>;

/// What evaluating one row gives.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct RowOutcome {
    /// Numbers of the constraints that are not zero, in order of evaluation.
    pub broken: Vec<usize>,
    /// Net multiplicities of the tuples on buses (zero entries removed).
    pub balance: Balance,
}

struct RowBuilder {
    outcome: RowOutcome,
    count: usize,
    tag: KoalaBear,
}

impl TableBuilder for RowBuilder {
    type Expr = KoalaBear;

    fn assert_zero(&mut self, expr: KoalaBear) {
        if expr != KoalaBear::ZERO {
            self.outcome.broken.push(self.count);
        }
        self.count += 1;
    }

    fn interact(&mut self, bus: Bus, multiplicity: KoalaBear, tuple: &[KoalaBear]) {
        let key = (bus, tuple.iter().map(|x| x.as_canonical_u32()).collect());
        add(&mut self.outcome.balance, key, multiplicity);
    }

    fn tag(&self) -> KoalaBear {
        self.tag
    }
}

fn add(balance: &mut Balance, key: (Bus, Vec<u32>), multiplicity: KoalaBear) {
    let entry = balance.entry(key.clone()).or_insert(KoalaBear::ZERO);
    *entry += multiplicity;
    if *entry == KoalaBear::ZERO {
        balance.remove(&key);
    }
}

impl Bus {
    /// For look-up buses: whether the tuple is in the fixed table that answers. `None` for all other buses.
    pub fn look_up(self, tuple: &[u32]) -> Option<bool> {
        let bytes = |xs: &[u32]| xs.iter().all(|&x| x < 256);
        Some(match (self, tuple) {
            (Self::Range16, &[x]) => x < 1 << 16,
            (Self::Bytes, xs @ &[_, _]) => bytes(xs),
            (Self::And, xs @ &[x, y, z]) => bytes(xs) && x & y == z,
            _ => return None,
        })
    }
}

impl RowOutcome {
    /// What others can notice of this row: broken constraints, look-ups that no fixed table answers, and tuples on all other buses.
    /// Look-ups that do hold are left out: a forger would adjust the fixed table's multiplicities.
    pub fn noticeable(mut self) -> Self {
        self.balance.retain(|(bus, tuple), _| bus.look_up(tuple) != Some(true));
        self
    }
}

/// Evaluates one row.
pub fn check_row<A: Table>(table: &A, preprocessed: &[KoalaBear], row: &[KoalaBear], tag: u32) -> RowOutcome {
    let mut builder = RowBuilder { outcome: RowOutcome::default(), count: 0, tag: KoalaBear::from_u32(tag) };
    table.eval(preprocessed, row, &mut builder);
    builder.outcome
}

/// Evaluates all rows of a table: the first broken constraint as (row, constraint), and adds its tuples to `balance`.
pub fn check_table<A: Table>(
    table: &A,
    preprocessed: Option<&RowMajorMatrix<KoalaBear>>,
    trace: &RowMajorMatrix<KoalaBear>,
    tag: u32,
    balance: &mut Balance,
) -> Result<(), String> {
    for r in 0..trace.height() {
        let width = trace.width();
        let row = &trace.values[r * width..(r + 1) * width];
        let fixed = preprocessed.map_or(&[][..], |p| &p.values[r * p.width()..(r + 1) * p.width()]);
        let outcome = check_row(table, fixed, row, tag);
        if let Some(constraint) = outcome.broken.first() {
            return Err(format!("table {}: row {r} breaks constraint {constraint}", table.name()));
        }
        for (key, multiplicity) in outcome.balance {
            add(balance, key, multiplicity);
        }
    }
    Ok(())
}

/// A cell that can be changed without any constraint or bus noticing.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct FreeCell {
    /// Row of the trace.
    pub row: usize,
    /// Column of the trace.
    pub column: usize,
}

/// Attacks a table: changes each cell of the given rows in turn (to several other values) and returns the cells where some
/// change breaks no constraint, asks no look-up that fails, and changes nothing on any other bus.
pub fn attack_rows<A: Table>(
    table: &A,
    preprocessed: Option<&RowMajorMatrix<KoalaBear>>,
    trace: &RowMajorMatrix<KoalaBear>,
    tag: u32,
    rows: impl IntoIterator<Item = usize>,
) -> Vec<FreeCell> {
    let width = trace.width();
    let mut free = Vec::new();
    for r in rows {
        let honest = &trace.values[r * width..(r + 1) * width];
        let fixed = preprocessed.map_or(&[][..], |p| &p.values[r * p.width()..(r + 1) * p.width()]);
        let expected = check_row(table, fixed, honest, tag).noticeable();
        assert!(expected.broken.is_empty(), "table {}: honest row {r} breaks {:?}", table.name(), expected.broken);
        for column in 0..width {
            let value = honest[column];
            let forgeries = [
                value + KoalaBear::ONE,
                value - KoalaBear::ONE,
                KoalaBear::ONE - value,
                KoalaBear::ZERO,
                -value,
                value + KoalaBear::from_u32(1 << 8),
                value + KoalaBear::from_u32(1 << 16),
                KoalaBear::from_u32(0x1234_5678),
            ];
            let unnoticed = forgeries.into_iter().filter(|&forged| forged != value).any(|forged| {
                let mut row = honest.to_vec();
                row[column] = forged;
                check_row(table, fixed, &row, tag).noticeable() == expected
            });
            if unnoticed {
                free.push(FreeCell { row: r, column });
            }
        }
    }
    free
}

/// Records every expression, to tell its degree from its values on a line.
#[derive(Default)]
struct Recorder {
    constraints: Vec<KoalaBear>,
    multiplicities: Vec<KoalaBear>,
    tuples: Vec<KoalaBear>,
}

impl TableBuilder for Recorder {
    type Expr = KoalaBear;

    fn assert_zero(&mut self, expr: KoalaBear) {
        self.constraints.push(expr);
    }

    fn interact(&mut self, _: Bus, multiplicity: KoalaBear, tuple: &[KoalaBear]) {
        self.multiplicities.push(multiplicity);
        self.tuples.extend(tuple);
    }

    fn tag(&self) -> KoalaBear {
        KoalaBear::ONE
    }
}

/// Checks the degrees that [`TableBuilder`] asks for, on a line through random cells.
pub fn check_degrees<A: Table>(table: &A, mut cell: impl FnMut() -> KoalaBear) {
    let mut cells = || (0..table.preprocessed_width() + table.width()).map(|_| cell()).collect::<Vec<_>>();
    let (start, slope) = (cells(), cells());
    let points: Vec<_> = (0..5)
        .map(|t| {
            let row: Vec<_> = start.iter().zip(&slope).map(|(&x, &y)| x + y * KoalaBear::from_u32(t)).collect();
            let (fixed, row) = row.split_at(table.preprocessed_width());
            let mut recorder = Recorder::default();
            table.eval(fixed, row, &mut recorder);
            recorder
        })
        .collect();
    // A polynomial has degree at most d if its differences of order d + 1 are zero.
    let at_most = |degree: usize, values: fn(&Recorder) -> &[KoalaBear]| {
        for i in 0..values(&points[0]).len() {
            let mut line: Vec<_> = points.iter().map(|point| values(point)[i]).collect();
            for _ in 0..=degree {
                line = line.windows(2).map(|pair| pair[1] - pair[0]).collect();
            }
            assert!(
                line.iter().all(|&x| x == KoalaBear::ZERO),
                "table {}: expression {i} is not of degree {degree}",
                table.name()
            );
        }
    };
    at_most(3, |recorder| &recorder.constraints);
    at_most(2, |recorder| &recorder.multiplicities);
    at_most(1, |recorder| &recorder.tuples);
}
