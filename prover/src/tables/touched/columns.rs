use crate::columns;

columns! {
    /// One touched word, or the row that ends the chain.
    pub struct TouchedColumns<T> {
        /// A word.
        pub is_word: T,
        /// The end of the chain.
        pub is_end: T,
        /// The word before in the chain, 0 for the first.
        pub prev_word: T,
        /// Word number.
        pub word: T,
        /// High part of (word - prev_word - 1), 14 bits; the low 16 bits are looked up as an expression.
        pub gap_hi: T,
        /// Value before the segment.
        pub before: [T; 4],
        /// Value after it.
        pub after: [T; 4],
        /// Tag of the last segment before that touched the word; 0 for none.
        pub last_tag: T,
        /// Timestamp of its last access in this segment; 0 for none.
        pub last_ts: T,
    }
}
