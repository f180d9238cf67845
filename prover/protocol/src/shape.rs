//! Shapes: the heights that a segment's tables can have. They are few, because there is one recursive circuit for each (docs/recursion.md).

use std::sync::LazyLock;

use crate::contribution::{ABSENT, TABLES};

/// log2 heights of a segment's tables, [`ABSENT`] for tables it does not have.
pub type LogHeights = [u8; TABLES];

/// Tables that hold steps: the first ones.
const INSTRUCTIONS: usize = 8;
// Places of the other tables.
const TOUCHED: usize = INSTRUCTIONS;
const LEDGER: usize = 9;
const PROGRAM: usize = 10;
const BYTES: usize = 11;
const IMAGE: usize = 12;

/// log2 height of the table of all pairs of bytes.
const LOG_BYTES: u8 = 16;
/// log2 of the longest segment.
pub const LOG_MAX_STEPS: u8 = 20;

/// A mix of instructions: how far, in log2, the heights are below the size of the segment. Add, bitwise, shift, compare, jump, load, store,
/// multiply; touched words. Few different heights: each costs every query of a lift a level of every Merkle path and a round of FRI.
type Mix = [u8; INSTRUCTIONS + 1];

/// A bit of everything: the next sizes but one hold whatever steps a segment has.
const MIXED: Mix = [1, 2, 2, 2, 2, 2, 2, 2, 4];
/// Whatever the steps are. (As many words as steps cannot be touched: an address register serves for 512 words.)
const ANY: Mix = [0; INSTRUCTIONS + 1];
/// What the guests measured need, and a little more.
const MEASURED: [Mix; 6] = [
    [2, 1, 1, 6, 6, 4, 4, 6, 6], // SHA-256
    [2, 1, 1, 6, 6, 2, 3, 6, 6], // Keccak
    [2, 0, 1, 6, 6, 2, 3, 6, 6], // Keccak, where more than half is logic
    [0, 6, 6, 2, 6, 6, 6, 6, 6], // sums
    [1, 4, 4, 2, 4, 2, 2, 6, 6], // memory
    [1, 2, 2, 2, 4, 2, 2, 4, 4], // few calls, few products
];

/// A class of programs: log2 heights of the tables of rows and of image words, and the sizes of segments that have shapes.
struct Class {
    program: u8,
    image: u8,
    mixed: &'static [u8],
    any: &'static [u8],
    measured: &'static [u8],
    /// Whether the measured mixes may end a job.
    measured_ends: bool,
}

/// Larger programs have fewer shapes: beside their program table, small segments gain little.
const CLASSES: [Class; 3] = [
    Class {
        program: 16,
        image: 16,
        mixed: &[13, 15, 16, 17, 18, 19, 20],
        any: &[14, 16, 18, 20],
        measured: &[16, 17, 18, 19, 20],
        measured_ends: true,
    },
    Class { program: 19, image: 19, mixed: &[16, 18, 20], any: &[18, 20], measured: &[18, 19, 20], measured_ends: false },
    Class { program: 22, image: 22, mixed: &[18, 20], any: &[20], measured: &[18, 20], measured_ends: false },
];
/// log2 heights of slices of a ledger that has segments of its own.
const LEDGERS: [u8; 3] = [14, 18, 20];

fn class_shapes(class: &Class) -> Vec<LogHeights> {
    let base = |touched: u8| {
        let mut heights = [ABSENT; TABLES];
        (heights[TOUCHED], heights[PROGRAM], heights[BYTES]) = (touched, class.program, LOG_BYTES);
        heights
    };
    let steps = |size: u8, mix: &Mix| {
        let mut heights = base(size - mix[INSTRUCTIONS]);
        (0..INSTRUCTIONS).for_each(|i| heights[i] = size - mix[i]);
        heights
    };
    let with_end = |heights: LogHeights, ledger: u8| {
        let mut heights = heights;
        (heights[LEDGER], heights[IMAGE]) = (ledger, class.image);
        heights
    };
    let mut shapes = Vec::new();
    // The segment that ends a job may hold ledger and image.
    for (mix, sizes, ledger_below) in [(&MIXED, class.mixed, 1), (&ANY, class.any, 0)] {
        for &size in sizes {
            shapes.extend([steps(size, mix), with_end(steps(size, mix), size - ledger_below)]);
        }
    }
    for (&size, mix) in class.measured.iter().flat_map(|size| MEASURED.iter().map(move |mix| (size, mix))) {
        shapes.push(steps(size, mix));
        if class.measured_ends {
            shapes.push(with_end(steps(size, mix), size - 1));
        }
    }
    // A ledger that does not fit into the last segment. Only its first slice comes with the image.
    for ledger in LEDGERS {
        let first = with_end(base(4), ledger);
        let mut next = first;
        next[IMAGE] = ABSENT;
        shapes.extend([first, next]);
    }
    shapes
}

static SHAPES: LazyLock<Vec<LogHeights>> = LazyLock::new(|| CLASSES.iter().flat_map(class_shapes).collect());

/// All shapes, in the order of the circuits that lift them.
pub fn shapes() -> &'static [LogHeights] {
    &SHAPES
}

/// log2 heights of the tables of a program with so many rows and words of image; `None` if it is too large.
pub fn program_log_heights(rows: usize, words: usize) -> Option<(u8, u8)> {
    let class = CLASSES.iter().find(|class| rows <= 1 << class.program && words <= 1 << class.image)?;
    Some((class.program, class.image))
}

/// Whether a program's tables can have these heights.
pub fn is_program(program: u8, image: u8) -> bool {
    CLASSES.iter().any(|class| (class.program, class.image) == (program, image))
}

/// The shape with the least `cost` that holds tables of these log2 heights: it has the tables with steps, and as high ones, or higher; of
/// other tables it has those that are there, program and image as high as they are.
pub fn cheapest_shape(needed: &LogHeights, cost: impl Fn(&LogHeights) -> u64) -> Option<LogHeights> {
    let fits = |shape: &&LogHeights| {
        needed.iter().zip(*shape).enumerate().all(|(table, (&needed, &height))| match table {
            PROGRAM | BYTES | IMAGE => needed == height,
            LEDGER => (needed == ABSENT) == (height == ABSENT) && (needed == ABSENT || needed <= height),
            _ => needed == ABSENT || (height != ABSENT && needed <= height),
        })
    };
    SHAPES.iter().filter(fits).min_by_key(|shape| cost(shape)).copied()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn shapes_are_few_and_no_two_alike() {
        let all: std::collections::BTreeSet<_> = shapes().iter().collect();
        assert_eq!(all.len(), shapes().len());
        assert!(all.len() < 160, "{} shapes", all.len());
        assert!(all.iter().all(|shape| shape.iter().all(|&height| height == ABSENT || (4..=22).contains(&height))));
    }

    #[test]
    fn every_segment_has_a_shape() {
        let rows = |shape: &LogHeights| shape.iter().filter(|&&height| height != ABSENT).map(|&height| 1u64 << height).sum();
        for class in &CLASSES {
            for size in 10..=LOG_MAX_STEPS {
                // All steps of one kind, of all kinds; every word touched is new; with and without the end.
                for instructions in (0..=INSTRUCTIONS).map(|kind| 1u32 << kind) {
                    for (ledger, image) in [(ABSENT, ABSENT), (4, class.image), (size, class.image), (size, ABSENT)] {
                        let mut needed = [ABSENT; TABLES];
                        for table in (0..INSTRUCTIONS).filter(|i| instructions >> i & 1 == 1 || instructions >> INSTRUCTIONS == 1)
                        {
                            needed[table] = size;
                        }
                        (needed[TOUCHED], needed[PROGRAM], needed[BYTES]) = (size, class.program, LOG_BYTES);
                        (needed[LEDGER], needed[IMAGE]) = (ledger, image);
                        if ledger != ABSENT && image == ABSENT {
                            // Later slices come without steps.
                            needed[..INSTRUCTIONS].fill(ABSENT);
                            needed[TOUCHED] = 4;
                        }
                        assert!(cheapest_shape(&needed, rows).is_some(), "{needed:?}");
                    }
                }
            }
        }
    }
}
