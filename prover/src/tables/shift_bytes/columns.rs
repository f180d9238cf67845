use crate::columns;

columns! {
    /// Fixed columns: all bytes, shifted by 0 to 7 bits.
    pub struct ShiftBytesFixed<T> {
        /// The byte.
        pub x: T,
        /// 2^k.
        pub power: T,
        /// High byte of x 2^k.
        pub hi: T,
        /// Low byte of x 2^k.
        pub lo: T,
    }
}

columns! {
    /// How often each tuple is asked for.
    pub struct ShiftBytesColumns<T> {
        /// (x, 2^k, hi, lo) on `Bus::ShiftByte`.
        pub count: T,
    }
}
