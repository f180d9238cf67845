//! All tables of a segment, in the order in which a proof has them.

use zisk_machine::program::Class;
use zisk_protocol::TABLES;

use super::{add, bitwise, bytes, compare, image, jump, ledger, load, mul, program, shift, store, touched};
use crate::stark::table::{Table, TableBuilder};

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

macro_rules! each {
    ($any:expr, $table:ident => $body:expr) => {
        match $any {
            AnyTable::Add => {
                let $table = &add::Add;
                $body
            }
            AnyTable::Bitwise => {
                let $table = &bitwise::Bitwise;
                $body
            }
            AnyTable::Shift => {
                let $table = &shift::Shift;
                $body
            }
            AnyTable::Compare => {
                let $table = &compare::Compare;
                $body
            }
            AnyTable::Jump => {
                let $table = &jump::Jump;
                $body
            }
            AnyTable::Load => {
                let $table = &load::Load;
                $body
            }
            AnyTable::Store => {
                let $table = &store::Store;
                $body
            }
            AnyTable::Mul => {
                let $table = &mul::Mul;
                $body
            }
            AnyTable::Touched => {
                let $table = &touched::Touched;
                $body
            }
            AnyTable::Ledger => {
                let $table = &ledger::Ledger;
                $body
            }
            AnyTable::Program => {
                let $table = &program::Program;
                $body
            }
            AnyTable::Bytes => {
                let $table = &bytes::Bytes;
                $body
            }
            AnyTable::Image => {
                let $table = &image::Image;
                $body
            }
        }
    };
}

impl Table for AnyTable {
    fn name(&self) -> &'static str {
        each!(self, table => table.name())
    }

    fn width(&self) -> usize {
        each!(self, table => table.width())
    }

    fn preprocessed_width(&self) -> usize {
        each!(self, table => table.preprocessed_width())
    }

    #[inline(always)]
    fn eval<B: TableBuilder>(&self, preprocessed: &[B::Expr], row: &[B::Expr], builder: &mut B) {
        each!(self, table => table.eval(preprocessed, row, builder))
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
