//! Whom a member listens to.
//!
//! A certificate is necessary and not enough: the issuing key may be in other hands. So a
//! manager is heard if the state lists its id with the key that it shows. A member that is
//! behind doesn't know who joined since: of a young certificate that it doesn't know it asks
//! the managers that it does know. One that knows the caller is enough; where nobody does and
//! a majority has answered, itself included, the caller is refused. Only where too few answer
//! is a young certificate believed: a member of which most others are gone has nobody else
//! who could bring it what it lacks.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::Duration;

use futures_util::StreamExt;
use futures_util::stream::FuturesUnordered;
use openraft::async_runtime::watch::WatchReceiver;
use parking_lot::Mutex;
use tokio::sync::Semaphore;
use tokio::time::Instant;

use super::convert::BadMessage;
use super::gate::Gate;
use super::machine::Replica;
use skep_client::ca::Leaf;
use skep_client::transport::Expect;
use skep_core::base::NodeId;
use skep_core::domain::{NodeRole, State};
use skep_core::wire::raft as proto;

/// How long before its act of joining a manager's certificate may start: what the
/// issuer puts it back by, and the longest that the act may be under way.
const ISSUED_BEFORE_MS: u64 = 2 * 60_000;
/// How long the others may take to say whether they know somebody.
const ANSWER: Duration = Duration::from_millis(700);
/// So long an answer that somebody is heard holds; what is applied meanwhile holds anyway.
const HEARD: Duration = Duration::from_secs(3);
/// So long a refusal holds: a manager that has just joined is not kept waiting for longer.
const REFUSED: Duration = Duration::from_millis(500);
/// Answers that are kept.
const KEPT: usize = 32;
/// Callers about whom the others are asked at once; more are refused until there is room.
const ASKING: usize = 4;

/// How a manager stands by its certificate.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Listing {
    /// The state lists it.
    Listed,
    /// The state may be behind and not know it yet.
    Unknown,
    /// It was removed: ids are never used again.
    Removed,
    /// That id is somebody else's.
    Another,
}

/// How the manager with this certificate stands, as this state knows.
#[must_use]
pub fn listing(state: &State, node: NodeId, leaf: &Leaf) -> Listing {
    if let Some(listed) = state.nodes.get(&node) {
        let same = listed.role == NodeRole::Manager && listed.shows(&leaf.key);
        return if same { Listing::Listed } else { Listing::Another };
    }
    let cluster = state.cluster.as_deref();
    let removed = cluster.is_some_and(|cluster| cluster.removed_managers.contains_key(&node));
    let young = leaf.starts.plus_ms(ISSUED_BEFORE_MS) >= state.stamp;
    if young && !removed { Listing::Unknown } else { Listing::Removed }
}

/// What becomes of a manager's call.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Decision {
    /// It is heard.
    Heard,
    /// It is not known, and there is nobody who could be asked: it takes no part, and what it
    /// remembers of this member is compared. The disk of one that stands alone may be older
    /// than all the others.
    Compared,
    /// It was removed.
    Removed,
    /// It is nobody who may call.
    Denied,
}

/// What the others say of somebody.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
struct Said {
    /// One of them knows it.
    known: bool,
    /// So many answered and don't.
    strange: usize,
    /// So many were asked.
    asked: usize,
}

/// What follows of that, for a member that doesn't know it itself.
fn decided(said: Said) -> Decision {
    let all = said.asked + 1;
    if said.known {
        Decision::Heard
    } else if said.asked == 0 {
        Decision::Compared
    } else if said.strange + 1 > all / 2 {
        Decision::Denied
    } else {
        Decision::Heard
    }
}

type Kept = BTreeMap<(NodeId, [u8; 32]), (Decision, Instant)>;

/// Decides whose calls are heard.
pub(super) struct Vouching {
    gate: Gate,
    shared: Arc<Replica>,
    kept: Mutex<Kept>,
    asking: Semaphore,
}

impl Vouching {
    pub(super) fn new(gate: Gate, shared: Arc<Replica>) -> Self {
        Self { gate, shared, kept: Mutex::default(), asking: Semaphore::new(ASKING) }
    }

    /// Whether the manager with this certificate is heard.
    pub(super) async fn decide(&self, node: NodeId, leaf: &Leaf) -> Decision {
        match self.here(node, leaf) {
            Listing::Listed => return Decision::Heard,
            Listing::Removed => return Decision::Removed,
            Listing::Another => return Decision::Denied,
            Listing::Unknown => {}
        }
        let who = (node, leaf.key);
        if let Some(decision) = kept(&mut self.kept.lock(), who, Instant::now()) {
            return decision;
        }
        // Whoever makes up identities waits for its own kind.
        let Ok(_place) = self.asking.try_acquire() else { return Decision::Denied };
        let decision = decided(self.ask(node, leaf.key).await);
        let holds = if decision == Decision::Heard { HEARD } else { REFUSED };
        let now = Instant::now();
        keep(&mut self.kept.lock(), who, (decision, now + holds), now);
        if decision != Decision::Heard {
            tracing::warn!(event = "unknown_manager_refused", peer = %node);
        }
        decision
    }

    /// Whether this member knows it by itself.
    pub(super) fn lists(&self, node: NodeId, leaf: &Leaf) -> bool {
        self.here(node, leaf) == Listing::Listed
    }

    /// How it stands without asking anybody.
    fn here(&self, node: NodeId, leaf: &Leaf) -> Listing {
        let (known, listing) =
            self.shared.read(|state| (state.cluster.is_some(), listing(state, node, leaf)));
        // A member that has nothing yet knows nobody. The log knows a member a moment before
        // the state does.
        let member = || !known || self.is_member(node);
        if listing == Listing::Unknown && member() { Listing::Listed } else { listing }
    }

    fn is_member(&self, node: NodeId) -> bool {
        let metrics = self.gate.raft.metrics();
        metrics.borrow_watched().membership_config.membership().get_node(&node).is_some()
    }

    /// Whether this member knows somebody as a manager, asked by one that it lists itself.
    pub(super) fn knows(
        &self,
        asking: NodeId,
        of: &proto::VouchRequest,
    ) -> Result<bool, BadMessage> {
        let node = NodeId::try_from(of.id.as_slice()).map_err(|_| BadMessage("an id"))?;
        let key = <[u8; 32]>::try_from(of.key.as_slice()).map_err(|_| BadMessage("a key"))?;
        let listed = |state: &State| {
            let listed = state.nodes.get(&node);
            listed.map(|node| node.role == NodeRole::Manager && node.shows(&key))
        };
        let listed = self.shared.read(listed);
        Ok(node != asking && listed.unwrap_or_else(|| self.is_member(node)))
    }

    /// Asks all managers that the state lists until one knows it.
    async fn ask(&self, node: NodeId, key: [u8; 32]) -> Said {
        let own = self.gate.node;
        let managers = self.shared.read(|state| {
            let managers = state.nodes.iter().filter(|(id, listed)| {
                listed.role == NodeRole::Manager && !listed.learner && **id != own
            });
            managers.map(|(id, node)| (*id, node.addresses.clone())).collect::<Vec<_>>()
        });
        let asked = managers.len();
        let request = proto::VouchRequest { id: node.as_bytes().to_vec(), key: key.to_vec() };
        let mut answers: FuturesUnordered<_> = managers
            .into_iter()
            .map(|(peer, addresses)| {
                let mut client = self.gate.network.client(Expect::Manager(peer), addresses);
                let request = request.clone();
                async move { client.vouch(ANSWER, request).await.ok() }
            })
            .collect();
        let mut said = Said { known: false, strange: 0, asked };
        while let Some(answer) = answers.next().await {
            match answer {
                Some(true) => {
                    said.known = true;
                    break;
                }
                Some(false) => said.strange += 1,
                None => {}
            }
        }
        said
    }
}

fn kept(kept: &mut Kept, who: (NodeId, [u8; 32]), now: Instant) -> Option<Decision> {
    kept.get(&who).filter(|(_, until)| now < *until).map(|(decision, _)| *decision)
}

/// Keeps an answer where there is room; else it is asked for again.
fn keep(kept: &mut Kept, who: (NodeId, [u8; 32]), answer: (Decision, Instant), now: Instant) {
    kept.retain(|_, (_, until)| now < *until);
    if kept.len() < KEPT {
        kept.insert(who, answer);
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use skep_client::ca::{CertificateRole, Subject};
    use skep_core::base::{ClusterId, Stamp};
    use skep_core::domain::testing::worker;

    fn id(n: u8) -> NodeId {
        NodeId::from_bytes([n; 16])
    }

    fn leaf(starts: u64) -> Leaf {
        Leaf {
            subject: Subject {
                cluster: ClusterId::from_bytes([2; 16]),
                role: CertificateRole::Manager(id(1)),
                name: "m".parse().expect("a name"),
            },
            key: [1; 32],
            starts: Stamp(starts),
            ends: Stamp(u64::MAX),
        }
    }

    #[test]
    fn only_a_certificate_younger_than_what_is_known_may_be_unknown() {
        let mut state = State { stamp: Stamp(1_000_000), ..State::default() };
        let young = leaf(1_000_000 - ISSUED_BEFORE_MS);
        assert_eq!(listing(&state, id(1), &young), Listing::Unknown);
        let older = leaf(1_000_000 - ISSUED_BEFORE_MS - 1);
        assert_eq!(listing(&state, id(1), &older), Listing::Removed);
        let mut cluster = skep_core::domain::testing::genesis().cluster;
        cluster.removed_managers.insert(id(1), Stamp(999_999));
        state.cluster = Some(Arc::new(cluster));
        assert_eq!(listing(&state, id(1), &leaf(1_000_000)), Listing::Removed, "a young one");
        state.cluster = None;
        let mut listed = worker("m");
        listed.role = NodeRole::Manager;
        listed.key = [1; 32];
        state.nodes.insert(id(1), Arc::new(listed.clone()));
        assert_eq!(listing(&state, id(1), &leaf(0)), Listing::Listed);
        listed.key = [2; 32];
        state.nodes.insert(id(1), Arc::new(listed.clone()));
        assert_eq!(listing(&state, id(1), &leaf(1_000_000)), Listing::Another, "another key");
        listed.renewal.next_key = Some([1; 32]);
        state.nodes.insert(id(1), Arc::new(listed.clone()));
        assert_eq!(listing(&state, id(1), &leaf(0)), Listing::Listed, "what it renews to");
        listed.role = NodeRole::Worker;
        state.nodes.insert(id(1), Arc::new(listed));
        assert_eq!(listing(&state, id(1), &leaf(0)), Listing::Another, "another role");
    }

    #[test]
    fn somebody_unknown_is_heard_where_one_knows_it_or_too_few_answer() {
        let of = |known, strange, asked| decided(Said { known, strange, asked });
        assert_eq!(of(false, 0, 0), Decision::Compared, "alone");
        assert_eq!(of(false, 1, 1), Decision::Denied, "the other one doesn't know it");
        assert_eq!(of(false, 0, 1), Decision::Heard, "the other one is gone");
        assert_eq!(of(true, 0, 2), Decision::Heard);
        assert_eq!(of(true, 1, 2), Decision::Heard, "one is behind too");
        assert_eq!(of(false, 1, 2), Decision::Denied, "two of three don't know it");
        assert_eq!(of(false, 0, 2), Decision::Heard);
        assert_eq!(of(false, 1, 4), Decision::Heard);
        assert_eq!(of(false, 2, 4), Decision::Denied);
    }

    #[test]
    fn answers_are_kept_for_a_while_and_never_more_than_so_many() {
        let (mut all, now) = (Kept::new(), Instant::now());
        for n in 0..200 {
            keep(&mut all, (id(n), [n; 32]), (Decision::Denied, now + REFUSED), now);
        }
        assert_eq!(all.len(), KEPT);
        assert_eq!(kept(&mut all, (id(1), [1; 32]), now), Some(Decision::Denied));
        assert_eq!(kept(&mut all, (id(1), [2; 32]), now), None, "another key");
        assert_eq!(kept(&mut all, (id(1), [1; 32]), now + REFUSED), None, "asked again");
        let later = now + REFUSED;
        keep(&mut all, (id(201), [1; 32]), (Decision::Heard, later + HEARD), later);
        assert_eq!(all.len(), 1);
    }
}
