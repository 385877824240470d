//! The leader's care for who takes part in consensus: what the state lists as
//! managers is what the members become, one step at a time.
//!
//! A manager first follows as a learner and votes once it has caught up, so that
//! one that never comes costs the cluster nothing. One that joined as a learner stays one.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;
use std::time::Duration;

use tokio::sync::broadcast::error::RecvError;
use tokio::time::Instant;

use crate::consensus::{Member, ProposeError};
use crate::manager::running::Running;
use skep_core::base::NodeId;
use skep_core::domain::{Fact, Node, NodeRole, State};

/// How often learners are looked at.
const LOOK: Duration = Duration::from_millis(200);
/// How long one step may take: past it a majority is missing, and it is tried again.
const STEP: Duration = Duration::from_secs(5);
/// Records a learner may lack when it becomes a voter.
const BEHIND: u64 = 64;
/// So long a manager that was removed still hears what is committed, so that it sees
/// its own removal. One that doesn't asks by itself.
const LAST_WORDS: Duration = Duration::from_millis(500);
/// A learner that has answered within this many milliseconds is there.
const CONTACT_MS: u64 = 2_000;

/// What brings the members closer to what they should be.
#[derive(Debug, PartialEq, Eq)]
enum Step {
    /// A manager that is no member yet.
    Admit(NodeId, Vec<String>),
    /// Exactly these vote.
    Vote(BTreeSet<NodeId>),
    /// Learners that are no managers any more.
    Forget(BTreeSet<NodeId>),
    /// A member that is reached elsewhere.
    Move(NodeId, Vec<String>),
}

/// What the state lists of a manager.
#[derive(Clone, Debug, PartialEq, Eq)]
struct Wanted {
    addresses: Vec<String>,
    /// It never votes.
    learner: bool,
}

type Managers = BTreeMap<NodeId, Wanted>;

fn managers(state: &State) -> Managers {
    let listed = state.nodes.iter().filter(|(_, node)| node.role == NodeRole::Manager);
    let wanted = |node: &Node| Wanted { addresses: node.addresses.clone(), learner: node.learner };
    listed.map(|(id, node)| (*id, wanted(node))).collect()
}

/// The next step, if there is one now.
fn step(wanted: &Managers, members: &[Member]) -> Option<Step> {
    let ids = |voter| {
        let same = members.iter().filter(move |member| member.voter == voter);
        same.map(|member| member.node).collect::<BTreeSet<_>>()
    };
    let (voters, learners) = (ids(true), ids(false));
    let votes = |id: &NodeId| wanted.get(id).is_some_and(|wanted| !wanted.learner);
    let staying: BTreeSet<NodeId> = voters.iter().filter(|id| votes(id)).copied().collect();
    if staying.is_empty() {
        // The state is behind the members: nobody is taken away for that.
        return None;
    }
    if staying.len() < voters.len() {
        return Some(Step::Vote(staying));
    }
    let gone: BTreeSet<NodeId> =
        learners.iter().filter(|id| !wanted.contains_key(id)).copied().collect();
    if !gone.is_empty() {
        return Some(Step::Forget(gone));
    }
    let moved = members.iter().find_map(|member| {
        let now = &wanted.get(&member.node)?.addresses;
        (*now != member.addresses).then(|| Step::Move(member.node, now.clone()))
    });
    if moved.is_some() {
        return moved;
    }
    let new = wanted.iter().find(|(id, _)| !voters.contains(id) && !learners.contains(id));
    if let Some((id, new)) = new {
        return Some(Step::Admit(*id, new.addresses.clone()));
    }
    let ready =
        members.iter().find(|member| !member.voter && votes(&member.node) && caught_up(member))?;
    Some(Step::Vote(voters.iter().copied().chain([ready.node]).collect()))
}

fn caught_up(member: &Member) -> bool {
    member.acknowledges
        && member.behind.is_some_and(|behind| behind <= BEHIND)
        && member.last_contact_ms.is_some_and(|ago| ago <= CONTACT_MS)
}

/// Whether the members are what they should be.
fn settled(wanted: &Managers, members: &[Member]) -> bool {
    members.len() == wanted.len()
        && members.iter().all(|member| {
            wanted.get(&member.node).is_some_and(|wanted| {
                member.voter != wanted.learner && wanted.addresses == member.addresses
            })
        })
}

/// Keeps the members what the state says, while this manager leads.
pub(in crate::manager) async fn keep(running: Arc<Running>) {
    let consensus = &running.core.consensus;
    let mut facts = consensus.facts();
    let mut leadership = consensus.leadership();
    let mut leaving = Leaving::default();
    loop {
        let turn = running.voting.lock().await;
        let wanted = consensus.read(managers);
        let unsettled = running.core.leads().is_ok() && !settled(&wanted, &running.core.members());
        let step = if unsettled { step(&wanted, &running.core.members()) } else { None };
        if let Some(step) = step.filter(|step| leaving.is_time(step, Instant::now())) {
            tracing::info!(event = "members_change", ?step);
            match tokio::time::timeout(STEP, take(&running, step)).await {
                Ok(Ok(())) => continue,
                Ok(Err(error)) => tracing::warn!(event = "members_not_changed", why = %error),
                Err(_late) => tracing::warn!(event = "members_not_changed", why = "no answer"),
            }
        }
        drop(turn);
        tokio::select! {
            () = running.stop.cancelled() => return,
            changed = leadership.changed() => if changed.is_err() { return },
            () = tokio::time::sleep(LOOK), if unsettled => {}
            () = nodes_change(&mut facts) => {}
        }
    }
}

/// Since when managers that were removed are to be forgotten.
#[derive(Debug, Default)]
struct Leaving(Option<(BTreeSet<NodeId>, Instant)>);

impl Leaving {
    /// Whether a step may be taken: the removed are forgotten after a while.
    fn is_time(&mut self, step: &Step, now: Instant) -> bool {
        let Step::Forget(gone) = step else { return true };
        match &self.0 {
            Some((same, since)) if same == gone => now.duration_since(*since) >= LAST_WORDS,
            _ => {
                self.0 = Some((gone.clone(), now));
                false
            }
        }
    }
}

/// Takes the vote from a manager that is about to be removed.
///
/// # Errors
/// [`ProposeError`]; past [`STEP`] the outcome is unknown.
pub(in crate::manager) async fn retire(
    running: &Running,
    manager: NodeId,
) -> Result<(), ProposeError> {
    let voters = running.core.members().into_iter().filter(|member| member.voter);
    let voters: BTreeSet<NodeId> = voters.map(|member| member.node).collect();
    let staying: BTreeSet<NodeId> =
        voters.iter().filter(|voter| **voter != manager).copied().collect();
    if staying.is_empty() || staying.len() == voters.len() {
        return Ok(());
    }
    let step = Step::Vote(staying);
    tracing::info!(event = "members_change", ?step);
    let retired = tokio::time::timeout(STEP, take(running, step)).await;
    retired.unwrap_or(Err(ProposeError::Unknown))
}

async fn take(running: &Running, step: Step) -> Result<(), ProposeError> {
    let consensus = &running.core.consensus;
    match step {
        Step::Admit(node, addresses) => consensus.admit(node, addresses).await,
        Step::Vote(voters) => consensus.set_voters(voters).await,
        Step::Forget(learners) => consensus.forget(learners).await,
        Step::Move(node, addresses) => consensus.moves(node, addresses).await,
    }
}

/// Waits until a node may have come, gone or changed.
async fn nodes_change(
    facts: &mut tokio::sync::broadcast::Receiver<(skep_core::base::Revision, Arc<[Fact]>)>,
) {
    loop {
        match facts.recv().await {
            Ok((_, facts)) => {
                let concerns =
                    |fact: &Fact| matches!(fact, Fact::NodeRevised(_) | Fact::NodeRemoved(_));
                // A snapshot that was installed has no facts of its own.
                if facts.is_empty() || facts.iter().any(concerns) {
                    return;
                }
            }
            Err(RecvError::Lagged(_)) => return,
            Err(RecvError::Closed) => std::future::pending().await,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn id(n: u8) -> NodeId {
        NodeId::from_bytes([n; 16])
    }

    fn wanted(ids: &[u8]) -> Managers {
        let one = |n| Wanted { addresses: vec![format!("m{n}:4440")], learner: false };
        ids.iter().map(|n| (id(*n), one(n))).collect()
    }

    fn member(n: u8, voter: bool, behind: Option<u64>) -> Member {
        let last_contact_ms = behind.map(|_| 5);
        let (node, acknowledges) = (id(n), behind.is_some());
        let addresses = vec![format!("m{n}:4440")];
        Member { node, addresses, voter, last_contact_ms, behind, acknowledges }
    }

    #[test]
    fn a_manager_learns_and_then_votes() {
        let (one, two) = (member(1, true, Some(0)), |voter, behind| member(2, voter, behind));
        let alone = [one.clone()];
        assert_eq!(
            step(&wanted(&[1, 2]), &alone),
            Some(Step::Admit(id(2), vec!["m2:4440".to_owned()]))
        );
        let away = [one.clone(), two(false, None)];
        assert_eq!(step(&wanted(&[1, 2]), &away), None, "it never answered");
        let silent = Member { acknowledges: false, ..two(false, Some(3)) };
        let silent = [one.clone(), silent];
        assert_eq!(step(&wanted(&[1, 2]), &silent), None, "it has nothing, of a short log");
        let late = [one.clone(), two(false, Some(BEHIND + 1))];
        assert_eq!(step(&wanted(&[1, 2]), &late), None, "it is catching up");
        let there = [one.clone(), two(false, Some(0))];
        assert_eq!(
            step(&wanted(&[1, 2]), &there),
            Some(Step::Vote(BTreeSet::from([id(1), id(2)])))
        );
        assert!(!settled(&wanted(&[1, 2]), &there));
        let whole = [one, two(true, Some(0))];
        assert_eq!(step(&wanted(&[1, 2]), &whole), None);
        assert!(settled(&wanted(&[1, 2]), &whole));
    }

    #[test]
    fn one_that_joined_as_a_learner_stays_one() {
        let mut all = wanted(&[1, 2]);
        all.get_mut(&id(2)).expect("listed").learner = true;
        let (one, two) = (member(1, true, Some(0)), member(2, false, Some(0)));
        let admitted = step(&all, std::slice::from_ref(&one));
        assert_eq!(admitted, Some(Step::Admit(id(2), vec!["m2:4440".to_owned()])));
        assert_eq!(step(&all, &[one.clone(), two.clone()]), None, "it has caught up");
        assert!(settled(&all, &[one.clone(), two.clone()]));
        assert!(!settled(&wanted(&[1, 2]), &[one.clone(), two.clone()]));
        let voting = Member { voter: true, ..two };
        assert_eq!(step(&all, &[one, voting]), Some(Step::Vote(BTreeSet::from([id(1)]))));
    }

    #[test]
    fn the_removed_hear_their_removal_before_they_are_forgotten() {
        let mut leaving = Leaving::default();
        let (start, gone) = (Instant::now(), |n| Step::Forget(BTreeSet::from([id(n)])));
        assert!(leaving.is_time(&Step::Vote(BTreeSet::new()), start));
        assert!(!leaving.is_time(&gone(1), start));
        assert!(!leaving.is_time(&gone(1), start + LAST_WORDS / 2));
        assert!(leaving.is_time(&gone(1), start + LAST_WORDS));
        assert!(!leaving.is_time(&gone(2), start + LAST_WORDS), "another");
    }

    #[test]
    fn who_has_moved_is_a_member_at_its_new_address() {
        let old = Member { addresses: vec!["old:1".to_owned()], ..member(2, true, None) };
        let members = [member(1, true, Some(0)), old];
        let moved = Step::Move(id(2), vec!["m2:4440".to_owned()]);
        assert_eq!(step(&wanted(&[1, 2]), &members), Some(moved));
        assert!(!settled(&wanted(&[1, 2]), &members));
    }

    #[test]
    fn who_is_removed_votes_and_learns_no_more() {
        let members = [member(1, true, Some(0)), member(2, true, None), member(3, false, Some(0))];
        assert_eq!(step(&wanted(&[1, 3]), &members), Some(Step::Vote(BTreeSet::from([id(1)]))));
        assert_eq!(step(&wanted(&[1, 2]), &members), Some(Step::Forget(BTreeSet::from([id(3)]))));
        assert_eq!(step(&wanted(&[]), &members), None, "a state that is behind");
    }
}
