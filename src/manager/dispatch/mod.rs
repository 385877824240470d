//! What reaches the nodes: sessions, pushes, confirmations, waiting.
//!
//! Only the leader delivers. Whatever happens, it is the same three questions
//! that are asked again: what is due on this node (`wanted`), what does it have
//! (`ledger`), so what is the next push (`step`). Facts say where to ask; one
//! that was lost makes every session ask. What has been sent, or taken away, is
//! recorded by the cluster itself (`confirm`): before the first byte, and after
//! the last. It deliberately opens no value, keeps nothing on disk, and
//! admits nobody: whoever calls was let in by `admit`.

mod acts;
pub(in crate::manager) mod certificate;
mod confirm;
mod ending;
mod frames;
mod fresh;
mod known;
mod lag;
mod ledger;
mod record;
mod session;
mod step;
mod table;
mod wanted;
mod watch;
mod watchers;
mod whereabouts;

#[cfg(test)]
mod tests;

use std::collections::BTreeSet;
use std::num::NonZeroU32;
use std::ops::RangeInclusive;
use std::sync::Arc;

use governor::{DefaultKeyedRateLimiter, Quota, RateLimiter};
use tokio::sync::broadcast::error::RecvError;
use tokio::sync::mpsc;

pub(in crate::manager) use self::lag::{Known, Lags, newest};
pub(in crate::manager) use self::session::Agent;
use self::table::{Cut, Table};
pub use self::watch::Asked as WatchAsked;
pub use self::watchers::TooMany;
pub(in crate::manager) use self::whereabouts::told;
use crate::consensus::Leadership;
use crate::manager::core::Core;
use crate::manager::problem::delivery::refused_from;
use skep_core::base::{NodeId, Revision, ServiceId, Stamp};
use skep_core::domain::{Actor, Fact, nodes_touched};
use skep_core::wire::api;

/// Reports of opens that a node may hand in within a second.
const REPORTS: NonZeroU32 = NonZeroU32::MIN.saturating_add(9);
/// Reports that it may hand in at once: all that it keeps when no manager is there.
const BACKLOG: NonZeroU32 = NonZeroU32::MIN.saturating_add(79);

/// Runs while this manager is unlocked; sends only while it leads.
#[derive(Clone, Debug)]
pub struct Dispatch {
    hub: Arc<Hub>,
}

/// Milliseconds for which a machine that used another's identity is told of. Its agent tries
/// again far more often.
const COPIED_MS: u64 = 5 * 60_000;

/// What the leader knows of a node by its session.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Seen {
    /// Whether it has a session now.
    pub connected: bool,
    /// When it was heard of last, by this leader.
    pub last_seen: Option<Stamp>,
    /// What it says of itself.
    pub version: String,
    /// What it says of itself.
    pub hostname: String,
    /// What it says of itself.
    pub os: String,
    /// What it says of itself.
    pub arch: String,
    /// Where it connects from.
    pub address: String,
    /// How the keys of its connection were agreed on.
    pub key_exchange: String,
    /// What it says it runs (placed there or not).
    pub running: BTreeSet<ServiceId>,
    /// When another machine with this node's identity was refused last: somebody
    /// has copied it.
    pub rival: Option<Rival>,
}

/// An agent with the identity of another one that has a session.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Rival {
    /// When it was refused last.
    pub at: Stamp,
    /// Where it connected from.
    pub address: String,
}

impl Seen {
    /// What is told of a machine that used this node's identity within the last minutes.
    #[must_use]
    pub fn copied(&self, now: Stamp) -> Option<String> {
        let rival = self.rival.as_ref()?;
        (now.0.saturating_sub(rival.at.0) < COPIED_MS)
            .then(|| refused_from(&rival.address, rival.at))
    }
}

/// What all parts of the delivery share.
#[derive(Debug)]
struct Hub {
    core: Arc<Core>,
    table: Table,
    watchers: Arc<watchers::Watchers>,
    /// Where all managers are: every session hears when that changes.
    managers: whereabouts::Managers,
    /// How often each node may report opens.
    reports: DefaultKeyedRateLimiter<NodeId>,
}

impl Dispatch {
    /// Starts the reconciler: follows facts and leadership until the manager stops.
    /// Inside a runtime.
    #[must_use]
    pub fn start(core: Arc<Core>) -> Self {
        let reports = RateLimiter::keyed(Quota::per_second(REPORTS).allow_burst(BACKLOG));
        let (table, watchers, managers) = <(Table, _, whereabouts::Managers)>::default();
        let hub = Arc::new(Hub { core, table, watchers, managers, reports });
        tokio::spawn(follow(Arc::clone(&hub)));
        tokio::spawn(confirm::run(Arc::clone(&hub)));
        Self { hub }
    }

    /// What is known of a node.
    #[must_use]
    pub fn seen(&self, node: NodeId) -> Seen {
        self.hub.table.seen(node)
    }

    /// Why a pair is still pending, for status and holders.
    #[must_use]
    pub fn why_pending(&self, node: NodeId, service: ServiceId) -> String {
        watch::why_pending(&self.hub, node, service)
    }

    /// What is known of what a node has of a service.
    #[must_use]
    pub(in crate::manager) fn known_of(&self, node: NodeId, service: ServiceId) -> Known {
        self.hub.known_of(node, service)
    }

    /// Which deliveries are not done, and which workers are down; `most` of each are named.
    #[must_use]
    pub(in crate::manager) fn lags(&self, most: usize) -> Lags {
        self.hub.lags(most)
    }

    /// Whether a worker has had no session for a while.
    #[must_use]
    pub(in crate::manager) fn is_down(&self, node: NodeId) -> bool {
        self.hub.is_down(node)
    }

    /// Progress of what is asked for: a message at once and at each change, until one has `done`. It ends without
    /// `done` after one with `failed`, and where this manager leads no more.
    ///
    /// # Errors
    /// [`TooMany`]: `actor` waits for enough already, or all together do.
    pub fn watch(
        &self,
        actor: Actor,
        asked: WatchAsked,
    ) -> Result<mpsc::Receiver<api::DeliveryProgress>, TooMany> {
        let pairs = self.hub.core.consensus.read(|state| watch::pairs(state, &asked));
        let place = self.hub.watchers.enter(actor, pairs)?;
        let (progress, receiver) = mpsc::channel(1);
        let hub = Arc::clone(&self.hub);
        tokio::spawn(async move {
            watch::run(hub, asked, progress).await;
            drop(place);
        });
        Ok(receiver)
    }

    /// Cuts a node's session at once (it was removed).
    pub fn cut(&self, node: NodeId) {
        if let Some(live) = self.hub.table.live(node) {
            live.cut(Cut::Removed);
        }
    }

    /// This manager ends: its sessions do so now, and their agents look elsewhere.
    pub(in crate::manager) fn close(&self) {
        self.hub.table.close();
    }

    /// What this manager has at hand.
    pub(in crate::manager) fn core(&self) -> &Arc<Core> {
        &self.hub.core
    }

    /// Whether this manager leads with a majority in touch, and so takes sessions.
    pub(in crate::manager) fn leads(&self) -> bool {
        self.hub.table.leading()
    }
}

/// Follows leadership and facts until consensus has stopped.
async fn follow(hub: Arc<Hub>) {
    let mut facts = hub.core.consensus.facts();
    let mut leadership = hub.core.consensus.leadership();
    loop {
        // Without a majority in touch another may lead by now: agents look elsewhere.
        let leads = |now: &Leadership| now.own && now.quorum;
        let leading = leads(&leadership.borrow_and_update());
        hub.table.lead(leading, hub.core.clock.now());
        if leading {
            hub.managers.look(&hub.core);
        }
        tokio::select! {
            changed = leadership.changed() => if changed.is_err() { break },
            fact = facts.recv() => match fact {
                Ok((revision, facts)) => hub.look_at(revision, &facts),
                Err(RecvError::Lagged(_)) => hub.look_everywhere(),
                Err(RecvError::Closed) => break,
            },
        }
    }
    hub.table.lead(false, hub.core.clock.now());
}

impl Hub {
    /// Wakes the sessions that these facts may concern.
    fn look_at(&self, revision: Revision, facts: &[Fact]) {
        if !self.table.leading() {
            return;
        }
        // A snapshot that was installed has no facts of its own.
        let members = |fact: &Fact| matches!(fact, Fact::NodeRevised(_) | Fact::NodeRemoved(_));
        if facts.is_empty() || facts.iter().any(members) {
            self.managers.look(&self.core);
        }
        if facts.contains(&Fact::ClusterRevised) {
            // Another issuing CA may be in use, which concerns every node's certificate; and what
            // was held back after a recovery may be due.
            self.look_everywhere();
        }
        let mut nodes = BTreeSet::new();
        let mut ended = Vec::new();
        self.core.consensus.read(|state| {
            for fact in facts {
                nodes.extend(nodes_touched(state, fact));
                if let Fact::PairRevised(node, service) = fact
                    && !state.exposed.contains_key(&(*node, *service))
                {
                    ended.push((*node, *service));
                }
            }
        });
        for (node, service) in ended {
            self.table.ended(revision, node, service);
        }
        for fact in facts {
            if let Fact::NodeRemoved(node) = fact {
                self.table.forget(*node);
                if let Some(live) = self.table.live(*node) {
                    live.cut(Cut::Removed);
                }
            }
        }
        for live in nodes.into_iter().filter_map(|node| self.table.live(node)) {
            live.wake.notify_one();
        }
        self.table.tick();
    }

    /// Wakes every session.
    fn look_everywhere(&self) {
        self.managers.look(&self.core);
        for live in self.table.all() {
            live.wake.notify_one();
        }
        self.table.tick();
    }
}

/// All pairs of a node.
fn pairs_of(node: NodeId) -> RangeInclusive<(NodeId, ServiceId)> {
    (node, ServiceId::from_bytes([0; 16]))..=(node, ServiceId::from_bytes([u8::MAX; 16]))
}
