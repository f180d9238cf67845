//! Which folds of one job are done where: the aggregator does one at a time and publishes what else can be folded, for whoever is
//! free. What comes back is checked before anything is built on it, and what does not come back is folded here, so that no
//! aggregation ever waits on another worker for good.
//!
//! Pure: no clock and no connections. Every fold has the number of its right node's first segment.

use std::collections::{BTreeMap, BTreeSet, HashMap, VecDeque};
use std::time::{Duration, Instant};

use zisk_common::ids::WorkerId;
use zisk_common::messages::{ObjectRef, RefusedFold};

use crate::tree::{FoldTree, Pair};

/// A fold that somebody says is done.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Claim {
    /// Who folded.
    pub worker: WorkerId,
    /// The node.
    pub node: ObjectRef,
}

/// What to do next.
#[derive(Debug, PartialEq, Eq)]
pub enum Task<N> {
    /// Fold here; then say [`Folds::folded`]. With it goes what was refused in its place.
    Fold(Pair<N>, Option<RefusedFold>),
    /// Publish it for others.
    Publish(Pair<N>),
    /// Check a claim; then say [`Folds::checked`].
    Check(Pair<N>, Claim),
}

/// What a check of a claim showed.
#[derive(Debug, PartialEq, Eq)]
pub enum Checked<N> {
    /// It is the fold.
    Good(N),
    /// It is not.
    Bad(String),
    /// It cannot be had.
    Missing,
}

#[derive(Debug)]
struct Away<N> {
    pair: Pair<N>,
    since: Instant,
    /// A claim for it is being checked.
    checking: bool,
}

/// The folds of one job under one challenge.
#[derive(Debug)]
pub struct Folds<N> {
    tree: FoldTree<N>,
    /// Whether others fold, too.
    spread: bool,
    /// How long a published fold may take until it is done here.
    patience: Duration,
    /// A fold is done here now.
    busy: bool,
    /// To be folded here, whoever else might.
    here: VecDeque<(Pair<N>, Option<RefusedFold>)>,
    away: BTreeMap<u32, Away<N>>,
    /// Claims for folds that are not due yet: of an earlier aggregator's time.
    claims: HashMap<u32, Claim>,
    done: BTreeSet<u32>,
    liars: Vec<WorkerId>,
}

impl<N: Clone> Folds<N> {
    /// Of a job with so many segments (at least one).
    pub fn new(segments: u32, spread: bool, patience: Duration) -> Self {
        Self {
            tree: FoldTree::new(segments),
            spread,
            patience,
            busy: false,
            here: VecDeque::new(),
            away: BTreeMap::new(),
            claims: HashMap::new(),
            done: BTreeSet::new(),
            liars: Vec::new(),
        }
    }

    /// Whether this segment's proof is missing.
    pub fn misses(&self, segment: u32) -> bool {
        self.tree.misses(segment)
    }

    /// A segment's proof is here and checked.
    pub fn insert(&mut self, segment: u32, node: N) {
        self.tree.insert(segment, node);
    }

    /// Workers whose folds were refused.
    pub fn liars(&self) -> &[WorkerId] {
        &self.liars
    }

    /// Somebody says that a fold is done.
    pub fn claimed(&mut self, n: u32, claim: Claim) -> Option<Task<N>> {
        if self.done.contains(&n) {
            return None;
        }
        match self.away.get_mut(&n) {
            Some(away) if away.checking => None,
            Some(away) => {
                away.checking = true;
                Some(Task::Check(away.pair.clone(), claim))
            }
            None => {
                self.claims.entry(n).or_insert(claim);
                None
            }
        }
    }

    /// The next thing to do, until there is none.
    pub fn next(&mut self, now: Instant) -> Option<Task<N>> {
        if !self.busy
            && let Some((pair, refused)) = self.here.pop_front()
        {
            self.busy = true;
            return Some(Task::Fold(pair, refused));
        }
        // Where others do not fold, pairs wait in the tree.
        if (self.spread || !self.busy)
            && let Some(pair) = self.tree.take_pair()
        {
            let claim = self.claims.remove(&pair.n);
            if claim.is_none() && !self.busy {
                self.busy = true;
                return Some(Task::Fold(pair, None));
            }
            self.away.insert(pair.n, Away { pair: pair.clone(), since: now, checking: claim.is_some() });
            return Some(match claim {
                Some(claim) => Task::Check(pair, claim),
                None => Task::Publish(pair),
            });
        }
        if self.busy {
            return None;
        }
        let late = self.away.iter().find(|(_, away)| !away.checking && now.duration_since(away.since) >= self.patience);
        let late = late.map(|(n, _)| *n)?;
        self.busy = true;
        self.away.remove(&late).map(|away| Task::Fold(away.pair, None))
    }

    /// A fold is done here.
    pub fn folded(&mut self, pair: &Pair<N>, node: N) {
        self.busy = false;
        self.put(pair, node);
    }

    /// A claim was checked.
    pub fn checked(&mut self, n: u32, worker: WorkerId, checked: Checked<N>) {
        let Some(Away { pair, .. }) = self.away.remove(&n) else { return };
        match checked {
            Checked::Good(node) => self.put(&pair, node),
            Checked::Missing => self.here.push_back((pair, None)),
            Checked::Bad(reason) => {
                if !self.liars.contains(&worker) {
                    self.liars.push(worker);
                }
                self.here.push_back((pair, Some(RefusedFold { worker, reason })));
            }
        }
    }

    fn put(&mut self, pair: &Pair<N>, node: N) {
        self.done.insert(pair.n);
        self.tree.folded(pair.parent, node);
    }

    /// Takes the node that covers all segments, once it is there.
    pub fn take_root(&mut self) -> Option<N> {
        self.tree.take_root()
    }
}

#[cfg(test)]
mod tests {
    use std::ops::Range;

    use super::*;
    use zisk_common::ids::{Digest, JobId};
    use zisk_common::messages::{ObjectKey, ObjectScope};

    const PATIENCE: Duration = Duration::from_secs(60);

    type Node = Range<u32>;

    fn claim(worker: WorkerId) -> Claim {
        let scope = ObjectScope::Node(JobId::random());
        Claim { worker, node: ObjectRef { key: ObjectKey { scope, digest: Digest::of(b"") }, size: 0 } }
    }

    fn joined(pair: &Pair<Node>) -> Node {
        assert_eq!(pair.left.end, pair.right.start, "neighbours");
        assert_eq!(pair.right.start, pair.n, "the number is the right node's first segment");
        pair.left.start..pair.right.end
    }

    fn folds(segments: u32, spread: bool) -> Folds<Node> {
        let mut folds = Folds::new(segments, spread, PATIENCE);
        for n in 0..segments {
            assert!(folds.misses(n));
            folds.insert(n, n..n + 1);
        }
        folds
    }

    #[test]
    fn one_is_folded_here_and_the_rest_by_others() {
        let (other, now) = (WorkerId::random(), Instant::now());
        for segments in 1..40 {
            let mut folds = folds(segments, true);
            let mut here = None;
            let mut away: VecDeque<Pair<Node>> = VecDeque::new();
            let mut numbers = BTreeSet::new();
            loop {
                while let Some(task) = folds.next(now) {
                    match task {
                        Task::Fold(pair, None) => {
                            assert!(here.is_none(), "one at a time");
                            numbers.insert(pair.n);
                            here = Some(pair);
                        }
                        Task::Publish(pair) => {
                            assert!(here.is_some(), "only what cannot be done here at once");
                            numbers.insert(pair.n);
                            away.push_back(pair);
                        }
                        task => panic!("{task:?}"),
                    }
                }
                // The others are faster, and one of them says it twice.
                if let Some(pair) = away.pop_back() {
                    let Some(Task::Check(checked, said)) = folds.claimed(pair.n, claim(other)) else { panic!("{pair:?}") };
                    assert_eq!((&checked, folds.claimed(pair.n, claim(other))), (&pair, None));
                    folds.checked(pair.n, said.worker, Checked::Good(joined(&pair)));
                    assert_eq!(folds.claimed(pair.n, claim(other)), None);
                } else if let Some(pair) = here.take() {
                    folds.folded(&pair, joined(&pair));
                } else {
                    break;
                }
            }
            assert_eq!((folds.take_root(), numbers.len() as u32), (Some(0..segments), segments - 1));
        }
    }

    #[test]
    fn what_others_do_not_bring_or_bring_falsely_is_folded_here() {
        let (liar, now) = (WorkerId::random(), Instant::now());
        let mut folds = folds(8, true);
        let Some(Task::Fold(first, None)) = folds.next(now) else { panic!() };
        let mut published = Vec::new();
        while let Some(Task::Publish(pair)) = folds.next(now) {
            published.push(pair);
        }
        assert_eq!(published.iter().map(|pair| pair.n).collect::<Vec<_>>(), [3, 5, 7]);
        folds.folded(&first, joined(&first));
        assert_eq!(folds.next(now), None, "they have their time");
        // One lies, one says what nobody can fetch, one says nothing.
        assert!(matches!(folds.claimed(3, claim(liar)), Some(Task::Check(..))));
        folds.checked(3, liar, Checked::Bad("nonsense".to_owned()));
        assert_eq!(folds.liars(), [liar]);
        assert!(matches!(folds.claimed(5, claim(WorkerId::random())), Some(Task::Check(..))));
        folds.checked(5, WorkerId::random(), Checked::Missing);
        let Some(Task::Fold(pair, Some(refused))) = folds.next(now) else { panic!() };
        assert_eq!((pair.n, refused.worker, refused.reason.as_str()), (3, liar, "nonsense"));
        assert_eq!(folds.next(now + PATIENCE), None, "one at a time");
        folds.folded(&pair, joined(&pair));
        let mut rest = Vec::new();
        while let Some(task) = folds.next(now + PATIENCE) {
            let Task::Fold(pair, None) = task else { panic!("{task:?}") };
            rest.push(pair.n);
            folds.folded(&pair, joined(&pair));
        }
        // Its time is over, too: 7 comes with what it makes possible.
        assert_eq!(rest, [5, 2, 7, 6, 4]);
        assert_eq!(folds.liars(), [liar], "who is slow is none");
        assert_eq!(folds.take_root(), Some(0..8));
    }

    #[test]
    fn what_an_earlier_aggregator_had_is_checked_and_not_done_again() {
        let now = Instant::now();
        let mut folds = folds(4, true);
        for n in [1, 2, 3] {
            assert_eq!(folds.claimed(n, claim(WorkerId::random())), None);
        }
        for n in [1, 3, 2] {
            let Some(Task::Check(pair, said)) = folds.next(now) else { panic!() };
            assert_eq!(pair.n, n);
            folds.checked(n, said.worker, Checked::Good(joined(&pair)));
        }
        assert_eq!((folds.next(now), folds.take_root()), (None, Some(0..4)));
    }

    #[test]
    fn bundles_are_folded_here_alone() {
        let now = Instant::now();
        let mut folds = folds(9, false);
        let mut done = 0;
        while let Some(task) = folds.next(now) {
            let Task::Fold(pair, None) = task else { panic!("{task:?}") };
            assert_eq!(folds.next(now + PATIENCE), None);
            folds.folded(&pair, joined(&pair));
            done += 1;
        }
        assert_eq!((done, folds.take_root()), (8, Some(0..9)));
    }
}
