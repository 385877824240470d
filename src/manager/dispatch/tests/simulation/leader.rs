//! The manager that leads: the real look at each session, and what it proposes.

use std::collections::{BTreeMap, BTreeSet, VecDeque};

use super::Simulation;
use super::network::FromLeader;
use crate::manager::dispatch::frames::{frames, message};
use crate::manager::dispatch::ledger::{Ledger, Recorded};
use crate::manager::dispatch::session::{exposed_of, failed, held, hooks, services};
use crate::manager::dispatch::wanted::wanted;
use skep_core::base::{BootTime, NodeId, ServiceId};
use skep_core::domain::testing::MANAGER;
use skep_core::domain::{Act, is_due, set_of};
use skep_core::wire::api;

/// What this leader knows of a node.
pub(super) struct Desk {
    /// Of which connection.
    pub(super) serial: u64,
    pub(super) ledger: Ledger,
    /// What its node asked.
    asked: Option<BootTime>,
}

/// A proposal on its way through the log.
struct Proposal {
    act: Act,
    /// The leader waits for the answer; else it has given up on it.
    awaited: bool,
}

/// Who leads, and what it knows.
#[derive(Default)]
pub(super) struct Leader {
    /// Which of the managers.
    pub(super) at: usize,
    pub(super) desks: BTreeMap<NodeId, Desk>,
    unsure: BTreeSet<(NodeId, ServiceId)>,
    log: VecDeque<Proposal>,
}

impl Leader {
    /// Whether something is on its way through the log.
    pub(super) fn waits(&self) -> bool {
        !self.log.is_empty()
    }

    fn settle(&mut self, pairs: impl IntoIterator<Item = (NodeId, ServiceId)>) {
        for pair in pairs {
            self.unsure.remove(&pair);
        }
    }
}

impl Simulation {
    /// A node says hello.
    pub(super) fn greeted(&mut self, node: NodeId, serial: u64, hello: &api::Hello) {
        let held = held(&hello.held).unwrap_or_else(|bad| self.broken("the_hello_is_sound", bad.0));
        let running = services(&hello.running).expect("ids");
        let ledger = Ledger::new(held, running);
        self.leader.desks.insert(node, Desk { serial, ledger, asked: None });
        let cluster = self.world.state.cluster.as_ref().expect("founded");
        let welcome = api::Welcome {
            session_public: vec![0; 32],
            leader: MANAGER.as_bytes().to_vec(),
            cluster_name: cluster.name.as_str().to_owned(),
            addresses: super::MANAGERS.map(str::to_owned).to_vec(),
            epoch_counter: cluster.epoch.counter,
            epoch_tail: cluster.epoch.tail.to_vec(),
            revision: self.world.state.revision.0,
            ..api::Welcome::default()
        };
        self.send(node, serial, vec![message(api::from_leader::Of::Welcome(welcome))]);
    }

    /// A node says something else.
    pub(super) fn heard(&mut self, node: NodeId, serial: u64, said: api::from_agent::Of) {
        let now = self.boot();
        let Some(desk) = self.leader.desks.get_mut(&node).filter(|desk| desk.serial == serial)
        else {
            return;
        };
        let done = match said {
            api::from_agent::Of::Hello(_) => self.broken("one_hello", "said twice"),
            api::from_agent::Of::Running(running) => {
                services(&running.services).map(|running| desk.ledger.runs(running))
            }
            api::from_agent::Of::Hooks(told) => {
                hooks(&told.hooks).map(|hooks| desk.ledger.hooks_are(hooks))
            }
            api::from_agent::Of::Ask(ask) => {
                desk.asked = Some(BootTime(ask.at_ms));
                Ok(())
            }
            api::from_agent::Of::Ack(ack) => failed(&ack.failed)
                .and_then(|failed| desk.ledger.acknowledged(ack.push, failed, now)),
        };
        if let Err(bad) = done {
            self.broken("an_agent_behaves", bad.0);
        }
    }

    /// A leader's word is sent that these sets are what is due.
    fn confirmed(&mut self, node: NodeId, serial: u64, confirmed: api::Confirmed) {
        let node_of = self.nodes.get(&node);
        // What is said over a connection that is gone reaches nobody.
        let wire = node_of.and_then(|of| of.wire.as_ref());
        if wire.is_none_or(|wire| wire.serial != serial) {
            return;
        }
        let files = node_of.map(|of| &of.files);
        for set in &confirmed.sets {
            let service = ServiceId::try_from(set.service.as_slice()).expect("an id");
            let has = files.and_then(|files| files.get(&service)).and_then(|one| one.digest);
            let due = set_of(&self.world.state, service).map(|set| set.digest());
            if has.as_ref().map(<[u8; 32]>::as_slice) != Some(&set.digest) || has != due {
                self.broken("what_is_confirmed_is_due_and_there", &format!("{node} {service}"));
            }
        }
        self.send(node, serial, vec![message(api::from_leader::Of::Confirmed(confirmed))]);
    }

    /// One look at a session, as the leader's own.
    pub(super) fn look(&mut self, node: NodeId) {
        let now = self.boot();
        let unsure = self.leader.unsure.iter().filter(|(of, _)| *of == node);
        let unsure = unsure.map(|(_, service)| *service).collect();
        let Some(desk) = self.leader.desks.get_mut(&node) else { return };
        let state = &self.world.state;
        let due = wanted(state, node, desk.ledger.running(), desk.ledger.known());
        let recorded = Recorded { exposed: exposed_of(state, node), unsure };
        let look = desk.ledger.look(due, &recorded, now);
        let asked = desk.asked.take();
        if let Some(confirmed) = asked.and_then(|asked| desk.ledger.confirmed(asked)) {
            let serial = desk.serial;
            self.confirmed(node, serial, confirmed);
        }
        let Some(desk) = self.leader.desks.get_mut(&node) else { return };
        let state = &self.world.state;
        let Some((number, delta)) = look.push else { return };
        let (messages, refused) = frames(number, &delta, |_, _| Ok(vec![0; 80]));
        assert_eq!(refused, []);
        let serial = desk.serial;
        for set in &delta.sets {
            let service = set.set.service;
            if set.brings() && !state.exposed.contains_key(&(node, service)) {
                self.broken("p4_recorded_before_the_first_byte", &format!("{node} {service}"));
            }
            let running = desk.ledger.running().contains(&service)
                || set.set.activation == skep_core::domain::Activation::Placed;
            if !is_due(state, node, service) || !running {
                self.broken("p2_only_what_is_due_travels", &format!("{node} {service}"));
            }
        }
        let sets = delta.sets.iter().map(|due| due.set.service).collect::<Vec<_>>();
        let told = format!("push {number} to {node}: sets {sets:?} gone {:?}", delta.gone);
        self.tell(told);
        self.send(node, serial, messages);
    }

    /// The leader proposes what its sessions ask for, one proposal at a time: the next comes
    /// after the answer, or when it has given up on that.
    pub(super) fn propose(&mut self) {
        if self.leader.log.iter().any(|proposal| proposal.awaited) {
            return;
        }
        let awaited = !self.faults || !self.dice.one_in(5);
        let desks = self.leader.desks.iter();
        let asking: Vec<_> = desks
            .flat_map(|(node, desk)| desk.ledger.asking().map(|service| (*node, service)))
            .collect();
        if !asking.is_empty() {
            self.tell(format!("proposed: exposed {asking:?}, awaited: {awaited}"));
            let act = Act::Expose(asking);
            return self.leader.log.push_back(Proposal { act, awaited });
        }
        let state = &self.world.state;
        let desks = self.leader.desks.iter();
        let confirmations: Vec<_> = desks
            .flat_map(|(node, desk)| desk.ledger.confirmations(*node, &exposed_of(state, *node)))
            .collect();
        if !confirmations.is_empty() {
            let gone = confirmations.iter().filter(|one| one.gone);
            self.leader.unsure.extend(gone.map(|one| (one.node, one.service)));
            self.tell(format!("proposed: {confirmations:?}, awaited: {awaited}"));
            let act = Act::Confirm(confirmations);
            self.leader.log.push_back(Proposal { act, awaited });
        }
    }

    /// The next proposal of the log is applied; who waits for it hears.
    pub(super) fn apply(&mut self) {
        let Some(Proposal { act, awaited }) = self.leader.log.pop_front() else { return };
        self.tell(format!("applied: {act:?}"));
        let applied = self.world.act(act.clone());
        assert!(applied.outcome.is_ok(), "{applied:?}");
        match act {
            Act::Expose(pairs) if awaited => {
                for (node, service) in &pairs {
                    if let Some(desk) = self.leader.desks.get_mut(node) {
                        desk.ledger.answered(*service, None);
                    }
                }
                self.leader.settle(pairs);
            }
            Act::Confirm(list) if awaited => {
                self.leader.settle(list.iter().map(|one| (one.node, one.service)));
            }
            _ => {}
        }
    }

    /// Another manager leads: of what was on its way it has a part, and it knows no session.
    pub(super) fn another_leads(&mut self) {
        while self.leader.waits() && self.dice.one_in(2) {
            self.apply();
        }
        let step = usize::from(self.dice.below(2)) + 1;
        let at = (self.leader.at + step) % super::MANAGERS.len();
        self.tell(format!("{} leads", super::MANAGERS[at]));
        self.seen.leaders += 1;
        self.leader = Leader { at, ..Leader::default() };
        let ids: Vec<_> = self.nodes.keys().copied().collect();
        for node in ids {
            let lost = self.dice.one_in(2);
            let hint = !self.dice.one_in(3);
            let leader = if hint { vec![super::MANAGERS[at].to_owned()] } else { Vec::new() };
            let wire = self.nodes.get_mut(&node).and_then(|node| node.wire.as_mut());
            if let Some(wire) = wire {
                // What the leader before has sent may still arrive.
                if lost {
                    wire.down.clear();
                }
                wire.down.push_back(FromLeader::NotLeader(leader));
            }
        }
    }
}
