//! Breadth first through every state, then backwards from the ends: what cannot be left is found, too.

use std::collections::HashMap;
use std::fmt;

use zisk_common::subjects::RequestKind;

use super::cluster::{Cluster, Kind, State};
use super::steps::Defect;

/// What was seen.
#[derive(Debug)]
pub struct Explored {
    pub states: usize,
    pub moves: usize,
    pub records: usize,
}

/// A rule that does not hold, with the moves that lead there.
#[derive(Debug)]
pub struct Broken {
    pub rule: String,
    path: Vec<String>,
}

impl fmt::Display for Broken {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        writeln!(f, "{}", self.rule)?;
        self.path.iter().enumerate().try_for_each(|(i, step)| writeln!(f, "{i:3}. {step}"))
    }
}

struct Search {
    cluster: Cluster,
    known: HashMap<State, u32>,
    states: Vec<State>,
    /// Whence and how each state was first reached.
    origins: Vec<Option<(u32, &'static str, u16)>>,
    /// From, to.
    progress: Vec<(u32, u32)>,
    rescues: Vec<(u32, u32)>,
}

/// Explores one job with at most `faults` faults.
///
/// # Errors
/// The first rule that does not hold.
pub fn explore(goal: RequestKind, streamed: bool, segments: u32, faults: u8, defect: Defect) -> Result<Explored, Broken> {
    let cluster = Cluster::new(goal, segments, defect);
    let mut search = Search {
        cluster,
        known: HashMap::new(),
        states: Vec::new(),
        origins: Vec::new(),
        progress: Vec::new(),
        rescues: Vec::new(),
    };
    for state in search.cluster.first(streamed, faults) {
        search.number(state, None);
    }
    let (mut next, mut moves, mut ends) = (0, 0, Vec::new());
    while let Some(&state) = search.states.get(next) {
        let from = next as u32;
        let found = search.cluster.moves(&state).map_err(|rule| search.broken(rule, from))?;
        moves += found.len();
        for it in found {
            let to = search.number(it.to, Some((from, it.what, it.which)));
            match it.kind {
                Kind::Progress => search.progress.push((from, to)),
                Kind::Rescue => search.rescues.push((from, to)),
                Kind::Chance => {}
            }
        }
        if search.cluster.is_over(&state).map_err(|rule| search.broken(rule, from))? {
            ends.push(from);
        }
        next += 1;
    }
    search.cluster.steps.check_ended().map_err(|rule| search.broken(rule, 0))?;
    // With the last resort first: what even that does not move is worse.
    let all = [search.progress.clone(), search.rescues.clone()].concat();
    if let Some(stuck) = search.first_that_misses(&ends, &all) {
        return Err(search.broken("nothing moves the job any more".to_owned(), stuck));
    }
    if let Some(stuck) = search.first_that_misses(&ends, &search.progress) {
        return Err(search.broken("only a look at jobs in which nothing moves gets it on".to_owned(), stuck));
    }
    Ok(Explored { states: search.states.len(), moves, records: search.cluster.steps.records() })
}

impl Search {
    fn number(&mut self, state: State, origin: Option<(u32, &'static str, u16)>) -> u32 {
        *self.known.entry(state).or_insert_with(|| {
            self.states.push(state);
            self.origins.push(origin);
            self.states.len() as u32 - 1
        })
    }

    /// The first state from which these moves lead to none of the `ends`.
    fn first_that_misses(&self, ends: &[u32], moves: &[(u32, u32)]) -> Option<u32> {
        // By target: where in `sources` those of each state begin.
        let mut begins = vec![0u32; self.states.len() + 1];
        for (_, to) in moves {
            begins[*to as usize + 1] += 1;
        }
        for i in 1..begins.len() {
            begins[i] += begins[i - 1];
        }
        let (mut free, mut sources) = (begins.clone(), vec![0; moves.len()]);
        for (from, to) in moves {
            let place = &mut free[*to as usize];
            sources[*place as usize] = *from;
            *place += 1;
        }
        let mut reaches = vec![false; self.states.len()];
        let mut open = ends.to_vec();
        while let Some(state) = open.pop() {
            if !std::mem::replace(&mut reaches[state as usize], true) {
                let [begin, end] = [state as usize, state as usize + 1].map(|i| begins[i] as usize);
                open.extend(&sources[begin..end]);
            }
        }
        reaches.iter().position(|reached| !reached).map(|state| state as u32)
    }

    fn broken(&self, rule: String, at: u32) -> Broken {
        let last = format!("{:?}", self.states[at as usize]);
        let mut path = vec![last];
        let mut here = at;
        while let Some((from, what, which)) = self.origins[here as usize] {
            path.push(format!("{what} {which}"));
            here = from;
        }
        path.reverse();
        Broken { rule, path }
    }
}
