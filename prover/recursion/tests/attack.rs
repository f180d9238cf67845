//! Attacks on the machine's tables: each cell of honest traces is changed in turn; a constraint or the bus must notice. A small circuit with every
//! operation is attacked in every row, the lifts and joins of a real job in a sample (`ZISK_ATTACK_SEED` chooses it): `ZISK_ATTACK_ALL=1`
//! attacks every row of those, too.

mod samples;

use p3_field::PrimeCharacteristicRing;
use p3_matrix::Matrix;
use p3_matrix::dense::RowMajorMatrix;
use samples::segments::{CHALLENGE, Proven, job};
use samples::{Random, WEAK, all, every_operation, inputs, seed};
use zisk_prover::stark::check::{Balance, FreeCell, attack_rows, check_row, check_table};
use zisk_prover::stark::config::{Challenge, EXTENSION_DEGREE, Val};
use zisk_prover::stark::table::{Bus, Columns, Table};
use zisk_recursion::circuit::Circuit;
use zisk_recursion::gadgets::segment::SegmentShape;
use zisk_recursion::gadgets::tree::TreeShape;
use zisk_recursion::machine::arithmetic::{ArithmeticColumns, ArithmeticKind, LANES};
use zisk_recursion::machine::{MachineTable, TABLES};
use zisk_recursion::tree::{Kind, Node, Tree};

/// A circuit executed: it is satisfied, and its bus balances.
fn executed(circuit: &Circuit, inputs: &[Challenge]) -> [RowMajorMatrix<Val>; TABLES] {
    let memory = circuit.execute(inputs).expect("the circuit holds");
    let traces = circuit.traces(&memory);
    let mut balance = Balance::new();
    for table in MachineTable::ALL {
        check_table(&table, Some(&circuit.preprocessed[table as usize]), &traces[table as usize], 0, &mut balance)
            .expect("honest");
    }
    // What is left on the bus is what the verifier takes off it: the public values.
    let publics = memory.publics(circuit);
    assert_eq!(balance.len(), publics.len());
    for ((bus, tuple), multiplicity) in balance {
        assert_eq!((bus, multiplicity), (Bus::Cell, Val::ONE));
        let value: Vec<Val> = tuple[1..].iter().map(|&x| Val::from_u32(x)).collect();
        assert_eq!(value, p3_field::BasedVectorSpace::<Val>::as_basis_coefficients_slice(&publics[tuple[0] as usize]));
    }
    traces
}

/// Why a cell may be free: its row is padding, which is on no bus (no row looks at another one), or it is an operand that a gate
/// does not have.
fn unused(table: MachineTable, fixed: &[Val], column: usize) -> bool {
    let zero = |xs: &[Val]| xs.iter().all(|&x| x == Val::ZERO);
    if table != MachineTable::Arithmetic {
        return zero(fixed);
    }
    assert_eq!(ArithmeticColumns::<u32>::WIDTH, LANES * 4 * EXTENSION_DEGREE);
    let (lane, slot) = (column / (4 * EXTENSION_DEGREE), column / EXTENSION_DEGREE % 4);
    let kind = &ArithmeticKind::of(fixed).lanes[lane];
    let [a_scale, b_scale, c_scale] = kind.scales;
    let factors = [vec![kind.product, a_scale], vec![kind.product, b_scale], vec![c_scale], vec![Val::ONE]];
    zero(&factors[slot]) && kind.slots[slot].multiplicity == Val::ZERO
}

fn check(table: MachineTable, fixed: &RowMajorMatrix<Val>, trace: &RowMajorMatrix<Val>, rows: Vec<usize>) {
    let free: Vec<FreeCell> = attack_rows(&table, Some(fixed), trace, 0, rows);
    for FreeCell { row, column } in free {
        let fixed = &fixed.values[row * fixed.width..(row + 1) * fixed.width];
        assert!(unused(table, fixed, column), "{}: row {row}, column {column} is free", table.name());
    }
}

#[test]
fn no_cell_of_a_circuit_is_free() {
    let mut random = Random(1);
    let circuit = every_operation();
    for _ in 0..if all() { 16 } else { 2 } {
        let traces = executed(&circuit, &inputs(&mut random, &circuit));
        for table in MachineTable::ALL {
            let trace = &traces[table as usize];
            check(table, &circuit.preprocessed[table as usize], trace, (0..trace.height()).collect());
        }
    }
}

/// Rows of a table of so many to attack.
fn sample(random: &mut Random, used: usize, height: usize) -> Vec<usize> {
    const SAMPLE: usize = 40;
    if all() || height <= SAMPLE {
        return (0..height).collect();
    }
    (0..SAMPLE - 2).map(|_| random.below(used)).chain([0, height - 1]).collect()
}

#[test]
fn no_cell_of_a_lift_or_a_join_is_free() {
    let (key, segments) = job();
    let (first, last) = (&segments[0], &segments[segments.len() - 1]);
    let shapes = [first.contribution.log_heights, last.contribution.log_heights];
    let lifted = shapes.map(|heights| SegmentShape::new(WEAK, heights).expect("a shape"));
    let tree = Tree::new(TreeShape::fitting(WEAK, &lifted), WEAK, &shapes).expect("a tree");
    let mut random = Random(seed());
    let mut attacked = |circuit: u32, inputs: &[Challenge]| {
        let circuit = &tree.proving_key(circuit).expect("built").circuit;
        let traces = executed(circuit, inputs);
        for table in MachineTable::ALL {
            let rows = circuit.operations(table).div_ceil(if table == MachineTable::Arithmetic { LANES } else { 1 });
            let at = table as usize;
            let rows = sample(&mut random, rows, traces[at].height());
            check(table, &circuit.preprocessed[at], &traces[at], rows);
        }
    };
    let mut lift = |Proven { contribution, proof, .. }: &Proven| {
        let circuit = tree.circuit(Kind::Lift(contribution.log_heights)).expect("one of its shapes");
        let shape = SegmentShape::new(WEAK, contribution.log_heights).expect("a shape");
        let mut inputs = tree.keys_root().to_vec();
        inputs.extend(shape.values(&key.verifying, &CHALLENGE, contribution, proof).expect("the circuit's shape"));
        attacked(circuit, &inputs);
        tree.lift(&key.verifying, &CHALLENGE, contribution, proof).expect("an honest segment")
    };
    lift(last);
    let [left, right]: [Node; 2] = [lift(first), lift(&segments[1])];
    let children = [tree.child(&left).expect("a node"), tree.child(&right).expect("a node")];
    let sizes = children.map(|child| tree.shape.size(&child.key.log_heights).expect("one of the tree's"));
    let join = tree.circuit(Kind::Join(sizes)).expect("there are all four");
    attacked(join, &tree.shape.join_values(tree.all_keys(), children).expect("the circuit's shape"));
}

#[test]
fn a_bit_that_is_not_read_cannot_swap() {
    // Neither of a row without a bit, nor of one with another bit than the one read; the rest of the row is as for the forged bit.
    let mut random = Random(2);
    let circuit = every_operation();
    let traces = executed(&circuit, &inputs(&mut random, &circuit));
    let at = MachineTable::Permutation as usize;
    let (fixed, trace) = (&circuit.preprocessed[at], &traces[at]);
    use zisk_recursion::machine::permutation::{PermutationColumns, PermutationKind};
    for row in 0..circuit.operations(MachineTable::Permutation) {
        let fixed = &fixed.values[row * fixed.width..(row + 1) * fixed.width];
        let mut cells = trace.values[row * trace.width..(row + 1) * trace.width].to_vec();
        let honest = check_row(&MachineTable::Permutation, fixed, &cells, 0);
        assert!(honest.broken.is_empty());
        let kind = PermutationKind::of(fixed);
        let forged = PermutationColumns::of_mut(&mut cells);
        forged.bit = Val::ONE - forged.bit;
        let from = if forged.bit == Val::ONE { 2 } else { 0 };
        forged.first = [kind.input[from].address, kind.input[from + 1].address];
        forged.input.rotate_left(8);
        forged.fill_rounds();
        assert_ne!(check_row(&MachineTable::Permutation, fixed, &cells, 0), honest, "row {row}");
    }
}

#[test]
fn only_the_canonical_bits_are_bits() {
    // x and x + p have 31 bits for x up to 2^24 - 2: the bits of x + p must be refused.
    use zisk_recursion::machine::bits::{BitsColumns, HIGH};
    let table = MachineTable::Bits;
    let fixed = vec![Val::ZERO; table.preprocessed_width()];
    let row = |number: u32| {
        let mut cells = vec![Val::ZERO; table.width()];
        let columns = BitsColumns::of_mut(&mut cells);
        columns.bits = std::array::from_fn(|i| Val::from_u32(number >> i & 1));
        let all = |n: usize| columns.bits[HIGH..HIGH + n].iter().copied().product();
        columns.all_high = [all(3), all(5), all(7)];
        check_row(&table, &fixed, &cells, 0).broken.is_empty()
    };
    const P: u32 = 0x7f00_0001;
    for honest in [0, 1, 0x00ff_ffff, 0x7eff_ffff, P - 1] {
        assert!(row(honest), "{honest:#x}");
    }
    for forged in [P, P + 1, P + 0x1234, 0x7fff_ffff] {
        assert!(!row(forged), "{forged:#x}");
    }
}

#[test]
fn degrees_are_what_quotients_and_logup_allow() {
    let mut random = Random(3);
    for table in MachineTable::ALL {
        zisk_prover::stark::check::check_degrees(&table, || random.val());
    }
}
