use crate::columns;
use crate::tables::adapter::ThreeOperands;

columns! {
    /// One step of the table.
    pub struct BitwiseColumns<T> {
        /// State, operands, result.
        pub common: ThreeOperands<T>,
        /// a = b & c.
        pub is_and: T,
        /// a = b | c.
        pub is_or: T,
        /// a = b ^ c.
        pub is_xor: T,
        /// Low byte of each limb of b.
        pub b_low: [T; 4],
        /// Low byte of each limb of c.
        pub c_low: [T; 4],
        /// Bytes of b & c, whatever the operation.
        pub and: [T; 8],
    }
}
