//! Before a member takes part: it asks its peers what they remember of it.
//!
//! It opens once those who answered are a majority with itself, which it needs
//! anyway to do anything. Who was away then is compared with before its first
//! message is taken: every message carries what is remembered.

use std::sync::Arc;
use std::time::Duration;

use futures_util::future::join_all;
use openraft::Raft;
use openraft::async_runtime::watch::WatchReceiver;
use parking_lot::Mutex;
use tokio::task::AbortHandle;

use super::machine::Machine;
use super::network::Network;
use super::peers::Peers;
use super::standing::Standing;
use super::types::TypeConfig;
use crate::store::StoreError;
use skep_client::transport::Expect;
use skep_core::base::NodeId;

/// How long one peer may take to answer.
pub(super) const ANSWER: Duration = Duration::from_secs(2);
/// Between two rounds while too few answer.
const ROUND: Duration = Duration::from_millis(200);
/// Between two attempts to tell a peer of this start.
const TELL: Duration = Duration::from_secs(10);

/// What the gate needs.
#[derive(Clone)]
pub(super) struct Gate {
    pub(super) node: NodeId,
    pub(super) raft: Raft<TypeConfig, Machine>,
    pub(super) network: Network,
    pub(super) peers: Arc<Peers>,
    pub(super) candidacy: Arc<Candidacy>,
}

/// Whether this member stands for election: both who guards the gate and the manager, who
/// looks at its clock, must be for it.
#[derive(Debug, Default)]
pub(super) struct Candidacy(Mutex<Halves>);

#[derive(Clone, Copy, Debug, Default)]
struct Halves {
    passed: bool,
    rests: bool,
}

impl Halves {
    fn stand(self) -> bool {
        self.passed && !self.rests
    }
}

impl Gate {
    /// The manager's half: whether this member may be elected.
    pub(super) fn may_be_elected(&self, may: bool) {
        self.stand_by(|halves| halves.rests = !may);
    }

    fn stand_by(&self, change: impl FnOnce(&mut Halves)) {
        let mut halves = self.candidacy.0.lock();
        change(&mut halves);
        self.raft.runtime_config().elect(halves.stand());
    }

    /// Whether this member stands for election now.
    pub(super) fn stands(&self) -> bool {
        self.candidacy.0.lock().stand()
    }

    /// The other members, as the log and the snapshot name them.
    pub(super) fn others(&self) -> Vec<(NodeId, Vec<String>)> {
        let metrics = self.raft.metrics();
        let metrics = metrics.borrow_watched();
        let members = metrics.membership_config.membership();
        let others = members.nodes().filter(|(id, _)| **id != self.node);
        others.map(|(id, at)| (*id, at.0.clone())).collect()
    }

    /// Whether those that were met are a majority with this member. A member that
    /// does not vote needs none.
    fn enough(&self) -> bool {
        let metrics = self.raft.metrics();
        let metrics = metrics.borrow_watched();
        let members = metrics.membership_config.membership();
        let of_set = |voters: &std::collections::BTreeSet<NodeId>| {
            let counts = |id: &&NodeId| **id == self.node || self.peers.has_met(**id);
            !voters.contains(&self.node) || voters.iter().filter(counts).count() > voters.len() / 2
        };
        members.get_joint_config().iter().all(of_set)
    }

    /// Asks these at once; answers those that did not answer.
    async fn ask(&self, whom: Vec<(NodeId, Vec<String>)>) -> Vec<(NodeId, Vec<String>)> {
        let asked = whom.into_iter().map(async |(node, addresses)| {
            let mut client = self.network.client(Expect::Manager(node), addresses.clone());
            match client.remember(ANSWER).await {
                Ok(_) => {
                    self.peers.met(node);
                    None
                }
                Err(why) => {
                    tracing::debug!(event = "peer_not_asked", peer = %node, %why);
                    Some((node, addresses))
                }
            }
        });
        join_all(asked).await.into_iter().flatten().collect()
    }

    fn behind(&self) -> bool {
        matches!(&*self.peers.standing().borrow(), Standing::Behind(_))
    }

    /// Waits until enough peers have answered, and opens. Answers whether it did:
    /// not where the disk is behind.
    async fn pass(&self) -> Result<bool, StoreError> {
        loop {
            let meeting = self.peers.meeting.notified();
            let others = self.others();
            let unmet = others.into_iter().filter(|(node, _)| !self.peers.has_met(*node));
            self.ask(unmet.collect()).await;
            if self.behind() {
                return Ok(false);
            }
            if self.enough() {
                self.peers.open().await?;
                return Ok(!self.behind());
            }
            // Somebody who comes up asks us.
            drop(tokio::time::timeout(ROUND, meeting).await);
        }
    }

    /// Tells every peer of this start, however long it stays away: so that as many
    /// as can remember it.
    pub(super) async fn tell(&self) {
        let mut left = self.others();
        loop {
            left = self.ask(left).await;
            if left.is_empty() || self.behind() {
                return;
            }
            tokio::time::sleep(TELL).await;
        }
    }
}

/// Lets this member stand for election: at once, but for one whose log was given up.
///
/// That one reads its way through the members of old, itself among them. Where they were few
/// it would elect itself with them, and undo what the others have committed since. So it waits
/// until it knows the leader that it follows.
async fn stand(gate: &Gate) {
    if gate.peers.was_renewed() && !knows_its_leader(gate).await {
        return;
    }
    gate.stand_by(|halves| halves.passed = true);
    let voters: Vec<_> = gate.raft.voter_ids().collect();
    if voters == [gate.node] {
        // The only voter need not wait for anybody's heartbeat. A failure is what
        // `stopped` tells.
        gate.raft.trigger().elect(false).await.ok();
    }
}

/// Waits until this member votes, and so does whom it voted for last: a leader's call comes
/// with its vote, before the first entry. False: Raft has ended.
async fn knows_its_leader(gate: &Gate) -> bool {
    let own = gate.node;
    loop {
        let known = gate.raft.with_raft_state(move |state| {
            let members = state.membership_state.effective().membership();
            let votes = |node: NodeId| members.voter_ids().any(|voter| voter == node);
            votes(own) && votes(state.vote_ref().leader_id.voted_for)
        });
        match known.await {
            Ok(true) => return true,
            Ok(false) => tokio::time::sleep(ROUND).await,
            Err(_) => return false,
        }
    }
}

/// Takes part where nobody can be asked: one of an empty log, or the only member.
pub(super) async fn pass_alone(gate: Gate) -> Result<Option<AbortHandle>, StoreError> {
    if !gate.pass().await? {
        return Ok(None);
    }
    if gate.peers.was_renewed() {
        // Only its leader can tell it who there is.
        return Ok(Some(tokio::spawn(async move { stand(&gate).await }).abort_handle()));
    }
    stand(&gate).await;
    Ok(None)
}

/// Waits at the gate; then takes part, and tells every peer of this start.
pub(super) async fn pass_and_tell(gate: Gate) {
    // A log that failed has told so by itself.
    if gate.pass().await.is_ok_and(|passed| passed) {
        tokio::join!(stand(&gate), gate.tell());
    }
}

/// A member whose disk is behind does nothing more, whatever it was doing.
pub(super) async fn rest_when_behind(gate: Gate) {
    let mut standing = gate.peers.standing();
    let behind = standing.wait_for(|standing| matches!(standing, Standing::Behind(_)));
    if behind.await.is_ok() {
        // Its only error is that of a task that panicked, which `stopped` has told.
        gate.raft.shutdown().await.ok();
    }
}

/// Writes down what peers said, as long as this runs.
pub(super) async fn keep_peers(gate: Gate) {
    let member = |peer| gate.others().iter().any(|(other, _)| *other == peer);
    gate.peers.keep_always(member).await;
}
