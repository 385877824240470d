//! Who is connected, and what is known of whom.
//!
//! Locks are taken in one order: a session's ledger, then the table, then the
//! state. The table's lock is held for look-ups only.

use std::collections::{BTreeMap, BTreeSet, VecDeque};
use std::sync::Arc;

use parking_lot::Mutex;
use tokio::sync::{Notify, watch};

use super::ledger::Ledger;
use super::{Rival, Seen};
use skep_core::base::{BootTime, NodeId, Revision, ServiceId, Stamp};

/// Pairs that ended lately and are remembered for those who wait for that.
const ENDED: usize = 10_000;

/// Why a session is ended from outside.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Cut {
    /// The same agent has come back.
    Replaced,
    /// The node was removed.
    Removed,
    /// This manager leads no more.
    Deposed,
}

/// A session under way.
#[derive(Debug)]
pub(super) struct Live {
    /// Whose.
    pub node: NodeId,
    /// Which of this manager's sessions.
    pub serial: u64,
    /// Of the machine's start and the agent's folder there, as the agent says.
    pub boot: Vec<u8>,
    /// What is known.
    pub ledger: Mutex<Ledger>,
    /// The node asked then, in its boot time, whether what it has is what is due.
    pub asked: Mutex<Option<BootTime>>,
    /// Something may be due.
    pub wake: Notify,
    cut: watch::Sender<Option<Cut>>,
}

impl Live {
    /// Ends the session.
    pub(super) fn cut(&self, why: Cut) {
        self.cut.send_if_modified(|cut| {
            let first = cut.is_none();
            *cut = cut.or(Some(why));
            first
        });
    }

    /// Resolves when it is to end.
    pub(super) async fn ends(&self) -> Cut {
        let mut cut = self.cut.subscribe();
        let why = cut.wait_for(Option::is_some).await.ok().and_then(|cut| *cut);
        why.unwrap_or(Cut::Deposed)
    }
}

/// Why a session was not taken in.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Full {
    /// This manager does not lead.
    NotLeading,
    /// Another agent with this identity has a session.
    Taken,
}

/// Sessions and what is derived from them.
#[derive(Debug, Default)]
pub(super) struct Table {
    inner: Mutex<Inner>,
    /// Someone has to be recorded, or has confirmed something.
    pub proposals: Notify,
    /// Grows whenever somebody who waits should look again.
    ticks: watch::Sender<u64>,
}

#[derive(Debug, Default)]
struct Inner {
    leading: bool,
    /// This manager ends: it takes no session any more, whoever leads.
    closed: bool,
    serial: u64,
    live: BTreeMap<NodeId, Arc<Live>>,
    seen: BTreeMap<NodeId, Seen>,
    /// The last sessions of nodes that have none now: what is known of what they have.
    last: BTreeMap<NodeId, Arc<Live>>,
    /// Since when this manager leads.
    since: Option<Stamp>,
    /// Pairs whose end was proposed and may still be applied.
    unsure: BTreeSet<(NodeId, ServiceId)>,
    /// Nodes to look at for proposals.
    proposing: BTreeSet<NodeId>,
    ended: VecDeque<(Revision, NodeId, ServiceId)>,
}

impl Table {
    /// Whether sessions are taken.
    pub(super) fn leading(&self) -> bool {
        self.inner.lock().leading
    }

    /// This manager leads, or no more: all that was known is forgotten, sessions end.
    pub(super) fn lead(&self, leading: bool, now: Stamp) {
        let before = {
            let mut inner = self.inner.lock();
            let leading = leading && !inner.closed;
            if inner.leading == leading {
                return;
            }
            let (serial, closed) = (inner.serial, inner.closed);
            let since = leading.then_some(now);
            let fresh = Inner { leading, closed, serial, since, ..Inner::default() };
            std::mem::replace(&mut *inner, fresh)
        };
        for live in before.live.values() {
            live.cut(Cut::Deposed);
        }
        self.tick();
    }

    /// This manager ends: all sessions do, and none is taken in any more.
    pub(super) fn close(&self) {
        self.inner.lock().closed = true;
        self.lead(false, Stamp::default());
    }

    /// Takes a session in. One of the same boot and folder is replaced by it.
    pub(super) fn enter(
        &self,
        node: NodeId,
        boot: Vec<u8>,
        ledger: Ledger,
        seen: Seen,
        now: Stamp,
    ) -> Result<Arc<Live>, Full> {
        let mut inner = self.inner.lock();
        let from = seen.address.clone();
        if !inner.leading {
            return Err(Full::NotLeading);
        }
        if inner.live.get(&node).is_some_and(|live| live.boot != boot) {
            if let Some(seen) = inner.seen.get_mut(&node) {
                seen.rival = Some(Rival { at: now, address: from });
            }
            return Err(Full::Taken);
        }
        inner.serial += 1;
        let live = Arc::new(Live {
            node,
            serial: inner.serial,
            boot,
            ledger: Mutex::new(ledger),
            asked: Mutex::default(),
            wake: Notify::new(),
            cut: watch::Sender::new(None),
        });
        let rival = inner.seen.get(&node).and_then(|seen| seen.rival.clone());
        inner.seen.insert(node, Seen { rival, ..seen });
        let before = inner.live.insert(node, Arc::clone(&live));
        inner.last.remove(&node);
        drop(inner);
        if let Some(before) = before {
            before.cut(Cut::Replaced);
        }
        self.tick();
        Ok(live)
    }

    /// A session has ended.
    pub(super) fn leave(&self, live: &Live, now: Stamp) {
        let mut inner = self.inner.lock();
        if inner.live.get(&live.node).is_none_or(|other| other.serial != live.serial) {
            return;
        }
        let last = inner.live.remove(&live.node);
        // Of one that was removed nothing is of interest.
        if live.cut.borrow().is_none() {
            inner.last.extend(last.map(|last| (live.node, last)));
        }
        if let Some(seen) = inner.seen.get_mut(&live.node) {
            seen.connected = false;
            seen.last_seen = Some(now);
        }
        drop(inner);
        self.tick();
    }

    /// A node is gone: its last session is of no interest.
    pub(super) fn forget(&self, node: NodeId) {
        self.inner.lock().last.remove(&node);
    }

    /// The last session of a node that has none now.
    pub(super) fn last(&self, node: NodeId) -> Option<Arc<Live>> {
        self.inner.lock().last.get(&node).cloned()
    }

    /// Since when this manager leads.
    pub(super) fn led_since(&self) -> Option<Stamp> {
        self.inner.lock().since
    }

    /// Something was heard of it.
    pub(super) fn heard(&self, live: &Live, running: Option<&BTreeSet<ServiceId>>, now: Stamp) {
        let mut inner = self.inner.lock();
        if inner.live.get(&live.node).is_none_or(|other| other.serial != live.serial) {
            return;
        }
        let Some(seen) = inner.seen.get_mut(&live.node) else { return };
        seen.last_seen = Some(now);
        if let Some(running) = running {
            seen.running.clone_from(running);
        }
    }

    /// What is known of a node.
    pub(super) fn seen(&self, node: NodeId) -> Seen {
        self.inner.lock().seen.get(&node).cloned().unwrap_or_default()
    }

    /// A node's session.
    pub(super) fn live(&self, node: NodeId) -> Option<Arc<Live>> {
        self.inner.lock().live.get(&node).cloned()
    }

    /// All sessions.
    pub(super) fn all(&self) -> Vec<Arc<Live>> {
        self.inner.lock().live.values().cloned().collect()
    }

    /// The services of a node whose end was proposed and may still be applied.
    pub(super) fn unsure(&self, node: NodeId) -> BTreeSet<ServiceId> {
        let inner = self.inner.lock();
        inner.unsure.range(super::pairs_of(node)).map(|(_, service)| *service).collect()
    }

    /// The end of these pairs of a session is about to be proposed; not if the
    /// session is not the node's any more.
    pub(super) fn doubt(&self, live: &Live, services: &[ServiceId]) -> bool {
        let mut inner = self.inner.lock();
        let current = inner.live.get(&live.node).is_some_and(|other| other.serial == live.serial);
        if current {
            inner.unsure.extend(services.iter().map(|service| (live.node, *service)));
        }
        current
    }

    /// What was proposed of these pairs is known to have been applied.
    pub(super) fn settle(&self, pairs: impl IntoIterator<Item = (NodeId, ServiceId)>) {
        let mut inner = self.inner.lock();
        for pair in pairs {
            inner.unsure.remove(&pair);
        }
    }

    /// A node has something to be proposed.
    pub(super) fn propose(&self, node: NodeId) {
        self.inner.lock().proposing.insert(node);
        self.proposals.notify_one();
    }

    /// The sessions to look at for proposals, since the last call.
    pub(super) fn proposing(&self) -> Vec<Arc<Live>> {
        let mut inner = self.inner.lock();
        let nodes = std::mem::take(&mut inner.proposing);
        nodes.iter().filter_map(|node| inner.live.get(node).cloned()).collect()
    }

    /// A pair ended at a revision.
    pub(super) fn ended(&self, revision: Revision, node: NodeId, service: ServiceId) {
        let mut inner = self.inner.lock();
        if inner.ended.len() >= ENDED {
            inner.ended.pop_front();
        }
        inner.ended.push_back((revision, node, service));
    }

    /// The pairs that ended after a revision, as far as is remembered.
    pub(super) fn ended_since(&self, revision: Revision) -> BTreeSet<(NodeId, ServiceId)> {
        let inner = self.inner.lock();
        let late = inner.ended.iter().rev().take_while(|(at, ..)| *at > revision);
        late.map(|(_, node, service)| (*node, *service)).collect()
    }

    /// Wakes those who wait.
    pub(super) fn tick(&self) {
        self.ticks.send_modify(|tick| *tick = tick.wrapping_add(1));
    }

    /// Changes whenever those who wait should look again.
    pub(super) fn ticks(&self) -> watch::Receiver<u64> {
        self.ticks.subscribe()
    }
}
