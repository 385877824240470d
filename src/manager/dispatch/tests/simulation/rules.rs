//! What holds after every step, and what holds once it is calm.

use std::collections::BTreeMap;

use super::Simulation;
use super::node::Node;
use skep_core::base::NodeId;
use skep_core::domain::{assignments, holders};

type Rule = fn(&Simulation, NodeId, &Node) -> Option<String>;

/// By name, one function each.
const RULES: [(&str, Rule); 3] = [
    ("p4_whoever_holds_a_secret_is_named", holders_are_named),
    ("the_leader_is_told_what_runs", what_runs_is_told),
    ("the_ledger_knows_what_is_there", the_ledger_is_right),
];

impl Simulation {
    pub(super) fn check(&self) {
        for (id, node) in &self.nodes {
            for (name, rule) in RULES {
                if let Some(how) = rule(self, *id, node) {
                    self.broken(name, &how);
                }
            }
        }
    }

    /// Every node has what is due, all of it and nothing else, and the cluster knows.
    pub(super) fn everything_is_in_place(&self) {
        let state = &self.world.state;
        for (id, node) in &self.nodes {
            let running = node.session.running();
            let due = assignments(state, *id, &running);
            let digests: BTreeMap<_, _> =
                due.iter().map(|set| (set.service, Some(set.digest()))).collect();
            let there: BTreeMap<_, _> =
                node.files.iter().map(|(service, files)| (*service, files.digest)).collect();
            if there != digests {
                let how = format!("{id} has {there:?}, due is {digests:?}");
                self.broken("every_node_ends_with_what_is_due", &how);
            }
            let bring = due.iter().filter(|set| !set.files.is_empty()).map(|set| set.service);
            let pairs =
                state.exposed.keys().filter(|(of, _)| of == id).map(|(_, service)| *service);
            let (bring, pairs): (Vec<_>, Vec<_>) = (bring.collect(), pairs.collect());
            if bring != pairs {
                let how = format!("{id} holds {bring:?}, recorded is {pairs:?}");
                self.broken("what_is_recorded_ends_with_what_is_held", &how);
            }
            if !node.claims.is_empty() {
                self.broken("every_claim_is_answered", &format!("{id}: {:?}", node.claims));
            }
        }
        if !state.indexes.behind.is_empty() {
            self.broken("nothing_stays_pending", &format!("{:?}", state.indexes.behind));
        }
    }
}

/// Whatever a node has, the state knows that it may have it, of every secret.
fn holders_are_named(simulation: &Simulation, id: NodeId, node: &Node) -> Option<String> {
    let state = &simulation.world.state;
    for (service, files) in &node.files {
        for secret in files.versions.values() {
            if !holders(state, *secret).contains_key(&(id, *service)) {
                return Some(format!("{id} has {secret} for {service}"));
            }
        }
    }
    None
}

/// In an open session the leader was told all that runs but what is to be removed first, and
/// nothing else.
fn what_runs_is_told(_: &Simulation, id: NodeId, node: &Node) -> Option<String> {
    let running = node.session.running();
    let told = |service| node.told.contains(service) || node.leaving.contains_key(service);
    let untold = running.iter().find(|service| !told(service));
    let wrong = node.told.iter().find(|service| !running.contains(service));
    let wrong = untold.or(wrong).filter(|_| node.session.is_open())?;
    Some(format!("{id} {wrong}: runs {running:?}, told {:?}", node.told))
}

/// With nothing on its way, a leader believes of no service that a set is in place which
/// isn't, nor that a version is there which isn't, nor that nothing is where something is.
fn the_ledger_is_right(simulation: &Simulation, id: NodeId, node: &Node) -> Option<String> {
    let wire = node.wire.as_ref()?;
    let desk = simulation.leader.desks.get(&id)?;
    let quiet = wire.up.is_empty() && wire.down.is_empty() && node.job.is_none();
    if !quiet || desk.serial != wire.serial || wire.with != simulation.leader.at {
        return None;
    }
    let known = &desk.ledger.known().sets;
    for (service, has) in known {
        let files = node.files.get(service);
        let digest = files.and_then(|files| files.digest);
        let there = |version| files.is_some_and(|files| files.versions.contains_key(version));
        if has.digest.is_some() && has.digest != digest {
            return Some(format!("{id} {service}: {:?} and not {digest:?}", has.digest));
        }
        if let Some(version) = has.versions.iter().find(|version| !there(version)) {
            return Some(format!("{id} {service}: {version} is not there"));
        }
    }
    let unknown = node.files.keys().find(|service| !known.contains_key(service));
    unknown.map(|service| format!("{id} {service}: it knows of nothing"))
}
