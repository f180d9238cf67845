//! A segment's contribution: its stage-1 commitment with its public boundary.

use serde::{Deserialize, Serialize};
use zisk_machine::memory_map::HALT_PC;
use zisk_machine::segment::State;

use crate::ProtocolError;
use crate::shape::{LogHeights, shapes};

/// Most segments of a job: tags of segments are told apart by 16-bit look-ups.
pub const MAX_SEGMENTS: u32 = (1 << 16) - 1;
/// Number of tables a segment can have.
pub const TABLES: usize = 13;
/// Height of a table that the segment does not have.
pub const ABSENT: u8 = 0xff;
/// KoalaBear's modulus: digests are eight canonical elements.
const MODULUS: u32 = (1 << 31) - (1 << 24) + 1;

/// A segment's contribution. The same bytes from every worker.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Contribution {
    /// Index of the segment.
    pub index: u32,
    /// State before it.
    pub start: State,
    /// State after it.
    pub end: State,
    /// Number of steps.
    pub steps: u32,
    /// Its shape: log2 of each table's height, [`ABSENT`] for tables it does not have.
    pub log_heights: LogHeights,
    /// Root of the stage-1 commitment: eight field elements.
    pub commitment: [u32; 8],
}

impl Contribution {
    /// Compact bytes.
    pub fn to_bytes(&self) -> Vec<u8> {
        postcard::to_stdvec(self).expect("a contribution serialises")
    }

    /// Reads and checks the bytes posted for segment `index`.
    pub fn from_bytes(index: u32, bytes: &[u8]) -> Result<Self, ProtocolError> {
        let malformed = |reason: String| ProtocolError::Malformed { index, reason };
        let (contribution, rest): (Self, _) =
            postcard::take_from_bytes(bytes).map_err(|e| malformed(format!("not a contribution: {e}")))?;
        if !rest.is_empty() {
            return Err(malformed(format!("{} bytes too many", rest.len())));
        }
        if contribution.index != index {
            return Err(malformed(format!("it is for segment {}", contribution.index)));
        }
        if index >= MAX_SEGMENTS {
            return Err(malformed(format!("a job has at most {MAX_SEGMENTS} segments")));
        }
        contribution.check().map_err(malformed)?;
        Ok(contribution)
    }

    fn check(&self) -> Result<(), String> {
        if self.commitment.iter().any(|&x| x >= MODULUS) {
            return Err("its commitment is not made of field elements".into());
        }
        if self.start.cursor >= MODULUS || self.end.cursor >= MODULUS {
            return Err("its ledger cursor is not a field element".into());
        }
        if !shapes().contains(&self.log_heights) {
            return Err("its tables have the heights of no shape".into());
        }
        if self.steps == 0 && self.start.pc != self.end.pc {
            return Err("it changes pc without a step".into());
        }
        if self.start.image && !self.end.image {
            return Err("it takes the image back".into());
        }
        Ok(())
    }
}

/// Checks the form of a contribution posted for segment `index`.
pub fn check_contribution(index: u32, contribution: &[u8]) -> Result<(), ProtocolError> {
    Contribution::from_bytes(index, contribution).map(drop)
}

/// Checks that contributions, in order, form one chain of segments that ends halted with the whole ledger begun by the image.
/// The verifier checks the same and that the chain starts at the program's entry.
pub fn check_chain(contributions: &[Contribution]) -> Result<(), ProtocolError> {
    let error = |index: usize, reason: &str| Err(ProtocolError::Chain { index: index as u32, reason: reason.into() });
    let (Some(first), Some(last)) = (contributions.first(), contributions.last()) else {
        return error(0, "there are no segments");
    };
    if first.start.cursor != 0 || first.start.image {
        return error(0, "the first segment does not start with an empty ledger");
    }
    for (i, pair) in contributions.windows(2).enumerate() {
        if pair[0].end != pair[1].start {
            return error(i + 1, "its start is not the end of the segment before");
        }
    }
    if let Some(i) = contributions.iter().enumerate().position(|(i, c)| c.index as usize != i) {
        return error(i, "its index is not its place");
    }
    if last.end.pc != HALT_PC {
        return error(contributions.len() - 1, "the program has not halted after the last segment");
    }
    if !last.end.image {
        return error(contributions.len() - 1, "no segment holds the program's image");
    }
    Ok(())
}
