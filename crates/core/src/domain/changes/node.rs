//! Members: how they join, change and go.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;

use super::names::{is_free, may_have, relabelled};
use super::token::{Bid, admitting, forget_those_of};
use crate::base::{Label, Name, NodeId, Stamp, limits};
use crate::domain::changed::Changed;
use crate::domain::command::{Join, Outcome, Rekey};
use crate::domain::draft::Draft;
use crate::domain::named::{Counted, Thing, Unfit};
use crate::domain::refusal::{Few, Refusal};
use crate::domain::state::{
    Availability, Cluster, ClusterKey, Node, NodeRole, Renewal, State, Token,
};

/// What a manager's addresses must be.
const ADDRESSED: &str = "a manager has 1 to 16 addresses of at most 260 bytes";

pub(in crate::domain) fn join(draft: &mut Draft<'_>, join: &Join) -> Result<Outcome, Refusal> {
    let state = draft.state();
    let bid = Bid {
        token: join.token,
        digest: &join.digest,
        role: join.role,
        name: &join.name,
        key: join.key,
    };
    let token = admitting(state, &bid, state.stamp)
        .map_err(|why| Refusal::Token { role: join.role, why })?;
    let named = state.indexes.nodes.get(&join.name.key()).and_then(|id| state.nodes.get(id));
    if let Some(node) = named
        && (node.role, node.key, node.box_key) == (join.role, join.key, join.box_key)
    {
        // It didn't hear the answer, and asks again.
        return Ok(Outcome::Joined(Arc::clone(node)));
    }
    if token.uses_left == Some(0) {
        return Err(Refusal::Token { role: join.role, why: Unfit::UsedUp });
    }
    is_free(Thing::Node, &join.name, named.map(|node| &node.name))?;
    if join.role == NodeRole::Worker {
        may_have(state, token, &join.name)?;
    }
    let removed = |cluster: &Cluster| cluster.removed_managers.contains_key(&join.node);
    if state.nodes.contains_key(&join.node) || state.cluster.as_deref().is_some_and(removed) {
        return Err(Refusal::id_taken());
    }
    if state.cluster.as_deref().is_some_and(|cluster| cluster.issuers.current != join.issuer) {
        return Err(Refusal::Invalid("the issuing CA has changed: join again".to_owned()));
    }
    if state.nodes.len() >= limits::NODES {
        return Err(Refusal::limit(Counted::Nodes, limits::NODES));
    }
    let mut used = Token::clone(token);
    used.uses_left = used.uses_left.map(|left| left.saturating_sub(1));
    let mut node = Node {
        name: join.name.clone(),
        role: join.role,
        key: join.key,
        labels: token.labels.clone(),
        availability: Availability::Active,
        box_key: None,
        addresses: Vec::new(),
        joined: draft.now(),
        certificate_ends: join.certificate_ends,
        renewal: Renewal { issuer: join.issuer, ..Renewal::default() },
        learner: join.role == NodeRole::Manager && join.learner,
    };
    if join.role == NodeRole::Manager {
        let cluster = with_manager(state, join)?;
        node.box_key = join.box_key;
        node.addresses.clone_from(&join.addresses);
        draft.put_cluster(cluster);
    }
    draft.put_token(join.token, Some(used));
    draft.put_node(join.node, Some(node.clone()));
    Ok(Outcome::Joined(Arc::new(node)))
}

/// The cluster with its key boxed to the manager that joins.
fn with_manager(state: &State, join: &Join) -> Result<Cluster, Refusal> {
    let invalid = |text: &str| Err(Refusal::Invalid(text.to_owned()));
    if managers(state) >= limits::MANAGERS {
        return Err(Refusal::limit(Counted::Managers, limits::MANAGERS));
    }
    if !addressed(&join.addresses) {
        return invalid(ADDRESSED);
    }
    let Some(cluster) = state.cluster.as_deref() else { return Err(Refusal::NotInitialised) };
    let (Some(_), Some((number, boxed))) = (join.box_key, &join.cluster_key_box) else {
        return invalid("a manager joins with a box key and a box for it");
    };
    if *number != cluster.cluster_key.number || boxed.len() > limits::BOX_BYTES {
        return invalid("the cluster key has changed: join again");
    }
    let mut cluster = cluster.clone();
    cluster.cluster_key.boxes.insert(join.node, boxed.clone());
    Ok(cluster)
}

pub(super) fn update(
    draft: &mut Draft<'_>,
    id: NodeId,
    put: &[Label],
    gone: &[String],
    availability: Option<Availability>,
) -> Result<Changed, Refusal> {
    let found = find(draft.state(), id)?;
    let labels = relabelled(&found.labels, put, gone)?;
    let availability = availability.unwrap_or(found.availability);
    if labels == found.labels && availability == found.availability {
        return Ok(Changed::Already);
    }
    let node = Node { labels, availability, ..found.clone() };
    draft.put_node(id, Some(node));
    Ok(Changed::Done)
}

/// A manager is reached elsewhere.
pub(in crate::domain) fn moved(
    draft: &mut Draft<'_>,
    id: NodeId,
    addresses: &[String],
) -> Result<Outcome, Refusal> {
    let found = find(draft.state(), id)?;
    if found.role != NodeRole::Manager || !addressed(addresses) {
        return Err(Refusal::Invalid(ADDRESSED.to_owned()));
    }
    if found.addresses != addresses {
        let node = Node { addresses: addresses.to_vec(), ..found.clone() };
        draft.put_node(id, Some(node));
    }
    Ok(Outcome::Done)
}

pub(super) fn remove(draft: &mut Draft<'_>, id: NodeId, force: bool) -> Result<Changed, Refusal> {
    let state = draft.state();
    let found = find(state, id)?.clone();
    if found.role == NodeRole::Manager {
        return Err(Refusal::Invalid("a manager goes with its cluster key".to_owned()));
    }
    let pairs = draft.pairs_of_node(id);
    if !pairs.is_empty() && !force {
        let service = |(_, service): &(_, crate::base::ServiceId)| match state.services.get(service)
        {
            Some(found) => Some(found.name.clone()),
            // It is gone and its name with it: its id is written like a name.
            None => service.to_string().parse::<Name>().ok(),
        };
        let services = Few::of(pairs.iter().filter_map(service), pairs.len());
        return Err(Refusal::Holds { node: found.name.clone(), services });
    }
    for pair in pairs {
        draft.put_exposure(pair, None);
    }
    if draft.state().reporters.contains_key(&id) {
        draft.put_reporter(id, None);
    }
    forget_those_of(draft, &found);
    draft.put_node(id, None);
    Ok(Changed::Done)
}

/// A manager goes, and the next cluster key takes the place of the one it knows.
pub(super) fn remove_manager(
    draft: &mut Draft<'_>,
    id: NodeId,
    rekey: &Rekey,
) -> Result<Changed, Refusal> {
    let state = draft.state();
    let found = find(state, id)?.clone();
    if found.role != NodeRole::Manager {
        return Err(Refusal::Invalid("a worker goes without a cluster key".to_owned()));
    }
    if !found.learner && voters(state) <= 1 {
        return Err(Refusal::LastManager { node: found.name.clone() });
    }
    let Some(cluster) = state.cluster.as_deref() else { return Err(Refusal::NotInitialised) };
    let mut cluster = cluster.clone();
    cluster.cluster_key = rekeyed(state, &cluster, &BTreeSet::from([id]), rekey)?;
    cluster.issuing_key = rekey.issuing_key.clone();
    remember(&mut cluster.removed_managers, id, draft.now());
    cluster.anchors.remove(&id);
    for pair in draft.pairs_of_node(id) {
        draft.put_exposure(pair, None);
    }
    draft.put_cluster(cluster);
    forget_those_of(draft, &found);
    draft.put_node(id, None);
    Ok(Changed::Done)
}

/// The next cluster key as it stands once `gone` are removed.
pub(super) fn rekeyed(
    state: &State,
    cluster: &Cluster,
    gone: &BTreeSet<NodeId>,
    rekey: &Rekey,
) -> Result<ClusterKey, Refusal> {
    let old = &cluster.cluster_key;
    let wanted = old.number.saturating_add(1);
    let numbers = [rekey.number, rekey.previous.number, rekey.issuing_key.number];
    if let Some(found) = numbers.into_iter().find(|number| *number != wanted) {
        return Err(Refusal::Retired { found, wanted });
    }
    if rekey.issuer != cluster.issuers.current {
        return Err(Refusal::Invalid("the issuing CA has changed meanwhile: repeat it".to_owned()));
    }
    // Whoever is a manager has a box.
    let staying = old.boxes.keys().filter(|id| !gone.contains(id));
    if !staying.eq(rekey.boxes.keys()) {
        return Err(Refusal::Invalid("the managers have changed meanwhile: repeat it".to_owned()));
    }
    let boxes = rekey.boxes.values().all(|boxed| boxed.len() <= limits::BOX_BYTES);
    let wrapped = rekey.previous.bytes.len() <= limits::CLUSTER_KEY_BYTES;
    if !boxes || !wrapped || rekey.issuing_key.bytes.len() > limits::CA_BYTES {
        return Err(Refusal::Invalid("a boxed or wrapped key is too long".to_owned()));
    }
    let mut previous = old.previous.clone();
    previous.insert(old.number, rekey.previous.clone());
    let oldest = oldest_in_use(state).unwrap_or(wanted);
    previous.retain(|number, _| *number >= oldest);
    if previous.len() > limits::CLUSTER_KEYS {
        return Err(Refusal::limit(Counted::ClusterKeys, limits::CLUSTER_KEYS));
    }
    Ok(ClusterKey { number: wanted, intake: rekey.intake, boxes: rekey.boxes.clone(), previous })
}

/// The oldest number under which a data key is wrapped.
fn oldest_in_use(state: &State) -> Option<u64> {
    state.indexes.wrapped.first_key_value().map(|(number, _)| *number)
}

/// Remembers who was removed for as long as it matters.
pub(super) fn remember(removed: &mut BTreeMap<NodeId, Stamp>, id: NodeId, now: Stamp) {
    removed.retain(|_, at| at.plus_ms(limits::REMOVED_MS) >= now);
    while removed.len() >= limits::REMOVED
        && let Some(oldest) = removed.iter().min_by_key(|(_, at)| **at).map(|(id, _)| *id)
    {
        removed.remove(&oldest);
    }
    removed.insert(id, now);
}

/// How many there are: each has a box of the cluster key.
fn managers(state: &State) -> usize {
    state.cluster.as_deref().map_or(0, |cluster| cluster.cluster_key.boxes.len())
}

/// How many of them vote, or will.
fn voters(state: &State) -> usize {
    let votes = |node: &Arc<Node>| node.role == NodeRole::Manager && !node.learner;
    state.nodes.values().filter(|node| votes(node)).count()
}

/// Whether these can be a manager's addresses.
pub(super) fn addressed(addresses: &[String]) -> bool {
    (1..=limits::ADDRESSES).contains(&addresses.len())
        && addresses.iter().all(|address| address.len() <= limits::ADDRESS_BYTES)
}

fn find(state: &State, id: NodeId) -> Result<&Node, Refusal> {
    let found = state.nodes.get(&id).map(|node| &**node);
    found.ok_or_else(|| Refusal::not_found(Thing::Node, id))
}
