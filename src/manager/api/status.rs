//! `status`: what is known in each phase.

use std::time::Duration;

use super::reads::why;
use super::warnings;
use crate::consensus::Member;
use crate::manager::life::lifecycle::Lifecycle;
use crate::manager::life::phase::Phase;
use crate::manager::members::others;
use crate::manager::members::standing::{self, tolerated_losses};
use crate::manager::problem::warning::{Certificate, Warning};
use crate::manager::running::Running;
use crate::manager::word::Word;
use skep_client::ca::certificate_ends;
use skep_core::base::{NodeId, ServiceId, Stamp};
use skep_core::domain::{Recovered, Scope, State};
use skep_core::wire::{api, convert};

/// Pending pairs, late deliveries and workers that are down that are named; beside them stands
/// the number of all.
const NAMED: usize = 100;
/// How long the leader may take to say how the others are.
const LEADER: Duration = Duration::from_millis(1_500);

/// The status as far as it is known now. A follower asks the leader how the others
/// are if it is to `ask`: only the leader hears of them. Nothing outside of `scope` is named.
pub(super) async fn status(life: &Lifecycle, ask: bool, scope: &Scope) -> api::StatusReply {
    let mut reply = api::StatusReply {
        version: env!("CARGO_PKG_VERSION").to_owned(),
        disk_free_bytes: life.folder.free_bytes(),
        started: life.started.0,
        now: life.setup.clock.now().0,
        tolerates_losses: -1,
        ..api::StatusReply::default()
    };
    let mut found = Vec::new();
    match life.unlocked() {
        Some(running) if running.is_behind() => {
            rolled_back(life, &running, &mut reply);
            found.push(warnings::rolled_back(&running));
        }
        Some(running) => {
            let ends = unlocked(&running, &mut reply);
            found.extend(running.core.consensus.read(warnings::of_size));
            let leader = running.core.other_leader().filter(|_| ask);
            let word = running.word();
            if let Some(leader) = leader.filter(|_| matches!(word, Word::Follower | Word::Learner))
            {
                match others::status_of(&running, leader, LEADER).await {
                    Some(told) => by_leader(&mut reply, told),
                    None => found.push(Warning::LeaderSilent),
                }
            }
            if scope.is_bounded() {
                running.core.consensus.read(|state| narrow(state, scope, &mut reply));
            }
            warnings::of_running(&running, word, &reply, &ends, &mut found);
            if scope.is_bounded() {
                found.retain(|one| !one.names_a_member());
            }
        }
        None => closed(life, &mut reply, &mut found),
    }
    warnings::of_disk(life, reply.disk_free_bytes, &mut found);
    reply.warnings = found.iter().map(Warning::tell).collect();
    reply
}

/// Leaves out what is not for whoever stays within a scope. How many there are stays.
fn narrow(state: &State, scope: &Scope, reply: &mut api::StatusReply) {
    let is_within =
        |id: &[u8]| ServiceId::try_from(id).is_ok_and(|id| convert::is_within(state, scope, id));
    reply.pending.retain(|pair| is_within(&pair.service));
    reply.lagging.retain(|of| is_within(&of.service));
    reply.down.clear();
    reply.copied.clear();
    if let Some(recovered) = &mut reply.recovered {
        recovered.tokens.clear();
        recovered.operators.clear();
    }
}

/// Takes over what only the leader knows.
fn by_leader(reply: &mut api::StatusReply, (told, leader_ahead_ms): (api::StatusReply, i64)) {
    if told.leader_id == told.node_id {
        reply.voters = told.voters;
        reply.tolerates_losses = told.tolerates_losses;
        reply.pending = told.pending;
        reply.pending_pairs = told.pending_pairs;
        reply.lagging = told.lagging;
        reply.lagging_count = told.lagging_count;
        reply.down = told.down;
        reply.down_count = told.down_count;
        reply.copied = told.copied;
        reply.clock_ahead_ms = Some(leader_ahead_ms.saturating_neg());
    }
}

/// Of a manager that is new, locked or expired: what lies open on its disk.
fn closed(life: &Lifecycle, reply: &mut api::StatusReply, found: &mut Vec<Warning>) {
    let names = life.folder.node_file();
    let Some((header, ended)) = life.closed_header() else {
        reply.set_state(life.word().into());
        reply.node_name = life.setup.name.to_string();
        return;
    };
    reply.cluster_id = header.cluster.as_bytes().to_vec();
    reply.node_id = header.node.as_bytes().to_vec();
    reply.key_generation = header.generation;
    reply.cluster_name = names.cluster;
    reply.node_name = names.name;
    reply.set_state(life.word().into());
    if let Some(ended) = ended {
        found.push(Warning::CertificateEnded);
        reply.certificates.push(certificate_end(Certificate::Manager, ended));
    } else if names.ends > 0 {
        reply.certificates.push(certificate_end(Certificate::Manager, Stamp(names.ends)));
        if names.ends <= reply.now && !life.folder.was_removed() {
            found.push(Warning::EndedWhileLocked);
        }
    }
    if life.folder.was_removed() {
        found.push(Warning::Removed);
    } else if life.phase() == Phase::Locked && life.folder.stays_locked() {
        found.push(Warning::LockedByOperator);
    }
}

/// Of a manager whose disk is behind: who it is and why, and nothing of a state that
/// is not the cluster's.
fn rolled_back(life: &Lifecycle, running: &Running, reply: &mut api::StatusReply) {
    let (core, names) = (&running.core, life.folder.node_file());
    reply.set_state(Word::RolledBack.into());
    reply.cluster_id = core.cluster.as_bytes().to_vec();
    reply.node_id = core.node.as_bytes().to_vec();
    reply.cluster_name = names.cluster;
    reply.node_name = names.name;
    reply.key_generation = running.identity.generation;
    reply.fingerprint = running.identity.fingerprint.0.to_vec();
    let ends = running.identity.own.leaf().ends;
    reply.certificates.push(certificate_end(Certificate::Manager, ends));
}

/// Of one that serves; the answer says when the certificates end.
fn unlocked(running: &Running, reply: &mut api::StatusReply) -> Vec<(Certificate, Stamp)> {
    let core = &running.core;
    let seen = core.consensus.leadership().borrow().clone();
    let members = core.consensus.members();
    reply.set_state(running.word().into());
    reply.cluster_id = core.cluster.as_bytes().to_vec();
    reply.node_id = core.node.as_bytes().to_vec();
    reply.leader_id = seen.leader.map(|node| node.as_bytes().to_vec()).unwrap_or_default();
    reply.term = seen.term;
    reply.key_generation = running.identity.generation;
    reply.fingerprint = running.identity.fingerprint.0.to_vec();
    reply.tolerates_losses = tolerated_losses(&seen, &members);
    reply.as_of = Some(running.as_of());
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
    for (voter, member) in reply.voters.iter_mut().zip(&members) {
        voter.key_exchange = running.peers.key_exchange(member.node);
    }
    for pair in &mut reply.pending {
        pair.why = why(running, pair);
    }
    let lags = running.dispatch.lags(NAMED);
    reply.lagging = lags.named;
    reply.lagging_count = lags.count;
    reply.down = lags.down;
    reply.down_count = lags.down_count;
    reply.copied = lags.copied;
    let (issuing, root) = authorities.unwrap_or_default();
    let ends = [
        (Certificate::Manager, Some(running.identity.own.leaf().ends)),
        (Certificate::Issuing, issuing),
        (Certificate::Root, root),
    ];
    let ends: Vec<_> = ends.into_iter().filter_map(|(which, ends)| Some((which, ends?))).collect();
    reply.certificates.extend(ends.iter().map(|(which, ends)| certificate_end(*which, *ends)));
    ends
}

fn certificate_end(which: Certificate, ends: Stamp) -> api::CertificateEnd {
    api::CertificateEnd { what: api::CertificateHolder::from(which).into(), ends: ends.0 }
}

fn of_state(state: &State, own: NodeId, reply: &mut api::StatusReply) {
    reply.revision = state.revision.0;
    reply.level = state.level;
    reply.state_bytes = state.bytes;
    reply.secrets = count(state.secrets.len());
    reply.services = count(state.services.len());
    reply.nodes = count(state.nodes.len());
    reply.pending = convert::pending(state, NAMED);
    reply.pending_pairs = count(state.indexes.behind.len());
    if let Some(cluster) = &state.cluster {
        reply.cluster_name = cluster.name.to_string();
        reply.epoch_counter = cluster.epoch.counter;
        reply.cluster_key_number = cluster.cluster_key.number;
        reply.recovered = cluster.recovered.as_deref().map(|of| recovered(state, of));
    }
    if let Some(node) = state.nodes.get(&own) {
        reply.node_name = node.name.to_string();
    }
}

/// What a recovery dropped, as long as it is not resumed.
fn recovered(state: &State, of: &Recovered) -> api::Recovered {
    let suspended = state.operators.values().filter(|operator| operator.suspended);
    let mut managers: Vec<_> = of.managers.iter().map(ToString::to_string).collect();
    managers.sort();
    api::Recovered {
        at: of.at.0,
        revision: of.revision.0,
        managers,
        tokens: of.tokens.iter().take(NAMED).map(|id| id.as_bytes().to_vec()).collect(),
        operators: suspended.take(NAMED).map(|operator| operator.name.to_string()).collect(),
    }
}

fn voter(state: &State, member: &Member, leader: Option<NodeId>) -> api::Voter {
    let node = state.nodes.get(&member.node);
    api::Voter {
        id: member.node.as_bytes().to_vec(),
        name: node.map_or_else(|| member.node.to_string(), |node| node.name.to_string()),
        address: member.addresses.first().cloned().unwrap_or_default(),
        state: standing::of(member, leader).into(),
        last_contact_ms: member.last_contact_ms,
        records_behind: member.behind,
        version: String::new(),
        key_exchange: String::new(),
    }
}

fn count(number: usize) -> u64 {
    u64::try_from(number).unwrap_or(u64::MAX)
}
