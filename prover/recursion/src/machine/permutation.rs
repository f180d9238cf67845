//! Poseidon2, one permutation a row: four cells in, four cells out. Under a bit the two pairs that come in change places, which
//! is a step of a Merkle path: not the values are swapped but the addresses at which they are read.

use p3_field::{Algebra, PrimeCharacteristicRing};
use p3_koala_bear::{
    GenericPoseidon2LinearLayersKoalaBear, KOALABEAR_POSEIDON2_HALF_FULL_ROUNDS, KOALABEAR_POSEIDON2_PARTIAL_ROUNDS_16,
    KOALABEAR_POSEIDON2_RC_16_EXTERNAL_FINAL, KOALABEAR_POSEIDON2_RC_16_EXTERNAL_INITIAL, KOALABEAR_POSEIDON2_RC_16_INTERNAL,
};
use p3_poseidon2::GenericPoseidon2LinearLayers;
use zisk_prover::columns;
use zisk_prover::stark::config::Val;
use zisk_prover::stark::table::{Bus, Columns, Table, TableBuilder};

use super::{Slot, base_on_bus, on_bus};

/// Elements of the state.
pub const WIDTH: usize = 16;
const FULL: usize = KOALABEAR_POSEIDON2_HALF_FULL_ROUNDS;
const PARTIAL: usize = KOALABEAR_POSEIDON2_PARTIAL_ROUNDS_16;
type Layers = GenericPoseidon2LinearLayersKoalaBear;

columns! {
    /// The preprocessed columns.
    pub struct PermutationKind<T> {
        /// The cells that come in if the bit is 0. If it is 1, the first two are read where the last two are now, and vice versa.
        pub input: [Slot<T>; 4],
        /// Whether there is a bit.
        pub swaps: T,
        /// The bit.
        pub bit: Slot<T>,
        /// The cells that go out.
        pub output: [Slot<T>; 4],
    }
}

columns! {
    /// The main columns.
    pub struct PermutationColumns<T> {
        /// The bit; 0 if there is none.
        pub bit: T,
        /// Where the first two cells of the state are read.
        pub first: [T; 2],
        /// The state that is permuted.
        pub input: [T; WIDTH],
        /// The state after each of the first full rounds.
        pub beginning: [[T; WIDTH]; FULL],
        /// The first element after the S-box of each partial round.
        pub partial: [T; PARTIAL],
        /// The state after each of the last full rounds.
        pub ending: [[T; WIDTH]; FULL],
    }
}

fn cube<E: PrimeCharacteristicRing>(x: &E) -> E {
    x.square() * x.dup()
}

fn full_round<E: Algebra<Val>>(state: &mut [E; WIDTH], constants: &[Val; WIDTH]) {
    for (x, &c) in state.iter_mut().zip(constants) {
        *x += c;
        *x = cube(x);
    }
    Layers::external_linear_layer(state);
}

impl PermutationColumns<Val> {
    /// Fills the rounds from the input.
    pub fn fill_rounds(&mut self) {
        let mut state = self.input;
        <Layers as GenericPoseidon2LinearLayers<WIDTH>>::external_linear_layer(&mut state);
        for (after, constants) in self.beginning.iter_mut().zip(&KOALABEAR_POSEIDON2_RC_16_EXTERNAL_INITIAL) {
            full_round(&mut state, constants);
            *after = state;
        }
        for (after, &constant) in self.partial.iter_mut().zip(&KOALABEAR_POSEIDON2_RC_16_INTERNAL) {
            state[0] = cube(&(state[0] + constant));
            *after = state[0];
            Layers::internal_linear_layer(&mut state);
        }
        for (after, constants) in self.ending.iter_mut().zip(&KOALABEAR_POSEIDON2_RC_16_EXTERNAL_FINAL) {
            full_round(&mut state, constants);
            *after = state;
        }
    }
}

/// The table.
pub struct Permutation;

impl Table for Permutation {
    fn name(&self) -> &'static str {
        "permutation"
    }

    fn width(&self) -> usize {
        PermutationColumns::<u32>::WIDTH
    }

    fn preprocessed_width(&self) -> usize {
        PermutationKind::<u32>::WIDTH
    }

    fn eval<B: TableBuilder>(&self, preprocessed: &[B::Expr], row: &[B::Expr], builder: &mut B) {
        let kind: &PermutationKind<B::Expr> = Columns::of(preprocessed);
        let row: &PermutationColumns<B::Expr> = Columns::of(row);

        // The rounds.
        let mut state = row.input.clone();
        let full = |builder: &mut B, state: &mut [B::Expr; WIDTH], constants: &[Val; WIDTH], after: &[B::Expr; WIDTH]| {
            full_round(state, constants);
            for (x, after) in state.iter_mut().zip(after) {
                builder.assert_zero(x.clone() - after.clone());
                *x = after.clone();
            }
        };
        <Layers as GenericPoseidon2LinearLayers<WIDTH>>::external_linear_layer(&mut state);
        for (after, constants) in row.beginning.iter().zip(&KOALABEAR_POSEIDON2_RC_16_EXTERNAL_INITIAL) {
            full(builder, &mut state, constants, after);
        }
        for (after, &constant) in row.partial.iter().zip(&KOALABEAR_POSEIDON2_RC_16_INTERNAL) {
            builder.assert_zero(cube(&(state[0].clone() + constant)) - after.clone());
            state[0] = after.clone();
            Layers::internal_linear_layer(&mut state);
        }
        for (after, constants) in row.ending.iter().zip(&KOALABEAR_POSEIDON2_RC_16_EXTERNAL_FINAL) {
            full(builder, &mut state, constants, after);
        }

        // The bit, and what is read where.
        builder.assert_bool(row.bit.clone());
        builder.assert_zero((B::Expr::ONE - kind.swaps.clone()) * row.bit.clone());
        base_on_bus(builder, &kind.bit, &row.bit);
        let cell =
            |elements: &[B::Expr; WIDTH], i: usize| -> [B::Expr; 4] { std::array::from_fn(|k| elements[4 * i + k].clone()) };
        for i in 0..2 {
            let (here, there) = (&kind.input[i], &kind.input[i + 2]);
            let swapped = |x: &B::Expr, y: &B::Expr| x.clone() + row.bit.clone() * (y.clone() - x.clone());
            builder.assert_zero(swapped(&here.address, &there.address) - row.first[i].clone());
            let last = here.address.clone() + there.address.clone() - row.first[i].clone();
            for (place, address, multiplicity) in [
                (i, row.first[i].clone(), swapped(&here.multiplicity, &there.multiplicity)),
                (i + 2, last, swapped(&there.multiplicity, &here.multiplicity)),
            ] {
                let [v0, v1, v2, v3] = cell(&row.input, place);
                builder.send(Bus::Cell, multiplicity, &[address, v0, v1, v2, v3]);
            }
        }
        for (i, slot) in kind.output.iter().enumerate() {
            on_bus(builder, slot, &cell(&row.ending[FULL - 1], i));
        }
    }
}
