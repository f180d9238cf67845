//! All tables of a segment, in the order in which a proof has them.

use zisk_machine::program::Class;
use zisk_protocol::TABLES;

use super::{add, bitwise, bytes, compare, image, jump, ledger, load, mul, program, shift, store, touched};
use crate::one_of_tables;

/// Any of the tables. The discriminant is its place in a contribution's heights.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
#[repr(u8)]
#[allow(missing_docs, reason = "each is documented in its folder")]
pub enum AnyTable {
    Add,
    Bitwise,
    Shift,
    Compare,
    Jump,
    Load,
    Store,
    Mul,
    Touched,
    Ledger,
    Program,
    Bytes,
    Image,
}

impl AnyTable {
    /// All of them.
    pub const ALL: [Self; TABLES] = {
        use AnyTable::*;
        [Add, Bitwise, Shift, Compare, Jump, Load, Store, Mul, Touched, Ledger, Program, Bytes, Image]
    };

    /// The table of a class of instructions.
    pub const fn of_class(class: Class) -> Self {
        match class {
            Class::Add => Self::Add,
            Class::Bitwise => Self::Bitwise,
            Class::Shift => Self::Shift,
            Class::Compare => Self::Compare,
            Class::Jump => Self::Jump,
            Class::Load => Self::Load,
            Class::Store => Self::Store,
            Class::Mul => Self::Mul,
        }
    }

    /// Which preprocessed commitment (0: fixed, 1: image) and which matrix of it the table uses.
    pub const fn preprocessed(self) -> Option<(usize, usize)> {
        match self {
            Self::Program => Some((0, 0)),
            Self::Bytes => Some((0, 1)),
            Self::Image => Some((1, 0)),
            _ => None,
        }
    }
}

one_of_tables! {
    AnyTable {
        Add => add::Add,
        Bitwise => bitwise::Bitwise,
        Shift => shift::Shift,
        Compare => compare::Compare,
        Jump => jump::Jump,
        Load => load::Load,
        Store => store::Store,
        Mul => mul::Mul,
        Touched => touched::Touched,
        Ledger => ledger::Ledger,
        Program => program::Program,
        Bytes => bytes::Bytes,
        Image => image::Image,
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::tables::address::testing::check_degrees;

    #[test]
    fn no_table_exceeds_the_degrees_that_quotients_and_logup_allow() {
        AnyTable::ALL.iter().for_each(check_degrees);
    }
}
