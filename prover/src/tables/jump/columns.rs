use crate::columns;
use crate::tables::adapter::{Access, Fetch};

columns! {
    /// One step of the table.
    pub struct JumpColumns<T> {
        /// State and row.
        pub fetch: Fetch<T>,
        /// Value of rs1.
        pub b: [T; 4],
        /// Read of rs1.
        pub access_b: Access<T>,
        /// The offset, a constant (i0, i1, h).
        pub imm: [T; 3],
        /// Destination of the link.
        pub rd: T,
        /// Value of rd before.
        pub prev_a: [T; 4],
        /// Write of rd.
        pub access_a: Access<T>,
        /// Goes to (rs1 + offset) & !1.
        pub is_jalr: T,
        /// Goes to rs1 + offset.
        pub is_return: T,
        /// Where the step goes, halves.
        pub goto: [T; 2],
        /// Bit 0 of the sum for Jalr, else 0.
        pub cleared: T,
    }
}
