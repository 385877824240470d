//! An unlocked manager: what it has at hand, and how it ends.
//!
//! It deliberately starts nothing: `start` makes the tasks and what is served, and gives
//! them to it to be waited for.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::time::Duration;

use parking_lot::Mutex;
use tokio::task::JoinSet;
use tokio_util::sync::CancellationToken;

use crate::consensus::Standing;
use crate::manager::challenge::Challenge;
use crate::manager::core::{Core, Origin};
use crate::manager::dispatch::Dispatch;
use crate::manager::end::Ends;
use crate::manager::offer::Offer;
use crate::manager::own::Own;
use crate::manager::peers::Peers;
use crate::manager::problem::{self, Explain};
use crate::manager::reserve::Reserve;
use crate::manager::word::Word;
use skep_client::transport::{ClientTls, Cuts, Problem, ServerTls};
use skep_core::base::{Fingerprint, RequestId, Revision};
use skep_core::domain::{Act, Outcome, Refusal, node_by};
use skep_core::seal::HelloSecret;
use skep_core::wire::api;

/// How long another manager may take to take the lead.
const STEP_DOWN: Duration = Duration::from_secs(5);
/// The same when this manager ends: what is left of the time is for its streams.
const LAST_HAND_OVER: Duration = Duration::from_secs(2);
/// How long a read waits to be linearizable.
const READ_WAIT: Duration = Duration::from_secs(5);

/// What an opened key file makes of a manager: by which it is recognised, and recognises
/// others.
#[derive(Clone)]
pub(in crate::manager) struct Identity {
    /// The cluster's root certificate, by its digest.
    pub fingerprint: Fingerprint,
    /// How often the key file was replaced: its number.
    pub generation: u64,
    /// This manager's own certificate.
    pub own: Arc<Own>,
    /// What its listener shows.
    pub server: ServerTls,
    /// What it shows to other managers.
    pub client: ClientTls,
    /// By which members are told from strangers.
    pub hello: Arc<HelloSecret>,
}

/// Consensus runs; nobody is served yet.
pub(in crate::manager) struct Started {
    /// What its parts share.
    pub core: Arc<Core>,
    /// By what it is recognised.
    pub identity: Identity,
}

/// An unlocked manager.
pub(in crate::manager) struct Running {
    /// What its parts share.
    pub core: Arc<Core>,
    /// By what it is recognised.
    pub identity: Identity,
    /// What reaches the nodes.
    pub dispatch: Dispatch,
    /// The other managers.
    pub peers: Peers,
    /// Where others reach this manager, as it was told when it was started.
    pub reached_at: Vec<String>,
    /// The cluster was told so: what is on record since then is an operator's word.
    told: AtomicBool,
    /// Ends streams that would go on for ever.
    pub stop: CancellationToken,
    /// Where whatever ends this manager says so.
    pub ends: Ends,
    /// What a full disk leaves for removals.
    pub reserve: Reserve,
    /// Held by whoever changes who votes.
    pub voting: tokio::sync::Mutex<()>,
    /// The key of the next issuing CA, for which a certificate is awaited.
    pub offer: Offer,
    /// What an unlock key has to open for an admin to be made.
    pub challenge: Challenge,
    /// Cuts off peers that were removed.
    pub cuts: Cuts,
    /// It belongs to the cluster no more.
    removed: AtomicBool,
    /// It is leaving: then its removal is no failure.
    leaving: AtomicBool,
    /// The epoch of a later history of the cluster, which has no place for it; 0: none.
    other_history: AtomicU64,
    tasks: Mutex<JoinSet<()>>,
}

impl Running {
    /// With the dispatch that was started for it. It does nothing by itself yet.
    pub(in crate::manager) fn new(
        Started { core, identity }: Started,
        dispatch: Dispatch,
        reserve: Reserve,
        ends: Ends,
        (reached_at, told): (Vec<String>, bool),
    ) -> Self {
        Self {
            peers: Peers::new(identity.client.clone(), core.clone()),
            cuts: identity.server.cuts(),
            core,
            identity,
            dispatch,
            reserve,
            ends,
            reached_at,
            told: AtomicBool::new(told),
            stop: CancellationToken::new(),
            voting: tokio::sync::Mutex::new(()),
            offer: Offer::default(),
            challenge: Challenge::default(),
            removed: AtomicBool::new(false),
            leaving: AtomicBool::new(false),
            other_history: AtomicU64::new(0),
            tasks: Mutex::new(JoinSet::new()),
        }
    }
    /// Takes the tasks that go on as long as it runs: it waits for them when it ends.
    pub(in crate::manager) fn waits_for(&self, tasks: JoinSet<()>) {
        *self.tasks.lock() = tasks;
    }
}

impl std::fmt::Debug for Running {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "Running({})", self.core.node)
    }
}

impl Running {
    /// Its state in one word.
    #[must_use]
    pub(in crate::manager) fn word(&self) -> Word {
        if self.is_behind() {
            return Word::RolledBack;
        }
        let seen = self.core.consensus.leadership().borrow().clone();
        let learns = self.core.consensus.read(|state| {
            let own = state.nodes.get(&self.core.node);
            own.map(|node| node.learner)
        });
        // After a start the state lags: the members stand in the log.
        let listed = learns.is_some()
            || self.core.members().iter().any(|member| member.node == self.core.node);
        match seen.leader {
            _ if self.removed.load(Ordering::Relaxed) => Word::Removed,
            _ if !listed => Word::Joining,
            // One that lost its majority goes on leading nobody for a while.
            _ if seen.own && seen.quorum => Word::Leader,
            Some(leader) if leader != self.core.node && seen.quorum => {
                if learns == Some(true) {
                    Word::Learner
                } else {
                    Word::Follower
                }
            }
            _ => Word::NoQuorum,
        }
    }
    /// Whether its disk was put back to an older state.
    pub(in crate::manager) fn is_behind(&self) -> bool {
        matches!(&*self.core.consensus.standing().borrow(), Standing::Behind(_))
    }
    /// It belongs to the cluster no more.
    pub(in crate::manager) fn removed(&self) {
        self.removed.store(true, Ordering::Relaxed);
    }
    /// Another manager is of a later history, or none is.
    pub(in crate::manager) fn sees_history(&self, epoch: Option<u64>) {
        self.other_history.store(epoch.unwrap_or_default(), Ordering::Relaxed);
    }
    /// The epoch of that history, where there is one.
    pub(in crate::manager) fn other_history(&self) -> Option<u64> {
        Some(self.other_history.load(Ordering::Relaxed)).filter(|epoch| *epoch > 0)
    }
    /// Whether it is leaving.
    pub(in crate::manager) fn is_leaving(&self) -> bool {
        self.leaving.load(Ordering::Relaxed)
    }
    /// It is leaving, or not any more.
    pub(in crate::manager) fn leaves(&self, leaving: bool) {
        self.leaving.store(leaving, Ordering::Relaxed);
    }
    /// Hands leadership over, if this manager leads: to one of a name or
    /// id, or to whichever knows most.
    pub(in crate::manager) async fn step_down(&self, to: &str) -> Result<(), Problem> {
        self.core.is_leader()?;
        let to = match to {
            "" => None,
            name => Some(
                self.core.consensus.read(|state| node_by(state, name)).map_err(Explain::explain)?,
            ),
        };
        if self.core.consensus.hand_over(STEP_DOWN, to).await {
            tracing::info!(event = "stepped_down");
            return Ok(());
        }
        Err(problem::members::no_successor())
    }
    /// Waits until a read here is linearizable, unless a stale one will do.
    pub(in crate::manager) async fn settle(&self, stale: bool) -> Result<(), Problem> {
        if stale {
            return Ok(());
        }
        let waited = self.core.consensus.linearize(READ_WAIT).await;
        waited.map(|_: Revision| ()).map_err(|error| self.core.problem(error))
    }
    /// How old what this manager knows may be.
    pub(in crate::manager) fn as_of(&self) -> api::AsOf {
        let contact = self.core.consensus.contact();
        api::AsOf {
            revision: self.core.consensus.read(|state| state.revision.0),
            age_ms: u64::try_from(contact.age.as_millis()).unwrap_or(u64::MAX),
            led: contact.led,
            since_start: !contact.known,
        }
    }
    /// Where the managers are, this one first.
    pub(in crate::manager) fn manager_addresses(&self) -> Vec<String> {
        self.core.consensus.read(|state| {
            let own = state.nodes.get(&self.core.node).into_iter();
            let others = state.nodes.iter().filter(|(id, _)| **id != self.core.node);
            let all = own.chain(others.map(|(_, node)| node));
            all.flat_map(|node| node.addresses.iter().cloned()).collect()
        })
    }
    /// Proposes an act with the longest deadline there is, where the disk has room for it.
    pub(in crate::manager) async fn propose(
        &self,
        request: RequestId,
        origin: impl Into<Origin>,
        act: Act,
    ) -> Result<(Revision, Outcome), Problem> {
        self.propose_refusable(request, origin, act).await?.map_err(Explain::explain)
    }
    /// The same for a caller that does something about a refusal.
    pub(in crate::manager) async fn propose_refusable(
        &self,
        request: RequestId,
        origin: impl Into<Origin>,
        act: Act,
    ) -> Result<Result<(Revision, Outcome), Refusal>, Problem> {
        self.reserve.admits(&act)?;
        let applied = self.core.propose(request, origin, act).await;
        let applied = applied.map_err(|error| self.core.problem(error))?;
        Ok(applied.outcome.map(|outcome| (applied.revision, outcome)))
    }
    /// Whether the cluster was told where this manager is.
    pub(in crate::manager) fn has_told(&self) -> bool {
        self.told.load(Ordering::Relaxed)
    }
    /// The cluster was told where this manager is.
    pub(in crate::manager) fn tells(&self) {
        self.told.store(true, Ordering::Relaxed);
    }
    /// Hands leadership over, ends streams, then the listener and the tasks, then
    /// consensus.
    pub(in crate::manager) async fn shut(&self, grace: Duration) {
        if self.core.is_leader().is_ok() && self.core.consensus.members().len() > 1 {
            // A peer that takes it does so at once; one that ends too never will.
            let moved = self.core.consensus.hand_over(grace.min(LAST_HAND_OVER), None).await;
            tracing::info!(event = "leadership_handed_over", moved);
        }
        // Streams that would go on for ever would be waited for.
        self.dispatch.close();
        self.stop.cancel();
        let mut tasks = std::mem::take(&mut *self.tasks.lock());
        let ended = async { while tasks.join_next().await.is_some() {} };
        if tokio::time::timeout(grace, ended).await.is_err() {
            tracing::warn!(event = "drain_cut_short");
        }
        tasks.shutdown().await;
        self.core.consensus.shutdown().await;
    }
}
