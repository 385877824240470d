//! A command and its outcome as the audit chain sees them: every field, in a
//! form of its own that no change of the stored layout or of a text alters.

mod opened;
mod operator;
mod put;

use self::operator::{constraints, operator, renewal};
use super::changed::Changed;
use super::command::{Act, Actor, Change, Command, Genesis, Join, Outcome, Rekey};
use super::refusal::Refusal;
use super::spec::{Activation, GrantAsked, MountKind, OfflinePolicy, Pin, ServiceSpec};
use super::state::{Availability, Cluster, Member, Node, NodeRole, Token};
use core::net::IpAddr;

use crate::audit::Digest;
use crate::base::{Label, Labels, Name, Target};

/// The hash of a command.
pub(super) fn command(command: &Command) -> [u8; 32] {
    let mut hash = Digest::new("skep 1 audited command");
    hash.bytes(command.request.as_bytes());
    hash.number(command.stamp.0);
    hash.number(command.deadline.0);
    actor(&mut hash, &command.actor);
    from(&mut hash, command.from);
    act(&mut hash, &command.act);
    hash.end()
}

/// The hash of an outcome. A refusal counts by its code: its text may change.
pub(super) fn outcome(outcome: &Result<Outcome, Refusal>) -> [u8; 32] {
    let mut hash = Digest::new("skep 1 audited outcome");
    match outcome {
        Err(refusal) => {
            hash.number(0);
            hash.number(refusal.code().into());
        }
        Ok(Outcome::Done) => hash.number(1),
        Ok(Outcome::Changed(list)) => {
            hash.number(2);
            hash.count(list.iter().count());
            for of in list.iter() {
                changed(&mut hash, of);
            }
        }
        Ok(Outcome::Joined(of)) => {
            hash.number(3);
            node(&mut hash, of);
        }
    }
    hash.end()
}

fn from(hash: &mut Digest, of: Option<IpAddr>) {
    match of {
        None => hash.bytes(&[]),
        Some(IpAddr::V4(of)) => hash.bytes(&of.octets()),
        Some(IpAddr::V6(of)) => hash.bytes(&of.octets()),
    }
}

fn actor(hash: &mut Digest, of: &Actor) {
    match of {
        Actor::Leader(node) => {
            hash.number(1);
            hash.bytes(node.as_bytes());
        }
        Actor::Local { uid, manager } => {
            hash.number(2);
            hash.number((*uid).into());
            hash.bytes(manager.as_bytes());
        }
        Actor::Operator(operator) => {
            hash.number(3);
            hash.bytes(operator.as_bytes());
        }
        Actor::Node(node) => {
            hash.number(4);
            hash.bytes(node.as_bytes());
        }
        Actor::Token(token) => {
            hash.number(5);
            hash.bytes(token.as_bytes());
        }
    }
}

fn act(hash: &mut Digest, of: &Act) {
    match of {
        Act::Genesis(of) => {
            hash.number(1);
            genesis(hash, of);
        }
        Act::Change(list) => {
            hash.number(2);
            hash.count(list.len());
            for of in list {
                change(hash, of);
            }
        }
        Act::Join(of) => {
            hash.number(3);
            join(hash, of);
        }
        Act::Expose(pairs) => {
            hash.number(4);
            hash.count(pairs.len());
            for (node, service) in pairs {
                hash.bytes(node.as_bytes());
                hash.bytes(service.as_bytes());
            }
        }
        Act::Confirm(list) => {
            hash.number(5);
            hash.count(list.len());
            for of in list {
                hash.bytes(of.node.as_bytes());
                hash.bytes(of.service.as_bytes());
                hash.number(of.revision.0);
                hash.number(of.gone.into());
            }
        }
        Act::Opened(of) => {
            hash.number(6);
            opened::list(hash, of);
        }
        Act::ResetTime => hash.number(7),
        Act::Move { manager, addresses } => {
            hash.number(8);
            hash.bytes(manager.as_bytes());
            hash.count(addresses.len());
            for address in addresses {
                hash.bytes(address.as_bytes());
            }
        }
        Act::Renew { member: of, key, certificate_ends, issuer } => {
            hash.number(9);
            member(hash, *of);
            hash.bytes(key);
            hash.number(certificate_ends.0);
            hash.number(issuer.0);
        }
        Act::Renewed { member: of, key } => {
            hash.number(10);
            member(hash, *of);
            hash.bytes(key);
        }
        Act::RotateIssuer { issuing, issuing_key, begins } => {
            hash.number(11);
            hash.bytes(issuing);
            hash.number(issuing_key.number);
            hash.bytes(&issuing_key.bytes);
            hash.number(begins.0);
        }
        Act::RetireIssuers { begins } => {
            hash.number(12);
            hash.number(begins.0);
        }
        Act::Recover(of) => {
            hash.number(13);
            hash.bytes(of.survivor.as_bytes());
            hash.number(of.epoch.counter);
            hash.bytes(&of.epoch.tail);
            hash.bytes(of.operator.as_ref().map_or(&[][..], |id| id.as_bytes()));
            hash.number(of.rekey.is_some().into());
            if let Some(of) = &of.rekey {
                rekey(hash, of);
            }
        }
        Act::Resume => hash.number(14),
        Act::Put(of) => {
            hash.number(15);
            put::put(hash, of);
        }
        Act::Anchor { manager, anchor } => {
            hash.number(16);
            hash.bytes(manager.as_bytes());
            hash.number(anchor.number);
            hash.bytes(&anchor.head);
        }
    }
}

fn member(hash: &mut Digest, of: Member) {
    match of {
        Member::Node(id) => {
            hash.number(1);
            hash.bytes(id.as_bytes());
        }
        Member::Operator(id) => {
            hash.number(2);
            hash.bytes(id.as_bytes());
        }
    }
}

fn genesis(hash: &mut Digest, of: &Genesis) {
    cluster(hash, &of.cluster);
    hash.bytes(of.manager.as_bytes());
    node(hash, &of.node);
    hash.bytes(of.operator.as_bytes());
    operator(hash, &of.admin);
}

fn cluster(hash: &mut Digest, of: &Cluster) {
    hash.bytes(of.id.as_bytes());
    name(hash, &of.name);
    hash.number(of.epoch.counter);
    hash.bytes(&of.epoch.tail);
    hash.number(of.created.0);
    hash.bytes(&of.root);
    hash.bytes(&of.sealed_root_key);
    hash.bytes(&of.issuing);
    hash.number(of.issuing_key.number);
    hash.bytes(&of.issuing_key.bytes);
    hash.count(of.recipients.len());
    for (id, recipient) in &of.recipients {
        hash.bytes(id.as_bytes());
        hash.bytes(&recipient.public);
        hash.bytes(recipient.label.as_bytes());
        hash.bytes(recipient.only.as_ref().map_or(&[][..], |only| only.as_bytes()));
    }
    hash.number(of.cluster_key.number);
    hash.bytes(&of.cluster_key.intake);
    hash.count(of.cluster_key.boxes.len());
    for (id, boxed) in &of.cluster_key.boxes {
        hash.bytes(id.as_bytes());
        hash.bytes(boxed);
    }
    hash.number(of.issuers.current.0);
}

fn join(hash: &mut Digest, of: &Join) {
    hash.bytes(of.token.as_bytes());
    hash.bytes(&of.digest);
    hash.bytes(of.node.as_bytes());
    name(hash, &of.name);
    hash.number(role(of.role));
    hash.bytes(&of.key);
    hash.bytes(of.box_key.as_ref().map_or(&[][..], |key| key));
    hash.option(of.cluster_key_box.as_ref().map(|(number, _)| *number));
    hash.bytes(of.cluster_key_box.as_ref().map_or(&[][..], |(_, boxed)| boxed));
    texts(hash, &of.addresses);
    hash.number(of.certificate_ends.0);
    hash.number(of.issuer.0);
    hash.number(of.learner.into());
}

fn change(hash: &mut Digest, of: &Change) {
    match of {
        Change::CreateSecret { id, name: called, labels: of, forward_only, version } => {
            hash.number(1);
            hash.bytes(id.as_bytes());
            name(hash, called);
            labels(hash, of);
            hash.number((*forward_only).into());
            put::new_version(hash, version);
        }
        Change::UpdateSecret { id, expect, version } => {
            hash.number(2);
            hash.bytes(id.as_bytes());
            hash.option(expect.map(u64::from));
            put::new_version(hash, version);
        }
        Change::RollBackSecret { id, expect, to } => {
            hash.number(17);
            hash.bytes(id.as_bytes());
            hash.option(expect.map(u64::from));
            hash.number((*to).into());
        }
        Change::RemoveSecret { id } => {
            hash.number(3);
            hash.bytes(id.as_bytes());
        }
        Change::RemoveVersion { id, number } => {
            hash.number(4);
            hash.bytes(id.as_bytes());
            hash.number((*number).into());
        }
        Change::CreateService { id, name: called, spec: of } => {
            hash.number(5);
            hash.bytes(id.as_bytes());
            name(hash, called);
            spec(hash, of);
        }
        Change::UpdateService { id, expect, spec: of } => {
            hash.number(6);
            hash.bytes(id.as_bytes());
            hash.option(expect.map(|expect| expect.0));
            spec(hash, of);
        }
        Change::RemoveService { id } => {
            hash.number(7);
            hash.bytes(id.as_bytes());
        }
        Change::Grant { service, grant: of } => {
            hash.number(8);
            hash.bytes(service.as_bytes());
            grant(hash, of);
        }
        Change::Revoke { service, secret, target } => {
            hash.number(9);
            hash.bytes(service.as_bytes());
            hash.bytes(secret.as_bytes());
            hash.bytes(target.as_ref().map_or("", Target::as_str).as_bytes());
        }
        Change::CreateToken { id, token: of } => {
            hash.number(10);
            hash.bytes(id.as_bytes());
            token(hash, of);
        }
        Change::RemoveToken { id } => {
            hash.number(11);
            hash.bytes(id.as_bytes());
        }
        Change::UpdateNode { id, put, gone, availability: of } => {
            hash.number(12);
            hash.bytes(id.as_bytes());
            relabelled(hash, put, gone);
            hash.option(of.map(availability));
        }
        Change::RemoveNode { id, force } => {
            hash.number(13);
            hash.bytes(id.as_bytes());
            hash.number((*force).into());
        }
        Change::RemoveManager { id, rekey: of } => {
            hash.number(14);
            hash.bytes(id.as_bytes());
            rekey(hash, of);
        }
        Change::LabelSecret { id, put, gone } => {
            hash.number(16);
            hash.bytes(id.as_bytes());
            relabelled(hash, put, gone);
        }
        Change::Readmit { member: of } => {
            hash.number(15);
            member(hash, *of);
        }
        Change::CreateOperator { id, operator: of } => {
            hash.number(20);
            hash.bytes(id.as_bytes());
            operator(hash, of);
        }
        Change::RemoveOperator { id } => {
            hash.number(21);
            hash.bytes(id.as_bytes());
        }
    }
}

fn relabelled(hash: &mut Digest, put: &[Label], gone: &[String]) {
    hash.count(put.len());
    for label in put {
        hash.bytes(label.key.as_bytes());
        hash.bytes(label.value.as_bytes());
    }
    texts(hash, gone);
}

fn rekey(hash: &mut Digest, of: &Rekey) {
    hash.number(of.number);
    hash.bytes(&of.intake);
    hash.count(of.boxes.len());
    for (id, boxed) in &of.boxes {
        hash.bytes(id.as_bytes());
        hash.bytes(boxed);
    }
    for key in [&of.previous, &of.issuing_key] {
        hash.number(key.number);
        hash.bytes(&key.bytes);
    }
    hash.number(of.issuer.0);
}

fn changed(hash: &mut Digest, of: &Changed) {
    match of {
        Changed::Done => hash.number(1),
        Changed::Already => hash.number(2),
        Changed::Version { secret, number } => {
            hash.number(3);
            hash.bytes(secret.as_bytes());
            hash.number((*number).into());
        }
        Changed::Service(id) => {
            hash.number(4);
            hash.bytes(id.as_bytes());
        }
    }
}

fn spec(hash: &mut Digest, of: &ServiceSpec) {
    hash.count(of.placement.nodes.len());
    for called in &of.placement.nodes {
        name(hash, called);
    }
    constraints(hash, &of.placement.constraints);
    hash.number(of.placement.everywhere.into());
    hash.number(match of.mount {
        MountKind::Tmpfs => 1,
        MountKind::Fuse => 2,
    });
    hash.number(match of.activation {
        Activation::Running => 1,
        Activation::Placed => 2,
    });
    hash.number(of.owner.uid.into());
    hash.number(of.owner.gid.into());
    hash.option(match of.offline {
        OfflinePolicy::Keep => None,
        OfflinePolicy::MaxAge(seconds) => Some(seconds),
    });
    hash.number(of.fresh.into());
    hash.bytes(of.on_change.written().as_bytes());
    hash.count(of.units.len());
    for unit in &of.units {
        hash.bytes(unit.as_str().as_bytes());
    }
    labels(hash, &of.labels);
}

fn grant(hash: &mut Digest, of: &GrantAsked) {
    hash.bytes(of.secret.as_bytes());
    hash.bytes(of.target.as_str().as_bytes());
    for number in [of.uid, of.gid, of.mode, of.pin.map(Pin::written), of.write.map(u32::from)] {
        hash.option(number.map(u64::from));
    }
    hash.number(of.replace.into());
}

fn token(hash: &mut Digest, of: &Token) {
    hash.bytes(&of.digest);
    hash.number(role(of.role));
    labels(hash, &of.labels);
    hash.option(of.name_pattern.as_ref().map(|_| 1));
    hash.bytes(of.name_pattern.as_deref().unwrap_or("").as_bytes());
    hash.number(of.created.0);
    hash.number(of.ends.0);
    hash.option(of.uses_left.map(u64::from));
}

fn node(hash: &mut Digest, of: &Node) {
    name(hash, &of.name);
    hash.number(role(of.role));
    hash.bytes(&of.key);
    labels(hash, &of.labels);
    hash.number(availability(of.availability));
    hash.bytes(of.box_key.as_ref().map_or(&[][..], |key| key));
    texts(hash, &of.addresses);
    hash.number(of.joined.0);
    hash.number(of.certificate_ends.0);
    renewal(hash, &of.renewal);
    hash.number(of.learner.into());
}

fn role(of: NodeRole) -> u64 {
    match of {
        NodeRole::Manager => 1,
        NodeRole::Worker => 2,
    }
}

fn availability(of: Availability) -> u64 {
    match of {
        Availability::Active => 1,
        Availability::Pause => 2,
        Availability::Drain => 3,
    }
}

fn name(hash: &mut Digest, of: &Name) {
    hash.bytes(of.as_str().as_bytes());
}

fn labels(hash: &mut Digest, of: &Labels) {
    hash.count(of.iter().count());
    for (key, value) in of.iter() {
        hash.bytes(key.as_bytes());
        hash.bytes(value.as_bytes());
    }
}

fn texts(hash: &mut Digest, of: &[String]) {
    hash.count(of.len());
    for text in of {
        hash.bytes(text.as_bytes());
    }
}
