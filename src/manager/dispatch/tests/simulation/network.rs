//! Connections: what is on its way, in order, and lost with them.

use std::collections::VecDeque;

use super::{MANAGERS, Simulation};
use crate::agent::session::{Cause, Event};
use skep_core::base::NodeId;
use skep_core::wire::api;
use skep_core::wire::convert::{
    read_confirmed, read_managers, read_push, read_values, read_welcome,
};

/// A connection of a node with a manager.
pub(super) struct Wire {
    pub(super) serial: u64,
    /// Which manager.
    pub(super) with: usize,
    pub(super) up: VecDeque<api::from_agent::Of>,
    pub(super) down: VecDeque<FromLeader>,
}

/// What comes down a connection.
pub(super) enum FromLeader {
    Message(api::FromLeader),
    /// The manager's last word, and where the leader is, if it knows.
    NotLeader(Vec<String>),
}

impl Simulation {
    /// Sends to a node, if its connection still is this one.
    pub(super) fn send(&mut self, node: NodeId, serial: u64, messages: Vec<api::FromLeader>) {
        let wire = self.nodes.get_mut(&node).and_then(|node| node.wire.as_mut());
        if let Some(wire) = wire.filter(|wire| wire.serial == serial) {
            wire.down.extend(messages.into_iter().map(FromLeader::Message));
        }
    }

    /// A try to connect comes to its end, once it is time.
    pub(super) fn reach(&mut self, id: NodeId) {
        let (now, leader) = (self.now, self.leader.at);
        let unreachable = self.faults && self.dice.one_in(4);
        let Some(node) = self.nodes.get_mut(&id) else { return };
        let Some((address, _)) = node.connecting.take_if(|(_, at)| *at <= now) else { return };
        if unreachable {
            let cause = Cause::Lost("not reached".to_owned());
            let jitter = u16::from(self.dice.below(255)) * 257;
            return self.event(id, Event::Disconnected { cause, jitter });
        }
        let with = MANAGERS.iter().position(|known| *known == address).expect("a manager");
        node.wires += 1;
        let serial = node.wires;
        let mut wire = Wire { serial, with, up: VecDeque::new(), down: VecDeque::new() };
        if with != leader {
            let leader = vec![MANAGERS[leader].to_owned()];
            wire.down.push_back(FromLeader::NotLeader(leader));
        }
        node.wire = Some(wire);
        self.tell(format!("{id} reaches {address}"));
        self.event(id, Event::Connected { address });
    }

    /// The next message to the manager arrives.
    pub(super) fn up(&mut self, id: NodeId) {
        let leader = self.leader.at;
        let wire = self.nodes.get_mut(&id).and_then(|node| node.wire.as_mut());
        let Some(wire) = wire else { return };
        let (serial, leads) = (wire.serial, wire.with == leader);
        let Some(said) = wire.up.pop_front() else { return };
        match said {
            // One that leads no more, or not yet, listens to nobody.
            _ if !leads => {}
            api::from_agent::Of::Hello(hello) => self.greeted(id, serial, &hello),
            said => self.heard(id, serial, said),
        }
    }

    /// The next message to the node arrives.
    pub(super) fn down(&mut self, id: NodeId) {
        let wire = self.nodes.get_mut(&id).and_then(|node| node.wire.as_mut());
        let Some(said) = wire.and_then(|wire| wire.down.pop_front()) else { return };
        let of = match said {
            FromLeader::NotLeader(leader) => return self.end(id, Cause::NotLeader(leader)),
            FromLeader::Message(message) => message.of.expect("a message"),
        };
        let event = match of {
            api::from_leader::Of::Welcome(welcome) => {
                Event::Welcome(read_welcome(welcome).expect("sound"))
            }
            api::from_leader::Of::Push(push) => {
                let push = read_push(push).expect("sound");
                if let (Some(node), Some(placed)) = (self.nodes.get_mut(&id), &push.placed) {
                    let always = placed.iter().filter(|placed| placed.always);
                    node.always = always.map(|placed| placed.id).collect();
                }
                Event::Push(push)
            }
            api::from_leader::Of::Managers(managers) => {
                Event::Managers(read_managers(managers.addresses))
            }
            api::from_leader::Of::Confirmed(confirmed) => {
                Event::Confirmed(read_confirmed(&confirmed).expect("sound"))
            }
            api::from_leader::Of::Renew(api::Renew {}) => return,
            api::from_leader::Of::Values(ahead) => {
                let values = read_values(ahead.values).expect("sound");
                Event::Values { number: ahead.push, values }
            }
        };
        self.event(id, event);
    }

    /// A connection is lost, and all that is on its way.
    pub(super) fn cut(&mut self, id: NodeId) {
        if self.nodes.get(&id).is_some_and(|node| node.wire.is_some()) {
            self.end(id, Cause::Lost("reset".to_owned()));
        }
    }

    /// The node learns that there is no connection any more.
    pub(super) fn end(&mut self, id: NodeId, cause: Cause) {
        self.tell(format!("{id} has no connection: {cause}"));
        let jitter = u16::from(self.dice.below(255)) * 257;
        if let Some(node) = self.nodes.get_mut(&id) {
            node.wire = None;
            // That leader takes nothing away any more; the next one hears what runs.
            node.leaving.clear();
        }
        self.event(id, Event::Disconnected { cause, jitter });
    }
}
