//! How much of something scarce each user of this machine may have at a time, and all
//! together: connections, calls, bytes under way, processes that are followed.
//!
//! Root, and the user as whom this process runs, have a share that nobody else can take.
//! The others share the rest: one has no more than is still free, so that whoever comes
//! last finds something where a few want everything.

use std::collections::HashMap;
use std::sync::Arc;

use parking_lot::Mutex;

/// How much there is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Most {
    /// For one user.
    pub per_user: usize,
    /// For all users together, but for root and this process's own.
    pub others: usize,
    /// For these two together, beside that.
    pub trusted: usize,
}

impl Most {
    /// A quarter of `all` is for root and the process's own user alone; of the rest one
    /// other has `per_user` at most.
    #[must_use]
    pub const fn of(all: usize, per_user: usize) -> Self {
        let trusted = all / 4;
        Self { per_user, others: all - trusted, trusted }
    }
}

/// Who has how much. Clones see the same.
#[derive(Clone, Debug)]
pub struct Shares(Arc<Inner>);

#[derive(Debug)]
struct Inner {
    most: Most,
    process: u32,
    taken: Mutex<Taken>,
}

#[derive(Debug, Default)]
struct Taken {
    trusted: usize,
    others: usize,
    by_user: HashMap<u32, usize>,
}

/// What one has; it is given back when this is dropped.
#[derive(Debug)]
pub struct Share {
    of: Arc<Inner>,
    uid: u32,
    much: usize,
}

impl Shares {
    /// Nobody has anything yet.
    #[must_use]
    pub fn new(most: Most) -> Self {
        let process = rustix::process::geteuid().as_raw();
        Self(Arc::new(Inner { most, process, taken: Mutex::default() }))
    }

    /// Takes so much for a user, if there is that much for it.
    #[must_use]
    pub fn take(&self, uid: u32, much: usize) -> Option<Share> {
        let mut share = Share { of: Arc::clone(&self.0), uid, much: 0 };
        share.grow(much).then_some(share)
    }
}

impl Inner {
    fn is_trusted(&self, uid: u32) -> bool {
        uid == 0 || uid == self.process
    }
}

impl Share {
    /// Whose it is.
    #[must_use]
    pub fn uid(&self) -> u32 {
        self.uid
    }

    /// Takes so much more, or nothing.
    pub fn grow(&mut self, more: usize) -> bool {
        let mut taken = self.of.taken.lock();
        let most = self.of.most;
        if self.of.is_trusted(self.uid) {
            // What others leave is theirs too.
            let others = taken.others.min(most.others);
            let all = most.trusted.saturating_add(most.others).saturating_sub(others);
            if taken.trusted.saturating_add(more) > all {
                return false;
            }
            taken.trusted = taken.trusted.saturating_add(more);
        } else {
            let over = taken.trusted.saturating_sub(most.trusted);
            let used = taken.others.saturating_add(over);
            let own = taken.by_user.get(&self.uid).copied().unwrap_or_default();
            let own = own.saturating_add(more);
            if own > most.per_user.min(most.others.saturating_sub(used)) {
                return false;
            }
            taken.others = taken.others.saturating_add(more);
            taken.by_user.insert(self.uid, own);
        }
        self.much = self.much.saturating_add(more);
        true
    }
}

impl Drop for Share {
    fn drop(&mut self) {
        if self.much == 0 {
            return;
        }
        let mut taken = self.of.taken.lock();
        if self.of.is_trusted(self.uid) {
            taken.trusted = taken.trusted.saturating_sub(self.much);
            return;
        }
        taken.others = taken.others.saturating_sub(self.much);
        if let Some(own) = taken.by_user.get_mut(&self.uid) {
            *own = own.saturating_sub(self.much);
            if *own == 0 {
                taken.by_user.remove(&self.uid);
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// As root alone the process's own user is nobody else.
    fn stranger() -> u32 {
        let own = rustix::process::geteuid().as_raw();
        if own == 0 { 1_000 } else { own + 1_000 }
    }

    #[test]
    fn root_finds_its_share_whoever_wants_everything() {
        let shares = Shares::new(Most { per_user: 10, others: 40, trusted: 5 });
        let mut held = Vec::new();
        for user in 0..100 {
            while let Some(share) = shares.take(stranger() + user, 1) {
                held.push(share);
            }
        }
        assert!(held.len() <= 40, "{}", held.len());
        let root: Vec<Share> = (0..5).filter_map(|_| shares.take(0, 1)).collect();
        assert_eq!(root.len(), 5);
        drop(held);
        drop(root);
        assert!(shares.0.taken.lock().by_user.is_empty(), "nothing is kept of who has left");
        assert_eq!(shares.0.taken.lock().others, 0);
    }

    #[test]
    fn a_few_that_want_everything_leave_something_to_the_next() {
        let shares = Shares::new(Most { per_user: 16, others: 64, trusted: 1 });
        let mut held = Vec::new();
        for user in 0..5 {
            while let Some(share) = shares.take(stranger() + user, 1) {
                held.push(share);
            }
            assert!(held.iter().any(|share| share.uid == stranger() + user), "{user}");
        }
    }

    #[test]
    fn what_root_takes_beyond_its_share_is_not_taken_twice() {
        let shares = Shares::new(Most { per_user: 10, others: 10, trusted: 2 });
        let root = shares.take(0, 12).expect("all of it");
        assert!(shares.take(0, 1).is_none());
        assert!(shares.take(stranger(), 1).is_none());
        drop(root);
        let mut other = shares.take(stranger(), 3).expect("some");
        assert!(other.grow(1) && !other.grow(5));
        assert!(shares.take(0, 9).is_none());
        assert!(shares.take(0, 8).is_some());
    }
}
