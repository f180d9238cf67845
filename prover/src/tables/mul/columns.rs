use crate::columns;
use crate::tables::adapter::ThreeOperands;

columns! {
    /// One step of the table.
    pub struct MulColumns<T> {
        /// State, operands, result.
        pub common: ThreeOperands<T>,
        /// a = low 64 bits of b * c.
        pub is_mul: T,
        /// a = high 64 bits of b * c, unsigned.
        pub is_mulhu: T,
        /// Low byte of each limb of b.
        pub b_low: [T; 4],
        /// Low byte of each limb of c.
        pub c_low: [T; 4],
        /// Low half of the product.
        pub low: [T; 4],
        /// Carry out of each limb of the product (there is none out of the last); those of the high half are zero for Mul.
        pub carry: [T; 7],
    }
}
