use crate::columns;

columns! {
    /// One word.
    pub struct LedgerColumns<T> {
        /// A word of the program's image: initial value from the image.
        pub is_image: T,
        /// A word of the input area: any initial value.
        pub is_input: T,
        /// A word of RAM: starts at 0.
        pub is_ram: T,
        /// A register: starts at 0.
        pub is_register: T,
        /// Its final value is public (public outputs, a0).
        pub is_public: T,
        /// The word before in the ledger, 0 for the first of all.
        pub prev_word: T,
        /// Word number.
        pub word: T,
        /// High part of (word - prev_word - 1), 14 bits.
        pub gap_hi: T,
        /// High part of (word - start of its area), 10 bits, 11 for words of the image; the low 16 bits are looked up as an expression.
        pub offset_hi: T,
        /// Value at the start of the job.
        pub initial: [T; 4],
        /// Value at its end.
        pub last: [T; 4],
        /// Tag of the last segment that touched it; 0 for none.
        pub last_tag: T,
    }
}
