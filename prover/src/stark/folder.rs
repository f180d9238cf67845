//! Evaluating a table's constraints: over packed rows (prover) and at a point (verifier), folded with powers of one challenge.

use p3_field::{Algebra, BasedVectorSpace, PrimeCharacteristicRing};

use super::config::{Challenge, EXTENSION_DEGREE, PackedChallenge, PackedVal, Val};
use super::table::{Bus, Table, TableBuilder};

/// Longest tuple on a bus, the bus number included.
const MAX_TUPLE: usize = 16;

/// Challenges of one scope (the buses of a segment, or those of the job): a tuple's fingerprint is
/// `alpha + bus + sum beta^(i + 1) tuple[i]`.
#[derive(Clone, Debug)]
pub struct BusChallenges {
    alpha: Challenge,
    /// beta^1, beta^2, ...
    betas: Vec<Challenge>,
    /// The same by coordinate, for packed evaluation.
    betas_by_coordinate: [Vec<Val>; EXTENSION_DEGREE],
}

impl BusChallenges {
    /// From the two challenges of a scope.
    pub fn new(alpha: Challenge, beta: Challenge) -> Self {
        let betas: Vec<Challenge> = beta.powers().skip(1).take(MAX_TUPLE).collect();
        let betas_by_coordinate = std::array::from_fn(|d| betas.iter().map(|b| b.as_basis_coefficients_slice()[d]).collect());
        Self { alpha, betas, betas_by_coordinate }
    }

    /// Fingerprint of a tuple of challenges-field elements (or of values, embedded).
    pub fn fingerprint(&self, bus: Bus, tuple: &[Challenge]) -> Challenge {
        tuple.iter().zip(&self.betas).fold(self.alpha + Val::from_u8(bus as u8), |sum, (&t, &b)| sum + b * t)
    }

    fn fingerprint_packed(&self, bus: Bus, tuple: &[PackedVal]) -> PackedChallenge {
        let start = self.alpha + Val::from_u8(bus as u8);
        let start: &[Val] = start.as_basis_coefficients_slice();
        PackedChallenge::from_basis_coefficients_fn(|d| {
            PackedVal::batched_linear_combination(tuple, &self.betas_by_coordinate[d][..tuple.len()]) + start[d]
        })
    }
}

/// Challenges of both scopes.
#[derive(Clone, Debug)]
pub struct LogUpChallenges {
    /// For buses within the segment.
    pub local: BusChallenges,
    /// For buses of the job.
    pub global: BusChallenges,
}

/// Number of constraints and interactions of a table.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Shape {
    /// Constraints written by the table itself.
    pub constraints: usize,
    /// Interactions on the segment's buses.
    pub local: usize,
    /// Interactions on the job's buses.
    pub global: usize,
}

/// Columns for `interactions` of one scope: one per two interactions, and the running sum; none without interactions.
const fn scope_columns(interactions: usize) -> usize {
    if interactions == 0 { 0 } else { interactions.div_ceil(2) + 1 }
}

impl Shape {
    /// Finds the shape of a table by evaluating it once.
    pub fn of(table: &impl Table) -> Self {
        struct Count(Shape);
        impl TableBuilder for Count {
            type Expr = Val;
            fn assert_zero(&mut self, _: Val) {
                self.0.constraints += 1;
            }
            fn interact(&mut self, bus: Bus, _: Val, tuple: &[Val]) {
                assert!(tuple.len() <= MAX_TUPLE);
                if bus.is_global() { self.0.global += 1 } else { self.0.local += 1 }
            }
            fn tag(&self) -> Val {
                Val::ZERO
            }
        }
        let mut count = Count(Self::default());
        table.eval(&vec![Val::ZERO; table.preprocessed_width()], &vec![Val::ZERO; table.width()], &mut count);
        count.0
    }

    /// Columns of the LogUp trace, each an element of [`Challenge`]: pairs and running sum of the local scope, then of the global one.
    pub const fn permutation_columns(self) -> usize {
        scope_columns(self.local) + scope_columns(self.global)
    }

    /// Column of the local running sum.
    pub const fn local_sum(self) -> Option<usize> {
        if self.local == 0 { None } else { Some(scope_columns(self.local) - 1) }
    }

    /// Column of the global running sum.
    pub const fn global_sum(self) -> Option<usize> {
        if self.global == 0 { None } else { Some(self.permutation_columns() - 1) }
    }

    /// All constraints: the table's own and those of LogUp.
    pub const fn all_constraints(self) -> usize {
        self.constraints + self.permutation_columns()
    }
}

/// An interaction with its fingerprint.
pub type Interaction<E, V> = (E, V);

/// Collects a table's constraints and interactions over packed rows.
pub struct PackedFolder<'a> {
    challenges: &'a LogUpChallenges,
    tag: PackedVal,
    /// The table's own constraints.
    pub constraints: Vec<PackedVal>,
    /// Interactions on the segment's buses: fingerprint, multiplicity.
    pub local: Vec<Interaction<PackedChallenge, PackedVal>>,
    /// Interactions on the job's buses.
    pub global: Vec<Interaction<PackedChallenge, PackedVal>>,
}

impl<'a> PackedFolder<'a> {
    /// An empty folder.
    pub fn new(challenges: &'a LogUpChallenges, tag: u32) -> Self {
        Self { challenges, tag: Val::from_u32(tag).into(), constraints: Vec::new(), local: Vec::new(), global: Vec::new() }
    }

    /// Empties it for the next rows.
    pub fn clear(&mut self) {
        self.constraints.clear();
        self.local.clear();
        self.global.clear();
    }
}

impl TableBuilder for PackedFolder<'_> {
    type Expr = PackedVal;

    fn assert_zero(&mut self, expr: PackedVal) {
        self.constraints.push(expr);
    }

    fn interact(&mut self, bus: Bus, multiplicity: PackedVal, tuple: &[PackedVal]) {
        if bus.is_global() {
            self.global.push((self.challenges.global.fingerprint_packed(bus, tuple), multiplicity));
        } else {
            self.local.push((self.challenges.local.fingerprint_packed(bus, tuple), multiplicity));
        }
    }

    fn tag(&self) -> PackedVal {
        self.tag
    }
}

/// Collects the same at a point.
pub struct PointFolder<'a> {
    challenges: &'a LogUpChallenges,
    tag: Challenge,
    constraints: Vec<Challenge>,
    local: Vec<Interaction<Challenge, Challenge>>,
    global: Vec<Interaction<Challenge, Challenge>>,
}

impl TableBuilder for PointFolder<'_> {
    type Expr = Challenge;

    fn assert_zero(&mut self, expr: Challenge) {
        self.constraints.push(expr);
    }

    fn interact(&mut self, bus: Bus, multiplicity: Challenge, tuple: &[Challenge]) {
        if bus.is_global() {
            self.global.push((self.challenges.global.fingerprint(bus, tuple), multiplicity));
        } else {
            self.local.push((self.challenges.local.fingerprint(bus, tuple), multiplicity));
        }
    }

    fn tag(&self) -> Challenge {
        self.tag
    }
}

/// The LogUp constraints of one scope, in order: per pair of interactions `h d1 d2 = m1 d2 + m2 d1`, then the running sum
/// `next - sum - (h's of the row) + mean = 0`, cyclic over all rows, so that the h's add up to height * mean.
pub fn logup_constraints<E, V>(interactions: &[Interaction<E, V>], columns: &[E], sum_next: E, mean: E, mut emit: impl FnMut(E))
where
    E: PrimeCharacteristicRing + Copy + std::ops::Mul<V, Output = E> + std::ops::Sub<V, Output = E>,
    V: Copy,
{
    if interactions.is_empty() {
        return;
    }
    let (sum, helpers) = columns.split_last().expect("a scope with interactions has a running sum");
    let mut row_sum = E::ZERO;
    for (pair, &h) in interactions.chunks(2).zip(helpers) {
        row_sum += h;
        emit(match *pair {
            [(d1, m1), (d2, m2)] => h * d1 * d2 - d2 * m1 - d1 * m2,
            [(d, m)] => h * d - m,
            _ => unreachable!("chunks of two"),
        });
    }
    emit(sum_next - *sum - row_sum + mean);
}

/// A table's columns at the point where the proof opens them.
pub struct Opened<'a> {
    /// Preprocessed columns.
    pub preprocessed: &'a [Challenge],
    /// Main columns.
    pub main: &'a [Challenge],
    /// LogUp columns.
    pub permutation: &'a [Challenge],
    /// LogUp columns at the next row.
    pub permutation_next: &'a [Challenge],
    /// Mean over the rows of the local sum.
    pub local_mean: Challenge,
    /// Mean over the rows of the global sum.
    pub global_mean: Challenge,
}

/// All constraints at a point, folded with ascending powers of `alpha`.
pub fn fold_at_point(
    table: &impl Table,
    shape: Shape,
    challenges: &LogUpChallenges,
    tag: u32,
    opened: &Opened<'_>,
    alpha: Challenge,
) -> Challenge {
    let mut folder = PointFolder {
        challenges,
        tag: Val::from_u32(tag).into(),
        constraints: Vec::with_capacity(shape.all_constraints()),
        local: Vec::new(),
        global: Vec::new(),
    };
    table.eval(opened.preprocessed, opened.main, &mut folder);
    let PointFolder { mut constraints, local, global, .. } = folder;
    let next = |column: Option<usize>| column.map_or(Challenge::ZERO, |c| opened.permutation_next[c]);
    let (local_columns, global_columns) = split_scopes(shape, opened.permutation);
    logup_constraints(&local, local_columns, next(shape.local_sum()), opened.local_mean, |c| constraints.push(c));
    logup_constraints(&global, global_columns, next(shape.global_sum()), opened.global_mean, |c| constraints.push(c));
    alpha.powers().zip(constraints).map(|(power, c)| power * c).sum()
}

/// Splits LogUp columns in those of the local and of the global scope.
pub fn split_scopes<E>(shape: Shape, columns: &[E]) -> (&[E], &[E]) {
    columns.split_at(scope_columns(shape.local))
}
