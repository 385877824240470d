//! `status`: what is known in each phase.

use std::time::Duration;

use super::reads::why;
use super::warnings;
use crate::consensus::{Leadership, Member};
use crate::manager::life::lifecycle::Shared;
use crate::manager::life::phase::{Phase, Word};
use crate::manager::running::Running;
use crate::manager::upkeep::clocks::difference;
use skep_client::ca::certificate_ends;
use skep_core::base::NodeId;
use skep_core::domain::State;
use skep_core::wire::{api, convert};

/// A voter that has not answered for so long is out of reach.
const CONTACT_MS: u64 = 3_000;
/// Pending pairs that are named; beside them stands the number of all.
const PENDING: usize = 100;
/// How long the leader may take to say how the others are.
const LEADER: Duration = Duration::from_millis(1_500);

/// The status as far as it is known now. A follower asks the leader how the others
/// are if it is to `ask`: only the leader hears of them.
pub(super) async fn status(shared: &Shared, ask: bool) -> api::StatusReply {
    let mut reply = api::StatusReply {
        version: env!("CARGO_PKG_VERSION").to_owned(),
        disk_free_bytes: shared.folder.free_bytes(),
        started: shared.started.0,
        now: shared.setup.clock.now().0,
        tolerates_losses: -1,
        ..api::StatusReply::default()
    };
    match shared.unlocked() {
        Some(running) if running.is_behind() => rolled_back(shared, &running, &mut reply),
        Some(running) => {
            unlocked(&running, &mut reply);
            let leader = running.other_leader().filter(|_| ask);
            let word = running.word();
            if let Some(leader) = leader.filter(|_| word == Word::Follower) {
                match ask_leader(&running, leader).await {
                    Some(told) => by_leader(&mut reply, told),
                    None => warnings::leader_silent(&mut reply),
                }
            }
            warnings::of_running(&running, word, &mut reply);
        }
        None => closed(shared, &mut reply),
    }
    warnings::of_disk(shared, &mut reply);
    reply
}

/// The leader's own status, and how far this manager's clock is ahead of it.
async fn ask_leader(running: &Running, leader: NodeId) -> Option<(api::StatusReply, i64)> {
    let clock = &running.core.clock;
    let sent = clock.boot();
    let asking = async {
        let client = running.peers.client(leader, &running.addresses_of(leader)).await;
        client.ok()?.status(api::StatusRequest {}).await.ok()
    };
    let Ok(Some(told)) = tokio::time::timeout(LEADER, asking).await else {
        running.peers.lost(leader);
        return None;
    };
    let told = told.into_inner();
    let half = clock.boot().0.saturating_sub(sent.0) / 2;
    let ahead_ms = difference(clock.now().0, told.now.saturating_add(half));
    Some((told, ahead_ms))
}

/// Takes over what only the leader knows.
fn by_leader(reply: &mut api::StatusReply, (told, ahead_ms): (api::StatusReply, i64)) {
    if told.leader_id == told.node_id {
        reply.voters = told.voters;
        reply.tolerates_losses = told.tolerates_losses;
        reply.pending = told.pending;
        reply.pending_pairs = told.pending_pairs;
        reply.clock_ahead_ms = Some(ahead_ms);
    }
}

/// Of a manager that is new, locked or expired: what lies open on its disk.
fn closed(shared: &Shared, reply: &mut api::StatusReply) {
    let names = shared.folder.node_file();
    let Some((header, ended)) = shared.closed_header() else {
        reply.state = shared.word().to_string();
        reply.node_name = shared.setup.name.to_string();
        return;
    };
    reply.cluster_id = header.cluster.as_bytes().to_vec();
    reply.node_id = header.node.as_bytes().to_vec();
    reply.key_generation = header.generation;
    reply.cluster_name = names.cluster;
    reply.node_name = names.name;
    reply.state = Word::Locked.to_string();
    if let Some(ended) = ended {
        reply.state = Word::Expired.to_string();
        warnings::expired(reply);
        reply.certificates.push(api::CertificateEnd { what: "manager".into(), ends: ended.0 });
    }
    if shared.phase() == Phase::Locked && shared.folder.stays_locked() {
        warnings::locked_by_operator(reply);
    }
}

/// Of a manager whose disk is behind: who it is and why, and nothing of a state that
/// is not the cluster's.
fn rolled_back(shared: &Shared, running: &Running, reply: &mut api::StatusReply) {
    let (core, names) = (&running.core, shared.folder.node_file());
    reply.state = Word::RolledBack.to_string();
    reply.cluster_id = core.cluster.as_bytes().to_vec();
    reply.node_id = core.node.as_bytes().to_vec();
    reply.cluster_name = names.cluster;
    reply.node_name = names.name;
    reply.key_generation = running.generation;
    reply.fingerprint = running.fingerprint.0.to_vec();
    let ends = running.certificate_ends.0;
    reply.certificates.push(api::CertificateEnd { what: "manager".to_owned(), ends });
    warnings::rolled_back(running, reply);
}

fn unlocked(running: &Running, reply: &mut api::StatusReply) {
    let core = &running.core;
    let seen = core.consensus.leadership().borrow().clone();
    let members = core.consensus.members();
    reply.state = running.word().to_string();
    reply.cluster_id = core.cluster.as_bytes().to_vec();
    reply.node_id = core.node.as_bytes().to_vec();
    reply.leader_id = seen.leader.map(|node| node.as_bytes().to_vec()).unwrap_or_default();
    reply.term = seen.term;
    reply.key_generation = running.generation;
    reply.fingerprint = running.fingerprint.0.to_vec();
    reply.tolerates_losses = tolerates(&seen, &members);
    if seen.own {
        reply.clock_ahead_ms = Some(0);
    }
    let authorities = core.consensus.read(|state| {
        of_state(state, core.node, reply);
        reply.voters = members.iter().map(|member| voter(state, member, seen.leader)).collect();
        let cluster = state.cluster.as_ref()?;
        Some((certificate_ends(&cluster.issuing), certificate_ends(&cluster.root)))
    });
    for (voter, member) in reply.voters.iter_mut().zip(&members) {
        voter.version = if member.node == core.node {
            env!("CARGO_PKG_VERSION").to_owned()
        } else {
            running.peers.said(member.node).map(|heard| heard.version).unwrap_or_default()
        };
    }
    for pair in &mut reply.pending {
        pair.why = why(running, pair);
    }
    let (issuing, root) = authorities.unwrap_or_default();
    let ends =
        [("manager", Some(running.certificate_ends)), ("issuing CA", issuing), ("root CA", root)];
    for (what, ends) in ends {
        let ends = ends.map(|ends| api::CertificateEnd { what: what.to_owned(), ends: ends.0 });
        reply.certificates.extend(ends);
    }
}

fn of_state(state: &State, own: NodeId, reply: &mut api::StatusReply) {
    reply.revision = state.revision.0;
    reply.level = state.level;
    reply.state_bytes = state.bytes;
    reply.secrets = count(state.secrets.len());
    reply.services = count(state.services.len());
    reply.nodes = count(state.nodes.len());
    reply.pending = convert::pending(state, PENDING);
    reply.pending_pairs = count(state.indexes.behind.len());
    if let Some(cluster) = &state.cluster {
        reply.cluster_name = cluster.name.to_string();
        reply.epoch_counter = cluster.epoch.counter;
        reply.cluster_key_number = cluster.cluster_key.number;
    }
    if let Some(node) = state.nodes.get(&own) {
        reply.node_name = node.name.to_string();
    }
    warnings::of_size(state, reply);
}

fn voter(state: &State, member: &Member, leader: Option<NodeId>) -> api::Voter {
    let node = state.nodes.get(&member.node);
    api::Voter {
        id: member.node.as_bytes().to_vec(),
        name: node.map_or_else(|| member.node.to_string(), |node| node.name.to_string()),
        address: member.addresses.first().cloned().unwrap_or_default(),
        state: manager_status(Some(member), leader).to_owned(),
        last_contact_ms: member.last_contact_ms,
        records_behind: member.behind,
        version: String::new(),
    }
}

/// A manager's place in consensus, in one word; empty where it has none.
pub(super) fn manager_status(member: Option<&Member>, leader: Option<NodeId>) -> &'static str {
    match member {
        None => "",
        Some(member) if Some(member.node) == leader => "leader",
        Some(member) if !reachable(member) => "unreachable",
        Some(member) if member.voter => "follower",
        Some(_) => "learner",
    }
}

/// Who does not lead knows of nobody that they are out of reach.
pub(in crate::manager) fn reachable(member: &Member) -> bool {
    member.last_contact_ms.is_none_or(|ago| ago < CONTACT_MS)
}

/// How many more managers may be lost; -1 without a majority now.
fn tolerates(seen: &Leadership, members: &[Member]) -> i32 {
    let voters = members.iter().filter(|member| member.voter);
    let all = voters.clone().count();
    if all == 0 || seen.leader.is_none() || !seen.quorum {
        return -1;
    }
    let in_reach = |member: &&Member| Some(member.node) == seen.leader || reachable(member);
    let reached = voters.filter(in_reach).count();
    i32::try_from(reached.saturating_sub(all / 2 + 1)).unwrap_or(i32::MAX)
}

fn count(number: usize) -> u64 {
    u64::try_from(number).unwrap_or(u64::MAX)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn member(n: u8, last_contact_ms: Option<u64>) -> Member {
        let node = NodeId::from_bytes([n; 16]);
        let (addresses, voter, behind, acknowledges) = (Vec::new(), true, None, true);
        Member { node, addresses, voter, last_contact_ms, behind, acknowledges }
    }

    #[test]
    fn losses_that_are_tolerated() {
        let leader = NodeId::from_bytes([1; 16]);
        let led = Leadership { term: 1, leader: Some(leader), own: true, quorum: true };
        let three = [member(1, None), member(2, Some(10)), member(3, Some(20))];
        assert_eq!(tolerates(&led, &three), 1);
        let two = [member(1, None), member(2, Some(10)), member(3, Some(CONTACT_MS))];
        assert_eq!(tolerates(&led, &two), 0);
        assert_eq!(tolerates(&led, &[member(1, None)]), 0);
        let alone = Leadership { leader: None, own: false, quorum: false, ..led.clone() };
        assert_eq!(tolerates(&alone, &three), -1);
        let deaf = Leadership { quorum: false, ..led };
        assert_eq!(tolerates(&deaf, &three), -1, "it hears no majority");
    }

    #[test]
    fn words_of_managers() {
        let leader = Some(NodeId::from_bytes([1; 16]));
        assert_eq!(manager_status(Some(&member(1, None)), leader), "leader");
        assert_eq!(manager_status(Some(&member(2, Some(1))), leader), "follower");
        assert_eq!(manager_status(Some(&member(2, Some(CONTACT_MS))), leader), "unreachable");
        let learner = Member { voter: false, ..member(2, Some(1)) };
        assert_eq!(manager_status(Some(&learner), leader), "learner");
        assert_eq!(manager_status(None, leader), "");
    }
}
