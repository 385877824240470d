//! Waiting: how far everything due at a revision has come.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;
use std::time::Duration;

use tokio::sync::mpsc;

use super::Hub;
use super::ledger::Standing;
use super::session::is_held;
use crate::manager::problem::delivery::{
    away, being_confirmed, elsewhere, held, hook_runs, waiting,
};
use skep_core::base::{NodeId, Revision, SecretId, ServiceId};
use skep_core::domain::{Activation, Availability, NodeRole, Scope, State, holders, is_due};
use skep_core::wire::api;

/// Looking takes at most one part in this many of a waiting task's time.
const SHARE: u32 = 4;
/// Laggards named in one message.
const NAMED: usize = 1_000;

/// What a caller waits for.
#[derive(Clone, Debug, Default)]
pub struct Asked {
    /// Everything due then,
    pub revision: Revision,
    /// of these services,
    pub services: BTreeSet<ServiceId>,
    /// and of all services on these nodes;
    pub nodes: BTreeSet<NodeId>,
    /// or only what was taken from them,
    pub removal: bool,
    /// and then also from wherever these secrets were taken; else only files of these, if it
    /// is some.
    pub secrets: BTreeSet<SecretId>,
    /// Nodes of services outside of it are counted, and not named.
    pub scope: Scope,
}

impl Asked {
    fn concerns(&self, (node, service): Pair) -> bool {
        self.services.contains(&service) || self.nodes.contains(&node)
    }
}

type Pair = (NodeId, ServiceId);

/// Sends progress until it is done, failed, not wanted any more, or another
/// manager's business.
pub(super) async fn run(
    hub: Arc<Hub>,
    asked: Asked,
    progress: mpsc::Sender<api::DeliveryProgress>,
) {
    let mut ticks = hub.table.ticks();
    let mut concerned: BTreeSet<Pair> = BTreeSet::new();
    for pair in hub.table.ended_since(asked.revision) {
        if asked.concerns(pair) {
            concerned.insert(pair);
        }
    }
    let mut last = None;
    while hub.table.leading() {
        ticks.mark_unchanged();
        let begun = tokio::time::Instant::now();
        let now = hub.progress(&asked, &mut concerned);
        let ends = now.done || now.failed;
        if last.as_ref() != Some(&now) {
            if progress.send(now.clone()).await.is_err() {
                return;
            }
            last = Some(now);
        }
        if ends {
            return;
        }
        let pause: Duration = begun.elapsed().saturating_mul(SHARE - 1);
        tokio::select! {
            () = progress.closed() => return,
            changed = async {
                tokio::time::sleep(pause).await;
                ticks.changed().await
            } => if changed.is_err() { return },
        }
    }
}

/// How many pairs are looked at for this, at most.
pub(super) fn pairs(state: &State, asked: &Asked) -> usize {
    let of_service = |service: &ServiceId| {
        let exposed = state.indexes.exposed_of.get(service).map_or(0, BTreeSet::len);
        exposed.saturating_add(state.indexes.places.count_of(*service))
    };
    let of_node = |node: &NodeId| {
        let exposed = state.exposed.range(super::pairs_of(*node)).count();
        exposed.saturating_add(state.indexes.places.on(*node).count())
    };
    let services = asked.services.iter().map(of_service).fold(0, usize::saturating_add);
    let nodes = asked.nodes.iter().map(of_node).fold(0, usize::saturating_add);
    let secrets = asked.secrets.iter().map(|secret| holders(state, *secret).len());
    let asked_for = asked.services.len() + asked.nodes.len() + asked.secrets.len();
    secrets.fold(services.saturating_add(nodes).saturating_add(asked_for), usize::saturating_add)
}

/// A pair that somebody waits for, as the state has it.
struct Concern {
    /// `None`: whoever waits is not told.
    name: Option<String>,
    /// What was taken from it is not confirmed.
    behind: bool,
}

/// The nodes of which somebody waits for something, and why each is waited for.
type Awaited = BTreeMap<NodeId, Option<api::Laggard>>;

impl Hub {
    /// Why an agent that is connected has not done what is due.
    pub(super) fn why_waiting(&self) -> String {
        if self.core.consensus.read(is_held) { held() } else { waiting() }
    }

    /// How far it is. `concerned` remembers the pairs seen so far: one that has
    /// nothing to wait for any more counts as done.
    fn progress(&self, asked: &Asked, concerned: &mut BTreeSet<Pair>) -> api::DeliveryProgress {
        let running = self.running(asked);
        let (applied, open, due) = self.core.consensus.read(|state| {
            let open = if asked.removal {
                removals(state, asked)
            } else {
                concerns(state, asked, &running)
            };
            concerned.extend(open.keys().copied());
            let due = concerned
                .iter()
                .filter(|(node, service)| !asked.removal && is_due(state, *node, *service));
            (state.revision, open, due.copied().collect::<BTreeSet<Pair>>())
        });

        let (mut coming, mut going) = (Awaited::new(), Awaited::new());
        let mut changed: BTreeSet<NodeId> = BTreeSet::new();
        let mut failed = false;
        for pair in concerned.iter() {
            let nodes = if due.contains(pair) { &mut coming } else { &mut going };
            let laggard = nodes.entry(pair.0).or_default();
            if !self.is_unchanged(*pair, asked.revision) {
                changed.insert(pair.0);
            }
            let Some(concern) = open.get(pair) else { continue };
            let why = if asked.removal {
                concern.behind.then(|| (why_pending(self, pair.0, pair.1), false))
            } else {
                self.why(*pair, concern.behind, asked)
            };
            let Some((why, last)) = why else { continue };
            failed |= last;
            if laggard.is_none() || last {
                *laggard = Some(match &concern.name {
                    Some(name) => {
                        let node = pair.0.as_bytes().to_vec();
                        api::Laggard { node, name: name.clone(), why }
                    }
                    None => unnamed(),
                });
            }
        }
        let same = coming.iter().filter(|(node, lags)| lags.is_none() && !changed.contains(*node));
        let unchanged = same.count();
        let number = |count: usize| u32::try_from(count).unwrap_or(u32::MAX);
        let done = |nodes: &Awaited| nodes.values().filter(|laggard| laggard.is_none()).count();
        let (delivered, left) = (done(&coming), done(&going));
        let (nodes, leaving) = (coming.len(), going.len());
        // A node of which both are waited for is named once.
        let mut laggards = BTreeMap::new();
        for (node, laggard) in going.into_iter().chain(coming) {
            laggards.extend(laggard.map(|laggard| (node, laggard)));
        }
        api::DeliveryProgress {
            nodes: number(nodes),
            delivered: number(delivered),
            unchanged: number(unchanged),
            leaving: number(leaving),
            left: number(left),
            done: laggards.is_empty() && applied >= asked.revision,
            failed,
            laggards: laggards.into_values().take(NAMED).collect(),
        }
    }

    /// Whether a pair's files show what they showed before that revision.
    fn is_unchanged(&self, (node, service): Pair, revision: Revision) -> bool {
        let live = self.table.live(node);
        live.is_some_and(|live| live.ledger.lock().is_unchanged(service, revision))
    }

    /// What the nodes that may be concerned say that they run.
    fn running(&self, asked: &Asked) -> BTreeMap<NodeId, BTreeSet<ServiceId>> {
        let mut nodes = asked.nodes.clone();
        self.core.consensus.read(|state| {
            for service in &asked.services {
                nodes.extend(state.indexes.places.of(*service));
            }
        });
        let lives = nodes.into_iter().filter_map(|node| self.table.live(node));
        lives
            .map(|live| {
                let ledger = live.ledger.lock();
                let running = if asked.nodes.contains(&live.node) {
                    ledger.running().clone()
                } else {
                    ledger.running().intersection(&asked.services).copied().collect()
                };
                (live.node, running)
            })
            .collect()
    }

    /// Why what is due of a pair is not in place, and whether waiting is no use;
    /// `None`: it is in place.
    fn why(&self, (node, service): Pair, behind: bool, asked: &Asked) -> Option<(String, bool)> {
        let revision = asked.revision;
        let Some(live) = self.table.live(node) else {
            return Some((away(self.table.seen(node).last_seen), false));
        };
        let (standing, looked) = {
            let ledger = live.ledger.lock();
            let standing = match ledger.standing(service, revision) {
                Standing::Failed { .. } if ledger.has_files(service, revision, &asked.secrets) => {
                    Standing::InPlace
                }
                standing => standing,
            };
            (standing, ledger.looked())
        };
        if looked < revision {
            // No fact leads there after an act that changed nothing.
            live.wake.notify_one();
        }
        match standing {
            Standing::InPlace if !behind => None,
            Standing::Hook if !behind => Some((hook_runs(), false)),
            Standing::InPlace | Standing::Hook | Standing::Waiting => {
                Some((self.why_waiting(), false))
            }
            Standing::Failed { why, last } => Some((why, last)),
        }
    }
}

fn is_within(state: &State, asked: &Asked, service: ServiceId) -> bool {
    let name = state.services.get(&service).map(|service| &service.name);
    name.map_or(!asked.scope.is_bounded(), |name| asked.scope.holds(name))
}

/// A node that has something of a service outside of the scope of whoever waits.
fn unnamed() -> api::Laggard {
    api::Laggard { node: Vec::new(), name: elsewhere(), why: waiting() }
}

/// The pairs from which something was taken, and whether their nodes have yet to confirm it.
fn removals(state: &State, asked: &Asked) -> BTreeMap<Pair, Concern> {
    let mut pairs = BTreeMap::new();
    let mut look = |pair: Pair| {
        let Some(member) = state.nodes.get(&pair.0) else { return };
        let Some(exposure) = state.exposed.get(&pair) else { return };
        let behind = exposure.behind.is_some();
        // It was confirmed before anybody looked.
        let cleared = exposure.clear >= asked.revision && exposure.clear != exposure.since;
        if behind || cleared {
            let is_told = asked.services.contains(&pair.1) || is_within(state, asked, pair.1);
            let name = is_told.then(|| member.name.as_str().to_owned());
            pairs.insert(pair, Concern { name, behind });
        }
    };
    for service in &asked.services {
        let exposed = state.indexes.exposed_of.get(service);
        exposed.into_iter().flatten().for_each(|node| look((*node, *service)));
    }
    for node in &asked.nodes {
        state.exposed.range(super::pairs_of(*node)).for_each(|(pair, _)| look(*pair));
    }
    for secret in &asked.secrets {
        let taken = holders(state, *secret).into_iter().filter(|(_, taken)| *taken);
        taken.for_each(|(pair, _)| look(pair));
    }
    pairs
}

/// The pairs that are concerned: those that hold something, and those for which
/// something is due. A paused node is, only while something was taken from it.
fn concerns(
    state: &State,
    asked: &Asked,
    running: &BTreeMap<NodeId, BTreeSet<ServiceId>>,
) -> BTreeMap<Pair, Concern> {
    let mut pairs = BTreeMap::new();
    let mut look = |node: NodeId, service: ServiceId| {
        let Some(member) = state.nodes.get(&node).filter(|node| node.role == NodeRole::Worker)
        else {
            return;
        };
        let exposure = state.exposed.get(&(node, service));
        let behind = exposure.is_some_and(|exposure| exposure.behind.is_some());
        let concerned = match member.availability {
            Availability::Active => exposure.is_some() || due(state, node, service, running),
            Availability::Pause => behind,
            Availability::Drain => exposure.is_some(),
        };
        if concerned {
            let name = Some(member.name.as_str().to_owned());
            pairs.insert((node, service), Concern { name, behind });
        }
    };
    for service in &asked.services {
        let exposed = state.indexes.exposed_of.get(service);
        let exposed = exposed.into_iter().flatten().copied();
        for node in exposed.chain(state.indexes.places.of(*service)) {
            look(node, *service);
        }
    }
    for node in &asked.nodes {
        for (_, service) in state.exposed.range(super::pairs_of(*node)).map(|(pair, _)| *pair) {
            look(*node, service);
        }
        for service in state.indexes.places.on(*node) {
            look(*node, service);
        }
    }
    pairs
}

/// Whether a service is due on an active node.
fn due(
    state: &State,
    node: NodeId,
    service: ServiceId,
    running: &BTreeMap<NodeId, BTreeSet<ServiceId>>,
) -> bool {
    let runs = || running.get(&node).is_some_and(|running| running.contains(&service));
    let activation = state.services.get(&service).map(|service| service.spec.activation);
    is_due(state, node, service) && (activation == Some(Activation::Placed) || runs())
}

/// Why a pair is pending.
pub(super) fn why_pending(hub: &Hub, node: NodeId, service: ServiceId) -> String {
    let Some(live) = hub.table.live(node) else {
        return away(hub.table.seen(node).last_seen);
    };
    let revision = hub.core.consensus.read(|state| state.revision);
    let standing = live.ledger.lock().standing(service, revision);
    match standing {
        Standing::InPlace | Standing::Hook => being_confirmed(),
        Standing::Waiting => hub.why_waiting(),
        Standing::Failed { why, .. } => why,
    }
}
