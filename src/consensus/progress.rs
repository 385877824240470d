//! What openraft's metrics say, in the words that managers use.

use std::sync::Arc;
use std::time::Duration;

use openraft::async_runtime::watch::WatchReceiver;
use openraft::{Instant, Raft, RaftMetrics};
use parking_lot::Mutex;
use tokio::sync::watch;

use super::machine::{Machine, Replica};
use super::types::TypeConfig;
use skep_core::base::NodeId;

/// Who leads, as this manager knows it.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Leadership {
    /// The Raft term.
    pub term: u64,
    /// The leader, if there is one in reach.
    pub leader: Option<NodeId>,
    /// Whether that is this manager, with everything of earlier terms applied.
    pub own: bool,
    /// Whether a majority was heard of lately.
    pub quorum: bool,
}

/// A leader that no majority answered for so long has none.
const QUORUM_AGE: Duration = Duration::from_secs(1);
/// A follower that heard of no leader for so long is cut off: it would have
/// elected one by then. openraft goes on naming the last one.
const SILENCE: Duration = Duration::from_secs(2);
/// A leader speaks ten times a second.
const LATELY: Duration = Duration::from_millis(400);
/// How long a leader is waited for: whoever calls keeps half a second for an answer at least.
const SOON: Duration = Duration::from_millis(250);
/// Between two looks of whoever waits so.
const GLANCE: Duration = Duration::from_millis(10);
/// Silence changes no metric, so it is looked for.
const LOOK: Duration = Duration::from_millis(200);

/// A member as the leader sees it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Member {
    /// Which node.
    pub node: NodeId,
    /// Where.
    pub addresses: Vec<String>,
    /// A voter, or a learner.
    pub voter: bool,
    /// Milliseconds since it last answered; `None` where this manager does not lead.
    pub last_contact_ms: Option<u64>,
    /// Records it lacks.
    pub behind: Option<u64>,
    /// Whether it has acknowledged anything to this leader, or is it.
    pub acknowledges: bool,
}

fn leadership(node: NodeId, metrics: &RaftMetrics<TypeConfig>, led: bool) -> Leadership {
    let leads = metrics.state.is_leader();
    let applied = metrics.last_applied.map(|id| **id.committed_leader_id());
    let membership = metrics.membership_config.membership();
    let alone = membership.voter_ids().all(|voter| voter == node);
    let heard = metrics.last_quorum_acked.is_some_and(|at| at.elapsed() < QUORUM_AGE);
    let leader = metrics.current_leader.filter(|_| leads || led);
    Leadership {
        term: metrics.current_term,
        leader,
        // A leader begins its term with an entry of its own: once that is applied,
        // so is everything before it.
        own: leads && applied == Some(metrics.current_term),
        quorum: if leads { alone || heard } else { leader.is_some() },
    }
}

/// When a majority answered this member last, if it leads; the only voter is its own.
fn majority_at(node: NodeId, metrics: &RaftMetrics<TypeConfig>) -> Option<tokio::time::Instant> {
    if !metrics.state.is_leader() {
        return None;
    }
    let now = tokio::time::Instant::now();
    if metrics.membership_config.membership().voter_ids().all(|voter| voter == node) {
        return Some(now);
    }
    now.checked_sub(metrics.last_quorum_acked?.elapsed())
}

/// How sure it is that what a member knows is what the cluster knows.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Contact {
    /// Since it last knew of a leader with a majority; where it never has, since it began.
    pub age: Duration,
    /// It knows of one now.
    pub led: bool,
    /// It has known of one since it began.
    pub known: bool,
}

/// Keeps `into` up to date until Raft is gone.
pub(super) async fn follow(
    node: NodeId,
    raft: Raft<TypeConfig, Machine>,
    shared: Arc<Replica>,
    into: watch::Sender<Leadership>,
) {
    let mut metrics = raft.metrics();
    loop {
        let led = shared.heard_within(SILENCE);
        let (now, acked) = {
            let metrics = metrics.borrow_watched();
            (leadership(node, &metrics, led), majority_at(node, &metrics))
        };
        if let Some(at) = acked {
            shared.led_at(at);
        }
        into.send_if_modified(|before| {
            let changed = *before != now;
            *before = now;
            changed
        });
        if let Ok(Err(_)) = tokio::time::timeout(LOOK, metrics.changed()).await {
            // Raft is gone: nobody leads as far as this member knows.
            into.send_replace(Leadership::default());
            return;
        }
    }
}

/// Waits a little until a leader was heard of lately, or is this member. The last leader is
/// named for a while after it was lost: the next one is waited for by then.
pub(super) async fn led_soon(shared: &Replica, leadership: &watch::Receiver<Leadership>) {
    let led = || {
        let seen = leadership.borrow();
        seen.own || seen.leader.is_some() && shared.heard_within(LATELY)
    };
    let waited = async {
        while !led() {
            tokio::time::sleep(GLANCE).await;
        }
    };
    // What comes of it is looked at anew by whoever waited.
    tokio::time::timeout(SOON, waited).await.ok();
}

/// Waits until Raft has stopped by itself, and says why.
pub(super) async fn fatal(raft: &Raft<TypeConfig, Machine>) -> String {
    let mut metrics = raft.metrics();
    loop {
        let running = metrics.borrow_watched().running_state.clone();
        match running {
            // `shutdown` was called: that is no reason of its own.
            Ok(()) | Err(openraft::errors::Fatal::Stopped) => {}
            Err(fatal) => return fatal.to_string(),
        }
        if metrics.changed().await.is_err() {
            std::future::pending::<()>().await;
        }
    }
}

/// For how many milliseconds this member has been seen to lead in its term; `None` where
/// it does not lead. `leading` remembers since when.
pub(super) fn leading_for(
    raft: &Raft<TypeConfig, Machine>,
    leading: &Mutex<Option<(u64, tokio::time::Instant)>>,
) -> Option<u64> {
    let metrics = raft.metrics().borrow_watched().clone();
    let term = metrics.current_term;
    metrics.state.is_leader().then(|| {
        let mut leading = leading.lock();
        let now = (term, tokio::time::Instant::now());
        let since = leading.filter(|(of, _)| *of == term).unwrap_or(now);
        *leading = Some(since);
        u64::try_from(since.1.elapsed().as_millis()).unwrap_or(u64::MAX)
    })
}

/// The members, as this one sees them. One that never answered this leader was last
/// heard of `silent` milliseconds ago, as far as it knows.
pub(super) fn members(
    node: NodeId,
    raft: &Raft<TypeConfig, Machine>,
    silent: Option<u64>,
) -> Vec<Member> {
    let metrics = raft.metrics().borrow_watched().clone();
    let membership = metrics.membership_config.membership();
    let voters: Vec<NodeId> = membership.voter_ids().collect();
    let last = metrics.last_log_index.map_or(0, |index| index.saturating_add(1));
    let member = |(id, addresses): (&NodeId, &super::types::Addresses)| {
        let heard = metrics.heartbeat.as_ref().and_then(|heard| heard.get(id)?.as_ref());
        let matched = metrics.replication.as_ref().and_then(|matched| matched.get(id));
        let own = *id == node && metrics.state.is_leader();
        let elapsed = heard.map(|at| at.elapsed().as_millis());
        let last_contact_ms = elapsed.map(|ms| u64::try_from(ms).unwrap_or(u64::MAX)).or(silent);
        let behind = matched
            .map(|id| last.saturating_sub(id.as_ref().map_or(0, |id| id.index.saturating_add(1))));
        Member {
            node: *id,
            addresses: addresses.0.clone(),
            voter: voters.contains(id),
            last_contact_ms: if own { Some(0) } else { last_contact_ms },
            behind: if own { Some(0) } else { behind },
            acknowledges: own || matched.is_some_and(Option::is_some),
        }
    };
    membership.nodes().map(member).collect()
}
