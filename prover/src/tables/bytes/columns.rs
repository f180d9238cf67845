use crate::columns;

columns! {
    /// Fixed columns: all pairs of bytes.
    pub struct BytesFixed<T> {
        /// Low byte of the row's number.
        pub x: T,
        /// High byte of the row's number.
        pub y: T,
        /// x & y.
        pub and: T,
    }
}

columns! {
    /// How often each tuple is asked for.
    pub struct BytesColumns<T> {
        /// x + 256 y on `Bus::Range16`.
        pub range16: T,
        /// (x, y) on `Bus::Bytes`.
        pub bytes: T,
        /// (x, y, x & y) on `Bus::And`.
        pub and: T,
    }
}
