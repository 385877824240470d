//! A command as the audit log tells it: who asked for what, by the names of that time.
//!
//! It is told of the state as it is before the command is applied, for what is removed has its
//! name there; what a command makes it names itself. It holds no byte of a value, and no text
//! that a later version may write otherwise.

use std::collections::BTreeMap;
use std::fmt::Display;

use data_encoding::HEXLOWER;

use super::changed::Changed;
use super::command::{Act, Actor, Change, Command, Outcome};
use super::opened::{Opened, Reader};
use super::refusal::Refusal;
use super::state::{Member, NodeRole, OperatorRole, State};
use crate::audit::{Chain, Deed, Doer, Line, moment};
use crate::base::{NodeId, OperatorId, Revision, SecretId, ServiceId};

/// The names of a state, and of what a command makes.
struct Names<'a> {
    state: &'a State,
    secrets: BTreeMap<SecretId, String>,
    services: BTreeMap<ServiceId, String>,
}

/// Who asked, by its name in this state.
#[must_use]
pub fn doer(state: &State, actor: &Actor) -> Doer {
    let of = |kind: &str, id: String, name: Option<String>| Doer {
        kind: kind.to_owned(),
        id,
        name: name.unwrap_or_default(),
    };
    let node = |id: &NodeId| state.nodes.get(id).map(|node| node.name.to_string());
    match actor {
        Actor::Leader(id) => of("manager", id.to_string(), node(id)),
        Actor::Node(id) => {
            let found = state.nodes.get(id);
            let manager = found.is_some_and(|node| node.role == NodeRole::Manager);
            of(if manager { "manager" } else { "node" }, id.to_string(), node(id))
        }
        Actor::Local { uid, manager } => {
            let at = node(manager).unwrap_or_else(|| manager.to_string());
            local(*uid, &at)
        }
        Actor::Operator(id) => {
            let name = state.operators.get(id).map(|operator| operator.name.to_string());
            of("operator", id.to_string(), name)
        }
        Actor::Token(id) => of("token", id.to_string(), None),
    }
}

/// A user of a manager's control socket.
fn local(uid: u32, at: &str) -> Doer {
    let (id, name) = (uid.to_string(), format!("uid {uid} on {at}"));
    Doer { kind: "local".to_owned(), id, name }
}

/// The line of a command, as far as it is known before it is applied.
pub(super) fn line(state: &State, revision: Revision, command: &Command) -> Line {
    let names = Names::of(state, &command.act);
    let from = match (command.from, &command.actor) {
        (Some(from), _) => from.to_string(),
        (None, Actor::Local { .. }) => "socket".to_owned(),
        (None, _) => String::new(),
    };
    Line {
        v: 0,
        chain: Chain::Commands,
        manager: String::new(),
        n: revision.0,
        at: String::new(),
        who: match (&command.act, &command.actor) {
            // The state doesn't know the manager yet on which a cluster is founded.
            (Act::Genesis(of), Actor::Local { uid, .. }) => local(*uid, of.node.name.as_str()),
            (_, actor) => doer(state, actor),
        },
        from,
        acts: names.act(&command.act),
        more: 0,
        times: 0,
        outcome: String::new(),
        why: String::new(),
        revision: 0,
        command: String::new(),
        answer: String::new(),
        prev: String::new(),
    }
}

/// The same with what came of it.
pub(super) fn end(
    mut line: Line,
    state: &State,
    hashes: (&[u8; 32], &[u8; 32]),
    outcome: &Result<Outcome, Refusal>,
    again: bool,
) -> Line {
    line.at = moment(state.stamp);
    line.command = HEXLOWER.encode(hashes.0);
    line.answer = HEXLOWER.encode(hashes.1);
    let came = match outcome {
        _ if again => "again",
        Ok(_) => "done",
        Err(_) => "refused",
    };
    came.clone_into(&mut line.outcome);
    match outcome {
        Err(refusal) => {
            refusal.word().clone_into(&mut line.why);
        }
        Ok(Outcome::Changed(list)) => {
            for (deed, changed) in line.acts.iter_mut().zip(list.iter()) {
                if let Changed::Version { number, .. } = changed {
                    deed.version = *number;
                }
            }
        }
        Ok(Outcome::Done | Outcome::Joined(_)) => {}
    }
    line
}

fn role(of: NodeRole) -> &'static str {
    match of {
        NodeRole::Manager => "manager",
        NodeRole::Worker => "worker",
    }
}

fn operator_role(of: OperatorRole) -> &'static str {
    match of {
        OperatorRole::Admin => "admin",
        OperatorRole::Editor => "editor",
        OperatorRole::Viewer => "viewer",
        OperatorRole::Auditor => "auditor",
    }
}

impl<'a> Names<'a> {
    fn of(state: &'a State, act: &Act) -> Self {
        let mut names = Self { state, secrets: BTreeMap::new(), services: BTreeMap::new() };
        let changes = if let Act::Change(list) = act { list.as_slice() } else { &[] };
        for change in changes {
            match change {
                Change::CreateSecret { id, name, .. } => {
                    names.secrets.insert(*id, name.to_string());
                }
                Change::CreateService { id, name, .. } => {
                    names.services.insert(*id, name.to_string());
                }
                _ => {}
            }
        }
        names
    }

    fn secret(&self, id: SecretId) -> String {
        let known = self.state.secrets.get(&id).map(|secret| secret.name.to_string());
        known.or_else(|| self.secrets.get(&id).cloned()).unwrap_or_else(|| id.to_string())
    }

    fn service(&self, id: ServiceId) -> String {
        let known = self.state.services.get(&id).map(|service| service.name.to_string());
        known.or_else(|| self.services.get(&id).cloned()).unwrap_or_else(|| id.to_string())
    }

    fn node(&self, id: NodeId) -> String {
        let known = self.state.nodes.get(&id).map(|node| node.name.to_string());
        known.unwrap_or_else(|| id.to_string())
    }

    fn operator(&self, id: OperatorId) -> String {
        let known = self.state.operators.get(&id).map(|operator| operator.name.to_string());
        known.unwrap_or_else(|| id.to_string())
    }

    fn pair(&self, act: &str, node: NodeId, service: ServiceId) -> Deed {
        Deed { node: self.node(node), service: self.service(service), ..Deed::new(act) }
    }

    fn member(&self, act: &str, member: Member) -> Deed {
        match member {
            Member::Node(id) => self.of_node(&format!("node.{act}"), id, ""),
            Member::Operator(id) => {
                Deed { operator: self.operator(id), ..Deed::new(&format!("operator.{act}")) }
            }
        }
    }

    fn of_node(&self, act: &str, id: NodeId, detail: impl Display) -> Deed {
        Deed { node: self.node(id), detail: detail.to_string(), ..Deed::new(act) }
    }

    fn act(&self, act: &Act) -> Vec<Deed> {
        let one = |act: &str| vec![Deed::new(act)];
        match act {
            Act::Genesis(of) => {
                let detail = format!("cluster {}", of.cluster.name);
                let node = of.node.name.to_string();
                let operator = of.admin.name.to_string();
                vec![Deed { node, operator, detail, ..Deed::new("cluster.init") }]
            }
            Act::Change(list) => list.iter().map(|change| self.change(change)).collect(),
            Act::Join(of) => vec![Deed {
                node: of.name.to_string(),
                token: of.token.to_string(),
                detail: role(of.role).to_owned(),
                ..Deed::new("node.join")
            }],
            Act::Expose(pairs) => pairs
                .iter()
                .map(|(node, service)| self.pair("delivery.begin", *node, *service))
                .collect(),
            Act::Confirm(list) => list
                .iter()
                .map(|of| {
                    let act = if of.gone { "delivery.end" } else { "delivery.confirm" };
                    self.pair(act, of.node, of.service)
                })
                .collect(),
            Act::Opened(of) => of.list.iter().map(|open| self.opened(of.node, open)).collect(),
            Act::ResetTime => one("cluster.reset-time"),
            Act::Move { manager, addresses } => {
                vec![self.of_node("node.move", *manager, addresses.join(","))]
            }
            Act::Renew { member, .. } => vec![self.member("renew", *member)],
            Act::Renewed { member, .. } => vec![self.member("renewed", *member)],
            Act::RotateIssuer { .. } => one("ca.rotate"),
            Act::RetireIssuers { .. } => one("ca.retire"),
            Act::Recover(of) => vec![self.of_node("cluster.recover", of.survivor, "")],
            Act::Resume => one("cluster.resume"),
            Act::Put(of) => of
                .values
                .iter()
                .map(|value| Deed {
                    secret: self.secret(value.secret),
                    version: value.expect.saturating_add(1),
                    ..self.pair("secret.write", of.node, of.service)
                })
                .collect(),
            Act::Anchor { manager, anchor } => {
                let detail = format!("{} {}", anchor.number, HEXLOWER.encode(&anchor.head));
                vec![self.of_node("audit.anchor", *manager, detail)]
            }
        }
    }

    fn opened(&self, node: NodeId, of: &Opened) -> Deed {
        let reader = match of.reader {
            Reader::Workload { .. } => "workload",
            Reader::Host => "host",
            Reader::ByHand => "by hand",
            Reader::Stranger => "stranger, refused",
        };
        let (at, uid, pid) = (moment(of.at), of.uid, of.pid);
        let detail = format!("{reader} at {at}: uid {uid}, pid {pid}, {}", of.executable);
        let pair = self.pair("secret.open", node, of.service);
        Deed { secret: self.secret(of.secret), version: of.number, detail, ..pair }
    }

    fn change(&self, change: &Change) -> Deed {
        let secret = |act: &str, id: &SecretId| Deed { secret: self.secret(*id), ..Deed::new(act) };
        let service =
            |act: &str, id: &ServiceId| Deed { service: self.service(*id), ..Deed::new(act) };
        match change {
            Change::CreateSecret { name, forward_only, .. } => {
                let detail = if *forward_only { "forward-only" } else { "" }.to_owned();
                Deed { secret: name.to_string(), detail, ..Deed::new("secret.create") }
            }
            Change::UpdateSecret { id, .. } => secret("secret.update", id),
            Change::RollBackSecret { id, to, .. } => {
                Deed { detail: format!("to version {to}"), ..secret("secret.rollback", id) }
            }
            Change::LabelSecret { id, .. } => secret("secret.label", id),
            Change::RemoveSecret { id } => secret("secret.remove", id),
            Change::RemoveVersion { id, number } => {
                Deed { version: *number, ..secret("secret.remove-version", id) }
            }
            Change::CreateService { name, .. } => {
                Deed { service: name.to_string(), ..Deed::new("service.create") }
            }
            Change::UpdateService { id, .. } => service("service.update", id),
            Change::RemoveService { id } => service("service.remove", id),
            Change::Grant { service: id, grant } => {
                let write = if grant.write == Some(true) { ", may write" } else { "" };
                let detail = format!("as {}{write}", grant.target);
                Deed { detail, secret: self.secret(grant.secret), ..service("service.grant", id) }
            }
            Change::Revoke { service: id, secret: what, target } => {
                let detail = target.as_ref().map(|target| format!("as {target}"));
                let (detail, secret) = (detail.unwrap_or_default(), self.secret(*what));
                Deed { secret, detail, ..service("service.revoke", id) }
            }
            Change::CreateToken { id, token } => Deed {
                token: id.to_string(),
                detail: role(token.role).to_owned(),
                ..Deed::new("token.create")
            },
            Change::RemoveToken { id } => {
                Deed { token: id.to_string(), ..Deed::new("token.remove") }
            }
            Change::UpdateNode { id, .. } => self.of_node("node.update", *id, ""),
            Change::RemoveNode { id, force } => {
                self.of_node("node.remove", *id, if *force { "forced" } else { "" })
            }
            Change::RemoveManager { id, .. } => self.of_node("node.remove", *id, "manager"),
            Change::Readmit { member } => self.member("readmit", *member),
            Change::CreateOperator { operator, .. } => Deed {
                operator: operator.name.to_string(),
                detail: format!("{} {}", operator_role(operator.role), operator.scope)
                    .trim_end()
                    .to_owned(),
                ..Deed::new("operator.create")
            },
            Change::RemoveOperator { id } => {
                Deed { operator: self.operator(*id), ..Deed::new("operator.remove") }
            }
        }
    }
}
