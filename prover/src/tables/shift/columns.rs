use crate::columns;
use crate::tables::adapter::ThreeOperands;

columns! {
    /// One step of the table.
    pub struct ShiftColumns<T> {
        /// State, operands, result.
        pub common: ThreeOperands<T>,
        /// a = b << c mod 64.
        pub is_sll: T,
        /// a = b >> c mod 64, filled with zeros.
        pub is_srl: T,
        /// a = b >> c mod 64, filled with the sign.
        pub is_sra: T,
        /// a = low 32 bits of b << c mod 32, sign-extended.
        pub is_sll_w: T,
        /// a = low 32 bits of b >> c mod 32, filled with zeros, sign-extended.
        pub is_srl_w: T,
        /// a = low 32 bits of b >> c mod 32, filled with their sign, sign-extended.
        pub is_sra_w: T,
        /// The amount mod 8.
        pub bits: [T; 3],
        /// 2^(amount mod 8) - 1.
        pub power_less_1: T,
        /// Marks amount / 8 if it is 1 to 7.
        pub move_bytes: [T; 7],
        /// Bit 5 of c where the amount does not have it (32-bit operations), else 0.
        pub ignored_bit: T,
        /// Low byte of each limb of b.
        pub b_low: [T; 4],
        /// b (for 32-bit operations: its low half) moved by amount / 8 bytes, up or down, filled with zeros or the sign.
        pub moved: [T; 4],
        /// Carry out of each limb when `moved` (left) or the result (right) is multiplied by 2^(amount mod 8).
        pub carry: [T; 4],
        /// The bits shifted out to the right, of the last byte moved: moved mod 2^(amount mod 8).
        pub rest: T,
        /// rest * 2^(8 - amount mod 8).
        pub rest_up: T,
        /// The limb whose top bit is used: Sra: top limb of b; SraW: limb 1 of b; SllW, SrlW: limb 1 of the result; else 0.
        pub signed: T,
        /// Top bit of `signed`.
        pub sign: T,
    }
}
