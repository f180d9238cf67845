use crate::columns;
use crate::tables::adapter::{Access, Fetch, Operand};

columns! {
    /// One step of the table.
    pub struct CompareColumns<T> {
        /// State and row.
        pub fetch: Fetch<T>,
        /// Branch target in the program row, halves; the row has 0 for Slt and Sltu.
        pub alt_pc: [T; 2],
        /// Where the step goes, halves.
        pub goto: [T; 2],
        /// Value of rs1.
        pub b: [T; 4],
        /// Read of rs1.
        pub access_b: Access<T>,
        /// Second operand.
        pub c: Operand<T>,
        /// Destination; the row has 0 for branches.
        pub rd: T,
        /// Value of rd before; zero for branches.
        pub prev_a: [T; 4],
        /// Write of rd; zero for branches.
        pub access_a: Access<T>,
        /// rd = b < c, signed.
        pub is_slt: T,
        /// rd = b < c, unsigned.
        pub is_sltu: T,
        /// Jumps if b = c.
        pub is_beq: T,
        /// Jumps if b != c.
        pub is_bne: T,
        /// Jumps if b < c, signed.
        pub is_blt: T,
        /// Jumps if b >= c, signed.
        pub is_bge: T,
        /// Jumps if b < c, unsigned.
        pub is_bltu: T,
        /// Jumps if b >= c, unsigned.
        pub is_bgeu: T,
        /// Marks the most significant limb in which b and c differ; zero when b = c.
        pub differs: [T; 4],
        /// b < c, signed or unsigned as the operation has it (unsigned for Beq and Bne).
        pub less: T,
        /// Difference in the marked limb, without its sign, minus 1; 0 when b = c.
        pub gap: T,
        /// Top bit of b for signed operations, else 0.
        pub b_sign: T,
        /// Top bit of c for signed operations, else 0.
        pub c_sign: T,
    }
}
