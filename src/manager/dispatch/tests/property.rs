//! Whatever the order of changes, answers, lost answers and reconnects: the node
//! ends with exactly what is due, the cluster knows at every moment of every byte
//! that may be there, and no value travels that is there already.

use std::collections::{BTreeMap, BTreeSet, VecDeque};
use std::sync::Arc;

use proptest::prelude::*;

use super::{Agent, due, service, wanted};
use crate::manager::dispatch::ledger::{Ledger, Recorded, Refused};
use crate::manager::dispatch::step::Delta;
use crate::manager::dispatch::wanted::{Due, Wanted};
use skep_core::base::{BootTime, NodeId, Revision, ServiceId, Stamp};
use skep_core::domain::{Confirmation, Exposure};

const NODE: NodeId = NodeId::from_bytes([9; 16]);

#[derive(Clone, Debug)]
enum Op {
    /// A service is due with these versions (none of it, for `None`).
    Due(u8, Option<BTreeSet<u8>>),
    /// The agent carries out the push and says so, but for these services.
    Ack(BTreeSet<u8>, bool),
    /// The connection ends; whether the push under way was carried out.
    Reconnect(bool),
    /// The leader proposes; whether it learns of the answer.
    Propose(bool),
    /// The next entry of the log is applied.
    Apply,
    /// Time passes.
    Wait,
}

fn op() -> impl Strategy<Value = Op> {
    let versions = prop::collection::btree_set(1..8_u8, 0..4);
    prop_oneof![
        4 => (1..5_u8, prop::option::weighted(0.7, versions)).prop_map(|(id, to)| Op::Due(id, to)),
        4 => (prop::collection::btree_set(1..5_u8, 0..2), any::<bool>())
            .prop_map(|(failing, last)| Op::Ack(failing, last)),
        1 => any::<bool>().prop_map(Op::Reconnect),
        4 => prop::bool::weighted(0.8).prop_map(Op::Propose),
        4 => Just(Op::Apply),
        1 => Just(Op::Wait),
    ]
}

#[derive(Clone, Debug)]
enum LogEntry {
    Expose(Vec<ServiceId>),
    Confirm(Vec<Confirmation>),
}

#[derive(Default)]
struct World {
    revision: u64,
    now: u64,
    sets: BTreeMap<ServiceId, Arc<Due>>,
    exposed: BTreeMap<ServiceId, Exposure>,
    unsure: BTreeSet<ServiceId>,
    /// Proposals not applied yet, and whether the leader waits for the answer.
    log: VecDeque<(LogEntry, bool)>,
    ledger: Ledger,
    flight: Option<(u64, Delta)>,
    agent: Agent,
}

impl World {
    fn wanted(&self) -> Wanted {
        let sets: Vec<_> = self.sets.values().cloned().collect();
        wanted(self.revision, &sets)
    }

    fn look(&mut self) {
        let recorded = Recorded { exposed: self.exposed.clone(), unsure: self.unsure.clone() };
        let look = self.ledger.look(self.wanted(), &recorded, BootTime(self.now));
        if let Some((number, delta)) = look.push {
            assert!(self.flight.is_none(), "two pushes under way");
            self.flight = Some((number, delta));
        }
    }

    fn due(&mut self, id: u8, to: Option<&BTreeSet<u8>>) {
        self.revision += 1;
        let before = self.sets.remove(&service(id)).map(|due| due.versions.clone());
        if let Some(versions) = to {
            let versions: Vec<_> = versions.iter().copied().collect();
            self.sets.insert(service(id), due(id, &versions));
        }
        let after = self.sets.get(&service(id)).map(|due| due.versions.clone());
        let taken = !before.unwrap_or_default().is_subset(&after.unwrap_or_default());
        if let Some(exposure) = self.exposed.get_mut(&service(id)).filter(|_| taken) {
            exposure.behind = Some(Revision(self.revision));
        }
    }

    fn ack(&mut self, failing: &BTreeSet<u8>, last: bool) {
        let Some((number, delta)) = self.flight.take() else { return };
        let failing: BTreeSet<_> = failing.iter().map(|id| service(*id)).collect();
        self.agent.apply(&delta, &failing);
        let refused = failing
            .iter()
            .filter(|service| delta.sets.iter().any(|due| due.set.service == **service))
            .map(|service| Refused::whole(*service, String::new(), last))
            .collect();
        self.ledger.acknowledged(number, refused, BootTime(self.now)).expect("it is under way");
    }

    fn reconnect(&mut self, carried_out: bool) {
        if let Some((_, delta)) = self.flight.take().filter(|_| carried_out) {
            self.agent.apply(&delta, &BTreeSet::new());
        }
        self.ledger = Ledger::new(self.agent.sets.clone(), BTreeSet::new());
    }

    /// One proposal at a time: the next only after the answer, or when the
    /// leader has given up on it.
    fn propose(&mut self, answered: bool) {
        if self.log.iter().any(|(_, waited)| *waited) {
            return;
        }
        let asking: Vec<_> = self.ledger.asking().collect();
        if !asking.is_empty() {
            self.log.push_back((LogEntry::Expose(asking), answered));
            return;
        }
        let confirmations = self.ledger.confirmations(NODE, &self.exposed);
        if !confirmations.is_empty() {
            let gone = confirmations.iter().filter(|one| one.gone);
            self.unsure.extend(gone.map(|one| one.service));
            self.log.push_back((LogEntry::Confirm(confirmations), answered));
        }
    }

    fn apply(&mut self) {
        let Some((entry, answered)) = self.log.pop_front() else { return };
        self.revision += 1;
        match entry {
            LogEntry::Expose(services) => {
                for service in &services {
                    let since = Revision(self.revision);
                    let due = self.sets.contains_key(service);
                    if due && !self.exposed.contains_key(service) {
                        self.exposed.insert(
                            *service,
                            Exposure { since, began: Stamp(1), behind: None, clear: since },
                        );
                    }
                }
                if answered {
                    for service in services {
                        self.unsure.remove(&service);
                        self.ledger.answered(service, None);
                    }
                }
            }
            LogEntry::Confirm(confirmations) => {
                for one in confirmations {
                    if let Some(exposure) = self.exposed.get_mut(&one.service) {
                        let covers = one.revision >= exposure.since
                            && exposure.behind.is_none_or(|behind| behind <= one.revision);
                        if covers && one.gone {
                            self.exposed.remove(&one.service);
                        } else if covers {
                            exposure.behind = None;
                        }
                    }
                    if answered {
                        self.unsure.remove(&one.service);
                    }
                }
            }
        }
    }

    fn run(&mut self, op: &Op) {
        match op {
            Op::Due(id, to) => self.due(*id, to.as_ref()),
            Op::Ack(failing, last) => self.ack(failing, *last),
            Op::Reconnect(carried_out) => self.reconnect(*carried_out),
            Op::Propose(answered) => self.propose(*answered),
            Op::Apply => self.apply(),
            Op::Wait => self.now += 100_000,
        }
        self.look();
        // Every byte that is there or under way is recorded.
        let under_way = self.flight.iter().flat_map(|(_, delta)| &delta.sets);
        let under_way = under_way.filter(|due| due.brings()).map(|due| due.set.service);
        let there = self.agent.sets.iter().filter(|(_, has)| !has.versions.is_empty());
        for service in there.map(|(service, _)| *service).chain(under_way) {
            assert!(self.exposed.contains_key(&service), "{service} is not recorded");
        }
    }
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 400, ..ProptestConfig::default() })]
    #[test]
    fn the_node_ends_with_what_is_due(ops in prop::collection::vec(op(), 1..80)) {
        let mut world = World::default();
        for op in &ops {
            world.run(op);
        }
        // A failure for good ends with another set or another session.
        world.run(&Op::Reconnect(true));
        for _ in 0..40 {
            for op in [Op::Wait, Op::Propose(true), Op::Apply, Op::Ack(BTreeSet::new(), false)] {
                world.run(&op);
            }
        }
        prop_assert!(world.flight.is_none());
        let due: BTreeMap<_, _> =
            world.sets.iter().map(|(service, due)| (*service, super::has(due))).collect();
        prop_assert_eq!(&world.agent.sets, &due);
        let brought: BTreeSet<_> =
            world.sets.values().filter(|due| due.brings()).map(|due| due.set.service).collect();
        let exposed: BTreeSet<_> = world.exposed.keys().copied().collect();
        prop_assert_eq!(exposed, brought);
        prop_assert!(world.exposed.values().all(|exposure| exposure.behind.is_none()));
    }
}
