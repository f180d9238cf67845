//! The aggregation tree of one job: which neighbours to fold as nodes land in any order.
//!
//! Segments are the leaves of a binary tree over their indices. A node at (level, index) covers the segments from
//! `index << level`; its sibling is at `index ^ 1`. At the right edge, where the sibling would begin past the last
//! segment, a node moves up as it is. So the tree has the same shape whatever the order of arrival, and its depth is
//! logarithmic.

use std::collections::{BTreeMap, BTreeSet};

/// Place of a node in the tree.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct Place {
    level: u32,
    index: u64,
}

/// Two neighbours to fold, and where the result goes.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Pair<N> {
    /// The first segment of the right node: no two folds of a tree have the same.
    pub n: u32,
    /// The node with the lower segment indices.
    pub left: N,
    /// The node that follows it.
    pub right: N,
    /// Where the fold belongs.
    pub parent: Place,
}

/// Nodes that wait for their neighbours.
#[derive(Debug)]
pub struct FoldTree<N> {
    segments: u64,
    nodes: BTreeMap<Place, N>,
    seen: BTreeSet<u32>,
}

impl<N> FoldTree<N> {
    /// A tree over `segments` segments (at least one).
    pub fn new(segments: u32) -> Self {
        Self { segments: u64::from(segments.max(1)), nodes: BTreeMap::new(), seen: BTreeSet::new() }
    }

    /// Whether the segment belongs to the tree and has not been put in yet.
    pub fn misses(&self, segment: u32) -> bool {
        u64::from(segment) < self.segments && !self.seen.contains(&segment)
    }

    /// Puts a segment's proof in. One that [`misses`](Self::misses) denies is dropped.
    pub fn insert(&mut self, segment: u32, node: N) {
        if self.misses(segment) {
            self.seen.insert(segment);
            self.folded(Place { level: 0, index: u64::from(segment) }, node);
        }
    }

    /// Puts a fold where its [`Pair::parent`] says.
    pub fn folded(&mut self, place: Place, node: N) {
        let Place { mut level, mut index } = place;
        // Without a right sibling: up until there is one, or until this is the root.
        while (1 << level) < self.segments && index % 2 == 0 && ((index + 1) << level) >= self.segments {
            level += 1;
            index /= 2;
        }
        self.nodes.insert(Place { level, index }, node);
    }

    /// Takes two neighbours that are both here, the lowest ones first.
    pub fn take_pair(&mut self) -> Option<Pair<N>> {
        let left = self
            .nodes
            .keys()
            .copied()
            .find(|place| place.index % 2 == 0 && self.nodes.contains_key(&Place { index: place.index + 1, ..*place }))?;
        let right = Place { index: left.index + 1, ..left };
        let parent = Place { level: left.level + 1, index: left.index / 2 };
        let n = u32::try_from(right.index << right.level).ok()?;
        Some(Pair { n, left: self.nodes.remove(&left)?, right: self.nodes.remove(&right)?, parent })
    }

    /// Takes the node that covers all segments, once it is there.
    pub fn take_root(&mut self) -> Option<N> {
        let root = *self.nodes.keys().find(|place| (1 << place.level) >= self.segments && place.index == 0)?;
        self.nodes.remove(&root)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Folds ranges of segments in the given order of arrival; returns the root and the number of folds.
    fn fold_all(segments: u32, order: impl Iterator<Item = u32>) -> (std::ops::Range<u32>, u32) {
        let mut tree = FoldTree::new(segments);
        let mut folds = 0;
        for segment in order {
            assert!(tree.misses(segment));
            tree.insert(segment, segment..segment + 1);
            assert!(!tree.misses(segment));
            while let Some(Pair { n, left, right, parent }) = tree.take_pair() {
                assert_eq!((left.end, n), (right.start, right.start), "neighbours, and their number");
                tree.folded(parent, left.start..right.end);
                folds += 1;
            }
        }
        (tree.take_root().expect("root"), folds)
    }

    #[test]
    fn every_count_and_order_ends_in_one_root() {
        for segments in 1..70 {
            assert_eq!(fold_all(segments, 0..segments), (0..segments, segments - 1));
            assert_eq!(fold_all(segments, (0..segments).rev()), (0..segments, segments - 1));
            // 71 is prime to all counts: a permutation that is neither order.
            let scattered = (0..segments).map(|i| (i * 71 + 5) % segments);
            assert_eq!(fold_all(segments, scattered), (0..segments, segments - 1));
        }
    }

    #[test]
    fn repeated_and_foreign_segments_are_dropped() {
        let mut tree = FoldTree::new(2);
        tree.insert(0, "a");
        tree.insert(0, "b");
        tree.insert(2, "c");
        assert_eq!(tree.take_pair(), None);
        assert_eq!(tree.take_root(), None);
        tree.insert(1, "d");
        let pair = tree.take_pair().expect("pair");
        assert_eq!((pair.left, pair.right), ("a", "d"));
        assert_eq!(tree.take_root(), None);
        tree.folded(pair.parent, "ad");
        assert_eq!(tree.take_root(), Some("ad"));
    }
}
