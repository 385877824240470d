//! Names stand for one thing: which ones may be given, and to whom.
//!
//! Placement is by name, so a name that a service is placed by is worth what the service is
//! granted. A machine gets such a name only by a token that was made for it alone: who makes one
//! says which machine is meant, and the name of a node that was removed is nobody's until then.
//! A pattern that many names fit is no such token: whoever holds it could choose among them.

use std::collections::BTreeSet;

use super::token::{is_good, is_one_name};
use crate::base::{Label, Labels, Name, NameKey, NodeId, limits};
use crate::domain::named::{Counted, Thing};
use crate::domain::refusal::Refusal;
use crate::domain::spec::{Attribute, Constraint, Placement};
use crate::domain::state::{NodeRole, State, Token};

/// Whether a new thing may have a name; `there` is the name of the one that has it.
pub(super) fn is_free(thing: Thing, name: &Name, there: Option<&Name>) -> Result<(), Refusal> {
    if let Some(there) = there {
        return Err(Refusal::Exists { thing, name: there.clone() });
    }
    is_no_id(name)
}

/// Whatever is looked up is looked up by its id first.
pub(super) fn is_no_id(name: &Name) -> Result<(), Refusal> {
    if name.reads_as_id() { Err(Refusal::NameIsId { name: name.clone() }) } else { Ok(()) }
}

/// Whether a worker may join under a name by a token that admits it.
pub(super) fn may_have(state: &State, token: &Token, name: &Name) -> Result<(), Refusal> {
    if token.name_pattern.as_deref().is_some_and(is_one_name) {
        return Ok(());
    }
    let key = name.key();
    if state.indexes.places.mention(&key) || is_awaited(state, &key) {
        return Err(Refusal::Reserved { name: name.clone() });
    }
    Ok(())
}

/// Whether a token was made for a worker of this very name.
fn is_awaited(state: &State, name: &NameKey) -> bool {
    let awaits = |token: &Token| token.role == NodeRole::Worker && is_good(token, state.stamp);
    state.indexes.bound_to(name).filter_map(|id| state.tokens.get(&id)).any(|token| awaits(token))
}

/// A node as a placement names it.
#[derive(PartialEq, Eq, PartialOrd, Ord)]
enum Mention {
    Name(NameKey),
    Id(NodeId),
    /// Text that no node has for a name or an id.
    Nobody(String),
}

impl Mention {
    fn is_known(&self, state: &State) -> bool {
        let is_worker = |id: &NodeId| {
            let node = state.nodes.get(id);
            node.is_some_and(|node| node.role == NodeRole::Worker)
        };
        match self {
            Self::Name(name) => {
                state.indexes.nodes.get(name).is_some_and(is_worker) || is_awaited(state, name)
            }
            Self::Id(id) => is_worker(id),
            Self::Nobody(_) => false,
        }
    }
}

/// Whether all nodes that a placement names are workers, or awaited. What the placement before
/// named stays, also when it is gone by now.
pub(super) fn are_known(
    state: &State,
    old: Option<&Placement>,
    new: &Placement,
) -> Result<(), Refusal> {
    let named: BTreeSet<Mention> =
        old.into_iter().flat_map(mentions).map(|(mention, _)| mention).collect();
    for (mention, text) in mentions(new) {
        if !named.contains(&mention) && !mention.is_known(state) {
            return Err(Refusal::not_found(Thing::Worker, text));
        }
    }
    Ok(())
}

/// The same for an operator that places only where these constraints hold: of other nodes it
/// hears no more than of none.
pub(in crate::domain) fn are_within(
    state: &State,
    old: Option<&Placement>,
    new: &Placement,
    constraints: &[Constraint],
) -> Result<(), Refusal> {
    let named: BTreeSet<Mention> =
        old.into_iter().flat_map(mentions).map(|(mention, _)| mention).collect();
    let holds = |id: &NodeId| {
        let node = state.nodes.get(id).filter(|node| node.role == NodeRole::Worker);
        node.is_some_and(|node| constraints.iter().all(|one| one.holds(*id, node)))
    };
    for (mention, text) in mentions(new).filter(|(mention, _)| !named.contains(mention)) {
        let is_there = match &mention {
            Mention::Name(name) => state.indexes.nodes.get(name).is_some_and(holds),
            Mention::Id(id) => holds(id),
            Mention::Nobody(_) => false,
        };
        if !is_there {
            return Err(Refusal::not_found(Thing::Worker, text));
        }
    }
    Ok(())
}

/// The nodes that a placement names, and as what text. Who is not to run it is not named.
fn mentions(of: &Placement) -> impl Iterator<Item = (Mention, &str)> {
    let nodes = of.nodes.iter().map(|name| (Mention::Name(name.key()), name.as_str()));
    let constraints = of.constraints.iter().filter(|constraint| constraint.equal);
    let constraints = constraints.filter_map(|constraint| {
        let text = constraint.value.as_str();
        let mention = match &constraint.attribute {
            Attribute::Name => text.parse::<Name>().ok().map(|name| Mention::Name(name.key())),
            Attribute::Id => text.parse().ok().map(Mention::Id),
            Attribute::Label(_) => return None,
        };
        Some((mention.unwrap_or_else(|| Mention::Nobody(text.to_owned())), text))
    });
    nodes.chain(constraints)
}

/// Labels with some more and some less.
pub(super) fn relabelled(
    labels: &Labels,
    put: &[Label],
    gone: &[String],
) -> Result<Labels, Refusal> {
    if put.len() > limits::LABELS || gone.len() > limits::LABELS {
        return Err(Refusal::limit(Counted::Labels, limits::LABELS));
    }
    labels.changed(put, gone).map_err(|bad| Refusal::Invalid(bad.to_string()))
}
