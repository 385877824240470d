//! A leader and its agents as they are built, on a clock and over a network of the test's own.
//!
//! The leader's side is the real `wanted`, `step`, `ledger` and `frames`, the state is the real
//! one, what travels is what would travel (read and written by `wire::convert`), and each
//! agent is the real session. Messages are lost with their connection, managers lead in turn
//! and forget, proposals are lost or applied without an answer, agents and machines start
//! again at any moment, values can't be put in place. After every step the rules of
//! `rules.rs` hold, and when it calms down every node has what is due. Whoever runs the
//! last steps by hand needs the seed, which a failure names.
//!
//! What only waits or only acts is the test's: streams, tasks, the files themselves.

mod leader;
mod network;
mod node;
mod rules;

use std::collections::{BTreeMap, VecDeque};

use self::leader::Leader;
use self::node::Node;
use skep_core::base::testing::Seeded;
use skep_core::base::{BootTime, Labels, NodeId};
use skep_core::domain::testing::{
    World, everywhere, grant, name, node_id, secret_id, service_id, version,
};
use skep_core::domain::{Act, Activation, Availability, Change, Placement, ServiceSpec};

const NODES: u8 = 3;
const SERVICES: u8 = 3;
const SECRETS: u8 = 3;
/// Where managers are reached.
const MANAGERS: [&str; 3] = ["m1:1", "m2:1", "m3:1"];
/// Simulations that are run, one for each of the first numbers as a seed.
const SEEDS: u64 = 60;
/// Steps told of when a rule is broken.
const TOLD: usize = 60;

struct Simulation {
    seed: u64,
    dice: Seeded,
    /// Milliseconds since boot, of all machines.
    now: u64,
    world: World,
    leader: Leader,
    nodes: BTreeMap<NodeId, Node>,
    /// Whether anything may fail.
    faults: bool,
    last: VecDeque<String>,
    seen: Seen,
}

/// How often what matters happened: a simulation in which nothing does proves nothing.
#[derive(Clone, Copy, Debug, Default)]
struct Seen {
    /// Sets that were put in place, and that were not.
    sets: [u32; 2],
    /// Services that were wiped.
    gone: u32,
    /// Claims that were granted.
    grants: u32,
    /// Sets confirmed and still in place.
    confirmed: u32,
    /// Managers that began to lead.
    leaders: u32,
}

impl Simulation {
    fn new(seed: u64) -> Self {
        let mut world = World::with_workers(NODES);
        for n in 1..=SECRETS {
            world.secret(n, &format!("secret{n}"));
        }
        for n in 1..=SERVICES {
            world.service(n, &format!("service{n}"), everywhere());
            let grant = Change::Grant { service: service_id(n), grant: grant(n, "file0").into() };
            world.one(grant).expect("granted");
        }
        let mut simulation = Self {
            seed,
            dice: Seeded::new(seed),
            now: 1_000,
            world,
            leader: Leader::default(),
            nodes: (1..=NODES).map(|n| (node_id(n), Node::new())).collect(),
            faults: true,
            last: VecDeque::new(),
            seen: Seen::default(),
        };
        for n in 1..=NODES {
            simulation.begin(node_id(n));
        }
        simulation
    }

    fn boot(&self) -> BootTime {
        BootTime(self.now)
    }

    fn tell(&mut self, what: String) {
        if self.last.len() == TOLD {
            self.last.pop_front();
        }
        self.last.push_back(what);
    }

    fn broken(&self, rule: &str, how: &str) -> ! {
        let last = self.last.iter().map(String::as_str).collect::<Vec<_>>().join("\n  ");
        panic!("seed {}: {rule}: {how}\nbefore it:\n  {last}", self.seed);
    }

    fn any_node(&mut self) -> NodeId {
        node_id(self.dice.below(NODES) + 1)
    }

    /// One thing happens.
    fn step(&mut self) {
        self.now += u64::from(self.dice.below(200));
        let node = self.any_node();
        match self.dice.below(64) {
            0..=3 => self.operator(),
            4 => self.fault(node),
            5..=9 => self.workload(node),
            10 => self.now += 1_000 * u64::from(self.dice.below(60)),
            11..=17 => self.propose(),
            18..=24 => self.apply(),
            25 | 26 => self.tick(node),
            27..=30 => self.reach(node),
            _ => self.go_on(node),
        }
        self.check();
    }

    /// What is on its way to, on and from a node gets some way on.
    fn go_on(&mut self, node: NodeId) {
        for _ in 0..8 {
            match self.dice.below(4) {
                0 => self.up(node),
                1 => self.look(node),
                2 => self.down(node),
                _ => self.work(node),
            }
            self.check();
        }
    }

    /// An operator does something; refused or not.
    fn operator(&mut self) {
        let dice = &mut self.dice;
        let (secret, service) = (dice.below(SECRETS) + 1, dice.below(SERVICES) + 1);
        let node = dice.below(NODES) + 1;
        let mut spec = if dice.one_in(4) {
            let nodes = vec![name(&format!("n{node}"))];
            ServiceSpec {
                placement: Placement { nodes, ..Placement::default() },
                ..ServiceSpec::default()
            }
        } else {
            everywhere()
        };
        spec.fresh = dice.one_in(2);
        if dice.one_in(4) {
            spec.activation = Activation::Placed;
        }
        let (id, number) = (secret_id(secret), self.world.commands * 1_000 + 1);
        let labels = Labels::default();
        let change = match dice.below(32) {
            0..=7 => Change::UpdateSecret { id, expect: None, version: version(number) },
            8 => Change::RemoveSecret { id },
            9 | 10 => {
                let name = name(&format!("secret{secret}"));
                Change::CreateSecret {
                    id,
                    name,
                    labels,
                    forward_only: false,
                    version: version(number),
                }
            }
            11 | 12 => Change::CreateService {
                id: service_id(service),
                name: name(&format!("service{service}")),
                spec,
            },
            13..=16 => Change::UpdateService { id: service_id(service), expect: None, spec },
            17 => Change::RemoveService { id: service_id(service) },
            18..=20 => Change::Revoke { service: service_id(service), secret: id, target: None },
            21..=23 => Change::UpdateNode {
                id: node_id(node),
                put: Vec::new(),
                gone: Vec::new(),
                availability: Some(match dice.below(8) {
                    0 => Availability::Drain,
                    1 => Availability::Pause,
                    _ => Availability::Active,
                }),
            },
            _ => Change::Grant {
                service: service_id(service),
                grant: grant(secret, &format!("file{}", dice.below(3))).into(),
            },
        };
        self.tell(format!("operator: {change:?}"));
        drop(self.world.act(Act::Change(vec![change])));
    }

    /// Without faults everything arrives, in a bounded number of rounds.
    fn calm(&mut self) {
        self.faults = false;
        self.tell("it calms down".to_owned());
        for n in 1..=NODES {
            let id = node_id(n);
            let active = Change::UpdateNode {
                id,
                put: Vec::new(),
                gone: Vec::new(),
                availability: Some(Availability::Active),
            };
            self.world.one(active).expect("a node");
            // What failed for good is tried again by another session.
            self.cut(id);
            self.check();
        }
        for _ in 0..60 {
            for n in 1..=NODES {
                let id = node_id(n);
                self.reach(id);
                for _ in 0..8 {
                    self.tick(id);
                    self.up(id);
                    self.look(id);
                    self.down(id);
                    self.work(id);
                    self.check();
                }
            }
            for _ in 0..2 {
                self.propose();
                while self.leader.waits() {
                    self.apply();
                    self.check();
                }
            }
            self.now += 1_000;
        }
        self.everything_is_in_place();
        self.faults = true;
    }

    fn run(seed: u64) -> Seen {
        let mut simulation = Self::new(seed);
        for _ in 0..3 {
            for _ in 0..250 {
                simulation.step();
            }
            simulation.calm();
        }
        simulation.seen
    }
}

#[test]
fn p2_p4_p7_whatever_is_lost_the_rules_hold_and_every_node_ends_with_what_is_due() {
    let mut all = Seen::default();
    for seed in 0..SEEDS {
        let seen = Simulation::run(seed);
        all.sets = [0, 1].map(|at| all.sets[at] + seen.sets[at]);
        all.gone += seen.gone;
        all.grants += seen.grants;
        all.confirmed += seen.confirmed;
        all.leaders += seen.leaders;
    }
    let least =
        all.sets.into_iter().chain([all.gone, all.grants, all.confirmed, all.leaders]).min();
    assert!(least > Some(100), "{all:?}");
}
