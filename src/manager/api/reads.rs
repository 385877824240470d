//! Lists, paged in the order of ids, and what is followed.

use std::collections::BTreeSet;
use std::ops::Bound;
use std::sync::Arc;

use prost::Message;
use tokio::sync::mpsc;
use tokio_stream::wrappers::ReceiverStream;
use tonic::Status;

use crate::manager::admit::caller::Admitted;
use crate::manager::dispatch::{Seen, WatchAsked};
use crate::manager::members::join::recipient_views;
use crate::manager::members::standing;
use crate::manager::problem::{self, Explain};
use crate::manager::running::Running;
use skep_client::transport::Problem;
use skep_core::base::{BadId, NodeId, Revision, SecretId, ServiceId, Stamp, limits};
use skep_core::domain::{
    NotOne, Refusal, Scope, State, node_by, nodes_of, operator_by, secret_by, service_by, token_by,
};
use skep_core::wire::api;
use skep_core::wire::convert::{
    node_view, operator_view, read_id, secret_view, service_view, token_view,
};

/// Things on a page.
pub(super) const PAGE: usize = 1_000;
/// Bytes of a page, so that it fits into a message whatever its things carry.
const PAGE_BYTES: usize = 2 * 1024 * 1024;
/// Names that stand in a list of many things beside each; the count beside them
/// is whole, and so is the list of one thing that was asked for.
const NAMES: usize = 50;
/// Services and nodes that one call follows.
const WATCHED: usize = limits::SERVICES;

/// A page of a list.
struct Page<T> {
    revision: Revision,
    things: Vec<T>,
    more: bool,
}

/// Which things a request asks for.
enum Asked<Id> {
    One(Id),
    After(Option<Id>, usize),
}

impl<Id> Asked<Id>
where
    Id: Copy + for<'a> TryFrom<&'a [u8], Error = BadId>,
{
    fn read(
        request: &api::ListRequest,
        state: &State,
        by: impl FnOnce(&State, &str) -> Result<Id, NotOne>,
    ) -> Result<Self, Problem> {
        if !request.what.is_empty() {
            return Ok(Self::One(by(state, &request.what).map_err(Explain::explain)?));
        }
        let after = if request.after.is_empty() {
            None
        } else {
            Some(read_id("after", &request.after).map_err(Explain::explain)?)
        };
        let limit = usize::try_from(request.limit).unwrap_or(PAGE);
        Ok(Self::After(after, if limit == 0 { PAGE } else { limit.min(PAGE) }))
    }
}

/// Collects a page of views.
fn page<Id, V, T: Message>(
    state: &State,
    things: &std::collections::BTreeMap<Id, V>,
    asked: &Asked<Id>,
    mut view: impl FnMut(Id, bool) -> Option<T>,
) -> Page<T>
where
    Id: Copy + Ord,
{
    let mut page = Page { revision: state.revision, things: Vec::new(), more: false };
    let (after, limit) = match asked {
        Asked::One(id) => {
            page.things.extend(view(*id, true));
            return page;
        }
        Asked::After(after, limit) => (after, *limit),
    };
    let from = after.map_or(Bound::Unbounded, Bound::Excluded);
    let mut bytes = 0_usize;
    for id in things.range((from, Bound::Unbounded)).map(|(id, _)| *id) {
        let Some(thing) = view(id, false) else { continue };
        bytes = bytes.saturating_add(thing.encoded_len());
        let full = page.things.len() >= limit || bytes > PAGE_BYTES;
        if full && !page.things.is_empty() {
            page.more = true;
            break;
        }
        page.things.push(thing);
    }
    page
}

pub(super) async fn secrets(
    running: &Running,
    scope: &Scope,
    request: &api::ListRequest,
) -> Result<api::ListSecretsReply, Problem> {
    running.settle(request.stale).await?;
    let page = running.core.consensus.read(|state| {
        let asked = Asked::read(request, state, |state, what| secret_by(state, scope, what))?;
        let view = |id, whole| {
            let mut view = secret_view(state, scope, id)?;
            shorten(&mut view.services, whole);
            Some(view)
        };
        Ok::<_, Problem>(page(state, &state.secrets, &asked, view))
    })?;
    Ok(api::ListSecretsReply { revision: page.revision.0, secrets: page.things, more: page.more })
}

pub(super) async fn services(
    running: &Running,
    scope: &Scope,
    request: &api::ListRequest,
) -> Result<api::ListServicesReply, Problem> {
    running.settle(request.stale).await?;
    let mut placed: Vec<Vec<(NodeId, String)>> = Vec::new();
    let mut page = running.core.consensus.read(|state| {
        let asked = Asked::read(request, state, |state, what| service_by(state, scope, what))?;
        let view = |id, whole| {
            let mut view = service_view(state, scope, id)?;
            shorten(&mut view.placed_on, whole);
            let name = |node: NodeId| Some((node, state.nodes.get(&node)?.name.to_string()));
            let nodes = nodes_of(state, id).into_iter().filter_map(name);
            placed.push(nodes.take(if whole { usize::MAX } else { NAMES }).collect());
            Some(view)
        };
        Ok::<_, Problem>(page(state, &state.services, &asked, view))
    })?;
    // Asked outside of the look at the state: dispatch has locks of its own.
    for (view, nodes) in page.things.iter_mut().zip(placed) {
        let Ok(id) = ids::<ServiceId>(&view.id) else { continue };
        let runs =
            |(node, _): &(NodeId, String)| running.dispatch.seen(*node).running.contains(&id);
        view.running_on = nodes.into_iter().filter(runs).map(|(_, name)| name).collect();
        view.running_on.sort();
    }
    Ok(api::ListServicesReply { revision: page.revision.0, services: page.things, more: page.more })
}

pub(super) async fn nodes(
    running: &Running,
    request: &api::ListRequest,
) -> Result<api::ListNodesReply, Problem> {
    running.settle(request.stale).await?;
    let mut page = running.core.consensus.read(|state| {
        let asked = Asked::read(request, state, node_by)?;
        let view = |id, whole| {
            let mut view = node_view(state, id)?;
            shorten(&mut view.placed, whole);
            Some(view)
        };
        Ok::<_, Problem>(page(state, &state.nodes, &asked, view))
    })?;
    let members = running.core.consensus.members();
    let leader = running.core.consensus.leadership().borrow().leader;
    let now = running.core.clock.now().0;
    let whole = !request.what.is_empty();
    let mut runs = Vec::new();
    for view in &mut page.things {
        let Ok(id) = ids::<NodeId>(&view.id) else { continue };
        let seen = running.dispatch.seen(id);
        let most = if whole { usize::MAX } else { NAMES };
        runs.push(seen.running.iter().take(most).copied().collect::<Vec<_>>());
        if view.role() == api::NodeRole::Manager {
            let member = members.iter().find(|member| member.node == id);
            let standing = member.map(|member| standing::of(member, leader)).unwrap_or_default();
            view.set_manager_status(standing);
            let ago = member.and_then(|member| member.last_contact_ms);
            view.last_seen = ago.map_or(0, |ago| now.saturating_sub(ago));
            view.key_exchange = running.peers.key_exchange(id);
            if id == running.core.node {
                view.last_seen = now;
                env!("CARGO_PKG_VERSION").clone_into(&mut view.version);
            } else if let Some(heard) = running.peers.said(id) {
                view.version = heard.version;
            }
            if standing == api::ManagerStanding::Unreachable {
                view.set_state(api::NodeState::Down);
            }
        } else {
            said(view, seen, now, running.dispatch.is_down(id));
        }
        for pair in &mut view.pending {
            pair.why = why(running, pair);
        }
    }
    running.core.consensus.read(|state| {
        let name = |id: &ServiceId| {
            let service = state.services.get(id);
            service.map_or_else(|| id.to_string(), |service| service.name.to_string())
        };
        for (view, runs) in page.things.iter_mut().zip(&runs) {
            view.running = runs.iter().map(name).collect();
            view.running.sort();
        }
    });
    Ok(api::ListNodesReply { revision: page.revision.0, nodes: page.things, more: page.more })
}

/// What only its session tells of a worker.
fn said(view: &mut api::NodeView, seen: Seen, now: u64, down: bool) {
    if down {
        view.set_state(api::NodeState::Down);
    }
    view.last_seen = if seen.connected { now } else { seen.last_seen.map_or(0, |stamp| stamp.0) };
    view.copied = seen.copied(Stamp(now)).unwrap_or_default();
    view.version = seen.version;
    view.key_exchange = seen.key_exchange;
    view.address = seen.address;
    view.said_hostname = seen.hostname;
    view.said_os = seen.os;
    view.said_arch = seen.arch;
}

pub(super) async fn tokens(
    running: &Running,
    request: &api::ListRequest,
) -> Result<api::ListTokensReply, Problem> {
    running.settle(request.stale).await?;
    let clock = running.core.clock.now();
    let page = running.core.consensus.read(|state| {
        let asked = Asked::read(request, state, token_by)?;
        // Ended tokens are as good as gone: they admit nobody.
        let now = clock.max(state.stamp);
        let lasts = |id| state.tokens.get(&id).is_some_and(|token| token.ends > now);
        let view = |id, _| if lasts(id) { token_view(state, id) } else { None };
        Ok::<_, Problem>(page(state, &state.tokens, &asked, view))
    })?;
    Ok(api::ListTokensReply { revision: page.revision.0, tokens: page.things, more: page.more })
}

pub(super) async fn operators(
    running: &Running,
    request: &api::ListRequest,
) -> Result<api::ListOperatorsReply, Problem> {
    running.settle(request.stale).await?;
    let page = running.core.consensus.read(|state| {
        let asked = Asked::read(request, state, operator_by)?;
        Ok::<_, Problem>(page(state, &state.operators, &asked, |id, _| operator_view(state, id)))
    })?;
    Ok(api::ListOperatorsReply {
        revision: page.revision.0,
        operators: page.things,
        more: page.more,
    })
}

pub(super) fn recipients(running: &Running) -> Result<api::RecipientsReply, Problem> {
    let cluster = running.core.consensus.read(|state| state.cluster.clone());
    let cluster = cluster.ok_or(Refusal::NotInitialised).map_err(Explain::explain)?;
    let recipients = recipient_views(&cluster);
    Ok(api::RecipientsReply {
        fingerprint: cluster.fingerprint().0.to_vec(),
        cluster_name: cluster.name.to_string(),
        recipients: recipients.collect(),
    })
}

/// The key to which clients seal.
pub(super) fn intake(running: &Running) -> Result<api::IntakeReply, Problem> {
    running.core.leads()?;
    let cluster = running.core.consensus.read(|state| state.cluster.clone());
    let cluster = cluster.ok_or(Refusal::NotInitialised).map_err(Explain::explain)?;
    Ok(api::IntakeReply {
        cluster_id: cluster.id.as_bytes().to_vec(),
        number: cluster.cluster_key.number,
        intake: cluster.cluster_key.intake.to_vec(),
        fingerprint: cluster.fingerprint().0.to_vec(),
    })
}

/// Follows a delivery until it is done, the caller is gone or the manager stops.
pub(super) fn watch(
    running: &Arc<Running>,
    admitted: &Admitted,
    request: &api::WatchDeliveryRequest,
) -> Result<ReceiverStream<Result<api::DeliveryProgress, Status>>, Problem> {
    running.core.leads()?;
    let named = request.services.len().max(request.secrets.len());
    if named > WATCHED || request.nodes.len() > limits::NODES {
        return Err(problem::request::too_many_watched());
    }
    let scope = admitted.scope();
    if scope.is_bounded() && !request.nodes.is_empty() {
        return Err(problem::access::beyond_scope("follow whole nodes"));
    }
    let mut asked = WatchAsked {
        revision: Revision(request.revision),
        services: all_ids("services", &request.services)?,
        nodes: all_ids("nodes", &request.nodes)?,
        removal: request.removal,
        secrets: all_ids("secrets", &request.secrets)?,
        scope: scope.clone(),
    };
    running.core.consensus.read(|state| only_within(state, &mut asked));
    let progress = running.dispatch.watch(admitted.actor()?, asked);
    let mut progress = progress.map_err(problem::access::too_many_watch)?;
    let (sender, receiver) = mpsc::channel(1);
    let stop = running.stop.clone();
    tokio::spawn(async move {
        loop {
            let next = tokio::select! {
                () = stop.cancelled() => return,
                () = sender.closed() => return,
                next = progress.recv() => next,
            };
            let Some(next) = next else { return };
            if sender.send(Ok(next)).await.is_err() {
                return;
            }
        }
    });
    Ok(ReceiverStream::new(receiver))
}

/// What lies outside of the scope of whoever asks is as little there as what was never there.
fn only_within(state: &State, asked: &mut WatchAsked) {
    let scope = &asked.scope;
    let service = |id: &ServiceId| state.services.get(id).is_none_or(|of| scope.holds(&of.name));
    let secret = |id: &SecretId| state.secrets.get(id).is_none_or(|of| scope.holds(&of.name));
    asked.services.retain(service);
    asked.secrets.retain(secret);
}

/// Why a pair is pending.
pub(super) fn why(running: &Running, pair: &api::PendingPair) -> String {
    match (ids(&pair.node), ids(&pair.service)) {
        (Ok(node), Ok(service)) => running.dispatch.why_pending(node, service),
        _ => String::new(),
    }
}

fn ids<T: for<'a> TryFrom<&'a [u8], Error = BadId>>(bytes: &[u8]) -> Result<T, BadId> {
    T::try_from(bytes)
}

fn all_ids<T>(field: &'static str, ids: &[Vec<u8>]) -> Result<BTreeSet<T>, Problem>
where
    T: Ord + for<'a> TryFrom<&'a [u8], Error = BadId>,
{
    let ids = ids.iter().map(|id| read_id(field, id)).collect::<Result<_, _>>();
    ids.map_err(Explain::explain)
}

fn shorten(names: &mut Vec<String>, whole: bool) {
    if !whole {
        names.truncate(NAMES);
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::collections::BTreeMap;

    fn view(id: SecretId, bytes: usize) -> api::SecretView {
        let id = id.as_bytes().to_vec();
        api::SecretView { id, name: "x".repeat(bytes), ..api::SecretView::default() }
    }

    fn things() -> BTreeMap<SecretId, u8> {
        (0..10).map(|n| (SecretId::from_bytes([n; 16]), n)).collect()
    }

    #[test]
    fn pages_join_to_the_whole() {
        let (state, things) = (State::default(), things());
        let mut after = None;
        let mut seen = Vec::new();
        loop {
            let asked = Asked::After(after, 3);
            let page = page(&state, &things, &asked, |id, _| Some(view(id, 1)));
            assert!(page.things.len() <= 3);
            seen.extend(page.things.iter().map(|thing| thing.id.clone()));
            if !page.more {
                break;
            }
            after = seen.last().map(|id| SecretId::try_from(id.as_slice()).expect("an id"));
        }
        let all: Vec<_> = things.keys().map(|id| id.as_bytes().to_vec()).collect();
        assert_eq!(seen, all);
    }

    #[test]
    fn a_page_is_bounded_by_bytes_and_never_empty() {
        let (state, things) = (State::default(), things());
        let half = |id, _| Some(view(id, PAGE_BYTES / 2));
        let page_of_halves = page(&state, &things, &Asked::After(None, 100), half);
        assert_eq!((page_of_halves.things.len(), page_of_halves.more), (1, true));
        let big = |id, _| Some(view(id, PAGE_BYTES * 2));
        let page_of_big = page(&state, &things, &Asked::After(None, 100), big);
        assert_eq!((page_of_big.things.len(), page_of_big.more), (1, true));
    }
}
