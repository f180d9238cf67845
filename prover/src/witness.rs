//! The main columns of a segment.

use p3_matrix::Matrix;
use p3_matrix::dense::RowMajorMatrix;
use zisk_machine::program::{Class, Program};
use zisk_machine::segment::Segment;
use zisk_machine::trace::SegmentTrace;
use zisk_protocol::shape::{LogHeights, cheapest_shape};
use zisk_protocol::{ABSENT, TABLES};

use crate::stark::config::{EXTENSION_DEGREE, Val};
use crate::stark::folder::Shape;
use crate::stark::prove::QUOTIENT_CHUNKS;
use crate::stark::table::Table;
use crate::tables::any::AnyTable;
use crate::tables::lookups::Counts;
use crate::tables::{add, bitwise, compare, image, instruction, jump, ledger, load, mul, program, shift, store, touched};

/// A segment's tables, filled.
pub struct Witness {
    /// Which tables, in order.
    pub tables: Vec<AnyTable>,
    /// Their main columns.
    pub traces: Vec<RowMajorMatrix<Val>>,
}

impl Witness {
    /// Fills the tables of a segment. Fails if the trace asks for what no fixed table has.
    pub fn new(
        program: &Program,
        image_words: &RowMajorMatrix<Val>,
        segment: &Segment,
        trace: &SegmentTrace,
    ) -> Result<Self, String> {
        let rows = &program.rows;
        let mut built: Vec<(AnyTable, RowMajorMatrix<Val>)> = Vec::with_capacity(TABLES);
        macro_rules! instructions {
            ($($class:ident => $table:ident),*) => {$(
                let steps = &trace.steps[Class::$class as usize];
                if !steps.is_empty() {
                    built.push((AnyTable::$class, instruction::steps(steps, rows, $table::fill)));
                }
            )*};
        }
        instructions!(
            Add => add, Bitwise => bitwise, Shift => shift, Compare => compare, Jump => jump, Load => load, Store => store, Mul => mul
        );
        built.push((AnyTable::Touched, touched::trace(&trace.touched)));
        if !segment.ledger.is_empty() {
            built.push((AnyTable::Ledger, ledger::trace(segment.start.cursor, &segment.ledger)));
        }
        let counts = Counts::new();
        for (table, columns) in &built {
            counts.add(*table, columns, segment.index + 1)?;
        }
        built.push((AnyTable::Program, program::trace(program, trace)));
        built.push((AnyTable::Bytes, counts.trace()));
        if segment.start.image != segment.end.image {
            built.push((AnyTable::Image, image::trace(image_words)));
        }
        let mut needed = [ABSENT; TABLES];
        built.iter().for_each(|(table, columns)| needed[*table as usize] = columns.height().ilog2() as u8);
        let columns = AnyTable::ALL.map(columns);
        // What is committed: what proving costs, roughly.
        let cells = |shape: &LogHeights| {
            let present = shape.iter().zip(&columns).filter(|&(&height, _)| height != ABSENT);
            present.map(|(height, columns)| columns << height).sum()
        };
        let shape = cheapest_shape(&needed, cells).ok_or_else(|| format!("no shape holds tables of log2 heights {needed:?}"))?;
        let (mut tables, mut traces) = (Vec::new(), Vec::new());
        let mut built = built.into_iter().peekable();
        for (table, height) in AnyTable::ALL.into_iter().zip(shape).filter(|&(_, height)| height != ABSENT) {
            let columns = match built.next_if(|(next, _)| *next == table) {
                Some((_, columns)) => columns,
                None => RowMajorMatrix::new(Vec::new(), table.width()),
            };
            tables.push(table);
            traces.push(instruction::pad(columns, height));
        }
        Ok(Self { tables, traces })
    }

    /// log2 heights as a contribution has them.
    pub fn log_heights(&self) -> LogHeights {
        let mut heights = [ABSENT; TABLES];
        for (table, trace) in self.tables.iter().zip(&self.traces) {
            heights[*table as usize] = trace.height().ilog2() as u8;
        }
        heights
    }

    /// The table and its columns.
    pub fn get(&self, table: AnyTable) -> Option<&RowMajorMatrix<Val>> {
        self.tables.iter().position(|t| *t == table).map(|i| &self.traces[i])
    }

    /// Names and log2 heights, for logs.
    pub fn describe(&self) -> String {
        let each = self.tables.iter().zip(&self.traces).map(|(t, m)| format!("{} 2^{}", t.name(), m.height().ilog2()));
        each.collect::<Vec<_>>().join(", ")
    }
}

/// Columns that are committed for a table.
fn columns(table: AnyTable) -> u64 {
    (table.width() + EXTENSION_DEGREE * (Shape::of(&table).permutation_columns() + QUOTIENT_CHUNKS)) as u64
}
