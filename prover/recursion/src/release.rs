//! The tree of this release: its parameters, the heights of its circuits' tables, and their keys, which are pinned in `keys.txt`.
//! `prover/recursion/tests/keys.rs` makes them again and compares.

use std::sync::LazyLock;

use p3_field::PrimeCharacteristicRing;
use zisk_protocol::shape::shapes;
use zisk_prover::stark::config::{Parameters, Val};

use crate::gadgets::openings::WrongShape;
use crate::gadgets::tree::{Size, TreeShape};
use crate::machine::TABLES;
use crate::tree::{Tree, TreeError};

/// Parameters of the segment proofs that can be lifted: the defaults.
pub fn segment_parameters() -> Parameters {
    Parameters::default()
}

/// Of the tree's circuits: a lower rate than for segments, so that there are half the queries, which are what a join costs.
const PARAMETERS: Parameters =
    Parameters { log_blowup: 2, queries: 50, query_grinding_bits: 16, logup_grinding_bits: 16, max_log_arity: 3 };
/// log2 heights of their tables (arithmetic, horner, permutation, split, bits): a join's, and twice as many permutations. Segments with few
/// different heights have a lift that is no larger than a join.
const LOG_HEIGHTS: [[u8; TABLES]; 2] = [[15, 14, 15, 11, 7], [15, 14, 16, 11, 7]];

/// The shape of this release's tree.
pub fn shape() -> TreeShape {
    TreeShape { parameters: PARAMETERS, log_heights: LOG_HEIGHTS }
}

/// A line for each circuit: its size, and the commitment that is its key.
const KEYS: &str = include_str!("keys.txt");

/// The pinned keys as lines.
pub fn lines(tree: &Tree) -> Result<String, TreeError> {
    use p3_field::PrimeField32;
    let mut text = String::new();
    for key in tree.keys() {
        let size = match tree.shape.size(&key.log_heights)? {
            Size::Small => "small",
            Size::Large => "large",
        };
        let numbers = crate::gadgets::tree::root(&key.commitment)?.map(|x| format!("{:08x}", x.as_canonical_u32()));
        text += &format!("{size} {}\n", numbers.join(" "));
    }
    Ok(text)
}

fn commitments(text: &str) -> Result<Vec<(Size, [Val; 8])>, WrongShape> {
    let damaged = WrongShape("keys.txt is damaged");
    let line = |line: &str| {
        let mut words = line.split(' ');
        let size = match words.next() {
            Some("small") => Size::Small,
            Some("large") => Size::Large,
            _ => return Err(damaged.clone()),
        };
        let numbers = words.map(|word| u32::from_str_radix(word, 16).map(Val::from_u32)).collect::<Result<Vec<_>, _>>();
        let root = numbers.ok().and_then(|numbers| numbers.try_into().ok()).ok_or(damaged.clone())?;
        Ok((size, root))
    };
    text.lines().map(line).collect()
}

/// The tree of this release.
pub fn tree() -> Result<&'static Tree, TreeError> {
    static TREE: LazyLock<Result<Tree, TreeError>> =
        LazyLock::new(|| Tree::pinned(shape(), segment_parameters(), shapes(), &commitments(KEYS)?));
    TREE.as_ref().map_err(Clone::clone)
}
