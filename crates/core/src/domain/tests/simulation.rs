//! A leader and its agents with every fact dropped: the leader looks at the
//! state and at what agents said, and nothing else. Messages are lost, leaders
//! change and forget, agents start and stop workloads; whatever happens, no node
//! has what the state does not know of, and when it calms down every node has
//! what is due.

use std::collections::{BTreeMap, BTreeSet};

use crate::base::testing::Seeded;
use crate::base::{Labels, NodeId, Revision, SecretId, ServiceId, VersionId};
use crate::domain::testing::{
    World, everywhere, grant, name, node_id, secret_id, service_id, version,
};
use crate::domain::{
    Act, Availability, Change, Confirmation, Placement, ServiceSet, ServiceSpec, State,
    assignments, holders,
};

const NODES: u8 = 3;
const SERVICES: u8 = 3;
const SECRETS: u8 = 3;

/// What a node has of a service.
#[derive(Clone, Debug, PartialEq, Eq)]
struct Held {
    digest: [u8; 32],
    values: BTreeSet<(SecretId, VersionId)>,
}

type Holding = BTreeMap<ServiceId, Held>;

/// A fake agent.
#[derive(Clone, Debug, Default)]
struct Agent {
    running: BTreeSet<ServiceId>,
    held: Holding,
}

#[derive(Clone, Debug)]
struct Push {
    revision: Revision,
    sets: Holding,
    gone: Vec<ServiceId>,
}

/// What this leader knows of a node: what its agent said, and what is under way.
#[derive(Clone, Debug, Default)]
struct Session {
    running: BTreeSet<ServiceId>,
    held: Holding,
    /// Up to which revision the agent has everything.
    confirmed: Option<Revision>,
    push: Option<Push>,
}

/// What a leader does next about a node.
#[derive(Debug)]
enum Step {
    Nothing,
    Propose(Act),
    Send(Push),
}

/// Wanted from the state against what is there: pure.
fn step(state: &State, node: NodeId, session: &Session) -> Step {
    if session.push.is_some() {
        return Step::Nothing;
    }
    let wanted = assignments(state, node, &session.running);
    let wanted: Holding = wanted.iter().map(|set| (set.service, held(set))).collect();
    let new = wanted.keys().filter(|service| !state.exposed.contains_key(&(node, **service)));
    let new: Vec<_> = new.map(|service| (node, *service)).collect();
    if !new.is_empty() {
        return Step::Propose(Act::Expose(new));
    }
    let sets: Holding = wanted
        .iter()
        .filter(|(service, set)| session.held.get(service) != Some(set))
        .map(|(service, set)| (*service, set.clone()))
        .collect();
    let gone: Vec<_> =
        session.held.keys().filter(|service| !wanted.contains_key(service)).copied().collect();
    let pairs = state.exposed.iter().filter(|((of, _), _)| *of == node);
    let open = |service: &ServiceId| !wanted.contains_key(service);
    let unconfirmed: Vec<_> = pairs
        .filter(|((_, service), pair)| pair.behind.is_some() || open(service))
        .map(|((_, service), pair)| (*service, pair.behind.unwrap_or(pair.since)))
        .collect();
    let confirmed = |needed: Revision| session.confirmed.is_some_and(|at| at >= needed);
    let asks = unconfirmed.iter().any(|(_, needed)| !confirmed(*needed));
    if !sets.is_empty() || !gone.is_empty() || asks {
        return Step::Send(Push { revision: state.revision, sets, gone });
    }
    let revision = session.confirmed.unwrap_or_default();
    let confirm = |(service, _): &(ServiceId, _)| Confirmation {
        node,
        service: *service,
        revision,
        gone: open(service),
    };
    let confirm: Vec<_> = unconfirmed.iter().map(confirm).collect();
    if confirm.is_empty() { Step::Nothing } else { Step::Propose(Act::Confirm(confirm)) }
}

fn held(set: &ServiceSet) -> Held {
    let values = set.files.iter().map(|file| (file.secret, file.version.id)).collect();
    Held { digest: set.digest(), values }
}

struct Simulation {
    seed: u64,
    dice: Seeded,
    world: World,
    agents: BTreeMap<NodeId, Agent>,
    sessions: BTreeMap<NodeId, Session>,
}

impl Simulation {
    fn new(seed: u64) -> Self {
        let mut world = World::with_workers(NODES);
        for n in 1..=SECRETS {
            world.secret(n, &format!("secret{n}"));
        }
        let agents = (1..=NODES).map(|n| (node_id(n), Agent::default())).collect();
        Self { seed, dice: Seeded::new(seed), world, agents, sessions: BTreeMap::new() }
    }

    /// An operator does something; refused or not, the facts of it are dropped.
    fn operator(&mut self) {
        let dice = &mut self.dice;
        let (secret, service) = (dice.below(SECRETS) + 1, dice.below(SERVICES) + 1);
        let node = dice.below(NODES) + 1;
        let spec = if dice.one_in(2) {
            everywhere()
        } else {
            let nodes = vec![name(&format!("n{node}"))];
            ServiceSpec {
                placement: Placement { nodes, ..Placement::default() },
                ..ServiceSpec::default()
            }
        };
        let (id, number) = (secret_id(secret), self.world.commands * 1_000 + 1);
        let change = match dice.below(9) {
            0 => Change::UpdateSecret { id, expect: None, version: version(number) },
            1 => Change::RemoveSecret { id },
            2 => Change::CreateSecret {
                id,
                name: name(&format!("secret{secret}")),
                labels: Labels::default(),
                forward_only: false,
                version: version(number),
            },
            3 => Change::CreateService {
                id: service_id(service),
                name: name(&format!("service{service}")),
                spec,
            },
            4 => Change::UpdateService { id: service_id(service), expect: None, spec },
            5 if dice.one_in(3) => Change::RemoveService { id: service_id(service) },
            6 => Change::Revoke { service: service_id(service), secret: id, target: None },
            7 => Change::UpdateNode {
                id: node_id(node),
                put: Vec::new(),
                gone: Vec::new(),
                availability: Some(match dice.below(4) {
                    0 => Availability::Drain,
                    1 => Availability::Pause,
                    _ => Availability::Active,
                }),
            },
            _ => Change::Grant {
                service: service_id(service),
                grant: grant(secret, &format!("file{}", dice.below(2))).into(),
            },
        };
        drop(self.world.act(Act::Change(vec![change])));
    }

    /// A message is lost and the session with it, a leader goes and forgets
    /// everything, or a workload comes or goes.
    fn fault(&mut self) {
        let node = node_id(self.dice.below(NODES) + 1);
        let service = service_id(self.dice.below(SERVICES) + 1);
        match self.dice.below(6) {
            0 => self.sessions.clear(),
            1 => drop(self.sessions.remove(&node)),
            _ => {
                let agent = self.agents.get_mut(&node).expect("an agent");
                if !agent.running.remove(&service) {
                    agent.running.insert(service);
                }
            }
        }
    }

    /// One node's turn: it says what it runs, and the leader does its next step,
    /// or what is under way arrives. Says whether anything happened.
    fn turn(&mut self, node: NodeId) -> bool {
        let agent = self.agents.get_mut(&node).expect("an agent");
        let hello = Session { held: agent.held.clone(), ..Session::default() };
        let session = self.sessions.entry(node).or_insert(hello);
        session.running.clone_from(&agent.running);
        if let Some(push) = session.push.take() {
            for service in &push.gone {
                agent.held.remove(service);
            }
            agent.held.extend(push.sets);
            session.held.clone_from(&agent.held);
            session.confirmed = Some(push.revision);
            return true;
        }
        match step(&self.world.state, node, session) {
            Step::Nothing => false,
            Step::Send(push) => {
                session.push = Some(push);
                true
            }
            Step::Propose(act) => {
                drop(self.world.act(act));
                true
            }
        }
    }

    /// Whatever a node has, the state knows that it may have it.
    fn nothing_is_held_in_secret(&self) {
        let state = &self.world.state;
        for (node, agent) in &self.agents {
            for (service, held) in &agent.held {
                let seed = self.seed;
                let pair = state.exposed.get(&(*node, *service));
                assert!(pair.is_some(), "seed {seed}: {node} has {service}");
                for (secret, _) in &held.values {
                    assert!(
                        holders(state, *secret).contains_key(&(*node, *service)),
                        "seed {seed}: {node} still has {secret} for {service}"
                    );
                }
            }
        }
    }

    /// Without faults everything arrives, in a bounded number of turns.
    fn calm(&mut self) {
        for _ in 0..40 {
            let busy = (1..=NODES).filter(|n| self.turn(node_id(*n))).count();
            self.nothing_is_held_in_secret();
            if busy == 0 {
                return self.everything_is_in_place();
            }
        }
        panic!("seed {}: it never calms down", self.seed);
    }

    fn everything_is_in_place(&self) {
        let (state, seed) = (&self.world.state, self.seed);
        for (node, agent) in &self.agents {
            let due = assignments(state, *node, &agent.running);
            let due: Holding = due.iter().map(|set| (set.service, held(set))).collect();
            assert_eq!(agent.held, due, "seed {seed}: what {node} has and what is due");
            let pairs = state.exposed.keys().filter(|(of, _)| of == node);
            let pairs: Vec<_> = pairs.map(|(_, service)| *service).collect();
            assert_eq!(pairs, due.keys().copied().collect::<Vec<_>>(), "seed {seed}: pairs");
        }
        assert!(state.indexes.behind.is_empty(), "seed {seed}: nothing is pending");
    }
}

#[test]
fn with_every_fact_dropped_it_converges() {
    for seed in 0..150 {
        let mut simulation = Simulation::new(seed);
        for _ in 0..4 {
            for _ in 0..40 {
                match simulation.dice.below(8) {
                    0 | 1 => simulation.operator(),
                    2 => simulation.fault(),
                    _ => {
                        let node = node_id(simulation.dice.below(NODES) + 1);
                        simulation.turn(node);
                    }
                }
                simulation.nothing_is_held_in_secret();
            }
            simulation.calm();
        }
    }
}
