//! Whether this manager still belongs to the cluster.
//!
//! Whoever is removed while it is away hears nothing of it: nobody calls it any
//! more, and its own calls are refused. So a manager that is out of touch asks the
//! others how it stands with them. Each answers from its own state, to the
//! certificate that asks; a majority of them decides.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;
use std::time::Duration;

use crate::consensus::{Listing, listing};
use crate::manager::end::End;
use crate::manager::peers::PeerClient;
use crate::manager::problem;
use crate::manager::running::Running;
use futures_util::future::join_all;
use skep_client::ca::Leaf;
use skep_core::base::{Exit, NodeId};
use skep_core::domain::{NodeRole, State};
use skep_core::wire::api;
use skep_core::wire::convert::read_id;

/// How often a manager that is out of touch asks.
const ASK_EVERY: Duration = Duration::from_millis(500);
/// How often one asks that is in touch with a majority.
const LOOK_EVERY: Duration = Duration::from_secs(3);
/// How long one of the others may take.
const ANSWER: Duration = Duration::from_secs(2);

/// How long it may take to know everything that was committed.
const LOOK_UP: Duration = Duration::from_secs(1);

/// What one of the others said.
#[derive(Clone, Debug, PartialEq, Eq)]
struct Said {
    removed: bool,
    revision: u64,
    /// The managers that it lists.
    managers: BTreeSet<NodeId>,
    /// Of which history it is: a later one counts before any revision of an earlier one.
    epoch: u64,
    /// Nothing is held back there since a recovery.
    resumed: bool,
}

impl Said {
    /// How much it knows, against others.
    fn knows(&self) -> (u64, u64) {
        (self.epoch, self.revision)
    }
}

/// How the manager that asks stands here, as its certificate says who it is.
///
/// One that was removed long ago may show a young certificate, which it signed by its own old
/// state. So what is not known here is looked up where everything is that was committed: a
/// manager that was admitted stands there before it has a certificate.
pub(in crate::manager) async fn answer(
    running: &Running,
    node: NodeId,
    leaf: &Leaf,
) -> api::BelongingReply {
    let consensus = &running.core.consensus;
    let unknown = consensus.read(|state| listing(state, node, leaf)) == Listing::Unknown;
    let all_known = unknown && consensus.linearize(LOOK_UP).await.is_ok();
    running.core.consensus.read(|state| {
        let managers = state.nodes.iter().filter(|(_, node)| node.role == NodeRole::Manager);
        api::BelongingReply {
            removed: match listing(state, node, leaf) {
                Listing::Removed => true,
                Listing::Unknown => all_known,
                Listing::Listed | Listing::Another => false,
            },
            revision: state.revision.0,
            managers: managers.map(|(id, _)| id.as_bytes().to_vec()).collect(),
            epoch_counter: epoch(state),
            resumed: state.cluster.as_ref().is_none_or(|cluster| cluster.recovered.is_none()),
        }
    })
}

fn epoch(state: &State) -> u64 {
    state.cluster.as_ref().map_or(0, |cluster| cluster.epoch.counter)
}

/// Asks, whenever this manager is out of touch, and ends it once it is removed. One that is in
/// touch asks now and then: its majority may be one of a history that was given up.
pub(in crate::manager) async fn watch(running: Arc<Running>) {
    let mut every = tokio::time::interval(ASK_EVERY);
    let mut looked = tokio::time::Instant::now();
    every.set_missed_tick_behavior(tokio::time::MissedTickBehavior::Delay);
    loop {
        tokio::select! {
            () = running.stop.cancelled() => return,
            _ = every.tick() => {}
        }
        let is_in_touch = || running.core.consensus.leadership().borrow().quorum;
        let in_touch = is_in_touch();
        if in_touch && looked.elapsed() < LOOK_EVERY {
            continue;
        }
        looked = tokio::time::Instant::now();
        let (asked, said) = ask_all(&running).await;
        // A majority may have been found meanwhile.
        let in_touch = in_touch || is_in_touch();
        let own = running.core.consensus.read(epoch);
        let later = later(own, &said);
        running.sees_history(later.map(|said| said.epoch));
        if in_touch && later.is_some_and(|said| said.resumed) || !in_touch && decided(&asked, &said)
        {
            let why = later.map_or_else(problem::life::was_removed, |said| {
                problem::life::was_given_up(said.epoch)
            });
            return ended(&running, why);
        }
    }
}

/// This manager was removed: it ends with these last words, unless it is leaving anyway.
pub(in crate::manager) fn ended(running: &Running, why: String) {
    running.removed();
    if !running.is_leaving() {
        running.ends.say(End::Failed(Exit::IdentityEnded, why));
    }
}

/// What one says that is of a later history and doesn't list this manager.
fn later(own: u64, said: &BTreeMap<NodeId, Said>) -> Option<&Said> {
    let newest = said.values().max_by_key(|said| said.knows())?;
    (newest.removed && newest.epoch > own).then_some(newest)
}

/// Whether the others say that this manager was removed.
pub(in crate::manager) async fn is_removed(running: &Running) -> bool {
    let (asked, said) = ask_all(running).await;
    decided(&asked, &said)
}

/// Whom it asks, and what those say who answer.
async fn ask_all(running: &Running) -> (BTreeSet<NodeId>, BTreeMap<NodeId, Said>) {
    let others = others(running);
    let asked = others.iter().map(|(node, addresses)| ask(running, *node, addresses));
    let answers = join_all(asked).await;
    let said: BTreeMap<NodeId, Said> = others
        .keys()
        .copied()
        .zip(answers)
        .filter_map(|(node, said)| Some((node, said?)))
        .collect();
    (others.into_keys().collect(), said)
}

/// The other managers that this one knows of, and where they are.
pub(in crate::manager) fn others(running: &Running) -> BTreeMap<NodeId, Vec<String>> {
    let mut others: BTreeMap<NodeId, Vec<String>> =
        running.core.members().into_iter().map(|member| (member.node, member.addresses)).collect();
    let listed = |state: &State| -> Vec<_> {
        let managers = state.nodes.iter().filter(|(_, node)| node.role == NodeRole::Manager);
        managers.map(|(id, node)| (*id, node.addresses.clone())).collect()
    };
    others.extend(running.core.consensus.read(listed));
    others.remove(&running.core.node);
    others
}

async fn ask(running: &Running, node: NodeId, addresses: &[String]) -> Option<Said> {
    let ask = |mut peer: PeerClient| async move { peer.belonging(api::BelongingRequest {}).await };
    let answer = running.peers.ask(node, addresses, ANSWER, ask).await?;
    let managers = answer.managers.iter().map(|id| read_id("manager", id).ok());
    Some(Said {
        removed: answer.removed,
        revision: answer.revision,
        managers: managers.collect::<Option<_>>()?,
        epoch: answer.epoch_counter,
        resumed: answer.resumed,
    })
}

/// A majority of the managers that were asked says so. Those that were removed
/// themselves meanwhile, as whoever knows most says, don't count.
fn decided(asked: &BTreeSet<NodeId>, said: &BTreeMap<NodeId, Said>) -> bool {
    let Some(newest) = said.values().max_by_key(|said| said.knows()) else { return false };
    let count: BTreeSet<&NodeId> = asked.intersection(&newest.managers).collect();
    let removed = said.iter().filter(|(node, said)| count.contains(node) && said.removed).count();
    newest.removed && removed > count.len() / 2
}

#[cfg(test)]
mod tests {
    use super::*;

    fn ids(ids: &[u8]) -> BTreeSet<NodeId> {
        ids.iter().map(|n| NodeId::from_bytes([*n; 16])).collect()
    }

    fn said(list: &[(u8, bool, u64, &[u8])]) -> BTreeMap<NodeId, Said> {
        let one = |(node, removed, revision, managers): &(u8, bool, u64, &[u8])| {
            let managers = ids(managers);
            let (removed, revision) = (*removed, *revision);
            let said = Said { removed, revision, managers, epoch: 1, resumed: true };
            (NodeId::from_bytes([*node; 16]), said)
        };
        list.iter().map(one).collect()
    }

    #[test]
    fn a_majority_of_the_others_decides() {
        let asked = ids(&[1, 2]);
        assert!(!decided(&asked, &said(&[])), "nobody answers");
        let rest: &[u8] = &[1, 2];
        assert!(!decided(&asked, &said(&[(1, true, 9, rest)])), "one of two");
        assert!(decided(&asked, &said(&[(1, true, 9, rest), (2, true, 8, rest)])));
        let all: &[u8] = &[1, 2, 3];
        assert!(!decided(&asked, &said(&[(1, false, 9, all), (2, false, 8, all)])), "listed");
        assert!(
            !decided(&asked, &said(&[(1, true, 9, rest), (2, false, 8, all)])),
            "one is behind"
        );
        let asked = ids(&[1, 2, 4, 5]);
        let stay: &[u8] = &[1, 2, 4, 5];
        let three = [(1, true, 9, stay), (2, true, 9, stay), (4, true, 9, stay)];
        assert!(!decided(&asked, &said(&three[..2])), "half");
        assert!(decided(&asked, &said(&three)));
    }

    #[test]
    fn a_later_history_counts_before_any_revision_of_an_earlier_one() {
        let (asked, own): (_, &[u8]) = (ids(&[1, 2]), &[1]);
        let all: &[u8] = &[1, 2, 3];
        let mut both = said(&[(1, true, 5, own), (2, false, 9, all)]);
        assert!(!decided(&asked, &both));
        assert_eq!(later(1, &both), None);
        for said in both.values_mut().filter(|said| said.removed) {
            said.epoch = 2;
        }
        assert!(decided(&asked, &both), "the other is of the old one");
        assert_eq!(later(1, &both).map(|said| said.epoch), Some(2));
        assert_eq!(later(2, &both), None, "of the same");
        let mut listed = both.clone();
        for said in listed.values_mut() {
            said.removed = false;
        }
        assert_eq!(later(1, &listed), None, "it is behind, and belongs to it");
    }

    #[test]
    fn those_that_were_removed_too_do_not_count() {
        let alone: &[u8] = &[1];
        assert!(decided(&ids(&[1, 2]), &said(&[(1, true, 9, alone)])));
        let replaced: &[u8] = &[7, 8];
        assert!(!decided(&ids(&[1, 2]), &said(&[(1, true, 9, replaced)])), "removed itself");
    }
}
