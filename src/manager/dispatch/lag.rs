//! What is on a node against what is due there, file by file: for those who look, never for
//! what is sent.

use std::collections::BTreeSet;
use std::sync::Arc;

use super::Hub;
use super::known::Has;
use super::table::Live;
use super::wanted::Due;
use crate::manager::problem::delivery::{away, hook_failed, hook_runs};
use skep_core::base::{BootTime, NodeId, SecretId, ServiceId, VersionId, limits};
use skep_core::domain::{NodeRole, ServiceSet, State, is_due, set_of};
use skep_core::wire::api;
use skep_core::wire::delivery::HookStand;

/// Milliseconds for which a delivery that is under way is not called late.
const LATE_MS: u64 = 1_000;
/// Pairs of nodes without a session that are compared for one look.
const COMPARED: usize = 10_000;

/// What is known of a pair.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(in crate::manager) struct Known {
    /// The versions that are there; `None`: this leader has not heard of the node.
    pub versions: Option<BTreeSet<VersionId>>,
    /// The files that could not be put in place, and why.
    pub files: std::collections::BTreeMap<String, String>,
    /// Why what is due is not there, should it not be.
    pub why: String,
    /// It was tried.
    pub failed: bool,
    /// What is to be said of its hook, where what is due is there.
    pub hook: String,
}

/// What lags.
#[derive(Debug, Default)]
pub(in crate::manager) struct Lags {
    /// The first ones.
    pub named: Vec<api::Lagging>,
    /// How many there are.
    pub count: u64,
    /// Workers without a session for a while, the first ones.
    pub down: Vec<api::DownWorker>,
    /// How many there are.
    pub down_count: u64,
    /// Workers whose identity another machine used lately, the first ones.
    pub copied: Vec<api::DownWorker>,
}

impl Hub {
    /// What is known of what a node has of a service.
    pub(super) fn known_of(&self, node: NodeId, service: ServiceId) -> Known {
        let live = self.table.live(node);
        let connected = live.is_some();
        let Some(session) = live.or_else(|| self.table.last(node)) else {
            let why = away(self.table.seen(node).last_seen);
            return Known { why, ..Known::default() };
        };
        let ledger = session.ledger.lock();
        let versions = ledger.known().sets.get(&service).map(|has| has.versions.clone());
        let failure = ledger.failure(service);
        let why = if connected {
            failure.map_or_else(|| self.why_waiting(), |failure| failure.why.clone())
        } else {
            away(self.table.seen(node).last_seen)
        };
        Known {
            versions: Some(versions.unwrap_or_default()),
            files: failure.map(|failure| failure.files.clone()).unwrap_or_default(),
            why,
            failed: connected && failure.is_some(),
            hook: ledger.hooks().get(&service).map(told_of_hook).unwrap_or_default(),
        }
    }

    /// Which deliveries are not done, and which workers are down; `most` of each are named.
    pub(super) fn lags(&self, most: usize) -> Lags {
        let mut lags = Lags::default();
        if !self.table.leading() {
            return lags;
        }
        let workers: Vec<(NodeId, String)> = self.core.consensus.read(|state| {
            let workers = state.nodes.iter().filter(|(_, node)| node.role == NodeRole::Worker);
            workers.map(|(id, node)| (*id, node.name.to_string())).collect()
        });
        let mut compared = 0;
        let now = self.core.clock.now();
        for (node, name) in workers {
            if lags.copied.len() < most
                && let Some(why) = self.table.seen(node).copied(now)
            {
                let (node, name) = (node.as_bytes().to_vec(), name.clone());
                lags.copied.push(api::DownWorker { node, name, why });
            }
            if let Some(live) = self.table.live(node) {
                self.late_on(&live, &name, most, &mut lags);
                continue;
            }
            if self.is_down(node) {
                lags.down_count = lags.down_count.saturating_add(1);
                if lags.down.len() < most {
                    let why = away(self.table.seen(node).last_seen);
                    let (node, name) = (node.as_bytes().to_vec(), name.clone());
                    lags.down.push(api::DownWorker { node, name, why });
                }
            }
            if compared < COMPARED
                && let Some(last) = self.table.last(node)
            {
                compared += self.missed_on(&last, &name, most, &mut lags);
            }
        }
        lags
    }

    /// Whether a worker has had no session for so long that it is down. A leader that has just
    /// begun has heard of nobody and calls nobody down.
    pub(super) fn is_down(&self, node: NodeId) -> bool {
        let seen = self.table.seen(node);
        let last = seen.last_seen.max(self.table.led_since());
        let silent = |last: skep_core::base::Stamp| self.core.clock.now().0.saturating_sub(last.0);
        !seen.connected && last.is_some_and(|last| silent(last) >= limits::DOWN_MS)
    }

    /// What is late on a node that is in touch.
    fn late_on(&self, live: &Live, name: &str, most: usize, lags: &mut Lags) {
        let now = self.core.clock.boot();
        let ledger = live.ledger.lock();
        let is_late = |since: BootTime| now.0.saturating_sub(since.0) >= LATE_MS;
        let late = ledger
            .late()
            .filter(|(service, since)| ledger.failure(*service).is_some() || is_late(*since));
        for (service, _) in late {
            let Some(due) = ledger.wanted().sets.get(&service) else { continue };
            let has = ledger.known().sets.get(&service);
            let failure = ledger.failure(service);
            let known = Known {
                versions: Some(has.map(|has| has.versions.clone()).unwrap_or_default()),
                files: failure.map(|failure| failure.files.clone()).unwrap_or_default(),
                why: failure.map_or_else(|| self.why_waiting(), |failure| failure.why.clone()),
                failed: failure.is_some(),
                hook: String::new(),
            };
            self.add(live.node, name, &due.set, &known, most, lags);
        }
        for (service, stand) in ledger.hooks() {
            let HookStand::Failed(why) = stand else { continue };
            let Some(due) = ledger.wanted().sets.get(service) else { continue };
            lags.count = lags.count.saturating_add(1);
            if lags.named.len() < most {
                lags.named.push(api::Lagging {
                    node: live.node.as_bytes().to_vec(),
                    node_name: name.to_owned(),
                    service: service.as_bytes().to_vec(),
                    service_name: due.set.name.to_string(),
                    why: hook_failed(why),
                    failed: true,
                    hook: true,
                    ..api::Lagging::default()
                });
            }
        }
    }

    /// What has become due on a node since it was in touch; how many pairs were looked at.
    fn missed_on(&self, last: &Arc<Live>, name: &str, most: usize, lags: &mut Lags) -> usize {
        let node = last.node;
        let ledger = last.ledger.lock();
        let missed = |state: &State| {
            let pairs =
                state.exposed.range(super::pairs_of(node)).map(|((_, service), _)| *service);
            let pairs: Vec<ServiceId> = pairs.filter(|one| is_due(state, node, *one)).collect();
            let sets = pairs.iter().filter_map(|service| set_of(state, *service));
            let sets = sets.filter(|set| misses(ledger.known().sets.get(&set.service), set));
            (pairs.len(), sets.collect::<Vec<_>>())
        };
        let (looked, sets) = self.core.consensus.read(missed);
        let why = away(self.table.seen(node).last_seen);
        for set in sets {
            let has = ledger.known().sets.get(&set.service);
            let versions = Some(has.map(|has| has.versions.clone()).unwrap_or_default());
            let known = Known { versions, why: why.clone(), ..Known::default() };
            self.add(node, name, &set, &known, most, lags);
        }
        looked
    }

    /// Adds the files of a set that are not there as they are due; where all are, the set.
    fn add(
        &self,
        node: NodeId,
        name: &str,
        set: &ServiceSet,
        known: &Known,
        most: usize,
        lags: &mut Lags,
    ) {
        let versions = known.versions.clone().unwrap_or_default();
        let lacking = set.files.iter().filter(|file| {
            !versions.contains(&file.version.id) || known.files.contains_key(file.target.as_str())
        });
        let whole = api::Lagging {
            node: node.as_bytes().to_vec(),
            node_name: name.to_owned(),
            service: set.service.as_bytes().to_vec(),
            service_name: set.name.to_string(),
            why: known.why.clone(),
            failed: known.failed,
            ..api::Lagging::default()
        };
        let before = lags.count;
        for file in lacking {
            lags.count = lags.count.saturating_add(1);
            if lags.named.len() >= most {
                continue;
            }
            let target = file.target.to_string();
            let why = known.files.get(&target).unwrap_or(&known.why).clone();
            let version = self.core.consensus.read(|state| newest(state, file.secret, &versions));
            lags.named.push(api::Lagging {
                file: target,
                wanted: file.number,
                version,
                why,
                ..whole.clone()
            });
        }
        if lags.count == before {
            lags.count = lags.count.saturating_add(1);
            if lags.named.len() < most {
                lags.named.push(whole);
            }
        }
    }
}

/// How a hook stands, in words.
fn told_of_hook(stand: &HookStand) -> String {
    match stand {
        HookStand::Running => hook_runs(),
        HookStand::Failed(why) => hook_failed(why),
    }
}

/// Whether a node that has this lacks something of a set.
fn misses(has: Option<&Has>, set: &ServiceSet) -> bool {
    if set.files.is_empty() {
        return false;
    }
    let Some(has) = has else { return true };
    let there = set.files.iter().all(|file| has.versions.contains(&file.version.id));
    !there || has.digest != Some(Due::new(set.clone()).digest)
}

/// The newest version of a secret among these; 0: none that the secret still has.
pub(in crate::manager) fn newest(
    state: &State,
    secret: SecretId,
    versions: &BTreeSet<VersionId>,
) -> u32 {
    let secret = state.secrets.get(&secret);
    let numbered = secret.into_iter().flat_map(|secret| secret.versions.iter().rev());
    let mut there = numbered.filter(|(_, version)| versions.contains(&version.id));
    there.next().map_or(0, |(number, _)| *number)
}
