//! How many wait for deliveries, and for how much: each is looked at again whenever anything
//! happens, so they are counted, for each caller and in all.

use std::collections::BTreeMap;
use std::sync::Arc;

use parking_lot::Mutex;

use skep_core::domain::Actor;

/// Calls of one caller that wait at once: a CI job that changes many things side by side.
const WATCHES_OF_ONE: usize = 64;
/// Calls that wait at once.
const WATCHES: usize = 512;
/// Pairs of a node and a service that one caller's calls wait for: 50 services on 10,000 nodes,
/// some 50 MiB while they are looked at.
const PAIRS_OF_ONE: usize = 500_000;
/// Pairs that all calls wait for.
const PAIRS: usize = 2_000_000;

/// Why a call may not wait now.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum TooMany {
    /// This caller has enough of them.
    #[error("this caller waits {WATCHES_OF_ONE} times already")]
    OfOne,
    /// All together have.
    #[error("{WATCHES} calls wait already")]
    All,
    /// This caller waits for enough, with this call.
    #[error("this caller waits for more than {PAIRS_OF_ONE} pairs of a node and a service")]
    PairsOfOne,
    /// All together do.
    #[error("all callers wait for more than {PAIRS} pairs of a node and a service")]
    PairsOfAll,
}

#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
struct Count {
    calls: usize,
    pairs: usize,
}

/// Who waits.
#[derive(Debug, Default)]
pub(super) struct Watchers(Mutex<Waiting>);

#[derive(Debug, Default)]
struct Waiting {
    all: Count,
    of: BTreeMap<Actor, Count>,
}

/// One that waits, until this is dropped.
#[derive(Debug)]
pub(super) struct Place {
    watchers: Arc<Watchers>,
    actor: Actor,
    pairs: usize,
}

impl Watchers {
    /// Takes a place for a call that waits for so many pairs.
    pub(super) fn enter(self: &Arc<Self>, actor: Actor, pairs: usize) -> Result<Place, TooMany> {
        let mut waiting = self.0.lock();
        let of = waiting.of.get(&actor).copied().unwrap_or_default();
        let all = waiting.all;
        if of.calls >= WATCHES_OF_ONE {
            return Err(TooMany::OfOne);
        }
        if all.calls >= WATCHES {
            return Err(TooMany::All);
        }
        if of.pairs.saturating_add(pairs) > PAIRS_OF_ONE {
            return Err(TooMany::PairsOfOne);
        }
        if all.pairs.saturating_add(pairs) > PAIRS {
            return Err(TooMany::PairsOfAll);
        }
        waiting.all = all.with(pairs);
        waiting.of.insert(actor.clone(), of.with(pairs));
        Ok(Place { watchers: Arc::clone(self), actor, pairs })
    }
}

impl Count {
    fn with(self, pairs: usize) -> Self {
        Self { calls: self.calls.saturating_add(1), pairs: self.pairs.saturating_add(pairs) }
    }

    fn without(self, pairs: usize) -> Self {
        Self { calls: self.calls.saturating_sub(1), pairs: self.pairs.saturating_sub(pairs) }
    }
}

impl Drop for Place {
    fn drop(&mut self) {
        let mut waiting = self.watchers.0.lock();
        waiting.all = waiting.all.without(self.pairs);
        let left = waiting.of.get(&self.actor).copied().unwrap_or_default().without(self.pairs);
        if left.calls == 0 {
            waiting.of.remove(&self.actor);
        } else {
            waiting.of.insert(self.actor.clone(), left);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use skep_core::base::{NodeId, OperatorId};

    fn operator(n: u8) -> Actor {
        Actor::Operator(OperatorId::from_bytes([n; 16]))
    }

    #[test]
    fn those_who_wait_are_counted_by_caller_and_in_all() {
        let watchers = Arc::new(Watchers::default());
        let enter = |actor, pairs| watchers.enter(actor, pairs);
        let mut places: Vec<Place> =
            (0..WATCHES_OF_ONE).map(|_| enter(operator(1), 1).expect("room")).collect();
        assert_eq!(enter(operator(1), 1).expect_err("enough"), TooMany::OfOne);
        let local = Actor::Local { uid: 0, manager: NodeId::from_bytes([1; 16]) };
        let other = enter(local.clone(), PAIRS_OF_ONE).expect("another caller");
        assert_eq!(enter(local, 1).expect_err("enough"), TooMany::PairsOfOne);
        drop(places.pop());
        places.push(enter(operator(1), 1).expect("room again"));
        for n in 2.. {
            let entered = (0..WATCHES_OF_ONE).map(|_| enter(operator(n), 1));
            let entered: Result<Vec<_>, _> = entered.collect();
            match entered {
                Ok(more) => places.extend(more),
                Err(why) => {
                    assert_eq!(why, TooMany::All);
                    break;
                }
            }
        }
        assert!(places.len() < WATCHES);
        drop((places, other));
        let full: Vec<_> = (1..=4).map(|n| enter(operator(n), PAIRS_OF_ONE)).collect();
        assert!(full.iter().all(Result::is_ok));
        assert_eq!(enter(operator(9), 1).expect_err("enough"), TooMany::PairsOfAll);
        drop(full);
        assert_eq!(watchers.0.lock().all, Count::default());
        assert!(watchers.0.lock().of.is_empty());
    }
}
