//! An unlocked manager: consensus, keys, dispatch, the listener, and the tasks
//! that go on as long as it runs.

use crate::manager::problem::{self, Explain};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicI64, Ordering};
use std::time::Duration;

use parking_lot::Mutex;
use tokio::net::TcpListener;
use tokio::task::JoinSet;
use tokio_util::sync::CancellationToken;

use crate::consensus::{Consensus, Member, ReleaseError, Standing, Start, StartError};
use crate::manager::core::Unproposed;
use crate::manager::keys::KeyHolder;
use crate::manager::life::lifecycle::{End, Manager, Shared, exit_of};
use crate::manager::life::phase::Word;
use crate::manager::members::belonging;
use crate::manager::members::voters;
use crate::manager::peers::Peers;
use crate::manager::steady::{Doubt, SHARED_MS};
use crate::manager::upkeep::clocks;
use crate::manager::upkeep::facts;
use crate::manager::upkeep::reserve::{self, Reserve};
use crate::manager::{Core, Dispatch};
use skep_client::ca::{CaError, CertificateRole, verify_chain};
use skep_client::transport::{
    ClientTls, Credentials, Cuts, Greeting, Problem, Recognition, ServerTls, serve,
};
use skep_core::base::{Exit, Fingerprint, NodeId, RequestId, Revision, Stamp};
use skep_core::domain::{Act, Actor, NodeRole, Outcome, Refusal, State, node_by};
use skep_core::seal::{BoxKey, HelloPlace, HelloSecret, KeyFileBody, KeyFileHeader};

/// How long another manager may take to take the lead.
const STEP_DOWN: Duration = Duration::from_secs(5);
/// The same when this manager ends: what is left of the time is for its streams.
const LAST_HAND_OVER: Duration = Duration::from_secs(2);
/// How long a read waits to be linearizable.
const READ_WAIT: Duration = Duration::from_secs(5);

/// An unlocked manager.
pub(in crate::manager) struct Running {
    /// What its parts share.
    pub core: Arc<Core>,
    /// What reaches the nodes.
    pub dispatch: Dispatch,
    /// The other managers.
    pub peers: Peers,
    /// The cluster's.
    pub fingerprint: Fingerprint,
    /// Of its key file.
    pub generation: u64,
    /// When its own certificate ends.
    pub certificate_ends: Stamp,
    /// Since when it runs.
    pub started: Stamp,
    /// Ends streams that would go on for ever.
    pub stop: CancellationToken,
    tls: ServerTls,
    /// By which members are told from strangers.
    pub hello: Arc<HelloSecret>,
    /// What a full disk leaves for removals.
    pub reserve: Reserve,
    /// How far the median of the voters' clocks is ahead of this manager's.
    clock_off_ms: AtomicI64,
    /// Held by whoever changes who votes.
    pub voting: tokio::sync::Mutex<()>,
    /// Cuts off peers that were removed.
    pub cuts: Cuts,
    /// It belongs to the cluster no more.
    removed: AtomicBool,
    /// It is leaving: then its removal is no failure.
    leaving: AtomicBool,
    tasks: Mutex<JoinSet<()>>,
}

impl std::fmt::Debug for Running {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "Running({})", self.core.node)
    }
}

/// Consensus runs; nobody is served yet.
pub(in crate::manager) struct Started {
    pub(in crate::manager) core: Arc<Core>,
    peers: Peers,
    tls: ServerTls,
    hello: Arc<HelloSecret>,
    fingerprint: Fingerprint,
    generation: u64,
    certificate_ends: Stamp,
}

/// Why consensus does not run.
pub(in crate::manager) enum NotStarted {
    /// The key file's chain or key is not sound.
    Identity(CaError),
    /// Log or snapshots.
    Consensus(StartError),
}

impl From<CaError> for NotStarted {
    fn from(error: CaError) -> Self {
        Self::Identity(error)
    }
}

impl Explain for NotStarted {
    fn explain(self) -> Problem {
        match self {
            NotStarted::Identity(error) => {
                Problem::fatal(Exit::Damaged, format!("this manager's certificate {error}"))
                    .hint("its key file is not whole: put it back from a copy")
            }
            NotStarted::Consensus(error) => Problem::fatal(exit_of(&error), error.to_string())
                .hint("the manager's log says more"),
        }
    }
}

impl Started {
    /// Starts consensus with what an opened key file holds, whose chain must end
    /// in `fingerprint`.
    pub(in crate::manager) async fn new(
        shared: &Shared,
        header: &KeyFileHeader,
        body: KeyFileBody,
        fingerprint: Fingerprint,
    ) -> Result<Self, NotStarted> {
        let clock = shared.setup.clock.clone();
        let leaf = verify_chain(&body.chain, fingerprint, clock.now())?;
        let credentials = Credentials::new(&body.chain, &body.tls_key)?;
        let (hello, own) = (Arc::new(body.hello), CertificateRole::Manager(header.node));
        let key = hello.key_of(HelloPlace::Manager, header.node.as_bytes());
        let key = key.map_err(|_| CaError::Malformed("hello secret"))?;
        let client = ClientTls::new(&credentials, fingerprint, clock.clone());
        let client = client.greeting(Greeting::new(key, own, shared.setup.dice));
        let tls = ServerTls::new(&credentials, fingerprint, clock.clone());
        let peers = Peers::new(client.clone());
        let start = Start {
            cluster: header.cluster,
            node: header.node,
            addresses: shared.addresses(),
            data: shared.folder.path().to_owned(),
            deks: body.deks,
            disk: shared.setup.disk.clone(),
            dice: shared.setup.dice,
            tls: Some(client.of_raft()),
        };
        let consensus = Consensus::start(start).await.map_err(NotStarted::Consensus)?;
        let keys = KeyHolder::new(header.cluster, header.node, BoxKey::new(body.box_private));
        let (dice, node, cluster) = (shared.setup.dice, header.node, header.cluster);
        let core = Core::new(consensus, Arc::new(keys), clock, dice, node, cluster);
        let core = Arc::new(core);
        let generation = header.generation;
        let certificate_ends = leaf.ends;
        Ok(Self { core, peers, tls, hello, fingerprint, generation, certificate_ends })
    }
    /// Starts delivery, the tasks and the listener.
    pub(in crate::manager) fn run(self, manager: &Manager, listener: TcpListener) -> Arc<Running> {
        let running = Arc::new(Running {
            dispatch: Dispatch::start(self.core.clone()),
            started: self.core.clock.now(),
            core: self.core,
            peers: self.peers,
            fingerprint: self.fingerprint,
            generation: self.generation,
            certificate_ends: self.certificate_ends,
            stop: CancellationToken::new(),
            cuts: self.tls.cuts(),
            tls: self.tls,
            hello: self.hello,
            reserve: Reserve::new(manager.0.folder.path()),
            clock_off_ms: AtomicI64::new(0),
            voting: tokio::sync::Mutex::new(()),
            removed: AtomicBool::new(false),
            leaving: AtomicBool::new(false),
            tasks: Mutex::new(JoinSet::new()),
        });
        let mut tasks = running.tasks.lock();
        tasks.spawn(facts::follow_facts(manager.clone(), running.clone()));
        tasks.spawn(voters::keep(running.clone()));
        tasks.spawn(belonging::watch(manager.clone(), running.clone()));
        tasks.spawn(clocks::keep(running.clone()));
        tasks.spawn(reserve::keep(running.clone()));
        tasks.spawn(watch_consensus(manager.clone(), running.clone()));
        tasks.spawn(watch_standing(running.clone()));
        let routes = crate::manager::start::remote(manager, &running);
        tasks.spawn(listen(manager.clone(), running.clone(), listener, routes));
        drop(tasks);
        running
    }
}

/// Consensus that stops by itself ends the manager: what it wrote last is not
/// known to be there.
async fn watch_consensus(manager: Manager, running: Arc<Running>) {
    tokio::select! {
        () = running.stop.cancelled() => {}
        error = running.core.consensus.stopped() => {
            tracing::error!(event = "consensus_stopped", why = %error);
            manager.end(End::Failed(exit_of(&error), error.to_string()));
        }
    }
}

/// A manager whose disk is behind stops serving: agents and operators go elsewhere.
async fn watch_standing(running: Arc<Running>) {
    let mut standing = running.core.consensus.standing();
    let behind = standing.wait_for(|standing| matches!(standing, Standing::Behind(_)));
    tokio::select! {
        () = running.stop.cancelled() => {}
        Ok(_) = behind => running.stop.cancel(),
    }
}

/// Whoever the state doesn't list is a stranger, but where this manager knows no state yet.
/// A manager may have been admitted since, and is one that has to be heard; the state
/// remembers those who were removed.
fn may_be(state: &State, role: CertificateRole) -> bool {
    let Some(cluster) = &state.cluster else { return true };
    let is = |id: NodeId, role| state.nodes.get(&id).is_some_and(|node| node.role == role);
    match role {
        CertificateRole::Manager(id) => !cluster.removed_managers.contains_key(&id),
        CertificateRole::Worker(id) => is(id, NodeRole::Worker),
        CertificateRole::Operator(id) => state.operators.contains_key(&id),
    }
}

/// How this manager's listener tells members from strangers.
fn recognition(running: &Running) -> Recognition {
    let core = running.core.clone();
    let listed = move |role| core.consensus.read(|state| may_be(state, role));
    let (hello, clock) = (running.hello.clone(), running.core.clock.clone());
    Recognition::new(hello, running.core.node, clock, Arc::new(listed))
}

async fn listen(
    manager: Manager,
    running: Arc<Running>,
    listener: TcpListener,
    routes: tonic::service::Routes,
) {
    let stop = running.stop.clone();
    let tls = running.tls.clone().recognising(recognition(&running));
    let places = manager.0.setup.places;
    let serving = Box::pin(serve(listener, tls, routes, &places, stop.cancelled_owned()));
    if let Err(error) = serving.await {
        tracing::error!(event = "listener_failed", why = %error);
        manager.end(End::Failed(Exit::MachineLimit, format!("the listener failed: {error}")));
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
        let known = self.core.consensus.read(|state| state.nodes.contains_key(&self.core.node));
        // After a start the state lags: the members stand in the log.
        let listed = known || self.members().iter().any(|member| member.node == self.core.node);
        match seen.leader {
            _ if self.removed.load(Ordering::Relaxed) => Word::Removed,
            _ if !listed => Word::Joining,
            // One that lost its majority goes on leading nobody for a while.
            _ if seen.own && seen.quorum => Word::Leader,
            Some(leader) if leader != self.core.node && seen.quorum => Word::Follower,
            _ => Word::NoQuorum,
        }
    }
    /// Whether its disk was put back to an older state.
    pub(in crate::manager) fn is_behind(&self) -> bool {
        matches!(&*self.core.consensus.standing().borrow(), Standing::Behind(_))
    }
    /// Gives up what is on its disk, which is behind, and starts as a member that
    /// has nothing. The leader makes it one again.
    ///
    /// # Errors
    /// [`ReleaseError`]: nothing was given up; or why it did not start anew.
    pub(in crate::manager) async fn renew(
        &self,
        addresses: Vec<String>,
        grace: Duration,
    ) -> Result<Result<Started, StartError>, ReleaseError> {
        let core = &self.core;
        let renewed = match core.consensus.renew(addresses).await? {
            Ok(consensus) => consensus,
            Err(error) => return Ok(Err(error)),
        };
        self.shut(grace).await;
        let (keys, clock) = (core.keys.clone(), core.clock.clone());
        let core = Core::new(renewed, keys, clock, core.dice, core.node, core.cluster);
        Ok(Ok(Started {
            core: Arc::new(core),
            peers: self.peers.again(),
            tls: self.tls.clone(),
            hello: self.hello.clone(),
            fingerprint: self.fingerprint,
            generation: self.generation,
            certificate_ends: self.certificate_ends,
        }))
    }
    /// Whether it leads and may act as the leader; who leads, if it does not.
    pub(in crate::manager) fn leads(&self) -> Result<(), Problem> {
        self.is_leader()?;
        self.sure_of_time()
    }
    /// Whether its clock may be believed, as far as is known.
    pub(in crate::manager) fn sure_of_time(&self) -> Result<(), Problem> {
        if let Some(off) = self.clock_off_ms() {
            return Err(problem::clock_off(off));
        }
        match self.core.reading() {
            // Whatever is proposed waits until its clock is compared.
            Ok(_) | Err(Doubt::Fresh) => Ok(()),
            Err(doubt) => Err(problem::clock_doubted(doubt)),
        }
    }
    /// Whether it leads; who does, if it does not.
    pub(in crate::manager) fn is_leader(&self) -> Result<(), Problem> {
        let seen = self.core.consensus.leadership().borrow().clone();
        if seen.own {
            return Ok(());
        }
        let other = self.other_leader();
        Err(problem::not_leader(other.map(|node| (node, self.addresses_of(node)))))
    }
    /// How far the majority's clocks are ahead of this manager's, where that is too far.
    pub(in crate::manager) fn clock_off_ms(&self) -> Option<i64> {
        let off = self.clock_off_ms.load(Ordering::Relaxed);
        (off.unsigned_abs() > SHARED_MS).then_some(off)
    }
    pub(in crate::manager) fn set_clock_off(&self, off_ms: i64) {
        self.clock_off_ms.store(off_ms, Ordering::Relaxed);
    }
    /// It belongs to the cluster no more.
    pub(in crate::manager) fn removed(&self) {
        self.removed.store(true, Ordering::Relaxed);
    }
    /// Whether it is leaving.
    pub(in crate::manager) fn is_leaving(&self) -> bool {
        self.leaving.load(Ordering::Relaxed)
    }
    /// It is leaving, or not any more.
    pub(in crate::manager) fn leaves(&self, leaving: bool) {
        self.leaving.store(leaving, Ordering::Relaxed);
    }
    /// The members of consensus as this manager sees them.
    pub(in crate::manager) fn members(&self) -> Vec<Member> {
        self.core.consensus.members()
    }
    /// Hands leadership over, if this manager leads: to one of a name or
    /// id, or to whichever knows most.
    pub(in crate::manager) async fn step_down(&self, to: &str) -> Result<(), Problem> {
        self.is_leader()?;
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
        Err(Problem::refused("no such manager could take the lead")
            .hint("skep node ls shows which managers can be reached"))
    }
    /// Waits until a read here is linearizable, unless a stale one will do.
    pub(in crate::manager) async fn settle(&self, stale: bool) -> Result<(), Problem> {
        if stale {
            return Ok(());
        }
        let waited = self.core.consensus.linearize(READ_WAIT).await;
        waited.map(|_: Revision| ()).map_err(|error| self.problem(error))
    }
    /// What a failed proposal or read becomes.
    pub(in crate::manager) fn problem(&self, error: impl Into<Unproposed>) -> Problem {
        problem::of_proposal(error, |node| self.addresses_of(node))
    }
    /// Where a manager is.
    pub(in crate::manager) fn addresses_of(&self, node: NodeId) -> Vec<String> {
        let listed = |state: &State| state.nodes.get(&node).map(|node| node.addresses.clone());
        let listed = self.core.consensus.read(listed);
        // After a start the state lags: the members stand in the log.
        let member = || self.members().into_iter().find(|member| member.node == node);
        listed.or_else(|| member().map(|member| member.addresses)).unwrap_or_default()
    }
    /// The leader, where that is another manager.
    pub(in crate::manager) fn other_leader(&self) -> Option<NodeId> {
        let leader = self.core.consensus.leadership().borrow().leader;
        leader.filter(|leader| *leader != self.core.node)
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
    /// Proposes an act with the longest deadline there is.
    pub(in crate::manager) async fn propose(
        &self,
        request: RequestId,
        actor: Actor,
        act: Act,
    ) -> Result<(Revision, Outcome), Problem> {
        self.reserve.admits(&act)?;
        let applied = self.core.propose(request, actor, act).await;
        let applied = applied.map_err(|error| self.problem(error))?;
        Ok((applied.revision, applied.outcome.map_err(Explain::explain)?))
    }
    /// The same for a caller that does something about a refusal.
    pub(in crate::manager) async fn propose_refusable(
        &self,
        request: RequestId,
        actor: Actor,
        act: Act,
    ) -> Result<Result<Outcome, Refusal>, Problem> {
        let applied = self.core.propose(request, actor, act).await;
        Ok(applied.map_err(|error| self.problem(error))?.outcome)
    }
    /// Hands leadership over, ends streams, then the listener and the tasks, then
    /// consensus.
    pub(in crate::manager) async fn shut(&self, grace: Duration) {
        if self.is_leader().is_ok() && self.core.consensus.members().len() > 1 {
            // A peer that takes it does so at once; one that ends too never will.
            let moved = self.core.consensus.hand_over(grace.min(LAST_HAND_OVER), None).await;
            tracing::info!(event = "leadership_handed_over", moved);
        }
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
