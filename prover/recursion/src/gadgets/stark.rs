//! Verifying a proof of many tables: what `zisk_prover::stark::verify` does. The constraints are the tables' own code, evaluated on symbols.

use std::cell::RefCell;
use std::collections::HashMap;

use p3_commit::PolynomialSpace;
use p3_field::{Field, PrimeCharacteristicRing, TwoAdicField};
use zisk_prover::stark::config::{Challenge, Config, Domain, EXTENSION_DEGREE, Parameters, Val};
use zisk_prover::stark::folder::{Interaction, Shape, logup_constraints, split_scopes};
use zisk_prover::stark::prove::{Instance, QUOTIENT_CHUNKS, StarkProof, domain};
use zisk_prover::stark::table::{Bus, Table, TableBuilder};

use super::Digest;
use super::fri::{Claims, check_openings};
use super::openings::{Batch, OpeningCells, OpeningShape, WrongShape, commitment_values, ensure};
use super::symbol::{Symbol, basis_root, with_symbols};
use super::transcript::Transcript;
use crate::builder::{Builder, Cell};

/// Longest tuple on a bus.
const MAX_TUPLE: usize = 15;

/// The tables of a proof with their heights: all that a circuit fixes of it.
pub struct StarkShape<'a, A> {
    instances: &'a [Instance<'a, A>],
    shapes: Vec<Shape>,
    domains: Vec<Domain>,
    /// Shape of its opening proof.
    pub opening: OpeningShape,
}

/// Challenges of a scope of buses.
#[derive(Clone, Copy)]
pub struct BusCells {
    /// Where fingerprints start.
    pub alpha: Cell,
    /// Whose powers weigh the elements of a tuple.
    pub beta: Cell,
}

/// A tuple that the verifier itself sends or receives on a bus.
pub struct EndCells {
    /// Which bus.
    pub bus: Bus,
    /// The tuple.
    pub tuple: Vec<Cell>,
    /// Sent, or received.
    pub send: bool,
}

/// What a proof is verified against.
pub struct Statement {
    /// Commitment to the main columns.
    pub stage1: Digest,
    /// Commitments to the preprocessed columns.
    pub preprocessed: Vec<Digest>,
    /// Tag of the segment.
    pub tag: Cell,
    /// Challenges of the job's buses.
    pub global: BusCells,
    /// The verifier's own tuples.
    pub ends: Vec<EndCells>,
}

/// What a proof opens of one table.
struct TableCells {
    local_sum: Cell,
    global_sum: Cell,
    preprocessed: Vec<Cell>,
    main: Vec<Cell>,
    permutation: Vec<Cell>,
    permutation_next: Vec<Cell>,
    quotient: [[Cell; EXTENSION_DEGREE]; QUOTIENT_CHUNKS],
}

/// A proof.
pub struct StarkCells {
    logup_witness: Cell,
    permutation: Digest,
    quotient: Digest,
    tables: Vec<TableCells>,
    opening: OpeningCells,
}

impl<'a, A: Table> StarkShape<'a, A> {
    /// For tables of these log2 heights.
    pub fn new(parameters: Parameters, instances: &'a [Instance<'a, A>], log_heights: &[u8]) -> Self {
        assert_eq!(instances.len(), log_heights.len());
        let config = Config::new(parameters);
        let shapes: Vec<Shape> = instances.iter().map(|i| Shape::of(i.table)).collect();
        assert!(shapes.iter().all(|shape| shape.permutation_columns() > 0), "every table is on a bus");
        let heights: Vec<usize> = log_heights.iter().map(|&height| usize::from(height)).collect();
        let batch = |widths: Vec<usize>| Batch { matrices: heights.iter().copied().zip(widths).collect() };
        let mut batches = vec![
            batch(instances.iter().map(|i| i.table.width()).collect()),
            batch(shapes.iter().map(|shape| shape.permutation_columns() * EXTENSION_DEGREE).collect()),
            Batch { matrices: heights.iter().flat_map(|&height| [(height, EXTENSION_DEGREE); QUOTIENT_CHUNKS]).collect() },
        ];
        let rounds = instances.iter().filter_map(|i| i.preprocessed).map(|(round, _)| round + 1).max().unwrap_or(0);
        for round in 0..rounds {
            let matrices =
                preprocessed_owners(instances, round).map(|i| (heights[i], instances[i].table.preprocessed_width())).collect();
            batches.push(Batch { matrices });
        }
        let domains = heights.iter().map(|&height| domain(&config, 1 << height)).collect();
        Self { instances, shapes, domains, opening: OpeningShape::new(parameters, batches) }
    }

    fn preprocessed_rounds(&self) -> usize {
        self.opening.batches.len() - 3
    }

    fn preprocessed_width(&self, i: usize) -> usize {
        self.instances[i].preprocessed.map_or(0, |_| self.instances[i].table.preprocessed_width())
    }

    /// The values of [`StarkCells::inputs`].
    pub fn values(&self, out: &mut Vec<Challenge>, proof: &StarkProof) -> Result<(), WrongShape> {
        out.push(proof.logup_witness.into());
        out.extend(commitment_values(&proof.permutation)?);
        out.extend(commitment_values(&proof.quotient)?);
        ensure(proof.tables.len() == self.instances.len(), "number of tables")?;
        for (i, table) in proof.tables.iter().enumerate() {
            out.extend([table.local_sum, table.global_sum]);
            let permutation = self.shapes[i].permutation_columns() * EXTENSION_DEGREE;
            let columns = [
                (&table.preprocessed, self.preprocessed_width(i)),
                (&table.main, self.instances[i].table.width()),
                (&table.permutation, permutation),
                (&table.permutation_next, permutation),
            ];
            for (values, width) in columns.into_iter().chain(table.quotient.iter().map(|chunk| (chunk, EXTENSION_DEGREE))) {
                ensure(values.len() == width, "number of columns")?;
                out.extend(values);
            }
        }
        self.opening.values(out, &proof.opening)
    }
}

/// Tables whose preprocessed columns are in a commitment, in the order in which they are.
fn preprocessed_owners<'a, A>(instances: &'a [Instance<'a, A>], round: usize) -> impl Iterator<Item = usize> + 'a {
    (0..).map_while(move |matrix| instances.iter().position(|i| i.preprocessed == Some((round, matrix))))
}

impl StarkCells {
    /// Inputs for a proof, in the order of [`StarkShape::values`].
    pub fn inputs<A: Table>(b: &mut Builder, shape: &StarkShape<'_, A>) -> Self {
        let logup_witness = b.input();
        let (permutation, quotient) = (b.inputs(), b.inputs());
        let columns = |b: &mut Builder, width: usize| (0..width).map(|_| b.input()).collect::<Vec<Cell>>();
        let tables = (0..shape.instances.len())
            .map(|i| {
                let [local_sum, global_sum] = b.inputs();
                let width = shape.shapes[i].permutation_columns() * EXTENSION_DEGREE;
                TableCells {
                    local_sum,
                    global_sum,
                    preprocessed: columns(b, shape.preprocessed_width(i)),
                    main: columns(b, shape.instances[i].table.width()),
                    permutation: columns(b, width),
                    permutation_next: columns(b, width),
                    quotient: std::array::from_fn(|_| b.inputs()),
                }
            })
            .collect();
        Self { logup_witness, permutation, quotient, tables, opening: OpeningCells::inputs(b, &shape.opening) }
    }
}

/// Verifies a proof; the sum of its fractions on the job's buses. `transcript` has seen all that is public and the commitment of stage 1.
pub fn verify_stark<A: Table>(
    b: &mut Builder,
    mut transcript: Transcript,
    shape: &StarkShape<'_, A>,
    statement: &Statement,
    proof: &StarkCells,
) -> Cell {
    assert_eq!(statement.preprocessed.len(), shape.preprocessed_rounds());
    transcript.check_witness(b, usize::from(shape.opening.parameters.logup_grinding_bits), proof.logup_witness);
    let local = BusCells { alpha: transcript.sample(b), beta: transcript.sample(b) };
    transcript.observe_digest(b, proof.permutation);
    for table in &proof.tables {
        transcript.observe(b, table.local_sum);
        transcript.observe(b, table.global_sum);
    }
    let alpha = transcript.sample(b);
    transcript.observe_digest(b, proof.quotient);
    let zeta = transcript.sample(b);

    // Openings against commitments.
    let mut next_points = HashMap::new();
    for domain in &shape.domains {
        let generator = Val::two_adic_generator(domain.log_size());
        next_points.entry(domain.log_size()).or_insert_with(|| b.affine(zeta, generator, Challenge::ZERO));
    }
    let mut claims: Vec<Vec<Claims>> = vec![Vec::new(); 3];
    for (table, domain) in proof.tables.iter().zip(&shape.domains) {
        claims[0].push(vec![(zeta, table.main.clone())]);
        claims[1]
            .push(vec![(zeta, table.permutation.clone()), (next_points[&domain.log_size()], table.permutation_next.clone())]);
        claims[2].extend(table.quotient.iter().map(|chunk| vec![(zeta, chunk.to_vec())]));
    }
    for round in 0..shape.preprocessed_rounds() {
        let owners = preprocessed_owners(shape.instances, round);
        claims.push(owners.map(|i| vec![(zeta, proof.tables[i].preprocessed.clone())]).collect());
    }
    let commitments = [&[statement.stage1, proof.permutation, proof.quotient][..], &statement.preprocessed].concat();
    check_openings(b, &mut transcript, &shape.opening, &commitments, &claims, &proof.opening);

    with_symbols(b, |shared| {
        let buses = Buses { local: Fingerprints::new(shared, local), global: Fingerprints::new(shared, statement.global) };
        let at = Point { shared, zeta, alpha: Symbol::cell(shared, alpha), tag: Symbol::cell(shared, statement.tag) };
        for (i, table) in proof.tables.iter().enumerate() {
            at.check_table(shape, i, table, &buses);
        }
        // Buses of the segment, with the ends that are public.
        let sum =
            |of: fn(&TableCells) -> Cell| proof.tables.iter().map(|table| Symbol::cell(shared, of(table))).sum::<Symbol<'_>>();
        let mut local = sum(|table| table.local_sum);
        for end in &statement.ends {
            let tuple: Vec<Symbol<'_>> = end.tuple.iter().map(|&cell| Symbol::cell(shared, cell)).collect();
            let fingerprint = buses.local.of(end.bus, &tuple).to_cell(shared);
            let fraction = shared.borrow_mut().invert(fingerprint);
            let fraction = Symbol::cell(shared, fraction);
            if end.send { local += fraction } else { local -= fraction }
        }
        assert_zero(shared, local);
        sum(|table| table.global_sum).to_cell(shared)
    })
}

fn assert_zero(shared: &RefCell<Builder>, symbol: Symbol<'_>) {
    let cell = symbol.to_cell(shared);
    let zero = shared.borrow_mut().zero();
    shared.borrow_mut().connect(cell, zero);
}

/// Challenges of a scope of buses, ready for fingerprints: `alpha + bus + sum beta^(i + 1) tuple[i]`.
struct Fingerprints<'a> {
    alpha: Symbol<'a>,
    betas: Vec<Symbol<'a>>,
}

impl<'a> Fingerprints<'a> {
    fn new(shared: &'a RefCell<Builder>, cells: BusCells) -> Self {
        let beta = Symbol::cell(shared, cells.beta);
        let betas = std::iter::successors(Some(beta), |&power| Some(power * beta)).take(MAX_TUPLE).collect();
        Self { alpha: Symbol::cell(shared, cells.alpha), betas }
    }

    fn of(&self, bus: Bus, tuple: &[Symbol<'a>]) -> Symbol<'a> {
        assert!(tuple.len() <= self.betas.len());
        tuple.iter().zip(&self.betas).fold(self.alpha + Val::from_u8(bus as u8), |sum, (t, &beta)| t.mul_add(beta, sum))
    }
}

struct Buses<'a> {
    local: Fingerprints<'a>,
    global: Fingerprints<'a>,
}

/// Collects a table's constraints and interactions.
struct Folder<'a, 'b> {
    buses: &'b Buses<'a>,
    tag: Symbol<'a>,
    constraints: Vec<Symbol<'a>>,
    local: Vec<Interaction<Symbol<'a>, Symbol<'a>>>,
    global: Vec<Interaction<Symbol<'a>, Symbol<'a>>>,
}

impl<'a> TableBuilder for Folder<'a, '_> {
    type Expr = Symbol<'a>;

    fn assert_zero(&mut self, expr: Symbol<'a>) {
        self.constraints.push(expr);
    }

    fn interact(&mut self, bus: Bus, multiplicity: Symbol<'a>, tuple: &[Symbol<'a>]) {
        if bus.is_global() {
            self.global.push((self.buses.global.of(bus, tuple), multiplicity));
        } else {
            self.local.push((self.buses.local.of(bus, tuple), multiplicity));
        }
    }

    fn tag(&self) -> Symbol<'a> {
        self.tag
    }
}

/// The point where constraints are evaluated.
struct Point<'a> {
    shared: &'a RefCell<Builder>,
    zeta: Cell,
    /// Folds constraints.
    alpha: Symbol<'a>,
    tag: Symbol<'a>,
}

impl<'a> Point<'a> {
    fn symbols(&self, cells: &[Cell]) -> Vec<Symbol<'a>> {
        cells.iter().map(|&cell| Symbol::cell(self.shared, cell)).collect()
    }

    /// Base-field columns, opened at an extension point, back to columns of the extension.
    fn unflatten(&self, columns: &[Cell]) -> Vec<Symbol<'a>> {
        let root = self.shared.borrow_mut().constant(basis_root());
        let join =
            |cells: &[Cell]| cells.iter().rev().copied().reduce(|acc, cell| self.shared.borrow_mut().mul_add(acc, root, cell));
        columns
            .chunks_exact(EXTENSION_DEGREE)
            .map(|cells| Symbol::cell(self.shared, join(cells).expect("four columns")))
            .collect()
    }

    /// The constraints of a table, folded, are its quotient times the vanishing polynomial.
    fn check_table<A: Table>(&self, shape: &StarkShape<'_, A>, i: usize, table: &TableCells, buses: &Buses<'a>) {
        let (kind, domain) = (shape.shapes[i], &shape.domains[i]);
        // A scope without interactions has no column that would prove its sum.
        for (interactions, sum) in [(kind.local, table.local_sum), (kind.global, table.global_sum)] {
            if interactions == 0 {
                assert_zero(self.shared, Symbol::cell(self.shared, sum));
            }
        }
        let mut folder = Folder { buses, tag: self.tag, constraints: Vec::new(), local: Vec::new(), global: Vec::new() };
        shape.instances[i].table.eval(&self.symbols(&table.preprocessed), &self.symbols(&table.main), &mut folder);
        let Folder { mut constraints, local, global, .. } = folder;
        let permutation = self.unflatten(&table.permutation);
        let (local_columns, global_columns) = split_scopes(kind, &permutation);
        let next = |column: Option<usize>| {
            let at = |column: usize| column * EXTENSION_DEGREE..(column + 1) * EXTENSION_DEGREE;
            column.map_or(Symbol::ZERO, |column| self.unflatten(&table.permutation_next[at(column)])[0])
        };
        let mean = |sum: Cell| Symbol::cell(self.shared, sum) * Val::from_usize(domain.size()).inverse();
        logup_constraints(&local, local_columns, next(kind.local_sum()), mean(table.local_sum), |c| constraints.push(c));
        logup_constraints(&global, global_columns, next(kind.global_sum()), mean(table.global_sum), |c| constraints.push(c));
        let folded = constraints.into_iter().rev().reduce(|acc, c| acc.mul_add(self.alpha, c)).expect("a table has constraints");

        // zeta^n, of which vanishing polynomials of cosets of size n are affine functions.
        let mut power = Symbol::cell(self.shared, self.zeta);
        for _ in 0..domain.log_size() {
            power = power * power;
        }
        let vanishing = |coset: &Domain| power * coset.shift_inverse().exp_power_of_2(coset.log_size()) - Val::ONE;
        let chunks = domain.create_disjoint_domain(domain.size() * QUOTIENT_CHUNKS).split_domains(QUOTIENT_CHUNKS);
        let mut value = Symbol::ZERO;
        for (j, chunk) in table.quotient.iter().enumerate() {
            let mut weight = Symbol::ONE;
            for (_, other) in chunks.iter().enumerate().filter(|&(k, _)| k != j) {
                let at_first: Val = other.vanishing_poly_at_point(chunks[j].first_point());
                weight *= vanishing(other) * at_first.inverse();
            }
            value = weight.mul_add(self.unflatten(chunk)[0], value);
        }
        assert_zero(self.shared, folded - value * vanishing(domain));
    }
}
