use crate::columns;
use crate::tables::adapter::ThreeOperands;

columns! {
    /// One step of the table.
    pub struct AddColumns<T> {
        /// State, operands, result.
        pub common: ThreeOperands<T>,
        /// a = b + c.
        pub is_add: T,
        /// a = b - c.
        pub is_sub: T,
        /// a = low 32 bits of b + c, sign-extended.
        pub is_add_w: T,
        /// a = low 32 bits of b - c, sign-extended.
        pub is_sub_w: T,
        /// a is whatever the prover says (its limbs have 16 bits).
        pub is_advice: T,
        /// Carry out of each limb (add), borrow out of each limb (sub).
        pub carry: [T; 4],
        /// Bit 31 of the result for the 32-bit operations, else 0.
        pub sign: T,
    }
}
