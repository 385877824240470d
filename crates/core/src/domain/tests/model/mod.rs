//! The core against a reference model: a few plain tables and the rules written
//! down a second time, as simply as can be and at any cost. Both are given the
//! same acts; they must agree on what is refused and on what stands afterwards.

mod run;

use std::collections::{BTreeMap, BTreeSet};

use crate::base::limits;
use crate::domain::Availability;

/// Where the services of this test may run.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Place {
    Nowhere,
    Everywhere,
    On(u8),
    Zone(bool),
}

/// The changes of this test, over three of each kind.
#[derive(Clone, Copy, Debug)]
enum Op {
    /// Id, name, whether it is forward-only.
    CreateSecret(u8, u8, bool),
    RollBack(u8, Option<u32>, u32),
    UpdateSecret(u8, Option<u32>),
    RemoveSecret(u8),
    RemoveVersion(u8, u32),
    CreateService(u8, u8, Place),
    UpdateService(u8, Place),
    RemoveService(u8),
    /// Service, secret, target, pin (0: the current one), leave to write, whether it replaces.
    Grant(u8, u8, u8, Option<u32>, Option<bool>, bool),
    Revoke(u8, u8, Option<u8>),
    Label(u8, bool),
    Availability(u8, Availability),
    RemoveNode(u8, bool),
    /// A join token for one name comes or goes.
    Bind(u8),
    Unbind(u8),
}

#[derive(Clone, Debug)]
enum Doing {
    Change(Vec<Op>),
    Expose(Vec<(u8, u8)>),
    /// Pair, how many revisions ago, gone.
    Confirm((u8, u8), u64, bool),
    /// Id, name, by the token that is for that name.
    Join(u8, u8, bool),
    /// Pair, and secrets with the number that is expected.
    Put((u8, u8), Vec<(u8, u32)>),
}

#[derive(Clone, Debug, PartialEq, Eq)]
struct Secret {
    name: u8,
    forward_only: bool,
    current: u32,
    /// By number: the number that their value had first.
    versions: BTreeMap<u32, u32>,
}

#[derive(Clone, Debug, PartialEq, Eq)]
struct Service {
    name: u8,
    place: Place,
    /// Target to secret, pin and leave to write.
    grants: BTreeMap<u8, (u8, Option<u32>, bool)>,
}

#[derive(Clone, Debug, PartialEq, Eq)]
struct Pair {
    since: u64,
    behind: Option<u64>,
    /// Secrets that it lost, under one target at least, and may have yet.
    lost: BTreeSet<u8>,
}

#[derive(Clone, Debug, PartialEq, Eq)]
struct Node {
    name: u8,
    zone: bool,
    availability: Availability,
}

#[derive(Clone, Debug, Default, PartialEq, Eq)]
struct Model {
    secrets: BTreeMap<u8, Secret>,
    services: BTreeMap<u8, Service>,
    nodes: BTreeMap<u8, Node>,
    /// Names for which there are tokens.
    bound: BTreeSet<u8>,
    exposed: BTreeMap<(u8, u8), Pair>,
}

/// The model does not say why.
struct No;

impl Model {
    fn due(&self, node: u8, service: u8) -> bool {
        let (Some(found), Some(of)) = (self.services.get(&service), self.nodes.get(&node)) else {
            return false;
        };
        let placed = match found.place {
            Place::Nowhere => false,
            Place::Everywhere => true,
            Place::On(only) => only == of.name,
            Place::Zone(zone) => zone == of.zone,
        };
        placed
            && match of.availability {
                Availability::Drain => false,
                Availability::Pause => self.exposed.contains_key(&(node, service)),
                Availability::Active => true,
            }
    }

    /// Whether a service may be placed there now.
    fn knows(&self, place: Place) -> bool {
        let Place::On(name) = place else { return true };
        self.bound.contains(&name) || self.nodes.values().any(|node| node.name == name)
    }

    fn join(&mut self, id: u8, name: u8, by_name: bool) -> Result<(), No> {
        let ok = |holds: bool| if holds { Ok(()) } else { Err(No) };
        ok(!by_name || self.bound.contains(&name))?;
        if let Some((of, _)) = self.nodes.iter().find(|(_, node)| node.name == name) {
            // The same machine, which asks again.
            return ok(*of == id);
        }
        ok(!self.nodes.contains_key(&id))?;
        let mentioned = self.services.values().any(|service| service.place == Place::On(name));
        ok(by_name || !(mentioned || self.bound.contains(&name)))?;
        let node = Node { name, zone: false, availability: Availability::Active };
        self.nodes.insert(id, node);
        Ok(())
    }

    fn pins(&self, secret: u8) -> BTreeSet<u32> {
        let grants = self.services.values().flat_map(|service| service.grants.values());
        grants.filter(|grant| grant.0 == secret).filter_map(|grant| grant.1).collect()
    }

    fn act(&mut self, ops: &[Op], revision: u64) -> Result<(), No> {
        let mut after = self.clone();
        for op in ops {
            let before = after.clone();
            after.op(*op)?;
            after.prune();
            // Whatever was due and is not any more was taken; so was a revoked secret.
            for pair in after.exposed.clone().into_keys() {
                let undue = before.due(pair.0, pair.1) && !after.due(pair.0, pair.1);
                let left = |model: &Self| -> BTreeSet<(u8, u8)> {
                    let service = model.services.get(&pair.1).into_iter();
                    let grants = service.flat_map(|of| &of.grants);
                    grants.map(|(target, grant)| (*target, grant.0)).collect()
                };
                let lost =
                    left(&before).difference(&left(&after)).map(|of| of.1).collect::<Vec<_>>();
                let removed = matches!(op, Op::RemoveService(service) if *service == pair.1);
                let pair = after.exposed.get_mut(&pair).expect("there");
                if undue || removed || !lost.is_empty() {
                    pair.behind = Some(revision);
                    pair.lost.extend(lost);
                }
            }
        }
        *self = after;
        Ok(())
    }

    fn prune(&mut self) {
        for id in 1..=3 {
            let pins = self.pins(id);
            let Some(secret) = self.secrets.get_mut(&id) else { continue };
            while secret.versions.len() > limits::VERSIONS {
                let spare = |n: &&u32| **n != secret.current && !pins.contains(n);
                let Some(oldest) = secret.versions.keys().find(spare).copied() else { break };
                secret.versions.remove(&oldest);
            }
        }
    }

    fn op(&mut self, op: Op) -> Result<(), No> {
        let ok = |holds: bool| if holds { Ok(()) } else { Err(No) };
        match op {
            Op::CreateSecret(id, name, forward_only) => {
                ok(!self.secrets.contains_key(&id))?;
                ok(self.secrets.values().all(|other| other.name != name))?;
                let versions = BTreeMap::from([(1, 1)]);
                self.secrets.insert(id, Secret { name, forward_only, current: 1, versions });
            }
            Op::UpdateSecret(id, expect) => {
                let secret = self.secrets.get_mut(&id).ok_or(No)?;
                ok(expect.is_none_or(|expect| expect == secret.current))?;
                secret.current += 1;
                secret.versions.insert(secret.current, secret.current);
            }
            Op::RollBack(id, expect, to) => {
                let secret = self.secrets.get_mut(&id).ok_or(No)?;
                ok(!secret.forward_only && expect.is_none_or(|expect| expect == secret.current))?;
                let value = *secret.versions.get(&to).ok_or(No)?;
                if secret.versions.get(&secret.current) != Some(&value) {
                    secret.current += 1;
                    secret.versions.insert(secret.current, value);
                }
            }
            Op::RemoveSecret(id) => {
                let mut grants = self.services.values().flat_map(|service| service.grants.values());
                ok(grants.all(|grant| grant.0 != id))?;
                self.secrets.remove(&id).ok_or(No)?;
            }
            Op::RemoveVersion(id, number) => {
                let pinned = self.pins(id).contains(&number);
                let secret = self.secrets.get_mut(&id).ok_or(No)?;
                ok(!pinned
                    && secret.current != number
                    && secret.versions.remove(&number).is_some())?;
            }
            Op::CreateService(id, name, place) => {
                ok(!self.services.contains_key(&id))?;
                ok(self.exposed.keys().all(|(_, service)| *service != id))?;
                ok(self.services.values().all(|other| other.name != name))?;
                ok(self.knows(place))?;
                self.services.insert(id, Service { name, place, grants: BTreeMap::new() });
            }
            Op::UpdateService(id, place) => {
                let knows = self.knows(place);
                let service = self.services.get_mut(&id).ok_or(No)?;
                ok(knows || service.place == place)?;
                service.place = place;
            }
            Op::RemoveService(id) => drop(self.services.remove(&id).ok_or(No)?),
            Op::Grant(id, secret, target, pin, write, replace) => {
                let of = self.secrets.get(&secret).ok_or(No)?;
                let service = self.services.get_mut(&id).ok_or(No)?;
                let there = service.grants.get(&target).copied();
                ok(replace || there.is_none_or(|there| there.0 == secret))?;
                let kept = there.filter(|there| there.0 == secret);
                let pin =
                    pin.map_or(kept.and_then(|there| there.1), |pin| (pin > 0).then_some(pin));
                let write = write.unwrap_or(kept.is_some_and(|there| there.2));
                ok(pin.is_none_or(|pin| of.versions.contains_key(&pin) && !of.forward_only))?;
                service.grants.insert(target, (secret, pin, write));
            }
            Op::Revoke(id, secret, target) => {
                ok(self.secrets.contains_key(&secret))?;
                let pairs = self.exposed.iter().filter(|((_, service), _)| *service == id);
                let pending = pairs.into_iter().any(|(_, pair)| pair.lost.contains(&secret));
                let service = self.services.get_mut(&id).ok_or(No)?;
                let before = service.grants.len();
                service.grants.retain(|under, grant| {
                    grant.0 != secret || target.is_some_and(|target| target != *under)
                });
                ok(pending || service.grants.len() < before)?;
            }
            Op::Label(id, zone) => self.nodes.get_mut(&id).ok_or(No)?.zone = zone,
            Op::Availability(id, word) => self.nodes.get_mut(&id).ok_or(No)?.availability = word,
            Op::Bind(name) => ok(self.bound.insert(name))?,
            Op::Unbind(name) => ok(self.bound.remove(&name))?,
            Op::RemoveNode(id, force) => {
                ok(force || self.exposed.keys().all(|(node, _)| *node != id))?;
                let gone = self.nodes.remove(&id).ok_or(No)?;
                // It may have the token; all of them are made before anybody joins.
                self.bound.remove(&gone.name);
                self.exposed.retain(|(node, _), _| *node != id);
            }
        }
        Ok(())
    }

    fn put(&mut self, pair: (u8, u8), values: &[(u8, u32)]) -> Result<(), No> {
        let ok = |holds: bool| if holds { Ok(()) } else { Err(No) };
        ok(self.due(pair.0, pair.1) && self.exposed.contains_key(&pair))?;
        let mut after = self.clone();
        for (secret, expect) in values {
            let service = self.services.get(&pair.1).ok_or(No)?;
            ok(service.grants.values().any(|grant| grant.0 == *secret && grant.2))?;
            after.op(Op::UpdateSecret(*secret, Some(*expect)))?;
            after.prune();
        }
        *self = after;
        Ok(())
    }

    fn expose(&mut self, pairs: &[(u8, u8)], revision: u64) {
        for pair in pairs {
            if self.due(pair.0, pair.1) {
                let lost = BTreeSet::new();
                self.exposed.entry(*pair).or_insert(Pair { since: revision, behind: None, lost });
            }
        }
    }

    fn confirm(&mut self, pair: (u8, u8), at: u64, gone: bool) {
        let due = self.due(pair.0, pair.1);
        let Some(found) = self.exposed.get_mut(&pair) else { return };
        if at < found.since || found.behind.is_some_and(|behind| behind > at) {
            return;
        }
        if gone {
            self.exposed.remove(&pair);
        } else if due {
            found.behind = None;
            found.lost.clear();
        }
    }
}
