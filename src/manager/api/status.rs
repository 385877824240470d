//! `status`: what is known in each phase, and what deserves attention.

use super::super::lifecycle::Shared;
use super::super::phase::{Phase, Word};
use super::super::running::Running;
use super::super::unlock::unfinished;
use super::reads::why;
use crate::base::{NodeId, Stamp, limits};
use crate::consensus::{Leadership, Member};
use crate::domain::State;
use crate::wire::{api, convert};

/// A voter that has not answered for so long is out of reach.
const CONTACT_MS: u64 = 3_000;
/// Bytes free below which a manager's disk is nearly full.
const DISK_LOW_BYTES: u64 = 512 * 1024 * 1024;
const DAY_MS: u64 = 86_400_000;
/// Days before its end at which a leaf is warned about.
const LEAF_DAYS: u64 = 30;
/// Days before its end at which a CA is warned about.
const CA_DAYS: u64 = 365;
/// Pending pairs that are named; the warning has the number of all.
const PENDING: usize = 1_000;

/// The status as far as it is known now.
pub(super) fn status(shared: &Shared) -> api::StatusReply {
    let mut reply = api::StatusReply {
        version: env!("CARGO_PKG_VERSION").to_owned(),
        disk_free_bytes: shared.folder.free_bytes(),
        started: shared.started.0,
        tolerates_losses: -1,
        ..api::StatusReply::default()
    };
    match shared.running() {
        Ok(running) => unlocked(&running, &mut reply),
        Err(_) => closed(shared, &mut reply),
    }
    if reply.disk_free_bytes < DISK_LOW_BYTES {
        let text = format!("{} MiB are free on the manager's disk", reply.disk_free_bytes >> 20);
        warn(&mut reply, "disk-low", text, "make room: the first failed write ends the manager");
    }
    if shared.folder.init_unfinished() {
        let problem = unfinished(&shared.folder);
        warn(&mut reply, "init-unfinished", problem.text(), problem.advice());
    }
    reply
}

fn warn(
    reply: &mut api::StatusReply,
    code: &str,
    text: impl Into<String>,
    hint: impl Into<String>,
) {
    let (code, text, hint) = (code.to_owned(), text.into(), hint.into());
    reply.warnings.push(api::Warning { code, text, hint });
}

/// Of a manager that is new, locked or expired: what lies open on its disk.
fn closed(shared: &Shared, reply: &mut api::StatusReply) {
    let names = shared.folder.node_file();
    let Some((header, ended)) = shared.closed_header() else {
        reply.state = Word::New.to_string();
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
        let problem = super::super::problem::Problem::expired();
        warn(reply, "certificate-ended", problem.text(), problem.advice());
        reply.certificates.push(api::CertificateEnd { what: "manager".into(), ends: ended.0 });
    }
    if shared.phase() == Phase::Locked && shared.folder.stays_locked() {
        let text = "an operator locked this manager: no unlock key file opens it";
        warn(reply, "locked-by-operator", text, "skep unlock");
    }
}

fn unlocked(running: &Running, reply: &mut api::StatusReply) {
    let core = &running.core;
    let seen = core.consensus.leadership().borrow().clone();
    let members = core.consensus.members();
    let now = core.clock.now();
    reply.state = running.word().to_string();
    reply.cluster_id = core.cluster.as_bytes().to_vec();
    reply.node_id = core.node.as_bytes().to_vec();
    reply.leader_id = seen.leader.map(|node| node.as_bytes().to_vec()).unwrap_or_default();
    reply.term = seen.term;
    reply.key_generation = running.generation;
    reply.fingerprint = running.fingerprint.0.to_vec();
    reply.tolerates_losses = tolerates(&seen, &members);
    let ca_ends = core.consensus.read(|state| {
        of_state(state, core.node, reply);
        reply.voters = members.iter().map(|member| voter(state, member, seen.leader)).collect();
        state.cluster.as_ref().and_then(|cluster| end_of(&cluster.issuing))
    });
    for pair in &mut reply.pending {
        pair.why = why(running, pair);
    }
    certificate(reply, "manager", running.certificate_ends, LEAF_DAYS, now);
    if let Some(ends) = ca_ends {
        certificate(reply, "issuing CA", ends, CA_DAYS, now);
    }
    if running.word() == Word::NoQuorum {
        let text = "no majority of the managers can be reached: nothing can be changed";
        warn(reply, "no-quorum", text, "start or unlock the other managers");
    }
    if !reply.pending.is_empty() {
        let text = format!(
            "{} pairs of node and service have not confirmed what was taken from them",
            reply.pending.len()
        );
        warn(
            reply,
            "pending",
            text,
            "skep node ls; a node that is gone for good: skep node rm --force",
        );
    }
    let number = reply.cluster_key_number;
    if number > 0 && core.keys.number() != Some(number) {
        let text = format!("cluster key {number} is not open on this manager");
        warn(
            reply,
            "cluster-key-closed",
            text,
            "its log says why; it can't lead a write until then",
        );
    }
}

fn of_state(state: &State, own: NodeId, reply: &mut api::StatusReply) {
    reply.revision = state.revision.0;
    reply.level = state.level;
    reply.secrets = count(state.secrets.len());
    reply.services = count(state.services.len());
    reply.nodes = count(state.nodes.len());
    reply.pending = convert::pending(state);
    reply.pending.truncate(PENDING);
    if let Some(cluster) = &state.cluster {
        reply.cluster_name = cluster.name.to_string();
        reply.epoch_counter = cluster.epoch.counter;
        reply.cluster_key_number = cluster.cluster_key.number;
    }
    if let Some(node) = state.nodes.get(&own) {
        reply.node_name = node.name.to_string();
    }
    if state.bytes > limits::STATE_BYTES / 100 * (limits::STATE_FULL_PERCENT - 10) {
        let text =
            format!("the state has {} MiB of {}", state.bytes >> 20, limits::STATE_BYTES >> 20);
        warn(reply, "state-full", text, "remove secrets or versions that are not needed any more");
    }
}

fn certificate(reply: &mut api::StatusReply, what: &str, ends: Stamp, days: u64, now: Stamp) {
    reply.certificates.push(api::CertificateEnd { what: what.to_owned(), ends: ends.0 });
    let left = ends.0.saturating_sub(now.0) / DAY_MS;
    if left < days {
        let text = format!("the certificate of the {what} ends in {left} days");
        warn(reply, "certificate-ends", text, "renew it in time: nothing works past its end");
    }
}

fn voter(state: &State, member: &Member, leader: Option<NodeId>) -> api::Voter {
    let node = state.nodes.get(&member.node);
    api::Voter {
        id: member.node.as_bytes().to_vec(),
        name: node.map_or_else(|| member.node.to_string(), |node| node.name.to_string()),
        address: member.addresses.first().cloned().unwrap_or_default(),
        state: manager_status(Some(member), leader).to_owned(),
        last_contact_ms: member.last_contact_ms.unwrap_or(0),
        records_behind: member.behind.unwrap_or(0),
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
pub(in super::super) fn reachable(member: &Member) -> bool {
    member.last_contact_ms.is_none_or(|ago| ago < CONTACT_MS)
}

/// How many more managers may be lost; -1 without a majority now.
fn tolerates(seen: &Leadership, members: &[Member]) -> i32 {
    let voters = members.iter().filter(|member| member.voter);
    let all = voters.clone().count();
    if all == 0 || seen.leader.is_none() || !(seen.quorum || seen.own) {
        return -1;
    }
    let in_reach = |member: &&Member| Some(member.node) == seen.leader || reachable(member);
    let reached = voters.filter(in_reach).count();
    i32::try_from(reached.saturating_sub(all / 2 + 1)).unwrap_or(i32::MAX)
}

/// When a certificate (DER) ends.
fn end_of(certificate: &[u8]) -> Option<Stamp> {
    let (_, certificate) = x509_parser::parse_x509_certificate(certificate).ok()?;
    let seconds = u64::try_from(certificate.validity().not_after.timestamp()).ok()?;
    Some(Stamp(seconds.saturating_mul(1000)))
}

fn count(number: usize) -> u64 {
    u64::try_from(number).unwrap_or(u64::MAX)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn member(n: u8, last_contact_ms: Option<u64>) -> Member {
        let node = NodeId::from_bytes([n; 16]);
        Member { node, addresses: Vec::new(), voter: true, last_contact_ms, behind: None }
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
        let alone = Leadership { leader: None, own: false, quorum: false, ..led };
        assert_eq!(tolerates(&alone, &three), -1);
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

    #[test]
    fn a_certificate_near_its_end_is_warned_about() {
        let mut reply = api::StatusReply::default();
        certificate(&mut reply, "manager", Stamp(40 * DAY_MS), LEAF_DAYS, Stamp(0));
        assert!(reply.warnings.is_empty());
        certificate(&mut reply, "manager", Stamp(29 * DAY_MS), LEAF_DAYS, Stamp(0));
        assert_eq!(reply.warnings.len(), 1);
    }
}
