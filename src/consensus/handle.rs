//! What the manager holds of consensus.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;
use std::time::Duration;

use openraft::async_runtime::watch::WatchReceiver;
use openraft::errors::{
    ClientWriteError, Fatal, ForwardReason, ForwardToLeader, LinearizableReadError, RaftError,
};
use openraft::{ChangeMembers, Raft, ReadPolicy};
use parking_lot::Mutex;
use tokio::runtime::Handle;
use tokio::sync::{broadcast, watch};
use tokio::task::AbortHandle;
use tokio::time::Instant;

use super::errors::{ProposeError, StartError};
use super::gate::{self, Gate};
use super::given::Start;
use super::leaderless;
use super::machine::{Machine, Replica};
use super::network::MOST_MESSAGE;
use super::progress::{self, Contact, Leadership, Member};
use super::release::{self, ReleaseError};
use super::service::RaftService;
use super::standing::Standing;
use super::start::{Parts, RaftRuntime, Running, Tuning};
use super::types::{Addresses, Proposal, TypeConfig};
use super::vouching::Vouching;
use crate::store::Log;
use skep_client::transport::rpc::raft::raft_server::RaftServer;
use skep_core::base::limits::DEADLINE_MS;
use skep_core::base::{NodeId, Revision};
use skep_core::domain::{Applied, Command, Fact, State};

/// How long a new cluster may take to elect its only voter.
const FOUNDING: Duration = Duration::from_secs(10);
/// A peer heard of within so many milliseconds is there: ten heartbeats.
const RECENT_MS: u64 = 1_000;
/// Between two attempts while a new leader has no lease yet.
const LEASE_PAUSE: Duration = Duration::from_millis(20);

/// A running Raft member. Cheap to clone.
#[derive(Clone)]
pub struct Consensus {
    inner: Arc<Inner>,
}

struct Inner {
    node: NodeId,
    parts: Parts,
    gate: Gate,
    runtime: RaftRuntime,
    raft: Raft<TypeConfig, Machine>,
    shared: Arc<Replica>,
    log: Log,
    leadership: watch::Receiver<Leadership>,
    /// The term that this member leads, and since when it is known to.
    leading: Mutex<Option<(u64, Instant)>>,
    tasks: Vec<AbortHandle>,
}

impl Drop for Inner {
    fn drop(&mut self) {
        for task in &self.tasks {
            task.abort();
        }
    }
}

impl std::fmt::Debug for Consensus {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "Consensus({})", self.inner.node)
    }
}

impl Consensus {
    /// Opens log and snapshots, recovers the state and starts Raft.
    ///
    /// # Errors
    /// [`StartError`].
    pub async fn start(start: Start) -> Result<Self, StartError> {
        Self::start_tuned(start, Tuning::default()).await
    }

    pub(super) async fn start_tuned(start: Start, tuning: Tuning) -> Result<Self, StartError> {
        Self::start_with(Parts::of(start, tuning)?).await
    }

    async fn start_with(parts: Parts) -> Result<Self, StartError> {
        let node = parts.node;
        let Running { raft, shared, log, gate, runtime } = super::start::start(&parts).await?;
        let (leadership, following) = watch::channel(Leadership::default());
        let mut tasks = vec![
            tokio::spawn(progress::follow(node, raft.clone(), Arc::clone(&shared), leadership))
                .abort_handle(),
            tokio::spawn(snapshot_when_due(raft.clone(), Arc::clone(&shared))).abort_handle(),
            tokio::spawn(gate::keep_peers(gate.clone())).abort_handle(),
            tokio::spawn(gate::rest_when_behind(gate.clone())).abort_handle(),
            tokio::spawn(leaderless::watch(gate.clone(), Arc::clone(&shared))).abort_handle(),
        ];
        if gate.others().is_empty() {
            // Nobody can remember: nobody is waited for.
            tasks.extend(gate::pass_alone(gate.clone()).await?);
        } else {
            tasks.push(tokio::spawn(gate::pass_and_tell(gate.clone())).abort_handle());
        }
        let leadership = following;
        let leading = Mutex::default();
        let inner =
            Inner { node, parts, gate, runtime, raft, shared, log, leadership, leading, tasks };
        Ok(Self { inner: Arc::new(inner) })
    }

    /// Waits until a leader was heard of lately, or is this member, for a quarter of a second at
    /// most: whoever calls in an election need not call again and again.
    pub async fn led_soon(&self) {
        progress::led_soon(&self.inner.shared, &self.inner.leadership).await;
    }

    /// Where Raft runs, and where its peers' connections are to be served.
    #[must_use]
    pub fn runtime(&self) -> Option<Handle> {
        self.inner.runtime.handle()
    }

    /// How this member stands among its peers.
    #[must_use]
    pub fn standing(&self) -> watch::Receiver<Standing> {
        self.inner.gate.peers.standing()
    }

    /// Brings a member home whose disk is behind: the leader takes it out of the
    /// members, then its log and snapshots are given up, and it starts as one that has
    /// nothing. The old one stops. It can be repeated wherever it ended.
    ///
    /// # Errors
    /// [`ReleaseError`]: nothing was given up; or why it did not start.
    pub async fn renew(&self, more: Vec<String>) -> Result<Result<Self, StartError>, ReleaseError> {
        release::ask(&self.inner.gate, more).await?;
        let number = self.inner.gate.peers.unheard_of();
        let parts = self.inner.parts.clone();
        let deciding = {
            let parts = parts.clone();
            tokio::task::spawn_blocking(move || parts.give_up(number)).await
        };
        self.shutdown().await;
        Ok(match deciding {
            Ok(Ok(())) => Self::start_with(parts).await,
            Ok(Err(error)) => Err(error.into()),
            Err(error) => Err(StartError::Disk(std::io::Error::other(error))),
        })
    }

    /// Makes this member the only voter of a new cluster, and returns when it leads.
    /// Once, at `init`.
    ///
    /// # Errors
    /// [`ProposeError::Stopped`].
    pub async fn found(&self) -> Result<(), ProposeError> {
        let stopped = |why: &dyn std::fmt::Display| ProposeError::Stopped(why.to_string());
        let addresses = Addresses(self.inner.parts.addresses.clone());
        let members = BTreeMap::from([(self.inner.node, addresses)]);
        self.inner.raft.initialize(members).await.map_err(|error| stopped(&error))?;
        let mut leadership = self.leadership();
        let leads = leadership.wait_for(|now| now.own);
        match tokio::time::timeout(FOUNDING, leads).await {
            Ok(Ok(_)) => Ok(()),
            Ok(Err(error)) => Err(stopped(&error)),
            Err(late) => Err(stopped(&late)),
        }
    }

    /// Proposes a command and waits until it is applied here.
    ///
    /// # Errors
    /// [`ProposeError`]; a domain refusal is inside [`Applied`].
    pub async fn propose(&self, command: Command) -> Result<Applied, ProposeError> {
        let budget = command.deadline.0.saturating_sub(command.stamp.0).min(DEADLINE_MS);
        let until = Instant::now() + Duration::from_millis(budget);
        let proposal = Proposal::of(command);
        let proposal = proposal.map_err(|bad| ProposeError::Unfit(bad.to_string()))?;
        loop {
            self.running()?;
            let write = self.inner.raft.client_write(proposal.clone());
            let Ok(written) = tokio::time::timeout_at(until, write).await else {
                return Err(ProposeError::Unknown);
            };
            let forward = match written {
                Ok(written) => return written.data.ok_or(ProposeError::Unknown),
                Err(RaftError::APIError(ClientWriteError::ForwardToLeader(forward))) => forward,
                // Another leader may still commit it, and a stopped one may have.
                Err(RaftError::APIError(_) | RaftError::Fatal(_)) => {
                    return Err(ProposeError::Unknown);
                }
            };
            self.retry(forward, until).await?;
        }
    }

    /// A leader just elected has no lease yet: nothing was done, and it will have one.
    async fn retry(
        &self,
        forward: ForwardToLeader<TypeConfig>,
        until: Instant,
    ) -> Result<(), ProposeError> {
        let pause = Instant::now() + LEASE_PAUSE;
        if forward.reason != ForwardReason::LeaseExpired || pause >= until {
            return Err(ProposeError::NotLeader(forward.leader_id));
        }
        tokio::time::sleep_until(pause).await;
        // One that lost its majority will not get a lease back by waiting.
        let metrics = self.inner.raft.server_metrics();
        let leads = metrics.borrow_watched().state.is_leader();
        let now = self.inner.leadership.borrow();
        if leads && (now.quorum || !now.own) { Ok(()) } else { Err(ProposeError::NotLeader(None)) }
    }

    /// Waits until a read here is linearizable (`ReadIndex`).
    ///
    /// # Errors
    /// [`ProposeError::NotLeader`], [`ProposeError::Stopped`].
    pub async fn linearize(&self, timeout: Duration) -> Result<Revision, ProposeError> {
        let until = Instant::now() + timeout;
        loop {
            self.running()?;
            let read = self.inner.raft.ensure_linearizable(ReadPolicy::ReadIndex);
            let forward = match tokio::time::timeout_at(until, read).await {
                Ok(Ok(_)) => return Ok(self.read(|state| state.revision)),
                Ok(Err(RaftError::APIError(LinearizableReadError::ForwardToLeader(forward)))) => {
                    forward
                }
                Ok(Err(RaftError::Fatal(fatal))) => {
                    return Err(ProposeError::Stopped(fatal.to_string()));
                }
                // No majority answers, or not in time.
                Ok(Err(RaftError::APIError(LinearizableReadError::QuorumNotEnough(_))))
                | Err(_) => {
                    return Err(ProposeError::NotLeader(None));
                }
            };
            self.retry(forward, until).await?;
        }
    }

    /// Reads the applied state. The closure must be short and must not wait.
    pub fn read<T>(&self, look: impl FnOnce(&State) -> T) -> T {
        self.inner.shared.read(look)
    }

    /// Facts as they are applied. One that lags is told so and looks at everything;
    /// so does one that gets no fact at all: a snapshot was installed.
    #[must_use]
    pub fn facts(&self) -> broadcast::Receiver<(Revision, Arc<[Fact]>)> {
        self.inner.shared.facts()
    }

    /// Who leads.
    #[must_use]
    pub fn leadership(&self) -> watch::Receiver<Leadership> {
        self.inner.leadership.clone()
    }

    /// How old what is read here may be.
    #[must_use]
    pub fn contact(&self) -> Contact {
        let (ago, seen) = (self.inner.shared.led_ago(), self.leadership().borrow().clone());
        let age = ago.unwrap_or_else(|| self.inner.shared.age());
        Contact { age, led: seen.quorum && seen.leader.is_some(), known: ago.is_some() }
    }

    /// Voters and learners with milliseconds since the last contact (as the leader
    /// knows it) and records behind.
    #[must_use]
    pub fn members(&self) -> Vec<Member> {
        let silent = progress::leading_for(&self.inner.raft, &self.inner.leading);
        progress::members(self.inner.node, &self.inner.raft, silent)
    }

    /// Lets a manager follow the log as a learner, without waiting for it to catch
    /// up. Only the leader can; it may be asked again for the same.
    ///
    /// # Errors
    /// [`ProposeError`].
    pub async fn admit(&self, node: NodeId, addresses: Vec<String>) -> Result<(), ProposeError> {
        self.running()?;
        let added = self.inner.raft.add_learner(node, Addresses(addresses), false).await;
        added.map(drop).map_err(refused)
    }

    /// Makes exactly these members the voters; a voter that is none of them goes on
    /// as a learner, so that it sees what follows. Only the leader can.
    ///
    /// # Errors
    /// [`ProposeError`].
    pub async fn set_voters(&self, voters: BTreeSet<NodeId>) -> Result<(), ProposeError> {
        self.running()?;
        let changed = self.inner.raft.change_membership(voters, true).await;
        changed.map(drop).map_err(refused)
    }

    /// Lets learners follow no more. Only the leader can.
    ///
    /// # Errors
    /// [`ProposeError`].
    pub async fn forget(&self, learners: BTreeSet<NodeId>) -> Result<(), ProposeError> {
        self.running()?;
        let gone = ChangeMembers::RemoveNodes(learners);
        let changed = self.inner.raft.change_membership(gone, false).await;
        changed.map(drop).map_err(refused)
    }

    /// Has a member that is reached elsewhere stand there among the members. Whom a
    /// connection reaches is checked by its certificate, so a wrong one reaches nobody else.
    ///
    /// # Errors
    /// [`ProposeError`].
    pub async fn moves(&self, node: NodeId, addresses: Vec<String>) -> Result<(), ProposeError> {
        self.running()?;
        let there = ChangeMembers::SetNodes(BTreeMap::from([(node, Addresses(addresses))]));
        let changed = self.inner.raft.change_membership(there, true).await;
        changed.map(drop).map_err(refused)
    }

    /// Hands leadership to another voter (`to`, or the most up to date), if this member leads;
    /// answers whether it leads no more.
    pub async fn hand_over(&self, timeout: Duration, to: Option<NodeId>) -> bool {
        let next = self.members().into_iter().filter(|member| {
            member.voter
                && member.node != self.inner.node
                && member.last_contact_ms.is_some_and(|ago| ago < RECENT_MS)
                && to.is_none_or(|to| to == member.node)
        });
        let mut leadership = self.leadership();
        if leadership.borrow().leader != Some(self.inner.node) {
            return true;
        }
        let Some(next) = next.min_by_key(|m| (m.behind.unwrap_or(u64::MAX), m.last_contact_ms))
        else {
            return false;
        };
        if self.inner.raft.trigger().transfer_leader(next.node).await.is_err() {
            return false;
        }
        let node = self.inner.node;
        let gone = leadership.wait_for(|now| now.leader != Some(node));
        matches!(tokio::time::timeout(timeout, gone).await, Ok(Ok(_)))
    }

    /// Whether this member stands for election when it hears of no leader, once its disk was
    /// compared with what its peers remember.
    pub fn stand_for_election(&self, stands: bool) {
        self.inner.gate.may_be_elected(stands);
    }

    /// Makes a snapshot now and purges what it covers, so that removed keys leave the disk.
    ///
    /// # Errors
    /// [`ProposeError::Stopped`].
    pub async fn snapshot(&self) -> Result<(), ProposeError> {
        let stopped = |fatal: Fatal<TypeConfig>| ProposeError::Stopped(fatal.to_string());
        self.inner.raft.trigger().snapshot().await.map_err(stopped)
    }

    /// The service for peers.
    #[must_use]
    pub fn service(&self) -> RaftServer<RaftService> {
        let (raft, shared) = (self.inner.raft.clone(), Arc::clone(&self.inner.shared));
        let peers = Arc::clone(&self.inner.gate.peers);
        let vouching = Vouching::new(self.inner.gate.clone(), Arc::clone(&shared));
        let service = RaftService::new(self.inner.node, raft, shared, peers, vouching);
        RaftServer::new(service)
            .max_decoding_message_size(MOST_MESSAGE)
            .max_encoding_message_size(MOST_MESSAGE)
    }

    /// Resolves when consensus has stopped for a reason of its own (a failed disk, a bug).
    pub async fn stopped(&self) -> StartError {
        let inner = &self.inner;
        let mut failure = inner.log.failure();
        let mut cause = inner.shared.cause.subscribe();
        let fatal = tokio::select! {
            // Both senders live as long as this handle.
            Ok(_) = failure.wait_for(Option::is_some) => None,
            Ok(_) = cause.wait_for(Option::is_some) => None,
            fatal = progress::fatal(&inner.raft) => Some(fatal),
        };
        super::start::reason(&inner.shared, &inner.log, &fatal.unwrap_or_default())
    }

    /// Stops it in good order: everything written is synced.
    pub async fn shutdown(&self) {
        // A log that failed has told so by itself.
        self.inner.gate.peers.keep(|_| true).await.ok();
        // Its only error is that of a task that panicked, which `stopped` has told.
        self.inner.raft.shutdown().await.ok();
        self.inner.log.close().await;
    }

    /// Whether anything may be asked at all.
    fn running(&self) -> Result<(), ProposeError> {
        self.inner.gate.peers.sound().map_err(|_| ProposeError::NotLeader(None))?;
        let running = self.inner.raft.metrics().borrow_watched().running_state.clone();
        running.map_err(|fatal| ProposeError::Stopped(fatal.to_string()))
    }
}

#[cfg(test)]
impl Consensus {
    pub(super) fn raft_metrics(&self) -> openraft::RaftMetrics<TypeConfig> {
        self.inner.raft.metrics().borrow_watched().clone()
    }

    pub(super) fn raft(&self) -> &Raft<TypeConfig, Machine> {
        &self.inner.raft
    }

    /// Changes the state behind everybody's back.
    pub(super) fn spoil_state(&self) {
        self.inner.shared.spoil();
    }
}

fn refused(error: RaftError<TypeConfig, ClientWriteError<TypeConfig>>) -> ProposeError {
    match error {
        RaftError::APIError(ClientWriteError::ForwardToLeader(forward)) => {
            ProposeError::NotLeader(forward.leader_id)
        }
        RaftError::APIError(ClientWriteError::ChangeMembershipError(_)) => {
            ProposeError::NotLeader(None)
        }
        RaftError::APIError(_) => ProposeError::Unknown,
        RaftError::Fatal(fatal) => ProposeError::Stopped(fatal.to_string()),
    }
}

/// A snapshot is due after so many entries, which openraft counts, or bytes, which it does not.
async fn snapshot_when_due(raft: Raft<TypeConfig, Machine>, shared: Arc<Replica>) {
    loop {
        shared.snapshot_due.notified().await;
        if raft.trigger().snapshot().await.is_err() {
            return;
        }
    }
}
