use crate::columns;
use crate::tables::adapter::Access;
use crate::tables::address::MemoryStep;

columns! {
    /// One step of the table.
    pub struct LoadColumns<T> {
        /// State, address, the word at the address.
        pub common: MemoryStep<T>,
        /// Lb, Lbu.
        pub is_byte: T,
        /// Lh, Lhu.
        pub is_half: T,
        /// Lw, Lwu.
        pub is_word: T,
        /// Ld.
        pub is_double: T,
        /// Lbu, Lhu, Lwu.
        pub unsigned: T,
        /// Destination.
        pub rd: T,
        /// Value written; 0 when misaligned.
        pub a: [T; 4],
        /// Value of rd before; 0 when misaligned.
        pub prev_a: [T; 4],
        /// Write of rd; 0 when misaligned.
        pub access_a: Access<T>,
        /// What was loaded has its sign in bit 15 of this; 0 if it has none or is misaligned.
        pub top: T,
        /// Its sign.
        pub sign: T,
    }
}
