use crate::columns;
use crate::tables::adapter::Access;
use crate::tables::address::MemoryStep;

columns! {
    /// One step of the table.
    pub struct StoreColumns<T> {
        /// State, address, the word at the address.
        pub common: MemoryStep<T>,
        /// Sb.
        pub is_byte: T,
        /// Sh, not misaligned.
        pub is_half: T,
        /// Sw, not misaligned.
        pub is_word: T,
        /// Sd, not misaligned.
        pub is_double: T,
        /// Which operation is misaligned: 0 Sh, 1 Sw, 2 Sd.
        pub which: T,
        /// Register with the value.
        pub rs2: T,
        /// Its value.
        pub c: [T; 4],
        /// Read of rs2.
        pub access_c: Access<T>,
        /// The word after the step; 0 when misaligned.
        pub after: [T; 4],
        /// Sb: second byte of the value, which is not stored; else 0.
        pub dropped: T,
        /// How much the limb at the address changes; 0 when misaligned.
        pub change: T,
    }
}
