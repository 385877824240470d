//! How many bytes of calls, and how many calls, each caller may have under way, and all
//! of a kind together.
//!
//! A call takes what its message says that it has, before the message is read, and what
//! its answer may need. Whoever has its share under way waits for itself: first its own
//! share is asked, then what is left for all. Nothing is given to callers that are
//! refused, so it can't be taken by them.

use std::collections::HashMap;
use std::net::IpAddr;
use std::sync::Arc;
use std::time::Duration;

use parking_lot::Mutex;
use tokio::sync::{OwnedSemaphorePermit, Semaphore};

use crate::manager::problem;
use skep_client::transport::Problem;

const MIB: usize = 1024 * 1024;
/// How long a call waits for its share: longer than the largest takes through a network
/// that is not broken.
const WAIT: Duration = Duration::from_secs(10);

/// Callers that share what there is.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub(super) enum Lane {
    /// No certificate, or one that counts no more.
    Guests,
    /// Nodes' agents.
    Nodes,
    /// Operators.
    Operators,
    /// Managers that ask for their local users.
    Managers,
    /// Managers in consensus.
    Raft,
    /// Root and the daemon's own user, on the control socket.
    Owner,
    /// Other users of the control socket.
    Users,
}

/// What there is in a lane.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Most {
    /// Bytes of all callers.
    pub(super) all: usize,
    /// Bytes of one caller.
    pub(super) one: usize,
    /// Calls of one caller, those that wait included.
    pub(super) calls: usize,
}

impl Lane {
    pub(super) const ALL: [Self; 7] = [
        Self::Guests,
        Self::Nodes,
        Self::Operators,
        Self::Managers,
        Self::Raft,
        Self::Owner,
        Self::Users,
    ];

    /// A manager holds what is under way two to four times: as it came, decoded, as a
    /// command, and in the log's buffers.
    pub(super) const fn most(self) -> Most {
        match self {
            // A join takes 32 KiB: a rack of machines behind one address.
            Self::Guests => Most { all: 16 * MIB, one: 4 * MIB, calls: 256 },
            // A session, reports, and sessions of before that still end.
            Self::Nodes => Most { all: 32 * MIB, one: 5 * MIB, calls: 32 },
            // Two of the largest acts, or five pages.
            Self::Operators => Most { all: 48 * MIB, one: 12 * MIB, calls: 256 },
            // Two of the largest messages of each of six managers.
            Self::Raft => Most { all: 192 * MIB, one: 33 * MIB, calls: 128 },
            Self::Managers | Self::Owner => Most { all: 48 * MIB, one: 24 * MIB, calls: 512 },
            Self::Users => Most { all: 24 * MIB, one: 12 * MIB, calls: 256 },
        }
    }
}

/// Whose share it is.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub(super) enum Key {
    /// Where it comes from: all that is known of a guest.
    Source(Option<IpAddr>),
    /// The id in its certificate.
    Identity([u8; 16]),
    /// A user of this machine.
    User(u32),
}

/// All shares. Clones see the same.
#[derive(Clone, Debug)]
pub(super) struct Budget(Arc<Shares>);

#[derive(Debug)]
struct Shares {
    wait: Duration,
    lanes: HashMap<Lane, Arc<Semaphore>>,
    callers: Mutex<HashMap<(Lane, Key), Own>>,
}

#[derive(Debug)]
struct Own {
    bytes: Arc<Semaphore>,
    calls: usize,
}

/// One call that is under way; dropping it gives back what it took.
#[derive(Debug)]
pub(super) struct Ticket {
    shares: Arc<Shares>,
    caller: (Lane, Key),
    own: Arc<Semaphore>,
    all: Option<Arc<Semaphore>>,
    kept: Mutex<Option<Taken>>,
}

/// Bytes that were taken.
#[derive(Debug)]
pub(super) struct Taken {
    _own: OwnedSemaphorePermit,
    _all: OwnedSemaphorePermit,
}

impl Default for Budget {
    fn default() -> Self {
        Self::with(WAIT)
    }
}

impl Budget {
    /// Calls wait so long for their shares.
    fn with(wait: Duration) -> Self {
        let lane = |lane: Lane| (lane, Arc::new(Semaphore::new(lane.most().all)));
        let lanes = Lane::ALL.into_iter().map(lane).collect();
        Self(Arc::new(Shares { wait, lanes, callers: Mutex::default() }))
    }
    /// One more call, unless this caller has too many.
    ///
    /// # Errors
    /// What the caller is told.
    pub(super) fn enter(&self, lane: Lane, key: Key) -> Result<Arc<Ticket>, Problem> {
        let most = lane.most();
        let caller = (lane, key);
        let mut callers = self.0.callers.lock();
        let own = callers
            .entry(caller)
            .or_insert_with(|| Own { bytes: Arc::new(Semaphore::new(most.one)), calls: 0 });
        if own.calls >= most.calls {
            return Err(problem::access::too_many("calls"));
        }
        own.calls += 1;
        let own = own.bytes.clone();
        drop(callers);
        let all = self.0.lanes.get(&lane).cloned();
        let shares = self.0.clone();
        Ok(Arc::new(Ticket { shares, caller, own, all, kept: Mutex::default() }))
    }
}

impl Ticket {
    /// Takes so many bytes, as soon as they are there.
    ///
    /// # Errors
    /// They are not there in time.
    pub(super) async fn take(self: Arc<Self>, bytes: usize) -> Result<Taken, Problem> {
        let none = || problem::access::too_many("bytes of calls");
        let bytes = u32::try_from(bytes.max(1)).map_err(|_| none())?;
        let (own, all) = (self.own.clone(), self.all.clone().ok_or_else(none)?);
        let both = async {
            let own = own.acquire_many_owned(bytes).await.ok()?;
            let all = all.acquire_many_owned(bytes).await.ok()?;
            Some(Taken { _own: own, _all: all })
        };
        tokio::time::timeout(self.shares.wait, both).await.ok().flatten().ok_or_else(none)
    }
    /// Keeps what was taken for as long as the call is under way.
    pub(super) fn keep(&self, taken: Taken) {
        *self.kept.lock() = Some(taken);
    }
}

impl Drop for Ticket {
    fn drop(&mut self) {
        // Before the caller is forgotten: its share is whole then.
        drop(self.kept.lock().take());
        let mut callers = self.shares.callers.lock();
        if let Some(own) = callers.get_mut(&self.caller) {
            own.calls = own.calls.saturating_sub(1);
            if own.calls == 0 {
                callers.remove(&self.caller);
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use skep_core::base::Exit;

    fn node(n: u8) -> Key {
        Key::Identity([n; 16])
    }

    #[tokio::test]
    async fn a_caller_waits_for_itself_and_others_dont() {
        let budget = Budget::with(Duration::from_millis(50));
        let most = Lane::Nodes.most();
        let ticket = budget.enter(Lane::Nodes, node(1)).expect("a place");
        let held = ticket.clone().take(most.one).await.expect("all of its share");
        let second = budget.enter(Lane::Nodes, node(1)).expect("a place");
        assert_eq!(second.clone().take(1).await.expect_err("in time").exit, Exit::Unreachable);
        let other = budget.enter(Lane::Nodes, node(2)).expect("a place");
        assert!(other.take(most.one).await.is_ok());
        ticket.keep(held);
        drop(ticket);
        assert!(second.clone().take(most.one).await.is_ok(), "given back");
    }

    #[tokio::test]
    async fn all_of_a_kind_have_no_more_than_there_is() {
        let budget = Budget::with(Duration::from_millis(20));
        let most = Lane::Operators.most();
        let mut held = Vec::new();
        let mut refused = 0;
        for n in 0..20 {
            let ticket = budget.enter(Lane::Operators, node(n)).expect("a place");
            match ticket.take(most.one).await {
                Ok(taken) => held.push(taken),
                Err(_) => refused += 1,
            }
        }
        assert_eq!((held.len(), refused), (most.all / most.one, 20 - most.all / most.one));
        let agent = budget.enter(Lane::Nodes, node(0)).expect("a place");
        assert!(agent.take(1).await.is_ok(), "another kind");
    }

    #[test]
    fn calls_are_counted_and_nothing_is_kept_of_who_has_left() {
        let budget = Budget::default();
        let key = Key::Source(None);
        let most = Lane::Guests.most().calls;
        let tickets: Vec<_> = (0..most).map(|_| budget.enter(Lane::Guests, key)).collect();
        assert!(tickets.iter().all(Result::is_ok));
        assert!(budget.enter(Lane::Guests, key).is_err());
        assert!(budget.enter(Lane::Nodes, key).is_ok(), "another kind");
        drop(tickets);
        assert!(budget.0.callers.lock().is_empty());
    }
}
